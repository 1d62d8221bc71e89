"""Measures of lists, beside trec_eval's own code, and what must not change them."""

from __future__ import annotations

from typing import Any

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wholepage.evaluation.page import items
from wholepage.evaluation.page.arrays import GradedPages, from_arrays, from_rankings, from_runs
from wholepage.pages.errors import InputError

CUTS = (1, 3, 5, 10, 20, 30)
GAINS = {1: 1, 2: 3, 3: 7}  # 2 ** grade - 1


def ours(pages: GradedPages) -> dict[str, np.ndarray]:
    """Every measure under trec_eval's name."""
    found = {
        "ndcg": items.ndcg(pages),
        "map": items.average_precision(pages),
        "recip_rank": items.reciprocal_rank(pages),
    }
    for k in CUTS:
        found[f"ndcg_cut_{k}"] = items.ndcg(pages, k=k)
        found[f"P_{k}"] = items.precision(pages, k=k)
        found[f"recall_{k}"] = items.recall(pages, k=k)
        found[f"map_cut_{k}"] = items.average_precision(pages, k=k)
        found[f"success_{k}"] = items.success(pages, k=k)
    return found


def as_run(rankings: Any) -> dict[str, dict[str, float]]:
    """Orders as scores that fall by 1 a place."""
    return {r.query_id: {i: float(len(r) - n) for n, i in enumerate(r.result_ids)} for r in rankings}


def check_against_pytrec_eval(pages: GradedPages, qrels: Any, run: Any) -> int:
    mine = ours(pages)
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(mine)).evaluate(run)
    for row, query in enumerate(pages.query_ids):
        for name, values in mine.items():
            assert values[row] == pytest.approx(theirs.get(query, {}).get(name, 0.0), abs=1e-9), (query, name)
    return len(theirs)


def test_orders_equal_pytrec_eval(thousand: Any) -> None:
    pages = from_rankings(thousand.rankings, thousand.judgments)
    assert check_against_pytrec_eval(pages, thousand.qrels, as_run(thousand.rankings)) > 900


def test_runs_with_ties_equal_pytrec_eval(thousand: Any) -> None:
    run = {query: scores for query, scores in thousand.run.items() if scores}
    pages = from_runs(run, thousand.qrels)
    tied = sum(len(set(scores.values())) < len(scores) for scores in run.values())
    assert tied > 500
    assert check_against_pytrec_eval(pages, thousand.qrels, run) > 900


def test_scores_that_differ_only_in_double_precision_are_tied_as_in_trec_eval() -> None:
    qrels = {"q": {"a": 1, "b": 0}}
    for run in ({"q": {"a": 1.0 + 1e-12, "b": 1.0}}, {"q": {"a": 1.0, "b": 1.0}}, {"q": {"a": 1.1, "b": 1.0}}):
        theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)["q"]["recip_rank"]
        assert items.reciprocal_rank(from_runs(run, qrels))[0] == theirs


@pytest.mark.parametrize("rel", [2, 3])
def test_relevance_level_equals_ir_measures(thousand: Any, rel: int) -> None:
    pages = from_rankings(thousand.rankings, thousand.judgments)
    mine = {
        f"P(rel={rel})@5": items.precision(pages, k=5, rel=rel),
        f"R(rel={rel})@10": items.recall(pages, k=10, rel=rel),
        f"AP(rel={rel})": items.average_precision(pages, rel=rel),
        f"RR(rel={rel})": items.reciprocal_rank(pages, rel=rel),
        f"Success(rel={rel})@5": items.success(pages, k=5, rel=rel),
    }
    check_against_ir_measures(pages, thousand, mine)


def test_exponential_gains_cut_reciprocal_rank_and_judged_equal_ir_measures(thousand: Any) -> None:
    pages = from_rankings(thousand.rankings, thousand.judgments)
    mine = {
        f"nDCG(gains={GAINS})@10": items.ndcg(pages, k=10, dcg="exp-log2"),
        f"nDCG(gains={GAINS})": items.ndcg(pages, dcg="exp-log2"),
        "Judged@10": items.judged_share(pages, k=10),
        "Judged": items.judged_share(pages),
        "RR@5": items.reciprocal_rank(pages, k=5),
    }
    check_against_ir_measures(pages, thousand, mine)


