"""Baidu-ULTR: what users of a web search engine were shown and clicked, and queries graded by experts, 0 to 4.

Lines of columns parted by tabs, each file plain or ``.gz``. Words are numbers parted by the byte 1; here they are
parted by blanks, so that a text is readable as words that nobody knows.

Sessions, ``part-<number>``: a line of three columns begins a page, one of more than six is a result of it::

    qid, query, query reformulation
    position, url md5, title, abstract, media type, click, -, -, skip, ..., dwelling time (the 17th column), ...

Annotations, any other ``*.txt``: ``qid, query, title, abstract, label, bucket``.

The format was read from README.md and dataloader.py of ChuXiaokai/baidu_ultr_dataset; the files themselves were not at
hand. Its reader takes six columns for annotations, its README names the five without qid; six is what is read here.

- Results are TEXT, title and abstract; features ``media:<type>`` are 1 where it is that type of result.
- Sessions (split ``"clicks"``, or one part by its name) are judged by what users did: 2 = clicked and read, 1 =
  clicked, 0 = not clicked, see ``behaviour``. Shown and clicked is not relevant; that is what the set is about.
- A session's id is its file and line: the same ``qid`` comes again and again.
- Annotated rows of a query must stand together; one that comes back is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from wholepage.collections.behaviour import Seen, by_behaviour, dwell_of, merged
from wholepage.collections.graded_pages import GradedPages
from wholepage.collections.homes import home_of
from wholepage.pages import Grade, InputError, Modality, Page, Query, Ranking, RecordError, Result
from wholepage.pages.beir import titled
from wholepage.pages.lines import build, read_lines

CLICKS = "clicks"
"""The split of all sessions."""

_FOLDERS = ("train_data", "click_data", "annotate_data")
_DWELL = 16
_ANNOTATED = 6


class _Shown(NamedTuple):
    line: int
    seen: Seen
    text: str
    media: str


class BaiduUltr(GradedPages):
    """Search sessions with clicks, and pages graded by experts.

    The splits are ``"clicks"`` where there are parts, every part by its name, and every file of annotations by its.

    Args:
        root: a folder with the files in it or in its ``train_data/``, ``click_data/`` and ``annotate_data/``, or a data
            folder with them in ``baidu_ultr/``.
    Raises:
        InputError: no files are found, or two of the same name.
    """

    name: ClassVar[str] = "baidu_ultr"
    licence: ClassVar[str] = "CC BY-NC 4.0: non-commercial"
    source: ClassVar[str] = "Baidu-ULTR (arXiv 2207.03051), ChuXiaokai/baidu_ultr_dataset"

    def __init__(self, root: str | Path) -> None:
        self.root = home_of(
            self.name, root, ("baidu_ultr",), lambda folder: bool(_files(folder)), "part-<number> or *.txt files"
        )
        self._paths = _files(self.root)

    def __repr__(self) -> str:
        return f"BaiduUltr({str(self.root)!r})"

    def splits(self) -> tuple[str, ...]:
        """The splits, sorted."""
        parts = any(_is_part(one) for one in self._paths)
        return tuple(sorted((*self._paths, *((CLICKS,) if parts else ()))))

    def graded_pages(self, split: str) -> Iterator[tuple[Page, tuple[Grade, ...]]]:
        """Pages with their grades, results as shown; experts' grades 0 to 4, those of sessions 2, 1, 0 by behaviour.

        Raises:
            InputError: no such split.
            RecordError: a line cannot be read.
        """
        for path in self._of(split):
            yield from (page[:2] for page in _sessions(path)) if _is_part(_stem(path)) else _annotated(path)

    def by_behaviour(self, split: str) -> Iterator[Ranking]:
        """The order of each session as behaviour tells it.

        Raises:
            InputError: no such split, or one of annotations.
            RecordError: a line cannot be read.
        """
        for path in self._of(split):
            if not _is_part(_stem(path)):
                raise InputError(f"by_behaviour: got split {split!r}; allowed: sessions; annotations have none")
            yield from (ranking for _, _, ranking in _sessions(path))

    def _of(self, split: str) -> tuple[Path, ...]:
        if split not in self.splits():
            raise InputError(
                f"collection 'baidu_ultr': got split {split!r}; allowed: {', '.join(self.splits())} (in {self.root}); "
                "choose one of them"
            )
        if split != CLICKS:
            return (self._paths[split],)
        return tuple(path for stem, path in self._paths.items() if _is_part(stem))


def _sessions(path: Path) -> Iterator[tuple[Page, tuple[Grade, ...], Ranking]]:
    stem, begun, query, shown = _stem(path), 0, "", list[_Shown]()
    for line, cells in _lines(path):
        if len(cells) == 3:
            if begun:
                yield _session(path, f"{stem}:{begun}", query, shown)
            begun, query, shown = line, _words(path, line, "query", cells[1]), []
        elif len(cells) > _ANNOTATED and begun:
            shown.append(_shown(path, line, cells))
        else:
            raise RecordError(
                path, line, "line", f"{len(cells)} columns", "3 (a query), or more than 6 after one (a result)",
                "mend the line",
            )  # fmt: skip
    if begun:
        yield _session(path, f"{stem}:{begun}", query, shown)


def _session(path: Path, query_id: str, query: str, shown: list[_Shown]) -> tuple[Page, tuple[Grade, ...], Ranking]:
    by_id = {one.seen.result_id: one for one in reversed(shown)}
    seen = merged(one.seen for one in shown)
    results = tuple(
        build(
            path, by_id[one.result_id].line, "title", Result, one.result_id, Modality.TEXT, by_id[one.result_id].text,
            (), {f"media:{by_id[one.result_id].media}": 1.0},
        )
        for one in seen
    )  # fmt: skip
    page = Page(Query(query_id, query), results)
    grades = tuple(Grade(query_id, one.result_id, float(one.grade), who="behaviour") for one in seen)
    return page, grades, by_behaviour(query_id, seen)


def _shown(path: Path, line: int, cells: list[str]) -> _Shown:
    if cells[5] not in ("0", "1") or not cells[1]:
        raise RecordError(path, line, "url md5, click", f"{cells[1]!r}, {cells[5]!r}", "an id; 0 or 1", "mend the line")
    dwell = _number(path, line, "dwelling time", cells[_DWELL]) if len(cells) > _DWELL else math.nan
    seen = Seen(cells[1], _number(path, line, "position", cells[0]), cells[5] == "1", dwell_of(dwell))
    return _Shown(line, seen, _text(path, line, cells[2], cells[3], cells[1]), cells[4])


def _annotated(path: Path) -> Iterator[tuple[Page, tuple[Grade, ...]]]:
    done: set[str] = set()
    now, query, results, grades = "", "", list[Result](), list[Grade]()
    for line, cells in _lines(path):
        if len(cells) != _ANNOTATED:
            raise RecordError(
                path, line, "line", f"{len(cells)} columns", "qid, query, title, abstract, label, bucket",
                "mend the line",
            )  # fmt: skip
        query_id = cells[0]
        if not query_id or query_id in done:
            raise RecordError(
                path, line, "qid", f"{query_id!r} again" if query_id else "none", "all rows of a query together",
                "sort the file by qid",
            )  # fmt: skip
        if query_id != now:
            if now:
                yield Page(Query(now, query), tuple(results)), tuple(grades)
                done.add(now)
            now, query, results, grades = query_id, _words(path, line, "query", cells[1]), [], []
        if cells[4] not in ("0", "1", "2", "3", "4"):
            raise RecordError(path, line, "label", repr(cells[4]), "0 to 4", "mend the line")
        result_id = f"{query_id}:{len(results)}"
        text = _text(path, line, cells[2], cells[3], result_id)
        results.append(build(path, line, "title", Result, result_id, Modality.TEXT, text))
        grades.append(Grade(query_id, result_id, float(cells[4]), who="expert"))
    if now:
        yield Page(Query(now, query), tuple(results)), tuple(grades)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    for line, raw in read_lines(path):
        try:
            yield line, raw.decode("ascii").rstrip("\r\n").split("\t")
        except UnicodeDecodeError as error:
            raise RecordError(path, line, "line", "other characters", "numbers and ids", "fetch it again") from error


def _text(path: Path, line: int, title: str, abstract: str, result_id: str) -> str:
    words = titled(_words(path, line, "title", title), _words(path, line, "abstract", abstract))
    return words or f"result {result_id}"


def _words(path: Path, line: int, field: str, cell: str) -> str:
    words = [word for word in cell.split("\x01") if word]
    if not all(word.isdigit() for word in words):
        raise RecordError(path, line, field, repr(cell[:40]), "numbers parted by the byte 1", "mend the line")
    return " ".join(words)


def _number(path: Path, line: int, field: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise RecordError(path, line, field, repr(cell), "a number", "mend the line") from error


def _is_part(stem: str) -> bool:
    return stem.startswith("part-")


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".txt")


def _files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    places = (folder, *(one for name in _FOLDERS if (one := folder / name).is_dir()))
    for path in sorted(one for place in places for one in place.iterdir()):
        name = path.name.removesuffix(".gz")
        if not path.is_file() or not (name.endswith(".txt") or _is_part(name)) or "readme" in name.lower():
            continue
        if name == "SOURCE.txt" or name.startswith("unigram_dict"):
            continue
        if _stem(path) in found:
            raise InputError(
                f"collection 'baidu_ultr': got {found[_stem(path)]} and {path}; allowed: one file of a name; remove one"
            )
        found[_stem(path)] = path
    return found
