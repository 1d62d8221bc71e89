"""What each measure gives each result page of people's preferences; ``page_preferences.py`` sets it beside people."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wholepage.collections.image_preferences import BOTH, ENGINES, ImagePreferences
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page import cwl, items, rank_biased, readers
from wholepage.evaluation.page.arrays import GradedPages
from wholepage.evaluation.page.heights import Costs
from wholepage.evaluation.page.registry import evaluate_page_measures
from wholepage.pages import Judgments, Modality, Page, Ranking, Result

Values = dict[str, dict[str, float]]
"""By query (or user), of one measure and engine; or by measure, of one engine."""

TOP = 4.0
"""Relevance 0 to 100 becomes a grade from 0 to 4."""
REFERENCE = "nDCG@10"
ITEMS = (
    REFERENCE, "nDCG@5", "nDCG", "nDCG(dcg='exp-log2')@10", "nDCG(dcg='exp-log2')@5", "nDCG(dcg='exp-log2')",
    "P(rel=2)@5", "P(rel=2)@10", "P(rel=3)@10", "RR(rel=3)", "AP(rel=3)", "AlphaNDCG(rel=3)@10",
    "RBP(p=0.8, top=4)", "RBP(p=0.95, top=4)", "HBG", "HBG(spread=top)", "nHBG", "PairAccuracy",
    "CWL.P(top=4)@10", "CWL.SDCG(top=4)@10", "CWL.INST(top=4)", "CWL.INSQ(top=4)", "CWL.BPM(top=4)", "CWL.IFT(top=4)",
    "CWL.TBG(top=4, part=ETU)",
)  # fmt: skip
ROWS = ("nDCG@3", "nDCG(dcg='exp-log2')@3", "RBP(p=0.8, top=4)", "HBG", "CWL.INST(top=4)")
BY_PAIRS = (REFERENCE, "nDCG", "RBP(p=0.8, top=4)", "RBP(p=0.95, top=4)", "HBG", "CWL.INST(top=4)")


def page_values(collection: ImagePreferences) -> dict[str, dict[str, Values]]:
    """By a measure's full name, engine and query, in the order of the table."""
    graded = scaled(collection.judgments(BOTH))
    found: dict[str, dict[str, Values]] = {}
    for title, names, judgments, by_row in (
        ("", ITEMS, graded, ""),
        (" of rows, mean", ROWS, graded, "mean"),
        (" of rows, max", ROWS, graded, "max"),
        (" by pairs", BY_PAIRS, win_shares(collection), ""),
    ):
        for name, values in measured(collection, judgments, names, by_row).items():
            found[name + title] = values
    for engine in ENGINES:
        rankings = [Ranking(page.query_id, page.result_ids, by=engine) for page in collection.pages(engine)]
        for name, values in evaluate(rankings, graded, ["ERR@10"]).values.items():
            found.setdefault(name, {})[engine] = values
    return found


def measured(
    collection: ImagePreferences, judgments: Judgments, names: Sequence[str], by_row: str = ""
) -> dict[str, dict[str, Values]]:
    """Each measure of both engines' pages, as they were shown; the ideal order is of both engines' results.

    Args:
        by_row: how a row's pictures make its grade, ``"mean"`` or ``"max"``; empty = picture by picture.
    """
    found: dict[str, dict[str, Values]] = defaultdict(dict)
    shown = {engine: list(collection.pages(engine)) for engine in ENGINES}
    if by_row:
        shown, judgments = rows_of(shown, judgments, by_row)
    for engine, pages in shown.items():
        rankings = [Ranking(page.query_id, page.result_ids, by=engine) for page in pages]
        for name, values in evaluate_page_measures(rankings, pages, judgments, names).values.items():
            found[name][engine] = values
    return found


def rows_of(
    shown: Mapping[str, Sequence[Page]], judgments: Judgments, by_row: str
) -> tuple[dict[str, list[Page]], Judgments]:
    """Pages whose results are the rows of a grid, and the rows' grades."""
    together: dict[str, Callable[[list[float]], float]] = {"mean": lambda g: math.fsum(g) / len(g), "max": max}
    pages: dict[str, list[Page]] = defaultdict(list)
    grades: dict[str, dict[str, float]] = defaultdict(dict)
    for engine, of in shown.items():
        for page in of:
            graded, rows = judgments.by_result(page.query_id), defaultdict[int, list[Result]](list)
            for result in page.results:
                rows[int(result.features["row"])].append(result)
            made = []
            for number, row in sorted(rows.items()):
                name = f"{engine} row {number}"
                made.append(Result(name, Modality.IMAGE, images=tuple(i for r in row for i in r.images)))
                grades[page.query_id][name] = together[by_row]([graded[r.result_id] for r in row])
            pages[engine].append(Page(page.query, tuple(made)))
    return pages, Judgments.from_mapping(grades)


def scaled(judgments: Judgments) -> Judgments:
    """Relevance from 0 to 100 as grades from 0 to 4."""
    return Judgments.from_mapping(
        {q: {r: g * TOP / 100.0 for r, g in judgments.by_result(q).items()} for q in judgments.query_ids}
    )


def win_shares(collection: ImagePreferences) -> Judgments:
    """How often a picture was preferred to the others of its query, a tie a half, from 0 to 4: no grade is used."""
    points: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for pair in collection.pair_opinions():
        right = math.fsum((1.0 + (tag > 0) - (tag < 0)) / 2.0 for tag in pair.tags) / len(pair.tags)
        points[pair.query][pair.right].append(right)
        points[pair.query][pair.left].append(1.0 - right)
    return Judgments.from_mapping(
        {q: {r: TOP * math.fsum(won) / len(won) for r, won in of.items()} for q, of in points.items()}
    )


def search_measures() -> dict[str, Callable[[GradedPages], NDArray[np.float64]]]:
    """Measures of a list of graded rows (0 to 3)."""

    def expected(reader: readers.Reader, part: str = "eu") -> Callable[[GradedPages], NDArray[np.float64]]:
        return lambda pages: np.asarray(getattr(cwl.cwl(pages, reader, Costs(), top=3.0), part))

    return {
        "SDCG@10 of rows": expected(readers.ScaledDcg(10)),
        "SDCG@5 of rows": expected(readers.ScaledDcg(5)),
        "nDCG@10 of rows (ideal: own rows)": lambda pages: items.ndcg(pages, k=10),
        "mean of 10 rows": expected(readers.FirstK(10)),
        "mean of 5 rows": expected(readers.FirstK(5)),
        "first row": expected(readers.FirstK(1)),
        "P(rel=3)@10 of rows": lambda pages: items.precision(pages, k=10, rel=3.0),
        "P(rel=2)@10 of rows": lambda pages: items.precision(pages, k=10, rel=2.0),
        "RR(rel=3) of rows": lambda pages: items.reciprocal_rank(pages, rel=3.0),
        "RBP(p=0.8, top=3) of rows": lambda pages: rank_biased.rank_biased_precision(pages, p=0.8, top=3.0),
        "RBP(p=0.95, top=3) of rows": lambda pages: rank_biased.rank_biased_precision(pages, p=0.95, top=3.0),
        "CWL.INST(T=1, top=3) of rows": expected(readers.Inst()),
        "CWL.INSQ(T=1, top=3) of rows": expected(readers.Insq()),
        "CWL.BPM(T=1, K=10, top=3) of rows": expected(readers.Bejewelled()),
        "CWL.TBG(half=10, top=3, part=ETU) of rows": expected(readers.TimeBiased(10.0), "etu"),
    }
