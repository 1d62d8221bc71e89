"""Indicators of small logs, counted by hand and, for random logs, by a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.evaluation.online.indicators import indicators, retention
from wholepage.evaluation.users.impressions import Click, Impression, table_of
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality

T, I, V = Modality.TEXT, Modality.IMAGE, Modality.VIDEO  # noqa: E741
DAY = 86_400.0


def page(user: str, kinds: tuple[Modality, ...], *clicks: Click, **more: object) -> Impression:
    shown = tuple(f"r{n}" for n in range(len(kinds)))
    return Impression(f"i{np.random.default_rng().integers(2**62)}", user, "q", shown, kinds, clicks, **more)  # type: ignore[arg-type]


def test_by_hand() -> None:
    log = [
        page("ann", (T, I, I, V), Click(1, 3.0, 45.0), Click(2, 9.0, 5.0), blocks=(0, 1, 1, 2)),
        page("ann", (T, I, I, V), blocks=(0, 1, 1, 2), satisfied_without_click=True),
        page("bob", (I, T), Click(1, 2.0), reformulated=True),
        page("bob", (T,), satisfied_without_click=False, reformulated=True),
        page("cat", (T, T), Click(0, 1.0, 30.0), Click(0, 8.0, 4.0)),
    ]
    found = indicators(table_of(log))
    wanted = {
        "CTR": 3 / 5,
        "clicks": 4 / 5,
        "abandonment": 2 / 5,
        "good-abandonment": 1 / 5,
        "bad-abandonment": 1 / 5,
        "reformulation": 2 / 5,
        "sat-CTR": 2 / 4,  # bob's click is of unknown length
        "dwell_s": (45 + 5 + 34) / 3,
        "first-click_s": (3 + 2 + 1) / 3,
        "CTR(rank=1)": 1 / 5,
        "CTR(rank=2)": 2 / 4,
        "CTR(rank=3)": 1 / 2,
        "CTR(rank=4)": 0 / 2,
        "CTR(modality=text)": 2 / 6,
        "CTR(modality=image)": 2 / 5,
        "CTR(modality=video)": 0 / 2,
        "CTR(block=text)": 2 / 6,
        "CTR(block=image)": 1 / 3,
        "CTR(block=video)": 0 / 2,
        "CTR(block 1)": 1 / 5,
        "CTR(block 2)": 2 / 4,
        "CTR(block 3)": 0 / 2,
    }
    assert {name: one.value for name, one in found.items()} == pytest.approx(wanted)
    assert found["CTR"].numerator.tolist() == [1.0, 1.0, 1.0]
    assert found["CTR"].denominator.tolist() == [2.0, 2.0, 1.0]
    assert found["CTR"].rows(np.array([0, 2])).value == pytest.approx(2 / 3)
    assert indicators(table_of(log), satisfied_s=34.5)["sat-CTR"].value == pytest.approx(1 / 4)
    assert "CTR(rank=1)" not in indicators(table_of(log), ranks=0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.lists(st.tuples(st.sampled_from((T, I, V)), st.booleans(), st.booleans()), max_size=5),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_blocks_and_modalities_by_a_plain_loop(pages: list[tuple[str, list[tuple[Modality, bool, bool]]]]) -> None:
    """Each result: modality, clicked, and whether it opens a block."""
    log, counts = [], {name: [0, 0] for name in ("modality=image", "block=image", "block 2", "rank=2")}
    for user, results in pages:
        kinds = tuple(kind for kind, _, _ in results)
        opens = [n == 0 or new or kinds[n] is not kinds[n - 1] for n, (_, _, new) in enumerate(results)]
        blocks = tuple(int(n) for n in np.cumsum(opens) - 1) if results else ()
        log.append(page(user, kinds, *(Click(n) for n, (_, hit, _) in enumerate(results) if hit), blocks=blocks))
        for kind, hit, _ in results:
            counts["modality=image"][0] += hit and kind is I
            counts["modality=image"][1] += kind is I
        for block in set(blocks):
            of = [n for n, b in enumerate(blocks) if b == block]
            hit = any(results[n][1] for n in of)
            for name, counted in (("block=image", kinds[of[0]] is I), ("block 2", block == 1)):
                counts[name][0] += hit and counted
                counts[name][1] += counted
        if len(results) > 1:
            counts["rank=2"][0] += results[1][1]
            counts["rank=2"][1] += 1
    found = indicators(table_of(log))
    for name, (above, below) in counts.items():
        if below:
            assert found[f"CTR({name})"].value == pytest.approx(above / below)
        else:
            assert f"CTR({name})" not in found


def test_retention() -> None:
    def visit(user: str, day: float) -> Impression:
        return page(user, (T,), at_s=100 * DAY + day * DAY)

    log = [
        *(visit("back", d) for d in (0.9, 1.1)),  # the next morning
        *(visit("same day", d) for d in (0.1, 0.9)),
        *(visit("late", d) for d in (0.5, 4.2)),
        *(visit("new", d) for d in (3.5, 4.9)),  # too near to the end to know
        page("timeless", (T,)),
        visit("last", 6.5),
    ]
    table = table_of(log)
    found = retention(table, days=3)
    assert dict(zip(table.users, found.denominator.tolist(), strict=True)) == {
        "back": 1.0, "same day": 1.0, "late": 1.0, "new": 0.0, "timeless": 0.0, "last": 0.0,
    }  # fmt: skip
    assert dict(zip(table.users, found.numerator.tolist(), strict=True))["back"] == 1.0
    assert found.value == pytest.approx(1 / 3)
    assert found.name == "retention(3d)"
    assert retention(table, days=4).value == pytest.approx(2 / 3)
    assert retention(table, days=3, until_s=107 * DAY).value == pytest.approx(2 / 4)
    assert math.isnan(retention(table, days=30).value)


def test_what_cannot_be_counted() -> None:
    with pytest.raises(InputError, match="impressions"):
        indicators(table_of([]))
    for wrong in ({"satisfied_s": 0.0}, {"ranks": -1}):
        with pytest.raises(InputError, match="allowed"):
            indicators(table_of([page("a", (T,))]), **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="moment"):
        retention(table_of([page("a", (T,))]))
    with pytest.raises(InputError, match="days"):
        retention(table_of([page("a", (T,), at_s=5.0)]), days=0)
