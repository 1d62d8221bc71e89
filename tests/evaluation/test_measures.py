"""Measures against direct calls of pytrec_eval and ir_measures, hand references, and brute force over pairs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import ir_measures
import msgspec
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from wholepage.evaluation.measures import Evaluation, evaluate, parse_measure
from wholepage.evaluation.page_measures import (
    evaluate_pages,
    exposure_gap,
    ideal_exposure,
    modality_exposure,
    pair_accuracy,
    pair_name,
)
from wholepage.pages import DecodingError, ImageRef, InputError, Judgments, Modality, Page, Query, Ranking, Result

TEXT, IMAGE, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.VIDEO
Grades = dict[str, dict[str, float]]


def result(result_id: str, modality: Modality) -> Result:
    return Result(result_id, modality, text="t", images=() if modality is TEXT else (ImageRef("a.png"),))


def page_of(query_id: str, *modalities: Modality) -> Page:
    return Page(Query(query_id), tuple(result(f"r{i}", kind) for i, kind in enumerate(modalities)))


def order(query_id: str, *ids: str) -> Ranking:
    return Ranking(query_id, ids)


def random_pages(seed: int, number: int = 200) -> tuple[list[Page], list[Ranking], Grades]:
    """Pages with ties in the grades, ungraded results, grades of results not on the page, and pages without a 1."""
    rng = np.random.default_rng(seed)
    pages, rankings, grades = [], [], {}
    for number_ in range(number):
        query_id, length = f"query {number_}", int(rng.integers(1, 25))
        page = page_of(query_id, *((TEXT, IMAGE, VIDEO)[n] for n in rng.integers(0, 3, size=length)))
        ids = page.result_ids
        graded = {i: float(rng.integers(0, 4)) for i in ids if rng.random() < 0.7}
        graded |= {f"elsewhere {j}": float(rng.integers(0, 4)) for j in range(rng.integers(0, 3))}
        if number_ % 20 == 0:
            graded = dict.fromkeys(ids, 0.0)
        grades[query_id] = graded or {ids[0]: 1.0}
        pages.append(page)
        scores = tuple(sorted(rng.integers(0, 3, size=length).tolist(), reverse=True))  # ties in the scores too
        rankings.append(Ranking(query_id, tuple(rng.permutation(ids).tolist()), scores, "random"))
    return pages, rankings, grades


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("nDCG@10", "nDCG@10"),
        ("ndcg@10", "nDCG@10"),
        ("NDCG@10", "nDCG@10"),
        ("ndcg_cut_10", "nDCG@10"),
        ("nDCG", "nDCG"),
        ("nDCG(dcg='exp-log2')@10", "nDCG(dcg='exp-log2')@10"),
        ("RR@10", "RR@10"),
        ("mrr@10", "RR@10"),
        ("MRR", "RR"),
        ("recip_rank", "RR"),
        ("P@5", "P@5"),
        ("p_5", "P@5"),
        ("precision@5", "P@5"),
        ("P(rel=2)@5", "P(rel=2)@5"),
        ("AP", "AP"),
        ("map", "AP"),
        ("map_cut_100", "AP@100"),
        ("R@100", "R@100"),
        ("recall_100", "R@100"),
        ("ERR@10", "ERR@10"),
        ("err@20", "ERR@20"),
        ("Judged@10", "Judged@10"),
        ("success_1", "Success@1"),
        ("rprec", "Rprec"),
        (" nDCG @ 10 ", "nDCG@10"),
    ],
)
def test_names_of_measures(name: str, meaning: str) -> None:
    assert str(parse_measure(name)) == meaning
    assert parse_measure(name) == ir_measures.parse_measure(meaning)


NONSENSE = """
nDCG@ | nDCG@ten | nDCG@0 | nDCG@-1 | nDCG@2.5 | P | ERR | hits@10 | nDCG(rel)@3 | nDCG(x=1)@3 | 10 | nDCG@10; P@5 |
nDCG(dcg='log3')@10 | P(rel='two')@5 | RBP(p=0.8) | nDCG@10@5 | __import__('os') | P(rel=2 |
P(rel=f())@5 | nDCG(dcg=[])@5
"""


@pytest.mark.parametrize("name", ["", *(name.strip() for name in NONSENSE.split("|"))])
def test_unknown_measures_say_what_is_allowed(name: str) -> None:
    with pytest.raises(InputError, match=r"got .*allowed: nDCG@10|got .*allowed: a cutoff of 1 or more"):
        parse_measure(name)


def test_measures_as_objects_are_checked_too() -> None:
    judged, ranked = Judgments.from_mapping({"q": {"a": 1}}), [order("q", "a")]
    assert evaluate(ranked, judged, [ir_measures.nDCG @ 5]).mean("ndcg@5") == 1.0
    with pytest.raises(InputError, match="nothing installed computes"):
        evaluate(ranked, judged, [ir_measures.RBP(p=0.8)])


# --- lists -----------------------------------------------------------------------------------------------------------

LISTS = ["nDCG@10", "nDCG", "RR", "RR@3", "P@5", "AP", "R@100", "ERR@10", "Judged@10", "Success@1", "P(rel=2)@5"]


def by_hand(measure: str, ids: tuple[str, ...], grades: Mapping[str, float]) -> float:
    gains = [grades.get(i, 0.0) for i in ids]
    ideal = sorted(grades.values(), reverse=True)
    relevant = sum(g > 0 for g in grades.values())
    hits = [place for place, g in enumerate(gains, start=1) if g > 0]

    def dcg(values: list[float], k: int) -> float:
        return sum(g / math.log2(place + 1) for place, g in enumerate(values[:k], start=1))

    def ndcg(k: int) -> float:
        return dcg(gains, k) / dcg(ideal, k) if relevant else 0.0

    def err(k: int) -> float:
        total, left = 0.0, 1.0
        for place, g in enumerate(gains[:k], start=1):
            stop = (2**g - 1) / 16
            total, left = total + left * stop / place, left * (1 - stop)
        return total

    found = {
        "nDCG@10": ndcg(10),
        "nDCG": ndcg(10**6),
        "RR": 1 / hits[0] if hits else 0.0,
        "RR@3": 1 / hits[0] if hits and hits[0] <= 3 else 0.0,
        "P@5": sum(h <= 5 for h in hits) / 5,
        "AP": sum((n + 1) / h for n, h in enumerate(hits)) / relevant if relevant else 0.0,
        "R@100": len(hits) / relevant if relevant else 0.0,
        "ERR@10": err(10),
        "Judged@10": sum(i in grades for i in ids[:10]) / min(10, len(ids)),
        "Success@1": float(1 in hits),
        "P(rel=2)@5": sum(g >= 2 for g in gains[:5]) / 5,
    }
    return found[measure]


def test_equal_to_a_hand_reference() -> None:
    _, rankings, grades = random_pages(0)
    found = evaluate(rankings, Judgments.from_mapping(grades), LISTS)
    assert found.measures == tuple(LISTS)
    for measure in LISTS:
        expected = {r.query_id: by_hand(measure, r.result_ids, grades[r.query_id]) for r in rankings}
        assert found.of(measure) == pytest.approx(expected, abs=1e-5 if measure == "ERR@10" else 1e-9)
        assert found.mean(measure) == pytest.approx(sum(expected.values()) / len(expected), abs=1e-5)
        assert 0.02 < found.mean(measure) < 1


def test_equal_to_direct_calls_of_pytrec_eval_and_ir_measures() -> None:
    _, rankings, grades = random_pages(1)
    qrels = {q: {r: int(g) for r, g in of.items()} for q, of in grades.items()}
    run = {r.query_id: {i: 1 / (n + 1) for n, i in enumerate(r.result_ids)} for r in rankings}
    found = evaluate(rankings, Judgments.from_mapping(grades), ["nDCG@10", "P@5", "AP", "RR@10"])
    direct = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "P.5", "map"}).evaluate(run)
    for measure, name in (("nDCG@10", "ndcg_cut_10"), ("P@5", "P_5"), ("AP", "map")):
        assert found.of(measure) == pytest.approx({q: of[name] for q, of in direct.items()}, abs=1e-12)
    aggregate = ir_measures.calc_aggregate([ir_measures.RR @ 10, ir_measures.nDCG @ 10], qrels, run)
    assert found.mean("RR@10") == pytest.approx(aggregate[ir_measures.RR @ 10], abs=1e-12)
    assert found.mean("nDCG@10") == pytest.approx(aggregate[ir_measures.nDCG @ 10], abs=1e-12)


def test_gains_are_linear_and_the_name_says_when_not() -> None:
    judged, ranked = Judgments.from_mapping({"q": {"a": 1, "b": 3}}), [order("q", "a", "b")]
    found = evaluate(ranked, judged, ["nDCG@2", "nDCG(dcg='exp-log2')@2"])
    discount = 1 / math.log2(3)
    assert found.mean("nDCG@2") == pytest.approx((1 + 3 * discount) / (3 + discount))
    assert found.mean("nDCG(dcg='exp-log2')@2") == pytest.approx((1 + 7 * discount) / (7 + discount), abs=1e-5)


def test_the_order_counts_not_the_scores() -> None:
    judged = Judgments.from_mapping({"q": {"z": 1}})
    tied = Ranking("q", ("z", "a"), (1.0, 1.0))  # trec_eval alone would break the tie by id
    other = Ranking("q", ("a", "z"), (1.0, 1.0))
    assert evaluate([tied], judged, ["RR"]).mean("RR") == 1.0
    assert evaluate([other], judged, ["RR"]).mean("RR") == 0.5
    long = order("q", *(f"d{i}" for i in range(3000)), "z")
    assert evaluate([long], judged, ["RR"]).mean("RR") == pytest.approx(1 / 3001)


def test_odd_ids_are_told_apart() -> None:
    ids = ("a b", "a\tb", "a%b", "é", "a", " ", "\n")
    judged = Judgments.from_mapping({"q 1-x": {"a b": 1, "é": 2}, "1-x": {"a": 1}})
    found = evaluate([order("q 1-x", *ids), order("1-x", *ids)], judged, ["ERR@10", "nDCG@10"])
    assert found.of("ERR@10")["1-x"] == pytest.approx(1 / 16 / 5, abs=1e-5)
    assert found.of("ERR@10")["q 1-x"] == pytest.approx(by_hand("ERR@10", ids, {"a b": 1, "é": 2}), abs=1e-5)
    assert found.of("nDCG@10")["q 1-x"] == pytest.approx(by_hand("nDCG@10", ids, {"a b": 1, "é": 2}))


def test_queries_nobody_ranked_or_without_relevant_results_count_as_zero() -> None:
    judged = Judgments.from_mapping({"good": {"a": 1}, "missing": {"a": 1}, "bad": {"a": 0}, "empty": {"a": 2}})
    found = evaluate([order("good", "a"), order("bad", "a"), order("empty")], judged, LISTS)
    for measure in LISTS:
        assert {q: found.of(measure)[q] for q in ("missing", "empty")} == {"missing": 0.0, "empty": 0.0}
        assert found.of(measure)["bad"] == (1.0 if measure == "Judged@10" else 0.0)
    assert found.mean("nDCG@10") == 0.25
    assert list(found.of("AP")) == ["bad", "empty", "good", "missing"]


def test_queries_nobody_graded_are_refused_or_left_out() -> None:
    judged = Judgments.from_mapping({"q": {"a": 1}})
    ranked = [order("q", "a"), order("p", "a")]
    with pytest.raises(InputError, match=r"1 of 2 ranked queries, such as \['p'\].*skip_unjudged"):
        evaluate(ranked, judged, ["RR"])
    assert evaluate(ranked, judged, ["RR"], skip_unjudged=True) == Evaluation({"RR": {"q": 1.0}})
    with pytest.raises(InputError, match="1 of 1"):
        evaluate(ranked[1:], judged, ["RR"], skip_unjudged=True)
    with pytest.raises(InputError, match="0 of 0"):
        evaluate([], Judgments(), ["RR"])


def test_what_cannot_be_evaluated_is_refused() -> None:
    judged = Judgments.from_mapping({"q": {"a": 5}})
    with pytest.raises(InputError, match="two of query 'q'"):
        evaluate([order("q", "a"), order("q", "a")], judged, ["RR"])
    with pytest.raises(InputError, match=r"grade 5 of 'q'/'a'; allowed: 0 to 4"):
        evaluate([order("q", "a")], judged, ["nDCG@5", "ERR@5"])
    with pytest.raises(InputError, match="got none"):
        evaluate([order("q", "a")], judged, [])


def test_a_measure_that_a_page_does_not_define_is_refused() -> None:
    judged = Judgments.from_mapping({"q": {"a": 1}})
    with pytest.raises(InputError, match="leave Accuracy out"):
        evaluate([order("q", "a")], judged, ["Accuracy"])


def test_mean_grades_are_rounded_down() -> None:
    one = Judgments.from_mapping({"q": {"a": 1, "b": 1}}, who="ann")
    judged = one.merge(Judgments.from_mapping({"q": {"a": 0, "b": 2}}, who="bob"))
    assert evaluate([order("q", "a", "b")], judged, ["RR"]).mean("RR") == 0.5


def test_an_evaluation_is_looked_up_by_any_spelling() -> None:
    found = Evaluation({"nDCG@10": {"a": 1.0, "b": math.nan, "c": 0.0}, "Own": {"a": math.nan}})
    assert found.mean("ndcg_cut_10") == 0.5
    assert math.isnan(found.mean("Own"))
    assert found.means() == pytest.approx({"nDCG@10": 0.5, "Own": math.nan}, nan_ok=True)
    for name in ("AP", "nonsense"):
        with pytest.raises(InputError, match="allowed: nDCG@10, Own"):
            found.of(name)
    assert msgspec.json.decode(msgspec.json.encode(Evaluation({"AP": {"a": 0.5}})), type=Evaluation).mean("AP") == 0.5


# --- pages -----------------------------------------------------------------------------------------------------------


def test_pair_accuracy_equals_brute_force() -> None:
    pages, rankings, grades = random_pages(2)
    seen_nan = 0
    for page, ranking in zip(pages, rankings, strict=True):
        graded, places = grades[page.query_id], ranking.positions()
        counts: dict[str, list[bool]] = {}
        for one, other in itertools.permutations(page.results, 2):
            if one.result_id not in graded or other.result_id not in graded:
                continue
            if graded[one.result_id] > graded[other.result_id]:
                right = places[one.result_id] < places[other.result_id]
                same = one.modality is other.modality
                part = one.modality.value if same else pair_name(one.modality, other.modality)
                for key in (part, "within" if same else "cross", "all"):
                    counts.setdefault(key, []).append(right)

        def share(key: str, counts: dict[str, list[bool]] = counts) -> float:
            return sum(counts[key]) / len(counts[key]) if key in counts else math.nan

        found = pair_accuracy(ranking, page, graded)
        pairs = itertools.combinations(page.modalities, 2)
        assert found.within == pytest.approx({kind: share(kind.value) for kind in page.modalities}, nan_ok=True)
        assert found.cross == pytest.approx({p: share(p) for a, b in pairs if (p := pair_name(a, b))}, nan_ok=True)
        assert found.within_all == pytest.approx(share("within"), nan_ok=True)
        assert found.cross_all == pytest.approx(share("cross"), nan_ok=True)
        assert found.overall == pytest.approx(share("all"), nan_ok=True)
        seen_nan += math.isnan(found.overall)
    assert 10 <= seen_nan <= 100


def test_pair_accuracy_by_hand() -> None:
    page = page_of("q", TEXT, TEXT, IMAGE, IMAGE)
    grades = {"r0": 2.0, "r1": 0.0, "r2": 1.0, "r3": math.nan}
    found = pair_accuracy(order("q", "r2", "r3", "r0", "r1"), page, grades)
    # text: r0 > r1 right. cross: r0 > r2 wrong, r2 > r1 right. image: r3 was not graded.
    assert found.within[TEXT] == 1.0
    assert math.isnan(found.within[IMAGE])
    assert found.cross == {"text|image": 0.5}
    assert (found.within_all, found.cross_all) == (1.0, 0.5)
    assert found.overall == pytest.approx(2 / 3)
    assert pair_name(IMAGE, TEXT) == pair_name(TEXT, IMAGE) == "text|image"


def test_a_ranking_must_be_of_the_page() -> None:
    page = page_of("q", TEXT, IMAGE)
    for ranking in (order("q", "r0"), order("p", "r0", "r1"), order("q", "r0", "x")):
        for call in (
            lambda r: pair_accuracy(r, page, {}),
            lambda r: modality_exposure(r, page),
            lambda r: exposure_gap(r, page, {}),
        ):
            with pytest.raises(DecodingError):
                call(ranking)


def test_exposure_by_hand() -> None:
    page = page_of("q", TEXT, IMAGE, IMAGE)
    ranking = order("q", "r1", "r0", "r2")
    seen = [1.0, 1 / math.log2(3), 0.5]
    assert modality_exposure(ranking, page) == pytest.approx(
        {TEXT: seen[1] / sum(seen), IMAGE: (seen[0] + seen[2]) / sum(seen)}
    )
    assert modality_exposure(ranking, page, k=1) == {TEXT: 0.0, IMAGE: 1.0}
    # ideal: r0 first, then r1 and r2 in either order
    grades = {"r0": 2.0, "r1": 1.0, "r2": 1.0}
    assert ideal_exposure(page, grades)[TEXT] == pytest.approx(seen[0] / sum(seen))
    assert ideal_exposure(page, grades, k=1) == {TEXT: 1.0, IMAGE: 0.0}
    assert exposure_gap(ranking, page, grades) == pytest.approx((seen[0] - seen[1]) / sum(seen))
    assert exposure_gap(ranking, page, grades, k=1) == 1.0
    assert exposure_gap(order("q", "r0", "r2", "r1"), page, grades) == pytest.approx(0.0, abs=1e-15)
    assert math.isnan(exposure_gap(ranking, page, {"elsewhere": 1.0}))
    with pytest.raises(InputError, match="k: got 0"):
        modality_exposure(ranking, page, k=0)


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.sampled_from([TEXT, IMAGE, VIDEO]), min_size=1, max_size=5),
    data=st.data(),
    k=st.integers(1, 6),
)
def test_ideal_exposure_is_the_mean_over_all_ideal_orders(kinds: list[Modality], data: st.DataObject, k: int) -> None:
    page = page_of("q", *kinds)
    grade = st.one_of(st.none(), st.integers(0, 2).map(float))
    drawn = {i: data.draw(grade) for i in page.result_ids}
    grades = {i: g for i, g in drawn.items() if g is not None}
    ideal_orders = [
        ids
        for ids in itertools.permutations(page.result_ids)
        if all(grades.get(a, 0.0) >= grades.get(b, 0.0) for a, b in itertools.pairwise(ids))
    ]
    found = [modality_exposure(order("q", *ids), page, k=k) for ids in ideal_orders]
    expected = {kind: sum(f[kind] for f in found) / len(found) for kind in page.modalities}
    assert ideal_exposure(page, grades, k=k) == pytest.approx(expected, abs=1e-12)
    assert sum(expected.values()) == pytest.approx(1.0)


def test_pages_of_nothing_have_nothing_to_measure() -> None:
    page = page_of("q")
    assert modality_exposure(order("q"), page) == ideal_exposure(page, {}) == {}
    assert math.isnan(pair_accuracy(order("q"), page, {}).overall)
    assert math.isnan(exposure_gap(order("q"), page, {}))


def test_page_measures_of_many_pages() -> None:
    pages = [page_of("a", TEXT, IMAGE), page_of("b", TEXT, TEXT), page_of("c", TEXT, IMAGE)]
    judged = Judgments.from_mapping({"a": {"r0": 1, "r1": 0}, "b": {"r0": 0, "r1": 1}})
    found = evaluate_pages([order("c", "r0", "r1"), order("b", "r0", "r1"), order("a", "r0", "r1")], pages, judged, k=5)
    assert found.measures == (
        "PairAccuracy",
        "PairAccuracy(within)",
        "PairAccuracy(cross)",
        "ExposureGap@5",
        "PairAccuracy(text)",
        "PairAccuracy(image)",
        "PairAccuracy(text|image)",
    )
    assert found.of("PairAccuracy") == pytest.approx({"a": 1.0, "b": 0.0, "c": math.nan}, nan_ok=True)
    assert found.means() == pytest.approx(
        {
            "PairAccuracy": 0.5,
            "PairAccuracy(within)": 0.0,
            "PairAccuracy(cross)": 1.0,
            "ExposureGap@5": 0.0,
            "PairAccuracy(text)": 0.0,
            "PairAccuracy(image)": math.nan,
            "PairAccuracy(text|image)": 1.0,
        },
        nan_ok=True,
    )
    with pytest.raises(InputError, match="got none of query 'a'"):
        evaluate_pages([], pages, judged)
