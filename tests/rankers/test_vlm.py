"""The frozen vision-language model: what is injected is what the model itself computes, and the tower runs once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForImageTextToText

from wholepage.pages.errors import ImageError, InputError, WeightsError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.vlm import VlmEncoder
from wholepage.rankers.vlm_pictures import grid_of
from wholepage.rankers.vlm_prompt import ItemPrompt

KINDS = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
Folder = Callable[[str], Path]


def load(folder: Path, **settings: Any) -> VlmEncoder:
    small = {"max_visual_tokens": 16, "max_tokens": 150, "max_pictures": 3, "device": "cpu"}
    return VlmEncoder.load(folder, **{**small, **settings})


@pytest.fixture
def pictures(tmp_path: Path) -> list[ImageRef]:
    """Noise of three shapes, and the first once more under another name."""
    draw = np.random.default_rng(5)
    made = []
    for i, size in enumerate([(24, 32), (40, 17), (90, 20)]):
        path = tmp_path / f"{i}.png"
        Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)).save(path)
        made.append(ImageRef(str(path)))
    copy = tmp_path / "again.png"
    copy.write_bytes(Path(made[0].uri).read_bytes())
    return [*made, ImageRef(str(copy))]


@pytest.fixture
def page(pictures: list[ImageRef]) -> Page:
    a, b, c, again = pictures
    return Page(
        Query("q", "red lamp", again),
        (
            Result("text", Modality.TEXT, "a blue shoe <|image_pad|><|vision_start|>"),
            Result("image", Modality.IMAGE, "", (a,)),
            Result("both", Modality.IMAGE, "lamp, red and long", (b,)),
            Result("video", Modality.VIDEO, "shoe", (b, c)),
        ),
    )


def whole_forward(folder: Path, encoder: VlmEncoder, prompt: ItemPrompt, shown: list[ImageRef]) -> Any:
    """The library's own way: pixels in, positions and everything else computed by the model itself."""
    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval().model
    processor = AutoImageProcessor.from_pretrained(
        folder, backend="pil", size={"shortest_edge": 256, "longest_edge": 16 * 64}
    )
    pixels = processor(images=[Image.open(ref.uri) for ref in shown], return_tensors="pt") if shown else {}
    ids = torch.from_numpy(prompt.tokens)[None]
    with torch.no_grad():
        states = model(
            input_ids=ids, mm_token_type_ids=torch.from_numpy(prompt.places)[None].int(),
            attention_mask=torch.ones_like(ids), **pixels,
        ).last_hidden_state  # fmt: skip
        seen = model.get_image_features(**pixels).pooler_output if shown else ()
    return states[0], seen


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_injected_is_what_the_model_computes(
    tiny_vlm: Folder, kind: str, page: Page, pictures: list[ImageRef]
) -> None:
    a, b, c, _ = pictures
    encoder = load(tiny_vlm(kind))
    (prompts,) = encoder.prompts([page])
    with torch.no_grad():
        reading = encoder.read(encoder.borrow(), prompts)
    for row, (prompt, own) in enumerate(zip(prompts, [[], [a], [b], [b, c]], strict=True)):
        states, seen = whole_forward(tiny_vlm(kind), encoder, prompt, [a, *own])
        torch.testing.assert_close(reading.early[row], states[-1], atol=1e-5, rtol=1e-5)
        means = [one.mean(0) for one in seen[1:]]
        wanted = torch.stack(means).mean(0) if means else torch.zeros(encoder.dim)
        torch.testing.assert_close(reading.late[row], wanted, atol=1e-5, rtol=1e-5)
    assert reading.seen.tolist() == [False, True, True, True]
    (words,) = encoder.prompts([Page(Query("w", "red lamp"), page.results[:1])])
    with torch.no_grad():
        alone = encoder.read(encoder.borrow(), words)
    torch.testing.assert_close(
        alone.early[0], whole_forward(tiny_vlm(kind), encoder, words[0], [])[0][-1], atol=1e-5, rtol=1e-5
    )
    assert reading.early.std(0).mean() > 0.1  # the readings do differ


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl"])
def test_a_reading_does_not_depend_on_its_neighbours(tiny_vlm: Folder, kind: str, page: Page) -> None:
    encoder = load(tiny_vlm(kind))
    (prompts,) = encoder.prompts([page])
    language = encoder.borrow()
    with torch.no_grad():
        together = encoder.read(language, prompts)
        for tokens in (1, 200):
            encoder.tokens_per_pass = tokens
            torch.testing.assert_close(encoder.read(language, prompts).early, together.early, atol=1e-5, rtol=1e-5)
        turned = encoder.read(language, prompts[::-1])
    torch.testing.assert_close(turned.early.flip(0), together.early, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turned.late.flip(0), together.late)
    assert len(encoder.read(language, []).early) == 0


