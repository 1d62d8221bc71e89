"""What is trained on a frozen vision-language model: adapters, a gate between two fusions, and the page head.

The frozen model stands outside of this module: it is neither among its parameters nor in what is kept of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from wholepage.pages.errors import InputError, ShapeError, require
from wholepage.rankers.page_head import ItemBatch, PageHead
from wholepage.rankers.vlm import VlmEncoder
from wholepage.rankers.vlm_prompt import ItemPrompt

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The projections of a language model's layers that get adapters."""


@dataclass(frozen=True)
class Adapters:
    """How the language model is adapted.

    Attributes:
        rank, alpha: of the low-rank adapters.  fused_dim: numbers the page head reads of what both fusions found.
        checkpointing: layers are run again on the way back instead of being remembered; slower, in far less memory.
    Raises:
        InputError: a size is not positive.
    """

    rank: int = 16
    alpha: int = 32
    fused_dim: int = 64
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if min(self.rank, self.alpha, self.fused_dim) < 1:
            raise InputError(
                f"Adapters: got rank {self.rank}, alpha {self.alpha}, fused_dim {self.fused_dim}; allowed: 1 or more; "
                "16, 32 and 64 are usual"
            )

    @property
    def sizes(self) -> dict[str, int]:
        """What sets the shapes and the output; checkpointing sets neither."""
        return {key: value for key, value in asdict(self).items() if key != "checkpointing"}


class GatedFusion(nn.Module):
    """Mixes what the language model says of the whole prompt with what the tower saw of the pictures.

    ``gate = sigmoid(W [late; early])``, one a dimension, and ``gate * late + (1 - gate) * early``, both normalised
    before, as tower and language model have scales of their own. Without pictures it is the early part alone.

    Args:
        dim: of both parts.
    Source: hybrid fusion of arXiv 2510.16803; normalisation and a gate a dimension are ours.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.early_norm, self.late_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.gate = nn.Linear(2 * dim, dim)

    def forward(self, early: Tensor, late: Tensor, seen: Tensor) -> Tensor:
        """The mixture.

        Shapes:
            early, late: [n, dim]; seen: [n] bool, False = there is no late part; return: [n, dim]
        Raises:
            ShapeError: the shapes differ.
        """
        if early.shape != late.shape or seen.shape != early.shape[:1]:
            raise ShapeError(
                f"GatedFusion: got early {tuple(early.shape)}, late {tuple(late.shape)}, seen {tuple(seen.shape)}; "
                "allowed: [n, dim], [n, dim] and [n]; give one of each a result"
            )
        early, late = self.early_norm(early), self.late_norm(late)
        gate = torch.sigmoid(self.gate(torch.cat([late, early], dim=-1))) * seen.unsqueeze(-1)
        return torch.as_tensor(gate * late + (1 - gate) * early)


class VlmPageHead(nn.Module):
    """Scores the results of a page from what a vision-language model reads of each, beside the page head's own inputs.

    Each result is read in front of its query; what both fusions find stands beside the featurizer's numbers, because
    like them it is about query and result together. Then the results look at each other in a ``PageHead``.

    All its parameters are trained, and are float32: low-rank adapters (peft), the fusion, the page head. The frozen
    model is borrowed from the encoder, and named by a buffer, so that weights trained on another one are refused.

    Args:
        encoder: the frozen model.
        query_dim, item_dim, number_dim, user_dim, width, layers, heads, dropout: as of ``PageHead``; the numbers are
            those of the featurizer.
    Raises:
        MissingExtra: peft is not installed.
    """

    frozen_model: Tensor

    def __init__(
        self,
        encoder: VlmEncoder,
        query_dim: int,
        item_dim: int,
        number_dim: int,
        *,
        adapters: Adapters = Adapters(),
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        user_dim: int = 0,
    ) -> None:
        super().__init__()
        language = _adapted(encoder.borrow(), adapters)
        # In a tuple it is not a submodule: the frozen weights are no business of optimizers and checkpoints.
        self._outside = (encoder, language)
        trained = {name: value for name, value in language.named_parameters() if value.requires_grad}
        self.adapters = nn.ParameterDict({name.replace(".", "/"): value for name, value in trained.items()})
        self.fusion = GatedFusion(encoder.dim)
        self.project = nn.Linear(encoder.dim, adapters.fused_dim)
        shape: dict[str, Any] = {"width": width, "layers": layers, "heads": heads, "user_dim": user_dim}
        self.page = PageHead(query_dim, item_dim, number_dim + adapters.fused_dim, **shape, dropout=dropout)
        self.sizes = {"query_dim": query_dim, "item_dim": item_dim, "number_dim": number_dim, **shape}
        self.adapted = adapters
        self.register_buffer("frozen_model", torch.frombuffer(bytearray(encoder.identity), dtype=torch.uint8))

    @property
    def encoder(self) -> VlmEncoder:
        """The frozen model that it reads with."""
        return self._outside[0]

    def train(self, mode: bool = True) -> VlmPageHead:
        """Training or evaluation mode, of the borrowed language model too."""
        super().train(mode)
        self._outside[1].train(mode)
        return self

    def fused(self, prompts: Sequence[ItemPrompt]) -> Tensor:
        """What both fusions find in each prompt; shape ``[len(prompts), fused_dim]``.

        Raises:
            InputError: this module and the frozen model are on different devices.
        """
        encoder, language = self._outside
        here = self.project.weight.device
        if here != encoder.device:
            raise InputError(
                f"vision-language model: got the frozen weights on {encoder.device}, the trained ones on {here}; "
                f"allowed: one device; load the encoder with device={str(here)!r}"
            )
        reading = encoder.read(language, prompts)
        return torch.as_tensor(self.project(self.fusion(reading.early, reading.late, reading.seen)))

    def forward(self, items: ItemBatch, prompts: Sequence[Sequence[ItemPrompt]]) -> Tensor:
        """Scores of padded pages, in float32.

        Shapes:
            prompts: one a result of every page; return: [B, L], 0 on padding
        Raises:
            ShapeError: prompts that are not one a result.
        """
        counts = items.mask.sum(1).tolist()
        if [len(page) for page in prompts] != counts:
            raise ShapeError(
                f"VlmPageHead: got {[len(page) for page in prompts][:5]} prompts for pages of {counts[:5]} results; "
                "allowed: one a result; pass the prompts of these very pages"
            )
        found = self.fused(list(chain.from_iterable(prompts)))
        beside = found.new_zeros(*items.mask.shape, found.shape[1]).masked_scatter(items.mask.unsqueeze(-1), found)
        numbers = torch.cat([items.numbers, beside], dim=-1)
        return torch.as_tensor(self.page(items.query, items.item, numbers, items.mask, items.user))


def _adapted(language: Any, adapters: Adapters) -> Any:
    """A language model with new adapters, which alone are trained, in float32 whatever the frozen weights are."""
    peft = require("peft", "train")
    config = peft.LoraConfig(
        r=adapters.rank, lora_alpha=adapters.alpha, target_modules=list(TARGETS), lora_dropout=0.0, bias="none"
    )
    adapted = peft.inject_adapter_in_model(config, language)
    for value in adapted.parameters():
        if value.requires_grad:
            value.data = value.data.float()
    if adapters.checkpointing:
        # transformers 5 renamed it on the way; the reentrant form would need inputs that are trained.
        if hasattr(adapted, "activation_checkpointing_enable"):
            adapted.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        else:
            adapted.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return adapted
