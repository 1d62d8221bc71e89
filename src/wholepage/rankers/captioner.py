"""Captions written by a vision-language model of the Qwen-VL family on this machine.

    captioner = LocalCaptioner("Qwen2-VL-2B-Instruct")
    captioner.caption([ImageRef("chart.png")])          # one text a picture, query-independent

Prompts are assembled from the tokenizer, pictures prepared with PIL; only safetensors are read, and no code that comes
with a model is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from wholepage.pages.errors import InputError, WeightsError
from wholepage.pages.images import open_image
from wholepage.pages.model import ImageRef
from wholepage.rankers.caption_words import CAPTION_SYSTEM, CaptionLength
from wholepage.rankers.encoders import Progress
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.listwise_loading import picture_marks, picture_tokens, read_pretrained
from wholepage.rankers.listwise_words import Words
from wholepage.rankers.vlm import FAMILY
from wholepage.rankers.vlm_pictures import grid_of
from wholepage.rankers.weights import fingerprint

_DTYPES = (torch.float32, torch.bfloat16)


class LocalCaptioner:
    """Describes pictures: always the model's likeliest words.

    Args:
        model: a folder or hub id of Qwen2-VL, Qwen2.5-VL or Qwen3-VL.
        length: of captions in words.
        visual_tokens: of one picture at most.
        pictures_per_pass: written about together. With more than one a caption may differ by rounding from what it
            would be alone, where two words are equally likely.
        dtype: float32 or bfloat16.  device: None = a GPU where there is one.
        local_files_only: never ask the network, even for a hub id.
        progress: told after every pass.
    Raises:
        MissingExtra: transformers is not installed.
        WeightsError: the model cannot be found, reached or read, lacks weights, or is of another family.
        InputError: a number below 1, or another dtype.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        length: CaptionLength | None = None,
        visual_tokens: int = 256,
        pictures_per_pass: int = 1,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device | None = None,
        local_files_only: bool = True,
        open_picture: OpenPicture = open_image,
        progress: Progress | None = None,
    ) -> None:
        if dtype not in _DTYPES or visual_tokens < 1 or pictures_per_pass < 1:
            raise InputError(
                f"captioner: got dtype {dtype}, {visual_tokens} visual tokens, {pictures_per_pass} pictures a pass; "
                f"allowed: {', '.join(map(str, _DTYPES))}; 1 or more of each; change it"
            )
        self._device = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
        found, tokenizer, processor = read_pretrained(model, local_files_only, dtype)
        if processor is None:
            raise WeightsError(
                f"captioner: got {str(model)!r}, a model without eyes; allowed: {', '.join(FAMILY)}; use one of these"
            )
        self._model: Any = found.requires_grad_(False).eval().to(self._device)
        self._processor, self._dtype = processor, dtype
        self.length, self.pictures_per_pass = length or CaptionLength(), pictures_per_pass
        self.progress, self._open = progress, open_picture
        vision = found.config.vision_config
        self._side = int(vision.patch_size) * int(vision.spatial_merge_size)
        self._least = min(visual_tokens, max(1, int(processor.size["shortest_edge"]) // self._side**2))
        self._most = visual_tokens
        self._words = Words(tokenizer, picture_tokens(found.config))
        self._marks = picture_marks(Path(model).name, found.config, tokenizer)
        self._before, self._after = self._words.frame(CAPTION_SYSTEM)
        self._ends = sorted(self._words.ends)
        precision = str(dtype).removeprefix("torch.")
        self.name = (
            f"caption({Path(model).name}@{fingerprint(found.state_dict())}, {precision}, {self.length.least} to "
            f"{self.length.most} words, {visual_tokens} tokens)"
        )

    def caption(self, images: Sequence[ImageRef]) -> list[str]:
        """One caption a picture, in their order; empty where the model says nothing.

        Raises:
            ImageError: a picture cannot be read.
        """
        captions: list[str] = []
        for start in range(0, len(images), self.pictures_per_pass):
            part = images[start : start + self.pictures_per_pass]
            captions += self._pass([self._open(ref, at=f"images[{start + i}]") for i, ref in enumerate(part)])
            if self.progress:
                self.progress(len(captions), len(images), "pictures described")
        return captions

    def prompt(self, visual_tokens: int) -> list[int]:
        """The tokens that a caption follows, for a picture of so many visual tokens."""
        place, start, end = self._marks
        task = self._words.encode(self.length.task)
        return [*self._before, start, *[place] * visual_tokens, end, *task, *self._after]

    def _pass(self, pictures: Sequence[Image.Image]) -> list[str]:
        inputs = self._processor(images=[self._sized(one) for one in pictures], do_resize=False, return_tensors="pt")
        merged = (self._side // int(self._model.config.vision_config.patch_size)) ** 2
        rows = [self.prompt(int(grid.prod()) // merged) for grid in inputs["image_grid_thw"]]
        tokens, mask = _padded_in_front(rows, self._ends[0])
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=tokens.to(self._device),
                attention_mask=mask.to(self._device),
                mm_token_type_ids=(tokens == self._marks[0]).long().to(self._device),
                pixel_values=inputs["pixel_values"].to(self._device, self._dtype),
                image_grid_thw=inputs["image_grid_thw"].to(self._device),
                max_new_tokens=self.length.tokens,
                eos_token_id=self._ends,
                pad_token_id=self._ends[0],
                # Checkpoints bring settings for sampling, which would only be complained about.
                do_sample=False, temperature=None, top_p=None, top_k=None,
            )  # fmt: skip
        said = written[:, tokens.shape[1] :].tolist()
        return [self.length.cut(self._words.decode(row)) for row in said]

    def _sized(self, picture: Image.Image) -> Image.Image:
        rows, columns = grid_of(picture.height, picture.width, side=self._side, least=self._least, most=self._most)
        return picture.resize((columns * self._side, rows * self._side), Image.Resampling(self._processor.resample))


def _padded_in_front(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Tokens and which of them are there, ``[n, T]`` both: what is written next stands behind all of them."""
    width = max(map(len, rows))
    tokens = torch.tensor([[padding] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return tokens, mask
