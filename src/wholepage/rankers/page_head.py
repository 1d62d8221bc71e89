"""The network of the page reranker: the results of a page look at each other, at the query and at who asks.

``PageHead`` turns the vectors of a page's results into one score each; ``head_scores`` asks several heads, and
``head_spread`` tells besides how far they disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wholepage.pages.errors import InputError, ShapeError
from wholepage.rankers.features import PageItems

PAGES_PER_PASS = 64
UNSEEN_TRUST = 0.5
"""How far the score of a modality that training never saw is believed."""


@dataclass(frozen=True)
class ItemBatch:
    """Padded pages for the head.

    Shapes:
        query: [B, query_dim]; item: [B, L, item_dim]; numbers: [B, L, k]; mask: [B, L] bool, True = a result;
        group: [B, L] int, index in ``Modality``, -1 = padding; user: [B, user_dim], user_dim may be 0
    """

    query: Tensor
    item: Tensor
    numbers: Tensor
    mask: Tensor
    group: Tensor
    user: Tensor

    def to(self, device: torch.device) -> ItemBatch:
        """The same pages on a device."""
        parts = (self.query, self.item, self.numbers, self.mask, self.group, self.user)
        return ItemBatch(*(part.to(device) for part in parts))


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
    user = torch.from_numpy(np.stack([page.user for page in pages]))
    codes = torch.from_numpy(group)
    return ItemBatch(query, torch.from_numpy(item), torch.from_numpy(numbers), codes >= 0, codes, user)


class _Block(nn.Module):
    """One pre-norm layer: every item attends to every item of its page, to the query and to the user."""

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
    What is known of the user is a token beside the query's, and turns up or down what the results' tokens say.

    Args:
        query_dim, item_dim, number_dim: sizes of the inputs.  width: of a token.  layers, heads: of self-attention;
        0 layers = each result by itself.  dropout: in training.
        user_dim: columns about the user; 0 = it reads none, and has no weights for them.
    Raises:
        ShapeError: ``width`` is not a multiple of ``heads``.
    Source: reconstruction of the page reranker of arXiv 2510.16803.
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
        user_dim: int = 0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ShapeError(f"PageHead: got width {width} for {heads} heads; allowed: a multiple; change either")
        self.sizes = {"query_dim": query_dim, "item_dim": item_dim, "number_dim": number_dim}
        self.sizes |= {"width": width, "layers": layers, "heads": heads}
        self.sizes |= {"user_dim": user_dim} if user_dim else {}
        self.numbers = nn.Linear(number_dim, width)
        self.query = nn.Linear(query_dim, width, bias=False)
        self.item = nn.Linear(item_dim, width, bias=False)
        self.query_token = nn.Linear(query_dim, width)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)
        self.straight = nn.Linear(number_dim, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.user_dim = user_dim
        if user_dim:  # made last, so that a head without them draws the same first weights as one that could have them
            self.user_token = nn.Linear(user_dim, width)
            self.user_gain = nn.Linear(user_dim, width, bias=False)
            nn.init.zeros_(self.user_gain.weight)  # a value hardly seen in training stays close to saying nothing

    @classmethod
    def reading(cls, example: PageItems, *, width: int, layers: int, heads: int, dropout: float) -> PageHead:
        """A new head whose inputs have the sizes of this page's."""
        return cls(
            len(example.query),
            example.item.shape[1],
            example.numbers.shape[1],
            width=width,
            layers=layers,
            heads=heads,
            dropout=dropout,
            user_dim=len(example.user),
        )

    def forward(self, query: Tensor, item: Tensor, numbers: Tensor, mask: Tensor, user: Tensor | None = None) -> Tensor:
        """Scores of padded pages, in float32.

        Shapes:
            query: [B, query_dim]; item: [B, L, item_dim]; numbers: [B, L, number_dim]
            mask: [B, L] bool, True = a result; user: [B, user_dim], may be left out where user_dim is 0
        Returns:
            [B, L]; 0 on padding.
        Raises:
            ShapeError: the batch sizes or lengths differ, or the user's columns are not ``user_dim``.
        """
        if item.shape[:2] != mask.shape or numbers.shape[:2] != mask.shape or len(query) != len(mask):
            raise ShapeError(
                f"PageHead: got query {tuple(query.shape)}, item {tuple(item.shape)}, numbers {tuple(numbers.shape)}, "
                f"mask {tuple(mask.shape)}; allowed: the same [B, L] in all; pad with pad_items"
            )
        match = self.query(self.dropout(query)).unsqueeze(1) * self.item(self.dropout(item))
        tokens = self.dropout(self.numbers(numbers) + match)
        beside = [self.query_token(query)]
        known = self._checked_user(user, len(mask))
        if known is not None:
            tokens = tokens * (1 + self.user_gain(self.dropout(known))).unsqueeze(1)
            beside.append(self.user_token(known))
        tokens = torch.cat([torch.stack(beside, dim=1), tokens], dim=1)
        visible = functional.pad(mask, (len(beside), 0), value=True)
        for block in self.blocks:
            tokens = block(tokens, visible)
        scores = self.score(self.last(tokens[:, len(beside) :])) + self.straight(numbers)
        return torch.as_tensor(scores.squeeze(-1).float() * mask)

    def _checked_user(self, user: Tensor | None, batch: int) -> Tensor | None:
        if not self.user_dim and (user is None or user.shape[-1] == 0):
            return None
        if user is None or user.shape != (batch, self.user_dim):
            got = "none" if user is None else tuple(user.shape)
            raise ShapeError(
                f"PageHead: got user columns {got} for a batch of {batch}; allowed: ({batch}, {self.user_dim}); read "
                "pages with the featurizer that the head was trained with"
            )
        return user


