"""The frozen vision tower of a vision-language model, run once a picture, ever.

What it sees is kept by content hash: the visual tokens as the language model takes them in, and what some models add
to its first layers (deepstack). Nothing in it is trained, so epochs, queries and members share what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wholepage.pages.errors import WeightsError
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import ImageRef
from wholepage.rankers.encoders import ContentStore, Progress, ReadBytes, image_key
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.vlm_prompt import Picture

_PICTURES_PER_LOOK = 64  # between two reports of progress


class PictureTower:
    """Turns pictures into visual tokens, and keeps them.

    Args:
        model: the frozen model; its ``get_image_features`` sees.
        processor: the model's image processor; it resizes nothing here.
        mark: says which weights; what was seen is found again by it, the number of tokens and the precision.
        max_visual_tokens: of one picture.
        store: a SQLite file for what was seen, shared by processes; None = memory only.
        progress: told while pictures are seen.
    Attributes:
        name: under which it is kept.  layers: 1 + how many the deepstack adds.  dim: of a visual token.
        tower_runs: pictures that went through the tower.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        mark: str,
        max_visual_tokens: int = 100,
        store: Path | None = None,
        open_picture: OpenPicture = open_image,
        read: ReadBytes = read_image_bytes,
        progress: Progress | None = None,
    ) -> None:
        vision, weight = model.config.vision_config, model.language_model.embed_tokens.weight
        self._device, self._dtype = weight.device, weight.dtype
        self.name, self.tower_runs = f"{mark}/{max_visual_tokens}/{weight.dtype}", 0
        self.layers, self.dim = 1 + len(getattr(vision, "deepstack_visual_indexes", ())), int(weight.shape[1])
        self._see, self._processor = model.get_image_features, processor
        self._side, self._most = int(vision.patch_size) * int(vision.spatial_merge_size), max_visual_tokens
        self._least = min(max_visual_tokens, max(1, int(processor.size["shortest_edge"]) // self._side**2))
        self._features, self._grids = ContentStore(store, "visual_tokens"), ContentStore(store, "visual_grids")
        self._open, self._read, self.progress = open_picture, read, progress

    def look(self, places: Mapping[ImageRef, str]) -> dict[ImageRef, Picture]:
        """See what was not seen before.

        One picture goes through the tower at a time, so that what it sees has the same bits whatever came with it.

        Args:
            places: the pictures, each with whose it is, for messages.
        Raises:
            ImageError: a picture cannot be read; names its place.
        """
        keys = {ref: image_key(ref, self._read, at=at) for ref, at in places.items()}
        grids = self._grids.get(self.name, keys.values())
        unseen = {key: ref for ref, key in reversed(keys.items()) if key not in grids}
        for done, (key, ref) in enumerate(reversed(unseen.items())):
            if self.progress and done % _PICTURES_PER_LOOK == 0:
                self.progress(done, len(unseen), "pictures seen")
            grid, features = self._run(self._open(ref, at=places[ref]))
            # The grid is written last: where there is one, the tokens are whole.
            self._features.put(self.name, {key: _to_bytes(features)})
            grids[key] = f"{grid[0]} {grid[1]}".encode()
            self._grids.put(self.name, {key: grids[key]})
        if self.progress and unseen:
            self.progress(len(unseen), len(unseen), "pictures seen")
        return {ref: Picture(key, *(int(part) for part in grids[key].split())) for ref, key in keys.items()}

    def features(self, pictures: Iterable[Picture]) -> dict[str, Tensor]:
        """What was seen, by key, on the CPU; shape ``[layers, tokens, dim]`` each.

        Raises:
            WeightsError: a picture was never seen, or the store holds something else under its key.
        """
        wanted = {picture.key: picture for picture in pictures}
        found = self._features.get(self.name, wanted)
        seen = {}
        for key, picture in wanted.items():
            blob, shape = found.get(key, b""), (self.layers, picture.tokens, self.dim)
            if len(blob) != math.prod(shape) * self._dtype.itemsize:
                raise WeightsError(
                    f"visual tokens of picture {key[:12]}: got {len(blob)} bytes; allowed: {shape} of {self._dtype}; "
                    "let the tower look at the picture first, or use another store"
                )
            seen[key] = torch.frombuffer(bytearray(blob), dtype=self._dtype).view(shape)
        return seen

    def close(self) -> None:
        """Close the store; the tower cannot be used afterwards."""
        self._features.close()
        self._grids.close()

    def _run(self, picture: Image.Image) -> tuple[tuple[int, int], Tensor]:
        rows, columns = grid_of(picture.height, picture.width, side=self._side, least=self._least, most=self._most)
        sized = picture.resize((columns * self._side, rows * self._side), Image.Resampling(self._processor.resample))
        inputs = self._processor(images=[sized], do_resize=False, return_tensors="pt")
        with torch.inference_mode():
            patches = inputs["pixel_values"].to(self._device, self._dtype)
            seen = self._see(patches, inputs["image_grid_thw"].to(self._device), return_dict=True)
        self.tower_runs += 1
        stacked: Sequence[Any] = getattr(seen, "deepstack_features", None) or ()
        layers = [seen.pooler_output, *stacked]
        return (rows, columns), torch.stack([layer[0] for layer in layers]).to(self._dtype).cpu()


def grid_of(height: int, width: int, *, side: int, least: int, most: int) -> tuple[int, int]:
    """Rows and columns of the squares that a picture is resized to: its own size where the limits allow.

    As Qwen2-VL sizes pictures, but never more than ``most`` squares, however long and thin the picture is.
    """
    rows, columns = round(height / side), round(width / side)
    if rows * columns > most:
        shrink = math.sqrt(height * width / (most * side**2))
        rows, columns = max(1, int(height / shrink / side)), max(1, int(width / shrink / side))
    elif rows * columns < least:
        grow = math.sqrt(least * side**2 / (height * width))
        rows, columns = math.ceil(height * grow / side), math.ceil(width * grow / side)
    if rows <= columns:
        rows = min(rows, math.isqrt(most))
        return rows, min(columns, most // rows)
    columns = min(columns, math.isqrt(most))
    return min(rows, most // columns), columns


def _to_bytes(features: Tensor) -> bytes:
    return np.asarray(features.contiguous().view(torch.uint8).numpy()).tobytes()
