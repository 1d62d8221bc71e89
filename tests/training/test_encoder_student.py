"""A student behind a frozen encoder: begins as the encoder, learns a planted preference, is saved and loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.pages import InputError, Modality, Page, Query, Result, WeightsError
from wholepage.pages.protocols import by_score
from wholepage.rankers.text import BiEncoderScorer
from wholepage.training.encoder_student import EncoderStudent, EncoderStudentConfig, distil_encoder
from wholepage.training.loop import LoopConfig
from wholepage.training.taught import TaughtList


class Hashed:
    """Every word is a random direction; a text the sum of its words."""

    name, dim = "hashed", 24

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [sum(self._word(word) for word in text.split()) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32)

    @staticmethod
    def _word(word: str) -> NDArray[np.float64]:
        return np.random.default_rng([ord(letter) for letter in word]).normal(size=24)


def planted(count: int) -> list[TaughtList]:
    """The teacher likes a word that has nothing to do with the query."""
    rng, lists = np.random.default_rng(1), []
    for i in range(count):
        words = [f"w{n}" for n in rng.permutation(40)[:9]]
        good = rng.permutation(6)[:2]
        results = tuple(
            Result(str(n), Modality.TEXT, f"{words[n]} {words[6]}" + (" liked" if n in good else " other"))
            for n in range(6)
        )
        lists.append(TaughtList(Page(Query(f"q{i}", f"{words[7]} {words[8]}"), results),
                                tuple(1.0 if n in good else 0.0 for n in range(6)), "planted"))  # fmt: skip
    return lists


def first_two_right(student: EncoderStudent, lists: list[TaughtList]) -> float:
    rankings = by_score(BiEncoderScorer(student)).rank([one.page for one in lists])
    found = [
        np.mean([dict(zip(one.page.result_ids, one.targets, strict=True))[i] for i in ranking.result_ids[:2]])
        for one, ranking in zip(lists, rankings, strict=True)
    ]
    return float(np.mean(found))


CONFIG = EncoderStudentConfig(LoopConfig(epochs=30, batch_size=8, learning_rate=1e-2, weight_decay=0.0))


def test_it_begins_as_its_encoder() -> None:
    student = EncoderStudent(Hashed(), np.zeros((24, 24), np.float32))
    texts = ["red lamp", "a chair"]
    assert np.allclose(student.encode_texts(texts), Hashed().encode_texts(texts), atol=1e-6)


def test_it_learns_what_the_teacher_likes_and_keeps_it_for_new_lists() -> None:
    lists = planted(80)
    before = EncoderStudent(Hashed(), np.zeros((24, 24), np.float32))
    after = distil_encoder(lists[:60], Hashed(), CONFIG)
    assert first_two_right(after, lists[60:]) > max(0.8, first_two_right(before, lists[60:]) + 0.2)
    assert np.allclose(np.linalg.norm(after.encode_texts(["a lamp", "b"]), axis=1), 1.0, atol=1e-5)


def test_seeds_repeat_and_a_saved_student_comes_back(tmp_path: Path) -> None:
    lists = planted(12)
    one, again = distil_encoder(lists, Hashed(), CONFIG), distil_encoder(lists, Hashed(), CONFIG, folder=tmp_path / "c")
    assert one.name == again.name
    one.save(tmp_path / "student")
    read = EncoderStudent.load(tmp_path / "student", Hashed())
    assert np.array_equal(read.encode_texts(["w1 w2"]), one.encode_texts(["w1 w2"]))

    class Other(Hashed):
        name = "other"

    with pytest.raises(WeightsError, match="'hashed'"):
        EncoderStudent.load(tmp_path / "student", Other())


def test_what_cannot_be_learned_from_is_refused() -> None:
    with pytest.raises(InputError, match="no training items"):
        distil_encoder([], Hashed(), CONFIG)
    silent = planted(1)[0]
    page = Page(Query("q", " "), silent.page.results)
    with pytest.raises(InputError, match="without text"):
        distil_encoder([TaughtList(page, silent.targets, "x")], Hashed(), CONFIG)
    with pytest.raises(InputError, match="encoder student"):
        EncoderStudentConfig(sharpness=0.0)