def check_against_ir_measures(pages: GradedPages, made: Any, mine: dict[str, np.ndarray]) -> None:
    parsed = {ir_measures.parse_measure(name): values for name, values in mine.items()}
    run = {query: scores for query, scores in as_run(made.rankings).items() if scores}
    rows = {query: row for row, query in enumerate(pages.query_ids)}
    seen = 0
    for metric in ir_measures.iter_calc(list(parsed), made.qrels, run):
        if metric.query_id in run:
            seen += 1
            assert parsed[metric.measure][rows[metric.query_id]] == pytest.approx(metric.value, abs=1e-9), metric
    assert seen > 900 * len(parsed)


def test_hand_computed() -> None:
    pages = from_arrays([[0, np.nan, 2, 1], [0, 0, 0, 0], [3, 0, 0, np.nan]], lengths=[4, 4, 3])
    assert items.precision(pages, k=4).tolist() == [0.5, 0.0, 0.25]
    assert items.recall(pages, k=3).tolist() == [0.5, 0.0, 1.0]
    assert items.reciprocal_rank(pages).tolist() == [1 / 3, 0.0, 1.0]
    assert items.reciprocal_rank(pages, k=2).tolist() == [0.0, 0.0, 1.0]
    assert items.average_precision(pages) == pytest.approx([(1 / 3 + 2 / 4) / 2, 0.0, 1.0])
    best = 2 + 1 / np.log2(3)
    assert items.ndcg(pages) == pytest.approx([(2 / 2 + 1 / np.log2(5)) / best, 0.0, 1.0])
    assert items.judged_share(pages, k=3) == pytest.approx([2 / 3, 1.0, 1.0])
    assert np.isnan(items.judged_share(from_arrays(np.zeros((1, 3)), lengths=[0]))[0])


@pytest.mark.parametrize(
    ("wrong", "named"), [({"k": 0}, "k: got 0"), ({"k": 3, "rel": 0}, "rel: got 0"), ({"k": -1}, "k: got -1")]
)
def test_wrong_options_are_refused(wrong: dict[str, int], named: str) -> None:
    with pytest.raises(InputError, match=named):
        items.precision(from_arrays([[1.0]]), **wrong)


GRADES = arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, 3, np.nan])
)
ALL = (
    lambda pages: items.ndcg(pages, k=4),
    lambda pages: items.ndcg(pages, dcg="exp-log2"),
    lambda pages: items.precision(pages, k=3),
    lambda pages: items.recall(pages, k=3),
    items.reciprocal_rank,
    items.average_precision,
    lambda pages: items.success(pages, k=2),
    items.judged_share,
)


@settings(max_examples=50)
@given(GRADES, st.randoms(use_true_random=False))
def test_rows_do_not_know_each_other(grades: np.ndarray, random: Any) -> None:
    order = random.sample(range(len(grades)), len(grades))
    for measure in ALL:
        whole = measure(from_arrays(grades))
        np.testing.assert_array_equal(measure(from_arrays(grades[order])), whole[order])
        np.testing.assert_allclose([measure(from_arrays(row[None]))[0] for row in grades], whole, atol=1e-12)


@settings(max_examples=50)
@given(GRADES, st.integers(1, 200))
def test_padding_changes_nothing(grades: np.ndarray, more: int) -> None:
    wide = np.concatenate([grades, np.full((len(grades), more), 3.0)], axis=1)
    padded = from_arrays(wide, lengths=[grades.shape[1]] * len(grades))
    for measure in ALL:
        np.testing.assert_allclose(measure(padded), measure(from_arrays(grades)), atol=1e-12)


@given(GRADES, st.data())
def test_a_better_result_moved_up_never_lowers_anything(grades: np.ndarray, data: Any) -> None:
    first = data.draw(st.integers(0, grades.shape[1] - 1))
    second = data.draw(st.integers(first, grades.shape[1] - 1))
    better = grades.copy()
    turn = np.nan_to_num(grades[:, second]) > np.nan_to_num(grades[:, first])
    better[turn, first], better[turn, second] = grades[turn, second], grades[turn, first]
    for measure in ALL[:-1]:
        assert (measure(from_arrays(better)) >= measure(from_arrays(grades)) - 1e-12).all()


def test_names_of_results_change_nothing(thousand: Any) -> None:
    run = as_run(thousand.rankings[:50])
    qrels = {query: thousand.qrels[query] for query in run}
    renamed = from_runs(turned(run), turned(qrels))
    for measure in ALL:
        np.testing.assert_array_equal(measure(renamed), measure(from_runs(run, qrels)))


def turned(table: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same with other names of results, in another order of names."""
    return {query: {f"x{name[::-1]}": value for name, value in of.items()} for query, of in table.items()}
