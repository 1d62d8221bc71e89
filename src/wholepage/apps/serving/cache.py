"""Answers that are known already, by content; the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from wholepage.apps.serving.calls import Outcome

_OVERHEAD_BYTES = 200  # of a key, its place in the table, and the bytes object
_DECODER = msgspec.msgpack.Decoder(Outcome)


class ResultCache:
    """Outcomes by key, within so many bytes; they are kept encoded, so that the bytes are the true ones.

    Args:
        max_bytes: of all entries with their overhead; 0 = nothing is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: bytes) -> Outcome | None:
        """The answer to that, if it is kept."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return _DECODER.decode(found)

    def keep(self, key: bytes, outcome: Outcome) -> None:
        """Keep an answer; what does not fit at all is not kept."""
        raw = msgspec.msgpack.encode(outcome)
        size = len(raw) + _OVERHEAD_BYTES
        if size > self.max_bytes or key in self._kept:
            return
        self._kept[key] = raw
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= len(oldest) + _OVERHEAD_BYTES

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.bytes = 0
