"""Who may ask, and how often: keys that are kept as digests only, each with its own bucket of requests.

A file of keys holds one a line, as it is or as ``sha256:`` and its digest in hex; a name may stand before it. Empty
lines and those that begin with ``#`` are overlooked.

    # printf %s "$KEY" | sha256sum
    search-team  sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from wholepage.apps.serving.limits import ServingSettings
from wholepage.pages.errors import InputError, RecordError, WholepageError

LEAST_CHARS = 16

_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_KEY = re.compile(r"[!-~]+")


class KeyRefused(WholepageError):
    """No key came with the request, or one that is not known."""


class TooManyRequests(WholepageError):
    """A key has used up its requests; the next is due in ``retry_after_s``."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Bucket:
    """Requests that a key has left: filled at a rate, up to a number.

    Args:
        rate: requests a second.  size: how many may come at once.  now_s: when it is made, and full.
    """

    def __init__(self, rate: float, size: int, now_s: float) -> None:
        self._rate, self._size = rate, size
        self._left, self._at_s = float(size), now_s

    def take(self, now_s: float) -> float:
        """Take one request; seconds until there is one when there is none, and none is taken."""
        self._left = min(self._size, self._left + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = max(now_s, self._at_s)
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0


class Keys:
    """The keys of a server. One without any lets everybody in, and counts nobody's requests.

    Args:
        digests: sha256 of every key.
        settings: the rate of each.
        clock: tells seconds that never run back.
    """

    def __init__(
        self, digests: Iterable[bytes], settings: ServingSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._digests = frozenset(digests)
        self._rate, self._burst, self._clock = settings.requests_per_s, settings.burst, clock
        self._buckets: dict[bytes, Bucket] = {}

    def __len__(self) -> int:
        return len(self._digests)

    def admit(self, authorization: str | None) -> None:
        """Let a request in, by its ``Authorization`` header.

        Raises:
            KeyRefused: keys are asked for, and it brings none that is known.
            TooManyRequests: its key has none left for now.
        """
        if not self._digests:
            return
        given = _sent(authorization)
        # Digests are compared, never keys: how long it takes tells nothing that a stranger could use.
        if given not in self._digests:
            raise KeyRefused("got a key that is not known; allowed: one of the server's; ask its keeper for one")
        if self._rate:
            now_s = self._clock()
            wait_s = self._buckets.setdefault(given, Bucket(self._rate, self._burst, now_s)).take(now_s)
            if wait_s:
                raise TooManyRequests(
                    f"got more than {self._burst} requests at once, or {self._rate:g} a second, with one key; "
                    f"allowed: those; wait {wait_s:.1f} s",
                    wait_s,
                )


def keys_from_file(path: str | Path) -> list[bytes]:
    """The digests of the keys in a file.

    Raises:
        FileNotFoundError: there is none.
        RecordError: a line is no key, or the same key as another; names the line, never the key.
    """
    digests: dict[bytes, int] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if len(words) > 2:
                raise InputError(f"{len(words)} words")
            digest = digest_of(words[-1])
        except InputError as error:
            allowed = f"[name] and a key of {LEAST_CHARS} characters or more, or sha256:<64 hex digits>"
            raise RecordError(path, number, "key", str(error), allowed, "mend the line") from error
        if digest in digests:
            raise RecordError(
                path, number, "key", f"the key of line {digests[digest]} again", "each once", "drop a line"
            )
        digests[digest] = number
    return list(digests)


def keys_from_environment(variable: str, environment: Mapping[str, str] = os.environ) -> list[bytes]:
    """The digests of the keys in a variable, which are parted by commas or blanks; none when it is not set.

    Raises:
        InputError: one of them is no key.
    """
    found = environment.get(variable, "").replace(",", " ").split()
    try:
        return list(dict.fromkeys(digest_of(key) for key in found))
    except InputError as error:
        raise InputError(
            f"{variable}: got {error}; allowed: keys of {LEAST_CHARS} characters or more, or sha256:<64 hex digits>"
        ) from error


def digest_of(key: str) -> bytes:
    """The digest of a key, or that which is written.

    Raises:
        InputError: too short to be a key, or of other than printable ASCII; the message does not hold the key.
    """
    if found := _DIGEST.fullmatch(key):
        return bytes.fromhex(found[1])
    if len(key) < LEAST_CHARS or not _KEY.fullmatch(key) or key.startswith("sha256:"):
        raise InputError(f"a word of {len(key)} characters that is no key")
    return hashlib.sha256(key.encode()).digest()


def _sent(authorization: str | None) -> bytes:
    """The digest of the key in a header.

    Raises:
        KeyRefused: there is none.
    """
    scheme, _, key = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise KeyRefused("got no key; allowed: the header 'Authorization: Bearer <key>'; send yours")
    return hashlib.sha256(key.strip().encode("latin-1", "replace")).digest()
