"""What the vision tower has seen: the same as the model's own pipeline sees, once a picture, kept within bounds."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForImageTextToText

from wholepage.pages.errors import ImageError
from wholepage.pages.images import to_data_uri
from wholepage.pages.model import ImageRef
from wholepage.rankers import listwise_pictures
from wholepage.rankers.listwise_diagnostics import SightCounts
from wholepage.rankers.listwise_pictures import PictureMemory

KINDS = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
Folder = Callable[[str], Path]


def memory(source: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> PictureMemory:
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype).eval().model
    processor = AutoImageProcessor.from_pretrained(source, backend="pil")
    return PictureMemory(model, processor, mark="m", **settings)


def wanted(*refs: ImageRef, most: int = 16) -> dict[tuple[ImageRef, int], str]:
    return {(ref, most): f"results[{i}] 'r{i}'" for i, ref in enumerate(refs)}


@pytest.fixture
def refs(tmp_path: Path) -> list[ImageRef]:
    draw = np.random.default_rng(3)
    made = []
    for i, size in enumerate([(24, 32), (40, 17), (90, 20), (33, 33)]):
        path = tmp_path / f"{i}.png"
        Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)).save(path)
        made.append(ImageRef(str(path)))
    return made


def own_features(folder: Path, ref: ImageRef, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The library's own way: its processor resizes, scales and doubles the picture, its tower convolves."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).eval().model
    processor = AutoImageProcessor.from_pretrained(
        folder, backend="pil", size={"shortest_edge": 256, "longest_edge": 16 * 64}
    )
    with torch.no_grad():
        seen = model.get_image_features(**processor(images=[Image.open(ref.uri)], return_tensors="pt"))
    return torch.stack([seen.pooler_output[0], *(deep[0] for deep in getattr(seen, "deepstack_features", None) or ())])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_is_what_the_models_own_pipeline_sees(tiny_vlm: Folder, kind: str, refs: list[ImageRef]) -> None:
    looks = memory(tiny_vlm(kind))
    sights = looks.look(wanted(*refs))
    assert (looks.counts.encoded, looks.counts.calls) == (4, 1)  # all in one call
    for ref in refs:
        picture = sights.pictures[ref, 16]
        seen = sights.seen[picture.key].layers
        own = own_features(tiny_vlm(kind), ref)
        assert seen.shape == own.shape == ((3 if kind == "qwen3_vl" else 1), picture.tokens, 32)
        torch.testing.assert_close(seen, own, atol=2e-5, rtol=1e-4)


def test_half_precision_is_as_near_as_the_librarys(tiny_vlm: Folder, refs: list[ImageRef]) -> None:
    folder = tiny_vlm("qwen2_vl")
    sights = memory(folder, torch.bfloat16).look(wanted(refs[0]))
    (seen,) = (one.layers.float() for one in sights.seen.values())
    exact, half = own_features(folder, refs[0]), own_features(folder, refs[0], torch.bfloat16).float()
    assert (seen - exact).abs().mean() <= 1.2 * (half - exact).abs().mean()


def test_a_picture_is_encoded_once_whatever_its_name(tiny_vlm: Folder, refs: list[ImageRef], tmp_path: Path) -> None:
    again = tmp_path / "again.png"
    again.write_bytes(Path(refs[0].uri).read_bytes())
    inline = ImageRef(to_data_uri(again.read_bytes()))
    looks = memory(tiny_vlm("qwen2_vl"))
    first = looks.look(wanted(refs[0], ImageRef(str(again)), refs[1], inline))
    assert looks.counts == SightCounts(encoded=2, calls=1, in_memory=2)
    second = looks.look(wanted(refs[1], refs[0]))
    assert looks.counts == SightCounts(encoded=2, calls=1, in_memory=4)
    key = first.pictures[refs[0], 16].key
    assert second.seen[key].layers is first.seen[key].layers
    looks.look(wanted(refs[0], most=8))  # in another size it is another thing to see
    assert looks.counts.encoded == 3


def test_company_changes_nothing_but_rounding(
    tiny_vlm: Folder, refs: list[ImageRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in KINDS:
        together = memory(tiny_vlm(kind)).look(wanted(*refs)).seen
        monkeypatch.setattr(listwise_pictures, "PATCHES_PER_LOOK", 1)
        looks = memory(tiny_vlm(kind))
        alone = looks.look(wanted(*refs)).seen
        monkeypatch.undo()
        assert looks.counts.calls == 4
        for key, seen in alone.items():
            torch.testing.assert_close(together[key].layers, seen.layers, atol=1e-5, rtol=1e-5)


def test_memory_keeps_its_bound_and_drops_the_oldest(tiny_vlm: Folder, refs: list[ImageRef]) -> None:
    sizes = [one.layers.nbytes for one in memory(tiny_vlm("qwen2_vl")).look(wanted(*refs)).seen.values()]
    looks = memory(tiny_vlm("qwen2_vl"), cache_bytes=sum(sizes) - 1)
    sights = looks.look(wanted(*refs))
    assert len(sights.seen) == 4  # a request holds what it needs
    assert looks.bytes == sum(sizes[1:])
    looks.look(wanted(refs[1]))
    looks.look(wanted(refs[0]))  # not there any more: encoded again, and the oldest makes room
    assert looks.counts.encoded == 5
    assert looks.bytes <= sum(sizes) - 1
    nothing = memory(tiny_vlm("qwen2_vl"), cache_bytes=0)
    for _ in range(2):
        nothing.look(wanted(refs[0]))
    assert (nothing.counts.encoded, nothing.bytes) == (2, 0)


def test_another_run_finds_what_was_seen_on_disk(tiny_vlm: Folder, refs: list[ImageRef], tmp_path: Path) -> None:
    store = tmp_path / "seen"
    first = memory(tiny_vlm("qwen3_vl"), folder=store).look(wanted(*refs))
    again = memory(tiny_vlm("qwen3_vl"), folder=store)
    second = again.look(wanted(*refs))
    assert again.counts == SightCounts(on_disk=4)
    for key, seen in second.seen.items():
        assert torch.equal(seen.layers, first.seen[key].layers)
        assert seen.picture == first.seen[key].picture
    files = sorted(store.rglob("*"))
    assert {path.suffix for path in files if path.is_file()} == {".safetensors"}  # nothing half written
    assert all(stat.S_ISREG(path.stat().st_mode) for path in files if path.is_file())
    half = memory(tiny_vlm("qwen3_vl"), torch.bfloat16, folder=store)
    half.look(wanted(refs[0]))
    assert half.counts.encoded == 1  # another precision is another thing to keep


@pytest.mark.parametrize("damage", ["cut", "other", "changed", "empty"])
def test_a_damaged_file_is_made_anew_and_counted(
    tiny_vlm: Folder, refs: list[ImageRef], tmp_path: Path, damage: str
) -> None:
    memory(tiny_vlm("qwen2_vl"), folder=tmp_path / "seen").look(wanted(refs[0]))
    (path,) = (tmp_path / "seen").rglob("*.safetensors")
    whole, metadata = path.read_bytes(), {"seen": f"3 4 {'0' * 64}"}
    if damage == "changed":
        layers = load_file(path)["layers"]
        save_file({"layers": layers + 1}, path, metadata=metadata)
    elif damage == "other":
        save_file({"odd": torch.zeros(3)}, path, metadata=metadata)
    else:
        path.write_bytes(whole[:100] if damage == "cut" else b"")
    looks = memory(tiny_vlm("qwen2_vl"), folder=tmp_path / "seen")
    looks.look(wanted(refs[0]))
    assert looks.counts == SightCounts(encoded=1, calls=1, damaged=1)
    assert path.read_bytes() == whole


def test_a_picture_that_cannot_be_read_is_named(tiny_vlm: Folder, refs: list[ImageRef], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(refs[2].uri).read_bytes()[:600])
    for ref, reason in [(ImageRef(str(broken)), "unreadable"), (ImageRef(str(tmp_path / "gone.png")), "missing")]:
        looks = memory(tiny_vlm("qwen2_vl"))
        with pytest.raises(ImageError, match=r"results\[2\] 'r2'") as caught:
            looks.look(wanted(refs[0], refs[1], ref, refs[3]))
        assert caught.value.reason == reason
        assert looks.counts.encoded == 0


def test_progress_is_told(tiny_vlm: Folder, refs: list[ImageRef]) -> None:
    told: list[tuple[int, int, str]] = []
    looks = memory(tiny_vlm("qwen2_vl"), progress=lambda *said: told.append(said))
    looks.look(wanted(*refs))
    looks.look(wanted(*refs))
    assert told == [(0, 4, "pictures seen"), (4, 4, "pictures seen")]
    assert looks.look({}).seen == {}
