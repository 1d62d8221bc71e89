"""The SMAR reranker: the results of a page look at each other, and each gets one score across modalities.

``PageHead`` is the network, from item vectors to scores; ``WholePageRanker`` is the ranker: it reads pages, asks the
head, and is saved and loaded as one model folder, single-modal rankers included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wholepage.pages.errors import InputError, ShapeError, WeightsError
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Scorer, ranking_of
from wholepage.rankers.features import Featurizer, PageItems
from wholepage.rankers.fusion import SingleModal
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.tower import TowerScorer, check_encoders, load_scales, load_state, settings_of
from wholepage.rankers.weights import load_model, save_model

KIND = "whole-page"
PAGES_PER_PASS = 64


@dataclass(frozen=True)
class ItemBatch:
    """Padded pages for the head.

    Shapes:
        query: [B, query_dim]; item: [B, L, item_dim]; numbers: [B, L, k]; mask: [B, L] bool, True = a result;
        group: [B, L] int, index in ``Modality``, -1 = padding
    """

    query: Tensor
    item: Tensor
    numbers: Tensor
    mask: Tensor
    group: Tensor


def pad_items(pages: Sequence[PageItems]) -> ItemBatch:
    """Pad pages to the longest of them; at least one column, so that empty pages can pass."""
    width = max(1, max(len(page) for page in pages))
    first = pages[0]
    item = np.zeros((len(pages), width, first.item.shape[1]), np.float32)
    numbers = np.zeros((len(pages), width, first.numbers.shape[1]), np.float32)
    group = np.full((len(pages), width), -1, np.int64)
    for row, page in enumerate(pages):
        item[row, : len(page)], numbers[row, : len(page)] = page.item, page.numbers
        group[row, : len(page)] = page.group
    query = torch.from_numpy(np.stack([page.query for page in pages]))
    codes = torch.from_numpy(group)
    return ItemBatch(query, torch.from_numpy(item), torch.from_numpy(numbers), codes >= 0, codes)


class _Block(nn.Module):
    """One pre-norm layer: every item attends to every item of its page and to the query."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before_attention, self.before_net = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.net = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        mixed = self.qkv(self.before_attention(tokens)).view(batch, length, 3, self.heads, width // self.heads)
        asks, keys, values = mixed.permute(2, 0, 3, 1, 4)
        drop = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(
            asks, keys, values, attn_mask=visible[:, None, None, :], dropout_p=drop
        )
        seen = self.out(seen.transpose(1, 2).reshape(batch, length, width))
        tokens = tokens + functional.dropout(seen, drop)
        return torch.as_tensor(tokens + functional.dropout(self.net(self.before_net(tokens)), drop))


class PageHead(nn.Module):
    """Scores all results of a page together.

    Permutation equivariant over the results and padding invariant: nothing in it has a position, and padding is unseen.

    Args:
        query_dim, item_dim, number_dim: sizes of the inputs.  width: of a token.  layers, heads: of self-attention;
        0 layers = each result by itself.  dropout: in training.
    Raises:
        ShapeError: ``width`` is not a multiple of ``heads``.
    Source: METHODS A5 (reconstruction of the page reranker of arXiv 2510.16803).
    """

    def __init__(
        self,
        query_dim: int,
        item_dim: int,
        number_dim: int,
        *,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ShapeError(f"PageHead: got width {width} for {heads} heads; allowed: a multiple; change either")
        self.sizes = {"query_dim": query_dim, "item_dim": item_dim, "number_dim": number_dim}
        self.sizes |= {"width": width, "layers": layers, "heads": heads}
        self.numbers = nn.Linear(number_dim, width)
        self.query = nn.Linear(query_dim, width, bias=False)
        self.item = nn.Linear(item_dim, width, bias=False)
        self.query_token = nn.Linear(query_dim, width)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)
        self.straight = nn.Linear(number_dim, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, item: Tensor, numbers: Tensor, mask: Tensor) -> Tensor:
        """Scores of padded pages, in float32.

        Shapes:
            query: [B, query_dim]; item: [B, L, item_dim]; numbers: [B, L, number_dim]
            mask: [B, L] bool, True = a result
        Returns:
            [B, L]; 0 on padding.
        Raises:
            ShapeError: the batch sizes or lengths differ.
        """
        if item.shape[:2] != mask.shape or numbers.shape[:2] != mask.shape or len(query) != len(mask):
            raise ShapeError(
                f"PageHead: got query {tuple(query.shape)}, item {tuple(item.shape)}, numbers {tuple(numbers.shape)}, "
                f"mask {tuple(mask.shape)}; allowed: the same [B, L] in all; pad with pad_items"
            )
        match = self.query(self.dropout(query)).unsqueeze(1) * self.item(self.dropout(item))
        tokens = self.dropout(self.numbers(numbers) + match)
        tokens = torch.cat([self.query_token(query).unsqueeze(1), tokens], dim=1)
        visible = functional.pad(mask, (1, 0), value=True)
        for block in self.blocks:
            tokens = block(tokens, visible)
        scores = self.score(self.last(tokens[:, 1:])) + self.straight(numbers)
        return torch.as_tensor(scores.squeeze(-1).float() * mask)


