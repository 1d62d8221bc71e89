"""A process that does shards: ``python -m wholepage.apps.batch.worker``, as ``processes`` starts it.

It reads one order and then one shard after another from stdin, and answers on what was its stdout; whatever a library
prints goes to stderr. When stdin ends, the job's own process has ended, and so does this one, whatever it is at: a
shard that is not complete leaves nothing but a draft.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import IO

import msgspec

from wholepage.apps.batch.messages import TO_WORKER, Begin, Do, Failed, Finished, Through
from wholepage.apps.batch.shards import Order, ShardWork, peak_bytes
from wholepage.apps.batch.work import work_for
from wholepage.apps.serving.failures import failure_of
from wholepage.pages.errors import WholepageError

_SAYS_EVERY_S = 0.2


def main() -> None:
    """Do what is asked on stdin until it ends."""
    says = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    asked: queue.SimpleQueue[Begin | Do] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, asked), daemon=True).start()
    first = asked.get()
    if not isinstance(first, Begin):
        return
    try:
        _serve(first.order, asked, says)
    except WholepageError as error:
        _say(says, Failed(failure_of(error)))


def _serve(order: Order, asked: queue.SimpleQueue[Begin | Do], says: IO[bytes]) -> None:
    work = ShardWork(order, work_for(order.settings))
    while isinstance(told := asked.get(), Do):
        counted = _Counted(says, told.shard.number)
        done = work.do(told.shard, counted.more)
        _say(says, Finished(done, str(os.getpid()), peak_bytes()))


class _Counted:
    """Tells of rows now and then, not of every few."""

    def __init__(self, says: IO[bytes], number: int) -> None:
        self._says, self._number = says, number
        self._rows, self._last = 0, time.monotonic()

    def more(self, rows: int) -> None:
        self._rows += rows
        now = time.monotonic()
        if now - self._last >= _SAYS_EVERY_S:
            _say(self._says, Through(self._number, self._rows))
            self._rows, self._last = 0, now


def _listen(stream: IO[bytes], asked: queue.SimpleQueue[Begin | Do]) -> None:
    for line in stream:
        asked.put(TO_WORKER.decode(line))
    os._exit(0)  # nobody is there any more; the work in hand is of no use


def _say(says: IO[bytes], message: Finished | Through | Failed) -> None:
    try:
        says.write(msgspec.json.encode(message) + b"\n")
    except OSError:
        os._exit(0)


if __name__ == "__main__":
    main()
