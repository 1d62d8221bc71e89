"""What the front and its workers say to each other: MessagePack in frames that begin with their length.

Front to worker: ``Load`` once, then ``Work``, at last ``Stop``. Worker to front: ``Hello`` or ``Unfit`` once, then
``Done`` for every ``Work``, in the order received, and ``Beat`` all the while. Nothing that is read can run code.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TypeAlias, TypeVar

import msgspec

from wholepage.apps.serving.calls import Outcome
from wholepage.apps.serving.failures import Failure
from wholepage.apps.serving.served_models import Description, ModelSpec
from wholepage.pages.errors import WorkerLost

MAX_FRAME_BYTES = 1 << 30
_HEAD_BYTES = 4
_Message = TypeVar("_Message")


class Load(msgspec.Struct, frozen=True, tag="load"):
    """The models to read, by name; ``beat_s``: how often to say that all is well; ``threads``: to compute with."""

    models: dict[str, ModelSpec]
    beat_s: float
    threads: int


class Item(msgspec.Struct, frozen=True):
    """A page to order, as it was encoded; ``deadline``: on the monotonic clock, after which nobody wants it."""

    page: msgspec.Raw
    deadline: float


class Work(msgspec.Struct, frozen=True, tag="work"):
    """Pages for one model."""

    number: int
    model: str
    items: tuple[Item, ...]


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Finish what was received, and end."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The models are read."""

    models: tuple[Description, ...]


class Unfit(msgspec.Struct, frozen=True, tag="unfit"):
    """The models cannot be read."""

    failure: Failure


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """The process lives."""


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """A page was ordered."""

    outcome: Outcome


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The ranker raised an error on a page."""

    failure: Failure


class Late(msgspec.Struct, frozen=True, tag="late"):
    """A page was left alone: its time was over before its turn came."""


Answer: TypeAlias = Answered | Refused | Late


class Done(msgspec.Struct, frozen=True, tag="done"):
    """One answer an item of the ``Work`` of that number; ``seconds``: of all of them."""

    number: int
    answers: tuple[Answer, ...]
    seconds: float


ToWorker: TypeAlias = Load | Work | Stop
ToFront: TypeAlias = Hello | Unfit | Beat | Done

TO_WORKER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
TO_FRONT: msgspec.msgpack.Decoder[ToFront] = msgspec.msgpack.Decoder(ToFront)


def framed(message: ToWorker | ToFront) -> bytes:
    """A message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_HEAD_BYTES, "little") + body


async def read_frame(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[_Message]) -> _Message | None:
    """The next message; None at the end of the stream.

    Raises:
        WorkerLost: the stream ends within a message, or what comes is none.
    """
    try:
        size = _checked(await reader.readexactly(_HEAD_BYTES))
        return _decoded(await reader.readexactly(size), decoder)
    except asyncio.IncompleteReadError as error:
        if not error.partial and error.expected == _HEAD_BYTES:
            return None
        raise _broken(f"{len(error.partial)} of {error.expected} bytes") from error
    except ConnectionError:
        return None


def receive(connection: socket.socket, decoder: msgspec.msgpack.Decoder[_Message]) -> _Message | None:
    """As ``read_frame``, for a worker, which waits.

    Raises:
        WorkerLost: as ``read_frame``.
    """
    head = _exactly(connection, _HEAD_BYTES)
    if not head:
        return None
    size = _checked(bytes(head))
    body = _exactly(connection, size)
    if len(body) != size:
        raise _broken(f"{len(body)} of {size} bytes")
    return _decoded(body, decoder)


def _exactly(connection: socket.socket, size: int) -> bytearray:
    """So many bytes; fewer when the stream ends first."""
    read = bytearray(size)
    filled = 0
    with memoryview(read) as view:
        while filled < size:
            try:
                count = connection.recv_into(view[filled:])
            except ConnectionError:
                count = 0
            if not count:
                break
            filled += count
    return read if filled == size else read[:filled]


def _checked(head: bytes) -> int:
    size = int.from_bytes(head, "little")
    if len(head) != _HEAD_BYTES or size > MAX_FRAME_BYTES:
        raise _broken(f"a frame of {size} bytes")
    return size


def _decoded(body: bytes | bytearray, decoder: msgspec.msgpack.Decoder[_Message]) -> _Message:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise _broken(f"a message that is none ({error})") from error


def _broken(got: str) -> WorkerLost:
    return WorkerLost(
        f"between front and worker: got {got}; allowed: whole frames of at most {MAX_FRAME_BYTES} bytes; "
        "the worker is started anew"
    )
