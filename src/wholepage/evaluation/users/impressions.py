"""What was shown to whom and what they did: records, their file, and their columns.

The file is JSONL, one page shown once on a line, with the fields of ``Impression`` and no others::

    {"impression_id": "i1", "user": "u7", "query_id": "q1", "shown": ["a", "b"], "modalities": ["text", "image"],
     "clicks": [{"place": 1, "at_s": 4.5, "dwell_s": 31.0}], "arm": "new"}

(on one line). A moment or dwell time that is not known is left out. Statistics and click models read the columns,
``ImpressionTable``; ``table_of`` and ``records_of`` go from one form to the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import PageError, RecordError, ShapeError
from wholepage.pages.lines import decode, encode, read_lines, write_lines
from wholepage.pages.model import Modality

MODALITIES = tuple(Modality)
"""The modality of each code in the columns: the code is the place here."""
_CODES = {modality: code for code, modality in enumerate(MODALITIES)}
UNKNOWN, NO, YES = -1, 0, 1
"""What ``ImpressionTable.satisfied_without_click`` holds."""


class Click(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One click on a shown page.

    Attributes:
        place: from 0, on the page as it was shown.
        at_s: seconds since the page was shown; NaN = not known.
        dwell_s: seconds spent on what was clicked; NaN = not known.
    """

    place: int
    at_s: float = math.nan
    dwell_s: float = math.nan

    def __post_init__(self) -> None:
        if self.place < 0:
            raise PageError(f"click: got place {self.place}; allowed: 0 and up; places are counted from 0")
        for name in ("at_s", "dwell_s"):
            value: float = getattr(self, name)
            if math.isnan(value):
                # One NaN for all: it is left out of files, and clicks of unknown times are equal.
                msgspec.structs.force_setattr(self, name, math.nan)
            elif not 0.0 <= value < math.inf:
                raise PageError(f"click: got {name} {value}; allowed: finite seconds from 0 up, or NaN; mend the log")


