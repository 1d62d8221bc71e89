"""Pictures that show the same are found in other sizes and qualities, and drawings on white are told apart."""

from __future__ import annotations

import io
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from wholepage.pages.errors import InputError
from wholepage.training.near_duplicates import Glance, Nearness, difference_hash, glance, same_groups


def noise(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A picture of coarse random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def again(picture: Image.Image, scale: float = 0.6, quality: int = 60) -> Image.Image:
    """The same picture, smaller and through JPEG."""
    buffer = io.BytesIO()
    size = int(picture.width * scale), int(picture.height * scale)
    picture.resize(size).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def on_white(colour: str) -> Image.Image:
    picture = Image.new("RGB", (120, 120), "white")
    ImageDraw.Draw(picture).ellipse((30, 30, 90, 90), fill=colour)
    return picture


def groups_of(pictures: list[Image.Image], nearness: Nearness | None = None) -> list[list[int]]:
    return same_groups([glance(picture) for picture in pictures], nearness or Nearness())


def test_the_hash_says_where_it_gets_brighter() -> None:
    rising = Image.fromarray(np.tile(np.linspace(0, 255, 90, dtype=np.uint8), (80, 1)))
    assert difference_hash(rising).tolist() == [True] * 64
    assert difference_hash(rising.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).tolist() == [False] * 64
    half = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 40, axis=0).repeat(90, axis=1))
    half.paste(rising.crop((0, 0, 90, 40)), (0, 0))
    assert difference_hash(half).tolist() == [True] * 32 + [False] * 32


def test_hashes_as_counted_by_hand() -> None:
    picture = noise(3, (90, 80)).convert("L")
    pixels = np.asarray(picture, np.float64)
    means = pixels.reshape(8, 10, 9, 10).mean(axis=(1, 3))  # 8 rows of 9 squares of 10 x 10
    sure = np.abs(np.diff(means, axis=1) - 2) > 1.0  # rounding decides the others
    assert (difference_hash(picture).reshape(8, 8) == (np.diff(means, axis=1) > 2))[sure].all()
    assert sure.sum() > 40


def test_copies_are_found_and_others_are_not() -> None:
    firsts = [noise(seed) for seed in range(12)]
    copies = [again(picture) for picture in firsts]
    assert groups_of([*firsts, *copies]) == [[i, i + 12] for i in range(12)]
    assert groups_of([]) == []


def test_drawings_on_white_are_told_apart_by_colour() -> None:
    pictures = [on_white("red"), on_white("blue"), again(on_white("red")), Image.new("RGB", (50, 50), "white"),
                Image.new("RGB", (50, 50), "black")]  # fmt: skip
    assert groups_of(pictures) == [[0, 2], [1], [3], [4]]
    assert groups_of(pictures, Nearness(bits=64, levels=255)) == [[0, 1, 2, 3, 4]]
    assert groups_of(pictures, Nearness(bits=0, levels=0)) == [[0], [1], [2], [3], [4]]


def test_what_is_near_a_third_is_of_its_group() -> None:
    def row(on: int) -> Glance:
        return Glance(np.arange(64) < on, np.zeros(192, np.float32))

    chain = [row(n) for n in (0, 20, 4, 24, 8, 40)]
    assert same_groups(chain, Nearness()) == [[0, 2, 4], [1, 3], [5]]
    for turned in itertools.permutations(range(4)):
        groups = same_groups([chain[i] for i in turned], Nearness())
        assert {frozenset(turned[i] for i in group) for group in groups} == {frozenset({0, 2}), frozenset({1, 3})}
        assert [group[0] for group in groups] == sorted(group[0] for group in groups)


def test_real_pictures(data_root: Path) -> None:
    """Of charts, photos and drawings most copies are found, and next to nothing else."""
    for archive, least in (("opencqa_charts.zip", 56), ("fashion_images.zip", 57), ("emoji.zip", 48)):
        with zipfile.ZipFile(data_root / archive) as files:
            names = sorted(name for name in files.namelist() if not name.endswith("/"))
            chosen = np.random.default_rng(0).choice(len(names), 60, replace=False)
            pictures = []
            for i in chosen:
                layer = Image.open(io.BytesIO(files.read(names[int(i)]))).convert("RGBA")
                seen = Image.new("RGB", layer.size, "white")
                seen.paste(layer, mask=layer.getchannel("A"))
                pictures.append(seen)
        groups = groups_of([*pictures, *(again(picture, 0.75, 80) for picture in pictures)])
        found = sum({i, i + 60} <= set(group) for group in groups for i in range(60))
        wrong = sum(len({i % 60 for i in group}) - 1 for group in groups)
        assert found >= least, (archive, found)
        assert wrong <= 1, (archive, wrong)


@pytest.mark.parametrize("wrong", [{"bits": -1}, {"bits": 65}, {"levels": -0.1}, {"levels": 256}])
def test_nearness_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Nearness(**wrong)  # type: ignore[arg-type]
