"""Clusters of vectors, how sure a light classifier is of them, and how well some of the vectors cover the rest.

The cells of k-means are what a linear softmax classifier can draw exactly, so one that is trained to the end is sure of
every row and tells nothing. Stopped early, it is sure in the middle of a cluster and in doubt between two.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from wholepage.pages.errors import InputError, ShapeError

STARTS = 3
"""Of k-means, each from other first centres; the one of least spread stands."""

STEPS = 10
"""Of the optimiser (L-BFGS) a round; after each the held-out loss is looked at."""

MAX_ROUNDS = 20
PATIENCE = 2
"""Rounds without gain after which training stops."""

LEAST_GAIN = 0.01
"""Share of the held-out loss that a round must take away to count as gain."""

HELD_OUT = 5
"""Of each cluster's rows every fifth is held out."""

INVERSE_PENALTY = 10.0
"""C of the classifier: weak, for rows of root mean square length 1, so that it is the early stop that holds it back."""

_CELLS = 2**24  # of a table of distances held at once


class Coverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far what was left out lies from what was kept.

    Attributes:
        mean, worst: Euclidean distance of a vector left out to the nearest kept one; 0.0 where nothing was left out.
    """

    mean: float
    worst: float


@dataclass(frozen=True)
class Confidence:
    """How sure a classifier is of the clusters.

    Attributes:
        values: [n] probability of each row's own cluster.
        rounds: that it was trained; 0 = one cluster, nothing to tell apart.
        held_out: loss on them after each round, those looked at in vain included; empty where none was held out.
    """

    values: NDArray[np.float64]
    rounds: int
    held_out: tuple[float, ...]


def cluster(rows: NDArray[np.float64], count: int, *, seed: int) -> NDArray[np.intp]:
    """Labels of k-means, 0 for the largest cluster; of equal sizes the one that holds the earliest row.

    Args:
        count: of clusters; less are made of fewer distinct rows.
        seed: of the first centres, 0 to 2**32 - 1.
    Shapes:
        rows: [n, dim]; return: [n]
    Raises:
        InputError: no row, or ``count`` is below 1.
    """
    if count < 1 or not len(rows):
        raise InputError(f"cluster: got {len(rows)} rows, {count} clusters; allowed: 1 or more of both; pass rows")
    count = min(count, len(np.unique(rows, axis=0)))
    if count == 1:
        return np.zeros(len(rows), np.intp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # rows all but equal make fewer clusters; that is said
        found = KMeans(count, n_init=STARTS, random_state=seed).fit(rows).labels_
    _, first, labels, sizes = np.unique(found, return_index=True, return_inverse=True, return_counts=True)
    place = np.empty(len(sizes), np.intp)
    place[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return np.asarray(place[labels], np.intp)


def pseudo_label_confidence(rows: NDArray[np.float64], labels: NDArray[np.intp]) -> Confidence:
    """The probability that a linear softmax classifier, stopped early, gives each row's own label.

    Every fifth row of a cluster is held out while the rounds of training are counted: it stops where two rounds have
    not taken a hundredth off the held-out loss. Then it is trained anew on all rows for as many rounds, so that none is
    doubted for having been held out. Where no cluster has five rows, it is trained to the end.

    Shapes:
        rows: [n, dim]; labels: [n], each of 0 to the largest at least once
    Raises:
        ShapeError: not one label a row.
    """
    if rows.ndim != 2 or labels.shape != (len(rows),):
        raise ShapeError(
            f"pseudo_label_confidence: got rows {rows.shape}, labels {labels.shape}; allowed: [n, dim] and [n]; "
            "pass one label a row"
        )
    if len(np.unique(labels)) < 2:
        return Confidence(np.ones(len(rows)), 0, ())
    held = _held_out(labels)
    enough, losses = _rounds(rows, labels, held) if held.any() else (MAX_ROUNDS, ())
    model, rounds, ended = _classifier(), 0, False
    while rounds < enough and not ended:
        ended = _train_on(model, rows, labels)
        rounds += 1
    return Confidence(_own(model, rows, labels), rounds, losses)


def scaled(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred, of root mean square length 1; zeros where all rows are the same. Shape [n, dim] kept."""
    largest = np.abs(rows).max()
    if not largest:
        return rows
    centred = rows / largest  # first: squares of large numbers overflow
    centred = centred - centred.mean(axis=0)
    length = math.sqrt((centred**2).sum(axis=1).mean())
    return centred / length if length > np.finfo(np.float64).eps else np.zeros_like(rows)


