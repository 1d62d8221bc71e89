"""One process at a time at a file or folder, by a lock of the system that ends with its process, however that ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wholepage.pages.errors import InputError

try:
    import fcntl
except ImportError:  # a system without such locks: there, nothing keeps a second process out
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone_at(path: Path, refusal: str) -> Iterator[None]:
    """Keep others out for the length of the block; a disk that knows no locks lets everybody in.

    Args:
        path: a file or folder that is there; it stays as it is.  refusal: what to say where another process is at it.
    Raises:
        InputError: another process is.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(refusal) from error
        except OSError:
            pass  # this disk knows no locks
        yield
    finally:
        os.close(descriptor)
