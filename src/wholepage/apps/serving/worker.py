"""A process that ranks: ``python -m wholepage.apps.serving.worker FD``, as the front starts it.

It reads its models, says so, and then answers one batch after another over the socket that it was given. While it
ranks, one thread reads what comes next and another says that the process lives. It ends when the front does: when the
socket closes, or when it is told to stop. Signals that a terminal or a service sends to everybody are the front's to
answer, so it ignores them.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from wholepage.apps.serving.failures import failure_of
from wholepage.apps.serving.frames import (
    TO_WORKER,
    Answer,
    Answered,
    Beat,
    Done,
    Hello,
    Late,
    Load,
    Refused,
    ToFront,
    Unfit,
    Work,
    framed,
    receive,
)
from wholepage.apps.serving.memory import GivesBack
from wholepage.apps.serving.ranking import answer_pages, measured_pace
from wholepage.apps.serving.served_models import Description, LoadedModel, ModelSpec, load_model
from wholepage.pages.errors import InputError, WholepageError, WorkerLost
from wholepage.pages.model import Page

_LOG = logging.getLogger("wholepage.serving.worker")
_PAGE = msgspec.msgpack.Decoder(Page)

LoadModel = Callable[[ModelSpec], LoadedModel]


class Line:
    """The socket to the front; several threads may speak."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._speaks = threading.Lock()

    def say(self, message: ToFront) -> None:
        """Send one message; the process ends when nobody is there to read it."""
        frame = framed(message)
        with self._speaks:
            try:
                self._connection.sendall(frame)
            except OSError:
                os._exit(0)

    def listen(self, received: queue.SimpleQueue[Work | None]) -> None:
        """Pass on what comes; the process ends with the stream, whatever it is at."""
        try:
            while (message := receive(self._connection, TO_WORKER)) is not None:
                received.put(message if isinstance(message, Work) else None)
        except WorkerLost:
            _LOG.exception("the front said what cannot be read")
        os._exit(0)

    def beat(self, every_s: float) -> None:
        """Say again and again that the process lives."""
        while True:
            time.sleep(every_s)
            self.say(Beat())


def serve_front(connection: socket.socket, load: LoadModel = load_model) -> None:
    """Read models, and rank for the front until it says stop.

    Args:
        connection: to the front.  load: reads a model.
    Raises:
        InputError: the front says something else first.
    """
    line = Line(connection)
    first = receive(connection, TO_WORKER)
    if first is None:  # the front has ended meanwhile
        return
    if not isinstance(first, Load):
        raise InputError(f"worker: got {type(first).__name__} first; allowed: Load; the front starts workers")
    try:
        models = {name: load(spec) for name, spec in first.models.items()}
    except WholepageError as error:
        line.say(Unfit(failure_of(error)))
        return
    _set_threads(first.threads)
    told = tuple(_described(name, model) for name, model in models.items())
    received: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
    threading.Thread(target=line.listen, args=(received,), name="listens", daemon=True).start()
    line.say(Hello(told))
    threading.Thread(target=line.beat, args=(first.beat_s,), name="beats", daemon=True).start()
    memory = GivesBack()
    while (work := received.get()) is not None:
        began = time.perf_counter()
        answers = _answers(models[work.model], work)
        line.say(Done(work.number, answers, time.perf_counter() - began))
        memory.now_and_then()


def _answers(model: LoadedModel, work: Work) -> tuple[Answer, ...]:
    """One answer an item; those that are too late are not computed."""
    now = time.monotonic()
    answers: list[Answer] = [Late()] * len(work.items)
    wanted, pages = [], []
    for place, item in enumerate(work.items):
        if item.deadline <= now:
            continue
        try:
            pages.append(_PAGE.decode(item.page))
            wanted.append(place)
        except msgspec.ValidationError as error:
            answers[place] = Refused(failure_of(InputError(f"page: got {error}; allowed: a page; send it anew")))
    if pages:
        for place, answer in zip(wanted, answer_pages(model.ranker, pages), strict=True):
            answers[place] = answer if isinstance(answer, Refused) else Answered(answer.outcome)
    return tuple(answers)


def _described(name: str, model: LoadedModel) -> Description:
    pace_s = measured_pace(model)
    return Description(name, model.kind, model.modalities, model.ranker.name, model.reads, pace_s)


def _set_threads(count: int) -> None:
    """Torch takes its threads from the environment when it comes, and as many as it likes for what it compiles."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def main(arguments: Sequence[str] | None = None, load: LoadModel = load_model) -> None:
    """The process, from its first line to its last.

    Args:
        arguments: the number of the socket's file descriptor.  load: reads a model.
    """
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    (descriptor,) = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s worker %(process)d: %(message)s")
    serve_front(socket.socket(fileno=int(descriptor)), load)
    # Libraries leave threads behind that need not be waited for.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
