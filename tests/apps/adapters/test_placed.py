"""What all adapters share: whatever comes in goes out once, and only what can be judged is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wholepage.apps.adapters.placed import Asked, Item, check_top, modality_of, pictures_of, placed
from wholepage.pages.errors import DecodingError, ImageError, InputError, ShapeError
from wholepage.pages.model import ImageRef, Modality, Page, Ranking
from wholepage.pages.protocols import by_score

from .words import Losing, OrderOnly, WordScorer, words

ITEMS = st.lists(st.sampled_from(["", " ", "a", "a b", "b c", "a b c"]).map(Item), max_size=8)


@given(st.lists(st.tuples(st.sampled_from(["a", "a b", "z"]), ITEMS), max_size=4))
def test_every_document_comes_back_once_best_first(asked: list[tuple[str, list[Item]]]) -> None:
    found = placed(words(), [Asked(text, items, name=str(i)) for i, (text, items) in enumerate(asked)])
    assert len(found) == len(asked)
    for (text, items), places in zip(asked, found, strict=True):
        assert Counter(place for place, _ in places) == Counter(range(len(items)))
        expected = {i: len(set(text.split()) & set(item.text.split())) - 1.5 for i, item in enumerate(items)}
        empty = [i for i, item in enumerate(items) if not item.text.strip()]
        judged = sorted((i for i in expected if i not in empty), key=lambda i: (-expected[i], i))
        assert places == [*((i, expected[i]) for i in judged), *((i, None) for i in empty)]


def test_an_order_without_scores_has_negated_ranks() -> None:
    asked = [Asked("q", [Item("a"), Item(""), Item("b"), Item("a")])]
    assert placed(OrderOnly(), asked) == [[(3, -0.0), (2, -1.0), (0, -2.0), (1, None)]]


def test_pictures_are_looked_at_before_anything_is_ranked(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    scorer = WordScorer()
    good = Item("a picture", pictures_of([tmp_path / "a.png", str(tmp_path / "a.png")], "x"))
    assert placed(by_score(scorer), [Asked("picture", [good, Item("a")])]) == [[(0, -0.5), (1, -1.5)]]
    [page] = scorer.pages
    assert [result.modality for result in page.results] == [Modality.IMAGE, Modality.TEXT]
    assert len(page.results[0].images) == 2
    for name, said in (("query", r"documents\[1\]: image "), ("q7", r"query 'q7': documents\[1\]: image ")):
        lost = Item("a", pictures_of(tmp_path / "none.png", "x"))
        with pytest.raises(ImageError, match=said):
            placed(by_score(scorer), [Asked("a", [good, lost], name=name)])
    assert len(scorer.pages) == 1


def test_a_ranker_that_breaks_the_rules_is_told() -> None:
    class Silent(OrderOnly):
        def rank(self, pages: object) -> list[Ranking]:
            return []

    with pytest.raises(DecodingError, match="lost"):
        placed(Losing(), [Asked("q", [Item("a"), Item("b")])])
    with pytest.raises(ShapeError, match="got 0 rankings for 1 pages"):
        placed(Silent(), [Asked("q", [Item("a")])])


def test_nothing_to_rank_asks_no_ranker() -> None:
    class Never:
        name = "never"

        def rank(self, pages: list[Page]) -> list[Ranking]:
            pytest.fail("it was asked")

    assert placed(Never(), []) == []
    assert placed(Never(), [Asked("q", []), Asked("q", [Item(" ")], name="r")]) == [[], [(0, None)]]


def test_a_query_is_words_or_a_picture() -> None:
    assert placed(OrderOnly(), [Asked("", [Item("a")], ImageRef("q.png"))]) == [[(0, -0.0)]]
    with pytest.raises(InputError, match=r"^query: got ' '; allowed: words or a picture"):
        placed(OrderOnly(), [Asked(" ", [Item("a")])])
    with pytest.raises(InputError, match="got one name for two"):
        placed(OrderOnly(), [Asked("a", []), Asked("b", [])])


def test_pictures_come_as_paths_addresses_or_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert pictures_of(None, "x") == ()
    assert pictures_of("data:image/png;base64,AA==", "x") == (ImageRef("data:image/png;base64,AA=="),)
    assert pictures_of(Path("a:b.png"), "x") == (ImageRef(f"{tmp_path}/a:b.png"),)
    assert pictures_of(["a.png", ImageRef("b.png")], "x") == (ImageRef("a.png"), ImageRef("b.png"))
    for bad in (7, "", b"raw", [None, 3], object()):
        with pytest.raises(InputError, match=r"^documents\[0\]: got .*; allowed: a path"):
            pictures_of(bad, "documents[0]")


def test_names_of_modalities_and_numbers_to_keep_are_checked() -> None:
    assert modality_of(None, "x") is None
    assert modality_of("answer", "x") is Modality.ANSWER
    for bad in ("Image", "", 3, ["text"]):
        with pytest.raises(InputError, match=r"^x: got .*; allowed: text, image, video, answer;"):
            modality_of(bad, "x")
    assert [check_top("k", top) for top in (None, 1, 9)] == [None, 1, 9]
    for wrong in (0, -1, True, 1.0, "3"):
        with pytest.raises(InputError, match=r"^k: got .*; allowed: a whole number from 1 up"):
            check_top("k", wrong)  # type: ignore[arg-type]