def head_scores(
    heads: Sequence[PageHead], pages: Sequence[PageItems], *, batch_size: int = PAGES_PER_PASS
) -> list[NDArray[np.float32]]:
    """Mean score of several heads, an array ``[len(page)]`` a page.

    Pages of like length share a batch; a page's scores depend on its neighbours by no more than 1e-5, and not at all
    on the number of threads. Batches go to as many threads as torch is set to use, each batch to one of them.

    Raises:
        ShapeError: ``batch_size`` is not positive.
    """
    return [found[0] for found in _each_page(heads, pages, lambda each: each.mean(dim=0, keepdim=True), batch_size)]


def tempered(
    scores: NDArray[np.float32], unseen: NDArray[np.bool_], trust: float = UNSEEN_TRUST
) -> NDArray[np.float32]:
    """Scores of one page in which modalities that training never saw are believed less.

    Heads are as sure of a result that they read as another modality as of one that they know, and have no right to be:
    nobody ever told how the two compare. So its score is drawn towards the page's mean. Among themselves such results
    keep their order, and so do all others.

    Shapes:
        scores: [n]; unseen: [n] bool, True = read as another modality
    Args:
        trust: 1 = as it stands, 0 = all of them at the mean of the page.
    Source: ours; measured in the log.
    """
    if not unseen.any() or unseen.all():
        return scores
    mean = scores.mean(dtype=np.float64)
    return np.where(unseen, mean + trust * (scores - mean), scores).astype(np.float32)


def head_spread(
    heads: Sequence[PageHead], pages: Sequence[PageItems], *, batch_size: int = PAGES_PER_PASS
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Mean scores as ``head_scores`` gives them, and how far the heads disagree about each result.

    The disagreement is the standard deviation over the heads (n - 1 in the divisor) of the score less the same head's
    mean on the page. The losses compare results of one page only, so what a head adds to a whole page is free and says
    nothing about the order. The size of differences is not free (they are log-odds to every head), so it is kept: a
    head that tells two results further apart does disagree.

    Returns:
        Means and standard deviations, each an array ``[len(page)]`` a page; a result alone on its page has 0.
    Raises:
        InputError: fewer than two heads.
        ShapeError: ``batch_size`` is not positive.
    """
    if len(heads) < 2:
        raise InputError(
            f"head_spread: got {len(heads)} heads; allowed: 2 or more, whose scores can differ; train with members=3"
        )
    found = _each_page(heads, pages, lambda each: torch.cat([each.mean(dim=0, keepdim=True), each]), batch_size)
    means = [each[0] for each in found]
    stds = []
    for each in found:
        members = each[1:].astype(np.float64)
        centred = members - members.mean(axis=1, keepdims=True) if members.shape[1] else members
        stds.append(centred.std(axis=0, ddof=1).astype(np.float32))
    return means, stds


def _each_page(
    heads: Sequence[PageHead], pages: Sequence[PageItems], gather: Callable[[Tensor], Tensor], batch_size: int
) -> list[NDArray[np.float32]]:
    """``gather`` of all heads' scores ``[heads, B, L] -> [k, B, L]``, an array ``[k, len(page)]`` a page."""
    if batch_size < 1:
        raise ShapeError(f"head_scores: got batch_size {batch_size}; allowed: 1 or more; {PAGES_PER_PASS} is usual")
    order = sorted(range(len(pages)), key=lambda i: len(pages[i]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    for head in heads:
        head.eval()

    def score(rows: list[int]) -> NDArray[np.float32]:
        batch = pad_items([pages[i] for i in rows])
        inputs = (batch.query, batch.item, batch.numbers, batch.mask, batch.user)
        with torch.inference_mode():
            return np.asarray(gather(torch.stack([head(*inputs) for head in heads])).numpy(), np.float32)

    scores: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * len(pages)
    for rows, found in zip(batches, in_threads(score, batches), strict=True):
        for row, i in enumerate(rows):
            scores[i] = found[:, row, : len(pages[i])].copy()
    return scores


def in_threads(
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
