"""The drawing of what moved: both orders of a page as columns of dots, and a line from each result to itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from wholepage.pages.model import Modality

_HIGH, _NARROWEST, _WIDEST = 560.0, 7.0, 21.0
_MARGIN, _LABELS = 12.0, 30.0
_READABLE = 12.0  # rows closer than this get a number only now and then


class Line(msgspec.Struct, frozen=True):
    """One result: ``way`` is up, down or same; ``path`` the line, ``start`` and ``end`` the heights of its dots."""

    key: str
    modality: str
    way: str
    path: str
    start: float
    end: float


class Label(msgspec.Struct, frozen=True):
    """The number of a row and its height."""

    text: str
    y: float


class Slopes(msgspec.Struct, frozen=True):
    """The drawing: its size, the two columns of dots, the lines from the least to the most moved, numbers of rows."""

    width: float
    height: float
    left: float
    right: float
    dot: float
    lines: tuple[Line, ...]
    labels: tuple[Label, ...]


def slopes(
    before: Sequence[str], after: Sequence[str], kinds: Mapping[str, Modality], keys: Mapping[str, str], width: float
) -> Slopes:
    """The drawing of two orders.

    Args:
        before, after: the same ids, best first.
        kinds: by id.  keys: by id, how the page calls a result.
        width: of the drawing, in pixels.
    """
    row = min(max(_HIGH / max(len(before), 1), _NARROWEST), _WIDEST)
    was = {result_id: place for place, result_id in enumerate(before)}
    left, right = _LABELS, width - _LABELS
    bend = (left + right) / 2
    lines = []
    for place, result_id in enumerate(after):
        start, end = _MARGIN + was[result_id] * row, _MARGIN + place * row
        way = "same" if was[result_id] == place else "up" if was[result_id] > place else "down"
        path = f"M{left:g} {start:.1f}C{bend:g} {start:.1f} {bend:g} {end:.1f} {right:g} {end:.1f}"
        lines.append(Line(keys[result_id], kinds[result_id].value, way, path, round(start, 1), round(end, 1)))
    lines.sort(key=lambda line: abs(line.start - line.end))
    every = 1 if row >= _READABLE else 5
    labels = [
        Label(str(n + 1), round(_MARGIN + n * row, 1)) for n in range(len(before)) if n == 0 or (n + 1) % every == 0
    ]
    height = 2 * _MARGIN + row * max(len(before) - 1, 0)
    return Slopes(width, round(height, 1), left, right, min(4.5, row / 2.6), tuple(lines), tuple(labels))
