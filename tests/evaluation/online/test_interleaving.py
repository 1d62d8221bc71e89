"""Merged pages and their credit: every result once, orders the methods allow, exact fairness by enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wholepage.evaluation.online.interleaving.block_draft import BlockAwareTeamDraft, merged_blocks, split_blocks
from wholepage.evaluation.online.interleaving.optimized import NoFairMerge, Optimized, plan
from wholepage.evaluation.online.interleaving.pairwise import PairwisePreferences
from wholepage.evaluation.online.interleaving.probabilistic import Probabilistic
from wholepage.evaluation.online.interleaving.shown import Interleaving, Shown, from_impression
from wholepage.evaluation.online.interleaving.team_draft import TeamDraft, draft
from wholepage.evaluation.users.impressions import Click, Impression
from wholepage.pages.errors import DecodingError, InputError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result

TWO: list[Interleaving] = [TeamDraft(), Probabilistic(), Optimized(), Optimized(worth="inverse"), PairwisePreferences()]
MANY: list[Interleaving] = [TeamDraft(), PairwisePreferences()]
KINDS = (Modality.TEXT, Modality.IMAGE, Modality.VIDEO)
PICTURE = (ImageRef("picture.png"),)


class Told:
    """Draws that are told beforehand, in place of a generator."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values = values

    def random(self, shape: object) -> NDArray[np.float64]:
        assert self.values.shape == shape
        return self.values


def ranking(ids: str | list[str], by: str) -> Ranking:
    return Ranking("q", tuple(ids), by=by)


def page_of(kinds: dict[str, Modality]) -> Page:
    return Page(
        Query("q"),
        tuple(Result(i, kind, "words", () if kind is Modality.TEXT else PICTURE) for i, kind in kinds.items()),
    )


@st.composite
def permuted(draw: st.DrawFn, *, rankers: int = 2) -> list[Ranking]:
    ids = [f"r{i}" for i in range(draw(st.integers(1, 9)))]
    return [ranking(draw(st.permutations(ids)), by=f"ranker {n}") for n in range(rankers)]


@st.composite
def partial(draw: st.DrawFn, *, rankers: int = 2) -> list[Ranking]:
    return [ranking(r.result_ids[: draw(st.integers(0, 9))], r.by) for r in draw(permuted(rankers=rankers))]


@st.composite
def mixed(draw: st.DrawFn, *, rankers: int = 2) -> tuple[Page, list[Ranking]]:
    made = draw(permuted(rankers=rankers))
    return page_of({i: draw(st.sampled_from(KINDS)) for i in sorted(made[0].result_ids)}), made


@pytest.mark.parametrize("method", TWO, ids=lambda m: m.name)
@given(made=partial() | permuted(), seed=st.integers(0, 99))
def test_each_result_of_the_union_once(method: Interleaving, made: list[Ranking], seed: int) -> None:
    shown = method.interleave(made, rng=np.random.default_rng(seed))
    assert sorted(shown.order) == sorted(set(made[0].result_ids) | set(made[1].result_ids))
    assert shown.rankers == ("ranker 0", "ranker 1")
    assert method.credit(shown, ()).credits == (0.0, 0.0)
    everything = method.credit(shown, range(len(shown.order))).credits
    assert all(math.isfinite(credit) for credit in everything)


@pytest.mark.parametrize("method", MANY, ids=lambda m: m.name)
@given(made=partial(rankers=4), seed=st.integers(0, 99))
def test_many_rankers_lose_and_invent_nothing(method: Interleaving, made: list[Ranking], seed: int) -> None:
    shown = method.interleave(made, rng=np.random.default_rng(seed))
    assert sorted(shown.order) == sorted({i for r in made for i in r.result_ids})
    assert len(method.credit(shown, range(len(shown.order))).credits) == 4


@pytest.mark.parametrize("method", [TeamDraft(), Optimized()], ids=lambda m: m.name)
@given(made=permuted(), seed=st.integers(0, 99))
def test_every_top_is_two_tops_together(method: Interleaving, made: list[Ranking], seed: int) -> None:
    order = method.interleave(made, rng=np.random.default_rng(seed)).order
    for place, result in enumerate(order):
        best = {next(i for i in r.result_ids if i not in order[:place]) for r in made}
        assert result in best


