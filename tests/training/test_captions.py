"""Captions: each picture described once, by its bytes, and kept chunk by chunk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from wholepage.pages.errors import DecodingError, ImageError, InputError
from wholepage.pages.model import ImageRef
from wholepage.training.captions import Captioner, CaptionStore, GivenCaptions


class Colours:
    """Says the colour of a picture, and notes which it was shown."""

    def __init__(self, name: str = "colours", dies_after: int | None = None) -> None:
        self.name, self.dies_after = name, dies_after
        self.shown: list[str] = []

    def caption(self, images: Sequence[ImageRef]) -> list[str]:
        if self.dies_after is not None and len(self.shown) + len(images) > self.dies_after:
            raise KeyboardInterrupt
        self.shown += [Path(ref.uri).stem for ref in images]
        return [str(Image.open(ref.uri).getpixel((0, 0))) for ref in images]


@pytest.fixture
def pictures(tmp_path: Path) -> list[ImageRef]:
    refs = []
    for i in range(7):
        path = tmp_path / f"p{i}.png"
        Image.new("RGB", (4, 4), (i, 0, 0)).save(path)
        refs.append(ImageRef(str(path)))
    return refs


def test_given_captions_by_address_or_content(pictures: list[ImageRef]) -> None:
    digest = hashlib.sha256(Path(pictures[1].uri).read_bytes()).hexdigest()
    named = ImageRef("http://nowhere/x.png", sha256="ab" * 32)
    given = GivenCaptions({pictures[0].uri: "zero", digest: "one", "ab" * 32: "two"}, "people")
    assert isinstance(given, Captioner)
    assert given.caption([pictures[1], pictures[0], named, pictures[1]]) == ["one", "zero", "two", "one"]
    with pytest.raises(InputError, match=r"captions 'people': got none for images\[1\] .*p2\.png"):
        given.caption([pictures[0], pictures[2]])
    with pytest.raises(ImageError, match=r"images\[0\]"):
        given.caption([ImageRef("gone.png")])


def test_each_picture_is_described_once(pictures: list[ImageRef], tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(pictures[0].uri).read_bytes())
    colours = Colours()
    store = CaptionStore(colours, tmp_path / "kept" / "captions.sqlite", pictures_per_chunk=3)
    assert isinstance(store, Captioner)
    asked = [*pictures, ImageRef(str(copy)), pictures[3]]
    said = store.caption(asked)
    assert said == [f"({i}, 0, 0)" for i in (0, 1, 2, 3, 4, 5, 6, 0, 3)]
    assert colours.shown == [f"p{i}" for i in range(7)]
    assert (store.asked, store.remembered) == (7, 0)
    assert store.caption(asked) == said
    store.close()
    later = CaptionStore(Colours(), tmp_path / "kept" / "captions.sqlite")
    assert later.caption(asked[::-1]) == said[::-1]
    assert (later.asked, later.remembered, later.captioner.shown) == (0, 7, [])  # type: ignore[attr-defined]
    other = CaptionStore(Colours("other"), tmp_path / "kept" / "captions.sqlite")
    other.caption(asked)
    assert other.asked == 7  # another captioner, other captions


def test_a_killed_run_goes_on(pictures: list[ImageRef], tmp_path: Path) -> None:
    path, dying, heir = tmp_path / "captions.sqlite", Colours(dies_after=5), Colours()
    with pytest.raises(KeyboardInterrupt):
        CaptionStore(dying, path, pictures_per_chunk=2).caption(pictures)
    told: list[tuple[int, int]] = []
    store = CaptionStore(heir, path, pictures_per_chunk=2, progress=lambda done, total, _: told.append((done, total)))
    assert store.caption(pictures) == [f"({i}, 0, 0)" for i in range(7)]
    assert dying.shown + heir.shown == [f"p{i}" for i in range(7)]
    assert told == [(6, 7), (7, 7)]


def test_a_digest_is_believed_and_nothing_is_opened(tmp_path: Path) -> None:
    class Silent:
        name = "silent"

        def caption(self, images: Sequence[ImageRef]) -> list[str]:
            return ["" for _ in images]

    store = CaptionStore(Silent(), tmp_path / "captions.sqlite")
    assert store.caption([ImageRef("gone.png", sha256="AB" * 32), ImageRef("x.png", sha256="ab" * 32)]) == ["", ""]
    assert store.asked == 1
    assert store.caption([ImageRef("x.png", sha256="ab" * 32)]) == [""]  # nothing to say is an answer
    assert store.asked == 1


def test_a_captioner_that_breaks_the_rules_is_refused(pictures: list[ImageRef]) -> None:
    class Short:
        name = "short"

        def caption(self, images: Sequence[ImageRef]) -> list[str]:
            return ["one"]

    with pytest.raises(DecodingError, match="1 captions for 7 pictures"):
        CaptionStore(Short(), None).caption(pictures)
    with pytest.raises(InputError):
        CaptionStore(Short(), None, pictures_per_chunk=0)
    with pytest.raises(ImageError, match=r"images\[1\]"):
        CaptionStore(Short(), None).caption([pictures[0], ImageRef("gone.png")])
