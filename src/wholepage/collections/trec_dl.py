"""TREC Deep Learning: passages of MS MARCO for real questions, judged by people at NIST, 0 to 3.

Files below ``trec_dl/``, each plain or with ``.gz``; a year is whatever stands before the first dot (``dl19``)::

    <year>.queries.tsv               qid, text
    <year>.passages.jsonl            {"id", "text"}, every passage that a list or a judged pair names
    <year>.<first stage>.run.tsv     qid, docid, rank, score: what one retriever found first
    <year>.qrels.tsv                 qid, docid, grade: the pairs whose text is here
    <year>.qrels.full.tsv            all judged pairs
    teacher_runs/<year>.<first stage>.<model>.<k>.txt   the same list put in order by a language model, k-th try

A page is one query with the passages that one first stage found, best first. The scores of a teacher's run are those
of its first stage, handed out again from the top: they say no more than the rank, so its rankings have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec

from wholepage.collections.judged_pages import Identifier, Written
from wholepage.pages import (
    Grade,
    InputError,
    Judgments,
    Modality,
    Page,
    Query,
    Ranking,
    RecordError,
    Result,
)
from wholepage.pages.lines import decode, read_lines, text_of
from wholepage.pages.trec import read_qrels, read_run

_QUERIES, _PASSAGES, _RUN = ".queries.tsv", ".passages.jsonl", ".run.tsv"


class _Passage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Identifier
    text: Written


_PASSAGE = msgspec.json.Decoder(_Passage)


class Gap(NamedTuple):
    """Where a teacher's run and the page of a query differ.

    Attributes:
        unranked: results of the page that the teacher did not rank.
        not_on_page: results that it ranked and the page does not hold.
    """

    query_id: str
    unranked: tuple[str, ...]
    not_on_page: tuple[str, ...]


class TrecDl:
    """First-stage lists of passages (TEXT) with NIST's grades, and the orders that language models gave them.

    The splits are the years found.

    Args:
        root: the data folder, with ``trec_dl/``.
        year: the only year to read, such as ``"dl19"``; None = every year found.
        first_stage: whose lists the pages are, such as ``"BM25"``; ``runs()`` lists them.
        depth: how many passages a page holds, from the top of the list; all where there are fewer.
        full: judgments of all judged pairs, as official figures need; False = of those alone whose text is here.
    Raises:
        InputError: the folder, the year, the first stage or one of their files is missing, or depth is below 1.
    """

    name: ClassVar[str] = "trec_dl"
    licence: ClassVar[str] = (
        "MS MARCO text: non-commercial research only; runs Apache-2.0 (castorini/rank_llm); NIST judgments public"
    )
    source: ClassVar[str] = "TREC Deep Learning Track, passage task; lists and runs of castorini/rank_llm"

    def __init__(
        self,
        root: str | Path,
        *,
        year: str | None = None,
        first_stage: str = "BM25",
        depth: int = 100,
        full: bool = True,
    ) -> None:
        self.root = Path(root).resolve() / "trec_dl"
        if depth < 1:
            raise InputError(f"depth: got {depth}; allowed: 1 and up; pass how many passages a page holds")
        found = _named(self.root, "", _QUERIES)
        if not found:
            raise InputError(
                f"collection 'trec_dl': got no *{_QUERIES} in {str(self.root)!r}; allowed: a data folder that holds "
                "trec_dl/; set WHOLEPAGE_DATA or pass root"
            )
        if year is not None and year not in found:
            raise InputError(f"year: got {year!r}; allowed: {', '.join(found)} (in {self.root}); choose one of them")
        self.first_stage, self.depth, self.full = first_stage, depth, full
        self._years = tuple(found) if year is None else (year,)
        if first_stage not in self.runs():
            raise InputError(
                f"first_stage: got {first_stage!r}; allowed: {', '.join(self.runs()) or 'none'} (runs of "
                f"{', '.join(self._years)} in {self.root}); choose one of them"
            )
        self._texts: dict[str, dict[str, str]] = {}

    def __repr__(self) -> str:
        return f"TrecDl({str(self.root.parent)!r}, year={self._years}, first_stage={self.first_stage!r})"

    def splits(self) -> tuple[str, ...]:
        """The years, sorted."""
        return self._years

    def runs(self) -> tuple[str, ...]:
        """The first stages whose lists every year has, sorted."""
        of = [_named(self.root, f"{year}.", _RUN).keys() for year in self._years]
        return tuple(sorted(set.intersection(*map(set, of))))

    def pages(self, split: str) -> Iterator[Page]:
        """The queries of one year in the order of the run, passages best first as the first stage has them.

        Raises:
            InputError: no such year.
            RecordError: a line cannot be read, a query or passage of the run has no text, or a query comes twice.
        """
        run = self._file(f"{self._of(split)}.{self.first_stage}{_RUN}")
        queries, texts = self._queries(split), self._passages(split)
        for ranking in read_run(run):
            if ranking.query_id not in queries:
                raise _unknown(run, ranking.query_id, None, split + _QUERIES)
            results = []
            for result_id in ranking.top(self.depth).result_ids:
                if result_id not in texts:
                    raise _unknown(run, ranking.query_id, result_id, split + _PASSAGES)
                results.append(Result(result_id, Modality.TEXT, texts[result_id]))
            yield Page(Query(ranking.query_id, queries[ranking.query_id]), tuple(results))

    def judgments(self, split: str) -> Judgments:
        """The grades that NIST's assessors gave, 0 to 3; with ``full`` also of passages that no page holds.

        Raises:
            InputError: no such year, or it has no qrels.
            RecordError: a line cannot be read.
        """
        path = self._file(f"{self._of(split)}.qrels.{'full.' if self.full else ''}tsv")
        said = read_qrels(path)
        return Judgments(
            Grade(one.query_id, one.result_id, one.grade, who="nist")
            for query_id in said.query_ids
            for one in said.grades(query_id)
        )

    def first_stage_run(self, split: str) -> dict[str, Ranking]:
        """The first stage's own rankings by query id, with its scores, cut at ``depth``.

        Raises:
            InputError, RecordError: as ``pages``.
        """
        run = self._file(f"{self._of(split)}.{self.first_stage}{_RUN}")
        of = (ranking.top(self.depth) for ranking in read_run(run))
        return {one.query_id: msgspec.structs.replace(one, by=self.first_stage) for one in of}

    def teacher_runs(self) -> tuple[str, ...]:
        """The names of the saved runs that put this first stage's lists in order, sorted."""
        prefixes = [f"{year}.{self.first_stage}." for year in self._years]
        return tuple(
            sorted(prefix + rest for prefix in prefixes for rest in _named(self.root / "teacher_runs", prefix, ".txt"))
        )

    def teacher(self, name: str) -> Mapping[str, Ranking]:
        """One saved run as it is in its file: rankings by query id, order only; some queries may be short or missing.

        Args:
            name: one of ``teacher_runs()``; ``by`` is what follows year and first stage in it.
        Raises:
            InputError: no such run.
            RecordError: a line cannot be read.
        """
        if name not in self.teacher_runs():
            raise InputError(
                f"teacher: got {name!r}; allowed: {', '.join(self.teacher_runs()) or 'none'}; choose one of them"
            )
        by = name.split(".", 2)[2]
        path = self._file(f"teacher_runs/{name}.txt")
        return {one.query_id: Ranking(one.query_id, one.result_ids, None, by) for one in read_run(path)}

    def lists(self, name: str) -> Iterator[tuple[Page, Ranking]]:
        """Pages with a teacher's order of them, a permutation of each.

        A page holds only what the teacher ranked, and the ranking only what the page holds; queries of which it ranked
        less than two results are left out. ``gaps`` tells where that happened.

        Args:
            name: one of ``teacher_runs()``.
        Raises:
            InputError, RecordError: as ``pages`` and ``teacher``.
        """
        said = self.teacher(name)
        for page in self.pages(name.split(".", 1)[0]):
            ranking = said.get(page.query_id)
            if ranking is None:
                continue
            on_page = set(page.result_ids)
            kept = tuple(result_id for result_id in ranking.result_ids if result_id in on_page)
            if len(kept) >= 2:
                yield page.keep(kept), Ranking(page.query_id, kept, None, ranking.by)

    def gaps(self, name: str) -> tuple[Gap, ...]:
        """The queries whose page a teacher did not rank whole, or of which it ranked other results; usually none.

        Raises:
            InputError, RecordError: as ``lists``.
        """
        said, found = self.teacher(name), []
        for page in self.pages(name.split(".", 1)[0]):
            ranked = said[page.query_id].result_ids if page.query_id in said else ()
            unranked = tuple(r for r in page.result_ids if r not in set(ranked))
            not_on_page = tuple(r for r in ranked if r not in set(page.result_ids))
            if unranked or not_on_page:
                found.append(Gap(page.query_id, unranked, not_on_page))
        return tuple(found)

    def _of(self, split: str) -> str:
        if split not in self._years:
            raise InputError(
                f"collection 'trec_dl': got split {split!r}; allowed: {', '.join(self._years)} (years in {self.root}); "
                "choose one of them"
            )
        return split

    def _file(self, name: str) -> Path:
        for path in (self.root / f"{name}.gz", self.root / name):
            if path.is_file():
                return path
        raise InputError(
            f"collection 'trec_dl': got no {name} or {name}.gz in {str(self.root)!r}; allowed: a file of that name; "
            "add it, or ask for what is there"
        )

    def _queries(self, year: str) -> dict[str, str]:
        path, queries = self._file(year + _QUERIES), dict[str, str]()
        for line, raw in read_lines(path):
            query_id, _, text = text_of(path, line, raw).rstrip("\r\n").partition("\t")
            if not query_id or not text.strip() or "\t" in text:
                raise RecordError(path, line, "line", repr(query_id), "qid, a tab, text", "mend the line")
            if query_id in queries:
                raise RecordError(path, line, "qid", f"{query_id!r} again", "each query once", "drop one")
            queries[query_id] = text
        return queries

    def _passages(self, year: str) -> Mapping[str, str]:
        if year not in self._texts:
            path, texts = self._file(year + _PASSAGES), dict[str, str]()
            for line, raw in read_lines(path):
                passage = decode(_PASSAGE, path, line, raw)
                if passage.id in texts:
                    raise RecordError(path, line, "id", f"{passage.id!r} again", "each passage once", "drop one")
                texts[passage.id] = passage.text
            self._texts[year] = texts
        return self._texts[year]


def _named(folder: Path, prefix: str, ending: str) -> dict[str, Path]:
    """Files of a folder by what stands between prefix and ending, sorted; ``.gz`` after the ending is allowed."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        plain = path.name.removesuffix(".gz")
        if plain.startswith(prefix) and plain.endswith(ending) and len(plain) > len(prefix) + len(ending):
            found[plain[len(prefix) : -len(ending)]] = path
    return found


def _unknown(run: Path, query_id: str, result_id: str | None, where: str) -> RecordError:
    """The error of a run's line that names what has no text, with the number of the line."""
    wanted = [query_id] if result_id is None else [query_id, result_id]
    for line, raw in read_lines(run):
        if text_of(run, line, raw).split()[: len(wanted)] == wanted:
            break
    field = "qid" if result_id is None else "docid"
    return RecordError(run, line, field, repr(wanted[-1]), f"one of {where}", "add its text or drop the line")
