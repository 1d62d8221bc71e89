"""Teachers: each modality's own ranker is asked about its part of a page, and what it says is kept on disk.

A cache is a folder with one JSONL file a teacher and modality; a line is a ranking and the hash of the page it is of::

    {"page": "9f2c...", "ranking": {"query_id": "q1", "result_ids": ["a", "b"], "scores": [2.5, 1.0], "by": "bm25"}}
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from wholepage.pages.errors import DecodingError, InputError, PageError, RecordError
from wholepage.pages.lines import build, decode, encode, read_lines, write_lines
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Ranker

PAGES_PER_CHUNK = 64
"""How many pages a ranker is asked about at once, and at least how many new answers make the file be written again."""

_SLUG = re.compile(r"[^A-Za-z0-9._-]+")


def ask_teachers(
    teachers: Mapping[Modality, Ranker],
    pages: Sequence[Page],
    *,
    cache: Path | None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[dict[Modality, Ranking]]:
    """How each modality's own ranker orders that modality's results of each page.

    A part of a page is known by its content: the query and the results, addresses of pictures included, the pictures
    themselves not. A part that changed is asked about again; equal parts are asked about once. Rankers are asked in
    the order of the hashes, so the order of ``pages`` does not matter.

    Args:
        teachers: one ranker a modality; results of other modalities are not ranked. With a cache a ranker's ``name``
            stands for all it is: one that was trained further needs another name.
        cache: the folder of the cache, made when missing; None = nothing is kept. It is written while the rankers
            work, so that a killed run loses little.
        progress: ``progress(done, total, what)`` after every chunk of pages.
    Returns:
        One mapping a page; a modality that is not on the page is not in it.
    Raises:
        DecodingError: a ranker did not answer with one permutation a page.
        RecordError: a file of the cache is damaged.
        InputError: the cache cannot be a folder.
    """
    if cache is not None:
        _make_folder(cache)
    answers: list[dict[Modality, Ranking]] = [{} for _ in pages]
    for modality in Modality:
        if modality not in teachers:
            continue
        teacher = teachers[modality]
        rows = [i for i, page in enumerate(pages) if modality in page.modalities]
        parts = {i: pages[i].only(modality) for i in rows}
        keys = {i: page_hash(part) for i, part in parts.items()}
        path = None if cache is None else cache_file(cache, teacher.name, modality)
        asked = {keys[i]: parts[i] for i in rows}
        known = _ask(teacher, asked, path, progress, f"{modality.value} teacher {teacher.name}")
        for i in rows:
            answers[i][modality] = known[keys[i]]
    return answers


def page_hash(page: Page) -> str:
    """Names a page by its content: sha256 of its JSON with sorted keys.

    Raises:
        PageError: the page holds what JSON cannot.
    """
    try:
        raw = msgspec.json.encode(page, order="deterministic")
    except (TypeError, UnicodeEncodeError) as error:
        raise PageError(
            f"query {page.query_id!r}: got {error}; allowed: plain text and finite Python numbers; convert it"
        ) from error
    return hashlib.sha256(raw).hexdigest()


def cache_file(cache: Path, name: str, modality: Modality) -> Path:
    """Where the rankings of a teacher are kept."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return cache / f"{modality.value}-{_SLUG.sub('-', name)[:60]}-{digest}.jsonl"


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    page: str
    ranking: Ranking


_LINE = msgspec.json.Decoder(_Line)


def _ask(
    teacher: Ranker,
    asked: Mapping[str, Page],
    path: Path | None,
    progress: Callable[[int, int, str], None] | None,
    what: str,
) -> dict[str, Ranking]:
    known = {} if path is None else _read(path, asked)
    new = sorted(key for key in asked if key not in known)
    done, unwritten = len(asked) - len(new), 0
    for start in range(0, len(new), PAGES_PER_CHUNK):
        chunk = new[start : start + PAGES_PER_CHUNK]
        known |= zip(chunk, _rank(teacher, [asked[key] for key in chunk]), strict=True)
        done, unwritten = done + len(chunk), unwritten + len(chunk)
        # A growing file is written again ever more seldom, or writing would cost the square of its length.
        if path is not None and (done == len(asked) or unwritten >= max(PAGES_PER_CHUNK, len(known) // 32)):
            _write(path, known)
            unwritten = 0
        if progress is not None:
            progress(done, len(asked), what)
    if progress is not None and asked and not new:
        progress(done, len(asked), what)
    return known


def _rank(teacher: Ranker, parts: Sequence[Page]) -> list[Ranking]:
    rankings = teacher.rank(parts)
    if len(rankings) != len(parts):
        raise DecodingError(
            f"ranker {teacher.name!r}: got {len(rankings)} rankings for {len(parts)} pages; allowed: one a page, in "
            "their order; mend the ranker"
        )
    return [ranking.check(part) for ranking, part in zip(rankings, parts, strict=True)]


def _read(path: Path, asked: Mapping[str, Page]) -> dict[str, Ranking]:
    """What a file keeps; rankings of the pages asked about are checked to be permutations of them."""
    known: dict[str, Ranking] = {}
    if not path.exists():
        return known
    for number, raw in read_lines(path):
        line = decode(_LINE, path, number, raw)
        if line.page in known:
            raise RecordError(
                path, number, "page", f"{line.page!r} a second time", "each once", "delete the file, to ask again"
            )
        if line.page in asked:
            build(path, number, "ranking", line.ranking.check, asked[line.page])
        known[line.page] = line.ranking
    return known


def _write(path: Path, known: Mapping[str, Ranking]) -> None:
    lines = (encode(_Line(key, known[key]), _LINE, path, number) for number, key in enumerate(sorted(known), start=1))
    write_lines(path, lines)


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cache {str(cache)!r}: got {error.strerror}; allowed: a folder that exists or can be made; name another"
        ) from error
