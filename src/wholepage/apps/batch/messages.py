"""What engines, workers and the job say to each other: plain values, as JSON lines between processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from wholepage.apps.batch.plan import Shard
from wholepage.apps.batch.shards import Done, Order
from wholepage.apps.serving.failures import Failure


class Through(msgspec.Struct, frozen=True, tag="through"):
    """So many more rows of a shard are through."""

    number: int
    rows: int


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """A shard is complete; ``peak_bytes`` is the most memory that its worker has held so far, ``worker`` names it."""

    done: Done
    worker: str
    peak_bytes: int


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """The worker of a shard ended in the middle of it; the shard is done again."""

    number: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A shard or the model cannot be used: the job ends."""

    failure: Failure


Event = Through | Finished | Lost
Told = Callable[[Event], None]


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """The first line that a worker reads."""

    order: Order


class Do(msgspec.Struct, frozen=True, tag="do"):
    """Do this shard."""

    shard: Shard


FROM_WORKER: msgspec.json.Decoder[Through | Finished | Failed] = msgspec.json.Decoder(Through | Finished | Failed)
TO_WORKER: msgspec.json.Decoder[Begin | Do] = msgspec.json.Decoder(Begin | Do)


class Engine(Protocol):
    """Has shards done, in any order and by whomever."""

    def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
        """Return when every shard is done and was told of; raise what ends the job."""
        ...
