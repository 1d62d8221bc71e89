"""The context-aware ranker of learning to rank: self-attention over a page's numeric features, and nothing else.

It reads what LambdaMART reads, and is trained on page labels only; beside the page head it shows what frozen vectors,
the query and single-modal supervision add to self-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError, ShapeError
from wholepage.rankers.page_head import PAGES_PER_PASS, in_threads
from wholepage.rankers.tower import load_state, settings_of
from wholepage.rankers.weights import load_model, save_model

KIND = "context-aware"


class ContextAwareNet(nn.Module):
    """Scores all results of a page together, from their numeric features.

    One layer shared by all results, transformer encoder layers without positions, one number out. Permutation
    equivariant and padding invariant.

    Args:
        number_dim: of the features.  width: of a token.  layers, heads: of self-attention.
        hidden: width of the net in each layer.  dropout: in training.
    Raises:
        ShapeError: ``width`` is not a multiple of ``heads``.
    Source: Pobrotyn et al. 2020, Context-aware learning to rank with self-attention.
    """

    def __init__(
        self,
        number_dim: int,
        *,
        width: int = 96,
        layers: int = 2,
        heads: int = 2,
        hidden: int = 192,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ShapeError(f"ContextAwareNet: got width {width} for {heads} heads; allowed: a multiple; change one")
        self.sizes = {"number_dim": number_dim, "width": width, "layers": layers, "heads": heads, "hidden": hidden}
        self.shared = nn.Linear(number_dim, width)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, hidden, dropout, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.last = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)

    def forward(self, numbers: Tensor, mask: Tensor) -> Tensor:
        """Scores of padded pages, in float32.

        Shapes:
            numbers: [B, L, number_dim]; mask: [B, L] bool, True = a result
        Returns:
            [B, L]; 0 on padding.
        Raises:
            ShapeError: pages or lengths differ.
        """
        if numbers.ndim != 3 or numbers.shape[:2] != mask.shape:
            raise ShapeError(
                f"ContextAwareNet: got numbers {tuple(numbers.shape)}, mask {tuple(mask.shape)}; allowed: the same "
                "[B, L] in both; pad with pad_numbers"
            )
        tokens = self.dropout(self.shared(numbers * mask.unsqueeze(-1)))
        unseen = ~mask
        # A page without results attends to its padding: a softmax over nothing would be NaN.
        unseen = unseen & ~unseen.all(dim=1, keepdim=True)
        for layer in self.encoder:
            tokens = layer(tokens, src_key_padding_mask=unseen)
        scores = self.score(self.last(tokens)).squeeze(-1).float()
        return torch.where(mask, scores, 0.0)


def pad_numbers(features: Sequence[NDArray[np.floating]]) -> tuple[Tensor, Tensor]:
    """Pad pages to the longest of them, at least one column.

    Shapes:
        features: [n, k] a page, one k for all
    Returns:
        Numbers [B, L, k] float32, and the mask [B, L], True = a result.
    """
    width = max(1, max(len(page) for page in features))
    numbers = np.zeros((len(features), width, features[0].shape[1]), np.float32)
    mask = np.zeros((len(features), width), np.bool_)
    for row, page in enumerate(features):
        numbers[row, : len(page)], mask[row, : len(page)] = page, True
    return torch.from_numpy(numbers), torch.from_numpy(mask)


def check_features(features: Sequence[NDArray[np.floating]], width: int | None = None) -> int:
    """Refuse pages of features that are not of one width, or not finite.

    Args:
        width: that they must have; None = that of the first page.
    Returns:
        The width; 0 when there are no pages.
    Raises:
        ShapeError: a page is not two-dimensional, or not as wide.
        InputError: a feature is NaN or infinite.
    """
    for index, page in enumerate(features):
        width = page.shape[-1] if width is None and page.ndim == 2 else width
        if page.ndim != 2 or page.shape[1] != width:
            raise ShapeError(
                f"context-aware: features[{index}]: got shape {page.shape}; allowed: (n, {width if width else 'k'}), "
                "as wide on every page; read them with one featurizer"
            )
        if not np.isfinite(page).all():
            row, column = np.argwhere(~np.isfinite(page))[0]
            raise InputError(
                f"context-aware: features[{index}][{row}, {column}]: got {page[row, column]}; allowed: finite numbers; "
                "put a number in place of what is unknown"
            )
    return width or 0


class ContextAware:
    """A trained context-aware ranker of feature rows: the mean score of its networks.

    Args:
        nets: trained, of one size.
    Raises:
        InputError: no network.
    """

    def __init__(self, nets: Sequence[ContextAwareNet]) -> None:
        if not nets:
            raise InputError("context-aware: got no network; allowed: at least one; train one")
        self.nets = tuple(nets)

    @property
    def name(self) -> str:
        return KIND

    def predict(
        self, features: Sequence[NDArray[np.floating]], *, batch_size: int = PAGES_PER_PASS
    ) -> list[NDArray[np.float32]]:
        """Scores [n] for each page's [n, k] rows, higher is better.

        Pages of like length share a batch; a page's scores depend on its neighbours by no more than 1e-5, and not at
        all on the number of threads.

        Raises:
            ShapeError: rows are not as wide as those trained on, or ``batch_size`` is not positive.
            InputError: a feature is NaN or infinite.
        """
        if batch_size < 1:
            raise ShapeError(
                f"context-aware: got batch_size {batch_size}; allowed: 1 or more; {PAGES_PER_PASS} is usual"
            )
        check_features(features, self.nets[0].sizes["number_dim"])
        order = sorted(range(len(features)), key=lambda i: len(features[i]))
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        for net in self.nets:
            net.eval()

        def score(rows: list[int]) -> NDArray[np.float32]:
            numbers, mask = pad_numbers([features[i] for i in rows])
            with torch.inference_mode():
                return np.asarray(torch.stack([net(numbers, mask) for net in self.nets]).mean(dim=0).numpy())

        scores: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(features)
        for rows, found in zip(batches, in_threads(score, batches), strict=True):
            for row, i in enumerate(rows):
                scores[i] = found[row, : len(features[i])].copy()
        return scores

    def save(self, folder: Path) -> None:
        """Write a model folder of kind ``context-aware``.

        Raises:
            WeightsError: the folder holds something else, or weights are not finite.
        """
        arrays = {
            f"{index}.{key}": value.numpy() for index, net in enumerate(self.nets) for key, value in _state(net).items()
        }
        save_model(folder, KIND, {"nets": len(self.nets), "sizes": self.nets[0].sizes}, arrays)

    @classmethod
    def load(cls, folder: Path) -> ContextAware:
        """Read a model folder.

        Raises:
            WeightsError: another kind, a damaged file, or sizes that do not fit.
        """
        folder = Path(folder)
        config, arrays = load_model(folder, KIND)
        with settings_of(folder):
            nets = []
            for index in range(config["nets"]):
                net = ContextAwareNet(**config["sizes"])
                load_state(net, arrays, f"{index}.", folder)
                nets.append(net)
            return cls(nets)


def _state(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu() for key, value in net.state_dict().items()}
