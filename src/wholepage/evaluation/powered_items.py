"""The mean of a sum over the results of a page, from a model's judgments of all results and people's of some.

The arithmetic below ``powered_measures``: arrays in, an estimate out. Results are drawn for people in groups (a place
of the ranking, say); within a group the judged ones stand for all. Queries are the unit that is drawn anew: what
happens to results of one query is never taken for independent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wholepage.evaluation.prediction_powered import JudgedByModelAlone, PoweredEstimate
from wholepage.pages.errors import InputError, ShapeError

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


class JudgedItems(NamedTuple):
    """The results of all pages, end to end.

    Attributes:
        query: which query each belongs to, from 0.  group: which were drawn together, from 0, none left out.
        said: weight times gain by people; NaN = they did not judge it.  guessed: by the model.
        chance: with which a judged one was drawn; only its ratio to others of the group matters.
        queries: how many there are, with those that have no result.
    Shapes:
        query, group, said, guessed, chance: [results]
    """

    query: Numbers
    group: Numbers
    said: Floats
    guessed: Floats
    chance: Floats
    queries: int


class PoweredItems(PoweredEstimate, frozen=True):
    """A mean over queries, from a model's judgments of all results and people's of some.

    Attributes:
        queries: in all.  people: of these, with a result that people judged.
        results: that count for the measure.  judged: of these, by people.
    """

    results: int
    judged: int


class _Split(NamedTuple):
    """Sums over the results of each query, for one weight of the model; they are linear in that weight.

    Attributes:
        known: what is known of a query anyway, its groups' means with it.
        beyond: what its judged results say beyond their group's mean; groups' lost degrees of freedom made good.
        result: the same by result, as it is.
    """

    known: Floats
    beyond: Floats
    result: Floats

    def towards(self, other: _Split, weight: float) -> _Split:
        """The split of a weight between this one's (0) and the other's (1)."""
        return _Split(*(mine + weight * (theirs - mine) for mine, theirs in zip(self, other, strict=True)))


def powered_items(items: JudgedItems, *, level: float = 0.95, weight: float | None = None) -> PoweredItems:
    """The mean over queries of the sum of ``said``, as if people had judged every result.

    In each group: the model's mean of all results, and the mean of people minus model over the judged ones (Hajek's
    mean where the chances differ), the model weighted. The spread is that of the queries' contributions, with
    Student's quantile for the judged queries and groups: where gains are skewed and some twenty are judged, such an
    interval, people's own too, covers about a point less than it says.

    Args:
        weight: how much to believe the model, 0 to 1; None = what makes the spread least, found in the data; the
            interval allows for that.
    Raises:
        JudgedByModelAlone: people judged no result of a group.
        InputError: a group with judged results of one query only that has more, judged results of fewer than three
            queries, or numbers or options out of range.
        ShapeError: the columns differ in length.
    Source: Angelopoulos et al. 2023, Prediction-powered inference; PPI++ (arXiv 2311.01453) for the weight.
    """
    _check(items, level, weight)
    judged = ~np.isnan(items.said)
    per = np.where(judged, 1.0 / items.chance, 0.0)
    without, whole = _split(items, per, 0.0), _split(items, per, 1.0)
    # What the model's weight moves in each query; nothing where people have judged everything.
    step = whole.known + whole.beyond - without.known - without.beyond
    lam = _best_weight(without.known + without.beyond, step) if weight is None else weight
    if judged.all():
        lam = 0.0
    hold = _leverage(step) if weight is None and 0.0 < lam < 1.0 else np.zeros(items.queries)
    alone = _interval(items, per, without, np.zeros(items.queries), level)
    estimate, low, high = _interval(items, per, without.towards(whole, lam), hold, level)
    model_mean = math.fsum(items.guessed.tolist()) / items.queries
    return PoweredItems(
        estimate, low, high, level, lam, items.queries, len(np.unique(items.query[judged])), *alone,
        model_bias=model_mean - _mean(whole), results=len(items.query), judged=int(judged.sum()),
    )  # fmt: skip


def _split(items: JudgedItems, per: Floats, lam: float) -> _Split:
    off = np.where(per > 0.0, items.said - lam * items.guessed, 0.0)
    all_of, drawn = np.bincount(items.group), np.bincount(items.group, per)
    mean = np.bincount(items.group, per * off) / drawn
    beyond = per * (all_of / drawn)[items.group] * (off - mean[items.group])
    count = _counts(items, per)
    lost = np.sqrt(count / np.maximum(count - 1.0, 0.5))
    return _Split(
        _sums(items, lam * items.guessed + mean[items.group]), _sums(items, lost[items.group] * beyond), beyond
    )


def _sums(items: JudgedItems, values: Floats) -> Floats:
    """Of each query."""
    return np.asarray(np.bincount(items.query, values, minlength=items.queries), dtype=np.float64)


def _mean(split: _Split) -> float:
    return math.fsum((split.known + split.beyond).tolist()) / len(split.known)


def _interval(items: JudgedItems, per: Floats, split: _Split, hold: Floats, level: float) -> tuple[float, float, float]:
    """Estimate, low, high.

    A query that held the weight where it is would lie further off without itself: by 1 / (1 - hold), as in the
    jackknife (HC3 of MacKinnon and White 1985).
    """
    estimate = _mean(split)
    known, beyond = ((part - part.mean()) / (1.0 - hold) for part in (split.known, split.beyond))
    # The groups' lost degrees of freedom are in ``beyond``: its square is a plain mean.
    squares = (known**2 + 2.0 * known * beyond).sum() / (items.queries - 1) + (beyond**2).mean()
    freedom = max(1.0, _freedom(items, per, split) - bool(hold.any()))
    half = float(stats.t.ppf((1.0 + level) / 2.0, freedom)) * math.sqrt(max(0.0, float(squares)) / items.queries)
    return estimate, estimate - half, estimate + half


def _counts(items: JudgedItems, per: Floats) -> Floats:
    """How many queries have judged results in each group; fewer where some stand for more than others."""
    groups = int(items.group.max()) + 1
    held = np.bincount(items.query * groups + items.group, per, minlength=items.queries * groups).reshape(-1, groups)
    return np.asarray(held.sum(axis=0) ** 2 / (held**2).sum(axis=0))


def _freedom(items: JudgedItems, per: Floats, split: _Split) -> float:
    """Satterthwaite's number over the groups, but never more than the judged queries have."""
    people = len(np.unique(items.query[per > 0.0])) - 1.0
    of_group = np.bincount(items.group, split.result**2)
    weighed = float((of_group**2 / np.maximum(_counts(items, per) - 1.0, 0.5)).sum())
    return people if weighed == 0.0 else min(people, float(of_group.sum()) ** 2 / weighed)


