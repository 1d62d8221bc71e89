"""INQUIRE-Rerank: an expert's question about nature and the 100 photos that CLIP found first, each relevant or not.

Parquet files ``<split>-*.parquet`` (``validation``, ``test``) in the folder or in its ``data/``, a row a photo::

    image, query, relevant (0 or 1), clip_score, inat24_image_id, and what is not looked at (species, place, date, ...)

The columns and files are those of the card of evendrow/INQUIRE-Rerank; the files themselves were not at hand.

- A page is a query, in the order of its first row; its id is the split and that number, for the rows name none.
- A result is an IMAGE without words: the species' name would often be the answer. ``clip_score`` is a feature, and
  ``first_stage_run`` has the order that it gives, which is the baseline.
- Photos are unpacked once into files, which takes as much room again. Rows need not be sorted by query.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from wholepage.collections.homes import home_of
from wholepage.collections.row_store import RowStore, stamp_of
from wholepage.collections.table_files import Row, read_rows
from wholepage.collections.table_pictures import picture_folder, picture_of
from wholepage.pages import Grade, ImageRef, InputError, Judgments, Modality, Page, Query, Ranking, Result
from wholepage.pages.errors import RecordError
from wholepage.pages.lines import build

_COLUMNS = ("image", "query", "relevant", "clip_score", "inat24_image_id")


class _Photo(msgspec.Struct, frozen=True):
    photo: str
    relevant: int
    clip_score: float
    file: str
    sha256: str


_PHOTO = msgspec.json.Decoder(_Photo)


class InquireRerank:
    """Photos of nature for experts' questions, in the lists that CLIP found.

    Args:
        root: the folder of the data set, or a data folder with it in ``inquire/`` or ``INQUIRE-Rerank/``.
        pictures: where photos are unpacked; None = ``pictures`` below root.
    Raises:
        InputError: no files are found.
    """

    name: ClassVar[str] = "inquire"
    licence: ClassVar[str] = "CC BY-NC 4.0: non-commercial; each photo has its own licence and owner (iNaturalist)"
    source: ClassVar[str] = "evendrow/INQUIRE-Rerank (arXiv 2411.02537)"

    def __init__(self, root: str | Path, *, pictures: str | Path | None = None) -> None:
        self.root = home_of(
            self.name, root, ("inquire", "INQUIRE-Rerank"), lambda folder: bool(_files(folder)), "<split>-*.parquet"
        )
        self.pictures = (self.root / "pictures" if pictures is None else Path(pictures)).resolve()
        self._paths = _files(self.root)
        self._kept: dict[str, RowStore] = {}

    def __repr__(self) -> str:
        return f"InquireRerank({str(self.root)!r})"

    def splits(self) -> tuple[str, ...]:
        """The splits, sorted."""
        return tuple(sorted(self._paths))

    def pages(self, split: str) -> Iterator[Page]:
        """The queries of one split, photos in the order of the rows.

        Raises:
            InputError: no such split, or pictures cannot be written.
            RecordError: a row cannot be read, or a query has a photo twice.
        """
        for query_id, text, photos in self._queries(split):
            results = tuple(
                Result(
                    one.photo,
                    Modality.IMAGE,
                    images=(ImageRef(str(self.pictures / one.file), one.sha256),),
                    features={"clip_score": one.clip_score},
                )
                for one in photos
            )
            yield build(self._paths[split][0], 0, f"query {text!r}", Page, Query(query_id, text), results)

    def judgments(self, split: str) -> Judgments:
        """Whether experts found each photo relevant, 0 or 1.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        return Judgments(
            Grade(query_id, one.photo, float(one.relevant), who=self.name)
            for query_id, _, photos in self._queries(split)
            for one in photos
        )

    def first_stage_run(self, split: str) -> dict[str, Ranking]:
        """The order of CLIP by query id, with its scores.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        run = {}
        for query_id, _, photos in self._queries(split):
            ordered = sorted(photos, key=lambda one: -one.clip_score)
            run[query_id] = Ranking(
                query_id, tuple(one.photo for one in ordered), tuple(one.clip_score for one in ordered), "clip"
            )
        return run

    def _queries(self, split: str) -> Iterator[tuple[str, str, list[_Photo]]]:
        if split not in self._paths:
            raise InputError(
                f"collection 'inquire': got split {split!r}; allowed: {', '.join(self.splits())} (in {self.root}); "
                "choose one of them"
            )
        if split not in self._kept:
            store = RowStore(picture_folder(self.pictures) / f"{split}.sqlite")
            store.fill(stamp_of(self._paths[split], "inquire-1"), self._unpacked(split))
            self._kept[split] = store
        for number, text in enumerate(self._kept[split].keys(), start=1):
            yield f"{split}-{number:04}", text, [_PHOTO.decode(raw) for raw in self._kept[split].get(text)]

    def _unpacked(self, split: str) -> Iterator[tuple[str, bytes]]:
        for path in self._paths[split]:
            for row in read_rows(path, _COLUMNS):
                yield str(row.cells["query"]), msgspec.json.encode(self._photo(row))

    def _photo(self, row: Row) -> _Photo:
        cells = row.cells
        if not isinstance(cells["query"], str) or not cells["query"].strip():
            raise row.error("query", cells["query"], "words")
        if cells["relevant"] not in (0, 1):
            raise row.error("relevant", cells["relevant"], "0 or 1")
        if not isinstance(cells["clip_score"], float) or not math.isfinite(cells["clip_score"]):
            raise row.error("clip_score", cells["clip_score"], "a number")
        if cells["inat24_image_id"] is None:
            raise row.error("inat24_image_id", "none", "the photo's number")
        ref = picture_of(row, "image", self.pictures)
        if ref is None:
            raise row.error("image", "none", "the bytes of a photo", "fetch the table again")
        file = str(Path(ref.uri).relative_to(self.pictures))
        return _Photo(str(cells["inat24_image_id"]), int(cells["relevant"]), cells["clip_score"], file, str(ref.sha256))


def _files(folder: Path) -> dict[str, tuple[Path, ...]]:
    found: dict[str, list[Path]] = {}
    for path in sorted((*folder.glob("*.parquet"), *folder.glob("data/*.parquet"))):
        split, dash, _ = path.name.partition("-")
        if dash:
            found.setdefault(split, []).append(path)
    for split, paths in found.items():
        if len({path.parent for path in paths}) > 1:
            raise RecordError(folder, 0, split, "files here and in data/", "one place", "remove one of them")
    return {split: tuple(paths) for split, paths in found.items()}
