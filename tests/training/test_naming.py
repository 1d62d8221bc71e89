"""Naming: a tower learns the words of captions, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.training.listwise_students import SIZES, small_student

from wholepage.pages import ImageRef, InputError, Modality, NoRanker, Page, Query, Result
from wholepage.rankers.listwise_loading import assembled
from wholepage.rankers.listwise_pictures import PictureMemory
from wholepage.training.loop import LoopConfig
from wholepage.training.naming import Naming, teach_names
from wholepage.training.small_vlm import make_small_vlm
from wholepage.training.taught import TaughtList

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "white": (240, 240, 240)}


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[ImageRef, str]]:
    """Plain squares with some noise, and their colours."""
    folder, rng, found = tmp_path_factory.mktemp("squares"), np.random.default_rng(0), []
    for i in range(48):
        word = list(COLOURS)[i % 4]
        pixels = np.clip(np.array(COLOURS[word]) + rng.normal(0, 15, (16, 16, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        found.append((ImageRef(str(folder / f"{i}.png")), f"a {word} square"))
    return found


def student():
    results = tuple(Result(word, Modality.TEXT, f"a {word} square") for word in COLOURS)
    return small_student([TaughtList(Page(Query("q", "square"), results), (1.0, 2.0, 3.0, 4.0), "x")])


def test_a_tower_names_what_it_sees(captioned: list[tuple[ImageRef, str]]) -> None:
    given = student()
    before = {name: value.clone() for name, value in given.model.state_dict().items()}
    naming = Naming(LoopConfig(epochs=12, batch_size=8, learning_rate=3e-3, weight_decay=0.0), visual_tokens=4)
    named = teach_names(given, captioned[:40], naming)
    changed = {name for name, value in named.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(".visual." in name for name in changed)
    pictures = PictureMemory(named.model.model, named.processor, mark=named.sight)
    words = [named.words.encode(f" {word}") for word in COLOURS]
    rows = torch.stack([named.embed.weight[ids].mean(dim=0) for ids in words])
    rows = rows - rows.mean(dim=0)
    right = 0
    for ref, caption in captioned[40:]:
        (layers,) = pictures.see([pictures.cut(ref, 4, at="test")])
        seen = layers[0].mean(dim=0)
        right += list(COLOURS)[int((rows @ seen).argmax())] in caption
    assert right >= 7


def test_two_runs_give_the_same_weights(captioned: list[tuple[ImageRef, str]]) -> None:
    naming = Naming(LoopConfig(epochs=1, batch_size=8), visual_tokens=4)
    assert teach_names(student(), captioned, naming).sight == teach_names(student(), captioned, naming).sight


def test_captions_that_are_all_alike_are_refused(captioned: list[tuple[ImageRef, str]]) -> None:
    with pytest.raises(InputError, match="tell them apart"):
        teach_names(student(), [(ref, "a square") for ref, _ in captioned], Naming())


def test_a_model_without_eyes_is_refused(captioned: list[tuple[ImageRef, str]], tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = make_small_vlm(["a red square"], SIZES).tokenizer
    config = AutoConfig.for_model(
        "qwen2", vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=16,
    )  # fmt: skip
    blind = assembled(AutoModelForCausalLM.from_config(config), tokenizer, None, name="blind")
    with pytest.raises(NoRanker, match="without eyes"):
        teach_names(blind, captioned, Naming())
