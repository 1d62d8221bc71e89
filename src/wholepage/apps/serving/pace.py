"""How long a token takes, learnt from the batches that workers finish."""

from __future__ import annotations

_KEPT = 0.9  # of what was known, at each batch: some ten batches are remembered
_FIRST_COST = 256.0  # how much the measurement of a worker that has just begun counts for


class Pace:
    """Seconds a token on one worker, by model.

    The ratio of two fading sums, so that long batches say more than short ones, and one that was disturbed little.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._cost: dict[str, float] = {}

    def begin(self, model: str, seconds_per_token: float) -> None:
        """Take a first measurement, where nothing is known yet."""
        if seconds_per_token > 0 and model not in self._cost:
            self._seconds[model], self._cost[model] = seconds_per_token * _FIRST_COST, _FIRST_COST

    def learn(self, model: str, cost: int, seconds: float) -> None:
        """Take in a finished batch."""
        self._seconds[model] = _KEPT * self._seconds.get(model, 0.0) + seconds
        self._cost[model] = _KEPT * self._cost.get(model, 0.0) + cost

    def seconds(self, model: str, cost: float) -> float:
        """How long so many tokens take; 0.0 when nothing is known."""
        known = self._cost.get(model, 0.0)
        return cost * self._seconds[model] / known if known else 0.0
