"""The report of a comparison: one self-contained page with the table, the curves, and pages to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from wholepage.apps.comparison import MEASURE, Outcome, Row
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page_view import PageView, view_page
from wholepage.evaluation.plots import CostPoint, Interval, cost_plot, interval_plot
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table, write_report
from wholepage.evaluation.report_pages import pictures_left_out
from wholepage.evaluation.tables import Cell, Column, Marked
from wholepage.evaluation.thumbnails import Thumbnails
from wholepage.pages.judgments import Grade
from wholepage.pages.model import Page, Ranking

SHOWN_PAGES = 3
_THUMBNAIL_PX = 120

LABELS = {
    "raw": "raw merge",
    "zscore": "z-score",
    "minmax": "min-max",
    "rrf": "reciprocal rank fusion",
    "round_robin": "round robin",
    "lambdamart": "LambdaMART, same labels",
    "lambdamart_100": "LambdaMART, all labels",
    "context": "self-attention, same labels",
    "align_only": "alignment only",
}


def write_outcome_report(outcome: Outcome, path: Path, *, title: str = "wholepage: one order for a mixed page") -> None:
    """Write the report of a comparison as one HTML file.

    Raises:
        RecordError: the folder is missing, or may not be written to.
    """
    write_report(
        path,
        title,
        [*_table(outcome), *_plots(outcome), *_pages(outcome)],
        subtitle=f"{len(outcome.pages)} pages measured; all there is: {outcome.trained.full_labels:,} page labels",
    )


def ranker_label(name: str) -> str:
    """What a row is called in words."""
    if name in LABELS:
        return LABELS[name]
    method, _, share = name.partition("_")
    spelled = {"sft": "SFT", "smar": "SMAR", "isotonic": "isotonic calibration"}.get(method, method)
    return f"{spelled}, {share.replace('_', '.')} % of labels" if share else spelled


def _table(outcome: Outcome) -> list[Section]:
    reference = _row(outcome, outcome.settings.reference)
    named = ranker_label(outcome.settings.reference)
    rows: list[tuple[Cell, ...]] = []
    for row in outcome.rows:
        mark = "†" if row.p_holm is not None and row.p_holm < 0.05 else ""
        rows.append(
            (
                ranker_label(row.ranker),
                Marked(row.ndcg, mark, row.low, row.high),
                row.cross_pair_accuracy,
                row.exposure_gap,
                row.labels,
            )
        )
    columns = (
        "ranker",
        Column(MEASURE, best="highest"),
        Column("cross-modal pairs right", best="highest"),
        Column("exposure gap", best="lowest"),
        "page labels",
    )
    trained = outcome.trained
    return [
        Prose(
            f"{named} reaches {MEASURE} {reference.ndcg:.3f} with {reference.labels:,} of "
            f"{trained.full_labels:,} page labels. All rankers stand on the same single-modal rankers, which "
            f"were trained on {trained.single_modal_labels:,} labels that order results within one modality; those are "
            f"not counted as page labels. {_how_chosen(outcome)}"
        ),
        Heading("Who ranks best, and what it cost"),
        Table(
            columns,
            tuple(rows),
            caption=f"Mean {MEASURE} (linear gain) with {outcome.settings.level:.0%} BCa intervals over queries.",
            note=f"† differs from {named}: paired permutation test, p < .05 after Holm's correction. "
            "Exposure gap: how far the modalities' share of attention is from the ideal page's.",
        ),
    ]


def _how_chosen(outcome: Outcome) -> str:
    settings = outcome.settings
    if not outcome.trained.selections:
        return "What to label was chosen by the campaign that the labels were brought from."
    return f"What to label was chosen by the strategy “{settings.strategy}”, seed {settings.seed}."


def _plots(outcome: Outcome) -> list[Section]:
    named = ranker_label(outcome.settings.reference)
    intervals = [Interval(ranker_label(row.ranker), row.ndcg, row.low, row.high) for row in outcome.rows]
    by_name = {row.ranker: row for row in outcome.rows}
    costs = {(_series(name), row.labels): row for name, row in by_name.items() if row.labels}  # one point a cost
    points = [CostPoint(s, labels, row.ndcg, row.low, row.high) for (s, labels), row in costs.items() if s]
    free = {ranker_label(name): by_name[name].ndcg for name in ("zscore", "align_only") if name in by_name}
    return [
        Figure(
            interval_plot(intervals, measure=MEASURE, reference=named),
            f"Dots are means, lines {outcome.settings.level:.0%} intervals, dashed: {named}.",
            "; ".join(f"{row.name} {row.value:.3f}" for row in intervals),
        ),
        Heading("Quality against labels bought"),
        Figure(
            cost_plot(points, measure=MEASURE, baselines=free),
            "Each point is one training; further left is cheaper.",
            "; ".join(f"{point.series} with {point.labels} labels {point.value:.3f}" for point in points),
        ),
    ]


def _series(name: str) -> str | None:
    if name.startswith("smar_"):
        return "SMAR"
    if name.startswith("sft_"):
        return "SFT"
    return "LambdaMART" if name.startswith("lambdamart") else None


def _pages(outcome: Outcome) -> list[Section]:
    """Pages on which z-score and SMAR differ most, both ways, so that nobody sees only the successes."""
    before, after = (outcome.rankings[name] for name in ("zscore", outcome.settings.reference))
    said = outcome.judgments.restrict({page.query_id: page.result_ids for page in outcome.pages})
    old, new = (evaluate(given, said, [MEASURE]).of(MEASURE) for given in (before, after))
    gain = {query_id: new[query_id] - old[query_id] for query_id in old}
    order = sorted(gain, key=lambda query_id: (-gain[query_id], query_id))
    chosen = [*order[: SHOWN_PAGES - 1], order[-1]] if len(order) >= SHOWN_PAGES else order
    pages = {page.query_id: page for page in outcome.pages}
    rankings = {
        query_id: [
            _named(r, name)
            for name in ("zscore", outcome.settings.reference)
            for r in outcome.rankings[name]
            if r.query_id == query_id
        ]
        for query_id in chosen
    }
    views: list[Section] = [
        Heading("Pages to look at"),
        Prose(_which_pages(len(chosen), len(order), outcome.settings.reference)),
    ]
    small = Thumbnails(px=_THUMBNAIL_PX)
    for query_id in chosen:
        notes = [f"{MEASURE} {old[query_id]:.2f}", f"{MEASURE} {new[query_id]:.2f}"]
        views.append(_view(pages[query_id], rankings[query_id], outcome, notes, small))
    return [*views, *pictures_left_out(small)]


def _which_pages(shown: int, measured: int, reference: str) -> str:
    first, second = ranker_label("zscore"), ranker_label(reference)
    chosen = (
        "All pages measured"
        if shown == measured
        else f"The {shown - 1} pages on which {second} gained most over {first}, and the one on which it gained least "
        "or lost most"
    )
    return f"{chosen}. Grades are what people, or the collection's rule, said."


def _named(ranking: Ranking, name: str) -> Ranking:
    return msgspec.structs.replace(ranking, by=ranker_label(name))


def _view(
    page: Page, rankings: Sequence[Ranking], outcome: Outcome, notes: Sequence[str], small: Thumbnails
) -> PageView:
    return view_page(
        page,
        rankings,
        title=page.query.text,
        grades=outcome.judgments.by_result(page.query_id),
        notes=notes,
        thumbnail=small,
        top_grade=max((said.grade for said in outcome.judgments if isinstance(said, Grade)), default=1.0) or 1.0,
    )


def _row(outcome: Outcome, name: str) -> Row:
    return next(row for row in outcome.rows if row.ranker == name)
