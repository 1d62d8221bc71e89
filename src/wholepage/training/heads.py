"""The members of a page reranker, trained from ready lessons; one reading of the pages can teach many ensembles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

import msgspec
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError
from wholepage.rankers.whole_page import PageHead
from wholepage.training.batches import Lesson, PageBatch, collate
from wholepage.training.loop import Progress, content_hash, device_of, run
from wholepage.training.objective import SmarConfig, smar_loss, teaches
from wholepage.training.trust import trusting
from wholepage.training.workers import Workers

Make = Callable[[Lesson, SmarConfig], nn.Module]
"""A new network, its first weights drawn from torch's global generator; the lesson shows the sizes of the inputs."""

Score = Callable[[nn.Module, list[int], PageBatch], Tensor]
"""Scores [B, L] of the lessons of these rows, which are the rows of the batch; the batch is where the module is."""


@overload
def fit_heads(
    taught: Sequence[Lesson],
    config: SmarConfig,
    *,
    make: None = ...,
    score: Score | None = ...,
    content: str = ...,
    folder: Path | None = ...,
    workers: Workers | None = ...,
    progress: Progress | None = ...,
    name: str = ...,
) -> list[PageHead]: ...


@overload
def fit_heads(
    taught: Sequence[Lesson],
    config: SmarConfig,
    *,
    make: Make | None,
    score: Score | None = ...,
    content: str = ...,
    folder: Path | None = ...,
    workers: Workers | None = ...,
    progress: Progress | None = ...,
    name: str = ...,
) -> list[nn.Module]: ...


def fit_heads(
    taught: Sequence[Lesson],
    config: SmarConfig,
    *,
    make: Make | None = None,
    score: Score | None = None,
    content: str = "",
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
    name: str = "smar",
) -> list[PageHead] | list[nn.Module]:
    """Train the members of an ensemble from ready lessons; those that teach nothing under ``config`` are left out.

    Args:
        config: with ``teacher_trust="measured"`` the trust is measured on these lessons.
        make: builds a member; None = a ``PageHead``.
        score: asks a member; its rows count ``taught`` as given here. None = as a ``PageHead`` is asked. Both must be
            functions of a module, or methods of what pickle can carry, when there are several workers.
        content: names whatever sets the loss and is not in the lessons or ``config``, so that no checkpoint is resumed
            on anything else.
        folder: keeps checkpoints, one sub-folder a member; None = nothing is kept.
        workers: trains members side by side; None = one after another.
    Returns:
        ``config.members`` modules on the CPU, in evaluation mode; member k has the seed 1000 * ``loop.seed`` + k.
    Raises:
        InputError: nothing teaches.
    """
    config, _ = trusting(taught, config)
    kept = {i: taught[i] for i in useful_rows(taught, config, name)}
    content = _content(list(kept.values()), config) + content
    members = [
        (
            kept,
            msgspec.structs.replace(
                config, loop=msgspec.structs.replace(config.loop, seed=config.loop.seed * 1000 + k)
            ),
            make or _make_head,
            score or _score_head,
            content,
            None if folder is None else folder / f"member-{k}",
            f"{name}, head {k + 1} of {config.members}",
        )
        for k in range(config.members)
    ]
    return (workers or Workers()).each(_train_head, members, progress=progress, what=f"{name}, heads")


def useful_rows(taught: Sequence[Lesson], config: SmarConfig, name: str) -> list[int]:
    """Which lessons teach anything under ``config``.

    Raises:
        InputError: none does.
    """
    useful = [i for i, lesson in enumerate(taught) if teaches(lesson, config)]
    if not useful:
        raise InputError(
            f"{name}: got no page that teaches among {len(taught)}; allowed: at least one page with two grades that "
            "differ or with a preference, or alignment to single-modal rankers; buy more judgments"
        )
    return useful


def _train_head(
    kept: Mapping[int, Lesson],
    config: SmarConfig,
    make: Make,
    score: Score,
    content: str,
    folder: Path | None,
    what: str,
    *,
    progress: Progress | None = None,
) -> nn.Module:
    rows = list(kept)
    return run(
        partial(make, kept[rows[0]], config),
        len(rows),
        partial(_batch_loss, kept, rows, config, score),
        config.loop,
        content=content,
        folder=folder,
        progress=progress,
        what=what,
        part_loss=partial(_part_loss, kept, rows, config, score),
    )


def _make_head(example: Lesson, config: SmarConfig) -> PageHead:
    return PageHead.reading(
        example.items, width=config.width, layers=config.layers, heads=config.heads, dropout=config.dropout
    )


def _score_head(module: nn.Module, rows: list[int], batch: PageBatch) -> Tensor:
    items = batch.items
    return torch.as_tensor(module(items.query, items.item, items.numbers, items.mask, items.user))


def _batch_loss(
    kept: Mapping[int, Lesson],
    rows: Sequence[int],
    config: SmarConfig,
    score: Score,
    module: nn.Module,
    drawn: list[int],
) -> Tensor:
    asked = [rows[i] for i in drawn]
    batch = collate([kept[i] for i in asked]).to(device_of(module))
    return smar_loss(score(module, asked, batch), batch, config)


def _part_loss(
    kept: Mapping[int, Lesson],
    rows: Sequence[int],
    config: SmarConfig,
    score: Score,
    module: nn.Module,
    drawn: list[int],
    part: list[int],
) -> Tensor:
    """The loss of the lessons drawn, of which those of the part alone are scored.

    A lesson counts as one of those that teach, and how many do in the batch a part cannot know. No lesson's share hangs
    on another's scores: with zeros in the place of those, the gradient is the part's own.
    """
    asked = [rows[i] for i in part]
    device = device_of(module)
    whole = collate([kept[rows[i]] for i in drawn]).to(device)
    told = score(module, asked, collate([kept[i] for i in asked]).to(device))
    scores = told.new_zeros(whole.grades.shape)
    scores[[drawn.index(i) for i in part], : told.shape[1]] = told
    return smar_loss(scores, whole, config)


def _content(taught: Sequence[Lesson], config: SmarConfig) -> str:
    return content_hash(config, (array for lesson in taught for array in _arrays(lesson)))


def _arrays(lesson: Lesson) -> Iterator[NDArray[Any]]:
    pairs = lesson.pairs
    yield from (*lesson.items.arrays(), lesson.grades, lesson.teacher)
    if lesson.weights is not None:
        yield lesson.weights
    if len(pairs):
        yield from (pairs.index, pairs.strict, pairs.share)
