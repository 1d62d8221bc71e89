"""Your own pages: JSONL files written by ``wholepage.pages.records`` or by any other program.

One page a line, as ``wholepage.pages`` writes it, plain or gzipped::

    {"query": {"query_id": "q1", "text": "red shoes"},
     "results": [{"result_id": "a", "modality": "text", "text": "Red shoes, size 9"},
                 {"result_id": "b", "modality": "image", "images": [{"uri": "photos/b.jpg"}]}]}

A relative picture address is read as lying beside the file.

What people said is either judgments, one answer a line, or TREC qrels (``query_id 0 result_id grade``).

Two ways to lay the files out:

- a folder: ``<split>.pages.jsonl`` beside ``<split>.judgments.jsonl`` or ``<split>.qrels``, each also with ``.gz``;
  the file names are the splits. Exactly one pages file and at most one file of judgments a split.
- one file of pages, and one file of judgments named by ``judgments_path``: the only split is ``"all"``.

Pages nobody has judged yet are fine; only asking for their judgments is an error. Judgments may speak of results
that are not on the pages, as TREC qrels do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from wholepage.pages import InputError, Judgments, Page
from wholepage.pages.records import read_judgments, read_pages, read_qrels

WHOLE = "all"
"""The only split of a single file."""

_PAGES = (".pages.jsonl", ".pages.jsonl.gz")
_ANSWERS = (".judgments.jsonl", ".judgments.jsonl.gz")
_QRELS = (".qrels", ".qrels.gz")


class JsonlCollection:
    """Pages of JSONL files, and what people said of them.

    Args:
        path: a file of pages, or a folder of ``<split>.pages.jsonl`` files.
        judgments_path: with a single file of pages, its judgments (``.jsonl``) or qrels (``.qrels``, ``.txt``), also
            with ``.gz``; a folder has its own.
    Raises:
        InputError: a path is missing, a folder holds no pages, or two files claim the same split.
    """

    name: ClassVar[str] = "jsonl"
    licence: ClassVar[str] = "yours: the licence of the files read"
    source: ClassVar[str] = "the files read"

    def __init__(self, path: str | Path, judgments_path: str | Path | None = None) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            if judgments_path is not None:
                raise InputError(
                    f"judgments_path: got {str(judgments_path)!r} beside the folder {str(path)!r}; allowed: only "
                    "beside a single file; name it <split>.judgments.jsonl in the folder"
                )
            self._pages = _by_split(self.path, _PAGES)
            self._judgments = _by_split(self.path, _ANSWERS + _QRELS)
            if not self._pages:
                raise InputError(
                    f"collection 'jsonl': got the folder {str(path)!r} without pages; allowed: files named "
                    "<split>.pages.jsonl or <split>.pages.jsonl.gz; rename them, or pass one file"
                )
            return
        for given in (self.path, judgments_path):
            if given is not None and not Path(given).is_file():
                raise InputError(
                    f"collection 'jsonl': got no file {str(given)!r}; allowed: a file, or a folder of "
                    "<split>.pages.jsonl files; mend the path"
                )
        self._pages = {WHOLE: self.path}
        self._judgments = {} if judgments_path is None else {WHOLE: Path(judgments_path)}

    def __repr__(self) -> str:
        return f"JsonlCollection({str(self.path)!r})"

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, sorted."""
        return tuple(sorted(self._pages))

    def pages(self, split: str) -> Iterator[Page]:
        """The pages of one split, in the order of the file, read one at a time.

        Raises:
            InputError: there is no such split; the message lists those there are.
            RecordError: a line cannot be read, or a query comes twice.
        """
        return read_pages(self._of(split))

    def judgments(self, split: str) -> Judgments:
        """What people said of the pages of one split.

        Raises:
            InputError: there is no such split, or it has no judgments.
            RecordError: a line cannot be read.
        """
        pages = self._of(split)
        path = self._judgments.get(split)
        if path is None:
            raise InputError(
                f"split {split!r}: got no judgments beside {str(pages)!r}; allowed: {split}.judgments.jsonl or "
                f"{split}.qrels in a folder, judgments_path for a single file; add the file"
            )
        plain = path.name.removesuffix(".gz")
        if plain.endswith((".qrels", ".txt")):
            return read_qrels(path)
        if plain.endswith(".jsonl"):
            return read_judgments(path)
        raise InputError(
            f"judgments_path: got {str(path)!r}; allowed: .jsonl (judgments), .qrels or .txt (qrels), each also with "
            ".gz; rename the file"
        )

    def _of(self, split: str) -> Path:
        if split not in self._pages:
            raise InputError(
                f"collection 'jsonl': got split {split!r}; allowed: {', '.join(self.splits())} (in {self.path}); "
                "choose one of them"
            )
        return self._pages[split]


def _by_split(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """The files of a folder by the part of their name before the ending; two of one split are an error."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in endings if path.name.endswith(ending)), None)
        split = path.name.removesuffix(ending) if ending is not None else ""
        if not split or not path.is_file():
            continue
        if split in found:
            raise InputError(
                f"split {split!r}: got both {found[split].name} and {path.name} in {str(folder)!r}; allowed: one of "
                "them; remove the other"
            )
        found[split] = path
    return found