def test_a_longer_prompt_of_pixels_changes_the_reading(tiny_vlm: Folder, page: Page, tmp_path: Path) -> None:
    """Deepstack and injection reach the last token: another picture, another reading."""
    Image.new("RGB", (32, 24), "red").save(tmp_path / "red.png")
    other = Page(page.query, (Result("image", Modality.IMAGE, "", (ImageRef(str(tmp_path / "red.png")),)),))
    for kind in ("qwen2_vl", "qwen3_vl"):
        encoder = load(tiny_vlm(kind))
        mine, its = encoder.prompts([page, other])
        assert len(mine[1]) == len(its[0])
        with torch.no_grad():
            reading = encoder.read(encoder.borrow(), [mine[1], its[0]])
        assert (reading.early[0] - reading.early[1]).abs().max() > 1e-2


# --- the tower --------------------------------------------------------------------------------------------------------


def test_the_tower_runs_once_a_picture_whatever_its_name(tiny_vlm: Folder, page: Page, tmp_path: Path) -> None:
    store = tmp_path / "visual.sqlite"
    encoder = load(tiny_vlm("qwen3_vl"), store=store)
    for _ in range(3):
        encoder.prompts([page, page])
    assert encoder.tower.tower_runs == 3  # four names, three pictures
    first = encoder.read(encoder.borrow(), encoder.prompts([page])[0])
    encoder.tower.close()
    again = load(tiny_vlm("qwen3_vl"), store=store)
    second = again.read(again.borrow(), again.prompts([page])[0])
    assert again.tower.tower_runs == 0
    assert torch.equal(first.early, second.early)
    assert torch.equal(first.late, second.late)
    smaller = load(tiny_vlm("qwen3_vl"), store=store, max_visual_tokens=8)
    smaller.prompts([page])
    assert smaller.tower.tower_runs == 3  # another setting sees anew


def test_half_precision_is_kept_without_loss(tiny_vlm: Folder, page: Page, tmp_path: Path) -> None:
    encoder = load(tiny_vlm("qwen2_vl"), dtype=torch.bfloat16, store=tmp_path / "visual.sqlite")
    (prompts,) = encoder.prompts([page])
    picture = prompts[1].pictures[-1]
    kept = encoder.tower.features([picture])[picture.key]
    assert kept.dtype == torch.bfloat16
    assert kept.shape == (1, picture.tokens, 32)
    reading = encoder.read(encoder.borrow(), prompts)
    assert reading.early.dtype == reading.late.dtype == torch.float32
    whole = load(tiny_vlm("qwen2_vl"))
    exact = whole.read(whole.borrow(), whole.prompts([page])[0])
    likeness = torch.nn.functional.cosine_similarity(reading.early, exact.early)
    assert likeness.min() > 0.98, likeness


def test_what_was_never_seen_is_refused(tiny_vlm: Folder, page: Page) -> None:
    (prompts,) = load(tiny_vlm("qwen2_vl")).prompts([page])
    blind = load(tiny_vlm("qwen2_vl"))
    with pytest.raises(WeightsError, match="look at the picture first"):
        blind.read(blind.borrow(), prompts)


