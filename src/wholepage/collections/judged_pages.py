"""Reading of ``pages/<name>_pages.jsonl.gz``: one judged query a line, its items of several kinds in shuffled order.

``{"qid", "split", "query", ..., "items": [{"id", "modality", "grade", "text" | "ocr" | "row" | "image", ...}]}``

Each collection declares its records as msgspec structs, one struct a kind of item, told apart by ``modality``.
Reading is strict and streaming: every line of the file is checked on every pass, and pages are built one at a time, of
the split asked for only. Two passes give equal pages.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeVar, get_args

import msgspec

from wholepage.pages import Grade, ImageRef, InputError, Judgments, Page, PageError, Query, RecordError, Result
from wholepage.pages.lines import read_lines

Identifier = Annotated[str, msgspec.Meta(min_length=1)]
Written = Annotated[str, msgspec.Meta(pattern=r"\S")]
"""Text with at least one character that is not white space."""
PageGrade = Annotated[int, msgspec.Meta(ge=0, le=3)]


class JudgedItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="modality", tag="(any)"):
    """What every item has; a kind of item adds its fields and its tag."""

    id: Identifier
    grade: PageGrade


class JudgedQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every line has; a collection adds ``items`` and its other fields."""

    qid: Identifier
    split: Identifier
    query: Written


class Place(NamedTuple):
    """Where an item stands in its file; raises errors that say so."""

    path: Path
    line: int
    position: int
    item_id: str

    def error(self, field: str, got: str, allowed: str, do: str) -> RecordError:
        """The error to raise for one field of this item."""
        return RecordError(self.path, self.line, f"items[{self.position}] ({self.item_id!r}).{field}", got, allowed, do)


class LeftOut(NamedTuple):
    """An item that is neither on the page nor in the judgments, and why."""

    query_id: str
    result_id: str
    grade: int
    why: str


ItemT = TypeVar("ItemT", bound=JudgedItem)