@given(made=permuted(rankers=3), seed=st.integers(0, 99))
def test_pairwise_shows_nothing_lower_than_all_rankers_have_it(made: list[Ranking], seed: int) -> None:
    order = PairwisePreferences().interleave(made, rng=np.random.default_rng(seed)).order
    for place, result in enumerate(order):
        assert min(r.positions()[result] for r in made) <= place


@given(made=mixed(rankers=3), seed=st.integers(0, 99))
def test_no_block_of_any_ranker_is_split(made: tuple[Page, list[Ranking]], seed: int) -> None:
    page, rankings = made
    shown = BlockAwareTeamDraft().interleave(rankings, rng=np.random.default_rng(seed), page=page)
    assert sorted(shown.order) == sorted(page.result_ids)
    assert split_blocks(shown, page)[0] == 0
    together = merged_blocks(rankings, page)
    for number in range(max(shown.blocks) + 1):
        places = [place for place, block in enumerate(shown.blocks) if block == number]
        assert places == list(range(places[0], places[-1] + 1))
        assert {shown.order[place] for place in places} == set(together[shown.order[places[0]]])
    for start in range(0, len(shown.order) - 2, 3):
        assert sorted(shown.teams[start : start + 3]) == [0, 1, 2]


def test_blocks_that_share_a_result_are_one() -> None:
    page = page_of({i: Modality.IMAGE if i in "wxyz" else Modality.TEXT for i in "abwxyz"})
    first, second = ranking("wxaybz", "one"), ranking("axybwz", "two")
    together = merged_blocks([first, second], page)
    assert set(together["x"]) == set("wxyz")  # w-x and x-y and w-z overlap
    assert together["a"] == ["a"]
    apart = Shown("q", tuple("wxaybz"), (first, second), (0,) * 6)
    assert split_blocks(apart, page) == (2, 3)  # x-y and w-z are apart there, w-x is not


def test_block_that_is_opened_is_finished_in_turn() -> None:
    page = page_of({i: Modality.IMAGE if i in "xyz" else Modality.TEXT for i in "abcxyz"})
    made = [ranking("xyzabc", "one"), ranking("azyxbc", "two")]
    first_then_second = Told(np.tile([0.1, 0.2], (6, 1)))
    shown = BlockAwareTeamDraft().interleave(made, rng=first_then_second, page=page)  # type: ignore[arg-type]
    assert shown.order == tuple("xzyabc")
    assert shown.teams == (0, 1, 0, 1, 0, 1)
    assert shown.blocks == (0, 0, 0, 1, 2, 3)
    ordinary = TeamDraft().interleave(made, rng=first_then_second)  # type: ignore[arg-type]
    assert ordinary.order == tuple("xayzbc")
    assert split_blocks(ordinary, page) == (2, 2)


def test_all_may_be_blocks() -> None:
    page = page_of({i: Modality.IMAGE if i in "xy" else Modality.TEXT for i in "abxy"})
    made = [ranking("abxy", "one"), ranking("xyba", "two")]
    shown = BlockAwareTeamDraft(loose=()).interleave(made, rng=np.random.default_rng(0), page=page)
    assert split_blocks(shown, page, loose=()) == (0, 4)
    assert shown.blocks == (0, 0, 1, 1)


def test_block_aware_wants_the_whole_page() -> None:
    page = page_of(dict.fromkeys("ab", Modality.TEXT))
    made = [ranking("ab", "one"), ranking("a", "two")]
    with pytest.raises(InputError, match="page: got none"):
        BlockAwareTeamDraft().interleave(made, rng=np.random.default_rng(0))
    with pytest.raises(DecodingError, match="lost"):
        BlockAwareTeamDraft().interleave(made, rng=np.random.default_rng(0), page=page)


def test_team_draft_by_hand() -> None:
    told = Told(np.array([[0.1, 0.9], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]]))
    order, teams = draft(["abcd", "bdca"], told)  # type: ignore[arg-type]
    assert order == list("abdc")
    assert teams == [0, 1, 1, 0]
    shown = Shown("q", tuple(order), (ranking("abcd", "one"), ranking("bdca", "two")), tuple(teams))
    assert TeamDraft().credit(shown, [3, 1, 1]).credits == (1.0, 1.0)
    assert shown.team_names == ("one", "two", "two", "one")
    assert TeamDraft().credit(shown.top(3), [2]).credits == (0.0, 1.0)


