"""Learning-to-rank sets of numbers: LETOR, MSLR-WEB10K and 30K, Yahoo's, Istella's, and LightGBM's example.

One result a line, plain or ``.gz``; ``<label> qid:<query> <feature>:<value> ... # <comment>``::

    2 qid:10032 1:0.05 2:0.00 46:0.07 #docid = GX029-35-5894638 inc = 0.02 prob = 0.13

or, as LightGBM writes it, without qid and beside a file ``<name>.query`` that holds how many lines each query has.

The first form was read from the descriptions of these sets and from what scikit-learn's ``load_svmlight_file``
takes, the second from LightGBM's example files themselves.

- There are no words in such sets: a result's text is its name, so that it can be shown, and no ranker should read it.
- Features are named by their number, ``"1"``; what is not on the line is 0 and is left out of ``features``.
- A result's id is the docid of the comment, where all of the query have one, else its line number.
- Lines of a query must stand together; one that comes back is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar, NamedTuple

from wholepage.collections.graded_pages import GradedPages
from wholepage.collections.homes import home_of
from wholepage.pages import Grade, InputError, Modality, Page, Query, RecordError, Result
from wholepage.pages.lines import build, read_lines, text_of

_ENDINGS = (".txt", ".svm", ".libsvm", ".letor")
_QUERY = ".query"
_NAMED = re.compile(r"docid\s*=\s*(\S+)")
_WHOLE = re.compile(r"\d{1,6}(?:\.0*)?")


class _Line(NamedTuple):
    number: int
    label: float
    query: str
    features: dict[str, float]
    docid: str


class LibSvm(GradedPages):
    """Pages of numbers with the grades of their lines.

    The splits are the names of the files, without endings, such as ``"train"`` or ``"rank.train"``.

    Args:
        root: the folder of the files, or a data folder with them in ``libsvm/`` or ``ltr_lightgbm/``.
    Raises:
        InputError: no files are found, or two of the same name.
    """

    name: ClassVar[str] = "libsvm"
    licence: ClassVar[str] = (
        "that of the files: LightGBM's example MIT; MSLR and LETOR research only; Yahoo's and Istella's on request"
    )
    source: ClassVar[str] = "the files read; microsoft/LightGBM examples/lambdarank"

    def __init__(self, root: str | Path) -> None:
        self.root = home_of(
            self.name, root, ("libsvm", "ltr_lightgbm"), lambda folder: bool(_files(folder)),
            f"files ending in {', '.join(_ENDINGS)}, or any beside a file of its name and {_QUERY}",
        )  # fmt: skip
        self._paths = _files(self.root)

    def __repr__(self) -> str:
        return f"LibSvm({str(self.root)!r})"

    def splits(self) -> tuple[str, ...]:
        """The names of the files, sorted."""
        return tuple(self._paths)

    def graded_pages(self, split: str) -> Iterator[tuple[Page, tuple[Grade, ...]]]:
        """Queries with the labels of their lines; results in the order of the lines.

        Raises:
            InputError: no such split.
            RecordError: a line cannot be read.
        """
        if split not in self._paths:
            raise InputError(
                f"collection 'libsvm': got split {split!r}; allowed: {', '.join(self._paths)} (in {self.root}); "
                "choose one of them"
            )
        path, sizes = self._paths[split]
        groups = _by_qid(path) if sizes is None else _by_size(path, sizes)
        return (_page(path, query_id, lines) for query_id, lines in groups)


def _page(path: Path, query_id: str, lines: list[_Line]) -> tuple[Page, tuple[Grade, ...]]:
    named = all(one.docid for one in lines)
    ids = [one.docid if named else str(one.number) for one in lines]
    results = tuple(
        build(path, one.number, "features", Result, name, Modality.TEXT, f"result {name}", (), one.features)
        for one, name in zip(lines, ids, strict=True)
    )
    page = build(path, lines[0].number, "docid", Page, Query(query_id), results)
    return page, tuple(Grade(query_id, name, one.label) for one, name in zip(lines, ids, strict=True))


def _by_qid(path: Path) -> Iterator[tuple[str, list[_Line]]]:
    done: set[str] = set()
    group: list[_Line] = []
    for one in _lines(path):
        if not one.query or one.query in done:
            raise RecordError(
                path, one.number, "qid", f"{one.query} again" if one.query else "none",
                "qid:<query>, all lines of a query together", f"sort the file, or give its {_QUERY} file",
            )  # fmt: skip
        if group and group[0].query != one.query:
            yield group[0].query, group
            done.add(group[0].query)
            group = []
        group.append(one)
    if group:
        yield group[0].query, group


def _by_size(path: Path, sizes: Path) -> Iterator[tuple[str, list[_Line]]]:
    lines = _lines(path)
    for number, raw in read_lines(sizes):
        told = text_of(sizes, number, raw).strip()
        if not told.isdigit() or int(told) < 1:
            raise RecordError(sizes, number, "line", repr(told), "how many lines the query has", "mend the line")
        group = list(islice(lines, int(told)))
        if len(group) < int(told):
            raise RecordError(sizes, number, "line", f"{told} lines, {len(group)} left", "as many as there are",
                              f"take both files of one release ({path.name})")  # fmt: skip
        yield str(number), group
    for one in lines:
        raise RecordError(path, one.number, "line", "a line of no query", f"as many as {sizes.name} says",
                          "take both files of one release")  # fmt: skip


def _lines(path: Path) -> Iterator[_Line]:
    for number, raw in read_lines(path):
        data, _, comment = text_of(path, number, raw).partition("#")
        label, *cells = data.split() or [""]
        if not _WHOLE.fullmatch(label):
            raise RecordError(path, number, "label", repr(label), "a whole number, 0 and up", "mend the line")
        query = ""
        if cells and cells[0].startswith("qid:"):
            query, cells = cells[0][4:], cells[1:]
        features: dict[str, float] = {}
        for cell in cells:
            name, value = _feature(path, number, cell)
            if name in features:
                raise RecordError(path, number, f"feature {name}", "it again", "each once", "mend the line")
            features[name] = value
        named = _NAMED.search(comment)
        yield _Line(number, float(label), query, features, named[1] if named else "")


def _feature(path: Path, number: int, cell: str) -> tuple[str, float]:
    name, colon, told = cell.partition(":")
    try:
        value = float(told) if colon and name.isdigit() else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RecordError(path, number, "feature", repr(cell), "<number>:<finite value>", "mend the line")
    return str(int(name)), value


def _files(folder: Path) -> dict[str, tuple[Path, Path | None]]:
    """Split -> the file, and the file of its queries' sizes."""
    plain = {path.name.removesuffix(".gz"): path for path in sorted(folder.iterdir()) if path.is_file()}
    found: dict[str, tuple[Path, Path | None]] = {}
    for name, path in plain.items():
        sizes = plain.get(name + _QUERY)
        ending = next((one for one in _ENDINGS if name.endswith(one)), "")
        if name in ("SOURCE.txt", "README.txt") or name.endswith(_QUERY) or not (ending or sizes):
            continue
        split = name.removesuffix(ending)
        if split in found:
            raise InputError(
                f"collection 'libsvm': got {found[split][0].name} and {path.name} in {str(folder)!r}; allowed: one "
                "file of a name; remove one"
            )
        found[split] = (path, sizes)
    return dict(sorted(found.items()))