class JudgedPages(Generic[ItemT]):
    """A collection whose pages, items and grades stand together in one file.

    A collection of this kind says its records (``_query_type``, ``_item_type``), its files below the data folder
    (``_pages_file``, ``_archives``), and how an item becomes a result (``_result``).

    Args:
        root: the data folder.
        pages_path: another file of the same format in place of the collection's own; pictures still come from ``root``.
    Raises:
        InputError: the folder or one of the files is missing.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    source: ClassVar[str]
    _pages_file: ClassVar[str]
    _archives: ClassVar[tuple[str, ...]]
    _query_type: ClassVar[type[JudgedQuery]]
    _item_type: ClassVar[Any]

    def __init__(self, root: str | Path, *, pages_path: str | Path | None = None) -> None:
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise InputError(
                f"collection {self.name!r}: got root {str(root)!r}, which is no folder; allowed: the folder that holds "
                f"{self._pages_file}; set WHOLEPAGE_DATA or pass root"
            )
        self.path = Path(pages_path).resolve() if pages_path is not None else self._file(self._pages_file)
        if not self.path.is_file():
            raise InputError(
                f"collection {self.name!r}: got pages_path {str(pages_path)!r}, which is no file; allowed: a file in "
                f"the format of {self._pages_file}; mend pages_path or leave it out"
            )
        self._pictures = Pictures(*(self._file(archive) for archive in self._archives))
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._query_type)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    def pages(self, split: str) -> Iterator[Page]:
        """The pages of one split, in the order of the file, items in the order of the line.

        Raises:
            InputError: no query belongs to the split; the message lists the splits found.
            RecordError: a line or item cannot be read, or a picture is not in its archive.
        """
        for line, query in self._queries(split):
            results = []
            for place, item in self._items(line, query):
                if self._why_left_out(item) is None:
                    results.append(self._read(item, place))
            try:
                yield Page(Query(query.qid, query.query), tuple(results))
            except PageError as error:
                raise RecordError(
                    self.path, line, "items", str(error), "a page that follows the rules", "mend the line"
                ) from error

    def judgments(self, split: str) -> Judgments:
        """The grades of every result of one split, 0 to 3, said by the collection's name.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        return Judgments(
            Grade(query.qid, item.id, float(item.grade), who=self.name)
            for line, query in self._queries(split)
            for _, item in self._items(line, query)
            if self._why_left_out(item) is None
        )

    def splits(self) -> tuple[str, ...]:
        """The splits that the file has queries for, sorted.

        Raises:
            RecordError: a line cannot be read.
        """
        return tuple(sorted({split for _, query in self._lines() for split in self._splits_of(query)}))

    def left_out(self, split: str) -> tuple[LeftOut, ...]:
        """The items of one split that cannot be shown, with the reason; empty for most collections.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        reasons = (
            (query, item, self._why_left_out(item))
            for line, query in self._queries(split)
            for _, item in self._items(line, query)
        )
        return tuple(LeftOut(query.qid, item.id, item.grade, why) for query, item, why in reasons if why is not None)

    def _result(self, item: ItemT, place: Place) -> Result:
        """An item as a result; each collection has its own."""
        raise TypeError(f"{type(self).__name__} does not say how {item!r} at {place} becomes a result")

    def _why_left_out(self, item: ItemT) -> str | None:
        """The reason for which an item cannot be shown; None = it is shown."""
        return None

    def _splits_of(self, query: JudgedQuery) -> tuple[str, ...]:
        """The names of the splits that a query belongs to."""
        return (query.split,)

    def _file(self, name: str) -> Path:
        """A file below the root, which must be there."""
        path = self.root / name
        if not path.is_file():
            raise InputError(
                f"collection {self.name!r}: got no file {str(path)!r}; allowed: a data folder that holds {name}; "
                "set WHOLEPAGE_DATA or pass root"
            )
        return path

    def _read(self, item: ItemT, place: Place) -> Result:
        try:
            return self._result(item, place)
        except PageError as error:
            raise place.error("", str(error), "a result that follows the rules", "mend the line") from error

    def _items(self, line: int, query: JudgedQuery) -> Iterator[tuple[Place, ItemT]]:
        items: tuple[ItemT, ...] = query.items  # type: ignore[attr-defined]
        seen: dict[str, int] = {}
        for index, item in enumerate(items):
            place = Place(self.path, line, index, item.id)
            if item.id in seen:
                raise place.error("id", f"the id of items[{seen[item.id]}] again", "ids unique on a page", "rename one")
            seen[item.id] = index
            yield place, item

    def _queries(self, split: str) -> Iterator[tuple[int, JudgedQuery]]:
        found: set[str] = set()
        any_yet = False
        for line, query in self._lines():
            of = self._splits_of(query)
            found.update(of)
            if split in of:
                any_yet = True
                yield line, query
        if not any_yet:
            raise InputError(
                f"collection {self.name!r}: got split {split!r}; allowed: {', '.join(sorted(found)) or 'none'} "
                f"(found in {self.path}); choose one of them or pass another pages_path"
            )

    def _lines(self) -> Iterator[tuple[int, JudgedQuery]]:
        first: dict[str, int] = {}
        for line, raw in read_lines(self.path):
            query = decode_line(self._decoder, self.path, line, raw, self._item_type)
            if query.qid in first:
                raise RecordError(
                    self.path, line, "qid", f"{query.qid!r}, already on line {first[query.qid]}", "each query once",
                    "rename or drop one",
                )  # fmt: skip
            first[query.qid] = line
            yield line, query


class Pictures:
    """The members of one or more ZIP archives, as references; the name lists are read once, when first needed."""

    def __init__(self, *archives: Path) -> None:
        self._archives = archives
        self._holder: dict[str, Path] | None = None

    def ref(self, member: str, place: Place, field: str = "image") -> ImageRef:
        """The reference of a member.

        Raises:
            RecordError: no archive holds the member, or an archive cannot be read.
        """
        if self._holder is None:
            self._holder = {name: archive for archive in self._archives for name in _member_names(archive)}
        holder = self._holder.get(member)
        if holder is None:
            where = ", ".join(archive.name for archive in self._archives)
            raise place.error(field, f"{member!r}", f"a member of {where}", "add the picture or drop the item")
        return ImageRef(f"zip:{holder}!/{member}")


def kind_features(kind: str, kinds: tuple[str, ...]) -> dict[str, float]:
    """The kind of an item as 0/1 features named ``kind:<kind>``, one for each kind of the collection."""
    return {f"kind:{each}": float(each == kind) for each in kinds}


def decode_line(decoder: msgspec.json.Decoder[Any], path: Path, line: int, raw: bytes, item_type: Any = None) -> Any:
    """One line as the record that the decoder makes.

    Args:
        item_type: the kinds of item that the record's ``items`` allow, for the error to list.
    Raises:
        RecordError: the line is not JSON, or not such a record.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$")
        field = where.strip("`.") or "line"
        raise RecordError(path, line, field, problem, _shape(decoder.type, item_type), "mend the line") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(path, line, "line", str(error), "one JSON object in UTF-8", "mend the line") from error


def _shape(record: Any, item_type: Any) -> str:
    """The fields of a record and of each kind of its items, in words."""
    fields = ", ".join(record.__struct_fields__)
    if item_type is None:
        return f"({fields})"
    items = " | ".join(
        f"{kind.__struct_config__.tag}({', '.join(kind.__struct_fields__)})" for kind in get_args(item_type)
    )
    return f"({fields}), items {items}"


def _member_names(archive: Path) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as members:
            return members.namelist()
    except zipfile.BadZipFile as error:
        raise RecordError(archive, 0, "archive", str(error), "a whole ZIP file", "fetch the file again") from error
