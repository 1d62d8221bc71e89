"""Every error wholepage raises, as one tree.

WholepageError
├─ InputError(ValueError)      what came in cannot be used
│  ├─ RecordError              a line of a file: says file:line, field
│  ├─ PageError                a page or ranking breaks its own rules (duplicate ids, unknown id)
│  ├─ ShapeError               two arrays that must agree do not
│  ├─ NoRanker                 a page holds a modality that nothing here can order
│  └─ Halted                   a campaign is closed, or it or an annotator is paused
├─ ImageError                  missing . unreadable . too large . scheme not allowed
├─ MissingExtra(ImportError)   an optional library is not installed; names the extra
├─ WeightsError                a model folder of the wrong kind, version or checksum
├─ DecodingError               a ranker broke the permutation rules
├─ WorkerLost                  a worker process was killed from outside
├─ EndpointError               a model behind an address cannot be reached, refuses, or answers something else
├─ StoreError                  a database of answers cannot be used: newer than the program, busy, damaged
│  └─ ChainBroken              a log of events was changed: names the first bad row
├─ SignInRefused               a wrong name or password, or too many tries
└─ BudgetSpent                 a campaign has no question left to buy

Each message says what was got, what is allowed, and what to do.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType


class WholepageError(Exception):
    """The root: catch it to catch everything this package raises on purpose."""


class InputError(WholepageError, ValueError):
    """What came in cannot be used as it is."""


class RecordError(InputError):
    """One record of a file cannot be read.

    Attributes:
        path, line, field: where it is; ``line`` counts from 1, 0 = the whole file.
    """

    def __init__(self, path: object, line: int, field: str, got: str, allowed: str, do: str) -> None:
        self.path, self.line, self.field = str(path), line, field
        self._parts = (str(path), line, field, got, allowed, do)
        where = f"{path}:{line}" if line else f"{path}"
        super().__init__(f"{where}: {field}: got {got}; allowed: {allowed}; {do}")

    def __reduce__(self) -> tuple[type[RecordError], tuple[str, int, str, str, str, str]]:
        # An error of a worker process must arrive whole: by default only the message would be handed to __init__.
        return type(self), self._parts


class PageError(InputError):
    """A page, ranking or judgment breaks its own rules."""


class ShapeError(InputError):
    """Arrays or tensors that must agree in shape do not."""


class NoRanker(InputError):
    """A page holds a modality that no ranker at hand can order."""


class Halted(InputError):
    """A campaign is closed, or it or the annotator is paused: nothing is asked and nothing taken in."""


class ImageError(WholepageError):
    """A picture is missing, unreadable, too large, or its address is not allowed.

    Attributes:
        uri: the address (data: URIs are shortened); reason: one word of
            ``missing``, ``unreadable``, ``too-large``, ``scheme``.
    """

    def __init__(self, uri: str, reason: str, detail: str, *, at: str = "") -> None:
        self.uri, self.reason, self.at = shorten(uri), reason, at
        place = f"{at}: " if at else ""
        self._detail = detail
        super().__init__(f"{place}image {self.uri!r} is {reason}: {detail}")

    def __reduce__(self) -> tuple[Callable[..., ImageError], tuple[str, str, str, str]]:
        return _image_error, (self.uri, self.reason, self._detail, self.at)


def _image_error(uri: str, reason: str, detail: str, at: str) -> ImageError:
    return ImageError(uri, reason, detail, at=at)


class MissingExtra(WholepageError, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""


class WeightsError(WholepageError):
    """A model folder is not what it should be: kind, format version, or checksum."""


class DecodingError(WholepageError):
    """A ranker returned something that is not a permutation of its page."""


class WorkerLost(WholepageError):
    """A worker process ended before its work was done: killed from outside, or for want of memory."""


class EndpointError(WholepageError):
    """A model behind an address cannot be reached, refuses, or does not answer what it was asked.

    Attributes:
        reason: one word of ``unreachable``, ``timeout``, ``busy``, ``refused``, ``malformed``.
    """

    def __init__(self, message: str, *, reason: str = "malformed") -> None:
        self.reason = reason
        super().__init__(message)


class StoreError(WholepageError):
    """A database of answers cannot be used: newer than the program, busy, damaged, or not what it should be."""


class ChainBroken(StoreError):
    """A log of events is not as it was written.

    Attributes:
        seq: the first bad row; all before it are right.
        wrong: one word of ``hash``, ``gap``, ``unreadable``.
        log: what the log is called; empty when it has no name.
    """

    def __init__(self, seq: int, wrong: str, detail: str, *, log: str = "") -> None:
        self.seq, self.wrong, self.log = seq, wrong, log
        self._detail = detail
        place = f"log {log!r}, row {seq}" if log else f"log, row {seq}"
        super().__init__(f"{place}: {wrong}: {detail}; bring the log back from a copy, and trust no row from here on")

    def __reduce__(self) -> tuple[Callable[..., ChainBroken], tuple[int, str, str, str]]:
        return _chain_broken, (self.seq, self.wrong, self._detail, self.log)


def _chain_broken(seq: int, wrong: str, detail: str, log: str) -> ChainBroken:
    return ChainBroken(seq, wrong, detail, log=log)


class SignInRefused(WholepageError):
    """Nobody may come in with this: a wrong name or password, or too many tries of late.

    Attributes:
        wait_s: seconds until the name may be tried again; 0 = at once.
    """

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        self.wait_s = wait_s
        super().__init__(message)


class BudgetSpent(WholepageError):
    """The campaign has no question left to buy."""


def shorten(text: str, limit: int = 80) -> str:
    """Cut a long address or text for a message, so that base64 never fills a log."""
    return text if len(text) <= limit else f"{text[: limit - 15]}...({len(text)} chars)"


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library, or say which extra brings it.

    Args:
        module: the import name, such as ``"bm25s"``.
        extra: the extra of this package that installs it, such as ``"text"``.
    Raises:
        MissingExtra: the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f"got no module {module!r}; it comes with the extra {extra!r}; run: pip install 'wholepage[{extra}]'"
        ) from error
