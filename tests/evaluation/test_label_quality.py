"""What labels are worth, against counting pairs one by one."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from wholepage.evaluation.label_quality import cross_pair_accuracy, label_error, list_pair_accuracy
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result

TEXT, IMAGE = Modality.TEXT, Modality.IMAGE


def page(query_id: str, kinds: str) -> Page:
    """One result a letter: t = text, i = image."""
    results = [
        Result(f"r{n}", TEXT, "words") if kind == "t" else Result(f"r{n}", IMAGE, "", (ImageRef("a.png"),))
        for n, kind in enumerate(kinds)
    ]
    return Page(Query(query_id), tuple(results))


def drawn(pages: list[Page], rng: np.random.Generator, share: float = 1.0) -> Judgments:
    return Judgments.from_mapping(
        {p.query_id: {i: float(rng.integers(4)) for i in p.result_ids if rng.random() < share} for p in pages}
    )


def one_by_one(labels: Judgments, pages: list[Page], truth: Judgments) -> float:
    right, total = 0.0, 0
    for p in pages:
        said, true = labels.by_result(p.query_id), truth.by_result(p.query_id)
        for a, b in combinations(p.results, 2):
            if a.modality is b.modality or true[a.result_id] == true[b.result_id]:
                continue
            total += 1
            one, other = said.get(a.result_id), said.get(b.result_id)
            if one is None or other is None or one == other:
                right += 0.5
            else:
                right += (one > other) == (true[a.result_id] > true[b.result_id])
    return right / total


def test_cross_pairs_are_those_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    pages = [page(f"q{n}", "".join(rng.choice(["t", "i"], 9))) for n in range(20)]
    truth, labels = drawn(pages, rng), drawn(pages, rng, 0.7)
    assert cross_pair_accuracy(labels, pages, truth) == pytest.approx(one_by_one(labels, pages, truth), abs=1e-12)
    assert cross_pair_accuracy(truth, pages, truth) == 1.0
    assert cross_pair_accuracy(Judgments(), pages, truth) == 0.5


def test_one_modality_has_no_cross_pairs() -> None:
    pages = [page("q", "ttt")]
    truth = Judgments.from_mapping({"q": {"r0": 3.0, "r1": 0.0}})
    assert math.isnan(cross_pair_accuracy(truth, pages, truth))


def test_label_error_counts_labelled_results() -> None:
    truth = Judgments.from_mapping({"q": {"a": 3.0, "b": 0.0, "c": 1.0}})
    assert label_error(Judgments.from_mapping({"q": {"a": 3.0, "b": 1.0}}), truth) == 0.5
    assert math.isnan(label_error(Judgments(), truth))
    with pytest.raises(InputError, match="'z'"):
        label_error(Judgments.from_mapping({"q": {"z": 3.0}}), truth)


def test_lists_are_measured_by_their_own_pairs() -> None:
    pages = [page("q", "tttii")]
    truth = Judgments.from_mapping({"q": {"r0": 3.0, "r1": 2.0, "r2": 0.0, "r3": 1.0, "r4": 0.0}})
    texts, images = Ranking("q", ("r0", "r2", "r1")), Ranking("q", ("r3", "r4"))
    assert list_pair_accuracy([{TEXT: texts, IMAGE: images}], pages, truth) == 3 / 4
    assert list_pair_accuracy([{IMAGE: images}], pages, truth) == 1.0
    assert math.isnan(list_pair_accuracy([{}], pages, truth))
