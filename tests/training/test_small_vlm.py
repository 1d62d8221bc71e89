"""A model made from numbers: its habits do what they say before anything is learned, and seeds make it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.listwise_students import LIMITS, SIZES, small_student, world_lists

from wholepage.pages import InputError, Modality, ShapeError
from wholepage.rankers.listwise import ListwiseConfig, ListwiseRanker, WindowLimits
from wholepage.rankers.listwise_attention import Span, Spans
from wholepage.rankers.listwise_loading import load_pretrained
from wholepage.training.listwise_lessons import Lessons
from wholepage.training.lookup_lists import lookup_lists
from wholepage.training.small_vlm import SmallVlm, make_small_vlm

WORDS = [f"{a}{b}{a}{c}" for a in "bdfgk" for b in "aeiou" for c in "rlmn"]


def test_the_seed_makes_the_weights() -> None:
    lists = lookup_lists(WORDS, 5)
    first, again, other = small_student(lists), small_student(lists), small_student(lists, seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_ranker_on_it_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    lists = world_lists(3, Modality.TEXT, Modality.IMAGE)
    ranker = ListwiseRanker(small_student(lists), ListwiseConfig(window=4, stride=2, limits=WindowLimits(**LIMITS)))
    ranker.save(tmp_path / "model")
    pages = [one.page for one in lists]
    assert ListwiseRanker.load(tmp_path / "model").rank(pages) == ranker.rank(pages)


def test_letters_are_one_token_and_the_model_loads_like_any_other(tmp_path: Path) -> None:
    student = small_student(lookup_lists(WORDS, 5))
    assert len(student.words.pool) == 26
    student.write(tmp_path)
    assert load_pretrained(tmp_path).fingerprint == student.fingerprint


@pytest.mark.parametrize("position", ["first", "last"])
def test_every_token_of_a_result_carries_its_letter_from_the_start(position: str) -> None:
    """Untrained: after the first layer, the letter that a token carries is that of its own result."""
    lists = lookup_lists(WORDS, 12, results=8, seed=2)
    student = small_student(lists, sizes=SmallVlm(vocabulary=400, dim=128))
    ranker = ListwiseRanker(student, ListwiseConfig(window=8, stride=4))
    lessons = Lessons(lists, ranker.prompter, ranker.pictures, most=8, seed=0)
    carried: list[torch.Tensor] = []
    student.spans.language.layers[0].self_attn.o_proj.register_forward_hook(lambda *told: carried.append(told[2][0]))
    right = total = 0
    for index in range(len(lists)):
        shown = lessons.show(index, 0)
        carried.clear()
        ranker.engine.read([shown.passage], Spans([Span(len(shown.passage))]), {})
        tokens = shown.passage.tokens.tolist()
        starts = [
            tokens.index(letter, tokens.index(ranker.prompter.words.encode("Results")[0])) for letter in shown.letters
        ]
        ends = [
            *(start - 1 for start in starts[1:]),
            len(tokens)
            - len(
                ranker.prompter.request(
                    lists[index].page, ranker.prompter.fit(lists[index].page, ranker.config.plan), {}
                ).task
            ),
        ]
        names = student.embed.weight[list(shown.letters), : 128 // 4]
        for item, (start, end) in enumerate(zip(starts, ends, strict=True)):
            at = start + 2 if position == "first" else end - 1
            right += int((carried[0][at, : 128 // 4] @ names.T).argmax()) == item
            total += 1
    assert right / total > 0.8


def test_words_begin_where_an_encoder_puts_them() -> None:
    lists = lookup_lists(WORDS, 20)

    def meaning(words: list[str]) -> np.ndarray:
        rng = np.random.default_rng(0)
        rows = {word[:2]: rng.normal(size=32) for word in sorted(words)}
        return np.stack([rows[word[:2]] for word in words])

    student = make_small_vlm([r.text for one in lists for r in one.page.results], SIZES, meaning=meaning)
    width = SIZES.dim // SIZES.heads
    rows = student.embed.weight.detach()[:, width:]
    tokens = {student.tokenizer.decode([i]).strip(): i for i in range(len(student.tokenizer) - 7)}
    alike = [(a, b) for a in tokens for b in tokens if a < b and len(a) > 1 and len(b) > 1 and a[:2] == b[:2]]
    assert alike
    for a, b in alike[:20]:
        assert torch.nn.functional.cosine_similarity(rows[tokens[a]], rows[tokens[b]], dim=0) > 0.99


def test_a_meaning_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match="meaning of words"):
        make_small_vlm(["a lamp"], SIZES, meaning=lambda words: np.zeros((3, 4)))


@pytest.mark.parametrize(
    "sizes",
    [{"dim": 65}, {"heads": 8, "dim": 128}, {"layers": 2}, {"vocabulary": 100}, {"least_pixels": 9000}, {"layers": 0}],
)
def test_sizes_that_do_not_go_together_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="small model"):
        SmallVlm(**sizes)


def test_no_texts_are_refused() -> None:
    with pytest.raises(InputError, match="no texts"):
        make_small_vlm([], SIZES)
