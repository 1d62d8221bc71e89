"""Lists with a teacher's order: what is refused, what is kept, and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from wholepage.pages import DecodingError, ImageRef, InputError, Modality, Page, Query, Ranking, RecordError, Result
from wholepage.training.taught import ListKind, TaughtList, read_taught, write_taught

TEXT = Result("a", Modality.TEXT, "red lamp")
OTHER = Result("b", Modality.TEXT, "blue lamp")
PICTURE = Result("c", Modality.IMAGE, "", (ImageRef("lamp.png"),))


def page(*results: Result) -> Page:
    return Page(Query("q", "lamp"), results)


def test_an_order_becomes_points() -> None:
    taught = TaughtList.ranked(page(TEXT, OTHER, PICTURE), Ranking("q", ("c", "a", "b"), by="judge"))
    assert taught.targets == (2.0, 1.0, 3.0)
    assert taught.teacher == "judge"


def test_a_teacher_that_loses_a_result_is_refused() -> None:
    with pytest.raises(DecodingError, match="lost \\['b'\\]"):
        TaughtList.ranked(page(TEXT, OTHER), Ranking("q", ("a",), by="judge"))


def test_ungraded_results_are_left_out() -> None:
    taught = TaughtList.graded(page(TEXT, OTHER, PICTURE), {"c": 3, "a": 0}, "ann")
    assert taught.page.result_ids == ("a", "c")
    assert taught.targets == (0.0, 3.0)


@pytest.mark.parametrize("targets", [(1.0,), (1.0, 1.0), (1.0, float("nan")), (1.0, 2.0, 3.0)])
def test_targets_that_teach_nothing_are_refused(targets: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="allowed"):
        TaughtList(page(TEXT, OTHER), targets, "judge")


def test_kinds() -> None:
    assert TaughtList(page(TEXT, OTHER), (1.0, 0.0), "x").kind is ListKind.TEXT
    assert TaughtList(page(TEXT, PICTURE), (1.0, 0.0), "x").kind is ListKind.MIXED
    second = Result("d", Modality.IMAGE, "a caption beside it", (ImageRef("d.png"),))
    assert TaughtList(page(second, PICTURE), (1.0, 0.0), "x").kind is ListKind.IMAGE


def test_files_come_back_and_pictures_lie_beside(tmp_path: Path) -> None:
    lists = [TaughtList(page(TEXT, PICTURE), (0.5, 2.0), "judge")]
    path = tmp_path / "lists.jsonl"
    assert write_taught(path, lists) == 1
    (read,) = read_taught(path)
    assert read.targets == (0.5, 2.0)
    assert read.page.results[1].images[0].uri == str(tmp_path / "lamp.png")


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    write_taught(path, [TaughtList(page(TEXT, OTHER), (0.5, 2.0), "judge")])
    path.write_text(path.read_text() + '{"page": 3}\n')
    with pytest.raises(RecordError, match=r"lists.jsonl:2"):
        list(read_taught(path))
