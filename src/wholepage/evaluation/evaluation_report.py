"""The report of an evaluation: one HTML file for several rankers, and its tables in LaTeX and Markdown.

Who ranks best and how sure one may be, where rankers differ, pairs and exposure by modality, calibration, cost, the
worst and best pages with their pictures, and how it was all made. The same comparison gives the same bytes: there is no
clock in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from wholepage.evaluation.measure_words import better_end
from wholepage.evaluation.plots import Interval, interval_plot
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table, write_report
from wholepage.evaluation.report_calibration import calibration_section
from wholepage.evaluation.report_cost import LabelCost, cost_section
from wholepage.evaluation.report_differences import differences_section
from wholepage.evaluation.report_exposure import exposure_section
from wholepage.evaluation.report_pages import pages_section, pictures_left_out
from wholepage.evaluation.report_pairs import marked, marks_note, pairs_section
from wholepage.evaluation.report_words import counts_table, in_short, policies, significance_table
from wholepage.evaluation.run_comparison import RunComparison
from wholepage.evaluation.tables import Cell, Column, markdown_text, write_latex, write_table
from wholepage.evaluation.thumbnails import Thumbnails
from wholepage.pages.errors import InputError

_ACROSS = 4
_PAGE_MEASURES = re.compile(r"PairAccuracy(\((within|cross)\))?|ExposureGap@\d+")


class ReportSettings(msgspec.Struct, frozen=True):
    """What goes into the report of an evaluation, beside the numbers.

    Attributes:
        title: of the report.
        made: how it was made, in pairs of what and how: command, versions, files.
        costs: by ranker, what its labels cost.
        relevant_from: the grade from which a result counts as relevant, for calibration.
        probabilities: rankers whose scores are probabilities already.
        shown_pages: pages of each kind (worst, best) to show.
        significant: the p-value below which a difference gets a mark.
    Raises:
        InputError: ``shown_pages`` below 0, or ``significant`` outside (0, 1).
    """

    title: str = "Evaluation"
    made: tuple[tuple[str, str], ...] = ()
    costs: dict[str, LabelCost] = {}
    relevant_from: float = 1.0
    probabilities: tuple[str, ...] = ()
    shown_pages: int = 2
    significant: float = 0.05

    def __post_init__(self) -> None:
        if self.shown_pages < 0 or not 0 < self.significant < 1 or not math.isfinite(self.relevant_from):
            raise InputError(
                f"ReportSettings: got shown_pages={self.shown_pages}, significant={self.significant}, "
                f"relevant_from={self.relevant_from}; allowed: 0 or more, between 0 and 1, finite; correct them"
            )


def write_evaluation_report(path: Path, comparison: RunComparison, settings: ReportSettings | None = None) -> None:
    """Write the report as one HTML file that needs nothing else; one that was there is replaced.

    Raises:
        InputError: a cost or probabilities of no ranker here, or a probability outside of [0, 1].
        RecordError: the folder is missing, or may not be written to.
    """
    given = settings if settings is not None else ReportSettings()
    write_report(
        path, given.title, report_sections(comparison, given, thumbnails=Thumbnails()), subtitle=_line(comparison)
    )


def report_sections(
    comparison: RunComparison, settings: ReportSettings, *, thumbnails: Thumbnails | None = None
) -> list[Section]:
    """The sections of the report, for ``evaluation.report``.

    Args:
        thumbnails: makes the pictures of result pages; None = words only.
    Raises:
        InputError: as of ``write_evaluation_report``.
    """
    sections: list[Section] = [Heading("In short")]
    sections.append(Prose("\n\n".join(in_short(comparison, significant=settings.significant))))
    sections += [*_plot(comparison), *_summary(comparison, settings.significant)]
    sections += differences_section(comparison)
    sections += pairs_section(comparison, significant=settings.significant)
    sections += exposure_section(comparison)
    sections += calibration_section(
        comparison, relevant_from=settings.relevant_from, probabilities=settings.probabilities
    )
    sections += cost_section(comparison, settings.costs)
    sections += pages_section(comparison, thumbnail=thumbnails, shown=settings.shown_pages)
    sections += pictures_left_out(thumbnails)
    return [*sections, *_method(comparison, settings)]


def evaluation_latex(comparison: RunComparison, settings: ReportSettings | None = None) -> str:
    """The tables of the report in LaTeX, one ``table`` each; wants ``booktabs`` and UTF-8.

    Raises:
        InputError: as of ``write_evaluation_report``.
    """
    written = []
    labels: dict[str, int] = {}
    for table in _tables(comparison, settings if settings is not None else ReportSettings()):
        label = "tab:" + re.sub(r"[^a-z0-9]+", "-", table.caption.lower()).strip("-")
        labels[label] = labels.get(label, 0) + 1
        label += f"-{labels[label]}" if labels[label] > 1 else ""
        caption = f"{table.caption} {table.note}".strip()
        written.append(write_latex(table.rows, table.columns, caption=caption, label=label))
    return "\n".join(written)


def evaluation_markdown(comparison: RunComparison, settings: ReportSettings | None = None) -> str:
    """What the evaluation found, as statements and tables in Markdown.

    Raises:
        InputError: as of ``write_evaluation_report``.
    """
    given = settings if settings is not None else ReportSettings()
    said = in_short(comparison, significant=given.significant)
    parts = [f"# {markdown_text(given.title)}", "\n\n".join(map(markdown_text, said))]
    for table in _tables(comparison, given):
        caption, note = markdown_text(table.caption), markdown_text(table.note)
        parts.append(f"**{caption}**\n\n{write_table(table.rows, table.columns)}\n{note}".rstrip())
    return "\n\n".join(parts) + "\n"


def _line(comparison: RunComparison) -> str:
    names = [run.name for run in comparison.runs]
    graded = sum(bool(comparison.judgments.grades(query)) for query in comparison.judgments.query_ids)
    against = f"{', '.join(names[1:])} against {names[0]}" if names[1:] else names[0]
    return f"{against}: {graded:,} {'query' if graded == 1 else 'queries'} with grades."


def _tables(comparison: RunComparison, settings: ReportSettings) -> list[Table]:
    """All tables but those of single queries, pages and provenance."""
    sections = [
        *_summary(comparison, settings.significant),
        *pairs_section(comparison, significant=settings.significant),
        *exposure_section(comparison),
        *calibration_section(comparison, relevant_from=settings.relevant_from, probabilities=settings.probabilities),
        *cost_section(comparison, settings.costs),
        counts_table(comparison),
    ]
    return [section for section in sections if isinstance(section, Table)]


def _plot(comparison: RunComparison) -> list[Section]:
    """Means and intervals of the first measure; nothing where an interval is unknown (fewer than two queries)."""
    measure = comparison.asked[0]
    found = [(run.name, run.estimates[measure]) for run in comparison.runs]
    if any(math.isnan(one.low) for _, one in found):
        return []
    # A BCa interval of skewed values may leave out the mean by a hair.
    rows = [Interval(name, one.mean, min(one.low, one.mean), max(one.high, one.mean)) for name, one in found]
    many = len(rows) > 1
    svg = interval_plot(rows, measure=measure, reference=comparison.first.name if many else None)
    dashed = f" Dashed: {comparison.first.name}, with which the others are compared." if many else ""
    caption = f"Mean {measure} with 95 % intervals (BCa) over queries.{dashed}"
    alt = "; ".join(f"{row.name}: {row.value:.3f}, from {row.low:.3f} to {row.high:.3f}" for row in rows)
    return [Figure(svg, caption, f"{caption} {alt}.")]


def _summary(comparison: RunComparison, significant: float) -> list[Section]:
    shown = [name for name in comparison.measures if name not in comparison.asked and _PAGE_MEASURES.fullmatch(name)]
    tables = _measure_tables(comparison, comparison.asked, "Who ranks best.", significant)
    tables += _measure_tables(comparison, shown, "The order of the whole page.", significant)
    tested = significance_table(comparison)
    return [*tables, *([] if tested is None else [tested])]


def _measure_tables(
    comparison: RunComparison, measures: Sequence[str], caption: str, significant: float
) -> list[Section]:
    tables: list[Section] = []
    for start in range(0, len(measures), _ACROSS):
        part = measures[start : start + _ACROSS]
        columns = [Column(name, best=better_end(name)) for name in part]
        rows: list[tuple[Cell, ...]] = [
            (run.name, *(marked(run, name, significant) for name in part)) for run in comparison.runs
        ]
        less = [name for name in part if better_end(name) == "lowest"]
        note = marks_note(comparison, significant) + (f" Less is better: {', '.join(less)}." if less else "")
        tables.append(Table(("ranker", *columns), tuple(rows), caption=caption, note=note))
    return tables


def _method(comparison: RunComparison, settings: ReportSettings) -> list[Section]:
    sections: list[Section] = [Heading("How it was measured"), counts_table(comparison), policies(comparison)]
    made = (("seed", str(comparison.seed)), ("measures", ", ".join(comparison.asked)), *settings.made)
    return [*sections, Table(("what", "how"), made, caption="How this report was made.")]