@given(made=partial(rankers=2))
def test_team_draft_is_fair_in_every_place(made: list[Ranking]) -> None:
    """All coins, each as likely: with whatever rankings, no place is one ranker's more than the other's."""
    lists = [r.result_ids[:4] for r in made]
    rounds = len(set(lists[0]) | set(lists[1]))
    brought = np.zeros((rounds, 2))
    for coins in itertools.product((0, 1), repeat=rounds):
        told = Told(np.array([(0.1, 0.9) if coin else (0.9, 0.1) for coin in coins]).reshape(rounds, 2))
        for place, team in enumerate(draft(lists, told)[1]):  # type: ignore[arg-type]
            if team >= 0:
                brought[place, team] += 1
    assert (brought[:, 0] == brought[:, 1]).all()


def orders_by_chance(lists: list[str], steepness: float) -> dict[tuple[str, ...], float]:
    """Every order of probabilistic interleaving with its chance, by the definition."""
    found: dict[tuple[str, ...], float] = {(): 1.0}
    for _ in range(len(set(lists[0]) | set(lists[1]))):
        longer: dict[tuple[str, ...], float] = {}
        for order, chance in found.items():
            for ids in lists:
                weights = {i: (ids.index(i) + 1) ** -steepness for i in ids if i not in order}
                for i, weight in weights.items():
                    longer[(*order, i)] = longer.get((*order, i), 0.0) + chance * weight / sum(weights.values()) / 2
        found = longer
    return found


@pytest.mark.parametrize("pair", [("abcd", "dbac"), ("abcd", "abcd"), ("abc", "cab")])
def test_probabilistic_prefers_nobody_by_place_alone(pair: tuple[str, str]) -> None:
    made = (ranking(pair[0], "one"), ranking(pair[1], "two"))
    method = Probabilistic()
    chances = orders_by_chance(list(pair), 3.0)
    assert sum(chances.values()) == pytest.approx(1.0)
    for clicks in every_subset(len(pair[0])):
        mean = sum(p * method.credit(Shown("q", order, made), clicks).preference for order, p in chances.items())
        assert mean == pytest.approx(0.0, abs=1e-12)


def test_probabilistic_draws_what_it_says() -> None:
    made = [ranking("abcd", "one"), ranking("dbac", "two")]
    rng = np.random.default_rng(5)
    drawn: dict[tuple[str, ...], int] = {}
    for _ in range(20_000):
        order = Probabilistic(steepness=1.0).interleave(made, rng=rng).order
        drawn[order] = drawn.get(order, 0) + 1
    chances = orders_by_chance(["abcd", "dbac"], 1.0)
    distance = sum((drawn.get(o, 0) - 20_000 * p) ** 2 / (20_000 * p) for o, p in chances.items())
    assert distance < 23 + 4 * math.sqrt(2 * 23)  # chi-squared of 23 degrees of freedom


def test_marginal_credit_is_the_mean_over_assignments() -> None:
    made = (ranking("abcde", "one"), ranking("edacb", "two"))
    method, order, clicks = Probabilistic(), tuple("aebdc"), (0, 2, 3)
    share = method.brought_by_first(made, order)
    wins = [0.0, 0.0]
    for teams in itertools.product((0, 1), repeat=3):
        chance = math.prod(share[p] if t == 0 else 1 - share[p] for p, t in zip(clicks, teams, strict=True))
        wins[teams.count(0) < 2] += chance
    assert method.credit(Shown("q", order, made), clicks).credits == pytest.approx(tuple(wins))
    weight = {i: (n + 1) ** -3 for n, i in enumerate("abcde")}
    other = {i: (n + 1) ** -3 for n, i in enumerate("edacb")}
    left = [i for i in "abcde" if i not in "ae"]
    first, second = (w["b"] / sum(w[i] for i in left) for w in (weight, other))
    assert share[2] == pytest.approx(first / (first + second))
    assert method.brought_by_first(made, order[:3]) == pytest.approx(share[:3])  # a page that was cut


