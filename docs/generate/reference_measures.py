"""The reference of the measures: those of whole pages from our registry, those of lists from ir_measures."""

from __future__ import annotations

from typing import Any

import ir_measures
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
        "[`measures`](api/evaluation/measures.md) and [`page.registry`](api/evaluation/page.registry.md) read, written "
        "from the registries when this site is built. [Measuring pages](../guides/measuring.md) says which to choose.",
        "A name is `Name(option=value, ...)@k`. Upper and lower case are the same, options may be left out, and what "
        "is printed back names the whole variant.",
        "## Of whole pages",
        "They need the pages (`--pages`).",
        _page_table(WHOLE),
        "`part` of the C/W/L measures: `EU` expected utility a result read, `ETU` expected total utility, `EC` and "
        "`ETC` the same of cost, `ED` expected depth, `Residual` how much of `ETU` hangs on what nobody judged. "
        "Measures of single-modal orders need those orders (`single=`).",
        "## Of lists, on pages",
        "The same names as below, computed by "
        "[`evaluate_page_measures`](api/evaluation/page.registry.md#evaluate_page_measures) from mean grades as they "
        "are.",
        _page_table(LISTS),
        "## Of lists, by ir_measures",
        "Read by [`evaluate`](api/evaluation/measures.md#evaluate); grades reach them as whole numbers, rounded down. "
        "Names of trec_eval are understood too: `map`, `mrr@10`, `recip_rank`, `P_5`, `recall_100`, `ndcg_cut_10`. The "
        "first column holds names that are computed as they stand, the others are ir_measures' own words.",
        _list_table(),
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


def _page_table(measures: tuple[PageMeasure, ...]) -> str:
    rows = []
    for one in measures:
        parse_page_measure(one.form.example)  # what stands here can be asked for
        options = [f"`{option.name}`: {_allowed(option)}" for option in one.form.options]
        told = "<br>".join(part for part in (*options, _CUT[one.form.cutoff]) if part)
        rows.append(f"| {code_in_a_cell(one.form.example)} | {in_a_cell(plain(one.meaning))} | {told} |")
    return "\n".join(["| with its defaults | says | options |", "|---|---|---|", *rows])


def _allowed(option: Option) -> str:
    if not option.words:
        return in_a_cell(plain(option.allowed))
    return " ".join(code_in_a_cell(word) for word in option.words)


def _list_table() -> str:
    rows = []
    by_name = {one.NAME: one for one in ir_measures.measures.registry.values()}
    for name, form in computed_by_ir_measures().items():
        options = "<br>".join(
            f"`{option}`: {in_a_cell(plain(told.desc or ''))}"
            for option, told in by_name[name].SUPPORTED_PARAMS.items()
            if option != "cutoff"
        )
        rows.append(f"| `{form}` | {_summary(by_name[name])} | {options} |")
    return "\n".join(["| for example | says | options |", "|---|---|---|", *rows])


def _summary(measure: Any) -> str:
    """The first sentence of what ir_measures says of it."""
    paragraph = " ".join((measure.__doc__ or "").strip().split("\n\n")[0].split())
    return in_a_cell(plain(paragraph.split(". ")[0].rstrip(".:")))
