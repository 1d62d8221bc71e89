"""How much a request may ask for, and how long it may take."""

from __future__ import annotations

import math

import msgspec

from wholepage.pages.errors import InputError
from wholepage.pages.images import MAX_BYTES


class ServingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one request may bring.

    Attributes:
        max_body_bytes: of a request's body; pictures in it count as they are sent.
        max_bytes_under_way: of all bodies that are read or ranked at a time; more requests are told to come back.
        max_documents: of a request, and pairs of ``/score``.
        max_query_chars: of the query's words: a ranker reads them again with every document.
        max_pictures: of a request, the query's included.
        max_picture_bytes, max_pixels: of one picture; looked at before it is decoded, which takes at most some 280 MB.
        timeout_s: within which a request is answered when it does not say; counted from its first byte.
        max_timeout_s: the longest that ``X-Request-Timeout-Ms`` can ask for.
        requests_per_s, burst: a key's rate, and how many requests it may send at once; 0.0 = as many as it likes.
        pairs_at_once: of one ``/score`` request that the engine is given at a time.
    Raises:
        InputError: a number that is not positive, or not finite; or two that do not fit.
    """

    max_body_bytes: int = 32 * 2**20
    max_bytes_under_way: int = 512 * 2**20
    max_documents: int = 1000
    max_query_chars: int = 32_768
    max_pictures: int = 256
    max_picture_bytes: int = MAX_BYTES
    max_pixels: int = 4096 * 4096
    timeout_s: float = 30.0
    max_timeout_s: float = 120.0
    requests_per_s: float = 0.0
    burst: int = 20
    pairs_at_once: int = 16

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value, least = getattr(self, name), 0 if name == "requests_per_s" else 1e-3
            if not math.isfinite(value) or value < least:
                raise InputError(f"ServingSettings.{name}: got {value}; allowed: a positive number; mend the settings")
        if self.max_body_bytes > self.max_bytes_under_way:
            raise InputError(
                f"ServingSettings.max_body_bytes: got {self.max_body_bytes}; allowed: up to max_bytes_under_way, "
                f"{self.max_bytes_under_way}; lower the one or raise the other"
            )
        if self.timeout_s > self.max_timeout_s:
            raise InputError(
                f"ServingSettings.timeout_s: got {self.timeout_s}; allowed: up to max_timeout_s, {self.max_timeout_s}; "
                "lower the one or raise the other"
            )