def _best_weight(without: Floats, step: Floats) -> float:
    """Where the estimated spread is least; not below 0, where the model would be believed to be contrary."""
    spread = float(step.var(ddof=1))
    return 0.0 if spread == 0.0 else min(1.0, max(0.0, -float(np.cov(without, step, ddof=1)[0, 1]) / spread))


def _leverage(step: Floats) -> Floats:
    """How much each query had to say in the weight that was found, 0 to 1."""
    squares = (step - step.mean()) ** 2
    return np.asarray(np.minimum(squares / squares.sum(), 0.95))


def _check(items: JudgedItems, level: float, weight: float | None) -> None:
    if not 0.0 < level < 1.0:
        raise InputError(f"level: got {level}; allowed: between 0 and 1, both excluded; 0.95 is usual")
    if weight is not None and not 0.0 <= weight <= 1.0:
        raise InputError(f"weight: got {weight}; allowed: 0 to 1, or None to find it; 0 leaves the model out")
    if items.queries < 2:
        raise InputError(f"queries: got {items.queries}; allowed: 2 or more; one query says nothing of the others")
    lengths = {len(column) for column in items[:5]}
    if len(lengths) != 1:
        raise ShapeError(f"items: got columns of {sorted(lengths)} results; allowed: one length; pair them by result")
    judged = ~np.isnan(items.said)
    if not (np.isfinite(items.said[judged]).all() and np.isfinite(items.guessed).all()):
        raise InputError("items: got a gain that is not finite; allowed: finite numbers, NaN for not judged; mend it")
    if not (items.chance[judged] > 0.0).all():
        raise InputError("chance: got 0 or less of a judged result; allowed: above 0; what was drawn had a chance")
    for group in range(int(items.group.max()) + 1):
        here = items.group == group
        count, queries = int((here & judged).sum()), len(np.unique(items.query[here & judged]))
        where = (
            f"people: got {count} judged of {int(here.sum())} results drawn together (group {group}, a place from 0)"
        )
        if count == 0:
            raise JudgedByModelAlone(
                f"{where}; allowed: some, drawn at random; a model judge never stands alone in a reported measure: let "
                "people judge there, or say that results were drawn 'anywhere'"
            )
        if queries < 2 and count < here.sum():
            raise InputError(f"{where}; allowed: of 2 queries or more, or all; judge more, or measure fewer places")
    people = len(np.unique(items.query[judged]))
    if people < 3:
        raise InputError(f"people: got results of {people} queries; allowed: 3 or more; let people judge more queries")
