"""Novelty over modalities, beside ndeval, by hand, and beside a greedy ideal of our own."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.evaluation.page.arrays import from_arrays, from_rankings
from wholepage.evaluation.page.diversity import alpha_ndcg, err_ia
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality

CUTS = (2, 3, 5, 10, 20)  # pyndeval 0.0.8 does not divide ERR-IA@1 by the number of subtopics


@pytest.mark.parametrize(("alpha", "rel"), [(0.5, 1), (0.3, 2)])
def test_equals_ndeval(thousand: Any, alpha: float, rel: int) -> None:
    ndeval = pytest.importorskip("pyndeval", reason="pyndeval is not installed: nothing to compare with")
    pages = from_rankings(thousand.rankings, thousand.judgments, thousand.pages)
    mine = {}
    for k in CUTS:
        mine[f"alpha-nDCG@{k}"] = alpha_ndcg(pages, k=k, alpha=alpha, rel=rel)
        mine[f"ERR-IA@{k}"] = err_ia(pages, k=k, alpha=alpha, rel=rel)
        mine[f"nERR-IA@{k}"] = err_ia(pages, k=k, alpha=alpha, rel=rel, norm="ideal")
    seen = 0
    for row, (page, ranking) in enumerate(zip(thousand.pages, thousand.rankings, strict=True)):
        kinds = {result.result_id: result.modality.value for result in page.results}
        graded = [(page.query_id, kinds[i], i, g) for i, g in thousand.qrels[page.query_id].items() if i in kinds]
        if not any(g >= rel for *_, g in graded):
            assert all(np.isnan(values[row]) for values in mine.values())
            continue
        # A page without a relevant result of a modality has no such subtopic.
        graded = [(q, kind, i, g) for q, kind, i, g in graded if g >= rel]
        run = [(page.query_id, i, -float(n)) for n, i in enumerate(ranking.result_ids)]
        theirs = ndeval.RelevanceEvaluator(graded, list(mine), relevance_level=rel, alpha=alpha).evaluate(run)
        for name, values in mine.items():
            assert values[row] == pytest.approx(theirs[page.query_id][name], abs=1e-9), (page.query_id, name)
        seen += 1
    assert seen > 500


def test_by_hand() -> None:
    pages = from_arrays([[1, 1, 0, 2]], modality=[[0, 0, 0, 1]])  # novelty 1, 1/2, 0, 1
    log3 = np.log2(3)
    given_ = 1 + 0.5 / log3 + 1 / np.log2(5)
    assert alpha_ndcg(pages, k=4)[0] == pytest.approx(given_ / (1 + 1 / log3 + 0.5 / 2))
    assert alpha_ndcg(pages, k=1)[0] == 1.0
    assert err_ia(pages, k=2)[0] == pytest.approx((1 + 0.5 / 2) / (2 * (1 + 0.5 / 2)))
    assert err_ia(pages, k=1)[0] == 0.5
    assert err_ia(pages, k=4, norm="ideal")[0] == pytest.approx((1 + 0.5 / 2 + 1 / 4) / (1 + 1 / 2 + 0.5 / 3))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=6), st.sampled_from([0.0, 0.4, 1.0])
)
def test_ideal_is_the_best_of_all_orders(page: list[tuple[int, int]], alpha: float) -> None:
    def dcg(order: Any) -> float:
        seen, total = dict.fromkeys(range(len(Modality)), 0), 0.0
        for place, (grade, kind) in enumerate(order):
            if grade >= 1:
                total += (1 - alpha) ** seen[kind] / np.log2(place + 2)
                seen[kind] += 1
        return total

    best = max(map(dcg, permutations(page)))
    grades, kinds = zip(*page, strict=True)
    found = alpha_ndcg(from_arrays([grades], modality=[kinds]), k=6, alpha=alpha)[0]
    assert found == pytest.approx(dcg(page) / best if best else np.nan, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": 3, "alpha": 1.5}, {"k": 3, "rel": 0.0}])
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="novelty: got"):
        alpha_ndcg(from_arrays([[1.0]], modality=[[0]]), **wrong)
