"""The user browsing model: whether a place is looked at depends on where the last click above it was.

    P(click | clicks above) = attraction[query, result] * examination[place, last click above]

As in ``pbm``, clicks tell only the product; examination is relative to the first place, which has 1.

Source: Dupret and Piwowarski, SIGIR 2008.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.users.click_models.fitting import Climb, cells_of, climb_product, climbed
from wholepage.evaluation.users.click_models.items import Item, check_depth, known_items, last_click_above, of_items
from wholepage.evaluation.users.impressions import ImpressionTable

_Floats = NDArray[np.float64]


class BrowsingModel(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A fitted user browsing model.

    Attributes:
        items: query and result id of each attraction.  attraction: [items].
        examination: [depth, depth], of a place (row) by the last click above it (column: 0 = none, else its place from
            1), relative to the first place; NaN where there cannot be such a click. What never happened in the log has
            the mean of its row.
        unknown: the attraction of items that are not among these: the mean over all shown results.
        trace: log-likelihood and log-prior of each round.
    """

    items: tuple[Item, ...]
    attraction: _Floats
    examination: _Floats
    unknown: float
    trace: tuple[float, ...]

    def predict(self, log: ImpressionTable) -> _Floats:
        """The chance of a click on each shown result before anything is clicked, ``[n, depth]``; 0 in padding.

        Raises:
            InputError: a page is longer than those the model was fitted to.
        """
        check_depth(log, len(self.examination))
        attraction = of_items(log, self.items, self.attraction, self.unknown)
        n, depth = attraction.shape
        chance = np.zeros((n, depth))
        last = np.zeros((n, depth + 1))  # how likely each place is that of the last click so far
        last[:, 0] = 1.0
        for place in range(min(depth, len(self.examination))):
            clicks = np.minimum(attraction[:, place, None] * self.examination[place, : place + 1], 1.0)
            chance[:, place] = (last[:, : place + 1] * clicks).sum(axis=1)
            last[:, : place + 1] *= 1.0 - clicks
            last[:, place + 1] = chance[:, place]
        return chance

    def predict_given_clicks(self, log: ImpressionTable) -> _Floats:
        """The chance of a click on each shown result, given the clicks above it, ``[n, depth]``; 0 in padding.

        Raises:
            InputError: a page is longer than those the model was fitted to.
        """
        check_depth(log, len(self.examination))
        attraction = of_items(log, self.items, self.attraction, self.unknown)
        chance = np.zeros(attraction.shape)
        depth = min(log.depth, len(self.examination))
        above = last_click_above(log.clicked)[:, :depth]
        seen = self.examination[np.arange(depth)[None, :], above]
        chance[:, :depth] = np.minimum(attraction[:, :depth] * seen, 1.0)
        return chance


def fit_ubm(log: ImpressionTable, climb: Climb | None = None) -> BrowsingModel:
    """Fit the user browsing model.

    Raises:
        InputError: the log shows nothing.
        NotConverged: the rounds of ``climb`` were not enough.
    """
    climb = climb or Climb()
    known, there, depth = known_items(log), log.there, int(log.length.max())
    place = (np.arange(log.depth)[None, :] * depth + last_click_above(log.clicked))[there]
    cells = cells_of(known.number[there], place, log.clicked[there], depth * depth)
    steps = climb_product(cells, len(known.items), depth * depth, climb.prior)
    last, trace = climbed(steps, climb, int(there.sum()))
    shows = np.bincount(place, minlength=depth * depth).reshape(depth, depth).astype(np.float64)
    examination = last.examination.reshape(depth, depth)
    scale = examination[0, 0]
    # Every place up to the longest page was shown, so each row has something to take the mean of.
    mean = (examination * shows).sum(axis=1) / shows.sum(axis=1)
    examination = np.where(shows > 0, examination, mean[:, None]) / scale
    examination[np.triu_indices(depth, k=1)] = np.nan
    attraction = last.attraction * scale
    unknown = float(np.average(attraction, weights=known.shows))
    return BrowsingModel(
        items=known.items, attraction=attraction, examination=examination, unknown=unknown, trace=trace
    )
