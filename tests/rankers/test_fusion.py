from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from wholepage.pages.errors import InputError, NoRanker, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.pages.protocols import Ranker, Scorer
from wholepage.rankers.fusion import (
    IsotonicMerge,
    MinMaxMerge,
    RawMerge,
    ReciprocalRankFusion,
    RoundRobin,
    SingleModal,
    ZScoreMerge,
)

T, I, A = Modality.TEXT, Modality.IMAGE, Modality.ANSWER  # noqa: E741


class Told:
    """Scores results as it was told; refuses pages of several modalities."""

    def __init__(self, scores: Mapping[str, float], name: str = "told") -> None:
        self.scores, self.name = scores, name

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        for page in pages:
            assert len(page.modalities) == 1
        return [np.array([self.scores[i] for i in page.result_ids], dtype=np.float32) for page in pages]


def page(*ids: str, query_id: str = "q") -> Page:
    """A page of results whose ids begin with t, i or a."""
    kinds = {"t": T, "i": I, "a": A}
    return Page(
        Query(query_id, "x"),
        tuple(Result(i, kinds[i[0]], "text", (ImageRef("p"),) if i[0] == "i" else ()) for i in ids),
    )


def single(scores: Mapping[str, float]) -> SingleModal:
    return SingleModal({m: Told(scores) for m in (T, I, A)})


SCORES = {"t1": 0.9, "t2": 0.1, "t3": 0.5, "i1": 30.0, "i2": 10.0, "a1": 7.0}
PAGE = page("i2", "t3", "a1", "t1", "i1", "t2")
MERGES: list[Callable[[Scorer], RawMerge]] = [RawMerge, ZScoreMerge, MinMaxMerge, ReciprocalRankFusion, RoundRobin]  # type: ignore[list-item]


def test_single_modal_scores_each_by_its_own() -> None:
    assert isinstance(single(SCORES), Scorer)
    got = single(SCORES).score([PAGE, page(), page("t2")])
    np.testing.assert_array_equal(got[0], np.float32([10, 0.5, 7, 0.9, 30, 0.1]))
    assert [len(scores) for scores in got] == [6, 0, 1]
    assert SingleModal({I: Told({}, "x"), T: Told({}, "y")}).name == "single(text=y, image=x)"


def test_a_modality_without_scorer() -> None:
    scorers = {T: Told(SCORES)}
    with pytest.raises(NoRanker, match=r"'q': results\[0\] 'i2': got modality 'image'; allowed: \['text'\]"):
        SingleModal(scorers).score([PAGE])
    lenient = SingleModal(scorers, missing="last")
    np.testing.assert_array_equal(np.isnan(lenient.score([PAGE])[0]), [True, False, True, False, True, False])
    assert ZScoreMerge(lenient).rank([PAGE])[0].result_ids == ("t1", "t3", "t2", "i2", "a1", "i1")
    with pytest.raises(InputError, match="missing='skip'"):
        SingleModal(scorers, missing="skip")  # type: ignore[arg-type]


def test_a_scorer_that_loses_scores_is_refused() -> None:
    class Short(Told):
        def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
            return [scores[:-1] for scores in super().score(pages)]

    with pytest.raises(ShapeError, match="text"):
        SingleModal({T: Short(SCORES)}).score([page("t1", "t2")])


def test_raw() -> None:
    assert RawMerge(single(SCORES)).rank([PAGE])[0].result_ids == ("i1", "i2", "a1", "t1", "t3", "t2")


def test_zscore_is_scipys() -> None:
    got = ZScoreMerge(single(SCORES)).score([PAGE])[0]
    text = stats.zscore([0.5, 0.9, 0.1])
    np.testing.assert_allclose(got, [-1, text[0], 0, text[1], 1, text[2]], atol=1e-6)


def test_minmax() -> None:
    np.testing.assert_allclose(MinMaxMerge(single(SCORES)).score([PAGE])[0], [0, 0.5, 0.5, 1, 1, 0], atol=1e-6)


def test_reciprocal_ranks() -> None:
    merge = ReciprocalRankFusion(single(SCORES))
    np.testing.assert_allclose(merge.score([PAGE])[0], [1 / 62, 1 / 62, 1 / 61, 1 / 61, 1 / 61, 1 / 63], rtol=1e-6)
    assert merge.rank([PAGE])[0].result_ids == ("a1", "t1", "i1", "i2", "t3", "t2")  # ties: the order received
    with pytest.raises(InputError, match="k=-1"):
        ReciprocalRankFusion(single(SCORES), k=-1)


def test_round_robin_takes_turns() -> None:
    assert RoundRobin(single(SCORES)).rank([PAGE])[0].result_ids == ("t1", "i1", "a1", "t3", "i2", "t2")


@pytest.mark.parametrize("merge", [ZScoreMerge, MinMaxMerge])
def test_no_spread_is_the_middle(merge: Callable[[Scorer], ZScoreMerge]) -> None:
    flat = single(dict.fromkeys(("t1", "t2", "t3"), 0.1) | {"i1": 5.0})
    got = merge(flat).score([page("t1", "t2", "t3", "i1")])[0]
    assert len(set(got.tolist())) == 1
    assert got[0] == (0 if merge is ZScoreMerge else 0.5)


