"""Lists that teachers ordered: any ranker is asked once about each page, and what it says is on disk before it is used.

    taught = teach(SavedRun(read_run("rank_vicuna.txt"), "rank-vicuna"), pages, kept=Path("teachers"))
    taught.lists, taught.cost

What is kept is a file a teacher, to which every chunk of answers is appended and brought to the disk; a line is a
ranking, or why there is none, and the hash of the page it is of::

    {"page": "9f2c...", "ranking": {"query_id": "q1", "result_ids": ["a", "b"], "by": "rank-vicuna"}}
    {"page": "07aa...", "declined": {"query_id": "q2", "reason": "refused", "detail": "I cannot", "lasting": true}}
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import DecodingError, InputError
from wholepage.pages.model import Page, Ranking
from wholepage.pages.protocols import Ranker, scores_on
from wholepage.rankers.permutation_teacher import Declined
from wholepage.training.kept_answers import Answer, KeptAnswers, kept_file
from wholepage.training.taught import TaughtList
from wholepage.training.teachers import page_hash

Progress = Callable[[int, int, str], None]
Targets = Literal["order", "scores"]

SHORT, LEVEL = "short", "level"
"""Why a list is not asked about or not used, beside a teacher's own reasons: less than two results; all alike."""


@runtime_checkable
class Teacher(Protocol):
    """Orders pages as a Ranker does, but may order some results only, or decline."""

    @property
    def name(self) -> str: ...

    def answers(self, pages: Sequence[Page]) -> list[Ranking | Declined]:
        """One answer a page; results that a ranking does not name are left out of the list."""
        ...


class TeachingCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lists took to get; tokens and money are counted by who sends requests.

    Attributes:
        asked: lists that the teacher was asked about.  remembered: found on disk.
        refused: lists there are none of, by reason, those found on disk included.
        torn_lines: that a killed run left half written; dropped, and asked about again.
        seconds: on the clock.
    """

    asked: int = 0
    remembered: int = 0
    refused: dict[str, int] = {}
    torn_lines: int = 0
    seconds: float = 0.0

    def __add__(self, other: TeachingCost) -> TeachingCost:
        return TeachingCost(
            self.asked + other.asked,
            self.remembered + other.remembered,
            dict(sorted((Counter(self.refused) + Counter(other.refused)).items())),
            self.torn_lines + other.torn_lines,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class Taught:
    """Lists in the order of their pages, and what they took."""

    lists: list[TaughtList]
    cost: TeachingCost


class SavedRun:
    """The rankings of a run, such as a language model's that was saved, as a Ranker and Teacher.

    Results that are in the run and not on a page are passed over.

    Args:
        run: rankings by query id, or a list of them, as ``pages.trec.read_run`` gives.
        name: who ranked.
        missing: what becomes of a page's results that the run does not rank, when it teaches: ``"refuse"`` is an error,
            ``"leave_out"`` trims the page, and declines one of which less than two are left.
    Raises:
        InputError: two rankings of a query, or another ``missing``.
    """

    def __init__(
        self,
        run: Mapping[str, Ranking] | Iterable[Ranking],
        name: str,
        *,
        missing: Literal["refuse", "leave_out"] = "refuse",
    ) -> None:
        if missing not in ("refuse", "leave_out"):
            raise InputError(f"SavedRun: got missing={missing!r}; allowed: 'refuse' or 'leave_out'; choose one")
        rankings = list(run.values() if isinstance(run, Mapping) else run)
        self.run = {ranking.query_id: ranking for ranking in rankings}
        if len(self.run) < len(rankings):
            twice = sorted(q for q, n in Counter(ranking.query_id for ranking in rankings).items() if n > 1)
            raise InputError(f"run {name!r}: got queries {twice[:5]} twice; allowed: one ranking a query; pass one run")
        self.missing = missing
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page.

        Raises:
            InputError: the run does not rank all results of a page.
        """
        return [self._whole(page) for page in pages]

    def answers(self, pages: Sequence[Page]) -> list[Ranking | Declined]:
        """One ranking a page, of the results that the run ranks.

        Raises:
            InputError: results are missing, and are to be refused.
        """
        if self.missing == "refuse":
            return [*self.rank(pages)]
        found = [self._restricted(page) for page in pages]
        return [ranking if len(ranking) > 1 else Declined(ranking.query_id, "missing") for ranking in found]

    def _whole(self, page: Page) -> Ranking:
        ranking = self._restricted(page)
        if len(ranking) < len(page):
            lost = [result_id for result_id in page.result_ids if result_id not in set(ranking.result_ids)]
            raise InputError(
                f"run {self.name!r}, query {page.query_id!r}: got no place for {len(lost)} of {len(page)} results, "
                f"{lost[:5]}; allowed: all of them ranked; pass missing='leave_out', or the run of these pages"
            )
        return ranking

    def _restricted(self, page: Page) -> Ranking:
        """What the run says of the page's results."""
        found = self.run.get(page.query_id, Ranking(page.query_id, ()))
        wanted = set(page.result_ids)
        kept = [i for i, result_id in enumerate(found.result_ids) if result_id in wanted]
        scores = None if found.scores is None else tuple(found.scores[i] for i in kept)
        return Ranking(page.query_id, tuple(found.result_ids[i] for i in kept), scores, self.name)


