"""Logs of users who do not exist."""

from __future__ import annotations

import time

import msgspec
import numpy as np
import pytest

from wholepage.evaluation.users.impressions import Impression, ImpressionTable, records_of, table_of
from wholepage.evaluation.users.settings import UserSettings, position_biased_users, random_users
from wholepage.evaluation.users.simulator import (
    MadePage,
    Traffic,
    simulate,
    simulate_made,
    simulate_with_truth,
)
from wholepage.pages import ImageRef, InputError, Judgments, Modality, Page, PageError, Query, Ranking, Result

KINDS = [Modality.TEXT, Modality.TEXT, Modality.IMAGE, Modality.ANSWER]


def _page(query: str, results: int = 12) -> Page:
    def result(number: int) -> Result:
        kind = KINDS[number % len(KINDS)]
        return Result(f"r{number}", kind, "words", (ImageRef("x.png"),) if kind is Modality.IMAGE else ())

    return Page(Query(query), tuple(result(number) for number in range(results)))


PAGES = [_page(f"q{number}") for number in range(20)]
GRADES = {
    page.query_id: {result: float((at + 7 * query) % 5) for at, result in enumerate(page.result_ids)}
    for query, page in enumerate(PAGES)
}
JUDGMENTS = Judgments.from_mapping(GRADES)


def _ordered(sign: float) -> list[Ranking]:
    return [Ranking(p.query_id, tuple(sorted(p.result_ids, key=lambda r: sign * GRADES[p.query_id][r]))) for p in PAGES]


BEST, WORST = _ordered(-1.0), _ordered(1.0)


def same(one: ImpressionTable, other: ImpressionTable, rows: int | None = None) -> None:
    """Equal logs, or equal in the first rows."""
    for name in one.__struct_fields__:
        left, right = getattr(one, name), getattr(other, name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left[:rows], right[:rows], err_msg=name)
        elif name != "impression_ids":
            assert left == right, name


def test_a_seed_gives_a_log_and_more_impressions_continue_it() -> None:
    def log(seed: int, impressions: int = 300) -> ImpressionTable:
        return simulate(PAGES, JUDGMENTS, {"": BEST}, seed=seed, traffic=Traffic(impressions=impressions, users=40))

    same(log(1), log(1))
    same(log(1), log(1, 900), rows=300)
    assert (log(1).clicked != log(2).clicked).any()


def test_the_log_says_what_was_shown() -> None:
    log = simulate(
        PAGES, JUDGMENTS, {"a": BEST, "b": WORST}, seed=3, traffic=Traffic(impressions=400, users=50, depth=7)
    )
    by_arm = {"a": {r.query_id: r for r in BEST}, "b": {r.query_id: r for r in WORST}}
    kinds = {r.result_id: r.modality for r in PAGES[0].results}
    for one in records_of(log):
        assert one.shown == by_arm[one.arm][one.query_id].result_ids[:7]
        assert one.modalities == tuple(kinds[r] for r in one.shown)
        runs = [one.modalities[i] is not one.modalities[i - 1] for i in range(1, 7)]
        assert (one.blocks or tuple(range(7))) == (0, *np.cumsum(runs).tolist())
        assert 0.0 <= one.at_s <= 14 * 86_400
    assert [msgspec.structs.replace(one, impression_id="x") for one in records_of(table_of(records_of(log)))] == [
        msgspec.structs.replace(one, impression_id="x") for one in records_of(log)
    ]


def test_users_stay_in_their_arm_and_come_unequally_often() -> None:
    log = simulate(PAGES, JUDGMENTS, {"a": BEST, "b": WORST}, seed=0, traffic=Traffic(impressions=20_000, users=1_000))
    arms = [set(log.arm[log.user == user].tolist()) for user in range(1_000)]
    assert max(map(len, arms)) == 1
    in_first = sum(arm == {0} for arm in arms)
    assert abs(in_first - sum(map(bool, arms)) / 2) < 5 * np.sqrt(1_000) / 2
    even = sum(arm == {0} for arm in arms[::2])  # the arm is drawn, not dealt in turn
    assert abs(even - sum(map(bool, arms[::2])) / 2) < 5 * np.sqrt(500) / 2
    visits = np.bincount(log.user, minlength=1_000)
    assert visits.var() > 3 * visits.mean()  # 1 would be users who come alike
    evenly = Traffic(impressions=20_000, users=1_000, activity_spread=0.0)
    alike = simulate(PAGES, JUDGMENTS, {"": BEST}, seed=0, traffic=evenly)
    alike_visits = np.bincount(alike.user, minlength=1_000)
    assert 0.7 < alike_visits.var() / alike_visits.mean() < 1.3


@pytest.mark.parametrize(
    ("alike", "spread"),
    [(position_biased_users(0.5, patience=8.0), "patience_spread"), (random_users(0.5), "taste_spread")],
)
def test_users_differ_and_stay_themselves(alike: UserSettings, spread: str) -> None:
    def between(settings: UserSettings) -> float:
        """How much users' mean clicks vary, by how much they would if every visit were another's: 1 = no more."""
        traffic = Traffic(impressions=40_000, users=400, activity_spread=0.0)
        log = simulate(PAGES, JUDGMENTS, {"": BEST}, seed=1, settings=settings, traffic=traffic)
        clicks = log.clicked.sum(axis=1)
        means = np.array([clicks[log.user == user].mean() for user in range(400)])
        return float(means.var() / (clicks.var() / 100))

    assert abs(between(alike) - 1.0) < 5 * np.sqrt(2 / 400)
    assert between(msgspec.structs.replace(alike, **{spread: 0.5})) > 2.0


