"""An engine without a model: words of the query found in a text; and servers and pictures to test with."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from PIL import Image

from wholepage.apps.serving.calls import Call, Outcome, ServedModel, Told, UnknownModel
from wholepage.pages.errors import ImageError

MODEL = ServedModel("words", "overlap", ("text", "image", "video", "answer"))
OTHER = ServedModel("other-words", "overlap", ("text",))


def words_of(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower()))


class FakeEngine:
    """Scores by how many words of the query a text has, a picture by its number of images; slow if told to be.

    Args:
        wait_s: how long a call takes.  refuse: raised at the door.  fail: raised by each call.
        outcome: made of each call instead of the overlap.
    """

    def __init__(
        self,
        *,
        wait_s: float = 0.0,
        refuse: Exception | None = None,
        fail: Exception | None = None,
        outcome: Callable[[Call], Outcome] | None = None,
        ready: bool = True,
        models: Sequence[ServedModel] = (MODEL, OTHER),
    ) -> None:
        self.wait_s, self.refuse, self.fail, self.ready = wait_s, refuse, fail, ready
        self.models = models
        self.outcome = outcome or self.overlap
        self.calls: list[Call] = []
        self.admitted = self.running = self.most_running = self.cancelled = 0

    def admit(self) -> None:
        self.admitted += 1
        if self.refuse is not None:
            raise self.refuse

    async def rank(self, call: Call) -> Outcome:
        if call.model not in [model.name for model in self.models]:
            raise UnknownModel(call.model)
        self.calls.append(call)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.wait_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if self.fail is not None:
            raise self.fail
        return self.outcome(call)

    def overlap(self, call: Call) -> Outcome:
        """Words in common, less one; a picture is worth half a word."""
        wanted = words_of(call.page.query.text)
        scores = [len(wanted & words_of(r.text)) - 1.0 + 0.5 * len(r.images) for r in call.page.results]
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        told = Told(tokens=sum(len(words_of(r.text)) for r in call.page.results), rank_ms=1.25, waited_ms=0.5)
        return Outcome(tuple(order), tuple(scores), "overlap", told)


class FakeFetch:
    """A web of a few addresses; errors among them are raised."""

    def __init__(self, **web: bytes | Exception) -> None:
        self.web = {f"https://pictures.test/{name}.png": found for name, found in web.items()}
        self.asked: list[str] = []

    async def fetch(self, url: str, *, at: str = "") -> bytes:
        self.asked.append(url)
        found = self.web[url]
        if isinstance(found, Exception):
            raise ImageError(url, "missing", str(found), at=at)
        return found


def png(width: int = 2, height: int = 2, colour: str = "red") -> bytes:
    """A small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def base64_of(raw: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(raw).decode()


def data_uri(raw: bytes | None = None) -> str:
    """A small picture as a ``data:`` address."""
    return f"data:image/png;base64,{base64_of(raw or png())}"


@contextmanager
def served(app: Any, **settings: Any) -> Iterator[str]:
    """A real server on a free port of this machine, while the block lasts; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", lifespan="off", **settings)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
