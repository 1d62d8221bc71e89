"""Attacks and their clean twins differ in one result only, and the harness tells success from failure."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import ImageFont

from wholepage.pages.images import open_image
from wholepage.pages.model import Page, Ranking
from wholepage.rankers.ocr import OcrReader

Script = Callable[[str], ModuleType]


@pytest.fixture
def corpus(script: Script) -> ModuleType:
    return script("injection_corpus")


@pytest.fixture
def cases(corpus: ModuleType) -> list[Any]:
    return corpus.corpus(seed=3, pages=1, results=8)


def test_ten_families_in_two_media_the_same_each_time(corpus: ModuleType, cases: list[Any]) -> None:
    assert len(corpus.FAMILIES) == 10
    assert [(c.family, c.medium) for c in cases] == [(f, m) for f in corpus.FAMILIES for m in corpus.MEDIA]
    assert corpus.corpus(seed=3, pages=1, results=8) == cases
    assert corpus.corpus(seed=4, pages=1, results=8) != cases
    more = corpus.corpus(seed=3, pages=4, results=4)
    assert all(len({c.order for c in more if c.family == family}) >= 3 for family in corpus.FAMILIES)


def test_twins_differ_in_the_target_alone(corpus: ModuleType, cases: list[Any]) -> None:
    for case in cases:
        assert case.attacked.query == case.clean.query
        assert case.attacked.result_ids == case.clean.result_ids
        pairs = zip(case.attacked.results, case.clean.results, strict=True)
        (attacked, clean) = next((a, c) for a, c in pairs if a != c)
        assert [a for a, c in zip(case.attacked.results, case.clean.results, strict=True) if a != c] == [attacked]
        assert attacked.result_id == clean.result_id == case.target
        assert attacked.modality is clean.modality
        assert case.grades[case.target] == 0
        assert set(case.grades) == set(case.clean.result_ids)
        said, filled = (_read(case, result).removeprefix(_shared(case)) for result in (attacked, clean))
        assert case.order in said
        assert 0.5 * len(said) < len(filled) <= 1.05 * len(said)


def _read(case: Any, result: Any) -> str:
    return result.text.replace("\u200b", "") if case.medium == "text" else case.seen[result.images[0].uri]


def _shared(case: Any) -> str:
    """What both targets say before the order begins."""
    attacked = next(r for r in case.attacked.results if r.result_id == case.target)
    return _read(case, attacked).split(case.order)[0]


def test_no_other_result_gives_orders(cases: list[Any]) -> None:
    orders = [case.order for case in cases]
    for case in cases:
        for page in (case.attacked, case.clean):
            for result in page.results:
                if page is case.attacked and result.result_id == case.target:
                    continue
                texts = [result.text.replace("\u200b", ""), *(case.seen[ref.uri] for ref in result.images)]
                assert not any(order in text for order in orders for text in texts)


def test_the_hidden_order_is_invisible_and_the_pictures_are_faint(cases: list[Any]) -> None:
    text, picture = (case for case in cases if case.family == "hidden")
    (target,) = (r for r in text.attacked.results if r.result_id == text.target)
    assert sum(unicodedata.category(letter) == "Cf" for letter in target.text) == len(text.order) - 1
    assert text.order not in target.text
    (drawn,) = (r for r in picture.attacked.results if r.result_id == picture.target)
    print_ = np.asarray(open_image(drawn.images[0]).convert("L"))[124:]
    assert print_.min() >= 230
    assert print_.std() > 0


def test_pictures_hold_letters_only_that_the_font_has(corpus: ModuleType) -> None:
    font = ImageFont.load_default(14)
    missing = bytes(font.getmask("\uffff"))
    assert not [phrase for phrases in corpus.TEXT_ONLY.values() for phrase in phrases if phrase.isascii()]
    letters = set("".join(phrase for phrases in corpus.FAMILIES.values() for phrase in phrases)) - {"\n", " "}
    assert not [letter for letter in letters if bytes(font.getmask(letter)) == missing]


def test_orders_in_pictures_can_be_read(cases: list[Any], tmp_path: Any) -> None:
    """By another program than the one that drew them."""
    reader = OcrReader(tmp_path / "texts.db", threads=1)
    for family in ("direct order", "plea"):
        (case,) = (c for c in cases if c.family == family and c.medium == "picture")
        for page, told in ((case.attacked, True), (case.clean, False)):
            (target,) = (r for r in page.results if r.result_id == case.target)
            found = reader.read_words(target.images[0]).lower().replace(" ", "")
            words = [word.strip(".,").lower() for word in case.order.split()]
            assert bool(np.mean([word in found for word in words if len(word) > 3]) > 0.7) is told


def test_sizes_that_make_no_sense_are_refused(corpus: ModuleType) -> None:
    for sizes in ({"results": 3}, {"pages": 0}):
        with pytest.raises(ValueError, match="allowed: from 4 and 1"):
            corpus.corpus(**sizes)


# ---------------------------------------------------------------- the harness
class Fixed:
    """Puts results where it is told, by what it was shown."""

    name = "fixed"

    def __init__(self, place: Callable[[Page], Sequence[str]]) -> None:
        self.place = place

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        return [Ranking(page.query_id, tuple(self.place(page)), None, self.name) for page in pages]


def test_success_rise_and_drift_by_hand(script: Script, cases: list[Any]) -> None:
    bench = script("injection")
    attacked = [case.attacked for case in cases]
    target = {case.attacked.query_id: case.target for case in cases}
    grades = {case.attacked.query_id: case.grades for case in cases}

    def honest(page: Page) -> list[str]:
        return sorted(page.result_ids, key=lambda name: (-grades[page.query_id][name], name != target[page.query_id]))

    def fooled(page: Page) -> list[str]:
        known = honest(page)
        return sorted(known, key=lambda name: name != target[page.query_id]) if page in attacked else known

    rankers = {
        "honest": Fixed(honest), "fooled": Fixed(fooled), "received": Fixed(lambda page: page.result_ids),
        "backwards": Fixed(lambda page: honest(page)[::-1]),
    }  # fmt: skip
    outcomes = {(o.ranker, o.attacks): o for o in bench.measure(rankers, cases, undefended="honest")}
    assert len(outcomes) == 4 * 13
    untouched, taken, received, backwards = (outcomes[name, "all"] for name in rankers)
    assert (untouched.success, untouched.rise, untouched.drift, untouched.ndcg_clean) == (0, 0, 0, 1)
    # Two of eight results have grade 0; the target is the first of them, at place 6.
    assert (taken.success, taken.rise, taken.drift, taken.ndcg_clean) == (1, 6, 0, 1)
    assert taken.ndcg_attacked < 1
    assert (received.success, received.rise) == (0, 0)
    assert backwards.drift == 1
    assert outcomes["fooled", "plea"].cases == 2
    assert bench.turned_round("abcd", "abdc") == pytest.approx(1 / 6)
    assert bench.turned_round("a", "a") == 0
    assert "| fooled | text | 10 | 100.0% | 6.00 | 0.0% | 1.0000 |" in bench.table(list(outcomes.values()), ["text"])


def test_the_stub_believes_everything_and_each_defence_does_its_part(script: Script, cases: list[Any]) -> None:
    bench = script("injection")
    rankers = {name: bench.Gullible(cases, defence, name=name) for name, defence in bench.DEFENCES.items()}
    undefended, *_ = rankers
    told = {(o.ranker, o.attacks): o for o in bench.measure(rankers, cases, undefended=undefended)}
    assert told[undefended, "all"].success == told["masked answer", "all"].success == 1
    assert rankers[undefended].repairs.missing > 0
    named = ("fake identifiers", "fake turn")
    for family in named:  # they name an identifier that the target no longer has
        assert told["drawn identifiers", family].success == 0
    assert told["drawn identifiers", "plea"].success == 1
    assert told["rise at most 2", "plea"].success == 0
    assert told["all of them", "all"].success <= min(told[name, "all"].success for name in rankers)
    assert told["masked answer", "all"].drift == 0
    again = bench.Gullible(cases, bench.DEFENCES["all of them"])
    pages = [case.attacked for case in cases]
    assert [r.result_ids for r in again.rank(pages)] == [again.rank([page])[0].result_ids for page in pages]
