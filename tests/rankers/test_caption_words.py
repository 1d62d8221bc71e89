"""How long a caption may be, and where it is cut."""

from __future__ import annotations

import pytest

from wholepage.pages.errors import InputError
from wholepage.rankers.caption_words import CaptionLength


def sentence(count: int, word: str = "word") -> str:
    return " ".join([word] * (count - 1) + [f"{word}."])


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("", ""),
        ("  A red\n\nlamp.  ", "A red lamp."),
        ("A red lamp", "A red lamp"),  # too short to lose anything
        (f"{sentence(5)} {sentence(5)}", f"{sentence(5)} {sentence(5)}"),
        (f"{sentence(6)} {sentence(5)}", sentence(6)),
        (f"{sentence(3)} {sentence(9)}", " ".join([*sentence(3).split(), *["word"] * 7])),  # no end where it may be
        (f"{sentence(5)} word word", sentence(5)),  # broken off
        (f'{sentence(4)} he said "no!" {sentence(5)}', f'{sentence(4)} he said "no!"'),
    ],
)
def test_a_caption_is_cut_at_a_sentence_where_it_can_be(said: str, kept: str) -> None:
    assert CaptionLength(5, 10).cut(said) == kept
    assert CaptionLength(5, 10).cut(kept) == kept


def test_the_task_says_the_length() -> None:
    assert "in 60 to 120 words" in CaptionLength().task
    assert CaptionLength(5, 10).tokens == 30
    for wrong in ((0, 10), (11, 10)):
        with pytest.raises(InputError):
            CaptionLength(*wrong)