def from_means(rows: NDArray[np.float64], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Distance of each row to the mean of its cluster.

    Shapes:
        rows: [n, dim]; labels: [n], each of 0 to the largest at least once; return: [n]
    """
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])
    return np.asarray(np.linalg.norm(rows - means[labels], axis=1))


def coverage(vectors: NDArray[np.floating], kept: Sequence[int]) -> Coverage:
    """How far the rows that are not kept lie from the nearest one that is.

    Shapes:
        vectors: [n, dim]
    Args:
        kept: rows of ``vectors``, at least one.
    Raises:
        ShapeError: ``vectors`` has not two dimensions.
        InputError: none is kept, or a row that is not there.
    """
    if vectors.ndim != 2:
        raise ShapeError(f"coverage: got vectors {vectors.shape}; allowed: [n, dim]; pass one row a list")
    if not kept or min(kept) < 0 or max(kept) >= len(vectors):
        raise InputError(
            f"coverage: got {len(kept)} kept of {len(vectors)}, such as {list(kept)[:5]}; allowed: one row or more, "
            "0 and up; pass indices of vectors"
        )
    near = vectors[np.asarray(kept, np.intp)].astype(np.float64)
    rest = vectors[np.setdiff1d(np.arange(len(vectors)), kept)].astype(np.float64)
    if not len(rest):
        return Coverage(0.0, 0.0)
    middle = near.mean(axis=0)  # the product below cancels: small numbers lose less
    near, rest = near - middle, rest - middle
    lengths, step = (near**2).sum(axis=1), max(1, _CELLS // len(near))
    apart = []
    for start in range(0, len(rest), step):
        part = rest[start : start + step]
        nearest = (lengths - 2 * part @ near.T).argmin(axis=1)
        apart.append(np.linalg.norm(part - near[nearest], axis=1))
    found = np.concatenate(apart)
    return Coverage(float(found.mean()), float(found.max()))


def _held_out(labels: NDArray[np.intp]) -> NDArray[np.bool_]:
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held[np.flatnonzero(labels == label)[HELD_OUT - 1 :: HELD_OUT]] = True
    return held


def _rounds(
    rows: NDArray[np.float64], labels: NDArray[np.intp], held: NDArray[np.bool_]
) -> tuple[int, tuple[float, ...]]:
    model, best, best_loss = _classifier(), 0, np.inf
    losses: list[float] = []
    while len(losses) < min(MAX_ROUNDS, best + PATIENCE):
        ended = _train_on(model, rows[~held], labels[~held])
        own = _own(model, rows[held], labels[held])
        losses.append(float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean()))
        if losses[-1] < best_loss * (1 - LEAST_GAIN):
            best, best_loss = len(losses), losses[-1]
        if ended:
            break
    return best, tuple(losses)


def _classifier() -> Any:
    return LogisticRegression(C=INVERSE_PENALTY, tol=1e-6, max_iter=STEPS, warm_start=True)


def _train_on(model: Any, rows: NDArray[np.float64], labels: NDArray[np.intp]) -> bool:
    """One more round; whether there is nothing left to gain on these rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # to stop before the end is the point
        model.fit(rows, labels)
    return int(model.n_iter_.max()) < STEPS


def _own(model: Any, rows: NDArray[np.float64], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray(model.predict_proba(rows)[np.arange(len(rows)), labels], np.float64)
