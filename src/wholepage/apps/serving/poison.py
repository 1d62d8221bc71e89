"""Pages that killed two workers: not tried again for a while, or one client who insists would keep the server down."""

from __future__ import annotations

from collections import OrderedDict

_MOST = 1024


class Poison:
    """Keys of such pages, each for so many seconds; the oldest go when there are too many."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def hold(self, key: bytes, now: float) -> None:
        """Refuse that page from now on."""
        self._until[key] = now + self._seconds
        self._until.move_to_end(key)
        if len(self._until) > _MOST:
            self._until.popitem(last=False)

    def holds(self, key: bytes, now: float) -> bool:
        """Whether that page is refused still."""
        until = self._until.get(key)
        if until is None:
            return False
        if until <= now:
            del self._until[key]
            return False
        return True
