from __future__ import annotations

import sys
from types import SimpleNamespace

import psutil
import pytest

from wholepage.apps.serving import memory as module
from wholepage.apps.serving.memory import GivesBack

GLIBC = sys.platform == "linux"


def test_it_asks_at_most_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    memory = GivesBack(every_s=5.0)
    now[0] += 4.9
    assert not memory.now_and_then()
    now[0] += 0.2
    assert memory.now_and_then() is GLIBC
    now[0] += 4.9
    assert not memory.now_and_then()


@pytest.mark.skipif(not GLIBC, reason="only glibc can give memory back when it is asked")
def test_what_is_freed_between_what_stays_goes_back() -> None:
    """Every other of many small blocks is freed: without being asked the C library keeps the room."""
    memory = GivesBack(every_s=0.0)
    blocks = [bytearray(60_000) for _ in range(2000)]
    for block in blocks:
        block[::4096] = b"x" * len(block[::4096])  # touched: it takes true memory
    held = blocks[::2]
    del block
    blocks.clear()
    before = psutil.Process().memory_info().rss
    assert memory.now_and_then()
    assert before - psutil.Process().memory_info().rss > 40 * 2**20
    assert len(held) == 1000
