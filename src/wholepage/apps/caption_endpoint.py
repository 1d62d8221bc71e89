"""Captions written by a vision-language model behind an OpenAI-compatible address; pictures are sent with the request.

captioner = EndpointCaptioner(ChatEndpoint("https://.../v1", "some-model", cache=Path("answers")))
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from wholepage.apps.chat_endpoint import ChatEndpoint
from wholepage.pages.errors import EndpointError, InputError
from wholepage.pages.images import open_image
from wholepage.pages.model import ImageRef
from wholepage.rankers.caption_words import CAPTION_SYSTEM, CaptionLength
from wholepage.rankers.chat_messages import Message, picture_part
from wholepage.rankers.image import OpenPicture


class EndpointCaptioner:
    """Describes pictures with a model that is served elsewhere, several at a time.

    Args:
        endpoint: who is asked; it repeats what a slow or busy server did not answer.
        length: of captions in words.  pixels: of one picture; a larger one is made smaller.
        tries: how often one picture is shown until something is said of it.
        workers: requests at a time.
    Attributes:
        declined: pictures of which nothing was said after all tries, such as those that the model refuses to describe;
            their captions are empty.
    Raises:
        InputError: a number below 1.
    """

    def __init__(
        self,
        endpoint: ChatEndpoint,
        *,
        length: CaptionLength | None = None,
        pixels: int = 768 * 768,
        tries: int = 2,
        workers: int = 8,
        open_picture: OpenPicture = open_image,
    ) -> None:
        if min(pixels, tries, workers) < 1:
            raise InputError(
                f"captioner: got {pixels} pixels, {tries} tries, {workers} workers; allowed: 1 or more; change it"
            )
        self._endpoint, self._pixels, self._tries, self._workers = endpoint, pixels, tries, workers
        self.length, self._open = length or CaptionLength(), open_picture
        self.declined, self._lock = 0, Lock()
        words = f"{self.length.least} to {self.length.most} words"
        self.name = f"caption({endpoint.model}, {words}, {pixels} pixels)"

    def caption(self, images: Sequence[ImageRef]) -> list[str]:
        """One caption a picture, in their order; empty where the model says nothing.

        Raises:
            ImageError: a picture cannot be read.
            EndpointError: the server cannot be reached, is too slow or too busy, or refuses the request.
        """
        with ThreadPoolExecutor(self._workers) as workers:
            futures = [workers.submit(self._caption, ref, f"images[{i}]") for i, ref in enumerate(images)]
            try:
                return [future.result() for future in futures]
            finally:
                workers.shutdown(cancel_futures=True)

    def _caption(self, ref: ImageRef, at: str) -> str:
        shown = picture_part(self._open(ref, at=at), self._pixels)
        messages: list[Message] = [
            {"role": "system", "content": CAPTION_SYSTEM},
            {"role": "user", "content": [shown, {"type": "text", "text": self.length.task}]},
        ]
        for _ in range(self._tries):
            try:
                said = self.length.cut(self._endpoint(messages))
            except EndpointError as error:
                if error.reason != "malformed":
                    raise
                continue
            if said:
                return said
        with self._lock:
            self.declined += 1
        return ""
