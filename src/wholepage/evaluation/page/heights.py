"""What a result takes, by what it is made of: height on the screen, and effort of whoever reads it."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality


class Heights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Height of a result by its modality; the unit is the height of one text result.

    The numbers are settings, not measured: set them from your own result page.

    Raises:
        InputError: a height that is not finite and above 0.
    """

    text: float = 1.0
    image: float = 2.5
    video: float = 2.5
    answer: float = 4.0

    def __post_init__(self) -> None:
        _check_positive("Heights", self)

    def of(self, modality: Modality) -> float:
        """The height of one modality."""
        return _number_of(self, modality)

    def table(self) -> NDArray[np.float64]:
        """Heights by modality code, that is in the order of ``Modality``."""
        return np.array([self.of(modality) for modality in Modality])


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What looking at a result costs its reader, by modality; the unit is yours (results, seconds, characters).

    Attributes:
        beyond: the cost of each place after the end of the page, for a reader who goes on there.
    Raises:
        InputError: a cost that is not finite and above 0.
    """

    text: float = 1.0
    image: float = 1.0
    video: float = 1.0
    answer: float = 1.0
    beyond: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("Costs", self)

    def of(self, modality: Modality) -> float:
        """The cost of one modality."""
        return _number_of(self, modality)

    def table(self) -> NDArray[np.float64]:
        """Costs by modality code, that is in the order of ``Modality``."""
        return np.array([self.of(modality) for modality in Modality])


def _number_of(settings: Heights | Costs, modality: Modality) -> float:
    by_name: dict[str, float] = msgspec.structs.asdict(settings)
    return by_name[modality.value]


def _check_positive(what: str, settings: Heights | Costs) -> None:
    for name, value in msgspec.structs.asdict(settings).items():
        if not math.isfinite(value) or value <= 0:
            raise InputError(f"{what}.{name}: got {value}; allowed: finite numbers above 0; correct it")
