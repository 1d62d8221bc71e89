"""Where things lie: the data folder, the cache folder, collections by name, files that must be there.

Two folders, both optional: ``WHOLEPAGE_DATA`` holds real collections and downloaded weights; ``WHOLEPAGE_CACHE``
(default ``~/.cache/wholepage``) keeps vectors and words read from pictures, and may be deleted at any time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from wholepage.collections import NAMES
from wholepage.collections import open_collection as open_by_name
from wholepage.collections.catalogue import ROOTLESS
from wholepage.pages.errors import InputError
from wholepage.pages.protocols import Collection

_OWN_PATH = ("jsonl",)


class NotFound(InputError):
    """What was named is not there: a file, a folder, a collection, a model."""


def data_root(given: str | Path | None = None) -> Path:
    """The folder of real collections and weights: the one given, else ``WHOLEPAGE_DATA``.

    Raises:
        NotFound: neither is set, or it is no folder.
    """
    named = given if given is not None else os.environ.get("WHOLEPAGE_DATA")
    if not named:
        raise NotFound(
            "data folder: got none; allowed: a folder of collections; pass --root (root=... in Python), or set "
            "WHOLEPAGE_DATA"
        )
    root = Path(named).expanduser()
    if not root.is_dir():
        raise NotFound(f"data folder: got {str(named)!r}; allowed: a folder that exists; mend --root or WHOLEPAGE_DATA")
    return root


def cache_folder(given: str | Path | None = None) -> Path:
    """Where vectors are kept: the folder given, else ``WHOLEPAGE_CACHE``, else ``~/.cache/wholepage``."""
    named = given if given is not None else os.environ.get("WHOLEPAGE_CACHE") or "~/.cache/wholepage"
    return Path(named).expanduser()


def file_there(path: str | Path, what: str) -> Path:
    """The path of a file that must be there.

    Args:
        what: what the file is, for the message.
    Raises:
        NotFound: there is no such file.
    """
    found = Path(path).expanduser()
    if not found.is_file():
        raise NotFound(f"{what}: got {str(path)!r}, which is no file; allowed: a file that exists; check the path")
    return found


def open_collection(name: str, root: str | Path | None = None, **options: Any) -> Collection:
    """Open a collection by its name.

    Args:
        name: one of ``NAMES``, such as ``"opencqa"`` or ``"trec_dl"`` of the data folder, ``"qilin"`` or another with
            a folder of its own as root, ``"synthetic"`` (needs no data), or ``"jsonl"`` for files of your own;
            ``wholepage collection list`` says what each is.
        root: the data folder, None = ``WHOLEPAGE_DATA``; for ``"jsonl"`` the file or folder of pages.
        options: keyword arguments of the collection's class.
    Returns:
        The collection; its pages are read when they are asked for.
    Raises:
        NotFound: no such collection, no data folder, or one of its files is missing.
        InputError: an option is unknown or out of range.
    """
    if name not in NAMES:
        raise NotFound(f"collection: got {name!r}; allowed: {', '.join(NAMES)}; choose one of them")
    if name in ROOTLESS:
        return open_by_name(name, root, **options)
    if name in _OWN_PATH:
        if root is None or not Path(root).exists():
            raise NotFound(
                f"collection {name!r}: got root={None if root is None else str(root)!r}; allowed: a file or folder of "
                "pages that exists; pass its path as root"
            )
        return open_by_name(name, root, **options)
    folder = data_root(root)
    try:
        return open_by_name(name, folder, **options)
    except InputError as error:
        if options:  # then it may be the option that is wrong
            raise
        raise NotFound(str(error)) from error
