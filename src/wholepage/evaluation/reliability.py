"""Are probabilities what they say: of the results told to be relevant with 70 %, are seven in ten?

Asked of all results and of each modality's own: a reranker may be right on the whole and too sure of pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page

_SMALLEST = float(np.finfo(np.float64).eps)


class Bin(msgspec.Struct, frozen=True):
    """Results of like probability.

    Attributes:
        count: of results.  predicted: mean probability.  observed: share that is relevant.
        low, high: 95 % interval (Wilson) of the share.
    """

    count: int
    predicted: float
    observed: float
    low: float
    high: float


class Reliability(msgspec.Struct, frozen=True):
    """How far the probabilities of some results can be believed.

    Attributes:
        name: of the modality, or ``all``.  count: of results.
        predicted: mean probability.  observed: share that is relevant.
        ece: expected calibration error, the mean distance of predicted and observed over the bins, by count.
        brier: mean squared error.  log_loss: mean negative log-likelihood, in nats.
        bins: of rising probability and like count.
    """

    name: str
    count: int
    predicted: float
    observed: float
    ece: float
    brier: float
    log_loss: float
    bins: tuple[Bin, ...]

    @property
    def bias(self) -> float:
        """Predicted less observed: above 0 = too sure."""
        return self.predicted - self.observed


class ReliabilityReport(msgspec.Struct, frozen=True):
    """Reliability of all results and of each modality, in the order of ``Modality``."""

    overall: Reliability
    modalities: tuple[Reliability, ...]

    @property
    def modality_gap(self) -> float | None:
        """Largest difference of ``bias`` between two modalities; None when there is only one.

        It is what spoils an order across modalities: a modality of larger bias stands too high.
        """
        biases = [one.bias for one in self.modalities]
        return max(biases) - min(biases) if len(biases) > 1 else None


def reliability(
    probabilities: ArrayLike, relevant: ArrayLike, modality: Sequence[str], *, bins: int = 10
) -> ReliabilityReport:
    """Compare probabilities with what people said.

    Args:
        probabilities: P(relevant) of each judged result, from a ranker that has not learned from these judgments.
        relevant: whether it is.  modality: what it is made of.
        bins: at most so many, of like count; results of equal probability share a bin, and a small modality has fewer.
    Shapes:
        probabilities, relevant, modality: [n]
    Raises:
        ShapeError: the lengths differ, or ``bins`` is not positive.
        InputError: no result, a probability outside of [0, 1], or ``relevant`` other than true and false.
    """
    given, truth = np.asarray(probabilities, np.float64), np.asarray(relevant)
    kinds = np.array([str(one) for one in modality])
    if given.ndim != 1 or not given.shape == truth.shape == kinds.shape or bins < 1:
        raise ShapeError(
            f"reliability: got {given.shape}, {truth.shape}, {kinds.shape} and {bins} bins; allowed: [n] each and 1 "
            "bin or more; flatten the pages"
        )
    if not len(given):
        raise InputError("reliability: got no results; allowed: at least one; pass judged results")
    if not ((given >= 0) & (given <= 1)).all():  # NaN included
        raise InputError(
            f"reliability: got probability {given[~((given >= 0) & (given <= 1))][0]}; allowed: 0 to 1; pass "
            "probabilities, not scores"
        )
    if not np.isin(truth, (0, 1)).all():
        raise InputError("reliability: got relevant values other than true and false; allowed: bool; compare grades")
    hits = truth.astype(bool)
    known = [m.value for m in Modality]
    names = sorted(set(kinds.tolist()), key=lambda name: (known.index(name) if name in known else len(known), name))
    parts = [_of(name, given[kinds == name], hits[kinds == name], bins) for name in names]
    return ReliabilityReport(_of("all", given, hits, bins), tuple(parts))


def page_reliability(
    pages: Sequence[Page],
    probabilities: Sequence[NDArray[np.float32]],
    judgments: Judgments,
    *,
    threshold: float,
    bins: int = 10,
) -> ReliabilityReport:
    """``reliability`` of pages with their judgments; results that nobody graded are left out.

    Args:
        probabilities: P(grade >= threshold), an array ``[len(page)]`` a page.
    Raises:
        ShapeError: not one array a page, or an array that does not fit its page.
        InputError: nothing is graded, or a probability of a graded result outside of [0, 1].
    """
    if [len(page) for page in pages] != [len(given) for given in probabilities]:
        raise ShapeError(
            f"page_reliability: got {len(probabilities)} arrays for {len(pages)} pages, or of other lengths; "
            "allowed: one probability a result; pass the pages that were scored"
        )
    rows = [
        (float(value), grades[result.result_id] >= threshold, result.modality.value)
        for page, given in zip(pages, probabilities, strict=True)
        for grades in (judgments.by_result(page.query_id),)
        for result, value in zip(page.results, given, strict=True)
        if result.result_id in grades
    ]
    values, hits, kinds = zip(*rows, strict=True) if rows else ((), (), ())
    return reliability(np.array(values), np.array(hits, bool), kinds, bins=bins)


def wilson_interval(hits: int, count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Where the true share may lie when ``hits`` of ``count`` were; within [0, 1], and not empty at 0 or all.

    Raises:
        InputError: ``count`` is not positive, ``hits`` not within 0 and ``count``, or ``confidence`` not within (0, 1).
    Source: Wilson 1927, without continuity correction.
    """
    if count < 1 or not 0 <= hits <= count or not 0 < confidence < 1:
        raise InputError(
            f"wilson_interval: got {hits} of {count} at {confidence}; allowed: 0 <= hits <= count, count of 1 or more, "
            "confidence between 0 and 1; change them"
        )
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = hits / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    # At the ends the formula is exact but its roundings are not.
    return (0.0 if hits == 0 else max(0.0, middle - half)), (1.0 if hits == count else min(1.0, middle + half))


def _of(name: str, given: NDArray[np.float64], hits: NDArray[np.bool_], bins: int) -> Reliability:
    order = np.lexsort((hits, given))
    given, hits = given[order], hits[order]
    made = _bins(given, hits, bins)
    clipped = np.clip(given, _SMALLEST, 1 - _SMALLEST)
    return Reliability(
        name,
        len(given),
        float(given.mean()),
        float(hits.mean()),
        sum(one.count * abs(one.predicted - one.observed) for one in made) / len(given),
        float(((given - hits) ** 2).mean()),
        float(-np.log(np.where(hits, clipped, 1 - clipped)).mean()),
        made,
    )


def _bins(given: NDArray[np.float64], hits: NDArray[np.bool_], bins: int) -> tuple[Bin, ...]:
    """Bins of sorted probabilities: each cut is moved up past what equals the value before it."""
    count = len(given)
    last = [given[-(-k * count // bins) - 1] for k in range(1, bins + 1)]
    cuts = [0, *sorted({int(np.searchsorted(given, value, side="right")) for value in last})]
    return tuple(
        Bin(
            stop - start,
            float(given[start:stop].mean()),
            float(hits[start:stop].mean()),
            *wilson_interval(int(hits[start:stop].sum()), stop - start),
        )
        for start, stop in pairwise(cuts)
    )
