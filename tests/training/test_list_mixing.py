"""Plans of a stage: counts against arithmetic done by hand, draws and order against their promises."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality, Page, Query, Result
from wholepage.training.list_mixing import JOINT_SHARES, mixed_plan, with_replay
from wholepage.training.taught import ListKind, TaughtList

TEXT, IMAGE, MIXED = ListKind.TEXT, ListKind.IMAGE, ListKind.MIXED
MANY = dict.fromkeys(ListKind, 1000)

counts_of_each = st.fixed_dictionaries({kind: st.integers(1, 40) for kind in ListKind})
hundredths = st.tuples(st.integers(0, 100), st.integers(0, 100)).map(lambda cuts: sorted(cuts))
shares_of_each = hundredths.map(
    lambda cuts: {TEXT: cuts[0] / 100, IMAGE: (cuts[1] - cuts[0]) / 100, MIXED: (100 - cuts[1]) / 100}
)


def taught(name: str) -> TaughtList:
    results = (Result("a", Modality.TEXT, "a"), Result("b", Modality.TEXT, "b"))
    return TaughtList(Page(Query(name, name), results), (2.0, 1.0), "teacher")


def named(prefix: str, count: int) -> list[TaughtList]:
    return [taught(f"{prefix}{i}") for i in range(count)]


# ------------------------------------------------------------------ a plan of kinds


def test_the_joint_stage_is_half_mixed() -> None:
    plan = mixed_plan(MANY, JOINT_SHARES, 1000, 0)
    assert Counter(kind for kind, _ in plan) == {MIXED: 500, TEXT: 250, IMAGE: 250}
    assert all(
        Counter(kind for kind, _ in plan[at : at + 4]) == {MIXED: 2, TEXT: 1, IMAGE: 1} for at in range(0, 1000, 4)
    )


@pytest.mark.parametrize(
    ("total", "text", "image", "mixed"),
    # 7 * (.25, .25, .5) = 1.75, 1.75, 3.5; 5 * ... = 1.25, 1.25, 2.5; 2 * ... = .5, .5, 1: the tie goes to text.
    [(7, 2, 2, 3), (5, 1, 1, 3), (2, 1, 0, 1), (1, 0, 0, 1), (0, 0, 0, 0), (6, 2, 1, 3)],
)
def test_shares_become_whole_by_largest_remainder(total: int, text: int, image: int, mixed: int) -> None:
    found = Counter(kind for kind, _ in mixed_plan(MANY, JOINT_SHARES, total, 0))
    assert (found[TEXT], found[IMAGE], found[MIXED]) == (text, image, mixed)


def test_a_share_is_read_as_it_is_written() -> None:
    # 3.5 and 1.5: a tie, which goes to text. In binary .35 lacks more of itself than .15, and image would get it.
    found = Counter(k for k, _ in mixed_plan(MANY, {TEXT: 0.35, IMAGE: 0.15, MIXED: 0.5}, 10, 0))
    assert found == {TEXT: 4, IMAGE: 1, MIXED: 5}


def test_thirds_make_a_whole() -> None:
    found = Counter(k for k, _ in mixed_plan(MANY, dict.fromkeys(ListKind, 1 / 3), 100, 0))
    assert found == {TEXT: 34, IMAGE: 33, MIXED: 33}


@given(counts=counts_of_each, shares=shares_of_each, total=st.integers(0, 150), seed=st.integers(0, 9))
def test_a_plan_keeps_its_promises(
    counts: Mapping[ListKind, int], shares: Mapping[ListKind, float], total: int, seed: int
) -> None:
    plan = mixed_plan(counts, shares, total, seed)
    given_to = Counter(kind for kind, _ in plan)
    assert len(plan) == total
    for kind in ListKind:
        exact = Fraction(round(shares[kind] * 100), 100) * total
        assert abs(given_to[kind] - exact) < 1
        rows = [index for of, index in plan if of is kind]
        for start in range(0, len(rows), counts[kind]):  # every list once before any comes again
            some = rows[start : start + counts[kind]]
            assert len(set(some)) == len(some)
            assert set(some) <= set(range(counts[kind]))
        so_far = 0
        for n, (of, _) in enumerate(plan, start=1):
            so_far += of is kind
            assert abs(so_far - Fraction(given_to[kind] * n, total)) < 1


def test_a_second_pass_has_a_new_order() -> None:
    rows = [index for _, index in mixed_plan({TEXT: 30}, {TEXT: 1.0}, 90, 3)]
    passes = [rows[:30], rows[30:60], rows[60:]]
    assert all(sorted(one) == list(range(30)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


def test_a_longer_plan_draws_the_same_lists_first() -> None:
    short = [i for kind, i in mixed_plan(MANY, JOINT_SHARES, 100, 5) if kind is MIXED]
    long = [i for kind, i in mixed_plan(MANY, JOINT_SHARES, 400, 5) if kind is MIXED]
    assert long[:50] == short


def test_the_seed_and_the_kind_set_the_draw() -> None:
    first = mixed_plan(MANY, JOINT_SHARES, 80, 1)
    assert first == mixed_plan(dict(reversed(MANY.items())), dict(reversed(JOINT_SHARES.items())), 80, 1)
    assert first != mixed_plan(MANY, JOINT_SHARES, 80, 2)
    rows = {kind: [i for of, i in first if of is kind] for kind in ListKind}
    assert rows[TEXT] != rows[IMAGE]


def test_a_kind_without_share_needs_no_list() -> None:
    assert {k for k, _ in mixed_plan({TEXT: 2, IMAGE: 2}, {TEXT: 0.5, IMAGE: 0.5}, 10, 0)} == {TEXT, IMAGE}
    assert mixed_plan({}, JOINT_SHARES, 0, 0) == []


@pytest.mark.parametrize(
    ("counts", "shares", "total", "seed", "said"),
    [
        (MANY, {TEXT: 0.5, IMAGE: 0.4}, 10, 0, "make 0.9; allowed: 1 in all"),
        (MANY, {TEXT: 1.5, IMAGE: -0.5}, 10, 0, "share of image: got -0.5"),
        (MANY, {TEXT: float("nan"), IMAGE: 1.0}, 10, 0, "share of text: got nan"),
        ({TEXT: 5}, JOINT_SHARES, 10, 0, "no list of image, mixed"),
        (MANY, JOINT_SHARES, -1, 0, "total -1"),
        (MANY, JOINT_SHARES, 1, -1, "seed -1"),
        ({**MANY, TEXT: -3}, JOINT_SHARES, 1, 0, "'text': -3"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    counts: Mapping[ListKind, int], shares: Mapping[ListKind, float], total: int, seed: int, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        mixed_plan(counts, shares, total, seed)


# ------------------------------------------------------------------ replay


@pytest.mark.parametrize(
    ("current", "share", "added"),
    # share / (1 - share) * current: 90/9 = 10; 80/4 = 20; 10/9 = 1.1; 6/4 = 1.5 up; 2/4 = .5 up; 1/4 = .25 down
    [(90, 0.1, 10), (80, 0.2, 20), (10, 0.1, 1), (6, 0.2, 2), (2, 0.2, 1), (1, 0.2, 0), (50, 0.0, 0), (7, 0.5, 7)],
)
def test_replay_adds_its_share(current: int, share: float, added: int) -> None:
    stage = with_replay(named("new", current), named("old", 40), share, 0)
    old = [one.page.query_id for one in stage if one.page.query_id.startswith("old")]
    assert len(stage) == current + added
    assert len(old) == len(set(old)) == added


@given(current=st.integers(0, 60), earlier=st.integers(0, 60), percent=st.integers(0, 60), seed=st.integers(0, 9))
def test_replay_keeps_its_promises(current: int, earlier: int, percent: int, seed: int) -> None:
    new, old, share = named("new", current), named("old", earlier), percent / 100
    exact = Fraction(percent, 100 - percent) * current
    if exact >= earlier + Fraction(1, 2):
        with pytest.raises(InputError, match=f"got {earlier} earlier lists"):
            with_replay(new, old, share, seed)
        return
    stage = with_replay(new, old, share, seed)
    replayed = [one for one in stage if one not in new]
    assert [one for one in stage if one in new] == new
    assert abs(len(replayed) - exact) <= Fraction(1, 2)
    assert all(one in old for one in replayed)
    assert len({one.page.query_id for one in replayed}) == len(replayed)
    assert stage == with_replay(new, old, share, seed)
    so_far = 0
    for n, one in enumerate(stage, start=1):
        so_far += one not in new
        assert abs(so_far - Fraction(len(replayed) * n, len(stage))) < 1


def test_more_replay_draws_the_same_lists_first() -> None:
    new, old = named("new", 100), named("old", 100)
    less, more = ([one for one in with_replay(new, old, share, 4) if one in old] for share in (0.1, 0.3))
    assert more[: len(less)] == less
    assert less != [one for one in with_replay(new, old, 0.1, 5) if one in old]


@given(current=st.integers(1, 400), earlier=st.integers(0, 30))
def test_the_share_that_a_refusal_names_works(current: int, earlier: int) -> None:
    new, old = named("new", current), named("old", earlier)
    with pytest.raises(InputError, match=rf"got {earlier} earlier lists for .* \(share 0\.99\)") as refused:
        with_replay(new, old, 0.99, 0)
    share = float(re.search(r"lower the share to (\S+),", str(refused.value))[1])
    assert len(with_replay(new, old, share, 0)) <= current + earlier
    assert share == pytest.approx(earlier / (earlier + current), abs=1e-4)


def test_the_share_that_a_refusal_names_is_rounded_down() -> None:
    new, old = [taught("new")] * 60_000, named("old", 100)  # 100 of 60,100 are .00166...; .0017 would ask for 102
    with pytest.raises(InputError, match=r"lower the share to 0\.0016,"):
        with_replay(new, old, 0.0017, 0)
    assert len(with_replay(new, old, 0.0016, 0)) == 60_096


@pytest.mark.parametrize(
    ("share", "seed", "said"), [(1.0, 0, "share 1.0"), (-0.1, 0, "got -0.1"), (float("inf"), 0, "inf"), (0.1, -1, "-1")]
)
def test_replay_out_of_range_is_refused(share: float, seed: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_replay(named("new", 4), named("old", 9), share, seed)
