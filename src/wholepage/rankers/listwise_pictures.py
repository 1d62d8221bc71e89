"""What the vision tower of a listwise ranker has seen, kept: a picture is encoded once, whoever asks for it again.

Found again by the sha256 of its bytes and the number of visual tokens it may take; in memory up to so many bytes, the
least recently used dropped first, and on disk where a folder is named (safetensors, written whole or not at all).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from wholepage.pages.errors import require
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import ImageRef
from wholepage.rankers.encoders import Progress, ReadBytes, image_key
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.listwise_diagnostics import SightCounts
from wholepage.rankers.vlm_pictures import grid_of
from wholepage.rankers.vlm_prompt import Picture

PATCHES_PER_LOOK = 4096
"""Patches that go through the tower together; a picture larger than that goes alone."""

_PICTURES_PER_STEP = 64  # opened ahead of the tower, and between two reports of progress
_WORKERS = 4


@dataclass(frozen=True)
class Seen:
    """A picture as the language model takes it in.

    Shapes:
        layers: [1 + deepstack, tokens, dim], on the tower's device
    """

    picture: Picture
    layers: Tensor


@dataclass(frozen=True)
class Cut:
    """A picture as the tower takes it in: rows and columns of visual tokens, and its patches.

    Shapes:
        patches: [patches, 3 * side * side] uint8
    """

    rows: int
    columns: int
    patches: NDArray[np.uint8]


@dataclass
class Sights:
    """What came of looking: pictures by reference and size, what the tower made of each by key.

    Holds what it names, whatever the memory drops meanwhile.
    """

    pictures: dict[tuple[ImageRef, int], Picture]
    seen: dict[str, Seen]


class PictureMemory:
    """Looks at pictures, and remembers.

    Args:
        model: a frozen vision-language model; its ``get_image_features`` sees.
        processor: its image processor; only its numbers are used.
        mark: says which weights.
        cache_bytes: of what is seen, kept in memory; 0 = nothing beyond a request.
        folder: where what is seen is kept for other runs; None = nowhere.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        mark: str,
        cache_bytes: int = 1 << 30,
        folder: Path | None = None,
        open_picture: OpenPicture = open_image,
        read: ReadBytes = read_image_bytes,
        progress: Progress | None = None,
    ) -> None:
        vision, weight = model.config.vision_config, model.language_model.embed_tokens.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._see, self._patches = model.get_image_features, Patches(processor)
        model.visual.patch_embed = FirstLayer(model.visual.patch_embed, self._patches)
        self._side = int(vision.patch_size) * int(vision.spatial_merge_size)
        self._per_token = int(vision.spatial_merge_size) ** 2
        self._least = max(1, int(processor.size["shortest_edge"]) // self._side**2)
        self._kept: OrderedDict[str, Seen] = OrderedDict()
        self._bytes, self._most_bytes = 0, cache_bytes
        precision = str(weight.dtype).removeprefix("torch.")
        self._folder = None if folder is None else Path(folder) / f"{mark}-{precision}"
        self._open, self._read, self.progress = open_picture, read, progress
        self.counts = SightCounts()

    @property
    def bytes(self) -> int:
        """What is kept in memory now."""
        return self._bytes

    def look(self, wanted: Mapping[tuple[ImageRef, int], str]) -> Sights:
        """See what was not seen before.

        Args:
            wanted: pictures with the visual tokens each may take, and whose they are, for messages.
        Raises:
            ImageError: a picture cannot be read; names its place.
        """
        keys = {pair: self.key(*pair, at=at) for pair, at in wanted.items()}
        first = {key: pair for pair, key in reversed(keys.items())}
        seen = {key: known for key in first if (known := self._find(key)) is not None}
        self.counts.in_memory += len(keys) - len(first)  # the same picture under another name
        missing = [key for key in reversed(first) if key not in seen]
        for step in range(0, len(missing), _PICTURES_PER_STEP):
            part = missing[step : step + _PICTURES_PER_STEP]
            if self.progress:
                self.progress(step, len(missing), "pictures seen")
            for key, found in self._encode(part, [first[key] for key in part], wanted):
                seen[key] = found
                self._keep(key, found)
        if self.progress and missing:
            self.progress(len(missing), len(missing), "pictures seen")
        return Sights({pair: seen[key].picture for pair, key in keys.items()}, seen)

    def _encode(
        self, keys: Sequence[str], pairs: Sequence[tuple[ImageRef, int]], places: Mapping[tuple[ImageRef, int], str]
    ) -> Iterator[tuple[str, Seen]]:
        def prepare(pair: tuple[ImageRef, int]) -> Cut:
            return self.cut(pair[0], pair[1], at=places[pair])

        waiting: list[tuple[str, Cut]] = []
        with ThreadPoolExecutor(min(_WORKERS, len(keys))) as workers:
            for key, cut in zip(keys, workers.map(prepare, pairs), strict=True):
                if waiting and sum(len(one.patches) for _, one in waiting) + len(cut.patches) > PATCHES_PER_LOOK:
                    yield from self._run(waiting)
                    waiting = []
                waiting.append((key, cut))
            yield from self._run(waiting)

    def _run(self, batch: Sequence[tuple[str, Cut]]) -> Iterator[tuple[str, Seen]]:
        with torch.inference_mode():
            layers = self.see([cut for _, cut in batch])
        self.counts.calls += 1
        self.counts.encoded += len(batch)
        for (key, cut), one in zip(batch, layers, strict=True):
            yield key, Seen(Picture(key, cut.rows, cut.columns), one)

    def key(self, ref: ImageRef, size: int, *, at: str) -> str:
        """Names a picture at a size by its content.

        Raises:
            ImageError: it cannot be read; names the place.
        """
        return f"{image_key(ref, self._read, at=at)}-{size}"

    def cut(self, ref: ImageRef, size: int, *, at: str) -> Cut:
        """A picture in patches, scaled to so many visual tokens at most.

        Raises:
            ImageError: it cannot be read; names the place.
        """
        picture = self._open(ref, at=at)
        rows, columns = grid_of(picture.height, picture.width, side=self._side, least=min(self._least, size), most=size)
        scaled = picture.resize((columns * self._side, rows * self._side), self._patches.resample)
        return Cut(rows, columns, self._patches.of(scaled))

    def see(self, cuts: Sequence[Cut]) -> list[Tensor]:
        """What the tower makes of pictures; gradients flow unless they are switched off.

        Shapes:
            return: one [1 + deepstack, tokens, dim] a picture
        """
        merge = self._side // self._patches.side
        grids = torch.tensor([[1, cut.rows * merge, cut.columns * merge] for cut in cuts])
        values = torch.from_numpy(np.concatenate([cut.patches for cut in cuts]))
        out = self._see(values.to(self._device), grids.to(self._device), return_dict=True)
        deep = getattr(out, "deepstack_features", None) or ()
        return [torch.stack(one).to(self._dtype) for one in zip(out.pooler_output, *deep, strict=True)]

    def _find(self, key: str) -> Seen | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            self.counts.in_memory += 1
            return found
        found = self._from_disk(key)
        if found is not None:
            self.counts.on_disk += 1
            self._remember(key, found)
        return found

    def _keep(self, key: str, seen: Seen) -> None:
        self._remember(key, seen)
        if self._folder is not None:
            self._to_disk(self._folder / f"{key}.safetensors", seen)

    def _remember(self, key: str, seen: Seen) -> None:
        self._kept[key] = seen
        self._bytes += seen.layers.nbytes
        while self._bytes > self._most_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.layers.nbytes

    def _to_disk(self, path: Path, seen: Seen) -> None:
        save = require("safetensors.torch", "train").save
        layers = seen.layers.cpu().contiguous()
        # One entry: several would be written in an order that changes from run to run.
        told = f"{seen.picture.rows} {seen.picture.columns} {_digest(layers)}"
        data = save({"layers": layers}, metadata={"seen": told})
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)

    def _from_disk(self, key: str) -> Seen | None:
        """What another run saw; None where there is nothing, or a file that is damaged (counted, and made anew)."""
        path = None if self._folder is None else self._folder / f"{key}.safetensors"
        if path is None or not path.is_file():
            return None
        safetensors = require("safetensors", "train")
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                rows, columns, digest = (file.metadata() or {}).get("seen", "").split()
                layers = file.get_tensor("layers")
            picture = Picture(key, int(rows), int(columns))
        except (safetensors.SafetensorError, OSError, ValueError):
            self.counts.damaged += 1
            return None
        if layers.shape[1] != picture.tokens or layers.dtype != self._dtype or _digest(layers) != digest:
            self.counts.damaged += 1
            return None
        return Seen(picture, layers.to(self._device))


