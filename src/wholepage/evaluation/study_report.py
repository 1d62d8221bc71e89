"""The report of a study: one HTML file that says what page labels are worth, and the same tables for a paper.

It is made from the rows alone, so it can be written again from the Parquet file; the same rows give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wholepage.evaluation.report import Heading, Prose, Section, Table, write_report
from wholepage.evaluation.study import Curve, Draw
from wholepage.evaluation.study_ablation import Ablated
from wholepage.evaluation.study_figures import (
    GOAL,
    ablation_figure,
    difference_figure,
    read_cross,
    read_ndcg,
    share_figure,
)
from wholepage.evaluation.study_findings import (
    CROSS,
    Findings,
    ablation_table,
    cost_table,
    difference_table,
    find_out,
    half_table,
    needed_table,
    sizes,
)
from wholepage.evaluation.study_table import Measured
from wholepage.evaluation.study_words import (
    MEASURE,
    experiment_name,
    half_in_words,
    needed_in_words,
    percent,
)
from wholepage.evaluation.tables import markdown_text, write_latex, write_table


def write_study_report(
    rows: Iterable[Measured],
    path: Path,
    *,
    title: str,
    margin: float = 0.005,
    resamples: int = 10_000,
    made_by: str = "",
    references: Mapping[str, str] | None = None,
) -> None:
    """Write the report of a study, or of several, as one HTML file.

    Args:
        rows: what was measured.
        path: the file; one that was there is replaced.
        title: of the report.
        margin: how much nDCG@10 counts as not worse.
        resamples: of each bootstrap.
        made_by: command, version and machine, for those who want to make it again.
        references: by experiment, what its arms are compared with; see ``study_ablation.ablation``.
    Raises:
        InputError: no rows, rows that do not fit together, or a reference that was not measured.
        RecordError: the folder is missing, or may not be written to.
    """
    found = find_out(rows, draw=Draw(margin=margin, resamples=resamples), references=references)
    subtitle = f"What page labels are worth on {_listed(found.collections)}."
    write_report(path, title, study_sections(found, made_by=made_by), subtitle=subtitle)


def study_latex(
    rows: Iterable[Measured],
    *,
    margin: float = 0.005,
    resamples: int = 10_000,
    references: Mapping[str, str] | None = None,
) -> str:
    """The tables of a study in LaTeX, one ``table`` each; wants ``booktabs`` and UTF-8.

    Args and errors: as of ``write_study_report``; with the same arguments the numbers are the same.
    """
    found = find_out(rows, draw=Draw(margin=margin, resamples=resamples), references=references)
    written = []
    for table in _tables(found):
        label = "tab:" + re.sub(r"[^a-z0-9]+", "-", table.caption.lower()).strip("-")
        caption = f"{table.caption} {table.note}".strip()
        written.append(write_latex(table.rows, table.columns, caption=caption, label=label))
    return "\n".join(written)


def study_markdown(
    rows: Iterable[Measured],
    *,
    margin: float = 0.005,
    resamples: int = 10_000,
    references: Mapping[str, str] | None = None,
) -> str:
    """What a study found, as statements and tables in Markdown.

    Args and errors: as of ``write_study_report``; with the same arguments the numbers are the same.
    """
    found = find_out(rows, draw=Draw(margin=margin, resamples=resamples), references=references)
    parts = ["\n\n".join(map(markdown_text, _statements(found)))] if found.needed else []
    for table in _tables(found):
        caption, note = markdown_text(table.caption), markdown_text(table.note)
        parts.append(f"**{caption}**\n\n{write_table(table.rows, table.columns)}\n{note}".rstrip())
    return "\n\n".join(parts) + "\n"


def study_sections(found: Findings, *, made_by: str = "") -> list[Section]:
    """The sections of the report, for ``evaluation.report``."""
    sections: list[Section] = []
    if found.needed:
        sections += [Heading("In short"), Prose("\n\n".join(_statements(found))), needed_table(found)]
    for collection in found.collections:
        sections += [Heading(collection), Prose(sizes(found, collection))]
        if any(line.collection == collection for line in found.curves):
            sections += _cost(found, collection)
        for experiment, arms in found.ablations.items():
            here = [one for one in arms if one.collection == collection]
            if here:
                sections += [
                    Heading(experiment_name(experiment), level=3),
                    ablation_figure(here, experiment, found.draw),
                ]
                sections.append(ablation_table(here, experiment, found.draw))
    return [*sections, *_method(found, made_by)]


def _statements(found: Findings) -> list[str]:
    said = []
    for one in found.needed:
        halves = [h for h in found.half if (h.collection, h.variant) == (one.collection, one.variant)]
        words = needed_in_words(one, found.draw)
        said.append(f"{words} {half_in_words(halves, found.draw)}" if halves else words)
    return said


def _tables(found: Findings) -> list[Table]:
    tables = [needed_table(found)] if found.needed else []
    for collection in found.collections:
        if any(line.collection == collection for line in found.curves):
            tables.append(cost_table(found, collection))
        halves = [one for one in found.half if one.collection == collection]
        tables += [half_table(halves, found.draw)] if halves else []
        for experiment, arms in found.ablations.items():
            here = [one for one in arms if one.collection == collection]
            tables += [ablation_table(here, experiment, found.draw)] if here else []
    return tables


def _cost(found: Findings, collection: str) -> list[Section]:
    lines = [line for line in found.curves if line.collection == collection]
    mine = [one for one in found.needed if one.collection == collection]
    goal = next((one.reference for one in mine if one.reference is not None), None)
    sections: list[Section] = [Heading(experiment_name("cost"), level=3)]
    band = f"Bands: {percent(found.draw.level)} intervals over queries. Dashed: what needs no page label"
    sections += share_figure(
        lines, MEASURE, read_ndcg, {} if goal is None else {GOAL: goal},
        f"{band}, and SFT with all of them." if goal is not None else f"{band}.",
    )  # fmt: skip
    sections.append(cost_table(found, collection))
    for one in mine:
        sections += difference_figure(one, found.draw)
        sections += [difference_table(one, found.draw)] if one.differences else []
    halves = [one for one in found.half if one.collection == collection]
    sections += [half_table(halves, found.draw)] if halves else []
    paired = [
        Curve(one.collection, one.method, one.variant, one.full_labels, points)
        for one in lines
        if (points := tuple(p for p in one.points if p.cross is not None))
    ]
    return [*sections, *share_figure(paired, CROSS.capitalize(), read_cross, {}, f"{band}.")]


def _method(found: Findings, made_by: str) -> list[Section]:
    draw = found.draw
    text = (
        f"A query's value is its mean over seeds; queries are what is sampled. Intervals are BCa bootstraps with "
        f"{draw.resamples:,} resamples, paired by query where two methods are compared. SMAR is not worse where the "
        f"whole interval of the difference lies above −{draw.margin:g}, and better where it lies above 0. "  # noqa: RUF001
        "Folds are pooled, as each query was measured in one of them; label counts are means over folds and seeds.\n\n"
        f"{MEASURE} has linear gain. {CROSS.capitalize()}: of the pairs of results of different modality that people "
        "graded differently, the share in the right order, as a mean over the queries that have such pairs.\n\n"
        "All methods stand on the same single-modal rankers, whose labels are not counted as page labels."
    )
    if {"lambdamart", "context"} & {one.method for one in _measured(found)}:
        text += (
            " LambdaMART and self-attention (page labels only) read the results' numbers; SMAR and SFT read the "
            "frozen vectors of query and results besides."
        )
    sections: list[Section] = [Heading("How it was measured"), Prose(text)]
    named = _listed(found.studies)
    return [*sections, Prose(f"Study: {named}. Made by: {made_by}" if made_by else f"Study: {named}.")]


def _measured(found: Findings) -> list[Curve | Ablated]:
    return [*found.curves, *(one for arms in found.ablations.values() for one in arms)]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
