"""Lists of texts that a language model put in order, to learn from: RankZephyr's and RankVicuna's training lists.

Two layouts, one file or a folder of files; every file may also be gzipped (``.gz``), and may hold one record a line or
one JSON list of records.

``"conversations"``: rows such as those of ``castorini/rank_zephyr_training_data`` (numbers) and
``rryisthebest/rank_zephyr_training_data_alpha`` (letters). The order is in the last turn; the page keeps the order of
the prompt::

    {"id": "...", "conversations": [
      {"from": "system", "value": "You are RankLLM, ..."},
      {"from": "human", "value": "I will provide you with 3 passages, each indicated by a numerical identifier []. Rank
         the passages based on their relevance to the search query: red shoes.\\n\\n[1] ...\\n[2] ...\\n[3] ...\\n
         Search Query: red shoes.\\nRank the 3 passages above based on their relevance to the search query. ..."},
      {"from": "gpt", "value": "[2] > [1] > [3]"}]}

``"rank_llm"``: requests as ``pages.rank_llm`` reads them, candidates in the teacher's order, as rank_llm writes its
results. There the order of the file is the answer, so the page gets another one: that of ``requests``, the file
that was ranked, or else a shuffle that depends on seed and query alone.

What is assumed of the conversations, from the prompts and the training code of castorini/rank_llm: turns are named
``system`` (may be missing), ``human``, ``gpt``; the query stands between "Search Query:" and the full stop before the
line break, and the same way in the first sentence; a passage begins on a line of its own with its identifier, in
order, and what follows on further lines belongs to it, so a passage that quotes its successor's identifier at the
start of a line is cut there; "docids", if there, name the passages in order, otherwise they are named 1, 2, and so on;
other fields of a row are not looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec
import numpy as np

from wholepage.pages import InputError, Judgments, Modality, Page, Query, Ranking, RecordError, Result
from wholepage.pages.lines import build, decode, read_lines
from wholepage.pages.rank_llm import read_rank_llm

WHOLE = "all"
"""The only split of a single file."""

_FILES = (".jsonl", ".json")
_FIRST = re.compile(
    r"I will provide you with (?P<count>\d+) passages, each indicated by an? (?:numerical|number|alphabetical) "
    r"identifier \[\]\.\s+Rank the passages based on their relevance to (?:the search )?query: (?P<query>.*?)\.?\s*$",
    re.DOTALL,
)
_LAST = re.compile(r"Search Query: (?P<query>.*?)\.?\s*\n\s*Rank the (?P<count>\d+) passages above ", re.DOTALL)
_ORDER = re.compile(r"\[(\d+|[A-Z])\](?:\s*>\s*\[(\d+|[A-Z])\])*")


class _Turn(msgspec.Struct, frozen=True, rename={"who": "from"}, forbid_unknown_fields=True):
    who: Literal["system", "human", "gpt"]
    value: str


class _Row(msgspec.Struct, frozen=True):
    conversations: tuple[_Turn, ...]
    id: str | int | None = None
    docids: tuple[str | int, ...] | None = None


_ROW = msgspec.json.Decoder(_Row)
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class Broken(NamedTuple):
    """A row that is no list in order: where it is, and what is wrong."""

    path: str
    line: int
    why: str


class RankLists:
    """Pages of texts with the order of a teacher; nobody's judgments.

    The splits of a folder are the names of its files, without endings; that of a file is ``"all"``.

    Args:
        root: a file, or a folder of ``<split>.jsonl`` or ``<split>.json`` files.
        layout: how the files are laid out, see above.
        requests: with ``"rank_llm"``, the file (or folder, by the same names) whose lists were ranked.
        by: the teacher's name.
        broken: what becomes of a conversation whose prompt is of another form, or whose answer is no permutation of
            its passages. ``"refuse"``: an error; ``"leave-out"``: not among the lists, named by ``left_out(split)``.
        seed: of the shuffle.
    Raises:
        InputError: a path is missing, an option is unknown, or a folder holds no files or two for a split.
    """

    name: ClassVar[str] = "rank_lists"
    licence: ClassVar[str] = (
        "that of the files; RankZephyr's lists name none, their passages are MS MARCO: non-commercial research only"
    )
    source: ClassVar[str] = "the files read; castorini/rank_zephyr_training_data (arXiv 2312.02724)"

    def __init__(
        self,
        root: str | Path,
        *,
        layout: Literal["conversations", "rank_llm"] = "conversations",
        requests: str | Path | None = None,
        by: str = "teacher",
        broken: Literal["refuse", "leave-out"] = "refuse",
        seed: int = 0,
    ) -> None:
        for option, given, allowed in (
            ("layout", layout, ("conversations", "rank_llm")),
            ("broken", broken, ("refuse", "leave-out")),
        ):
            if given not in allowed:
                raise InputError(f"{option}: got {given!r}; allowed: {', '.join(allowed)}; choose one of them")
        if requests is not None and layout != "rank_llm":
            raise InputError(
                f"requests: got {str(requests)!r} with layout {layout!r}; allowed: only with 'rank_llm', "
                "conversations hold the order they were asked in; leave it out"
            )
        self.root = Path(root)
        self.layout, self.by, self.broken, self.seed = layout, by, broken, seed
        self._paths = _by_split(self.root)
        self._requests = None if requests is None else _by_split(Path(requests))

    def __repr__(self) -> str:
        return f"RankLists({str(self.root)!r}, layout={self.layout!r})"

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, sorted."""
        return tuple(sorted(self._paths))

    def pages(self, split: str) -> Iterator[Page]:
        """The lists of one split as they are to be ranked, in the order of the file.

        Raises:
            InputError, RecordError: as ``lists``.
        """
        return (page for page, _ in self.lists(split))

    def judgments(self, split: str) -> Judgments:
        """Never: a teacher's order is no judgment of people.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"collection 'rank_lists', split {split!r}: got no judgments; allowed: collections that people judged; "
            "take the teacher's orders from lists(split)"
        )

    def lists(self, split: str) -> Iterator[tuple[Page, Ranking]]:
        """Each list with its teacher's order, read one at a time.

        A query id that comes again gets ``/2``, ``/3`` and so on; rows without ids are named by their line.

        Raises:
            InputError: there is no such split.
            RecordError: a row is not of the layout, a requested list is missing or of other candidates, or (with
                ``"refuse"``) an answer is no permutation.
        """
        if split not in self._paths:
            raise InputError(
                f"collection 'rank_lists': got split {split!r}; allowed: {', '.join(self.splits())} (in {self.root}); "
                "choose one of them"
            )
        return self._requested(split) if self.layout == "rank_llm" else self._talked(self._paths[split], [])

    def left_out(self, split: str) -> tuple[Broken, ...]:
        """The rows of one split that are not among its lists, with the reason; empty unless ``"leave-out"``.

        Raises:
            InputError, RecordError: as ``lists``.
        """
        self.lists(split)
        broken: list[Broken] = []
        if self.layout == "conversations":
            for _ in self._talked(self._paths[split], broken):
                pass
        return tuple(broken)

    def _talked(self, path: Path, broken: list[Broken]) -> Iterator[tuple[Page, Ranking]]:
        met: Counter[str] = Counter()
        for line, place, raw in _rows(path):
            row = decode(_ROW, path, line, raw, place=place)
            given = str(row.id) if row.id is not None else f"{_split_of(path)}:{place[1:-2] or line}"
            met[given] += 1
            query_id = given if met[given] == 1 else f"{given}/{met[given]}"
            try:
                one = _read(path, line, place, row, query_id, self.by)
            except RecordError as error:
                if self.broken == "refuse":
                    raise
                broken.append(Broken(str(path), line, str(error)))
                continue
            yield one

    def _requested(self, split: str) -> Iterator[tuple[Page, Ranking]]:
        path = self._paths[split]
        asked: dict[str, tuple[str, ...]] | None = None
        if self._requests is not None:
            if split not in self._requests:
                raise InputError(
                    f"requests: got {', '.join(sorted(self._requests))}; allowed: a file for split {split!r}; add it"
                )
            asked = {page.query_id: page.result_ids for page, _ in read_rank_llm(self._requests[split])}
        for page, ranking in read_rank_llm(path):
            wanted = None if asked is None else asked.get(page.query_id, ())
            if wanted is not None and not set(page.result_ids) <= set(wanted):
                raise RecordError(
                    path, 0, "candidates", f"for query {page.query_id!r} results that its request does not hold",
                    f"those of {self._requests}", "pass the requests that were ranked",
                )  # fmt: skip
            results = {result.result_id: result for result in page.results}
            ids = self._shuffled(page) if wanted is None else [one for one in wanted if one in results]
            # The scores that rank_llm writes are made up from the rank, or the first stage's handed out again.
            yield (
                Page(page.query, tuple(results[one] for one in ids)),
                Ranking(page.query_id, ranking.result_ids, None, self.by),
            )

    def _shuffled(self, page: Page) -> list[str]:
        ids = sorted(page.result_ids)
        rng = np.random.default_rng([self.seed, *page.query_id.encode()])
        return [ids[i] for i in rng.permutation(len(ids))]


def _split_of(path: Path) -> str:
    """The name of a file without ``.gz``, ``.jsonl`` or ``.json``."""
    plain = path.name.removesuffix(".gz")
    return next((plain.removesuffix(ending) for ending in _FILES if plain.endswith(ending)), plain)


def _by_split(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {WHOLE: path}
    found: dict[str, Path] = {}
    for one in sorted(path.iterdir()) if path.is_dir() else ():
        if one.is_file() and one.name.removesuffix(".gz").endswith(_FILES):
            if _split_of(one) in found:
                raise InputError(
                    f"split {_split_of(one)!r}: got both {found[_split_of(one)].name} and {one.name} in {str(path)!r}; "
                    "allowed: one of them; remove the other"
                )
            found[_split_of(one)] = one
    if not found:
        raise InputError(
            f"collection 'rank_lists': got {str(path)!r}; allowed: a file, or a folder of <split>.jsonl or "
            "<split>.json, each also with .gz; mend the path"
        )
    return found


def _rows(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Line, place within it, and bytes of each row; of one JSON list the line is 1 and the place the index."""
    lines = read_lines(path)
    for number, raw in lines:
        if number > 1 or not raw.lstrip().startswith(b"["):
            yield number, "", raw
            continue
        rows = decode(_RAW_LIST, path, 1, raw + b"".join(rest for _, rest in lines))
        for index, one in enumerate(rows):
            yield 1, f"[{index}].", bytes(one)


