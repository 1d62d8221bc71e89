"""Plots of a study: what is reached with each share of the labels, how far that is from a goal, and sweeps.

They look like those of ``plots`` and keep the same promises: the same numbers give the same bytes, text stays text,
colours are CSS variables, and every line has its own marker and its name at its end.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import msgspec
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from wholepage.evaluation.drawing import (
    INCH_PER_LETTER,
    INKS,
    MARKERS,
    SERIES,
    SETTINGS,
    LineEnd,
    blank_axes,
    name_ends,
    svg_text,
)
from wholepage.evaluation.markup import plain_text
from wholepage.pages.errors import InputError

_DASHES = (0, (4, 3))
_LEFT, _TOP = 0.66, 0.42
# Of a difference: marker and ink by what it shows.
_STATES = {
    "better": ("^", SERIES["3"]),
    "not worse": ("o", SERIES["1"]),
    "not shown to be as good": ("X", SERIES["2"]),
}


class Spot(msgspec.Struct, frozen=True):
    """A value and its interval, at a share of the labels or at a place of a sweep.

    Raises:
        InputError: a number that is not finite, half an interval, or one whose ends are exchanged.
    """

    x: float
    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        numbers = [n for n in (self.x, self.value, self.low, self.high) if n is not None]
        low, high = (math.nan if n is None else n for n in (self.low, self.high))
        if not all(map(math.isfinite, numbers)) or (self.low is None) != (self.high is None) or low > high:
            raise InputError(f"{self}: allowed: finite numbers, low <= high, or neither; leave out what is undefined")


class Line(msgspec.Struct, frozen=True):
    """One line of a plot.

    Attributes:
        name: written at its end.  ink: its number among the colours and markers, 0 and more.
        spots: in any order, each x once.
    Raises:
        InputError: no spots, two at one x, or an ink below 0.
    """

    name: str
    ink: int
    spots: tuple[Spot, ...]

    def __post_init__(self) -> None:
        places = {spot.x for spot in self.spots}
        if not self.spots or len(places) != len(self.spots) or self.ink < 0:
            raise InputError(
                f"Line({self.name!r}): got {len(self.spots)} spots at {len(places)} places, ink {self.ink}; allowed: "
                "one or more, each x once, ink 0 or more; average repeated runs first"
            )


def share_plot(lines: Sequence[Line], *, measure: str, levels: Mapping[str, float] | None = None) -> str:
    """Quality against the share of the page labels bought, on a logarithmic axis, with bands.

    Args:
        lines: x is the share, above 0 to 1.
        measure: what is measured.
        levels: dashed lines by name: what costs no page label, or a goal. One far below all lines is named, not drawn,
            so that it does not press the lines together.
    Returns:
        An ``<svg>`` element.
    Raises:
        InputError: no lines, a share out of range, or a level that is not finite.
    """
    shares = sorted({spot.x for line in lines for spot in line.spots})
    if not shares or not (shares[0] > 0.0 and shares[-1] <= 1.0):
        raise InputError(
            f"share_plot: got shares {shares}; allowed: one or more, above 0 to 1; draw share 0 as a level"
        )
    with matplotlib.rc_context(SETTINGS):
        return _drawn(lines, levels or {}, measure, lambda axes: _share_axis(axes, shares))


def sweep_plot(
    lines: Sequence[Line], places: Sequence[str], *, measure: str, below: str, levels: Mapping[str, float] | None = None
) -> str:
    """Quality against something that takes a few named values.

    Args:
        lines: x is a place in ``places``, from 0.
        places: the names, from left to right.
        measure: what is measured.
        below: what the places are, written under them.
        levels: dashed lines by name, as in ``share_plot``.
    Returns:
        An ``<svg>`` element.
    Raises:
        InputError: no lines, an x that is no place, or a level that is not finite.
    """
    known = set(range(len(places)))
    if not lines or not {spot.x for line in lines for spot in line.spots} <= known:
        raise InputError(
            f"sweep_plot: got {len(lines)} lines, {len(places)} places; allowed: x from 0, one of the places"
        )

    def lay(axes: Any) -> None:
        room = max(0.35, 0.06 * len(places))
        axes.set_xlim(-room, len(places) - 1 + room)
        axes.set_xticks(range(len(places)), [textwrap.fill(plain_text(place), 14) for place in places])
        axes.set_xlabel(plain_text(below))

    with matplotlib.rc_context(SETTINGS):
        return _drawn(lines, levels or {}, measure, lay)


def difference_plot(spots: Sequence[Spot], *, margin: float, measure: str, goal: str) -> str:
    """How far from a goal one is at each share of the labels, with intervals, and what that shows.

    Args:
        spots: differences by share, each with its interval.
        margin: how far below 0 still counts as not worse.
        measure: what the difference is of.
        goal: what stands at 0.
    Returns:
        An ``<svg>`` element.
    Raises:
        InputError: no spots, one without an interval, a share out of range, or a margin below 0.
    """
    shares = sorted(spot.x for spot in spots)
    bounds = [(spot, spot.low, spot.high) for spot in spots if spot.low is not None and spot.high is not None]
    ok = len(bounds) == len(spots) and bool(shares) and shares[0] > 0.0 and shares[-1] <= 1.0
    if not ok or not (math.isfinite(margin) and margin >= 0.0):
        raise InputError(
            f"difference_plot: got {len(spots)} spots at {shares}, {len(bounds)} of them with an interval, margin "
            f"{margin}; allowed: one or more, above 0 to 1, all with intervals, margin 0 or more; mend them"
        )
    seen: dict[str, None] = {}
    tags = [textwrap.fill(plain_text(goal), 20), f"margin −{margin:g}"]  # noqa: RUF001  a minus
    height = 3.3
    with matplotlib.rc_context(SETTINGS):
        figure, axes = blank_axes(height, left=_LEFT, right=_room_for(tags), top=0.62, bottom=0.6)
        axes.grid(axis="y", color=INKS["faint"], alpha=0.3, linewidth=0.7)
        _share_axis(axes, shares)
        axes.axhline(0.0, color=INKS["ink"], linewidth=1.1, zorder=1)
        axes.axhline(-margin, color=INKS["ink"], linewidth=1, linestyle=_DASHES, zorder=1)
        for spot, low, high in bounds:
            state = "better" if low > 0 else "not worse" if low > -margin else "not shown to be as good"
            marker, ink = _STATES[state]
            seen[state] = None
            axes.plot([spot.x, spot.x], [low, high], color=ink, linewidth=2, solid_capstyle="round", zorder=2)
            axes.plot([spot.x], [spot.value], marker=marker, markersize=8, color=ink, zorder=3)
        axes.margins(y=0.08)
        _key(axes, [state for state in _STATES if state in seen], height - 1.22)
        axes.text(0, 1.0 + 0.4 / (height - 1.22), plain_text(measure), transform=axes.transAxes, fontweight="bold")
        ends = [LineEnd(0.0, tags[0], INKS["ink"], "-"), LineEnd(-margin, tags[1], INKS["ink"], "")]
        name_ends(axes, ends, gap=0.21 / (height - 1.22))
        return svg_text(figure)


def _key(axes: Any, states: Sequence[str], tall: float) -> None:
    """What the markers mean, in one line above the axes."""
    place, wide = 0.0, axes.figure.get_figwidth() * axes.get_position().width
    for state in states:
        marker, ink = _STATES[state]
        y = 1.0 + 0.17 / tall
        axes.plot(
            [place + 0.08 / wide],
            [y],
            marker=marker,
            markersize=6.5,
            color=ink,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(place + 0.2 / wide, y, state, transform=axes.transAxes, va="center", fontsize=9.2)
        place += (0.42 + INCH_PER_LETTER * len(state)) / wide


def _drawn(lines: Sequence[Line], levels: Mapping[str, float], measure: str, lay: Any) -> str:
    for name, level in levels.items():
        if not math.isfinite(level):
            raise InputError(f"plot: level {name!r}: got {level}; allowed: finite; leave it out")
    values = [n for line in lines for spot in line.spots for n in (spot.value, spot.low, spot.high) if n is not None]
    floor = min(values) - 0.6 * max(max(values) - min(values), 0.02)
    tags = {line.name: textwrap.fill(plain_text(line.name), 24) for line in lines}
    sunk = {name for name, level in levels.items() if level < floor}
    for name, level in levels.items():
        tags[name] = textwrap.fill(plain_text(f"{name} {level:.3f} ↓" if name in sunk else name), 24)
    height = max(3.9, 0.23 * sum(tag.count("\n") + 1 for tag in tags.values()) + 1.1)
    tall = height - _TOP - 0.6
    figure, axes = blank_axes(height, left=_LEFT, right=_room_for(list(tags.values())), top=_TOP, bottom=0.6)
    axes.grid(axis="y", color=INKS["faint"], alpha=0.3, linewidth=0.7)
    lay(axes)
    ends = []
    for line in lines:
        ink, marker = list(SERIES.values())[line.ink % len(SERIES)], MARKERS[line.ink % len(MARKERS)]
        spots = sorted(line.spots, key=lambda spot: spot.x)
        _draw(axes, spots, ink, marker, strong=line.ink == 0)
        ends.append(LineEnd(spots[-1].value, tags[line.name], ink, marker))
    for name, level in levels.items():
        if name not in sunk:
            axes.axhline(level, color=INKS["ink"], linewidth=1, linestyle=_DASHES, zorder=1)
    low, _ = axes.get_ylim()
    ends += [LineEnd(low if name in sunk else level, tags[name], INKS["ink"], "") for name, level in levels.items()]
    axes.text(0, 1.0 + 0.14 / tall, plain_text(measure), transform=axes.transAxes, fontweight="bold")
    name_ends(axes, ends, gap=0.21 / tall)
    return svg_text(figure)


def _draw(axes: Any, spots: Sequence[Spot], ink: str, marker: str, *, strong: bool) -> None:
    xs, width = [spot.x for spot in spots], 2.6 if strong else 1.8
    axes.plot(xs, [s.value for s in spots], color=ink, marker=marker, markersize=6, linewidth=width, zorder=3 + strong)
    bounds = [(s.x, s.low, s.high) for s in spots if s.low is not None and s.high is not None]
    if len(bounds) == len(spots) > 1:
        places, lows, highs = zip(*bounds, strict=True)
        axes.fill_between(places, lows, highs, color=ink, alpha=0.16 if strong else 0.09, linewidth=0, zorder=2)
    else:
        for place, low, high in bounds:
            axes.plot([place, place], [low, high], color=ink, linewidth=1.3, zorder=2)


def _share_axis(axes: Any, shares: Sequence[float]) -> None:
    """Logarithmic, with the measured shares as ticks; of those too close together the larger is written."""
    axes.set_xscale("log")
    decades = math.log10(shares[-1] / shares[0])
    room = 10 ** max(0.04 * decades, 0.05)
    axes.set_xlim(shares[0] / room, shares[-1] * room)
    texts, last = [], math.inf
    for share in reversed(shares):
        shown = math.log10(last / share) > 0.075 * max(decades, 0.1) if math.isfinite(last) else True
        texts.append(f"{100 * share:.4g}\u2009%" if shown else "")
        last = share if shown else last
    axes.xaxis.set_major_locator(FixedLocator(shares))
    axes.xaxis.set_major_formatter(FixedFormatter(texts[::-1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the page labels bought (logarithmic)")


def _room_for(tags: Sequence[str]) -> float:
    return 0.58 + INCH_PER_LETTER * max(len(line) for tag in tags for line in tag.split("\n"))
