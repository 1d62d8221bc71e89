"""Pages on a shelf: found by number and by query, searched by BM25, suggested, spread out as examples."""

from __future__ import annotations

from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.apps.desk.access import NotThere
from wholepage.apps.places import NotFound
from wholepage.apps.serp.shelf import Place, Shelf, load_shelf
from wholepage.collections.synthetic import Synthetic
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.model import Modality, Page, Query, Result
from wholepage.pages.records import write_pages

from .world import pages


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(pages(tmp_path), name="shoes")


def texts(*of: str) -> Page:
    return Page(Query("q " + of[0], of[0]), tuple(Result(f"r{i}", Modality.TEXT, t) for i, t in enumerate(of[1:])))


def test_a_query_of_the_collection_gives_its_own_page(shelf: Shelf) -> None:
    found = shelf.ask("  RED   shoes ")
    assert (found.number, found.page) == (0, shelf.pages[0])
    assert found.places == tuple(Place(0, i) for i in range(6))
    assert shelf.ask("nothing at all").page.results == ()


def test_of_two_pages_with_one_query_the_first_is_found() -> None:
    made = Shelf([texts("hats", "a"), Page(Query("other", "Hats"))], name="x")
    assert made.ask("hats").number == 0


def test_other_words_search_all_results(shelf: Shelf) -> None:
    found = shelf.ask("red  hats")
    assert found.number is None
    assert found.page.query.text == "red hats"
    assert found.matched == 4
    # The text that lies on both pages comes once, and pictures without words not at all.
    assert set(found.places) == {Place(0, 0), Place(0, 1), Place(0, 4), Place(1, 0)}
    for place, result in zip(found.places, found.page.results, strict=True):
        held = shelf.pages[place.page].results[place.result]
        assert (result.modality, result.text, result.images) == (held.modality, held.text, held.images)
    assert shelf.ask("zebra").page.results == ()


def test_the_search_is_bm25_as_bm25s_has_it() -> None:
    generated = list(Synthetic(12, 5, modalities=[Modality.TEXT, Modality.ANSWER]).pages("train"))
    made = Shelf(generated, name="synthetic", candidates=30)
    every = list({(r.modality, r.text): None for page in generated for r in page.results})
    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    index.index(bm25s.tokenize([text for _, text in every], stopwords="en", show_progress=False), show_progress=False)
    for query in ("red rings on sand", "striped marks", "a catalogue entry of two dotted crosses"):
        words = bm25s.tokenize(query, stopwords="en", return_ids=False, show_progress=False)[0]
        scores = index.get_scores(list(words))
        best = [every[i] for i in np.argsort(-scores, kind="stable")[:30] if scores[i] > 0]
        found = made.ask(query)
        assert [(r.modality, r.text) for r in found.page.results] == best
        assert found.matched == int((scores > 0).sum()) > 10


def test_no_more_candidates_than_asked_for() -> None:
    made = Shelf([texts("q", *(f"hat {i}" for i in range(9)))], name="x", candidates=4)
    found = made.ask("hat")
    assert (len(found.page), found.matched) == (4, 9)
    assert [r.text for r in found.page.results] == [f"hat {i}" for i in range(4)]  # equal scores: as they lie


def test_what_tells_pages_apart(shelf: Shelf) -> None:
    keys = {shelf.ask(words).key for words in ("red shoes", "Red Shoes", "blue hats", "hats", "red")}
    assert keys == {"#0", "#1", "?hats", "?red"}


def test_suggestions_begin_with_what_was_typed() -> None:
    made = Shelf([texts(t) for t in ("dark red hat", "predict", "red shoe", "Reddish", "blue")], name="x")
    assert [made.pages[n].query.text for n in made.suggest("RED", 9)] == [
        "red shoe", "Reddish", "dark red hat", "predict",
    ]  # fmt: skip
    assert made.suggest("red", 1) == [2]
    assert made.suggest("zebra", 9) == []
    assert made.suggest("", 3) == made.examples(0, 3)


@given(count=st.integers(1, 60))
def test_examples_name_every_page_once(count: int) -> None:
    made = Shelf([texts(f"q{i}") for i in range(count)], name="x")
    steps = [made.examples(first, 7) for first in range(0, count, 7)]
    assert sorted(n for step in steps for n in step) == list(range(count))
    assert made.examples(0, 1) == [0]


def test_examples_are_spread_over_the_shelf() -> None:
    made = Shelf([texts(f"q{i}") for i in range(1200)], name="x")
    assert made.examples(0, 12) == list(range(0, 1200, 100))


@pytest.mark.parametrize("place", [(9, 0, 0), (0, 9, 0), (0, 1, 1), (0, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 1, -1)])
def test_places_without_pictures(shelf: Shelf, place: tuple[int, int, int]) -> None:
    with pytest.raises(NotThere):
        shelf.picture(*place)


def test_pictures_by_place(shelf: Shelf) -> None:
    assert shelf.picture(0, 3, 1) == shelf.pages[0].results[3].images[1]
    assert shelf.query_picture(0) == shelf.pages[0].query.image
    with pytest.raises(NotThere):
        shelf.query_picture(1)
    with pytest.raises(NotThere):
        shelf.page(3)


def test_files_of_pages_are_loaded(tmp_path: Path) -> None:
    write_pages(tmp_path / "mine.pages.jsonl", pages(tmp_path))
    made = load_shelf(tmp_path / "mine.pages.jsonl")
    assert (made.name, len(made), made.more) == ("mine", 3, False)
    few = load_shelf(tmp_path / "mine.pages.jsonl", most_pages=2)
    assert (len(few), few.more) == (2, True)
    folder = tmp_path / "folder"
    folder.mkdir()
    write_pages(folder / "dev.pages.jsonl", pages(tmp_path)[:1])
    assert len(load_shelf(folder, "dev")) == 1
    assert load_shelf("synthetic", "dev", most_pages=1).name == "synthetic"


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="or a file or folder of pages"):
        load_shelf(tmp_path / "nowhere.jsonl")
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(RecordError):
        load_shelf(tmp_path / "bad.jsonl")
    with pytest.raises(InputError, match="got no pages"):
        Shelf([], name="empty")
