"""Photos with captions: a caption asks for its photo, among photos with captions near it and any others.

COCO 2017, COCO and Flickr30k in Karpathy's splits, Flickr30k as it is given out (``captions_files`` says the formats).

A result is a photo (IMAGE) without words. The photo a caption was written for has grade 1, all others 0: nobody judged
them, and a photo with a near caption may well show what is asked for. Photos that carry the very caption are never
among the others. The first captions of a photo ask; the rest, never asked with on any list, are for a teacher that
reads instead of looking: ``captions``. A photo with one caption is never asked for.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from wholepage.collections.captions_files import CaptionedPicture, Layout, caption_files, read_captions
from wholepage.pages import Grade, ImageRef, InputError, Judgments, Modality, Page, Query, RecordError, Result
from wholepage.pages.errors import require


class Captioned:
    """Captions as queries for their photos.

    Args:
        root: the folder of the caption files and pictures; pictures lie in folders, or in ZIP files of the same names
            that are never unpacked: ``val2017`` or ``val2017.zip``.
        layout: which format the files are in.
        queries_each: how many captions of a photo ask for it; one at least is kept back.
        results: how many photos a list has.
        near: how many of them have captions near the query, by BM25; the rest are any, drawn by the seed.
        seed: of the drawing and of the order on the page.
    Raises:
        InputError: the caption files are missing, or an option is unknown or out of range.
        MissingExtra: ``near`` is not 0 and bm25s is not installed.
    """

    name: ClassVar[str] = "captioned"
    licence: ClassVar[str] = (
        "COCO captions CC BY 4.0, Flickr30k captions for research; photos: their owners' terms on Flickr; do not ship "
        "weights trained on photos that forbid it"
    )
    source: ClassVar[str] = (
        "COCO 2017 (cocodataset.org), Flickr30k (Young et al. 2014), splits of Karpathy and Fei-Fei 2015"
    )

    def __init__(
        self,
        root: str | Path,
        *,
        layout: Layout = "coco",
        queries_each: int = 1,
        results: int = 20,
        near: int = 10,
        seed: int = 0,
    ) -> None:
        if layout not in get_args(Layout):
            raise InputError(f"layout: got {layout!r}; allowed: {', '.join(get_args(Layout))}; choose one of them")
        if queries_each < 1 or results < 2 or not 0 <= near < results:
            raise InputError(
                f"queries_each, results, near: got {queries_each}, {results}, {near}; allowed: 1 and up, 2 and up, "
                "0 to results - 1; mend them"
            )
        self.root, self.layout = Path(root).resolve(), layout
        self.queries_each, self.results, self.near, self.seed = queries_each, results, near, seed
        self._files = caption_files(self.root, layout)
        self._bm25: Any = require("bm25s", "text") if near else None
        self._read: dict[str, list[CaptionedPicture]] | None = None
        self._kept_back: dict[str, tuple[str, ...]] = {}
        self._archives: dict[Path, frozenset[str]] = {}
        self._found: dict[str, tuple[dict[str, list[int]], _Search | None]] = {}

    def __repr__(self) -> str:
        return f"Captioned({str(self.root)!r}, layout={self.layout!r})"

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, sorted.

        Raises:
            RecordError: a file cannot be read.
        """
        return tuple(sorted(self._all()))

    def pages(self, split: str) -> Iterator[Page]:
        """One list for each caption that asks, photo by photo in the order of the file.

        Raises:
            InputError: there is no such split, or a picture is missing.
            RecordError: a file cannot be read.
        """
        for query_id, caption, _, pictures in self._lists(split):
            results = tuple(Result(one.picture_id, Modality.IMAGE, images=(self._ref(one.file),)) for one in pictures)
            yield Page(Query(query_id, caption), results)

    def judgments(self, split: str) -> Judgments:
        """Grade 1 for the photo the caption was written for, 0 for the others of its list.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        return Judgments(
            Grade(query_id, one.picture_id, float(one.picture_id == own), who=self.name)
            for query_id, _, own, pictures in self._lists(split)
            for one in pictures
        )

    def gold(self, split: str) -> dict[str, str]:
        """The photo each caption was written for, by query id.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        return {query_id: one.picture_id for one in self._of(split) for query_id, _ in self._asking(one)}

    def captions(self, picture_id: str) -> tuple[str, ...]:
        """What people wrote of a photo, without the captions that ask for it on any list.

        Raises:
            InputError: no such photo.
            RecordError: a file cannot be read.
        """
        self._all()
        if picture_id not in self._kept_back:
            raise InputError(f"picture: got {picture_id!r}; allowed: the result ids of pages; take one of them")
        return self._kept_back[picture_id]

    def _all(self) -> dict[str, list[CaptionedPicture]]:
        if self._read is None:
            read = read_captions(self.layout, self._files)
            for split, pictures in read.items():
                for one in pictures:
                    if one.picture_id in self._kept_back:
                        path = self._files.get(split, next(iter(self._files.values())))
                        raise RecordError(
                            path,
                            0,
                            "picture",
                            f"{one.picture_id!r} again",
                            "each picture in one split, once",
                            "drop one",
                        )
                    self._kept_back[one.picture_id] = one.captions[self._count(one) :]
            self._read = read
        return self._read

    def _of(self, split: str) -> list[CaptionedPicture]:
        found = self._all()
        if split not in found:
            raise InputError(
                f"collection 'captioned': got split {split!r}; allowed: {', '.join(sorted(found))}; choose one of them"
            )
        if len(found[split]) < self.results:
            raise InputError(
                f"results: got {self.results}, but split {split!r} has {len(found[split])} pictures; allowed: as many "
                "at most; ask for fewer"
            )
        return found[split]

    def _count(self, picture: CaptionedPicture) -> int:
        return min(self.queries_each, len(picture.captions) - 1)

    def _asking(self, picture: CaptionedPicture) -> Iterator[tuple[str, str]]:
        for number, caption in enumerate(picture.captions[: self._count(picture)]):
            yield f"{picture.picture_id}#{number}", caption

    def _lists(self, split: str) -> Iterator[tuple[str, str, str, list[CaptionedPicture]]]:
        """Query id, caption, the id of its photo, and the photos of the list."""
        pictures = self._of(split)
        same, search = self._looked_up(split, pictures)
        for own, one in enumerate(pictures):
            for query_id, caption in self._asking(one):
                rng = np.random.default_rng([self.seed, *hashlib.sha256(query_id.encode()).digest()])
                banned = set(same[caption.lower()])
                chosen = [own, *(search.near(caption, banned, self.near) if search is not None else ())]
                chosen += self._any(len(pictures), banned.union(chosen), self.results - len(chosen), rng)
                yield query_id, caption, one.picture_id, [pictures[chosen[i]] for i in rng.permutation(len(chosen))]

    def _looked_up(self, split: str, pictures: list[CaptionedPicture]) -> tuple[dict[str, list[int]], _Search | None]:
        """Who has a caption, and the search for near ones; made once for each split: many photos take minutes."""
        if split not in self._found:
            same: dict[str, list[int]] = {}
            for place, one in enumerate(pictures):
                for caption in one.captions:
                    same.setdefault(caption.lower(), []).append(place)
            self._found[split] = same, _Search(self._bm25, pictures) if self.near else None
        return self._found[split]

    @staticmethod
    def _any(total: int, banned: set[int], count: int, rng: np.random.Generator) -> list[int]:
        """So many other places, or all there are; without making a list of a hundred thousand each time."""
        drawn: dict[int, None] = {}
        left = min(count, total - len(banned))
        while len(drawn) < left:
            for place in rng.integers(total, size=2 * (left - len(drawn))).tolist():
                if place not in banned and len(drawn) < left:
                    drawn[place] = None
        return list(drawn)

    def _ref(self, file: str) -> ImageRef:
        folder, _, name = file.partition("/")
        if (self.root / folder).is_dir():
            path = self.root / file
            if path.is_file():
                return ImageRef(str(path))
        archive = self.root / f"{folder}.zip"
        if archive.is_file():
            if archive not in self._archives:
                try:
                    with zipfile.ZipFile(archive) as members:
                        self._archives[archive] = frozenset(members.namelist())
                except zipfile.BadZipFile as error:
                    raise RecordError(archive, 0, "archive", str(error), "a whole ZIP file", "copy it again") from error
            for member in (file, name):
                if member in self._archives[archive]:
                    return ImageRef(f"zip:{archive}!/{member}")
        raise InputError(
            f"collection 'captioned': got no picture {file!r}; allowed: below {str(self.root)!r}, or in {folder}.zip "
            "there; fetch the pictures"
        )


class _Search:
    """Photos by the words of all their captions."""

    def __init__(self, bm25s: Any, pictures: list[CaptionedPicture]) -> None:
        self._library = bm25s
        words = self._words([" ".join(one.captions) for one in pictures])
        self._index = bm25s.BM25()
        self._index.index(words, show_progress=False)

    def near(self, caption: str, banned: set[int], count: int) -> list[int]:
        """The places of so many other photos with the nearest captions; equal ones in the order of the file."""
        (words,) = self._words([caption])
        known = [word for word in words if word in self._index.vocab_dict]
        if not known:
            return []
        scores: NDArray[np.float32] = np.array(self._index.get_scores(known))
        scores[list(banned)] = 0.0
        kept = np.flatnonzero(scores > 0)
        if kept.size > count:
            kept = kept[scores[kept] >= np.partition(scores[kept], -count)[-count]]
        order = np.argsort(-scores[kept], kind="stable")[:count]
        return [int(place) for place in kept[order]]

    def _words(self, texts: list[str]) -> list[list[str]]:
        words: list[list[str]] = self._library.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)
        return words