class Impression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One page shown to one user once.

    Attributes:
        shown: result ids in shown order.  modalities: of each.
        clicks: in the order they came.
        at_s: the moment, seconds since 1970.
        arm: of an A/B test; empty = of none.
        teams: who brought each shown result, in interleaving; empty name = both or nobody.
        blocks: number of the vertical block of each shown result; nothing = every result by itself.
        reformulated: the user asked again in other words.
        satisfied_without_click: True = the page itself was enough; None = not known.
    Raises:
        PageError: a result shown twice, lengths that differ, a click outside the page, or satisfaction without click
            beside clicks.
    """

    impression_id: str
    user: str
    query_id: str
    shown: tuple[str, ...]
    modalities: tuple[Modality, ...]
    clicks: tuple[Click, ...] = ()
    at_s: float = 0.0
    arm: str = ""
    teams: tuple[str, ...] = ()
    blocks: tuple[int, ...] = ()
    reformulated: bool = False
    satisfied_without_click: bool | None = None

    def __post_init__(self) -> None:
        for name in ("impression_id", "user", "query_id"):
            if not getattr(self, name):
                raise PageError(f"Impression.{name}: got an empty name; allowed: any non-empty string; give each one")
        here, places = f"impression {self.impression_id!r}", len(self.shown)
        if len(set(self.shown)) != places:
            twice = sorted({one for one in self.shown if self.shown.count(one) > 1})
            raise PageError(f"{here}: got {twice[:5]} shown twice; allowed: each result once; drop the repeats")
        lengths = {
            "modalities": self.modalities,
            "teams": self.teams or self.shown,
            "blocks": self.blocks or self.shown,
        }
        for name, values in lengths.items():
            if len(values) != places:
                raise PageError(
                    f"{here}: got {len(values)} {name} for {places} shown results; allowed: one each"
                    f"{'' if name == 'modalities' else ', or none'}; mend the log"
                )
        outside = [click.place for click in self.clicks if click.place >= places]
        if outside:
            raise PageError(
                f"{here}: got clicks on places {outside[:5]} of {places}; allowed: places 0 to {places - 1}; places "
                "count from 0 on the page as shown"
            )
        if min(self.blocks, default=0) < 0:
            raise PageError(f"{here}: got block number {min(self.blocks)}; allowed: 0 and up; number the blocks")
        if not math.isfinite(self.at_s):
            raise PageError(f"{here}: got at_s {self.at_s}; allowed: finite seconds since 1970; 0 = not known")
        if self.satisfied_without_click and self.clicks:
            raise PageError(
                f"{here}: got satisfied_without_click beside {len(self.clicks)} clicks; allowed: only without clicks; "
                "write false or leave it out"
            )


_IMPRESSION = msgspec.json.Decoder(Impression)


def read_impressions(path: str | Path) -> Iterator[Impression]:
    """Impressions of a JSONL file, one at a time.

    Raises:
        RecordError: a line cannot be read, or an impression id comes twice.
    """
    first: dict[str, int] = {}
    for number, raw in read_lines(path):
        impression = decode(_IMPRESSION, path, number, raw)
        _once(first, impression.impression_id, path, number)
        yield impression


def write_impressions(path: str | Path, impressions: Iterable[Impression]) -> int:
    """Write impressions as JSONL, whole or not at all; returns how many.

    Raises:
        RecordError: an impression id comes twice, or a record holds what cannot be written.
    """
    first: dict[str, int] = {}

    def lines() -> Iterator[bytes]:
        for number, impression in enumerate(impressions, start=1):
            _once(first, impression.impression_id, path, number)
            yield encode(impression, _IMPRESSION, path, number)

    return write_lines(path, lines())


class ImpressionTable(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Impressions as columns: n of them, padded to the longest page.

    Shapes:
        query, user, arm: [n] int, places in ``query_ids``, ``users``, ``arms``
        length: [n] int, how many results were shown
        item: [n, depth] int, place in ``result_ids``; -1 = padding. An item is one result *of one query*: the same
            result shown for two queries is two items.
        modality: [n, depth] int, place in ``MODALITIES``; -1 = padding
        clicked: [n, depth] bool, False in padding
        click_at_s: [n, depth] float, of the first click there; NaN = no click, or not known
        dwell_s: [n, depth] float, over all clicks there; NaN = no click, or not known
        block: [n, depth] int, number of the block; a result without one has its place; -1 = padding
        team: [n, depth] int, place in ``teams``; -1 = padding
        at_s: [n] float; reformulated: [n] bool
        satisfied_without_click: [n] int, ``YES``, ``NO`` or ``UNKNOWN``
        item_query: [items] int, the query of each item
    Attributes:
        result_ids: of each item.  arms, teams: the empty name is one of them where it was used.
        impression_ids: [n] of them, or nothing = the numbers from 0.
    Raises:
        ShapeError: columns that do not fit each other.
    """

    query: NDArray[np.int64]
    user: NDArray[np.int64]
    arm: NDArray[np.int64]
    length: NDArray[np.int64]
    item: NDArray[np.int64]
    modality: NDArray[np.int64]
    clicked: NDArray[np.bool_]
    click_at_s: NDArray[np.float64]
    dwell_s: NDArray[np.float64]
    block: NDArray[np.int64]
    team: NDArray[np.int64]
    at_s: NDArray[np.float64]
    reformulated: NDArray[np.bool_]
    satisfied_without_click: NDArray[np.int64]
    item_query: NDArray[np.int64]
    query_ids: tuple[str, ...]
    users: tuple[str, ...]
    arms: tuple[str, ...]
    teams: tuple[str, ...]
    result_ids: tuple[str, ...]
    impression_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, square = self.query.shape, self.item.shape
        for name in ("user", "arm", "length", "at_s", "reformulated", "satisfied_without_click"):
            _fits(name, getattr(self, name).shape, n, "one value for each impression")
        for name in ("modality", "clicked", "click_at_s", "dwell_s", "block", "team"):
            _fits(name, getattr(self, name).shape, square, "the shape of item, [impressions, depth]")
        _fits("item", square[:1], n, "a row for each impression")
        _fits("item_query", self.item_query.shape, (len(self.result_ids),), "a query for each item")
        if self.impression_ids:
            _fits("impression_ids", (len(self.impression_ids),), n, "one for each impression, or none")
        if bool((self.length > self.depth).any()) or bool((self.clicked & ~self.there).any()):
            raise ShapeError(
                f"ImpressionTable: got lengths up to {int(self.length.max(initial=0))} at depth {self.depth}, or "
                "clicks beyond the length; allowed: lengths to the depth, clicks on what was shown; mend the columns"
            )

    def __len__(self) -> int:
        return len(self.query)

    @property
    def depth(self) -> int:
        """Places of the longest page."""
        return int(self.item.shape[1])

    @property
    def there(self) -> NDArray[np.bool_]:
        """Where something was shown, ``[n, depth]``."""
        return np.arange(self.depth)[None, :] < self.length[:, None]

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> ImpressionTable:
        """The impressions of these numbers, in that order, or where the mask is True; names and items stay."""
        chosen = np.flatnonzero(index) if index.dtype == np.bool_ else index
        columns = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        ids = tuple(self.impression_ids[i] for i in chosen.tolist()) if self.impression_ids else ()
        return msgspec.structs.replace(self, **columns, impression_ids=ids)