def head_scores(
    heads: Sequence[PageHead], pages: Sequence[PageItems], *, batch_size: int = PAGES_PER_PASS
) -> list[NDArray[np.float32]]:
    """Mean score of several heads, an array ``[len(page)]`` a page.

    Pages of like length share a batch; a page's scores depend on its neighbours by no more than 1e-5, and not at all
    on the number of threads. Batches go to as many threads as torch is set to use, each batch to one of them.

    Raises:
        ShapeError: ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise ShapeError(f"head_scores: got batch_size {batch_size}; allowed: 1 or more; {PAGES_PER_PASS} is usual")
    order = sorted(range(len(pages)), key=lambda i: len(pages[i]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    for head in heads:
        head.eval()

    def score(rows: list[int]) -> NDArray[np.float32]:
        batch = pad_items([pages[i] for i in rows])
        inputs = (batch.query, batch.item, batch.numbers, batch.mask)
        with torch.inference_mode():
            return np.asarray(torch.stack([head(*inputs) for head in heads]).mean(dim=0).numpy(), np.float32)

    scores: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(pages)
    for rows, found in zip(batches, _in_threads(score, batches), strict=True):
        for row, i in enumerate(rows):
            scores[i] = found[row, : len(pages[i])].copy()
    return scores


def _in_threads(
    act: Callable[[list[int]], NDArray[np.float32]], batches: Sequence[list[int]]
) -> list[NDArray[np.float32]]:
    """``act`` on every batch, one thread a batch.

    A batch is too small to be shared: threads that wait for each other after every product are hardly faster than one,
    and ten times slower where other programs use the cores.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(batches))
    torch.set_num_threads(1)
    try:
        if workers < 2:
            return [act(rows) for rows in batches]
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(act, batches))
    finally:
        torch.set_num_threads(threads)