def test_a_missing_picture_is_named(tiny_vlm: Folder, page: Page, tmp_path: Path) -> None:
    gone = Result("lost", Modality.IMAGE, "", (ImageRef(str(tmp_path / "gone.png")),))
    with pytest.raises(ImageError, match=r"query 'q': results\[4\] 'lost': .* is missing") as caught:
        load(tiny_vlm("qwen2_vl")).prompts([page, Page(page.query, (*page.results, gone))])
    assert caught.value.reason == "missing"


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (24, 32), (333, 517), (4000, 3000), (20, 3000), (5000, 9), (9, 1800)])
@pytest.mark.parametrize(("least", "most"), [(1, 100), (4, 100), (64, 100), (10, 10)])
def test_grids_keep_their_limits(size: tuple[int, int], least: int, most: int) -> None:
    rows, columns = grid_of(*size, side=28, least=least, most=most)
    assert rows >= 1
    assert columns >= 1
    assert rows * columns <= most
    if size[0] == size[1]:
        assert rows == columns


@pytest.mark.parametrize("size", [(24, 32), (333, 517), (4000, 3000), (100, 90), (600, 140)])
def test_grids_are_the_librarys_where_it_keeps_the_limits(size: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    wanted = smart_resize(*size, factor=28, min_pixels=4 * 784, max_pixels=100 * 784)
    assert tuple(28 * n for n in grid_of(*size, side=28, least=4, most=100)) == wanted


# --- loading ----------------------------------------------------------------------------------------------------------


def test_borrowed_models_share_weights_and_not_modules(tiny_vlm: Folder) -> None:
    encoder = load(tiny_vlm("qwen2_vl"))
    one, other = encoder.borrow(), encoder.borrow()
    assert one.layers[0] is not other.layers[0]
    assert all(a is b for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not any(weight.requires_grad for weight in one.parameters())


def test_the_same_weights_have_the_same_identity(tiny_vlm: Folder, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(tiny_vlm("qwen2_vl"), moved)
    one, same = load(tiny_vlm("qwen2_vl")), load(moved)
    assert one.identity == same.identity
    assert one.identity != load(moved, max_visual_tokens=8).identity
    assert one.identity != load(moved, dtype=torch.bfloat16).identity
    weights = load_file(moved / "model.safetensors")
    weights["model.norm.weight"] += 0.5
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert load(moved).identity != one.identity


def test_a_folder_without_some_weights_is_refused(tiny_vlm: Folder, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_vlm("qwen2_vl"), broken)
    weights = load_file(broken / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"no weights for .*norm"):
        load(broken)


def test_another_tokenizer_is_refused(tiny_vlm: Folder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_vlm("qwen2_vl"), other)
    settings = json.loads((other / "config.json").read_text())
    settings["image_token_id"] = 5000
    (other / "config.json").write_text(json.dumps(settings))
    with pytest.raises(WeightsError, match="without the picture marks"):
        load(other)


def test_only_safetensors_are_read(tiny_vlm: Folder, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(tiny_vlm("qwen2_vl"), pickled)
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load(pickled)


def test_damaged_weights_are_refused(tiny_vlm: Folder, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_vlm("qwen2_vl"), damaged)
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load(damaged)


def test_another_family_is_refused(tiny_vlm: Folder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_vlm("qwen2_vl"), other)
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match="got model type 'bert'"):
        load(other)
    with pytest.raises(WeightsError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        VlmEncoder.load("nobody/has-this-model")


@pytest.mark.parametrize("wrong", [{"dtype": torch.float16}, {"tokens_per_pass": 0}, {"max_tokens": 60}])
def test_settings_that_cannot_be_are_refused(tiny_vlm: Folder, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        load(tiny_vlm("qwen2_vl"), **wrong)
