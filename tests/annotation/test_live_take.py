"""Tasks that people choose themselves: kept for them like those they are given, and for nobody twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest

from wholepage.annotation.events import Kind, Purpose, Task
from wholepage.annotation.live import LiveCampaign
from wholepage.pages.errors import BudgetSpent, Halted, InputError

Begin: TypeAlias = Callable[..., Any]  # the fixture of conftest


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def live(begin: Begin, time: Time) -> Callable[..., LiveCampaign]:
    """``live(**settings)``: a campaign of two pages of three results, of whose tasks each is kept for 100 seconds."""

    def made(**settings: object) -> LiveCampaign:
        begun = begin(2, 3, clock=time, **{"lease_s": 100.0, **settings})
        return LiveCampaign(begun.store, "shoes", time)

    return made


Live: TypeAlias = Callable[..., LiveCampaign]
CHOSEN = Task.grade("q001", "r02")


def test_what_is_taken_may_be_answered(live: Live) -> None:
    live = live()
    assert live.take("ann", CHOSEN).purpose is Purpose.WORK
    assert live.read().seq == 1  # nothing is written yet
    assert live.next("ann").task == CHOSEN  # it is before her now
    entry = live.answer("ann", CHOSEN, grade=2, seconds=1.0, guideline=1)
    assert (entry.event.task, entry.event.source) == (CHOSEN, "person")
    assert live._store.leases("shoes") == []


def test_others_are_not_given_what_somebody_has_taken(live: Live, time: Time) -> None:
    live = live()
    live.take("ann", CHOSEN)
    with pytest.raises(InputError, match="others have it before them"):
        live.take("bob", CHOSEN)
    given = []
    while (found := live.next("bob")) is not None:
        given.append(found.task)
        live.answer("bob", found.task, grade=1, seconds=1.0, guideline=1)
    assert len(given) == 5
    assert CHOSEN not in given
    time.now += timedelta(seconds=101)
    assert live.take("bob", CHOSEN).task == CHOSEN  # her time is over


def test_taking_again_keeps_it_longer(live: Live, time: Time) -> None:
    live = live()
    live.take("ann", CHOSEN)
    time.now += timedelta(seconds=60)
    live.take("ann", CHOSEN)
    (lease,) = live._store.leases("shoes")
    assert lease.until == time.now + timedelta(seconds=100)


def test_as_many_may_take_it_as_shall_answer(live: Live) -> None:
    live = live(overlap=2, escalate_spread=3)
    live.take("ann", CHOSEN)
    live.take("bob", CHOSEN)
    with pytest.raises(InputError, match="others have it"):
        live.take("carol", CHOSEN)
    for who in ("ann", "bob"):
        live.answer(who, CHOSEN, grade=1, seconds=1.0, guideline=1)
    with pytest.raises(InputError, match="has its 2 answers"):
        live.take("carol", CHOSEN)


def test_what_cannot_be_answered_cannot_be_taken(live: Live) -> None:
    live = live(budget_questions=3)
    live.take("ann", CHOSEN)
    live.answer("ann", CHOSEN, grade=1, seconds=1.0, guideline=1)
    with pytest.raises(InputError, match="has answered it"):
        live.take("ann", CHOSEN)
    for strange in (Task.grade("q001", "r99"), Task.grade("nowhere", "r00"), Task.pair(Kind.PAGES, "q001", "a", "b")):
        with pytest.raises(InputError):
            live.take("ann", strange)
    live.adjudicate("rex", Task.grade("q000", "r00"), grade=0)
    with pytest.raises(InputError, match="decided"):
        live.take("ann", Task.grade("q000", "r00"))
    live.take("bob", Task.grade("q000", "r01"))
    live.answer("bob", Task.grade("q000", "r01"), grade=1, seconds=1.0, guideline=1)
    with pytest.raises(BudgetSpent):
        live.take("bob", Task.grade("q000", "r02"))
    live.pause("mia", "ann")
    with pytest.raises(Halted):
        live.take("ann", Task.grade("q000", "r02"))
    assert live._store.leases("shoes") == []