class WholePageRanker:
    """Ranks pages of mixed results by one score across modalities.

    Args:
        featurizer: reads pages.  heads: trained; their scores are averaged.
        made_of: what it was trained with (labels bought, strategy, losses), kept in the model folder.
        name: printed with every ranking.
    Raises:
        InputError: no head.
    """

    def __init__(
        self,
        featurizer: Featurizer,
        heads: Sequence[PageHead],
        made_of: Mapping[str, Any] | None = None,
        *,
        name: str = "smar",
    ) -> None:
        if not heads:
            raise InputError(f"{name}: got no head; allowed: at least one; train one")
        self.featurizer, self.heads, self.made_of, self._name = featurizer, tuple(heads), dict(made_of or {}), name

    @property
    def name(self) -> str:
        return self._name

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Scores ``[len(page)]`` a page, comparable across modalities of one page.

        Raises:
            NoRanker: a modality that neither training nor ``read_as`` covers.
        """
        return head_scores(self.heads, self.featurizer.read(pages))

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, best first."""
        return [ranking_of(page, scores, self.name) for page, scores in zip(pages, self.score(pages), strict=True)]

    def save(self, folder: Path) -> None:
        """Write a model folder of kind ``whole-page``, its single-modal rankers inside.

        Raises:
            WeightsError: the folder holds something else, or weights are not finite.
        """
        scale = self.featurizer.scale
        arrays = scale.arrays() | self.featurizer.vector_scale.arrays()
        for index, head in enumerate(self.heads):
            arrays |= {f"{index}.{key}": value.numpy() for key, value in head.state_dict().items()}
        upstream = self.featurizer.upstream
        towers = _towers(upstream)
        places = _places(towers)
        config = {
            "name": self.name,
            "encoders": self.featurizer.vectors.name,
            "known": [m.value for m in self.featurizer.known],
            "read_as": {a.value: b.value for a, b in self.featurizer.read_as.items()},
            "numbers": list(scale.names),
            "heads": len(self.heads),
            "sizes": self.heads[0].sizes,
            "upstream": upstream.name,
            "missing": upstream.missing if isinstance(upstream, SingleModal) else None,
            "towers": {m.value: places[id(tower)] for m, tower in towers.items()},
            "made_of": self.made_of,
        }
        children = {places[id(tower)]: tower.save for tower in towers.values()}
        save_model(folder, KIND, config, arrays, children=children)

    @classmethod
    def load(cls, folder: Path, vectors: ResultVectors, upstream: Scorer | None = None) -> WholePageRanker:
        """Read a model folder.

        Args:
            vectors: the frozen encoders it was trained on.
            upstream: the single-modal rankers, where they are not towers and so not in the folder.
        Raises:
            WeightsError: another kind, a damaged file, or encoders or single-modal rankers other than those it
                was trained on.
        """
        folder = Path(folder)
        config, arrays = load_model(folder, KIND)
        with settings_of(folder):
            check_encoders(folder, config, vectors)
            upstream = _load_towers(folder, config, vectors) if upstream is None else upstream
            if upstream.name != config["upstream"]:
                raise WeightsError(
                    f"{folder}: got single-modal rankers {upstream.name!r}; allowed: {config['upstream']!r}, which it "
                    "was trained on; pass them as upstream=..."
                )
            scales = load_scales(folder, config, arrays, vectors)
            read_as = {Modality(a): Modality(b) for a, b in config["read_as"].items()}
            known = [Modality(m) for m in config["known"]]
            featurizer = Featurizer(upstream, vectors, known, *scales, read_as)
            heads = []
            for index in range(config["heads"]):
                head = PageHead(**config["sizes"])
                load_state(head, arrays, f"{index}.", folder)
                heads.append(head)
            return cls(featurizer, heads, config["made_of"], name=config["name"])


def _load_towers(folder: Path, config: Mapping[str, Any], vectors: ResultVectors) -> SingleModal:
    if not config["towers"]:
        raise WeightsError(
            f"{folder}: got no single-modal rankers inside; allowed: {config['upstream']!r}, which it was trained on; "
            "pass them as upstream=..."
        )
    made = {name: TowerScorer.load(folder / name, vectors) for name in sorted(set(config["towers"].values()))}
    scorers = {Modality(m): made[name] for m, name in config["towers"].items()}
    return SingleModal(scorers, missing=config["missing"])


def _places(towers: Mapping[Modality, TowerScorer]) -> dict[int, str]:
    """Sub-folder of each tower, by ``id``: the first modality it orders names it, so that a shared one is kept once."""
    places: dict[int, str] = {}
    for modality, tower in towers.items():
        places.setdefault(id(tower), f"single-{modality.value}")
    return places


def _towers(upstream: Scorer) -> dict[Modality, TowerScorer]:
    """The towers to put into the folder; empty when any single-modal ranker is of another kind."""
    scorers = upstream.scorers if isinstance(upstream, SingleModal) else {}
    towers = {m: scorer for m, scorer in scorers.items() if isinstance(scorer, TowerScorer)}
    return towers if len(towers) == len(scorers) else {}
