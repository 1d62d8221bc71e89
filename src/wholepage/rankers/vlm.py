"""A vision-language model of the Qwen-VL family as a reader of results: loaded from a folder or the hub, and frozen.

``VlmEncoder`` holds the pretrained model. What is trained on it (``vlm_head``) borrows its weights and never changes
them. torchvision is not needed: prompts are assembled from the tokenizer, pictures prepared with PIL.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wholepage.pages.errors import InputError, WeightsError, require
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import ImageRef, Page
from wholepage.rankers.encoders import Progress, ReadBytes
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.vlm_pictures import PictureTower
from wholepage.rankers.vlm_prompt import ItemPrompt, Prompter, PromptReport
from wholepage.rankers.weights import fingerprint, pretrained_source, unloadable

FAMILY = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""The model types that can be read with; others lay out pictures and positions differently."""

_DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Reading:
    """What a language model made of prompts.

    Shapes:
        early: [n, dim] float32, hidden state of the last token, which has seen pictures, query and text
        late: [n, dim] float32, mean of the visual tokens of the result's own pictures as the tower gives them; 0 where
        there are none
        seen: [n] bool, True = the result has pictures
    """

    early: Tensor
    late: Tensor
    seen: Tensor


class VlmEncoder:
    """The frozen model: tower, tokenizer, language model.

    Made by ``load``. The tower runs once a picture (``tower`` counts), and no weight here ever changes.

    Attributes:
        name: the model and its fingerprint.  fingerprint: of its weights.  settings: of its prompts.
        dim: of a hidden state.  device: where it is.  tokens_per_pass: of the language model, padding included.
    """

    def __init__(
        self, model: Any, prompter: Prompter, tower: PictureTower, *, name: str, mark: str, tokens_per_pass: int
    ) -> None:
        self._language: Any = model.language_model
        self._prompter, self.tower = prompter, tower
        self.fingerprint, self.name = mark, f"{name}@{mark}"
        self.dim = tower.dim
        self.tokens_per_pass = tokens_per_pass
        self.settings = {
            "max_visual_tokens": prompter.max_visual_tokens,
            "max_tokens": prompter.max_tokens,
            "max_pictures": prompter.max_pictures,
        }

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        local_files_only: bool = True,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device | None = None,
        max_visual_tokens: int = 100,
        max_tokens: int = 512,
        max_pictures: int = 4,
        tokens_per_pass: int = 8192,
        store: Path | None = None,
        open_picture: OpenPicture = open_image,
        read: ReadBytes = read_image_bytes,
        progress: Progress | None = None,
    ) -> VlmEncoder:
        """Load a pretrained model; only safetensors are read, and no code that comes with a model is run.

        Args:
            model: a folder or hub id of Qwen2-VL, Qwen2.5-VL or Qwen3-VL.
            local_files_only: never ask the network, even for a hub id.
            dtype: of the frozen weights, float32 or bfloat16; what is trained on them stays float32.
            device: None = a GPU where there is one.
            max_visual_tokens: of one picture.  max_tokens: of one result, pictures and query included.
            max_pictures: of one result; a video's frames beyond them are left out evenly.
            store: a SQLite file for visual tokens, shared by runs; None = memory only.
        Raises:
            MissingExtra: transformers is not installed.
            WeightsError: the model cannot be found, reached or read, lacks weights, or is of another family.
            InputError: limits that leave no room for words, or another dtype.
        """
        if dtype not in _DTYPES or tokens_per_pass < 1:
            raise InputError(
                f"vision-language model: got dtype {dtype}, tokens_per_pass {tokens_per_pass}; allowed: "
                f"{', '.join(map(str, _DTYPES))}, and 1 token or more; use bfloat16 on a GPU"
            )
        where = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
        found, tokenizer, processor = _pretrained(model, local_files_only, dtype)
        base = found.model.requires_grad_(False).eval().to(where)
        mark = fingerprint(base.state_dict())
        prompter = _prompter(model, found.config, tokenizer, max_tokens, max_pictures, max_visual_tokens)
        kept: dict[str, Any] = {"mark": mark, "max_visual_tokens": max_visual_tokens, "store": store}
        tower = PictureTower(base, processor, **kept, open_picture=open_picture, read=read, progress=progress)
        return cls(base, prompter, tower, name=Path(model).name, mark=mark, tokens_per_pass=tokens_per_pass)

    @property
    def device(self) -> torch.device:
        """Where the frozen weights are."""
        return torch.device(self._language.embed_tokens.weight.device)

    @property
    def report(self) -> PromptReport:
        """What has been cut from prompts so far."""
        return self._prompter.report

    @property
    def identity(self) -> bytes:
        """32 bytes that differ for other weights, another precision, or other settings of prompts."""
        dtype = self._language.embed_tokens.weight.dtype
        return hashlib.sha256(f"{self.fingerprint} {dtype} {sorted(self.settings.items())}".encode()).digest()

    def prompts(self, pages: Sequence[Page]) -> list[list[ItemPrompt]]:
        """One prompt a result of every page; pictures not seen before go through the tower.

        Raises:
            ImageError: a picture cannot be read; names the query, and the result's index and id.
        """
        places: dict[ImageRef, str] = {}
        for page in pages:
            for i, result in enumerate(page.results):
                of_query, of_result = self._prompter.shown(page.query, result)
                for ref in of_query:
                    places.setdefault(ref, f"query {page.query_id!r}: its image")
                for ref in of_result:
                    places.setdefault(ref, f"query {page.query_id!r}: results[{i}] {result.result_id!r}")
        pictures = self.tower.look(places)
        return [self._prompter.assemble(page, pictures) for page in pages]

    def borrow(self) -> Any:
        """A language model of its own modules on these very weights: adapters put on it do not touch another's."""
        shared = [*self._language.parameters(), *self._language.buffers()]
        return copy.deepcopy(self._language, {id(tensor): tensor for tensor in shared})

    def read(self, language: nn.Module, prompts: Sequence[ItemPrompt]) -> Reading:
        """Read prompts with a borrowed language model; gradients flow to its adapters.

        Prompts of like length share a pass; a prompt's reading depends on its neighbours by no more than rounding.

        Raises:
            WeightsError: a prompt's picture is not in the store any more.
        """
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
        parts = [self._read(language, [prompts[i] for i in rows]) for rows in self._passes(prompts, order)]
        if not parts:
            nothing = torch.zeros(0, self.dim, device=self.device)
            return Reading(nothing, nothing, torch.zeros(0, dtype=torch.bool, device=self.device))
        back = torch.from_numpy(np.argsort(order)).to(self.device)
        joined = (torch.cat(column)[back] for column in zip(*parts, strict=True))
        return Reading(*joined)

    def _passes(self, prompts: Sequence[ItemPrompt], order: Sequence[int]) -> list[list[int]]:
        """Rows by ascending length, cut where a pass would hold too many tokens."""
        passes: list[list[int]] = []
        for i in order:
            if passes and (len(passes[-1]) + 1) * len(prompts[i]) <= self.tokens_per_pass:
                passes[-1].append(i)
            else:
                passes.append([i])
        return passes

    def _read(self, language: Any, prompts: Sequence[ItemPrompt]) -> tuple[Tensor, Tensor, Tensor]:
        lengths = [len(prompt) for prompt in prompts]
        shape = (len(prompts), max(lengths))
        tokens, places = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        positions = np.zeros((3, *shape), np.int64)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)], places[row, : len(prompt)] = prompt.tokens, prompt.places
            positions[:, row, : len(prompt)] = prompt.positions
        device = self.device
        seen = self.tower.features(picture for prompt in prompts for picture in prompt.pictures)
        inputs = language.embed_tokens(torch.from_numpy(tokens).to(device))
        visual: dict[str, Any] = {}
        if seen:
            mask = torch.from_numpy(places).to(device)
            shown = [seen[picture.key] for prompt in prompts for picture in prompt.pictures]
            layers = torch.cat(shown, dim=1).to(device)
            inputs = inputs.masked_scatter(mask.unsqueeze(-1), layers[0])
            if len(layers) > 1:
                visual = {"visual_pos_masks": mask, "deepstack_visual_embeds": list(layers[1:])}
        # Padding stands behind, where a causal model does not look: no mask is needed.
        states = language(
            inputs_embeds=inputs, position_ids=torch.from_numpy(positions).to(device), use_cache=False, **visual
        ).last_hidden_state
        last = torch.tensor([length - 1 for length in lengths], device=device)
        early = states[torch.arange(len(prompts), device=device), last].float()
        late = torch.zeros(len(prompts), self.dim)
        own = [prompt.pictures[prompt.asked :] for prompt in prompts]
        for row, pictures in enumerate(own):
            if pictures:
                late[row] = torch.stack([seen[picture.key][0].float().mean(0) for picture in pictures]).mean(0)
        return early, late.to(device), torch.tensor([bool(pictures) for pictures in own], device=device)


