"""The reference of the measures: those of whole pages from our registry, those of lists from ir_measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ir_measures
from measure_example import as_a_list, example_table, on_the_page
from measure_notes import BY_IR_MEASURES, ON_PAGES, Note
from reference_docstrings import code_in_a_cell, in_a_cell, plain

from wholepage.evaluation.measures import parse_measure
from wholepage.evaluation.page.catalogue import LISTS, WHOLE, PageMeasure
from wholepage.evaluation.page.names import Option
from wholepage.evaluation.page.registry import parse_page_measure
from wholepage.pages.errors import InputError

PATH = "reference/measures.md"
_CUT = {"must": "@k must be given", "may": "@k may be given", "none": ""}
_TRIED = ("{}", "{}@10", "{}@0.5", "{}(max_rel=3)", "{}(max_rel=3)@10")
_SUBTOPICS = {"AP_IA", "ERR_IA", "NRBP", "P_IA", "StRecall", "alpha_DCG", "alpha_nDCG", "nERR_IA", "nNRBP"}


def measure_pages() -> dict[str, str]:
    """The one page, by its path below ``docs``."""
    parts = [
        "# Measures",
        "Every name that `wholepage evaluate -m` and the functions of "
        "[`measures`](api/evaluation/measures.md) and [`page.registry`](api/evaluation/page.registry.md) read, "
        "written "
        "from the registries when this site is built. [Measuring pages](../guides/measuring.md) says which to choose.",
        "A name is `Name(option=value, ...)@k`. Upper and lower case are the same, options may be left out, and what "
        "is printed back names the whole variant. *Values* are those of one page, at the defaults shown; a mean "
        "of pages "
        "lies where they do.",
        "## The example",
        "Values *on the example* are computed on this page when the site is built, by the same functions that "
        "you call:",
        example_table(),
        "## Of whole pages",
        "They need the pages (`--pages`).",
        *_page_sections([one for one in WHOLE if not one.form.name.startswith("CWL.")]),
        "## Of whole pages: readers",
        "The C/W/L framework: a reader goes down the page, and at each place goes on or stops. `part`: `EU` expected "
        "utility (gain) of a result looked at, `ETU` of all of them together, `EC` and `ETC` the same of cost, "
        "`ED` how "
        "many are looked at, `Residual` how much higher `EU` were if all that is unjudged or beyond the page gave 1. "
        "`top`: the grade that gives the gain 1.",
        *_page_sections([one for one in WHOLE if one.form.name.startswith("CWL.")]),
        "## Of lists, on pages",
        "The same names as below, computed by "
        "[`evaluate_page_measures`](api/evaluation/page.registry.md#evaluate_page_measures) from mean grades as they "
        "are.",
        *_page_sections(LISTS),
        "## Of lists, by ir_measures",
        "Read by [`evaluate`](api/evaluation/measures.md#evaluate); grades reach them as whole numbers, rounded down. "
        "Names of trec_eval are understood too: `map`, `mrr@10`, `recip_rank`, `P_5`, `recall_100`, "
        "`ndcg_cut_10`. What "
        "they say is in ir_measures' own words.",
        *_list_sections(),
        "Measures over subtopics are not among them: judgments of pages have none. Over modalities in their place: "
        "`AlphaNDCG` and `ERRIA` above.",
    ]
    return {PATH: "\n\n".join(parts) + "\n"}


def computed_by_ir_measures() -> dict[str, str]:
    """Each measure of ir_measures that can be asked for, by its own name, and one way to ask."""
    found: dict[str, str] = {}
    for registered in sorted(ir_measures.measures.registry.values(), key=lambda one: one.NAME.casefold()):
        name = registered.NAME
        if name in found or name in _SUBTOPICS or not name.isascii():
            continue
        for form in _TRIED:
            try:
                parse_measure(form.format(name))
            except InputError:
                continue
            found[name] = form.format(name)
            break
    return found


def _page_sections(measures: Sequence[PageMeasure]) -> list[str]:
    values = on_the_page(one.form.example for one in measures)
    told = []
    for one in measures:
        parse_page_measure(one.form.example)  # what stands here can be asked for
        options = [f"`{option.name}`: {_allowed(option)}" for option in one.form.options]
        options += [_CUT[one.form.cutoff]] if _CUT[one.form.cutoff] else []
        note, example = ON_PAGES[one.form.name], one.form.example
        told.append(_section(f"page-{one.form.name}", example, one.meaning, options, note, values[example]))
    return told


def _section(anchor: str, example: str, meaning: str, options: list[str], note: Note, value: str) -> str:
    name = example.partition("(")[0].partition("@")[0]
    definition = f" {plain(note.definition)}" if note.definition else ""
    facts = [
        f"*Values*: {_range(note)}. *On the example*: **{value}**.",
        *([f"*Options*: {'; '.join(options)}."] if options else []),
        f"*Source*: {plain(note.source)}.",
    ]
    parts = [
        f"### {name} {{ #{anchor} }}",
        f"`{example}`: {plain(meaning)}{'' if meaning.endswith('?') else '.'}{definition}",
        "\n".join(f"- {fact}" for fact in facts),
    ]
    return "\n\n".join(parts)


def _range(note: Note) -> str:
    return f"{note.low:g} to {note.high:g}" if math.isfinite(note.high) else f"{note.low:g} and up"


def _allowed(option: Option) -> str:
    if not option.words:
        return in_a_cell(plain(option.allowed))
    return " ".join(code_in_a_cell(word) for word in option.words)


def _list_sections() -> list[str]:
    by_name = {one.NAME: one for one in ir_measures.measures.registry.values()}
    forms = computed_by_ir_measures()
    values = as_a_list(forms.values())
    told = []
    for name, form in forms.items():
        options = [
            f"`{option}`: {' '.join(plain(about.desc or '').split())}"
            for option, about in by_name[name].SUPPORTED_PARAMS.items()
            if option != "cutoff"
        ]
        told.append(
            _section(f"list-{name}", form, _summary(by_name[name]), options, BY_IR_MEASURES[name], values[form])
        )
    return told


def _summary(measure: Any) -> str:
    """The first sentence of what ir_measures says of it."""
    paragraph = " ".join((measure.__doc__ or "").strip().split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".:")