def test_no_opinion_stays_last_and_out_of_the_statistics() -> None:
    scores = single({**SCORES, "t9": float("nan")})
    for merge in MERGES:
        without, beside = merge(scores).rank([PAGE, page("t9", *PAGE.result_ids)])
        assert beside.result_ids == (*without.result_ids, "t9")
        assert beside.scores is not None
        assert beside.scores[-1] is None
        assert beside.scores[:-1] == without.scores


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_merge_keeps_the_single_modal_orders(data: st.DataObject) -> None:
    ids = data.draw(st.permutations(["t1", "t2", "t3", "t4", "i1", "i2", "i3", "a1", "a2"]))
    scores = {i: data.draw(st.integers(-300, 300)) / 8 for i in ids}
    table, other = page(*ids), page("t1", "i2", query_id="z")
    calibrated = IsotonicMerge(single(scores)).fit(
        [table], Judgments.from_mapping({"q": {i: data.draw(st.integers(0, 3)) for i in ids}})
    )
    for ranker in [*(merge(single(scores)) for merge in MERGES), calibrated]:
        assert isinstance(ranker, Ranker)
        first = ranker.rank([table])[0].check(table)
        assert ranker.rank([other, table])[1] == first  # a page does not depend on its neighbours
        for modality in table.modalities:
            alone = [i for i in first.result_ids if i[0] == modality.value[0]]
            wanted = sorted(table.only(modality).result_ids, key=lambda i: -scores[i])
            assert alone == wanted


def test_isotonic_is_scikit_learns_per_modality() -> None:
    rng = np.random.default_rng(0)
    pages, scores, grades = [], {}, {}
    for q in range(20):
        ids = [f"t{q}.{n}" for n in range(5)] + [f"i{q}.{n}" for n in range(5)]
        pages.append(page(*ids, query_id=f"q{q}"))
        grades[f"q{q}"] = {i: float(rng.integers(0, 4)) for i in ids}
        for i in ids:
            scores[i] = float(np.float32(grades[f"q{q}"][i] + rng.normal() + (100 if i[0] == "i" else 0)))
    merge = IsotonicMerge(single(scores)).fit(pages, Judgments.from_mapping(grades))
    for kind in "ti":
        x = [scores[i] for of in grades.values() for i in of if i[0] == kind]
        y = [grade for of in grades.values() for i, grade in of.items() if i[0] == kind]
        curve = IsotonicRegression(out_of_bounds="clip").fit(x, y)
        for table, got in zip(pages, merge.score(pages), strict=True):
            rows = [n for n, i in enumerate(table.result_ids) if i[0] == kind]
            wanted = curve.predict([scores[table.result_ids[n]] for n in rows])
            gaps = np.diff(np.unique(np.round(merge_levels(merge, table), 9)))
            np.testing.assert_allclose(got[rows], wanted, atol=0.5 * gaps.min() if len(gaps) else 0.5)
    shuffled = IsotonicMerge(single(scores)).fit(pages[::-1], Judgments.from_mapping(grades))
    assert shuffled.rank(pages) == merge.rank(pages)


def test_isotonic_learns_from_the_scores_given_and_reads_an_ungraded_modality_as_another() -> None:
    scores = single({"t1": 0.0, "t2": 1.0, "a1": 2.0, "a2": -1.0})
    graded = Judgments.from_mapping({"q": {"t1": 3, "t2": 0}})
    told = np.array([5.0, -5.0, 0.0, 0.0], np.float32)  # t1 above t2, though the scorer says otherwise
    merge = IsotonicMerge(scores, read_as={Modality.ANSWER: Modality.TEXT})
    merge.fit([page("t1", "t2", "a1", "a2")], graded, [told])
    levels = merge.score([page("t1", "t2", "a1", "a2")])[0]
    curve = IsotonicRegression(out_of_bounds="clip").fit([5.0, -5.0], [3.0, 0.0])
    np.testing.assert_allclose(levels, curve.predict([0.0, 1.0, 2.0, -1.0]), atol=0.2)
    with pytest.raises(InputError, match="'answer'"):
        IsotonicMerge(scores).fit([page("t1", "t2")], graded).rank([page("t1", "a1")])


def merge_levels(merge: IsotonicMerge, table: Page) -> NDArray[np.float64]:
    """The expected grades on a page before equals are ordered, one modality at a time."""
    raw = merge.single.score([table])[0].astype(np.float64)
    return np.concatenate(
        [
            merge._comparable(table, modality, raw[[r.modality is modality for r in table.results]])
            for modality in table.modalities
        ]
    )


def test_isotonic_needs_labels() -> None:
    merge = IsotonicMerge(single(SCORES))
    with pytest.raises(InputError, match="call fit"):
        merge.rank([PAGE])
    with pytest.raises(InputError, match="no graded result"):
        merge.fit([PAGE], Judgments())
    merge.fit([PAGE], Judgments.from_mapping({"q": {"t1": 3, "t2": 0}}))
    assert merge.rank([page("t2", "t1")])[0].result_ids == ("t1", "t2")
    with pytest.raises(InputError, match=r"'image' results; allowed: \['text'\]"):
        merge.rank([PAGE])


def test_names_say_what_they_are() -> None:
    one = SingleModal({T: Told({}, "bm25")})
    assert [merge(one).name for merge in [*MERGES, IsotonicMerge]] == [
        "raw(single(text=bm25))",
        "zscore(single(text=bm25))",
        "minmax(single(text=bm25))",
        "rrf(k=60)(single(text=bm25))",
        "round-robin(single(text=bm25))",
        "isotonic(single(text=bm25))",
    ]
