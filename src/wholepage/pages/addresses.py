"""The parts of a picture's address: which scheme, which file, which member of an archive.

A plain path, ``file:``, ``data:``, ``zip:archive.zip!/member`` or http(s). Two or more letters, digits or ``+.-``
before a colon are taken for a scheme (one letter is a drive); write ``./ab:c.png`` for such a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def scheme_of(uri: str) -> str:
    """The scheme of an address in lower case; empty for a plain path."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else ""


def file_of(uri: str) -> str | None:
    """The path of a ``file:`` address; None when it names another machine or a relative path."""
    rest = uri.partition(":")[2]
    if rest.startswith("//"):
        host, _, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            return None
        rest = f"/{path}"
    if not rest.startswith("/"):
        return None
    path = unquote(rest)
    # file:///C:/a.png names C:/a.png where there are drives.
    return path[1:] if os.name == "nt" and re.match(r"/[A-Za-z]:", path) else path


def archive_and_member(uri: str) -> tuple[str, str] | None:
    """The two halves of ``zip:archive.zip!/member``; None when one is missing. Nothing is unquoted."""
    archive, _, member = uri.partition(":")[2].partition("!/")
    return (archive, member) if archive and member else None


def beside(uri: str, folder: Path) -> str:
    """A relative path as a path in ``folder``; every other address as it is."""
    return uri if scheme_of(uri) or os.path.isabs(uri) else os.path.join(folder, uri)
