"""What users do on one page, against what the settings say they do."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import msgspec
import numpy as np
import pytest

from wholepage.evaluation.page.heights import Heights
from wholepage.evaluation.users.behaviour import Behaviour, Visits, behave
from wholepage.evaluation.users.settings import (
    ByModality,
    UserSettings,
    informational_users,
    position_biased_users,
    random_users,
)
from wholepage.pages import InputError, ShapeError

TEXT, IMAGE, VIDEO, ANSWER = range(4)
NEVER = ByModality(text=0.0, image=0.0, video=0.0, answer=0.0)
ALWAYS = ByModality(text=1.0, image=1.0, video=1.0, answer=1.0)
N = 20_000


def lived(
    modality: list[int], relevance: list[float], settings: UserSettings, *, n: int = N, seed: int = 0,
    taste: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
) -> Behaviour:  # fmt: skip
    """Many visits of the middle user to one page."""
    alike = Visits(
        np.tile(np.array(modality), (n, 1)), np.tile(np.array(relevance, dtype=float), (n, 1)),
        np.full(n, settings.patience), np.tile(np.array(taste), (n, 1)),
    )  # fmt: skip
    return behave(alike, settings, seed)


def close(counted: np.ndarray, expected: np.ndarray | float, n: int = N) -> None:
    """Shares of n visits are as expected, within five binomial standard errors."""
    expected = np.asarray(expected, dtype=float)
    error = np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(counted - expected) <= 5 * error + 1e-12).all(), (counted, expected)


def test_attention_falls_with_the_height_above_and_not_with_the_rank() -> None:
    settings = position_biased_users(0.5, patience=4.0)
    close(lived([TEXT] * 5, [0] * 5, settings).examined.mean(0), np.exp(-np.arange(5) / 4.0))
    mixed = lived([ANSWER, IMAGE, TEXT, VIDEO], [0] * 4, settings)
    close(mixed.examined.mean(0), np.exp(-np.array([0.0, 4.0, 6.5, 7.5]) / 4.0))
    flat = msgspec.structs.replace(settings, heights=Heights(text=1.0, image=1.0, video=1.0, answer=1.0))
    close(lived([ANSWER, IMAGE, TEXT, VIDEO], [0] * 4, flat).examined.mean(0), np.exp(-np.arange(4) / 4.0))


def test_random_users_click_anything_alike() -> None:
    found = lived([TEXT, IMAGE, ANSWER, VIDEO] * 3, [0, 1, 0.5] * 4, random_users(0.3))
    assert found.examined.all()
    close(found.clicked.mean(0), 0.3)
    close(found.clicked[found.clicked[:, 0]].mean(0)[1:], 0.3, n=int(found.clicked[:, 0].sum()))


def test_clicks_and_satisfaction_rise_with_the_grade() -> None:
    settings = UserSettings(patience=math.inf, sight_satisfies=NEVER, pull=NEVER, notice=ALWAYS)
    for relevance, click, enough in [(0, 0.05, 0.05), (0.25, 0.3, 0.3), (0.625, 0.6, 0.6), (1, 0.95, 0.9)]:
        found = lived([TEXT], [relevance], settings)
        close(found.clicked.mean(0), click)
        close(found.satisfied.mean(), click * enough)
        assert (found.satisfied <= found.clicked.any(1)).all()


def test_a_satisfied_user_stops() -> None:
    settings = msgspec.structs.replace(random_users(1.0), satisfies=(1.0,))
    found = lived([TEXT] * 4, [1] * 4, settings, n=50)
    assert found.clicked.tolist() == [[True, False, False, False]] * 50
    assert found.examined.sum() == 50
    assert found.satisfied.all()
    assert not found.satisfied_without_click.any()


def test_an_answer_satisfies_without_click() -> None:
    settings = msgspec.structs.replace(
        random_users(1.0), satisfies=(0.0, 1.0), sight_satisfies=ByModality(text=0, image=0.25, video=0, answer=1)
    )
    found = lived([ANSWER, TEXT], [1, 1], settings, n=50)
    assert found.satisfied_without_click.all()
    assert not found.clicked.any()
    useless = lived([ANSWER, TEXT], [0, 1], settings, n=50)
    assert useless.clicked.all()
    close(lived([IMAGE, TEXT], [1, 0], settings).satisfied_without_click.mean(), 0.25)


def test_satisfied_at_last_after_a_click_is_not_without_click() -> None:
    settings = msgspec.structs.replace(
        random_users(1.0), satisfies=(0.0, 1.0), sight_satisfies=ByModality(text=0, image=0, video=0, answer=1)
    )
    found = lived([TEXT, ANSWER], [0, 1], settings, n=50)
    assert found.clicked[:, 0].all()
    assert found.satisfied.all()
    assert not found.satisfied_without_click.any()


def test_a_vertical_draws_the_eye_to_what_is_near() -> None:
    page, no = [TEXT, TEXT, IMAGE, TEXT, TEXT, TEXT, TEXT], [0.0] * 7
    drawn = msgspec.structs.replace(
        random_users(0.0), notice=ByModality(text=0.5, image=0.5, video=0.5, answer=0.5),
        pull=ByModality(text=0, image=1, video=0, answer=0), begin_at_pull=0.0, near_gain=0.8, near_reach=2.0,
    )  # fmt: skip
    away = np.array([2.0, 1.0, 0.0, 2.5, 3.5, 4.5, 5.5])
    found = lived(page, no, drawn)
    assert (found.drawn_to == 2).all()
    close(found.examined.mean(0), 0.5 + 0.5 * 0.8 * np.exp(-away / 2.0))
    close(lived(page, no, msgspec.structs.replace(drawn, pull=NEVER)).examined.mean(0), 0.5)
    below = lived(page, no, msgspec.structs.replace(drawn, screen=2.0))
    assert (below.drawn_to == -1).all()


def test_reading_may_begin_at_the_vertical() -> None:
    page = [TEXT, TEXT, IMAGE, IMAGE, TEXT]
    settings = msgspec.structs.replace(
        position_biased_users(1.0, patience=4.0), pull=ByModality(text=0, image=1, video=0, answer=0), begin_at_pull=0.4
    )
    found = lived(page, [0.0] * 5, settings)
    close(found.began_there.mean(), 0.4)
    above = {False: [0, 1, 2, 4.5, 7], True: [5, 6, 0, 2.5, 7]}
    for began, heights in above.items():
        some = found.began_there == began
        close(found.examined[some].mean(0), np.exp(-np.array(heights) / 4.0), n=int(some.sum()))
    first = found.began_there & found.clicked[:, 0]
    assert (found.click_at_s[first, 0] > found.click_at_s[first, 3]).all()
    later = ~found.began_there & found.clicked[:, 2]
    assert (found.click_at_s[later, 0] < found.click_at_s[later, 2]).all()


def patterns(modality: list[int], relevance: list[float], s: UserSettings) -> dict[tuple[bool, ...], float]:
    """The chance of every pattern of clicks, worked out case by case: exact, since patience has no memory."""
    height = [s.heights.table()[m] for m in modality]
    top = [sum(height[:i]) for i in range(len(modality))]
    found: dict[tuple[bool, ...], float] = defaultdict(float)

    def walk(order: list[int], notice: list[float], clicked: tuple[int, ...], chance: float, stay: float) -> None:
        leaves = 1.0 - stay
        pattern = tuple(i in clicked for i in range(len(modality)))
        found[pattern] += chance * leaves
        if not order:
            found[pattern] += chance * stay
            return
        i, rest = order[0], order[1:]
        enough = float(np.interp(relevance[i], np.linspace(0, 1, len(s.satisfies)), s.satisfies))
        wanted = float(np.interp(relevance[i], np.linspace(0, 1, len(s.clicks)), s.clicks))
        sight = s.sight_satisfies.table()[modality[i]] * enough
        seen, on = chance * stay * notice[i], math.exp(-height[i] / s.patience)
        found[pattern] += seen * sight
        by_click = (*clicked, i)
        found[tuple(j in by_click for j in range(len(modality)))] += seen * (1 - sight) * wanted * enough
        walk(
            rest,
            notice,
            by_click,
            seen * (1 - sight) * wanted * (1 - enough),
            on * math.exp(-s.click_effort / s.patience),
        )
        walk(rest, notice, clicked, chance * stay - seen + seen * (1 - sight) * (1 - wanted), on)

    drawn, left = [], 1.0
    for i, m in enumerate(modality):
        pull = s.pull.table()[m] if (i == 0 or modality[i - 1] != m) and top[i] < s.screen else 0.0
        drawn.append((i, left * pull))
        left *= 1 - pull
    base = s.notice.table()
    walk(list(range(len(modality))), [base[m] for m in modality], (), left, 1.0)
    for i, chance in drawn:
        gain = [s.near_gain * math.exp(-abs(t - top[i]) / s.near_reach) for t in top]
        notice = [base[m] + (1 - base[m]) * g for m, g in zip(modality, gain, strict=True)]
        end = next((j for j in range(i, len(modality)) if modality[j] != modality[i]), len(modality))
        block = list(range(i, end))
        others = [j for j in range(len(modality)) if j not in block]
        walk([*block, *others], notice, (), chance * s.begin_at_pull, 1.0)
        walk(list(range(len(modality))), notice, (), chance * (1 - s.begin_at_pull), 1.0)
    return found


@pytest.mark.parametrize(
    "settings", [UserSettings(patience=5.0), informational_users()], ids=["usual", "informational"]
)
def test_every_pattern_of_clicks_comes_as_often_as_it_should(settings: UserSettings) -> None:
    modality, relevance, n = [TEXT, IMAGE, IMAGE, ANSWER, TEXT], [0.25, 1.0, 0.0, 0.5, 0.75], 100_000
    expected = patterns(modality, relevance, settings)
    assert math.isclose(sum(expected.values()), 1.0)
    found = lived(modality, relevance, settings, n=n, seed=4).clicked
    codes = np.bincount(found @ (2 ** np.arange(5)), minlength=32) / n
    for pattern in itertools.product([False, True], repeat=5):
        close(codes[int(np.array(pattern) @ (2 ** np.arange(5)))], expected.get(pattern, 0.0), n=n)


def test_taste_moves_the_odds() -> None:
    settings = msgspec.structs.replace(random_users(0.2))
    found = lived([TEXT, IMAGE], [0, 0], settings, taste=(0.0, math.log(3.0), 0.0, 0.0))
    close(found.clicked.mean(0), np.array([0.2, 0.75 / (0.75 + 1)]))


def test_dwell_is_longer_when_satisfied() -> None:
    settings = msgspec.structs.replace(random_users(1.0), satisfies=(0.5,))
    found = lived([TEXT], [0], settings)
    for satisfied, median in ((True, settings.dwell_satisfied_s), (False, settings.dwell_other_s)):
        seconds = np.log(found.dwell_s[found.satisfied == satisfied, 0])
        assert abs(seconds.mean() - math.log(median)) < 5 * settings.dwell_spread / math.sqrt(len(seconds))
        assert abs(seconds.std() - settings.dwell_spread) < 5 * settings.dwell_spread / math.sqrt(2 * len(seconds))


def test_time_passes_with_reading_and_with_what_was_opened() -> None:
    found = lived([TEXT, IMAGE, TEXT], [0, 0, 0], random_users(1.0), n=100)
    first = 1.5 + np.zeros(100)
    second = first + found.dwell_s[:, 0] + 1.5 * 2.5
    np.testing.assert_allclose(found.click_at_s[:, :2], np.stack([first, second], axis=1))


def test_only_the_unsatisfied_ask_again() -> None:
    settings = msgspec.structs.replace(random_users(1.0), satisfies=(0.5,), reformulates=0.3)
    found = lived([TEXT], [0], settings)
    assert not (found.reformulated & found.satisfied).any()
    close(found.reformulated[~found.satisfied].mean(), 0.3, n=int((~found.satisfied).sum()))


def test_no_time_without_click_and_nothing_in_padding() -> None:
    found = lived([TEXT, IMAGE, -1, -1], [0, 1, 9, -9], UserSettings())
    assert np.isnan(found.dwell_s[~found.clicked]).all()
    assert np.isfinite(found.click_at_s[found.clicked]).all()
    assert not found.examined[:, 2:].any()
    empty = lived([-1, -1], [0, 0], UserSettings(), n=20)
    assert not empty.satisfied.any()
    nothing = Visits(np.zeros((3, 0), dtype=int), np.zeros((3, 0)), np.ones(3), np.zeros((3, 4)))
    assert behave(nothing, UserSettings(), 0).clicked.shape == (3, 0)


def test_more_visits_change_nothing_about_the_first() -> None:
    few, many = (lived([TEXT, ANSWER, IMAGE], [0.5, 0.5, 1], UserSettings(), n=n, seed=7) for n in (30, 300))
    for name in Behaviour.__struct_fields__:
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:30])
    other = lived([TEXT, ANSWER, IMAGE], [0.5, 0.5, 1], UserSettings(), n=30, seed=8)
    assert (few.clicked != other.clicked).any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clicks", (0.5, 1.5)), ("clicks", ()), ("satisfies", (math.nan,)), ("patience", 0.0),
        ("patience_spread", -1.0), ("near_reach", 0.0), ("near_reach", math.inf), ("begin_at_pull", 2.0),
        ("dwell_spread", math.inf),
        ("notice", ByModality(text=1, image=1, video=1, answer=1.1)), ("read_s", math.nan),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"UserSettings.{name}: got"):
        UserSettings(**{name: value})


def test_visits_that_do_not_fit_are_refused() -> None:
    right = Visits(np.zeros((2, 3), dtype=int), np.zeros((2, 3)), np.ones(2), np.zeros((2, 4)))
    with pytest.raises(ShapeError, match=r"visits\.patience"):
        behave(right._replace(patience=np.ones(3)), UserSettings(), 0)
    with pytest.raises(InputError, match="padding before"):
        behave(right._replace(modality=np.array([[0, -1, 0]] * 2)), UserSettings(), 0)
    for wrong in (1.01, -0.01, math.nan):
        with pytest.raises(InputError, match="relevance"):
            behave(right._replace(relevance=np.full((2, 3), wrong)), UserSettings(), 0)
