"""Whole experiments: shown, clicked, credited and judged; the same from a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pytest

from wholepage.evaluation.online.interleaving.block_draft import BlockAwareTeamDraft
from wholepage.evaluation.online.interleaving.optimized import Optimized
from wholepage.evaluation.online.interleaving.pairwise import PairwisePreferences
from wholepage.evaluation.online.interleaving.probabilistic import Probabilistic
from wholepage.evaluation.online.interleaving.run import judge_log, run_interleaving
from wholepage.evaluation.online.interleaving.shown import Interleaving, Shown
from wholepage.evaluation.online.interleaving.team_draft import TeamDraft
from wholepage.evaluation.users.impressions import Click, Impression, records_of
from wholepage.evaluation.users.simulator import MadePage, Traffic, simulate_made
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result

METHODS: list[Interleaving] = [
    TeamDraft(), BlockAwareTeamDraft(), Probabilistic(), Optimized(), PairwisePreferences(),
]  # fmt: skip
KINDS = (Modality.TEXT, Modality.IMAGE, Modality.IMAGE, Modality.TEXT, Modality.TEXT, Modality.VIDEO)
PICTURE = (ImageRef("picture.png"),)


def experiment(queries: int) -> tuple[list[Page], list[list[Ranking]]]:
    """A good ranker, which knows that results come best first, and one that knows nothing."""
    rng = np.random.default_rng(0)
    pages = [
        Page(
            Query(f"q{n}"),
            tuple(Result(f"r{i}", k, "words", () if k is Modality.TEXT else PICTURE) for i, k in enumerate(KINDS)),
        )
        for n in range(queries)
    ]
    rankings = [
        [
            Ranking(page.query_id, page.result_ids, by="good"),
            Ranking(page.query_id, tuple(rng.permutation(page.result_ids).tolist()), by="random"),
        ]
        for page in pages
    ]
    return pages, rankings


def users(shown: Sequence[Shown], rng: np.random.Generator) -> list[list[int]]:
    """They look down the page and click what is good."""
    return [
        [place for place, i in enumerate(one.order) if rng.random() < 0.9**place * (0.8 if i in ("r0", "r1") else 0.15)]
        for one in shown
    ]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_users_find_the_better_ranker(method: Interleaving) -> None:
    pages, rankings = experiment(20)
    run = run_interleaving(rankings, users, method, seed=1, pages=pages, impressions=400)
    (won,) = run.verdicts
    assert (won.first, won.second, won.pages) == ("good", "random", 400)
    assert won.preference_low > 0
    assert won.p_mean < 1e-4
    again = run_interleaving(rankings, users, method, seed=1, pages=pages, impressions=400)
    assert again.verdicts == run.verdicts
    assert again.shown == run.shown
    other = run_interleaving(rankings, users, method, seed=2, pages=pages, impressions=400)
    assert other.shown != run.shown


@pytest.mark.parametrize("depth", [None, 4])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_log_says_the_same(method: Interleaving, depth: int | None) -> None:
    pages, rankings = experiment(10)
    told: list[list[int]] = []

    def listening(shown: Sequence[Shown], rng: np.random.Generator) -> list[list[int]]:
        told.extend(users(shown, rng))
        return told

    names = [f"user {n % 17}" for n in range(60)]
    run = run_interleaving(rankings, listening, method, seed=3, pages=pages, impressions=60, users=names, depth=depth)
    assert {len(one.order) for one in run.shown} == {depth or 6}
    modality = dict(zip(pages[0].result_ids, KINDS, strict=True))
    log = [
        Impression(
            f"i{n}", names[n], one.query_id, one.order, tuple(modality[i] for i in one.order),
            tuple(map(Click, told[n])), teams=one.team_names, blocks=one.blocks,
        )
        for n, one in enumerate(run.shown)
    ]  # fmt: skip
    log = [msgspec.json.decode(msgspec.json.encode(one), type=Impression) for one in log]
    judged = judge_log(log, {page.query_id: own for page, own in zip(pages, rankings, strict=True)}, method)
    assert judged.outcomes == run.outcomes
    assert judged.verdicts == run.verdicts
    assert judged.shown == run.shown
    assert judged.verdicts[0].users == 17


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_simulated_users_of_whole_pages_find_the_better_ranker(method: Interleaving) -> None:
    pages, rankings = experiment(20)
    merged = {page.query_id: own for page, own in zip(pages, rankings, strict=True)}
    grades = Judgments([Grade(page.query_id, i, 3.0 - n // 2) for page in pages for n, i in enumerate(page.result_ids)])

    def maker(page: Page, rng: np.random.Generator) -> MadePage:
        one = method.interleave(merged[page.query_id], rng=rng, page=page)
        return MadePage(one.order, one.team_names)

    log = simulate_made(pages, grades, maker, seed=6, traffic=Traffic(impressions=1500, users=300)).log
    (won,) = judge_log(records_of(log), merged, method).verdicts
    assert won.pages == 1500
    assert won.users <= 300
    assert won.preference_low > 0


def test_many_rankers_are_judged_in_pairs() -> None:
    _, rankings = experiment(10)
    rng = np.random.default_rng(5)
    three = [
        [*own, Ranking(own[0].query_id, tuple(rng.permutation(own[0].result_ids)), by="other")] for own in rankings
    ]
    for method in (TeamDraft(), PairwisePreferences()):
        run = run_interleaving(three, users, method, seed=4, impressions=600)
        found = {(one.first, one.second): one for one in run.verdicts}
        assert set(found) == {("good", "random"), ("good", "other"), ("random", "other")}
        assert found["good", "random"].p_holm < 0.01
        assert found["good", "other"].preference > 0


def test_what_cannot_be_run() -> None:
    pages, rankings = experiment(3)

    def silent(shown: Sequence[Shown], rng: np.random.Generator) -> list[Iterable[int]]:
        return [()] * (len(shown) - 1)

    method = TeamDraft()
    with pytest.raises(InputError, match="one for each of 3"):
        run_interleaving(rankings, silent, method, seed=0)
    with pytest.raises(InputError, match="no query"):
        run_interleaving([], users, method, seed=0)
    with pytest.raises(InputError, match="2 or more"):
        run_interleaving(rankings, users, method, seed=0, impressions=1)
    with pytest.raises(InputError, match="same order everywhere"):
        run_interleaving([rankings[0], rankings[1][::-1]], users, method, seed=0)
    with pytest.raises(InputError, match="pages"):
        run_interleaving(rankings, users, method, seed=0, pages=pages[:2])
    with pytest.raises(InputError, match="depth"):
        run_interleaving(rankings, users, method, seed=0, depth=0)
    logged = Impression("i", "u", "q9", ("r0",), (Modality.TEXT,))
    with pytest.raises(InputError, match="none of queries"):
        judge_log([logged], {"q0": rankings[0]}, method)
    with pytest.raises(InputError, match="no query"):
        judge_log([], {"q0": rankings[0]}, method)
