"""Image search: pages of pictures from two engines, and people's preferences between pictures and between pages.

Files below ``image_search_preferences/``, each plain or with ``.gz``::

    relevance_data.tsv           query, engine/query_number.jpg, relevance 0 to 100 (a mean over assessors)
    image_position.json          {query: {"0" (Sogou) | "1" (Baidu): {number: [row, column, columns of the row]}}}
    image_pairs_annotation.tsv   query, two pictures, three tags: -2 definitely left, -1 left, 0 tie, 1 right, 2
    SERP_level_preference.tsv    query, which page people preferred: 0 Sogou, 1 tie, 2 Baidu

There are no pictures in the data. A result is an IMAGE whose reference is the file name that the data gives it, below
the same folder: opening one raises ``ImageError`` (missing) unless somebody has put the pictures there. The files do
not say which engine "0" and "1" of the positions are; the numbers of pictures do, and every page is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import msgspec

from wholepage.collections.image_preference_files import FOLDER, Line, file_of, table
from wholepage.pages import (
    Choice,
    Grade,
    ImageRef,
    InputError,
    Judgments,
    Modality,
    Page,
    Preference,
    Query,
    RecordError,
    Result,
)
from wholepage.pages.lines import decode, read_lines

Engine = Literal["baidu", "sogou"]
ENGINES: tuple[Engine, ...] = ("baidu", "sogou")
BOTH = "both"
"""The split whose pages hold the pictures of both engines: what the pairs were drawn from."""

_RELEVANCE = ("Query", "Image(Search engine/query_imageID.jpg)", "Average_Relevance_Score")
_PAIRS = (
    "Query",
    "Image_pair(Search engine/query_imageID.jpg)",
    "three preference_tags(-2: Definitely left, -1:left, 0:Tie, 1: Right, 2: Definitely Right)",
)
_PAGES = ("Query", "Winner(0: Sogou, 1: Tie, 2: Baidu)")
_TAGS = ("tag 1", "tag 2", "tag 3")
_SIDES: Mapping[Engine, Literal["0", "1"]] = {"sogou": "0", "baidu": "1"}
_Cells = dict[str, tuple[int, int, int]]
_POSITIONS = msgspec.json.Decoder(dict[str, dict[Literal["0", "1"], _Cells]])


class ShownPicture(msgspec.Struct, frozen=True):
    """One picture where an engine showed it, and how relevant people found it.

    Attributes:
        picture: its file name in the data, such as ``"baidu/tfboys_0.jpg"``.  number: its place on the page, from 0.
        row, column: its cell, from 0.  columns: how many pictures its row has.
        relevance: 0 to 100, a mean over assessors.
    """

    query: str
    engine: Engine
    picture: str
    number: int
    row: int
    column: int
    columns: int
    relevance: float


class PairOpinion(msgspec.Struct, frozen=True):
    """Which of two pictures of one query three assessors preferred.

    Attributes:
        tags: -2 definitely left, -1 left, 0 tie, 1 right, 2 definitely right. Who gave which is not said: the first
            tags of two pairs may be of two people.
    """

    query: str
    left: str
    right: str
    tags: tuple[int, int, int]

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The tags without their strength."""
        return tuple(Choice.LEFT if tag < 0 else Choice.RIGHT if tag > 0 else Choice.SAME for tag in self.tags)


class PageOpinion(msgspec.Struct, frozen=True):
    """Which engine's page people preferred for a query; None = neither."""

    query: str
    winner: Engine | None


class _Picture(NamedTuple):
    engine: Engine
    number: int


