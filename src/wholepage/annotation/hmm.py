"""The monotone hidden Markov engine: lists fall with exceptions, and people err."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.falling import Falling
from wholepage.annotation.said import check_sizes
from wholepage.annotation.weighing import Confusion, Weighing
from wholepage.pages.errors import InputError

_Array = NDArray[np.float64]
_Rows = tuple[tuple[float, ...], ...]
_SUM_OFF = 1e-6
_STAY = 0.85


class HmmParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is believed of lists before anything is asked; of lists of any length.

    A list is of one of several kinds, such as one without anything relevant. Each kind has its own first level, its own
    falls, and its own exceptions. ``hmm_fit.fit_hmm`` learns them for one ranker and modality.

    Attributes:
        weights: how likely each kind is: [kinds].
        start: of the first result's level: [kinds][levels].
        falls: from a result's level to the next one's, by the place of the step (``places``); steps further down than
            these take the last: [kinds][places][levels][levels].
        slips: from a result's level to its grade, which differ where the ranker misplaced it: [kinds][levels][levels].
    Raises:
        InputError: tables that do not fit together, rows that do not sum to 1, or a level that rises.
    """

    weights: tuple[float, ...]
    start: _Rows
    falls: tuple[tuple[_Rows, ...], ...]
    slips: tuple[_Rows, ...]

    def __post_init__(self) -> None:
        try:
            tables = [np.asarray(of, np.float64) for of in (self.weights, self.start, self.falls, self.slips)]
        except ValueError as error:
            raise _wrong(f"rows of different lengths ({error})") from error
        kinds, levels = len(self.weights), len(self.start[0]) if self.start else 0
        deep = len(self.falls[0]) if self.falls else 0
        shapes = [(kinds,), (kinds, levels), (kinds, deep, levels, levels), (kinds, levels, levels)]
        if [table.shape for table in tables] != shapes or kinds < 1 or deep < 1 or levels < 2:
            raise _wrong(f"shapes {[table.shape for table in tables]}")
        if any((table < 0).any() or not (abs(table.sum(-1) - 1) < _SUM_OFF).all() for table in tables):
            raise _wrong("a row that does not sum to 1, or holds less than 0")
        if np.triu(tables[2], 1).any():
            raise _wrong("a level that rises along the list")

    @property
    def levels(self) -> int:
        """Grades run from 0 to ``levels - 1``."""
        return len(self.start[0])

    def prior(self, n: int) -> Falling:
        """What that is of a list of ``n``."""
        weights, start, falls, slips = (
            np.asarray(of, np.float64) for of in (self.weights, self.start, self.falls, self.slips)
        )
        return prior_of(weights, start, falls, slips, n)


def prior_of(weights: _Array, start: _Array, falls: _Array, slips: _Array, n: int) -> Falling:
    """As ``HmmParameters.prior``, of tables that are arrays."""
    at = np.minimum(places(max(n - 1, 0)), falls.shape[1] - 1)
    return Falling(weights, start, np.ascontiguousarray(np.moveaxis(falls[:, at], 1, 0)), slips)


def places(steps: int) -> NDArray[np.intp]:
    """The place of each step down the list: 0 for the first, 1 for the next 2, 2 for the next 4, and so on."""
    return np.asarray(np.frexp(np.arange(1, steps + 1))[1] - 1, np.intp)


def usual_hmm(levels: int, slip: float = 0.1) -> HmmParameters:
    """What to believe where there are no pilot lists: any first level, falls anywhere, a tenth of results misplaced.

    What an engine claims on such beliefs is not measured on anything: audit it.

    Args:
        levels: grades run from 0 to ``levels - 1``.  slip: the share misplaced.
    Raises:
        InputError: fewer than 2 levels, or a slip out of range.
    """
    check_sizes(0, levels, 1)
    if not 0 < slip < 1:
        raise InputError(f"hmm: got slip={slip}; allowed: above 0, below 1; .1 means one result in ten is misplaced")
    lower = np.tril(np.ones((levels, levels)), -1)
    falls = lower * (1 - _STAY) / np.maximum(lower.sum(1, keepdims=True), 1)
    falls += np.diag(1 - falls.sum(1))
    slips = np.where(np.eye(levels, dtype=bool), 1 - slip, slip / (levels - 1))
    start = np.full((1, levels), 1 / levels)
    return HmmParameters((1.0,), as_rows(start), ((as_rows(falls),),), (as_rows(slips),))


class MonotoneHmm(Weighing):
    """Search a list that mostly falls, by people who mostly answer right.

    Args:
        n: results, best first.
        parameters: what is believed of lists.
        tau: asks until the mean posterior error is no larger.
        confusions: of annotators of whom more is known, as ``confusion_fit.fit_confusions`` learns them.
        error: chance of a wrong answer of all others.
        overlap: most answers to one question, each by another person.
        people: how many people there are; None = enough for ``overlap``.
    Raises:
        InputError: a number out of range.
        ShapeError: a confusion is not [levels, levels].
    Source: own derivation.
    """

    def __init__(
        self,
        n: int,
        parameters: HmmParameters,
        tau: float = 0.05,
        confusions: Mapping[str, Confusion] | None = None,
        *,
        error: float = 0.1,
        overlap: int = 1,
        people: int | None = None,
    ) -> None:
        check_sizes(n, parameters.levels, overlap)
        super().__init__(
            parameters.prior(n), n, error=error, tau=tau, overlap=overlap, people=people, confusions=confusions
        )
        self.parameters = parameters


def as_rows(table: _Array) -> _Rows:
    """A matrix as it is written."""
    return tuple(tuple(row) for row in table.tolist())


def _wrong(got: str) -> InputError:
    return InputError(
        f"HMM parameters: got {got}; allowed: weights [kinds], start [kinds][levels], falls "
        "[kinds][places][levels][levels], slips [kinds][levels][levels], rows that sum to 1, levels that never rise; "
        "take those that fit_hmm learned"
    )