def test_a_better_order_satisfies_more_and_a_random_user_sees_none() -> None:
    traffic = Traffic(impressions=8_000, users=800)
    log, truth = simulate_with_truth(PAGES, JUDGMENTS, {"best": BEST, "worst": WORST}, seed=5, traffic=traffic)
    best, worst = log.arm == 0, log.arm == 1
    assert truth.satisfied[best].mean() > truth.satisfied[worst].mean() + 0.1
    assert truth.reformulated[best].mean() < truth.reformulated[worst].mean()
    blind = simulate(
        PAGES, JUDGMENTS, {"best": BEST, "worst": WORST}, seed=5, traffic=traffic, settings=random_users(0.5)
    )
    rates = [blind.clicked[blind.arm == arm].mean() for arm in (0, 1)]
    assert abs(rates[0] - rates[1]) < 5 * np.sqrt(0.25 / 40_000 * 2)


def test_an_ungraded_result_is_like_the_worst() -> None:
    graded = {q: {r: g for r, g in of.items() if g > 0} for q, of in GRADES.items()}
    traffic = Traffic(impressions=500)
    same(
        simulate(PAGES, JUDGMENTS, {"": BEST}, seed=1, traffic=traffic),
        simulate(PAGES, Judgments.from_mapping(graded), {"": BEST}, seed=1, traffic=traffic),
    )


def test_the_top_grade_can_be_told() -> None:
    doubled = Judgments.from_mapping({q: {r: 2 * g for r, g in of.items()} for q, of in GRADES.items()})
    traffic = Traffic(impressions=500)
    same(
        simulate(PAGES, JUDGMENTS, {"": BEST}, seed=1, traffic=traffic, top_grade=8.0),
        simulate(PAGES, doubled, {"": BEST}, seed=1, traffic=traffic, top_grade=16.0),
    )
    with pytest.raises(InputError, match="top_grade: got 2 below the grade 4"):
        simulate(PAGES, JUDGMENTS, {"": BEST}, seed=1, top_grade=2.0)
    nothing = simulate(PAGES, Judgments(), {"": BEST}, seed=1, traffic=traffic, settings=random_users(0.5))
    assert nothing.clicked.any()


def test_a_page_can_be_made_for_each_visit() -> None:
    seen: list[str] = []

    def maker(page: Page, rng: np.random.Generator) -> MadePage:
        seen.append(page.query_id)
        shown = [page.result_ids[i] for i in rng.permutation(len(page))[: int(rng.integers(2, 6))]]
        return MadePage(shown, ["A" if i % 2 else "B" for i in range(len(shown))])

    log, truth = simulate_made(PAGES, JUDGMENTS, maker, seed=2, traffic=Traffic(impressions=300, users=30))
    assert seen == [log.query_ids[query] for query in log.query]
    assert (log.length.min(), log.length.max()) == (2, 5)
    assert not (truth.examined & ~log.there).any()
    for one in records_of(log):
        assert one.teams == tuple("BABAB"[: len(one.shown)])
    again, _ = simulate_made(PAGES, JUDGMENTS, maker, seed=2, traffic=Traffic(impressions=300, users=30))
    same(log, again)


def test_a_made_page_of_a_ranking_is_as_a_ranking_shown() -> None:
    best = {r.query_id: r.result_ids[:10] for r in BEST}
    traffic = Traffic(impressions=200)
    log, _ = simulate_made(PAGES, JUDGMENTS, lambda page, _: MadePage(best[page.query_id]), seed=9, traffic=traffic)
    same(log, simulate(PAGES, JUDGMENTS, {"": BEST}, seed=9, traffic=traffic))


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(InputError, match="pages: got none"):
        simulate([], JUDGMENTS, {"": []}, seed=0)
    with pytest.raises(InputError, match="got no arm"):
        simulate(PAGES, JUDGMENTS, {}, seed=0)
    with pytest.raises(InputError, match="query ids more than once"):
        simulate([*PAGES, PAGES[0]], JUDGMENTS, {"": BEST}, seed=0)
    with pytest.raises(InputError, match="arm 'a': got no ranking of query 'q0'"):
        simulate(PAGES, JUDGMENTS, {"a": BEST[1:]}, seed=0)
    with pytest.raises(InputError, match="two rankings of query 'q0'"):
        simulate(PAGES, JUDGMENTS, {"a": [BEST[0], *BEST]}, seed=0)
    with pytest.raises(PageError, match="not on the page"):
        simulate(PAGES[:1], JUDGMENTS, {"": [Ranking("q0", ("r0", "ghost"))]}, seed=0)
    with pytest.raises(PageError, match="more than once"):
        simulate_made(PAGES, JUDGMENTS, lambda page, _: MadePage(["r0", "r0"]), seed=0, traffic=Traffic(impressions=1))
    with pytest.raises(InputError, match="1 teams for 2"):
        simulate_made(
            PAGES, JUDGMENTS, lambda p, _: MadePage(["r0", "r1"], ["A"]), seed=0, traffic=Traffic(impressions=1)
        )
    for bad in ({"users": 0}, {"impressions": -1}, {"depth": 0}, {"days": float("nan")}, {"activity_spread": -1.0}):
        with pytest.raises(InputError, match="Traffic"):
            Traffic(**bad)


def test_no_impressions_are_a_log_too() -> None:
    log = simulate(PAGES, JUDGMENTS, {"": BEST}, seed=0, traffic=Traffic(impressions=0))
    assert len(log) == 0
    assert list(records_of(log)) == list[Impression]()


def test_fifty_thousand_pages_take_seconds() -> None:
    began = time.process_time()
    traffic = Traffic(impressions=50_000, users=5_000)
    log = simulate(PAGES, JUDGMENTS, {"a": BEST, "b": WORST}, seed=0, settings=position_biased_users(), traffic=traffic)
    assert time.process_time() - began < 5.0
    assert len(log) == 50_000
