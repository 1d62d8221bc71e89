"""Lists from teachers: what is kept is never asked twice, what is torn is asked again, what is damaged is told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.pages.errors import DecodingError, InputError, RecordError
from wholepage.pages.model import Modality, Page, Query, Ranking, Result
from wholepage.pages.trec import read_qrels, read_run
from wholepage.rankers.permutation_teacher import Declined
from wholepage.training.kept_answers import kept_file
from wholepage.training.list_teachers import SavedRun, Teacher, TeachingCost, consensus, points, teach
from wholepage.training.taught import TaughtList

TEXT = Modality.TEXT


def page_of(name: str, ids: Sequence[str] = ("a", "b", "c")) -> Page:
    return Page(Query(name, f"about {name}"), tuple(Result(i, TEXT, f"{i} of {name}") for i in ids))


PAGES = [page_of(f"q{i}") for i in range(7)]


class Reversing:
    """A Ranker that orders a page from its end, and notes what it was asked."""

    def __init__(self, name: str = "reversing", dies_after: int | None = None) -> None:
        self.name, self.dies_after = name, dies_after
        self.asked: list[str] = []

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        if self.dies_after is not None and len(self.asked) + len(pages) > self.dies_after:
            raise KeyboardInterrupt
        self.asked += [page.query_id for page in pages]
        return [Ranking(p.query_id, p.result_ids[::-1], tuple(map(float, range(len(p), 0, -1)))) for p in pages]


class Picky:
    """A Teacher that declines some queries for good, and others for now."""

    name = "picky"

    def __init__(self, for_good: Sequence[str] = (), for_now: Sequence[str] = ()) -> None:
        self.for_good, self.for_now = for_good, for_now
        self.asked: list[str] = []

    def answers(self, pages: Sequence[Page]) -> list[Ranking | Declined]:
        self.asked += [page.query_id for page in pages]
        return [self._answer(page) for page in pages]

    def _answer(self, page: Page) -> Ranking | Declined:
        if page.query_id in self.for_good:
            return Declined(page.query_id, "refused", "I cannot")
        if page.query_id in self.for_now:
            return Declined(page.query_id, "timeout", lasting=False)
        return Ranking(page.query_id, page.result_ids[1:])  # the first one is left out


class Answering:
    """A Ranker or Teacher that answers as it is told to."""

    def __init__(self, answer: Callable[[Sequence[Page]], list[Any]]) -> None:
        self.name = "odd"
        self.rank = answer


class AnsweringTeacher(Answering):
    def answers(self, pages: Sequence[Page]) -> list[Any]:
        return self.rank(pages)


# ------------------------------------------------------------------ what is taught


def test_any_ranker_teaches() -> None:
    taught = teach(Reversing(), PAGES, kept=None)
    assert [one.page for one in taught.lists] == PAGES
    assert {one.targets for one in taught.lists} == {(1.0, 2.0, 3.0)}
    assert {one.teacher for one in taught.lists} == {"reversing"}
    cost = taught.cost
    assert (cost.asked, cost.remembered, cost.refused, cost.torn_lines) == (7, 0, {}, 0)
    assert cost.seconds > 0


def test_scores_as_targets() -> None:
    def scored(pages: Sequence[Page]) -> list[Ranking]:
        given = {"q0": (5.5, 2.0, None), "q1": (1.0, 1.0, 1.0), "q2": (1.0, None, None), "q3": None}
        return [Ranking(p.query_id, ("c", "a", "b"), given[p.query_id]) for p in pages]

    taught = teach(Answering(scored), PAGES[:4], kept=None, targets="scores")
    assert [(one.page.result_ids, one.targets) for one in taught.lists] == [
        (("a", "c"), (2.0, 5.5)),
        (("a", "b", "c"), (-1.0, -2.0, -0.0)),
    ]
    assert taught.cost.refused == {"level": 1, "short": 1}


def test_pages_of_less_than_two_results_are_never_asked_about(tmp_path: Path) -> None:
    ranker = Reversing()
    taught = teach(ranker, [page_of("one", "a"), page_of("none", ""), PAGES[0]], kept=tmp_path)
    assert ranker.asked == ["q0"]
    assert (len(taught.lists), taught.cost.refused) == (1, {"short": 2})


def test_a_teacher_may_leave_results_out_or_decline(tmp_path: Path) -> None:
    first = teach(Picky(["q1"], ["q2"]), PAGES, kept=tmp_path)
    assert [one.page.query_id for one in first.lists] == ["q0", "q3", "q4", "q5", "q6"]
    assert {(one.page.result_ids, one.targets) for one in first.lists} == {(("b", "c"), (2.0, 1.0))}
    assert first.cost.refused == {"refused": 1, "timeout": 1}
    again = Picky()
    second = teach(again, PAGES, kept=tmp_path)
    assert again.asked == ["q2"]  # only what was declined for the moment
    assert second.cost.refused == {"refused": 1}
    third = Picky()
    assert len(teach(third, PAGES, kept=tmp_path, declined="ask_again").lists) == 7
    assert third.asked == ["q1"]
    last = Picky()
    assert len(teach(last, PAGES, kept=tmp_path).lists) == 7  # the later line counts
    assert last.asked == []


# ------------------------------------------------------------------ what is kept


def test_what_is_kept_is_not_asked_again_whatever_the_order(tmp_path: Path) -> None:
    first = teach(Reversing(), PAGES, kept=tmp_path / "x" / "y")
    ranker = Reversing()
    again = teach(ranker, [*PAGES[::-1], PAGES[2]], kept=tmp_path / "x" / "y")
    assert again.lists == [*first.lists[::-1], first.lists[2]]
    assert (ranker.asked, again.cost.asked, again.cost.remembered) == ([], 0, 7)
    other = Reversing("other")
    teach(other, PAGES, kept=tmp_path / "x" / "y")
    assert len(other.asked) == 7
    assert len(list((tmp_path / "x" / "y").iterdir())) == 2


def test_a_changed_page_is_asked_about_again(tmp_path: Path) -> None:
    teach(Reversing(), PAGES, kept=tmp_path)
    ranker = Reversing()
    teach(ranker, [page_of("q0", ("a", "c", "b")), *PAGES[1:]], kept=tmp_path)
    assert ranker.asked == ["q0"]


def test_equal_pages_are_asked_about_once() -> None:
    ranker = Reversing()
    taught = teach(ranker, [PAGES[0], PAGES[1], PAGES[0]], kept=None)
    assert sorted(ranker.asked) == ["q0", "q1"]
    assert taught.lists[0] == taught.lists[2]


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_killed_run_goes_on_and_asks_nothing_twice(chunk: int, tmp_path: Path) -> None:
    dying, heir = Reversing(dies_after=4), Reversing()
    with pytest.raises(KeyboardInterrupt):
        teach(dying, PAGES, kept=tmp_path, pages_per_chunk=chunk)
    assert len(dying.asked) == 4 - 4 % chunk
    taught = teach(heir, PAGES, kept=tmp_path, pages_per_chunk=chunk)
    assert sorted(dying.asked + heir.asked) == [page.query_id for page in PAGES]
    assert taught.lists == teach(Reversing(), PAGES, kept=None).lists


def test_wherever_the_writing_stopped_the_whole_lines_count(tmp_path: Path) -> None:
    whole = teach(Reversing(), PAGES, kept=tmp_path).lists
    path = kept_file(tmp_path, "reversing")
    raw = path.read_bytes()
    for length in range(0, len(raw), 11):
        path.write_bytes(raw[:length])
        ranker = Reversing()
        taught = teach(ranker, PAGES, kept=tmp_path)
        assert taught.lists == whole
        ended = raw[:length].count(b"\n")
        assert len(ranker.asked) == 7 - ended
        assert taught.cost.torn_lines == (length > 0 and raw[length - 1 : length] != b"\n")
        assert path.read_bytes() == raw  # asked in the order of the hashes, as before


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda lines: [lines[0], lines[1][:-20]], 2),
        (lambda lines: [lines[0], '{"page": "x"}'], 2),
        (lambda lines: [lines[0], lines[1][:-1] + ', "declined": {"query_id": "q", "reason": "x"}}'], 2),
        (lambda lines: [lines[0].replace('"page"', '"leaf"'), lines[1]], 1),
        (lambda lines: [*lines, lines[0].replace('"c","b","a"', '"b","c","a"')], 8),
        (lambda lines: [lines[0], lines[1].replace('"c"', '"x"')], 2),
        (lambda lines: [lines[0].replace('"c",', "").replace("3.0,", ""), lines[1]], 1),
        (lambda lines: ["", *lines], 1),
        (lambda lines: [lines[0], "\x00" * 20], 2),
    ],
    ids=["cut", "no answer", "two answers", "field", "another order", "not its results", "one lost", "blank", "zeros"],
)
def test_damage_is_an_error_with_its_line(tmp_path: Path, damage: Callable[[list[str]], list[str]], line: int) -> None:
    teach(Reversing(), PAGES, kept=tmp_path)
    path = kept_file(tmp_path, "reversing")
    lines = path.read_text().splitlines()
    assert json.loads(lines[0]).keys() == {"page", "ranking"}
    path.write_text("\n".join(damage(lines)) + "\n")
    ranker = Reversing()
    with pytest.raises(RecordError) as caught:
        teach(ranker, PAGES, kept=tmp_path)
    assert (caught.value.path, caught.value.line, ranker.asked) == (str(path), line, [])


def test_the_same_line_twice_is_no_damage(tmp_path: Path) -> None:
    teach(Reversing(), PAGES, kept=tmp_path)
    path = kept_file(tmp_path, "reversing")
    path.write_bytes(path.read_bytes() * 2)
    assert len(teach(Reversing(), PAGES, kept=tmp_path).lists) == 7


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="kept answers"):
        teach(Reversing(), PAGES, kept=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_progress_counts_what_is_kept_too(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []

    def note(done: int, total: int, what: str) -> None:
        told.append((done, total, what))

    teach(Reversing(), PAGES[:3], kept=tmp_path, pages_per_chunk=2, progress=note)
    teach(Reversing(), PAGES, kept=tmp_path, pages_per_chunk=2, progress=note)
    assert [(done, total) for done, total, _ in told] == [(2, 3), (3, 3), (5, 7), (7, 7)]
    assert {what for _, _, what in told} == {"lists by reversing"}


# ------------------------------------------------------------------ what is no answer


@pytest.mark.parametrize("kind", [Answering, AnsweringTeacher])
@pytest.mark.parametrize(
    "answer",
    [
        lambda pages: [],
        lambda pages: [Ranking(p.query_id, p.result_ids) for p in pages] * 2,
        lambda pages: [Ranking(p.query_id, (*p.result_ids, "ghost")) for p in pages],
        lambda pages: [Ranking("other", p.result_ids) for p in pages],
    ],
    ids=["none", "too many", "invented", "other query"],
)
def test_who_breaks_the_rules_is_refused_and_not_kept(
    kind: type[Answering], answer: Callable[[Sequence[Page]], list[Any]], tmp_path: Path
) -> None:
    with pytest.raises(DecodingError):
        teach(kind(answer), PAGES, kept=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_ranker_may_lose_nothing_and_a_teacher_not_the_place(tmp_path: Path) -> None:
    with pytest.raises(DecodingError, match="lost"):
        teach(Answering(lambda pages: [Ranking(p.query_id, p.result_ids[1:]) for p in pages]), PAGES, kept=None)
    with pytest.raises(DecodingError, match="order of their pages"):
        teach(AnsweringTeacher(lambda pages: [Declined("other", "refused") for _ in pages]), PAGES, kept=None)


@pytest.mark.parametrize("wrong", [{"targets": "?"}, {"declined": "?"}, {"pages_per_chunk": 0}])
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        teach(Reversing(), PAGES, kept=None, **wrong)


def test_costs_add_up() -> None:
    one = TeachingCost(3, 1, {"short": 1, "refused": 2}, 0, 1.5)
    assert one + TeachingCost(1, 0, {"refused": 1}, 1, 0.5) == TeachingCost(4, 1, {"refused": 3, "short": 1}, 1, 2.0)
    assert sum([one, one], TeachingCost()).refused == {"refused": 4, "short": 2}


# ------------------------------------------------------------------ saved runs


def test_a_saved_run_ranks_and_teaches() -> None:
    run = [Ranking("q0", ("c", "x", "a", "b"), (4.0, 3.0, 2.0, 1.0), "tag"), Ranking("q1", ("b", "a"))]
    saved = SavedRun(run, "gpt")
    assert isinstance(saved, Teacher)
    assert saved.rank(PAGES[:1]) == [Ranking("q0", ("c", "a", "b"), (4.0, 2.0, 1.0), "gpt")]
    with pytest.raises(InputError, match=r"run 'gpt', query 'q1': got no place for 1 of 3 results, \['c'\]"):
        teach(saved, PAGES[:2], kept=None)
    trimming = SavedRun({ranking.query_id: ranking for ranking in run}, "gpt", missing="leave_out")
    taught = teach(trimming, PAGES[:3], kept=None)
    assert [(one.page.result_ids, one.targets) for one in taught.lists] == [
        (("a", "b", "c"), (2.0, 1.0, 3.0)),
        (("a", "b"), (1.0, 2.0)),
    ]
    assert taught.cost.refused == {"missing": 1}
    with pytest.raises(InputError, match="query 'q1'"):
        trimming.rank(PAGES[:2])  # a Ranker gives whole permutations
    with pytest.raises(InputError, match=r"\['q0'\] twice"):
        SavedRun([*run, run[0]], "gpt")
    with pytest.raises(InputError, match="missing="):
        SavedRun(run, "gpt", missing="ignore")  # type: ignore[arg-type]


# ------------------------------------------------------------------ several teachers


def taught_by(name: str, order: str, ids: str = "abcd") -> TaughtList:
    page = page_of("q", ids)
    return TaughtList.ranked(page, Ranking("q", tuple(order), by=name))


def test_two_teachers_agree_on_the_mean() -> None:
    lists = [taught_by("x", "abcd"), taught_by("y", "bacd"), taught_by("y", "acbd")]
    assert consensus(lists).targets == (4.0, 3.0, 2.0, 1.0)  # places 4, 6, 8, 12 of three
    assert consensus(lists).teacher == "borda(x + y)"
    assert consensus([taught_by("x", "abcd"), taught_by("y", "badc")]).targets == (3.5, 3.5, 1.5, 1.5)
    odd = [taught_by("x", "abcd"), taught_by("y", "bcda")]
    assert consensus(odd).targets == (2.5, 4.0, 2.5, 1.0)  # places 5, 3, 5, 7
    assert consensus(odd, by="reciprocal").targets == (3.0, 4.0, 2.0, 1.0)  # 1.25, 1.5, .83, .58


def test_only_what_all_have_seen_counts() -> None:
    both = consensus([taught_by("x", "abcd"), taught_by("y", "bxd", "bdx")])
    assert both.page.result_ids == ("b", "d")
    assert both.page.results[0].text == "b of q"
    with pytest.raises(InputError, match="differ"):
        consensus([taught_by("x", "ab", "ab"), taught_by("y", "ba", "ab")])
    with pytest.raises(InputError, match="differ"):
        consensus([taught_by("x", "ab", "ab"), taught_by("y", "ac", "ac")])
    other = TaughtList.ranked(PAGES[0], Ranking("q0", ("a", "b", "c")))
    for wrong in ([], [taught_by("x", "ab", "ab"), other]):
        with pytest.raises(InputError, match="lists of one query"):
            consensus(wrong)


@given(st.lists(st.permutations("abcde"), min_size=1, max_size=5), st.permutations(range(5)))
def test_consensus_knows_neither_the_order_of_lists_nor_of_results(orders: list[list[str]], turned: list[int]) -> None:
    lists = [taught_by(f"t{i}", "".join(order), "abcde") for i, order in enumerate(orders)]
    ids = "".join("abcde"[i] for i in turned)
    moved = [taught_by(f"t{i}", "".join(order), ids) for i, order in enumerate(orders)][::-1]
    mean = {i: np.mean([order.index(i) for order in orders]) for i in "abcde"}
    try:
        made = consensus(lists)
    except InputError:
        assert len({round(float(value), 9) for value in mean.values()}) == 1
        return
    back = consensus(moved)
    assert dict(zip(made.page.result_ids, made.targets, strict=True)) == dict(
        zip(back.page.result_ids, back.targets, strict=True)
    )
    for a, b in itertools.permutations("abcde", 2):  # brute force: mean places say who is ahead
        of = dict(zip(made.page.result_ids, made.targets, strict=True))
        assert (of[a] > of[b]) == (round(float(mean[a] - mean[b]), 9) < 0)


def test_points_are_shared_by_equals() -> None:
    assert points([0.1, 7.0, 0.1, -3.0]) == (2.5, 4.0, 2.5, 1.0)
    assert points(np.array([2.0])) == (1.0,)
    assert points([]) == ()


# ------------------------------------------------------------------ real runs


def test_saved_runs_of_language_models(data_root: Path, tmp_path: Path) -> None:
    folder = data_root / "trec_dl"
    grades = read_qrels(folder / "dl19.qrels.full.tsv.gz")
    first = [r for r in read_run(folder / "dl19.BM25.run.tsv.gz") if grades.by_result(r.query_id)]
    pages = [page_of(ranking.query_id, ranking.result_ids) for ranking in first]
    runs = sorted((folder / "teacher_runs").glob("dl19.BM25.gpt-3.5-turbo_4096.*"))
    assert (len(pages), len(runs)) == (43, 5)

    def ndcg(one: TaughtList) -> float:
        gains = np.array([2.0 ** grades.by_result(one.page.query_id).get(i, 0) - 1 for i in one.page.result_ids])
        discounts = 1 / np.log2(np.arange(10) + 2)
        best = np.sort([2.0**g - 1 for g in grades.by_result(one.page.query_id).values()])[::-1][:10]
        return float(gains[np.argsort(-np.array(one.targets), kind="stable")][:10] @ discounts / (best @ discounts))

    taught = [teach(SavedRun(read_run(run), run.name, missing="leave_out"), pages, kept=tmp_path) for run in runs]
    assert [(len(one.lists), one.cost.refused) for one in taught] == [(43, {})] * 5
    singles = [np.mean([ndcg(one) for one in run.lists]) for run in taught]
    together = [consensus(lists, by="reciprocal") for lists in zip(*(run.lists for run in taught), strict=True)]
    bm25 = np.mean([ndcg(TaughtList.ranked(p, r)) for p, r in zip(pages, first, strict=True)])
    assert np.mean([ndcg(one) for one in together]) > np.mean(singles) > bm25 + 0.15
    again = [teach(SavedRun({}, run.name, missing="leave_out"), pages, kept=tmp_path) for run in runs]
    assert [one.lists for one in again] == [one.lists for one in taught]
