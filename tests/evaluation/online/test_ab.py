"""A whole A/B test from its log: its parts, false alarms, the past of users, and what is wrong with logs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from wholepage.evaluation.online.ab import analyse
from wholepage.evaluation.online.indicators import indicators
from wholepage.evaluation.online.means import ratio_difference
from wholepage.evaluation.significance import holm
from wholepage.evaluation.users.impressions import UNKNOWN, Impression, ImpressionTable, table_of
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality

Record = Callable[[str, object], None]


def log_of(
    rng: np.random.Generator, users: int, *, effect: float = 0.0, keen: np.ndarray | None = None, visits: float = 4.0
) -> ImpressionTable:
    """Users of two arms and of a third, each with pages of three texts; the keen ones click and come more."""
    keen = rng.beta(2, 3, size=users) if keen is None else keen
    arm_of = np.arange(users) % 3
    user = np.repeat(np.arange(users), 1 + rng.poisson(visits * keen))
    n = len(user)
    chance = np.clip(keen[user] + effect * (arm_of[user] == 1), 0, 1)
    clicked = rng.random((n, 3)) < chance[:, None] * np.array([0.6, 0.3, 0.2])
    nothing, zeros = np.full((n, 3), np.nan), np.zeros((n, 3), dtype=np.int64)
    return ImpressionTable(
        query=np.zeros(n, dtype=np.int64), user=user, arm=arm_of[user], length=np.full(n, 3),
        item=np.tile(np.arange(3), (n, 1)), modality=zeros, clicked=clicked, click_at_s=nothing, dwell_s=nothing,
        block=np.tile(np.arange(3), (n, 1)), team=zeros, at_s=86_400.0 * (1 + rng.integers(0, 10, size=n)),
        reformulated=rng.random(n) < 0.2, satisfied_without_click=np.full(n, UNKNOWN),
        item_query=np.zeros(3, dtype=np.int64), query_ids=("q",), users=tuple(f"u{i}" for i in range(users)),
        arms=("old", "new", "other"), teams=("",), result_ids=("a", "b", "c"),
    )  # fmt: skip


def test_it_is_made_of_its_parts() -> None:
    table = log_of(np.random.default_rng(1), 900, effect=0.1)
    test = analyse(table, control="old", treatment="new", names=["CTR", "clicks", "reformulation"])
    assert test.split.counts == (300, 300)
    assert not test.split.mismatch
    assert [change.name for change in test.changes] == ["CTR", "clicks", "reformulation"]
    found = indicators(table)
    arms = [np.arange(900)[np.arange(900) % 3 == arm] for arm in (0, 1)]
    for change in test.changes:
        one = found[change.name]
        wanted = ratio_difference(*((one.numerator[arm], one.denominator[arm]) for arm in arms))
        assert change.change == wanted
        assert change.variance_saved is None
    p = [change.change.p for change in test.changes]
    assert [change.p_holm for change in test.changes] == holm(p)
    assert test.changes[0].p_holm < 0.01
    kept = analyse(table, control="old", treatment="new", retention_days=3)
    assert kept.changes[-1].name == "retention(3d)"
    assert len(kept.changes) == len(indicators(table)) + 1


def test_the_past_of_users_makes_it_sharper() -> None:
    rng = np.random.default_rng(2)
    keen = rng.beta(2, 3, size=900)
    before, table = (log_of(rng, 900, keen=keen, visits=40, effect=effect) for effect in (0.0, 0.05))
    plain = analyse(table, control="old", treatment="new", names=["clicks"]).changes[0]
    sharp = analyse(table, control="old", treatment="new", names=["clicks"], before=before).changes[0]
    assert 0.1 < sharp.variance_saved < 0.6
    saved = 1 - (sharp.change.standard_error / plain.change.standard_error) ** 2
    assert saved == pytest.approx(sharp.variance_saved, abs=0.01)
    assert sharp.change.difference == pytest.approx(plain.change.difference, abs=3 * plain.change.standard_error)
    strangers = before.rows(np.zeros(0, dtype=np.int64))
    nobody = ImpressionTable(**{name: getattr(strangers, name) for name in strangers.__struct_fields__})
    with pytest.raises(InputError, match="got none"):
        analyse(table, control="old", treatment="new", before=nobody)


def test_false_alarms(record_property: Record) -> None:
    rng = np.random.default_rng(3)
    alarms = {"CTR": 0, "clicks": 0}
    runs = 2000
    for _ in range(runs):
        test = analyse(log_of(rng, 240), control="old", treatment="new", names=list(alarms))
        for change in test.changes:
            alarms[change.name] += change.change.p <= 0.05
    for name, count in alarms.items():
        record_property(name, count / runs)
        assert count / runs == pytest.approx(0.05, abs=4 * 0.0049)  # four standard errors


def test_what_is_wrong_with_a_log() -> None:
    table = log_of(np.random.default_rng(4), 90)
    with pytest.raises(InputError, match="arm: got 'gone'"):
        analyse(table, control="old", treatment="gone")
    with pytest.raises(InputError, match="names"):
        analyse(table, control="old", treatment="new", names=["dwell_s"])
    with pytest.raises(InputError, match="names: got none"):
        analyse(table, control="old", treatment="new", names=[])
    kinds = (Modality.TEXT,)
    crossed = [Impression(str(n), f"u{n % 3}", "q", ("a",), kinds, arm="old" if n < 4 else "new") for n in range(7)]
    with pytest.raises(InputError, match="in both arms"):
        analyse(table_of(crossed), control="old", treatment="new")
    with pytest.raises(InputError, match="got 1 users"):
        analyse(
            table_of([*crossed[:3], Impression("x", "z", "q", ("a",), kinds, arm="new")]),
            control="old",
            treatment="new",
        )
    uneven = table.rows((table.arm != 1) | (table.user < 12))
    assert analyse(uneven, control="old", treatment="new", names=["CTR"]).split.mismatch
