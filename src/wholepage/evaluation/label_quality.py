"""How good labels are that were bought or inferred, where the true ones are known; and the lists they were found on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking


def label_error(labels: Judgments, truth: Judgments) -> float:
    """The share of labelled results whose grade is not the true one; NaN where nothing is labelled.

    Raises:
        InputError: a labelled result has no true grade.
    """
    wrong = total = 0
    for query_id in labels.query_ids:
        known = truth.by_result(query_id)
        for result_id, grade in labels.by_result(query_id).items():
            if result_id not in known:
                raise InputError(
                    f"label error: query {query_id!r}: got a label of {result_id!r}, whose true grade is not known; "
                    "allowed: results with a true grade; restrict the labels to these"
                )
            wrong += grade != known[result_id]
            total += 1
    return wrong / total if total else math.nan


def cross_pair_accuracy(labels: Judgments, pages: Sequence[Page], truth: Judgments) -> float:
    """How often labels put two results of one page, but of different modality, in their true order.

    Over all pairs whose true grades differ, pages weighing by their pairs. Equal labels, and labels that are missing,
    are right half the time: nothing was learned of that pair.

    Returns:
        0 to 1; NaN where there is no such pair.
    """
    rights = total = 0.0
    for page in pages:
        kinds = np.array([result.modality.value for result in page.results])
        right, pairs = _pairs(page, labels.by_result(page.query_id), truth, kinds[:, None] != kinds[None, :])
        rights, total = rights + right, total + pairs
    return rights / total if total else math.nan


def list_pair_accuracy(orders: Sequence[Mapping[Modality, Ranking]], pages: Sequence[Page], truth: Judgments) -> float:
    """How often single-modal orders put two results of one list, whose true grades differ, in their true order.

    This is the strength of the rankers that annotation engines lean on. Over all such pairs of all lists.

    Returns:
        0 to 1; NaN where there is no such pair.
    """
    rights = total = 0.0
    for page, of in zip(pages, orders, strict=True):
        for modality, ranking in of.items():
            part = page.only(modality)
            places = {result_id: -float(place) for place, result_id in enumerate(ranking.check(part).result_ids)}
            right, pairs = _pairs(part, places, truth, np.ones((len(part), len(part)), np.bool_))
            rights, total = rights + right, total + pairs
    return rights / total if total else math.nan


def _pairs(
    page: Page, values: Mapping[str, float], truth: Judgments, counted: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
) -> tuple[float, float]:
    """Pairs in the right order, halves for undecided ones, and all pairs that count."""
    known = truth.by_result(page.query_id)
    grades = np.array([known.get(result_id, math.nan) for result_id in page.result_ids])
    given = np.array([values.get(result_id, math.nan) for result_id in page.result_ids])
    better = (grades[:, None] > grades[None, :]) & counted
    gap = given[:, None] - given[None, :]
    right = np.where(np.isnan(gap) | (gap == 0), 0.5, gap > 0)
    return float(right[better].sum()), float(better.sum())