class ImagePreferences:
    """Pages of two image search engines for the same queries, with grades, pair preferences and page preferences.

    The splits are the engines, and ``"both"`` for the pictures of the two together (Baidu's first, page by page as
    shown). The id of a query is its text. ``Result.features`` has ``row`` and ``column``, from 0.

    Args:
        root: the data folder, with ``image_search_preferences/``.
    Raises:
        InputError: one of the files is missing.
    """

    name: ClassVar[str] = "image_preferences"
    licence: ClassVar[str] = "unclear: no licence file; the README asks to cite the paper; for measuring only"
    source: ClassVar[str] = (
        "Preference-based Evaluation Metrics for Web Image Search (SIGIR 2020); "
        "THUxiexiaohui/An-image-dataset-with-preference-judgments"
    )

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self._relevance = file_of(root, "relevance_data.tsv")
        self._positions = file_of(root, "image_position.json")
        self._pairs = file_of(root, "image_pairs_annotation.tsv")
        self._pages = file_of(root, "SERP_level_preference.tsv")
        self._shown: dict[str, dict[Engine, tuple[ShownPicture, ...]]] | None = None

    def __repr__(self) -> str:
        return f"ImagePreferences({str(self.root)!r})"

    def splits(self) -> tuple[str, ...]:
        """The engines, and both together."""
        return (*ENGINES, BOTH)

    def pages(self, split: str) -> Iterator[Page]:
        """One page a query, in the order of the file of positions, pictures in the order shown: row by row.

        Raises:
            InputError: no such split.
            RecordError: a line cannot be read, a picture has no relevance or no place, or a grid has a gap.
        """
        engines = self._engines(split)
        for query, shown in self._all_shown().items():
            of = [picture for engine in engines for picture in shown[engine]]
            yield Page(Query(query, query), tuple(self._result(picture) for picture in of))

    def judgments(self, split: str) -> Judgments:
        """Relevance of every picture (0 to 100, said by "relevance"), and every pair of pictures of the split.

        Each pair has three preferences, by "assessor 1" to "assessor 3": the columns of the file, which need not be
        the same people from pair to pair.

        Raises:
            InputError, RecordError: as ``pages``; RecordError also for a pair of unknown pictures.
        """
        engines = self._engines(split)
        grades = [
            Grade(one.query, one.picture, one.relevance, who="relevance")
            for shown in self._all_shown().values()
            for engine in engines
            for one in shown[engine]
        ]
        inside = tuple(f"{engine}/" for engine in engines)
        preferences = [
            Preference(one.query, one.left, one.right, choice, who=f"assessor {number}")
            for one in self.pair_opinions()
            if one.left.startswith(inside) and one.right.startswith(inside)
            for number, choice in enumerate(one.choices, start=1)
        ]
        return Judgments(grades, preferences)

    def shown(self, query: str, engine: Engine) -> tuple[ShownPicture, ...]:
        """The pictures of one engine's page, in the order shown.

        Raises:
            InputError: no such query or engine.
            RecordError: as ``pages``.
        """
        of = self._all_shown()
        if query not in of or engine not in ENGINES:
            raise InputError(
                f"shown: got query {query!r}, engine {engine!r}; allowed: one of {len(of)} queries, such as "
                f"{list(of)[:3]}, and {', '.join(ENGINES)}; take queries from pages()"
            )
        return of[query][engine]

    def pair_opinions(self) -> Iterator[PairOpinion]:
        """Every compared pair, one line of the file at a time.

        Raises:
            RecordError: a line cannot be read, or a picture is not shown for its query.
        """
        known = {query: {p.picture for e in ENGINES for p in of[e]} for query, of in self._all_shown().items()}
        for line in table(self._pairs, _PAIRS, ("query", "pair", *_TAGS)):
            query, pair = line.text("query"), line.text("pair")
            left, _, right = pair.partition(",")
            for side in (left, right):
                if side not in known.get(query, ()):
                    raise line.error("pair", repr(pair), "two pictures with relevance and place, a comma between")
            if left == right:
                raise line.error("pair", repr(pair), "two different pictures")
            first, second, third = (line.whole(tag, -2, 2) for tag in _TAGS)
            yield PairOpinion(query, left, right, (first, second, third))

    def page_opinions(self) -> tuple[PageOpinion, ...]:
        """Which engine's page people preferred, one a query, in the order of the file.

        Raises:
            RecordError: a line cannot be read, a query comes twice or has no pages.
        """
        known, found = self._all_shown(), dict[str, PageOpinion]()
        winners: tuple[Engine | None, ...] = ("sogou", None, "baidu")
        for line in table(self._pages, _PAGES, ("query", "winner")):
            query = line.text("query")
            if query in found:
                raise line.error("query", f"{query!r} again", "each query once", "drop one")
            if query not in known:
                raise line.error("query", repr(query), "a query with relevance and positions")
            found[query] = PageOpinion(query, winners[line.whole("winner", 0, 2)])
        return tuple(found.values())

    def _engines(self, split: str) -> tuple[Engine, ...]:
        if split not in self.splits():
            raise InputError(
                f"collection {self.name!r}: got split {split!r}; allowed: {', '.join(self.splits())}; choose one"
            )
        return ENGINES if split == BOTH else tuple(engine for engine in ENGINES if engine == split)

    def _result(self, shown: ShownPicture) -> Result:
        reference = ImageRef(str(self.root / FOLDER / shown.picture))
        cell = {"row": float(shown.row), "column": float(shown.column)}
        return Result(shown.picture, Modality.IMAGE, images=(reference,), features=cell)

    def _all_shown(self) -> dict[str, dict[Engine, tuple[ShownPicture, ...]]]:
        if self._shown is None:
            graded = _read_relevance(self._relevance)
            grids = _read_positions(self._positions)
            strange = sorted(set(graded).symmetric_difference(grids))
            if strange:
                raise RecordError(
                    self._positions, 0, "queries", f"{strange[:3]} here or in {self._relevance.name} only",
                    "the same queries in both", "complete the files",
                )  # fmt: skip
            self._shown = {
                query: {engine: self._page(query, engine, grids[query], graded[query]) for engine in ENGINES}
                for query in grids
            }
        return self._shown

    def _page(
        self, query: str, engine: Engine, grids: Mapping[Literal["0", "1"], _Cells], graded: Mapping[_Picture, float]
    ) -> tuple[ShownPicture, ...]:
        """One page, its grid and its relevance brought together."""
        where = f"{query}.{_SIDES[engine]}"
        cells = grids.get(_SIDES[engine], {})
        numbers = sorted(one.number for one in graded if one.engine == engine)
        if list(cells) != [str(number) for number in range(len(cells))] or numbers != list(range(len(cells))):
            raise RecordError(
                self._positions, 1, where, f"pictures {list(cells)[:40]}; relevance of {numbers[:40]} ({engine})",
                "0, 1, 2 and so on, the same in both files", "complete the files",
            )  # fmt: skip
        _check_grid(self._positions, where, list(cells.values()))
        return tuple(
            ShownPicture(query, engine, _file_name(query, engine, n), n, *cell, graded[_Picture(engine, n)])
            for n, cell in enumerate(cells.values())
        )