def teach(
    teacher: Ranker | Teacher,
    pages: Sequence[Page],
    *,
    kept: Path | None,
    targets: Targets = "order",
    declined: Literal["remember", "ask_again"] = "remember",
    pages_per_chunk: int = 32,
    progress: Progress | None = None,
) -> Taught:
    """Lists to learn from, as one teacher orders them.

    A page is known by its content, addresses of pictures included, the pictures themselves not. Equal pages are asked
    about once, pages of less than two results never. Chunks are asked about in the order of the hashes, so that the
    order of ``pages`` does not matter.

    Args:
        teacher: its ``name`` stands for all it is where something is kept: one that changed needs another name.
        kept: the folder of what is kept, made when missing; None = nothing is. One run at a time may write to it.
        targets: ``"order"``: n points for the best of n results down to 1; ``"scores"``: the teacher's scores, results
            without one left out.
        declined: whether what a teacher declined for good in an earlier run is asked about again.
        pages_per_chunk: asked about at once, and brought to the disk together.
        progress: ``progress(done, total, what)`` after every chunk.
    Returns:
        A list for every page that the teacher ordered, in the order of ``pages``.
    Raises:
        DecodingError: the teacher lost or invented a result, or did not give one answer a page.
        RecordError: what is kept is damaged, other than by a last line that was never finished.
        InputError: the folder cannot be written to, or an option that is not allowed.
    """
    _check_options(targets, declined, pages_per_chunk)
    began = time.perf_counter()
    keys = [page_hash(page) if len(page) > 1 else "" for page in pages]
    asked = {key: page for key, page in zip(keys, pages, strict=True) if key}
    path = None if kept is None else kept_file(kept, teacher.name)
    answers = KeptAnswers(path, asked, partial(_checked, teacher))
    if declined == "ask_again":
        answers.forget_declined()
    new = sorted(asked.keys() - answers.known.keys())
    remembered = len(asked) - len(new)
    for start in range(0, len(new), pages_per_chunk):
        chunk = new[start : start + pages_per_chunk]
        answers.add(chunk, _answers(teacher, [asked[key] for key in chunk]))
        if progress is not None:
            progress(remembered + start + len(chunk), len(asked), f"lists by {teacher.name}")
    lists, refused = _lessons(teacher, pages, [answers.known.get(key) for key in keys], targets)
    seconds = time.perf_counter() - began
    return Taught(lists, TeachingCost(len(new), remembered, refused, answers.torn, seconds))


def consensus(lists: Sequence[TaughtList], *, by: Literal["borda", "reciprocal"] = "borda") -> TaughtList:
    """What several teachers of one page say together: each result has its mean place.

    Only results that all lists hold count, and each list's order among them; equal targets share their places.

    Args:
        lists: of one query, at least one; a result's text and pictures are taken from the first.
        by: ``"borda"``: mean of places; ``"reciprocal"``: mean of 1 / place, in which the first places count most.
    Returns:
        A list whose best result has as many points as there are results; results with the same mean have equal ones.
    Raises:
        InputError: no list, lists of several queries, less than two results in all of them, or no result ahead of
            another.
    """
    names = list(dict.fromkeys(one.page.query_id for one in lists))
    if by not in ("borda", "reciprocal") or len(names) != 1:
        raise InputError(
            f"consensus: got {len(lists)} lists of the queries {names[:5]}, by {by!r}; allowed: lists of one query, by "
            "'borda' or 'reciprocal'; group the lists by their query"
        )
    shared = set.intersection(*(set(one.page.result_ids) for one in lists))
    page = lists[0].page.keep(shared)
    means = np.zeros(len(page))
    for one in lists:
        of = dict(zip(one.page.result_ids, one.targets, strict=True))
        places = _places(np.array([of[result_id] for result_id in page.result_ids]))
        means += places if by == "borda" else -1.0 / places
    teachers = " + ".join(dict.fromkeys(one.teacher for one in lists))
    # Rounded, for sums of the same fractions in another order are to be equal.
    return TaughtList(page, points(-np.round(means / len(lists), 12)), f"{by}({teachers})")


