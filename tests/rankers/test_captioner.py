"""A local captioner on tiny random models of each class: the words are nonsense, the way to them is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wholepage.pages.errors import ImageError, InputError, WeightsError
from wholepage.pages.images import open_image
from wholepage.pages.model import ImageRef
from wholepage.rankers.caption_words import CAPTION_SYSTEM, CaptionLength
from wholepage.rankers.captioner import LocalCaptioner
from wholepage.rankers.listwise_loading import read_pretrained

KINDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SHORT = CaptionLength(2, 6)  # 18 tokens


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pictures(tmp_path: Path) -> list[ImageRef]:
    draw, refs = np.random.default_rng(0), []
    for i, size in enumerate([(40, 30), (16, 64), (120, 90), (33, 57)]):
        path = tmp_path / f"p{i}.png"
        Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
        refs.append(ImageRef(str(path)))
    return refs


def by_hand(captioner: LocalCaptioner, folder: Path, ref: ImageRef) -> str:
    """The likeliest tokens one after another, all read anew for each."""
    model, (_, tokenizer, processor) = captioner._model, read_pretrained(folder, True, torch.float32)
    picture: Any = captioner._sized(open_image(ref))
    inputs = processor(images=[picture], do_resize=False, return_tensors="pt")
    tokens = captioner.prompt(int(inputs["image_grid_thw"].prod()) // 4)
    before = len(tokens)
    ends = {tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id}
    with torch.inference_mode():
        while len(tokens) < before + 3 * captioner.length.most and tokens[-1] not in ends:
            ids = torch.tensor([tokens])
            kinds = (ids == model.config.image_token_id).long()
            logits = model(input_ids=ids, mm_token_type_ids=kinds, use_cache=False, **inputs).logits
            tokens.append(int(logits[0, -1].argmax()))
            if tokens[-1] in ends:
                break
    return captioner.length.cut(numbers(tokens[before:]))


def numbers(tokens: Sequence[int]) -> str:
    """Tokens as words; most random ones spell no letter."""
    return " ".join(f"t{token}" for token in tokens if token < 286)  # those behind are no words


@pytest.mark.parametrize("kind", KINDS)
def test_captions_are_the_likeliest_words(
    kind: str, tiny_vlm: Callable[[str], Path], pictures: list[ImageRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A random model that is given more words than pixels to read heeds the words alone.
    monkeypatch.setattr("wholepage.rankers.captioner.CAPTION_SYSTEM", "You describe.")
    monkeypatch.setattr(CaptionLength, "task", property(lambda _: " Describe this."))

    def captioner(**settings: Any) -> LocalCaptioner:
        length = CaptionLength(1, 12)
        made = LocalCaptioner(tiny_vlm(kind), length=length, visual_tokens=24, device="cpu", **settings)
        monkeypatch.setattr(made._words, "decode", numbers)
        return made

    alone = captioner()
    said = alone.caption(pictures)
    assert said == [by_hand(alone, tiny_vlm(kind), ref) for ref in pictures]
    assert len(set(said)) > 1  # pictures are looked at
    assert alone.caption(pictures[::-1]) == said[::-1]
    assert captioner(pictures_per_pass=3).caption(pictures) == said


def test_the_prompt_holds_the_frame_the_picture_and_the_task(tiny_vlm: Callable[[str], Path]) -> None:
    captioner = LocalCaptioner(tiny_vlm("qwen2_vl"), length=SHORT, device="cpu")
    _, tokenizer, _ = read_pretrained(tiny_vlm("qwen2_vl"), True, torch.float32)
    assert tokenizer.decode(captioner.prompt(2)) == (
        f"<|im_start|>system\n{CAPTION_SYSTEM}<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|>"
        f"<|vision_end|>{SHORT.task}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_name_says_what_is_described_how(tiny_vlm: Callable[[str], Path]) -> None:
    def name(kind: str = "qwen2_vl", **settings: Any) -> str:
        return LocalCaptioner(tiny_vlm(kind), device="cpu", **settings).name

    others = [name("qwen3_vl"), name(length=SHORT), name(visual_tokens=16), name(dtype=torch.bfloat16)]
    assert len({name(), *others}) == 5
    assert name(pictures_per_pass=4) == name()


def test_progress_is_told(tiny_vlm: Callable[[str], Path], pictures: list[ImageRef]) -> None:
    told: list[tuple[int, int, str]] = []
    captioner = LocalCaptioner(
        tiny_vlm("qwen2_vl"), length=SHORT, pictures_per_pass=3, device="cpu",
        progress=lambda done, total, what: told.append((done, total, what)),
    )  # fmt: skip
    assert captioner.caption([]) == []
    captioner.caption(pictures)
    assert told == [(3, 4, "pictures described"), (4, 4, "pictures described")]


def test_what_cannot_be_is_refused(
    tiny_vlm: Callable[[str], Path], deep_model: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="without eyes"):
        LocalCaptioner(deep_model("llama"), device="cpu")
    with pytest.raises(WeightsError):
        LocalCaptioner(tmp_path / "nothing", device="cpu")
    for wrong in ({"visual_tokens": 0}, {"pictures_per_pass": 0}, {"dtype": torch.float16}):
        with pytest.raises(InputError):
            LocalCaptioner(tiny_vlm("qwen2_vl"), device="cpu", **wrong)
    with pytest.raises(ImageError, match=r"images\[0\]"):
        LocalCaptioner(tiny_vlm("qwen2_vl"), device="cpu").caption([ImageRef("gone.png")])
