"""Do equal scores mean the same in each modality: curves for each ranker of the report."""

from __future__ import annotations

from collections.abc import Collection

import matplotlib

from wholepage.evaluation.drawing import INKS, MARKERS, SERIES, SETTINGS, WIDTH_INCH, blank_axes, svg_text
from wholepage.evaluation.markup import plain_text
from wholepage.evaluation.measure_words import signed
from wholepage.evaluation.reliability import Reliability, ReliabilityReport
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table
from wholepage.evaluation.run_comparison import EvaluatedRun, RunComparison
from wholepage.evaluation.score_calibration import (
    ScoredResults,
    probability_reliability,
    score_reliability,
    scored_results,
)
from wholepage.evaluation.tables import Cell
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality

_SIDE_INCH = 2.9
_BINS = 6
_READING = (
    "A reranker of whole pages puts results of different kinds on one scale, so equal scores should be as often "
    "relevant in one modality as in another. A curve below the dashed line: results of that modality are less often "
    "relevant than their scores say, and stand too high; above it, too low. Bars are 95 % intervals (Wilson)."
)
_MAPPED = (
    "Scores were turned into probabilities by one rising map for all modalities (isotonic regression), fitted for each "
    "fifth of the queries on the other four: the ranker gets no help where it mistakes one modality for another."
)


def calibration_section(
    comparison: RunComparison, *, relevant_from: float, probabilities: Collection[str] = ()
) -> list[Section]:
    """A plot for each ranker that gave scores, and a table; nothing without pages.

    Args:
        relevant_from: the grade from which a result counts as relevant.
        probabilities: names of rankers whose scores are probabilities already.
    Raises:
        InputError: a name is no ranker's, or a probability is outside of [0, 1].
    """
    unknown = sorted(set(probabilities).difference(run.name for run in comparison.runs))
    if unknown:
        raise InputError(
            f"probabilities: got {unknown[0]!r}; allowed: {', '.join(run.name for run in comparison.runs)}; "
            "name rankers of this report"
        )
    if comparison.pages is None:
        return []
    figures: list[Section] = []
    rows: list[tuple[Cell, ...]] = []
    silent: list[str] = []
    for run in comparison.runs:
        found = scored_results(
            list(run.rankings.values()), comparison.pages, comparison.judgments, relevant_from=relevant_from
        )
        if found.queries < 2:
            silent.append(f"{run.name}: {_why(run, found)}.")
            continue
        given = run.name in probabilities
        report = probability_reliability(found, bins=_BINS) if given else score_reliability(found, bins=_BINS)
        figures.append(_figure(run.name, report, found, given))
        rows += _rows(run.name, report)
    told = [_READING, *([_MAPPED] if any(run.name not in probabilities for run in comparison.runs) else [])]
    told.append(f"Relevant is a grade of {relevant_from:g} or more. {' '.join(silent)}".strip())
    if not rows:
        return [Heading("Calibration"), Prose(told[-1])]
    table = Table(
        ("ranker", "results of", "count", "told", "observed", "bias", "ECE"),
        tuple(rows),
        caption="Mean probability told, share relevant, and how far they are apart.",
        note="bias: told less observed; above 0 the modality stands too high. ECE: expected calibration error over at "
        f"most {_BINS} bins of like count.",
    )
    return [Heading("Calibration"), Prose("\n\n".join(told)), *figures, table]


def calibration_plot(report: ReliabilityReport) -> str:
    """Observed share against the probability told, a curve a modality with its key, as an ``<svg>`` element."""
    order = [kind.value for kind in Modality]
    with matplotlib.rc_context(SETTINGS):
        right = WIDTH_INCH - 0.75 - _SIDE_INCH
        figure, axes = blank_axes(_SIDE_INCH + 0.8, left=0.75, right=right, top=0.2, bottom=0.6)
        axes.grid(color=INKS["faint"], alpha=0.3, linewidth=0.7)
        axes.plot([0, 1], [0, 1], color=INKS["ink"], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        for place, one in enumerate(report.modalities):
            number = order.index(one.name) if one.name in order else len(order)
            ink, marker = list(SERIES.values())[number % len(SERIES)], MARKERS[number % len(MARKERS)]
            for part in one.bins:
                axes.plot([part.predicted] * 2, [part.low, part.high], color=ink, linewidth=1.1, alpha=0.6, zorder=2)
            x, y = [part.predicted for part in one.bins], [part.observed for part in one.bins]
            axes.plot(x, y, color=ink, marker=marker, markersize=5.5, linewidth=1.6, zorder=3)
            top = 0.97 - 0.235 * place
            axes.plot([1.1], [top - 0.02], marker=marker, markersize=6.5, color=ink, transform=axes.transAxes,
                      clip_on=False)  # fmt: skip
            axes.text(1.15, top, plain_text(one.name), transform=axes.transAxes, va="top", fontweight="bold",
                      fontsize=9.6)  # fmt: skip
            axes.text(1.15, top - 0.075, _key(one), transform=axes.transAxes, va="top", fontsize=9.2, linespacing=1.4)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel("probability told")
        axes.set_ylabel("share relevant")
        return svg_text(figure)


def _key(one: Reliability) -> str:
    return f"{one.count:,} results, {100 * one.observed:.1f} % relevant\nbias {signed(one.bias)} · ECE {one.ece:.3f}"


def _why(run: EvaluatedRun, found: ScoredResults) -> str:
    if all(ranking.scores is None for ranking in run.rankings.values()):
        return "gave an order without scores, so there is nothing to calibrate"
    return f"scored graded results of {found.queries} queries, too few for a curve"


def _figure(name: str, report: ReliabilityReport, found: ScoredResults, given: bool) -> Figure:
    gap = report.modality_gap
    told = "" if gap is None else f" Largest difference of bias between two modalities: {gap:.3f}."
    silent = f" {found.unscored:,} graded results without a score are left out." if found.unscored else ""
    scale = "its probabilities" if given else "its scores, mapped"
    alt = "; ".join(
        f"{one.name}: told {one.predicted:.3f}, observed {one.observed:.3f}, bias {signed(one.bias)}"
        for one in report.modalities
    )
    return Figure(calibration_plot(report), f"{name}: {scale}.{told}{silent}", f"Reliability of {name}. {alt}.")


def _rows(name: str, report: ReliabilityReport) -> list[tuple[Cell, ...]]:
    return [
        (name, one.name, one.count, one.predicted, one.observed, one.bias, one.ece)
        for one in (*report.modalities, report.overall)
    ]
