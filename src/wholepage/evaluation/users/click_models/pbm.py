"""The position-based model: a click is a result that attracts at a place that is looked at.

    P(click) = attraction[query, result] * examination[place]

Examination may be one for each place, or one for each place and modality: a picture at place 5 may be seen by more
people than a text there. Clicks tell only the product of the two, so a convention is needed to tell them apart: here
examination is *relative to the uppermost place where it was shown* (of the same modality), which has 1. Attraction then
is the chance of a click at that place. A place below that is looked at more than it has examination above 1.

Source: Richardson et al., WWW 2007; Craswell et al., WSDM 2008; the fit as in Chuklin, Markov and de Rijke, Click
Models for Web Search, 2015.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.users.click_models.fitting import Climb, cells_of, climb_product, climbed
from wholepage.evaluation.users.click_models.items import Item, check_depth, known_items, of_items
from wholepage.evaluation.users.impressions import MODALITIES, ImpressionTable
from wholepage.pages.errors import InputError

_Floats = NDArray[np.float64]


class PositionModel(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A fitted position-based model.

    Attributes:
        items: query and result id of each attraction.  attraction: [items].
        examination: [kinds, depth], relative to the uppermost place; kinds is 1 (all modalities alike) or 4, by
            modality code. NaN = that modality was never shown.
        unknown: the attraction of items that are not among these: the mean over all shown results.
        trace: log-likelihood and log-prior of each round.
    """

    items: tuple[Item, ...]
    attraction: _Floats
    examination: _Floats
    unknown: float
    trace: tuple[float, ...]

    def predict(self, log: ImpressionTable) -> _Floats:
        """The chance of a click on each shown result, ``[n, depth]``; 0 in padding. Clicks are not looked at.

        Raises:
            InputError: a page is longer than, or has a modality that was not in, what the model was fitted to.
        """
        seen = self.examined(log)
        return np.minimum(of_items(log, self.items, self.attraction, self.unknown) * seen, 1.0)

    def predict_given_clicks(self, log: ImpressionTable) -> _Floats:
        """The same: in this model a click tells nothing of the others.

        Raises:
            InputError: as ``predict``.
        """
        return self.predict(log)

    def examined(self, log: ImpressionTable) -> _Floats:
        """The relative examination of each shown result, ``[n, depth]``; 0 in padding.

        Raises:
            InputError: as ``predict``.
        """
        check_depth(log, self.examination.shape[1])
        depth = min(log.depth, self.examination.shape[1])  # deeper columns of the log are padding
        seen = np.zeros(log.item.shape)
        seen[:, :depth] = self.examination[_kinds(log, len(self.examination))[:, :depth], np.arange(depth)[None, :]]
        seen[~log.there] = 0.0
        if np.isnan(seen).any():
            new = sorted({MODALITIES[code].value for code in np.unique(log.modality[np.isnan(seen)]).tolist()})
            raise InputError(
                f"log: got results of {', '.join(new)}, which the model never saw; allowed: modalities it was fitted "
                "to; fit it to a log that shows them, or for all modalities alike"
            )
        return seen


def fit_pbm(log: ImpressionTable, climb: Climb | None = None) -> PositionModel:
    """Fit the position-based model with one examination for each place.

    Raises:
        InputError: the log shows nothing.
        NotConverged: the rounds of ``climb`` were not enough.
    """
    return _fit(log, climb or Climb(), kinds=1)


def fit_pbm_by_modality(log: ImpressionTable, climb: Climb | None = None) -> PositionModel:
    """Fit the position-based model with an examination for each place and modality.

    Raises:
        InputError, NotConverged: as ``fit_pbm``.
    """
    return _fit(log, climb or Climb(), kinds=len(MODALITIES))


def _fit(log: ImpressionTable, climb: Climb, *, kinds: int) -> PositionModel:
    known, there, depth = known_items(log), log.there, int(log.length.max())
    place = (_kinds(log, kinds) * depth + np.arange(log.depth)[None, :])[there]
    cells = cells_of(known.number[there], place, log.clicked[there], kinds * depth)
    steps = climb_product(cells, len(known.items), kinds * depth, climb.prior)
    last, trace = climbed(steps, climb, int(there.sum()))
    shows = np.bincount(place, minlength=kinds * depth).reshape(kinds, depth)
    examination = last.examination.reshape(kinds, depth).copy()
    # An item has one modality, so a scale of its own for each modality leaves all products as they are.
    kind_of = np.zeros(len(known.items), dtype=np.int64)
    kind_of[known.number[there]] = _kinds(log, kinds)[there]
    scale = np.ones(kinds)
    for kind in range(kinds):
        places = np.flatnonzero(shows[kind])
        if len(places):
            scale[kind] = examination[kind, places[0]]
            examination[kind] = np.interp(np.arange(depth), places, examination[kind, places] / scale[kind])
        else:
            examination[kind] = np.nan
    attraction = last.attraction * scale[kind_of]
    unknown = float(np.average(attraction, weights=known.shows))
    return PositionModel(
        items=known.items, attraction=attraction, examination=examination, unknown=unknown, trace=trace
    )


def _kinds(log: ImpressionTable, kinds: int) -> NDArray[np.int64]:
    return np.zeros(log.item.shape, dtype=np.int64) if kinds == 1 else np.maximum(log.modality, 0)