class Patches:
    """Cuts a picture into the rows that the tower reads, in the order of the model's own image processor.

    Attributes:
        side: of a patch in pixels.  resample: how pictures are resized before.
        mean, std: per colour, of pixels from 0 to 255.
    """

    def __init__(self, processor: Any) -> None:
        self.side, self._merge = int(processor.patch_size), int(processor.merge_size)
        self.resample = Image.Resampling(processor.resample)
        one = 1.0 / float(processor.rescale_factor) if processor.do_rescale else 1.0
        given = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
        self.mean, self.std = (one * np.array(numbers, np.float64) for numbers in given)

    def of(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Rows of patches as they are, those that are merged into one visual token together.

        Shapes:
            return: [patches, 3 * side * side] uint8
        """
        pixels = np.asarray(picture.convert("RGB"))
        side, merge = self.side, self._merge
        rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
        cut = pixels.reshape(rows // merge, merge, side, columns // merge, merge, side, 3)
        return cut.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, -1)


class FirstLayer(nn.Module):
    """The first layer of a vision tower, for pictures as they are: pixels from 0 to 255 that stand still.

    The tower's own layer is a convolution over two frames of scaled pixels. A picture is one frame shown twice, and
    scaling is linear: both are taken into the weights, in float32, and what is left is one small matrix product.

    Args:
        own: the tower's layer; its weights stay where they are, under their names.
    """

    def __init__(self, own: nn.Module, patches: Patches) -> None:
        super().__init__()
        self.proj: Any = own.proj
        self._mean, self._std = (torch.from_numpy(numbers) for numbers in (patches.mean, patches.std))

    def forward(self, pixels: Tensor) -> Tensor:
        """First states of patches.

        Shapes:
            pixels: [patches, 3 * side * side], 0 to 255; return: [patches, dim]
        """
        weight, bias = self.proj.weight, self.proj.bias
        folded = weight.double().sum(dim=2) / self._std.to(weight.device).view(3, 1, 1)
        shift = -(folded * self._mean.to(weight.device).view(3, 1, 1)).sum(dim=(1, 2, 3))
        if bias is not None:
            shift = shift + bias.double()
        states = torch.nn.functional.linear(pixels.float(), folded.flatten(1).float(), shift.float())
        return states.to(weight.dtype)


def _digest(layers: Tensor) -> str:
    return hashlib.sha256(layers.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
