"""Training the context-aware ranker: page labels only, on the numeric features that LambdaMART gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError, ShapeError
from wholepage.rankers.context_aware import ContextAware, ContextAwareNet, check_features, pad_numbers
from wholepage.training.folds import teaches
from wholepage.training.lambda_loss import ndcg_loss2pp
from wholepage.training.loop import LoopConfig, Progress, content_hash, device_of, run
from wholepage.training.losses import gain_softmax, list_mle, listnet, ranknet
from wholepage.training.workers import Workers

ContextLoss = Literal["ndcg_loss2++", "gain_softmax", "list_mle", "listnet", "ranknet"]
_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ndcg_loss2++": ndcg_loss2pp,
    "gain_softmax": gain_softmax,
    "list_mle": list_mle,
    "listnet": listnet,
    "ranknet": ranknet,
}


class ContextAwareConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the context-aware ranker is trained.

    Attributes:
        loss: on page labels.
        members: networks trained from different seeds, whose scores are averaged, as many as SMAR has by default.
        width, layers, heads, hidden, dropout: of a network.
        loop: the training loop's settings; the seed comes with the call.
    """

    loss: ContextLoss = "ndcg_loss2++"
    members: int = 3
    width: int = 96
    layers: int = 2
    heads: int = 2
    hidden: int = 192
    dropout: float = 0.1
    loop: LoopConfig = LoopConfig()

    def __post_init__(self) -> None:
        if self.loss not in _LOSSES:
            raise InputError(f"ContextAwareConfig.loss: got {self.loss!r}; allowed: {', '.join(_LOSSES)}; choose one")
        for name in ("members", "width", "layers", "heads", "hidden"):
            if getattr(self, name) < 1:
                raise InputError(f"ContextAwareConfig.{name}: got {getattr(self, name)}; allowed: 1 or more; raise it")
        if not 0 <= self.dropout < 1:
            raise InputError(f"ContextAwareConfig.dropout: got {self.dropout}; allowed: from 0, below 1; 0.1 is usual")


def fit_context_aware(
    features: Sequence[NDArray[np.floating]],
    grades: Sequence[NDArray[np.floating]],
    config: ContextAwareConfig = ContextAwareConfig(),  # noqa: B008 - frozen
    *,
    seed: int,
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> ContextAware:
    """Train the context-aware ranker.

    A page's results are all seen, judged or not, as they will be when it ranks; the loss is on the judged ones. Pages
    on which no two grades differ are left out.

    Shapes:
        features: per page [n, k], finite
        grades: per page [n], NaN = nobody looked
    Args:
        seed: member k is trained from 1000 * seed + k.
        folder: keeps checkpoints, one sub-folder a member; None = nothing is kept.
        workers: trains members side by side; None = one after another.
    Raises:
        ShapeError: pages, rows or columns do not agree.
        InputError: nothing teaches, a feature is not finite, or a grade is negative or infinite.
    """
    check_features(features)
    _check_grades(features, grades)
    kept = [i for i, given in enumerate(grades) if teaches(np.asarray(given, np.float32))]
    if not kept:
        raise InputError(
            f"context-aware: got no page that teaches among {len(features)}; allowed: at least one page with two "
            "grades that differ; buy more judgments"
        )
    rows = [np.asarray(features[i], np.float32) for i in kept]
    given = [np.asarray(grades[i], np.float32) for i in kept]
    members = [
        (
            rows,
            given,
            msgspec.structs.replace(config, loop=msgspec.structs.replace(config.loop, seed=seed * 1000 + k)),
            None if folder is None else folder / f"member-{k}",
            f"context-aware, network {k + 1} of {config.members}",
        )
        for k in range(config.members)
    ]
    nets = (workers or Workers()).each(_train, members, progress=progress, what="context-aware, networks")
    return ContextAware(nets)


def _train(
    features: Sequence[NDArray[np.float32]],
    grades: Sequence[NDArray[np.float32]],
    config: ContextAwareConfig,
    folder: Path | None,
    what: str,
    *,
    progress: Progress | None = None,
) -> ContextAwareNet:
    make = partial(
        ContextAwareNet,
        features[0].shape[1],
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        hidden=config.hidden,
        dropout=config.dropout,
    )

    def loss(module: nn.Module, rows: list[int]) -> Tensor:
        where = device_of(module)
        numbers, mask = pad_numbers([features[i] for i in rows])
        targets = np.full(mask.shape, np.nan, np.float32)
        for row, i in enumerate(rows):
            targets[row, : len(grades[i])] = grades[i]
        mask = mask.to(where)
        scores = module(numbers.to(where), mask)
        return _LOSSES[config.loss](scores, torch.from_numpy(targets).to(where), mask)

    content = content_hash(config, (array for pair in zip(features, grades, strict=True) for array in pair))
    return run(make, len(features), loss, config.loop, content=content, folder=folder, progress=progress, what=what)


def _check_grades(features: Sequence[NDArray[np.floating]], grades: Sequence[NDArray[np.floating]]) -> None:
    if len(features) != len(grades):
        raise ShapeError(f"context-aware: got {len(features)} pages and {len(grades)} grades; allowed: as many; pair")
    for index, (rows, given) in enumerate(zip(features, grades, strict=True)):
        if given.shape != (len(rows),):
            raise ShapeError(
                f"context-aware: grades[{index}]: got shape {given.shape}; allowed: ({len(rows)},); one a result"
            )
        known = given[~np.isnan(given)]
        if len(known) and (not np.isfinite(known).all() or known.min() < 0):
            raise InputError(
                f"context-aware: grades[{index}]: got {known.min() if np.isfinite(known).all() else known.max()}; "
                "allowed: finite, from 0 up, NaN = nobody looked; shift the scale"
            )