def points(worth: Sequence[float] | NDArray[np.floating]) -> tuple[float, ...]:
    """The order of numbers as targets: n for the largest of n, 1 for the least; equal numbers share their points."""
    return tuple(float(len(worth) + 1 - place) for place in _places(np.asarray(worth, np.float64)))


def _places(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the largest; equal ones the mean of the places they take together."""
    above = (worth[None, :] > worth[:, None]).sum(axis=1)
    equal = (worth[None, :] == worth[:, None]).sum(axis=1)
    return np.asarray(above + (equal + 1) / 2, np.float64)


def _check_options(targets: str, declined: str, pages_per_chunk: int) -> None:
    if targets not in ("order", "scores") or declined not in ("remember", "ask_again") or pages_per_chunk < 1:
        raise InputError(
            f"teach: got targets {targets!r}, declined {declined!r}, pages_per_chunk {pages_per_chunk}; allowed: "
            "'order' or 'scores'; 'remember' or 'ask_again'; 1 or more; choose again"
        )


def _lessons(
    teacher: Ranker | Teacher, pages: Sequence[Page], answers: Sequence[Answer | None], targets: Targets
) -> tuple[list[TaughtList], dict[str, int]]:
    """The lists that answers make, and how many make none, by reason."""
    lists: list[TaughtList] = []
    refused: Counter[str] = Counter()
    for page, answer in zip(pages, answers, strict=True):
        lesson = _lesson(teacher, page, answer, targets)
        if isinstance(lesson, TaughtList):
            lists.append(lesson)
        else:
            refused[lesson] += 1
    return lists, dict(sorted(refused.items()))


def _lesson(teacher: Ranker | Teacher, page: Page, answer: Answer | None, targets: Targets) -> TaughtList | str:
    """The list that an answer makes, or why it makes none."""
    if answer is None:
        return SHORT
    if isinstance(answer, Declined):
        return answer.reason
    part = page.keep(answer.result_ids)
    if targets == "scores":
        told = scores_on(part, answer)
        part = part.keep(i for i, score in zip(part.result_ids, told, strict=True) if not np.isnan(score))
        worth = tuple(float(score) for score in scores_on(part, answer))
    else:
        worth = points(scores_on(part, Ranking(answer.query_id, answer.result_ids)))
    if len(part) < 2:
        return SHORT
    return TaughtList(part, worth, teacher.name) if len(set(worth)) > 1 else LEVEL


def _answers(teacher: Ranker | Teacher, pages: Sequence[Page]) -> list[Answer]:
    given = list(teacher.answers(pages) if isinstance(teacher, Teacher) else teacher.rank(pages))
    if len(given) != len(pages):
        raise DecodingError(
            f"teacher {teacher.name!r}: got {len(given)} answers for {len(pages)} pages; allowed: one a page, in their "
            "order; mend the teacher"
        )
    return [_checked(teacher, answer, page) for answer, page in zip(given, pages, strict=True)]


def _checked(teacher: Ranker | Teacher, answer: Answer, page: Page) -> Answer:
    """The answer, if it is one to this page.

    Raises:
        DecodingError: it is of another page, or names what is not there; or a Ranker's does not name all that is.
    """
    if isinstance(answer, Declined):
        if answer.query_id != page.query_id:
            raise DecodingError(
                f"teacher {teacher.name!r}: got an answer for query {answer.query_id!r}; allowed: {page.query_id!r}; "
                "answers must keep the order of their pages"
            )
        return answer
    if not isinstance(teacher, Teacher):
        return answer.check(page)
    return answer.check(page.keep({*answer.result_ids}.intersection(page.result_ids)))
