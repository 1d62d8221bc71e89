"""SMAR with a vision-language model: what ``fit_smar(backbone=...)`` needs to train one in place of the page head.

encoder = VlmEncoder.load("Qwen/Qwen2-VL-2B-Instruct", dtype=torch.bfloat16, store=Path("visual.sqlite"))
config = SmarConfig(members=1, loop=VLM_LOOP)
ranker = fit_smar(pages, judgments, fit, vectors, config, backbone=VlmBackbone(encoder))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from wholepage.pages.errors import InputError
from wholepage.pages.model import Page
from wholepage.rankers.features import Featurizer
from wholepage.rankers.vlm import VlmEncoder
from wholepage.rankers.vlm_head import Adapters, VlmPageHead
from wholepage.rankers.vlm_prompt import ItemPrompt
from wholepage.rankers.vlm_ranker import VlmPageRanker
from wholepage.training.batches import Lesson, PageBatch
from wholepage.training.loop import LoopConfig
from wholepage.training.smar import SmarConfig

VLM_LOOP = LoopConfig(epochs=3, batch_size=1, accumulate=16, learning_rate=1e-5, weight_decay=0.01, max_norm=1.0)
"""The loop's settings for a pretrained model: a page a batch, because each result is a prompt."""


class VlmBackbone:
    """Trains adapters, fusion and page head on a frozen vision-language model.

    The members of an ensemble share the frozen weights, and so are trained one after another in this process.

    Args:
        encoder: the frozen model.
        adapters: how it is adapted.
    """

    def __init__(self, encoder: VlmEncoder, adapters: Adapters = Adapters()) -> None:  # noqa: B008 - frozen
        self.encoder, self.adapters = encoder, adapters
        self._prompts: list[list[ItemPrompt]] = []
        self._cut: dict[str, int] = {}

    def prepare(self, pages: Sequence[Page]) -> None:
        """Assemble the prompts of the pages that teach; the tower sees each of their pictures once.

        Raises:
            ImageError: a picture cannot be read; names the query, and the result's index and id.
        """
        before = asdict(self.encoder.report)
        self._prompts = self.encoder.prompts(pages)
        self._cut = {what: count - before[what] for what, count in asdict(self.encoder.report).items()}

    def make(self, example: Lesson, config: SmarConfig) -> VlmPageHead:
        """An untrained module, whose adapters change nothing yet."""
        items = example.items
        return VlmPageHead(
            self.encoder,
            len(items.query),
            items.item.shape[1],
            items.numbers.shape[1],
            adapters=self.adapters,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            dropout=config.dropout,
            user_dim=len(items.user),
        )

    def score(self, module: nn.Module, rows: list[int], batch: PageBatch) -> Tensor:
        """Scores of prepared pages.

        Shapes:
            return: [len(rows), L]
        Raises:
            InputError: a row that was not prepared.
        """
        if any(not 0 <= row < len(self._prompts) for row in rows):
            raise InputError(
                f"vision-language backbone: got rows {rows[:5]} of {len(self._prompts)} prepared pages; allowed: rows "
                "of the pages given to prepare; call prepare first"
            )
        return torch.as_tensor(module(batch.items, [self._prompts[row] for row in rows]))

    def ranker(
        self, featurizer: Featurizer, modules: Sequence[nn.Module], made_of: Mapping[str, Any], name: str
    ) -> VlmPageRanker:
        """The reranker of the trained members; its ``made_of`` says besides what was cut from the prompts.

        Raises:
            InputError: modules that this backbone did not make.
        """
        heads = [module for module in modules if isinstance(module, VlmPageHead)]
        if len(heads) != len(modules):
            raise InputError(f"{name}: got modules of other kinds; allowed: VlmPageHead; pass what make returned")
        frozen = {"frozen": self.encoder.name, "adapters": self.adapters.sizes, "prompts": self._cut}
        return VlmPageRanker(featurizer, heads, {**made_of, **frozen}, name=name)

    def __reduce__(self) -> NoReturn:
        raise InputError(
            "vision-language backbone: got sent to another process; allowed: this one, whose memory holds the frozen "
            "model; train with one worker"
        )
