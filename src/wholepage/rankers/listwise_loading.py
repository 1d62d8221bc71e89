"""Pretrained models as the listwise ranker takes them: vision-language models of the Qwen-VL family, and text-only.

Only safetensors are read, no code that comes with a model is run, the network is asked only on request, and torchvision
is not needed: prompts are assembled from the tokenizer, pictures prepared with PIL.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wholepage.pages.errors import InputError, WeightsError, require
from wholepage.rankers.listwise_attention import SpanModel
from wholepage.rankers.listwise_engine import Vocabulary
from wholepage.rankers.listwise_words import Words
from wholepage.rankers.vlm import FAMILY
from wholepage.rankers.weights import fingerprint, pretrained_source, unloadable

_DTYPES = (torch.float32, torch.bfloat16)
_CHANGED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")


@dataclass(frozen=True)
class Pretrained:
    """A model with everything that reads for it.

    Attributes:
        model: with its head, as transformers made it; frozen.  tokenizer, processor: its own; no processor = no eyes.
        spans: its language model, reading spans.  vocabulary: its head.  words: its tokenizer, for prompts.
        marks: ids of a visual token's place, and of what stands before and after a picture; None = no eyes.
        context: tokens it reads at most, None = not said.
        name, fingerprint: which weights.  sight: fingerprint of the vision tower, "" without one.
    """

    model: Any
    tokenizer: Any
    processor: Any | None
    spans: SpanModel
    vocabulary: Vocabulary
    words: Words
    marks: tuple[int, int, int] | None
    context: int | None
    name: str
    fingerprint: str
    sight: str

    @property
    def embed(self) -> torch.nn.Module:
        """The token embeddings."""
        found: torch.nn.Module = self.spans.language.embed_tokens
        return found

    def write(self, folder: Path) -> None:
        """Write model, tokenizer and image processor as transformers reads them."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)
        if self.processor is not None:
            self.processor.save_pretrained(folder)


def load_pretrained(
    model: str | Path,
    *,
    local_files_only: bool = True,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
) -> Pretrained:
    """Load a model for listwise ranking.

    Args:
        model: a folder or hub id: Qwen2-VL, Qwen2.5-VL, Qwen3-VL, or a text-only causal model with full attention.
        local_files_only: never ask the network, even for a hub id.
        dtype: float32 or bfloat16; identifiers are scored in float32 either way.
        device: None = a GPU where there is one.
    Raises:
        MissingExtra: transformers is not installed.
        WeightsError: the model cannot be found, reached or read, lacks weights, or is of a form that cannot be used.
        InputError: another dtype.
    """
    if dtype not in _DTYPES:
        raise InputError(
            f"listwise ranker: got dtype {dtype}; allowed: {', '.join(map(str, _DTYPES))}; use bfloat16 on a GPU"
        )
    where = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
    found, tokenizer, processor = read_pretrained(model, local_files_only, dtype)
    found = found.requires_grad_(False).eval().to(where)
    return assembled(found, tokenizer, processor, name=Path(model).name)


def assembled(model: Any, tokenizer: Any, processor: Any | None, *, name: str) -> Pretrained:
    """A model that is in memory already, such as one made from a config, for listwise ranking.

    Its language model reads nothing but spans from now on.

    Raises:
        WeightsError: a form that cannot be used.
    """
    config = model.config.get_text_config()
    odd = [key for key in _CHANGED_LOGITS if getattr(config, key, None) not in (None, 1, 1.0)]
    if odd or not hasattr(model, "model"):
        raise WeightsError(
            f"model {name!r}: got {type(model).__name__} with {odd or 'no decoder'}; allowed: a causal language model "
            "whose head is a plain matrix; use Qwen, Llama, or another model of that form"
        )
    eyes = processor is not None
    marks = picture_marks(name, model.config, tokenizer) if eyes else None
    head = model.get_output_embeddings()
    return Pretrained(
        model,
        tokenizer,
        processor,
        SpanModel(model.model.language_model if eyes else model.model),
        Vocabulary(head.weight, getattr(head, "bias", None)),
        Words(tokenizer, picture_tokens(model.config) if eyes else ()),
        marks,
        getattr(config, "max_position_embeddings", None),
        name,
        fingerprint(model.state_dict()),
        fingerprint(model.model.visual.state_dict()) if eyes else "",
    )


def read_pretrained(model: str | Path, local_files_only: bool, dtype: torch.dtype) -> tuple[Any, Any, Any | None]:
    """Model, tokenizer and image processor, as they are on the disk or the hub; no processor = no eyes.

    Raises:
        MissingExtra, WeightsError: as ``load_pretrained``.
    """
    transformers = require("transformers", "text")
    broken = require("safetensors", "train").SafetensorError
    source, only = pretrained_source(model), {"local_files_only": local_files_only, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(source, **only)
        eyes = config.model_type in FAMILY
        if not eyes and (hasattr(config, "vision_config") or config.is_encoder_decoder):
            raise WeightsError(
                f"model {str(model)!r}: got model type {config.model_type!r}; allowed: {', '.join(FAMILY)}, or a "
                "text-only causal model; use one of these"
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **only)
        processor = transformers.AutoImageProcessor.from_pretrained(source, backend="pil", **only) if eyes else None
        auto = transformers.AutoModelForImageTextToText if eyes else transformers.AutoModelForCausalLM
        loaded, info = auto.from_pretrained(
            source, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **only
        )
    except (OSError, ValueError, RuntimeError, broken) as error:
        raise unloadable(model, error) from error
    tied = bool(getattr(config, "tie_word_embeddings", False))
    lost = sorted(key for key in info["missing_keys"] if not (tied and key.startswith("lm_head.")))
    if lost:
        raise WeightsError(
            f"model {str(model)!r}: got no weights for {lost[:5]}; allowed: a checkpoint with all of them; "
            "download it again"
        )
    return loaded, tokenizer, processor


def picture_tokens(config: Any) -> list[int]:
    """Ids of a visual token's place, of the marks before and after a picture, and of a video's token."""
    return [int(getattr(config, f"{mark}_token_id")) for mark in ("image", "vision_start", "vision_end", "video")]


def picture_marks(name: str, config: Any, tokenizer: Any) -> tuple[int, int, int]:
    """Ids of a visual token's place and of the marks before and after a picture.

    Raises:
        WeightsError: the tokenizer does not know them.
    """
    marks = picture_tokens(config)
    if max(marks) >= min(len(tokenizer), int(config.get_text_config().vocab_size)):
        raise WeightsError(
            f"model {name!r}: got a tokenizer of {len(tokenizer)} tokens without the picture marks {marks}; "
            "allowed: the model's own tokenizer; put its files beside the weights"
        )
    return marks[0], marks[1], marks[2]