_COLUMNS = (
    "query", "user", "arm", "length", "item", "modality", "clicked", "click_at_s", "dwell_s", "block", "team", "at_s",
    "reformulated", "satisfied_without_click",
)  # fmt: skip


def table_of(impressions: Iterable[Impression]) -> ImpressionTable:
    """The columns of impressions, in their order; names are numbered as they first come."""
    records = list(impressions)
    depth = max((len(one.shown) for one in records), default=0)
    queries, users, arms, teams = ({} for _ in range(4))  # type: ignore[var-annotated]
    items: dict[tuple[int, str], int] = {}
    shape = (len(records), depth)
    whole = {name: np.full(shape, -1, dtype=np.int64) for name in ("item", "modality", "block", "team")}
    clicked, click_at_s, dwell_s = np.zeros(shape, dtype=bool), np.full(shape, math.nan), np.full(shape, math.nan)
    heads: list[tuple[int, int, int]] = []
    for row, one in enumerate(records):
        query, places = queries.setdefault(one.query_id, len(queries)), len(one.shown)
        heads.append((query, users.setdefault(one.user, len(users)), arms.setdefault(one.arm, len(arms))))
        whole["item"][row, :places] = [items.setdefault((query, result), len(items)) for result in one.shown]
        whole["modality"][row, :places] = [_CODES[modality] for modality in one.modalities]
        whole["block"][row, :places] = one.blocks or range(places)
        whole["team"][row, :places] = [teams.setdefault(name, len(teams)) for name in one.teams or ("",) * places]
        for click in one.clicks:
            again = clicked[row, click.place]
            clicked[row, click.place] = True
            click_at_s[row, click.place] = np.fmin(click_at_s[row, click.place], click.at_s)
            dwell_s[row, click.place] = dwell_s[row, click.place] + click.dwell_s if again else click.dwell_s
    head = np.array(heads, dtype=np.int64).reshape(len(records), 3)
    satisfied = [
        UNKNOWN if one.satisfied_without_click is None else int(one.satisfied_without_click) for one in records
    ]
    return ImpressionTable(
        query=head[:, 0], user=head[:, 1], arm=head[:, 2], **whole, clicked=clicked, click_at_s=click_at_s,
        length=np.array([len(one.shown) for one in records], dtype=np.int64), dwell_s=dwell_s,
        at_s=np.array([one.at_s for one in records], dtype=np.float64),
        reformulated=np.array([one.reformulated for one in records], dtype=bool),
        satisfied_without_click=np.array(satisfied, dtype=np.int64),
        item_query=np.array([query for query, _ in items], dtype=np.int64),
        query_ids=tuple(queries), users=tuple(users), arms=tuple(arms), teams=tuple(teams),
        result_ids=tuple(result for _, result in items), impression_ids=tuple(one.impression_id for one in records),
    )  # fmt: skip


def records_of(table: ImpressionTable) -> Iterator[Impression]:
    """The impressions of columns, one record each; clicks of unknown moment stand after the others, by place."""
    ids: Sequence[str] = table.impression_ids or [str(number) for number in range(len(table))]
    for row, impression_id in enumerate(ids):
        places = int(table.length[row])
        at = range(places)
        clicks = [
            Click(place, float(table.click_at_s[row, place]), float(table.dwell_s[row, place]))
            for place in np.flatnonzero(table.clicked[row]).tolist()
        ]
        teams = tuple(table.teams[table.team[row, i]] for i in at)
        blocks = tuple(table.block[row, :places].tolist())
        satisfied = int(table.satisfied_without_click[row])
        yield Impression(
            impression_id, table.users[table.user[row]], table.query_ids[table.query[row]],
            tuple(table.result_ids[table.item[row, i]] for i in at),
            tuple(MODALITIES[table.modality[row, i]] for i in at),
            tuple(sorted(clicks, key=lambda click: (math.isnan(click.at_s), click.at_s, click.place))),
            float(table.at_s[row]), table.arms[table.arm[row]],
            teams=teams if any(teams) else (), blocks=blocks if blocks != tuple(at) else (),
            reformulated=bool(table.reformulated[row]),
            satisfied_without_click=None if satisfied == UNKNOWN else satisfied == YES,
        )  # fmt: skip


def _once(first: dict[str, int], key: str, path: str | Path, number: int) -> None:
    if key in first:
        raise RecordError(
            path, number, "impression_id", f"{key!r}, already in record {first[key]}", "each once", "rename or drop one"
        )
    first[key] = number


def _fits(name: str, got: tuple[int, ...], wanted: tuple[int, ...], what: str) -> None:
    if got != wanted:
        raise ShapeError(f"ImpressionTable.{name}: got shape {got}; allowed: {wanted}, {what}; mend the columns")