def _pretrained(model: str | Path, local_files_only: bool, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """Model, tokenizer and image processor."""
    transformers = require("transformers", "text")
    broken = require("safetensors", "train").SafetensorError
    source, only = pretrained_source(model), {"local_files_only": local_files_only, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(source, **only)
        if config.model_type not in FAMILY:
            raise WeightsError(
                f"model {str(model)!r}: got model type {config.model_type!r}; allowed: {', '.join(FAMILY)}; "
                "use a model of this family"
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **only)
        processor = transformers.AutoImageProcessor.from_pretrained(source, backend="pil", **only)
        loaded, info = transformers.AutoModelForImageTextToText.from_pretrained(
            source, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **only
        )
    except (OSError, ValueError, RuntimeError, broken) as error:
        raise unloadable(model, error) from error
    lost = sorted(key for key in info["missing_keys"] if not key.startswith("lm_head."))  # nothing here writes words
    if lost:
        raise WeightsError(
            f"model {str(model)!r}: got no weights for {lost[:5]}; allowed: a checkpoint with all of them; "
            "download it again"
        )
    return loaded, tokenizer, processor


def _prompter(
    model: str | Path, config: Any, tokenizer: Any, max_tokens: int, max_pictures: int, max_visual_tokens: int
) -> Prompter:
    marks = [int(getattr(config, f"{mark}_token_id")) for mark in ("image", "vision_start", "vision_end", "video")]
    if max(marks) >= min(len(tokenizer), int(config.text_config.vocab_size)):
        raise WeightsError(
            f"model {str(model)!r}: got a tokenizer of {len(tokenizer)} tokens without the picture marks {marks}; "
            "allowed: the model's own tokenizer; put its files beside the weights"
        )
    return Prompter(
        tokenizer,
        picture_token=marks[0],
        start_token=marks[1],
        end_token=marks[2],
        reserved=[*marks, *tokenizer.all_special_ids],
        max_tokens=max_tokens,
        max_pictures=max_pictures,
        max_visual_tokens=max_visual_tokens,
    )
