"""Memory that a worker has freed goes back to the system.

Pages differ in length, and so do the arrays that a ranker asks for. The C library keeps what is freed between them in
ever more pieces: without this a worker's memory rises for long (measured with MiniLM from page 100 to page 700: 536 to
607 MiB; with it 468 to 498, in the same processor time).
"""

from __future__ import annotations

import ctypes
import time
from contextlib import suppress
from typing import Any

EVERY_S = 10.0


class GivesBack:
    """Asks the C library to give back what is free, now and then; does nothing where it cannot (only glibc can).

    Args:
        every_s: at most so often; it takes some milliseconds.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s, self._last = every_s, time.monotonic()
        self._trim: Any = None
        with suppress(AttributeError, OSError, TypeError):
            self._trim = ctypes.CDLL(None).malloc_trim

    def now_and_then(self) -> bool:
        """Give back, if it is time; whether the C library was asked."""
        now = time.monotonic()
        if self._trim is None or now - self._last < self._every_s:
            return False
        self._last = now
        self._trim(0)
        return True
