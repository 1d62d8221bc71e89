"""Captions: who describes pictures, and what was described is kept.

A captioner knows no query, so that a picture is described once, ever, whoever asks for it. ``caption_lists`` makes
lists to learn from out of captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from wholepage.pages.errors import DecodingError, InputError, shorten
from wholepage.pages.images import read_image_bytes
from wholepage.pages.model import ImageRef
from wholepage.rankers.encoders import ContentStore, Progress, ReadBytes, image_key


@runtime_checkable
class Captioner(Protocol):
    """Says in words what pictures show; ``name`` stands for all it is."""

    @property
    def name(self) -> str: ...

    def caption(self, images: Sequence[ImageRef]) -> list[str]:
        """One caption a picture, in their order; empty = there is nothing to say of it."""
        ...


class GivenCaptions:
    """Captions that are at hand already: written by people, or read by OCR.

    Args:
        captions: by the picture's address or by the sha256 of its bytes.
        name: where they are from.
        read: how bytes are read, where only their sha256 can tell which picture it is.
    """

    def __init__(self, captions: Mapping[str, str], name: str, *, read: ReadBytes = read_image_bytes) -> None:
        self._captions, self._name, self._read = captions, name, read

    @property
    def name(self) -> str:
        return self._name

    def caption(self, images: Sequence[ImageRef]) -> list[str]:
        """The captions.

        Raises:
            InputError: there is none for a picture.
            ImageError: a picture of unknown address and digest cannot be read.
        """
        return [self._of(ref, i) for i, ref in enumerate(images)]

    def _of(self, ref: ImageRef, index: int) -> str:
        for key in (ref.uri, ref.sha256 or ""):
            if key in self._captions:
                return self._captions[key]
        key = image_key(ref, self._read, at=f"images[{index}]")
        if key not in self._captions:
            raise InputError(
                f"captions {self.name!r}: got none for images[{index}] {shorten(ref.uri)!r}, sha256 {key}; allowed: "
                "one for every picture, by address or sha256, empty where there is nothing to say; add it, or leave "
                "the picture out"
            )
        return self._captions[key]


class CaptionStore:
    """A Captioner that asks another one about each picture once, ever.

    Pictures are known by their bytes; a reference that carries its sha256 is looked up without being opened. A killed
    run loses no more than the pictures that were asked about at once.

    Args:
        captioner: asked about what is not known.
        path: a SQLite file, shared by captioners; None = memory only.
        pictures_per_chunk: asked about at once, and kept together.
        progress: told after every chunk.
    Attributes:
        asked: pictures that the captioner was asked about.  remembered: different ones that were known.
    Raises:
        InputError: the file is no such store, or the chunk is below 1.
    """

    def __init__(
        self,
        captioner: Captioner,
        path: Path | None,
        *,
        pictures_per_chunk: int = 16,
        read: ReadBytes = read_image_bytes,
        progress: Progress | None = None,
    ) -> None:
        if pictures_per_chunk < 1:
            raise InputError(f"pictures_per_chunk: got {pictures_per_chunk}; allowed: 1 or more; 16 is usual")
        self.captioner, self._read, self.progress = captioner, read, progress
        self._store, self._chunk = ContentStore(path, "captions"), pictures_per_chunk
        self.asked = self.remembered = 0

    @property
    def name(self) -> str:
        return self.captioner.name

    def caption(self, images: Sequence[ImageRef]) -> list[str]:
        """One caption a picture, in their order.

        Raises:
            ImageError: a picture cannot be read.
            DecodingError: the captioner did not give one caption a picture.
        """
        keys: dict[ImageRef, str] = {}
        refs: dict[str, ImageRef] = {}
        for i, ref in enumerate(images):
            if ref not in keys:
                keys[ref] = image_key(ref, self._read, at=f"images[{i}]")
                refs.setdefault(keys[ref], ref)
        known = {key: raw.decode("utf-8") for key, raw in self._store.get(self.name, refs).items()}
        self.remembered += len(known)
        new = [key for key in refs if key not in known]
        for start in range(0, len(new), self._chunk):
            chunk = new[start : start + self._chunk]
            said = self.captioner.caption([refs[key] for key in chunk])
            if len(said) != len(chunk):
                raise DecodingError(
                    f"captioner {self.name!r}: got {len(said)} captions for {len(chunk)} pictures; allowed: one each, "
                    "in their order; mend the captioner"
                )
            self._store.put(self.name, {key: one.encode("utf-8") for key, one in zip(chunk, said, strict=True)})
            self.asked += len(chunk)
            known |= zip(chunk, said, strict=True)
            if self.progress:
                self.progress(len(known), len(refs), "pictures described")
        return [known[keys[ref]] for ref in images]

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        self._store.close()