@pytest.mark.parametrize("lists", [("abcd", "dbac"), ("abcd", "bacd"), ("abc", "xyz"), ("abcd", "ax", "bxya")])
def test_pairwise_prefers_nobody_by_place_alone(lists: tuple[str, ...]) -> None:
    made = tuple(ranking(ids, f"ranker {n}") for n, ids in enumerate(lists))
    best = {i: min(ids.index(i) + 1 for ids in lists if i in ids) for i in set().union(*lists)}
    chances: dict[tuple[str, ...], float] = {(): 1.0}
    for place in range(1, len(best) + 1):
        chances = {
            (*order, i): p / len(options)
            for order, p in chances.items()
            for options in [[i for i in best if best[i] <= place and i not in order]]
            for i in options
        }
    assert sum(chances.values()) == pytest.approx(1.0)
    method = PairwisePreferences()
    for clicks in every_subset(min(len(best), 4)):
        means = np.sum(
            [np.multiply(p, method.credit(Shown("q", o, made), clicks).credits) for o, p in chances.items()], 0
        )
        assert means == pytest.approx(np.zeros(len(lists)), abs=1e-12)


def test_pairwise_by_hand() -> None:
    made = (ranking("abc", "one"), ranking("bac", "two"))
    # Candidates: a, b on the first place, all three from the third: c may not have been placed before it.
    shown = Shown("q", tuple("bac"), made)
    # Clicked a below b: a is preferred to b, by pages in which every place was open to both. c follows the last click;
    # with c it is a candidate only on place 3, and a stands on 2.
    assert PairwisePreferences().credit(shown, [1]).credits == (1.0, -1.0)
    late = Shown("q", tuple("abc"), (ranking("abc", "one"), ranking("acb", "two")))
    # b and c are both candidates from place 2, where neither can be missing: weight 1. a was first for both.
    assert PairwisePreferences().credit(late, [1]).credits == (1.0, -1.0)
    assert PairwisePreferences().credit(late, [2]).credits == (-1.0, 1.0)


def test_pairwise_weighs_by_the_chance_to_be_asked() -> None:
    made = (ranking("abcd", "one"), ranking("dcab", "two"))
    # a and d are candidates from place 1, c and b from 2. Places 1: 2 candidates; so a is still free at 2 in half.
    shown = Shown("q", tuple("dcab"), made)
    credits = PairwisePreferences().credit(shown, [2]).credits  # a over d (not asked: no, both from 1), c, b
    # a over d: weight 1, one +, two -.  a over c (both from 2; a not at 1: chance 1/2): weight 2, one +, two -.
    # a over b (both from 2, b after the last click): weight 2, one +, two +.
    assert credits == pytest.approx((1 + 2 + 2, -1 - 2 + 2))


@given(made=permuted())
def test_optimized_plan_is_fair_in_every_place(made: list[Ranking]) -> None:
    ids = made[0].result_ids
    second = tuple(ids.index(i) for i in made[1].result_ids)
    for worth in ("linear", "inverse"):
        found = plan(tuple(range(len(ids))), second, 10, worth)  # type: ignore[arg-type]
        assert found.chances.sum() == pytest.approx(1.0)
        assert (found.chances > 0).all()
        assert found.chances @ found.worth[found.orders] == pytest.approx(np.zeros(found.orders.shape[1]), abs=1e-7)


def test_optimized_by_hand() -> None:
    # a b c against b c a: three orders, fair in one mixture only.
    linear = plan((0, 1, 2), (1, 2, 0), 10, "linear")
    assert linear.worth.tolist() == [2.0, -1.0, -1.0]
    assert dict(zip(map(tuple, linear.orders.tolist()), linear.chances, strict=True)) == pytest.approx(
        {(0, 1, 2): 1 / 3, (1, 0, 2): 1 / 3, (1, 2, 0): 1 / 3}
    )
    inverse = plan((0, 1, 2), (1, 2, 0), 10, "inverse")
    assert dict(zip(map(tuple, inverse.orders.tolist()), inverse.chances, strict=True)) == pytest.approx(
        {(0, 1, 2): 3 / 7, (1, 0, 2): 13 / 35, (1, 2, 0): 4 / 7 - 13 / 35}
    )
    made = (ranking("abc", "one"), ranking("bca", "two"))
    assert Optimized().credit(Shown("q", tuple("bac"), made), [0, 1]).credits == (2.0, 1.0)


def test_optimized_beyond_its_depth() -> None:
    made = [ranking("abcdef", "one"), ranking("fedcba", "two")]
    method = Optimized(depth=2)
    shown = method.interleave(made, rng=np.random.default_rng(0))
    assert sorted(shown.order) == sorted("abcdef")
    assert method.credit(shown, [2, 3, 4, 5]).credits == (0.0, 0.0)