def _read_relevance(path: Path) -> dict[str, dict[_Picture, float]]:
    found: dict[str, dict[_Picture, float]] = {}
    for line in table(path, _RELEVANCE, ("query", "image", "relevance")):
        query, picture = line.text("query"), _picture(line)
        of = found.setdefault(query, {})
        if picture in of:
            raise line.error("image", f"{line.text('image')!r} again", "each picture once", "drop one")
        of[picture] = line.real("relevance", 0.0, 100.0)
    return found


def _picture(line: Line) -> _Picture:
    """The engine and number that a picture's name says, for the query of its line."""
    query, image = line.text("query"), line.text("image")
    for engine in ENGINES:
        number = image.removeprefix(f"{engine}/{query}_").removesuffix(".jpg")
        if number.isdecimal() and image == _file_name(query, engine, int(number)):
            return _Picture(engine, int(number))
    raise line.error("image", repr(image), f"baidu/ or sogou/, then {query}_<number>.jpg")


def _file_name(query: str, engine: Engine, number: int) -> str:
    return f"{engine}/{query}_{number}.jpg"


def _read_positions(path: Path) -> dict[str, dict[Literal["0", "1"], _Cells]]:
    raw = b"".join(line for _, line in read_lines(path))
    return decode(_POSITIONS, path, 1, raw)


def _check_grid(path: Path, where: str, cells: list[tuple[int, int, int]]) -> None:
    """Rows from the top, columns from the left, each row as long as it says."""
    rows: list[int] = []
    for number, (row, column, _) in enumerate(cells):
        if row == len(rows):
            rows.append(0)
        if row != len(rows) - 1 or column != rows[-1]:
            raise RecordError(
                path, 1, f"{where}.{number}", f"row {row}, column {column}", "the next cell, row by row", "mend it"
            )
        rows[-1] += 1
    for number, (row, _, columns) in enumerate(cells):
        if columns != rows[row]:
            raise RecordError(
                path, 1, f"{where}.{number}", f"{columns} columns", f"{rows[row]}, the pictures of row {row}", "mend it"
            )