def _read(path: Path, line: int, place: str, row: _Row, query_id: str, by: str) -> tuple[Page, Ranking]:
    """The page of a conversation, and the order of its answer."""
    turns = row.conversations[1:] if row.conversations and row.conversations[0].who == "system" else row.conversations
    if [turn.who for turn in turns] != ["human", "gpt"]:
        got = ", ".join(turn.who for turn in row.conversations) or "no turn"
        raise RecordError(path, line, f"{place}conversations", got, "(system,) human, gpt", "mend or drop the row")
    field = f"{place}conversations[{len(row.conversations) - 2}].value"

    def refuse(got: str, allowed: str) -> RecordError:
        return RecordError(path, line, field, got, allowed, "mend or drop the row")

    said = turns[0].value.replace("\r\n", "\n")
    # The last one: a passage may hold these words too.
    end = said.rfind("\nSearch Query: ") + 1
    last = _LAST.match(said, end) if end else None
    if last is None:
        raise refuse("no closing question", '"Search Query: ...", then "Rank the <n> passages above ..."')
    head, names, texts = _passages(said[:end])
    first = _FIRST.search(head.strip())
    if first is None:
        raise refuse("no opening sentence", '"I will provide you with <n> passages, ... to the search query: ..."')
    counts = {int(first["count"]), int(last["count"]), len(names)}
    if len(counts) > 1 or len(names) < 2:
        allowed = f"{first['count']} as announced (and {last['count']} at the end), two or more"
        raise refuse(f"{len(names)} passages", allowed)
    if first["query"].strip() != last["query"].strip() or not last["query"].strip():
        raise refuse(f"two queries, {first['query']!r} and {last['query']!r}", "the same words, not empty")
    ids = [str(one) for one in row.docids] if row.docids is not None else [str(i + 1) for i in range(len(names))]
    if len(ids) != len(names):
        raise RecordError(path, line, f"{place}docids", str(len(ids)), f"{len(names)}, one a passage", "mend the row")
    make: Any = Result
    results = [build(path, line, field, make, one, Modality.TEXT, text) for one, text in zip(ids, texts, strict=True)]
    query = build(path, line, f"{place}id", Query, query_id, last["query"].strip())
    page = build(path, line, f"{place}docids", Page, query, tuple(results))
    order = _order(path, line, f"{place}conversations[{len(row.conversations) - 1}].value", turns[1].value, names)
    return page, Ranking(query_id, tuple(ids[i] for i in order), None, by)


