"""Asking teachers: everything asked once, kept whole or not at all, and never a ranking that is none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from wholepage.pages.errors import DecodingError, InputError, PageError, RecordError
from wholepage.pages.model import Modality, Page, Query, Ranking, Result
from wholepage.training import teachers as teachers_module
from wholepage.training.teachers import ask_teachers, cache_file, page_hash

TEXT, IMAGE, ANSWER = Modality.TEXT, Modality.IMAGE, Modality.ANSWER


class Reversing:
    """Orders a page from its end, and notes what it was asked."""

    def __init__(self, name: str = "reversing") -> None:
        self.name = name
        self.asked: list[str] = []
        self.dies_after: int | None = None

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        if self.dies_after is not None and len(self.asked) + len(pages) > self.dies_after:
            raise KeyboardInterrupt
        self.asked += [page.query_id for page in pages]
        return [Ranking(p.query_id, p.result_ids[::-1], tuple(map(float, range(len(p), 0, -1))), "who") for p in pages]


class Broken:
    name = "broken"

    def __init__(self, answer: Callable[[Sequence[Page]], list[Ranking]]) -> None:
        self.rank = answer


@pytest.fixture
def pages(planted: SimpleNamespace) -> list[Page]:
    made: list[Page] = planted.world(5, {TEXT: 3, IMAGE: 2}).pages
    return made


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers_module, "PAGES_PER_CHUNK", 2)


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_each_modality_is_asked_about_its_own_results(pages: list[Page]) -> None:
    words, pictures = Reversing("words"), Reversing("pictures")
    told = ask_teachers({TEXT: words, IMAGE: pictures}, pages, cache=None)
    assert len(told) == 5
    for page, given in zip(pages, told, strict=True):
        assert list(given) == [TEXT, IMAGE]
        assert given[TEXT] == Ranking(page.query_id, ("text2", "text1", "text0"), (3.0, 2.0, 1.0), "who")
        assert given[IMAGE].result_ids == ("image1", "image0")


def test_a_modality_that_is_not_there_is_not_asked(planted: SimpleNamespace) -> None:
    words = planted.world(2, {TEXT: 2}).pages
    both = planted.world(1, {TEXT: 2, IMAGE: 1}, prefix="b").pages
    pictures, answers = Reversing(), Reversing()
    told = ask_teachers({IMAGE: pictures, ANSWER: answers}, [*words, *both], cache=None)
    assert [list(given) for given in told] == [[], [], [IMAGE]]
    assert pictures.asked == ["b0"]
    assert answers.asked == []
    assert ask_teachers({}, both, cache=None) == [{}]
    assert ask_teachers({TEXT: answers}, [], cache=None) == []


def test_what_is_kept_is_not_asked_again(pages: list[Page], tmp_path: Path) -> None:
    first, second = Reversing(), Reversing()
    told = ask_teachers({TEXT: first}, pages, cache=tmp_path / "a" / "b")
    assert sorted(first.asked) == ["q0", "q1", "q2", "q3", "q4"]
    assert ask_teachers({TEXT: second}, pages, cache=tmp_path / "a" / "b") == told
    assert second.asked == []
    assert files(tmp_path) == [cache_file(tmp_path / "a" / "b", "reversing", TEXT)]


def test_the_order_of_pages_changes_neither_answers_nor_file(pages: list[Page], tmp_path: Path) -> None:
    forward, backward = Reversing(), Reversing()
    told = ask_teachers({TEXT: forward}, pages, cache=tmp_path / "forward")
    back = ask_teachers({TEXT: backward}, pages[::-1], cache=tmp_path / "backward")
    assert told == back[::-1]
    assert forward.asked == backward.asked
    (one,), (other,) = files(tmp_path / "forward"), files(tmp_path / "backward")
    assert one.read_bytes() == other.read_bytes()


def test_equal_pages_are_asked_about_once(pages: list[Page]) -> None:
    ranker = Reversing()
    told = ask_teachers({TEXT: ranker}, [pages[0], pages[1], pages[0]], cache=None)
    assert sorted(ranker.asked) == ["q0", "q1"]
    assert told[0] == told[2]


@pytest.mark.parametrize("change", ["query", "text", "features", "order", "user"])
def test_a_changed_page_is_asked_about_again(pages: list[Page], tmp_path: Path, change: str) -> None:
    replace = msgspec.structs.replace
    page = pages[0].only(TEXT)
    head, *tail = page.results
    changed = {
        "query": replace(page, query=replace(page.query, text="other words")),
        "user": replace(page, query=replace(page.query, user={"age": 3.0})),
        "text": replace(page, results=(replace(head, text="mended"), *tail)),
        "features": replace(page, results=(replace(head, features={"price": 1.0}), *tail)),
        "order": replace(page, results=page.results[::-1]),
    }[change]
    ask_teachers({TEXT: Reversing()}, pages, cache=tmp_path)
    ranker = Reversing()
    told = ask_teachers({TEXT: ranker}, [changed, *pages[1:]], cache=tmp_path)
    assert ranker.asked == ["q0"]
    assert told[0][TEXT].result_ids == changed.result_ids[::-1]
    again = Reversing()  # the old page is still known
    ask_teachers({TEXT: again}, pages, cache=tmp_path)
    assert again.asked == []


def test_a_change_of_the_other_modality_asks_nothing(pages: list[Page], tmp_path: Path) -> None:
    ask_teachers({TEXT: Reversing()}, pages, cache=tmp_path)
    ranker = Reversing()
    ask_teachers({TEXT: ranker}, [page.only(TEXT) for page in pages], cache=tmp_path)
    assert ranker.asked == []


def test_teachers_of_different_name_or_modality_do_not_mix(pages: list[Page], tmp_path: Path) -> None:
    names = ["a/b", "a b", "a-b", "x" * 300, "../../out", "Bücher"]
    paths = [cache_file(tmp_path, name, modality) for name in names for modality in (TEXT, ANSWER)]
    assert len(set(paths)) == len(paths)
    assert {path.parent for path in paths} == {tmp_path}
    for name in names:
        ranker = Reversing(name)
        ask_teachers({TEXT: ranker}, pages, cache=tmp_path)
        assert len(ranker.asked) == 5
    assert len(files(tmp_path)) == len(names)


def test_the_hash_sees_content_not_the_order_of_features() -> None:
    def page(features: dict[str, float]) -> Page:
        return Page(Query("q", "w"), (Result("a", TEXT, "A", features=features),))

    assert page_hash(page({"a": 1.0, "b": 2.0})) == page_hash(page({"b": 2.0, "a": 1.0}))
    assert page_hash(page({"a": 1.0})) != page_hash(page({"a": 1.5}))
    with pytest.raises(PageError, match="'q'"):
        page_hash(Page(Query("q", "\ud800")))


# --- killed runs ------------------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_where_it_was(pages: list[Page], tmp_path: Path) -> None:
    dying, next_one = Reversing(), Reversing()
    dying.dies_after = 4
    with pytest.raises(KeyboardInterrupt):
        ask_teachers({TEXT: dying}, pages, cache=tmp_path)
    assert len(dying.asked) == 4
    told = ask_teachers({TEXT: next_one}, pages, cache=tmp_path)
    assert sorted(dying.asked + next_one.asked) == ["q0", "q1", "q2", "q3", "q4"]
    assert told == ask_teachers({TEXT: Reversing()}, pages, cache=None)
    ask_teachers({TEXT: Reversing()}, pages, cache=tmp_path / "whole")
    assert files(tmp_path / "whole")[0].read_bytes() == cache_file(tmp_path, "reversing", TEXT).read_bytes()


def test_writing_does_not_cost_the_square_of_the_length(
    planted: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = teachers_module.write_lines

    def counting(path: Path, lines: Sequence[bytes]) -> int:
        written.append(real(path, lines))
        return written[-1]

    monkeypatch.setattr(teachers_module, "write_lines", counting)
    pages = planted.world(600, {TEXT: 1}).pages
    ask_teachers({TEXT: Reversing()}, pages, cache=tmp_path)
    assert written[-1] == 600
    assert sum(written) < 40 * 600  # 90 300 when every chunk of two writes everything
    steps = [later - earlier for earlier, later in itertools.pairwise(written)]
    assert max(steps) <= 600 // 32 + 2  # what a kill can lose


def test_progress_counts_what_is_kept_too(pages: list[Page], tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []

    def note(done: int, total: int, what: str) -> None:
        told.append((done, total, what))

    ask_teachers({TEXT: Reversing()}, pages[:2], cache=tmp_path, progress=note)
    ask_teachers({TEXT: Reversing()}, pages, cache=tmp_path, progress=note)
    ask_teachers({TEXT: Reversing()}, pages, cache=tmp_path, progress=note)
    assert [(done, total) for done, total, _ in told] == [(2, 2), (4, 5), (5, 5), (5, 5)]
    assert {what for _, _, what in told} == {"text teacher reversing"}


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda pages: [],
        lambda pages: [Ranking(p.query_id, p.result_ids) for p in pages] * 2,
        lambda pages: [Ranking(p.query_id, p.result_ids[1:]) for p in pages],
        lambda pages: [Ranking(p.query_id, (*p.result_ids, "ghost")) for p in pages],
        lambda pages: [Ranking("other", p.result_ids) for p in pages],
    ],
    ids=["none", "too many", "lost", "invented", "other query"],
)
@pytest.mark.parametrize("keep", [True, False])
def test_a_ranker_that_breaks_the_rules_is_refused_and_not_kept(
    pages: list[Page], tmp_path: Path, answer: Callable[[Sequence[Page]], list[Ranking]], keep: bool
) -> None:
    with pytest.raises(DecodingError, match=r"broken|ranker ''"):
        ask_teachers({TEXT: Broken(answer)}, pages, cache=tmp_path if keep else None)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda lines: [lines[0], lines[1][:-20]], 2),
        (lambda lines: [lines[0], '{"page": "x"}'], 2),
        (lambda lines: [lines[0], lines[1].replace('"page"', '"leaf"')], 2),
        (lambda lines: [lines[0], lines[0]], 2),
        (lambda lines: [lines[0], lines[1].replace('"text0"', '"text9"')], 2),
        (lambda lines: [lines[0].replace('"text1",', ""), lines[1]], 1),
        (lambda lines: ["", *lines], 1),
        (lambda lines: [lines[0], "\x00" * 20], 2),
    ],
    ids=["cut", "no ranking", "unknown field", "twice", "not its results", "score too many", "blank", "zeros"],
)
def test_a_damaged_cache_is_an_error_with_its_line(
    pages: list[Page], tmp_path: Path, damage: Callable[[list[str]], list[str]], line: int
) -> None:
    ask_teachers({TEXT: Reversing()}, pages, cache=tmp_path)
    path = cache_file(tmp_path, "reversing", TEXT)
    lines = path.read_text().splitlines()
    assert json.loads(lines[0]).keys() == {"page", "ranking"}
    path.write_text("\n".join(damage(lines)) + "\n")
    ranker = Reversing()
    with pytest.raises(RecordError) as caught:
        ask_teachers({TEXT: ranker}, pages, cache=tmp_path)
    assert (caught.value.path, caught.value.line) == (str(path), line)
    assert ranker.asked == []


def test_a_cache_that_is_a_file_is_refused(pages: list[Page], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file"):
        ask_teachers({TEXT: Reversing()}, pages, cache=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
