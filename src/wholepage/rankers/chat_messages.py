"""Listwise prompts as messages of the chat protocol that OpenAI-compatible servers speak: text and picture parts.

A server writes the frame of the chat itself, and reads control tokens wherever they stand: what a query or a result
says is mended so that it can spell none. Source: own construction.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from wholepage.pages.images import open_image, read_image_bytes, to_data_uri
from wholepage.pages.model import ImageRef, Page, Result
from wholepage.rankers.encoders import ReadBytes, image_key
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.listwise_prompt import OPENING, TASK, Delimiting, Fit
from wholepage.rankers.listwise_words import FENCED, SYSTEM, fence
from wholepage.rankers.permutation import Identifiers
from wholepage.rankers.windows import WindowPlan

Part = dict[str, Any]
Message = dict[str, Any]

_CONTROL = ("<|", "|>", "<s>", "</s>", "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>", "<image>", "<img>")
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class ChatLimits:
    """How much of everything is sent.

    Attributes:
        characters: of one result's text.  query_characters: of the query's.
        pixels: of one picture; a larger one is made smaller.  pictures: of one result; a video's frames beyond them
            are left out evenly.
    """

    characters: int = 1000
    query_characters: int = 500
    pixels: int = 448 * 448
    pictures: int = 4


@dataclass(frozen=True)
class ChatRequest:
    """A page as messages: everything that its windows are made of.

    Attributes:
        system: the system message.  head, task: parts around the results.  entries: parts of each result.
        cut: kept characters by result id, of texts that were cut; the query's under ``""``.
        left: pictures not sent, by result id.
    """

    name: str
    fit: Fit
    system: str
    head: tuple[Part, ...]
    entries: tuple[tuple[Part, ...], ...]
    task: tuple[Part, ...]
    cut: Mapping[str, int]
    left: Mapping[str, int]


@dataclass(frozen=True)
class ChatPrompt:
    """One window as messages, and the identifiers of its results in the order shown."""

    messages: tuple[Message, ...]
    identifiers: Identifiers
    pictures: int
    visual_tokens: int = 0  # the server's affair

    def going_on(self, begun: str) -> list[Message]:
        """The messages with an answer that has begun; "" = nothing of it yet."""
        return [*self.messages, *([{"role": "assistant", "content": begun}] if begun else [])]


class ChatWriter:
    """Writes prompts.

    Args:
        delimiting: ``fenced`` puts texts between marks drawn for the request.
        begun: whether the server goes on with an answer that was begun for the model.
        open_picture, read: how pictures are opened and read.
    """

    def __init__(
        self,
        limits: ChatLimits,
        *,
        delimiting: Delimiting,
        seed: int,
        open_picture: OpenPicture = open_image,
        read: ReadBytes = read_image_bytes,
    ) -> None:
        self._limits, self._delimiting, self._seed = limits, delimiting, seed
        self._open, self._read = open_picture, read

    def requests(self, pages: Sequence[Page], plan: WindowPlan) -> list[ChatRequest]:
        """One request a page; every different picture is opened once.

        Raises:
            ImageError: a picture cannot be read; names the query, and the result's index and id.
        """
        places: dict[ImageRef, str] = {}
        for page in pages:
            if page.query.image is not None:
                places.setdefault(page.query.image, f"query {page.query_id!r}: its image")
            for i, result in enumerate(page.results):
                for ref in self._shown(result):
                    places.setdefault(ref, f"query {page.query_id!r}: results[{i}] {result.result_id!r}")
        keys = {ref: image_key(ref, self._read, at=at) for ref, at in places.items()}
        first = {key: ref for ref, key in reversed(keys.items())}
        sent = {key: self._picture(ref, places[ref]) for key, ref in first.items()}
        parts = {ref: sent[key] for ref, key in keys.items()}
        return [self._request(page, plan, parts) for page in pages]

    def window(self, request: ChatRequest, items: Sequence[int], identifiers: Identifiers) -> ChatPrompt:
        """The messages of a window: these results, in this order, under these identifiers."""
        parts = [*request.head]
        for item, name in zip(items, identifiers.texts, strict=True):
            parts += [_text(f"{OPENING}{name}] "), *request.entries[item]]
        parts += request.task
        joined = _joined(parts)
        messages = ({"role": "system", "content": request.system}, {"role": "user", "content": joined})
        return ChatPrompt(messages, identifiers, sum(part["type"] == "image_url" for part in joined))

    def _request(self, page: Page, plan: WindowPlan, pictures: Mapping[ImageRef, Part]) -> ChatRequest:
        limits, cut, left = self._limits, dict[str, int](), dict[str, int]()
        code = fence(self._seed, page.query_id)
        around = f"<<{code}>>" if self._delimiting == "fenced" else ""
        query, more = _line(page.query.text, limits.query_characters)
        if more:
            cut[""] = len(query)
        asked = [] if page.query.image is None else [pictures[page.query.image]]
        entries = []
        for result in page.results:
            shown = self._shown(result)
            text, more = _line(result.text, limits.characters)
            if more:
                cut[result.result_id] = len(text)
            if len(shown) < len(result.images):
                left[result.result_id] = len(result.images) - len(shown)
            said = f"{around} {text} {around}".strip() if text else ""
            entries.append((*(pictures[ref] for ref in shown), _text(f"{said}\n")))
        again = query or ("the picture shown above" if asked else "")
        return ChatRequest(
            page.query_id,
            Fit(plan, limits.pixels, limits.characters),
            SYSTEM + (FENCED.format(fence=code) if around else ""),
            (_text("Query: "), *asked, _text(f"{query}\n\nResults:\n")),
            tuple(entries),
            (_text(f"\nQuery: {again}{TASK}"),),
            cut,
            left,
        )

    def _shown(self, result: Result) -> tuple[ImageRef, ...]:
        most = self._limits.pictures
        if len(result.images) <= most:
            return result.images
        return tuple(result.images[i] for i in np.linspace(0, len(result.images) - 1, most).round().astype(int))

    def _picture(self, ref: ImageRef, at: str) -> Part:
        return picture_part(self._open(ref, at=at), self._limits.pixels)


def picture_part(picture: Image.Image, pixels: int) -> Part:
    """A picture as part of a message, made smaller where it has more pixels."""
    shrink = math.sqrt(pixels / (picture.width * picture.height))
    if shrink < 1:
        picture = picture.resize((max(1, int(picture.width * shrink)), max(1, int(picture.height * shrink))))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    uri = to_data_uri(buffer.getvalue())
    # Servers that know the field find a picture again by it, and neither decode nor encode it twice.
    return {"type": "image_url", "image_url": {"url": uri}, "uuid": hashlib.sha256(uri.encode()).hexdigest()[:32]}


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring texts as one."""
    joined: list[Part] = []
    for part in parts:
        if part["type"] == "text" and joined and joined[-1]["type"] == "text":
            joined[-1] = _text(joined[-1]["text"] + part["text"])
        else:
            joined.append(part)
    return joined


def _line(text: str, most: int) -> tuple[str, bool]:
    """The beginning of a text as one line that spells no control token, and whether there was more."""
    line = " ".join(text[: 4 * most + 1000].split())
    for mark in _CONTROL:
        line = line.replace(mark, f"{mark[0]} {mark[1:]}")
    return line[:most], len(line) > most or len(text) > 4 * most + 1000