def _passages(said: str) -> tuple[str, list[str], list[str]]:
    """What stands before the first passage, the identifiers, and the texts, each without its identifier."""
    head: list[str] = []
    names: list[str] = []
    texts: list[list[str]] = []
    for line in said.split("\n"):
        marks = [_name(len(names), letters) for letters in (False, True) if not names or letters == names[0].isalpha()]
        mark = next((one for one in marks if line.startswith(f"[{one}]")), None)
        if mark is not None:
            names.append(mark)
            texts.append([line[len(mark) + 2 :]])
        else:
            (texts[-1] if texts else head).append(line)
    return "\n".join(head), names, ["\n".join(lines).strip() for lines in texts]


def _name(index: int, letters: bool) -> str:
    return chr(ord("A") + index) if letters else str(index + 1)


def _order(path: Path, line: int, field: str, answer: str, names: list[str]) -> list[int]:
    """Positions of the passages, best first."""
    said = re.findall(r"\[(\w+)\]", answer)
    lost, invented = [n for n in names if n not in said], [s for s in said if s not in names]
    twice = [name for name, count in Counter(said).items() if count > 1]
    got = ""
    if not _ORDER.fullmatch(answer.strip()):
        got = f"an answer that is no list of identifiers: {answer.strip()[:60]!r}"
    elif lost or invented or twice:
        got = f"an answer that loses {lost[:5]}, invents {invented[:5]}, repeats {twice[:5]}"
    if got:
        allowed = f"each of the {len(names)} passages once, as in [2] > [1]"
        raise RecordError(path, line, field, got, allowed, 'mend the row, or pass broken="leave-out"')
    return [names.index(name) for name in said]