@given(made=partial())
def test_optimized_is_fair_to_rankings_of_different_results(made: list[Ranking]) -> None:
    """Also where one ranks more: what only the longer could bring is nobody's."""
    method, both = Optimized(), min(len(r) for r in made)
    short = [r.top(both).result_ids for r in made]
    numbers = {i: n for n, i in enumerate(dict.fromkeys((*short[0], *short[1])))}
    found = plan(tuple(range(both)), tuple(numbers[i] for i in short[1]), 10, "linear")
    assert found.orders.shape[1] == both
    assert found.chances @ found.worth[found.orders] == pytest.approx(np.zeros(both), abs=1e-7)
    shown = method.interleave(made, rng=np.random.default_rng(0))
    assert set(shown.order[:both]) <= set(numbers)
    assert method.credit(shown, range(both, len(shown.order))).credits == (0.0, 0.0)


def test_optimized_says_when_nothing_is_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "wholepage.evaluation.online.interleaving.optimized.optimize.linprog",
        lambda *args, **named: type("Unsolved", (), {"success": False})(),
    )
    with pytest.raises(NoFairMerge, match="use team draft"):
        plan.__wrapped__((0, 1), (1, 0), 10, "linear")


@pytest.mark.parametrize("method", TWO, ids=lambda m: m.name)
def test_a_ranker_that_is_right_gets_more(method: Interleaving) -> None:
    made = [ranking("abcdef", "good"), ranking("fedcba", "bad")]
    rng = np.random.default_rng(3)
    total = 0.0
    for _ in range(400):
        shown = method.interleave(made, rng=rng)
        total += method.credit(shown, [shown.order.index("a")]).preference
    assert total > 0
    again = method.interleave(made, rng=np.random.default_rng(8))
    assert again == method.interleave(made, rng=np.random.default_rng(8))


def test_what_cannot_be_interleaved() -> None:
    rng = np.random.default_rng(0)
    one, two, three = ranking("ab", "1"), ranking("ba", "2"), ranking("ba", "3")
    with pytest.raises(InputError, match="got 1; allowed: 2 or more"):
        TeamDraft().interleave([one], rng=rng)
    for method in (Probabilistic(), Optimized()):
        with pytest.raises(InputError, match="got 3; allowed: 2 or up to 2"):
            method.interleave([one, two, three], rng=rng)
    with pytest.raises(InputError, match="a name of its own"):
        TeamDraft().interleave([one, ranking("ba", "1")], rng=rng)
    with pytest.raises(InputError, match="a name of its own"):
        TeamDraft().interleave([one, ranking("ba", "")], rng=rng)
    with pytest.raises(InputError, match="queries"):
        TeamDraft().interleave([one, Ranking("other", ("a",), by="2")], rng=rng)
    with pytest.raises(InputError, match="not on the page"):
        TeamDraft().interleave([one, two], rng=rng, page=page_of({"a": Modality.TEXT}))
    shown = TeamDraft().interleave([one, two], rng=rng)
    for clicks in ([2], [-1]):
        with pytest.raises(InputError, match="places"):
            TeamDraft().credit(shown, clicks)
    with pytest.raises(InputError, match="teams"):
        TeamDraft().credit(Probabilistic().interleave([one, two], rng=rng), [0])
    with pytest.raises(InputError, match="depth"):
        shown.top(0)
    for bad in (lambda: Probabilistic(steepness=0.0), lambda: Optimized(depth=13), lambda: Optimized(worth="x")):  # type: ignore[arg-type]
        with pytest.raises(InputError, match="allowed"):
            bad()


def test_a_page_from_the_log_is_the_page_shown() -> None:
    made = [ranking("abc", "one"), ranking("cab", "two")]
    shown = TeamDraft().interleave(made, rng=np.random.default_rng(1))
    kinds = (Modality.TEXT,) * 3
    logged = Impression("i", "u", "q", shown.order, kinds, (Click(1),), teams=shown.team_names)
    assert from_impression(logged, made) == shown
    with pytest.raises(InputError, match="teams"):
        from_impression(logged, [ranking("abc", "one"), ranking("cab", "three")])
    with pytest.raises(InputError, match="ranked by nobody"):
        from_impression(logged, [ranking("ab", "one"), ranking("ba", "two")])
    with pytest.raises(InputError, match="pair them by query"):
        from_impression(Impression("i", "u", "other", ("a",), kinds[:1]), made)


def every_subset(size: int) -> list[tuple[int, ...]]:
    return [c for n in range(size + 1) for c in itertools.combinations(range(size), n)]
