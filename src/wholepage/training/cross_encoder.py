"""Fine-tune a cross-encoder on one modality's labels, once without each fold of the queries.

A transformer reads query and text together and gives one number; lists of one page are what it learns from. It starts
from any encoder (a new head is put on it) or from a cross-encoder trained before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality, Page
from wholepage.rankers.cross_encoder import (
    PAIRS_PER_PASS,
    PairReader,
    Tokens,
    TrainedCrossEncoder,
    open_pretrained,
    padded,
    pair_scores,
    pretrained_module,
)
from wholepage.rankers.text import MINILM, scatter_scores, text_pairs
from wholepage.training.folds import enough, fold_of, teaches
from wholepage.training.loop import LoopConfig, Progress, content_hash, device_of, run
from wholepage.training.losses import check_number, gain_softmax, pairwise_hinge
from wholepage.training.workers import Workers


class CrossEncoderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a cross-encoder is trained.

    Attributes:
        model: what it starts from: ``minilm`` (packaged, no network), a folder, or a hub id.
        folds: members, each trained without one share of the queries; at least 2.
        loss: ``listwise`` (softmax over gains) or ``pairwise`` (hinge with ``margin``, as the SMAR paper trains its
            single-modal rankers).
        max_tokens: of query and text together; what is longer loses its end, and is counted.
        results_a_list: how many labelled results of a page a step looks at, drawn anew every time from the run's seed.
        frozen_layers: how many of the lowest layers keep their weights; the embeddings too when there is one.
        pairs_per_pass: pairs a forward pass when it scores.
        loop: the training loop's settings; ``batch_size`` counts lists.
    Source: arXiv 2510.16803, upstream rankers.
    """

    model: str = MINILM
    folds: int = 2
    loss: Literal["listwise", "pairwise"] = "listwise"
    margin: float = 1.0
    max_tokens: int = 256
    results_a_list: int = 16
    frozen_layers: int = 0
    pairs_per_pass: int = PAIRS_PER_PASS
    loop: LoopConfig = LoopConfig(epochs=3, batch_size=8, learning_rate=2e-5, weight_decay=0.01)

    def __post_init__(self) -> None:
        least = {"folds": 2, "max_tokens": 8, "results_a_list": 2, "frozen_layers": 0, "pairs_per_pass": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(
                    f"CrossEncoderConfig.{name}: got {getattr(self, name)}; allowed: {low} or more; set it higher"
                )
        check_number("CrossEncoderConfig.margin", self.margin, zero_allowed=True)


@dataclass(frozen=True)
class TokenList:
    """The labelled results of one page that have text, as a cross-encoder reads them.

    Shapes:
        pairs: n of them; grades: [n], no NaN
    """

    pairs: Sequence[Tokens]
    grades: NDArray[np.float32]


@dataclass(frozen=True)
class CrossEncoderFit:
    """A trained modality: the members that each miss one fold, in their order, and the one that saw everything.

    Attributes:
        truncated: labelled pairs of the training pages that were longer than it reads.
    """

    scorer: TrainedCrossEncoder
    teacher: TrainedCrossEncoder
    parts: Sequence[Page]
    truncated: int

    def see(self, parts: Sequence[Page] | None = None) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Scores of pages, each by the member that has not seen its query, and by the teacher.

        Args:
            parts: results of one modality on training pages; None = those it was trained on.
        """
        pages = self.parts if parts is None else parts
        folds = len(self.scorer.members)
        honest: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(pages)
        for fold, member in enumerate(self.scorer.members):
            mine = [i for i, page in enumerate(pages) if fold_of(page.query_id, folds) == fold]
            scored = self._scores(member, [pages[i] for i in mine])
            for i, scores in zip(mine, scored, strict=True):
                honest[i] = scores
        return list(zip(honest, self._scores(self.teacher.members[0], pages), strict=True))

    def _scores(self, member: nn.Module, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        pairs = text_pairs(pages)
        reader = self.scorer.reader
        tokens = reader.read([(query, text) for *_, query, text in pairs])
        values = pair_scores(member, tokens, reader.pad_id, batch_size=self.scorer.batch_size)
        return scatter_scores(pages, pairs, values.tolist())


def fit_cross_encoder(
    modality: Modality,
    parts: Sequence[Page],
    grades: Sequence[NDArray[np.float32]],
    config: CrossEncoderConfig = CrossEncoderConfig(),  # noqa: B008 - frozen
    *,
    also: Sequence[Modality] = (),
    folder: Path | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> CrossEncoderFit:
    """Train a modality's cross-encoders, one without each fold, and its teacher.

    Args:
        parts: training pages, results of the modality alone.  grades: their labels, ``[len(part)]``, NaN = none.
            Results without text teach nothing.
        also: modalities the ranker may order too.
        folder: keeps checkpoints, one sub-folder a member; None = nothing is kept.
        workers: trains members side by side; None = one after another.
    Raises:
        InputError: too few pages have texts with labels that differ, or more layers are frozen than there are.
        WeightsError: the model cannot be found, reached or read.
        MissingExtra: transformers is not installed.
    """
    readable = [_readable(part, given) for part, given in zip(parts, grades, strict=True)]
    if not enough(parts, readable, config.folds):
        raise InputError(
            f"cross-encoder of {modality.value!r}: got {sum(map(teaches, readable))} of {len(parts)} pages with texts "
            f"of differing labels; allowed: {config.folds} at least, in two folds or more; judge more, or train a "
            "tower, which reads pictures too"
        )
    reader = open_pretrained(config.model, config.max_tokens)
    lists = _lists(parts, readable, reader)
    folds = np.array([fold_of(part.query_id, config.folds) for part in parts])

    def task(rows: NDArray[np.intp], name: str, seed: int) -> tuple[Any, ...]:
        return (
            [lists[i] for i in rows.tolist() if teaches(lists[i].grades)],
            reader.pad_id,
            msgspec.structs.replace(config, loop=msgspec.structs.replace(config.loop, seed=seed)),
            None if folder is None else folder / f"{modality.value}-{name}",
            f"{modality.value} cross-encoder, {name}",
        )

    base = config.loop.seed * 1000
    tasks = [task(np.flatnonzero(folds != k), f"without fold {k + 1}", base + k) for k in range(config.folds)]
    tasks.append(task(np.arange(len(parts)), "teacher", base + config.folds))
    *members, teacher = (workers or Workers()).each(
        train_cross_encoder, tasks, progress=progress, what=f"{modality.value} cross-encoders"
    )
    passes = config.pairs_per_pass
    cut = reader.truncated
    scorer = TrainedCrossEncoder(modality, reader, members, also=also, batch_size=passes)
    return CrossEncoderFit(scorer, TrainedCrossEncoder(modality, reader, [teacher], batch_size=passes), parts, cut)


def train_cross_encoder(
    lists: Sequence[TokenList],
    pad_id: int,
    config: CrossEncoderConfig,
    folder: Path | None = None,
    what: str = "cross-encoder",
    *,
    progress: Progress | None = None,
) -> nn.Module:
    """Train one sequence classifier on lists that teach.

    Args:
        folder: keeps the checkpoint; None = nothing is kept.
    Returns:
        The trained module on the CPU, in evaluation mode.
    Raises:
        InputError: no list, or more layers are frozen than there are.
        WeightsError: the model cannot be read, or the folder holds the checkpoint of another run.
    """
    content = content_hash([config, pad_id], _arrays(lists))
    loss = partial(_loss, lists, pad_id, config)
    make = partial(_make, config)
    return run(make, len(lists), loss, config.loop, content=content, folder=folder, progress=progress, what=what)


def _arrays(lists: Sequence[TokenList]) -> Iterator[NDArray[Any]]:
    for one in lists:
        yield from (pair[name] for pair in one.pairs for name in sorted(pair))
        yield one.grades


def drawn(grades: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """At most so many results of a list, drawn with torch's generator; their labels differ where the list's do.

    One of the best comes first, then one of the others, so that every draw teaches; the rest are any.

    Shapes:
        grades: [n]; return: [min(n, most)] indices
    """
    if len(grades) <= most:
        return np.arange(len(grades))
    order = torch.randperm(len(grades)).numpy()
    best = grades[order] == grades.max()
    first = [order[best][:1], order[~best][:1]]
    rest = order[~np.isin(order, np.concatenate(first))]
    return np.concatenate([*first, rest])[:most]


def _make(config: CrossEncoderConfig) -> nn.Module:
    module: nn.Module = pretrained_module(config.model)
    _freeze(module, config.frozen_layers)
    return module


def _freeze(module: Any, count: int) -> None:
    """Keep the weights of the embeddings and of the lowest layers, when ``count`` is not 0."""
    if not count:
        return
    body = module.base_model
    depth = int(module.config.num_hidden_layers)
    stacks = [part for part in body.modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    if not stacks or count > depth:
        raise InputError(
            f"CrossEncoderConfig.frozen_layers: got {count}; allowed: 0 to {depth if stacks else 0}, the layers of the "
            "model; freeze fewer"
        )
    for part in (getattr(body, "embeddings", body.get_input_embeddings()), *stacks[0][:count]):
        part.requires_grad_(False)


def _loss(
    lists: Sequence[TokenList], pad_id: int, config: CrossEncoderConfig, module: nn.Module, rows: list[int]
) -> Tensor:
    where = device_of(module)
    taken = [drawn(lists[i].grades, config.results_a_list) for i in rows]
    pairs = [lists[i].pairs[k] for i, at in zip(rows, taken, strict=True) for k in at]
    given: Mapping[str, Tensor] = padded(pairs, pad_id, where)
    flat = module(**given).logits.squeeze(-1).float()
    lengths = torch.tensor([len(at) for at in taken])
    mask = (torch.arange(int(lengths.max()))[None, :] < lengths[:, None]).to(where)
    scores = flat.new_zeros(mask.shape).masked_scatter(mask, flat)
    labels = torch.from_numpy(np.concatenate([lists[i].grades[at] for i, at in zip(rows, taken, strict=True)]))
    targets = flat.new_full(mask.shape, torch.nan).masked_scatter(mask, labels.to(where))
    if config.loss == "pairwise":
        return pairwise_hinge(scores, targets, mask, margin=config.margin)
    return gain_softmax(scores, targets, mask)


def _readable(part: Page, grades: NDArray[np.float32]) -> NDArray[np.float32]:
    """The labels of results that have text; NaN for the others."""
    has = np.zeros(len(part), bool)
    has[[r for _, r, *_ in text_pairs([part])]] = True
    return np.where(has, grades, np.nan).astype(np.float32)


def _lists(parts: Sequence[Page], grades: Sequence[NDArray[np.float32]], reader: PairReader) -> list[TokenList]:
    pairs = [pair for pair in text_pairs(parts) if not np.isnan(grades[pair[0]][pair[1]])]
    tokens = reader.read([(query, text) for *_, query, text in pairs])
    found: list[tuple[list[Tokens], list[float]]] = [([], []) for _ in parts]
    for (p, r, *_), read in zip(pairs, tokens, strict=True):
        found[p][0].append(read)
        found[p][1].append(float(grades[p][r]))
    return [TokenList(read, np.array(given, np.float32)) for read, given in found]
