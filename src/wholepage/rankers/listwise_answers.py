"""What a model says of one window, however it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.rankers.permutation import Order
from wholepage.rankers.permutation_text import Repairs

Mode = Literal["first_token", "constrained", "free"]
"""By the first answer token, decoded under the automaton, or left free and repaired."""


@dataclass(frozen=True)
class FirstToken:
    """What the model would answer first.

    Attributes:
        lawful: whether the token it likes best of all is one of the identifiers.
    Shapes:
        logits: [n] float32, one an identifier, in the order shown
    """

    logits: NDArray[np.float32]
    lawful: bool


@dataclass(frozen=True)
class Answer:
    """What came of one window.

    Attributes:
        order: places of the window, best first.  first: what the model would answer first.
        repairs: what had to be mended, of an answer that nothing held to the rules.
        avoided: whether the model, left free along the way, would have broken the rules.
    """

    order: Order
    first: FirstToken
    repairs: Repairs = field(default_factory=Repairs)
    avoided: bool = False
