"""Division of many pages at once, where some have nothing to divide by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ratio(parts: NDArray[Any], wholes: NDArray[Any], *, empty: float) -> NDArray[np.float64]:
    """Part over whole; ``empty`` where the whole is 0.

    Shapes:
        parts, wholes: [n]
    Returns:
        [n]
    """
    found: NDArray[np.float64] = np.full(len(parts), empty, dtype=np.float64)
    np.divide(parts, wholes, out=found, where=wholes > 0)
    return found
