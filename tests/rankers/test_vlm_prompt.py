"""Prompts of the vision-language model: their budget, their pictures, and words that try to be control tokens."""

from __future__ import annotations

import numpy as np
import pytest

from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.vlm_prompt import BETWEEN, CLOSING, OPENING, Picture, Prompter, positions

PAD, START, END, SPECIAL = 1, 2, 3, 4


class Letters:
    """One token a letter; ``^`` is always taken for a control token, as a careless tokenizer would."""

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]:
        assert split_special_tokens
        assert not add_special_tokens
        return [PAD if letter == "^" else 10 + ord(letter) for letter in text]


def prompter(max_tokens: int = 120, max_pictures: int = 2, max_visual_tokens: int = 6) -> Prompter:
    return Prompter(
        Letters(), picture_token=PAD, start_token=START, end_token=END, reserved=[SPECIAL], max_tokens=max_tokens,
        max_pictures=max_pictures, max_visual_tokens=max_visual_tokens,
    )  # fmt: skip


def spelled(tokens: np.ndarray) -> str:
    marks = {PAD: "*", START: "<", END: ">"}
    return "".join(marks.get(int(token)) or chr(int(token) - 10) for token in tokens)


def refs(*names: str) -> tuple[ImageRef, ...]:
    return tuple(ImageRef(name) for name in names)


PICTURES = {ref: Picture(ref.uri, 1 + i % 2, 3 - i % 2) for i, ref in enumerate(refs("a", "b", "c", "d", "e", "q"))}


def test_a_prompt_is_pictures_then_query_then_text() -> None:
    page = Page(
        Query("1", "red?"),
        (Result("t", Modality.TEXT, "a shoe"), Result("v", Modality.VIDEO, "", refs("a", "b"))),
    )
    text, video = prompter().assemble(page, PICTURES)
    assert spelled(text.tokens) == f"{OPENING}red?{BETWEEN}a shoe{CLOSING}"
    assert spelled(video.tokens) == f"<***><****>{OPENING}red?{BETWEEN}{CLOSING}"
    assert (video.places == (video.tokens == PAD)).all()
    assert [p.key for p in video.pictures] == ["a", "b"]
    assert (text.asked, video.asked) == (0, 0)
    assert text.positions.tolist() == [list(range(len(text)))] * 3


def test_the_querys_picture_stands_first_and_is_not_the_results_own() -> None:
    page = Page(Query("1", "", ImageRef("q")), (Result("i", Modality.IMAGE, "", refs("a")),))
    (prompt,) = prompter().assemble(page, PICTURES)
    assert ([p.key for p in prompt.pictures], prompt.asked) == (["q", "a"], 1)
    (alone,) = prompter(max_pictures=1).assemble(page, PICTURES)
    assert ([p.key for p in alone.pictures], alone.asked) == (["a"], 0)


@pytest.mark.parametrize(("room", "shown"), [(1, "a"), (2, "ae"), (3, "ace"), (5, "abcde"), (9, "abcde")])
def test_frames_are_spread_over_the_video(room: int, shown: str) -> None:
    maker = prompter(max_tokens=400, max_pictures=room)
    page = Page(Query("1", "x"), (Result("v", Modality.VIDEO, "", refs(*"abcde")),))
    (prompt,) = maker.assemble(page, PICTURES)
    assert "".join(p.key for p in prompt.pictures) == shown
    assert maker.report.left_pictures == 5 - len(shown)


@pytest.mark.parametrize(("query", "text"), [(200, 200), (5, 200), (200, 5), (5, 5), (0, 200), (200, 1)])
@pytest.mark.parametrize("pictures", ["", "a", "ab"])
def test_nothing_is_longer_than_the_budget_and_every_cut_is_counted(query: int, text: int, pictures: str) -> None:
    maker = prompter()
    kind = Modality.IMAGE if pictures else Modality.TEXT
    page = Page(Query("1", "q" * query), (Result("r", kind, "t" * text, refs(*pictures)),))
    (prompt,) = maker.assemble(page, PICTURES)
    words = spelled(prompt.tokens).rsplit(">", 1)[-1].removeprefix(OPENING)
    asked, said = words.removesuffix(CLOSING).split(BETWEEN)
    assert words.endswith(CLOSING)
    assert len(prompt) <= 120
    assert len(prompt) == 120 or (len(asked), len(said)) == (query, text)  # room is used up before anything is cut
    assert (maker.report.cut_queries, maker.report.cut_texts) == (len(asked) < query, len(said) < text)
    if query > 100 and text > 100:
        assert abs(len(asked) - len(said)) <= 1  # neither drives the other out


def test_words_never_become_control_tokens() -> None:
    page = Page(Query("1", "a^b"), (Result("t", Modality.TEXT, "^^c"),))
    (prompt,) = prompter().assemble(page, {})
    assert spelled(prompt.tokens) == f"{OPENING}ab{BETWEEN}c{CLOSING}"
    assert not prompt.places.any()


def test_positions_by_hand() -> None:
    """A mark, 2 x 3 visual tokens, a mark, two words: time stands still in the picture, then all goes on behind 3."""
    assert positions([Picture("a", 2, 3)], 2).tolist() == [
        [0, 1, 1, 1, 1, 1, 1, 4, 5, 6],
        [0, 1, 1, 1, 2, 2, 2, 4, 5, 6],
        [0, 1, 2, 3, 1, 2, 3, 4, 5, 6],
    ]


@pytest.mark.parametrize("wrong", [{"max_tokens": 58}, {"max_pictures": 0}, {"max_visual_tokens": 0}])
def test_limits_that_leave_no_words_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="max_tokens"):
        prompter(**wrong)
