"""The collections by name. Nothing is imported before the collection that is asked for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

from wholepage.pages import Collection, InputError

_WHERE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "fashion": ("fashion", "Fashion"),
        "financebench": ("financebench", "FinanceBench"),
        "grocery": ("grocery", "Grocery"),
        "jsonl": ("jsonl", "JsonlCollection"),
        "mmdocir": ("mmdocir", "MMDocIR"),
        "opencqa": ("opencqa", "OpenCQA"),
        "synthetic": ("synthetic", "Synthetic"),
    }
)

NAMES: tuple[str, ...] = tuple(_WHERE)
"""What ``open_collection`` knows, sorted."""


def open_collection(name: str, root: str | Path | None = None, **options: object) -> Collection:
    """Open a collection by its name.

    Args:
        name: one of ``NAMES``.
        root: the data folder; for ``"jsonl"`` the file or folder of pages; ``"synthetic"`` needs none.
        options: keyword arguments of the collection's class.
    Returns:
        The collection; nothing is read before its pages are asked for.
    Raises:
        InputError: the name or an option is unknown, or the root or one of its files is missing.
    """
    if name not in _WHERE:
        raise InputError(f"collection: got {name!r}; allowed: {', '.join(NAMES)}; choose one of them")
    module, class_name = _WHERE[name]
    if name == "synthetic" and root is not None:
        raise InputError(f"collection 'synthetic': got root={str(root)!r}; allowed: none, it reads no files; drop root")
    if name != "synthetic" and root is None:
        raise InputError(
            f"collection {name!r}: got no root; allowed: the folder that holds the data (for 'jsonl' a file or folder "
            "of pages); set WHOLEPAGE_DATA or pass root"
        )
    opened = cast(
        "Callable[..., Collection]", getattr(importlib.import_module(f"wholepage.collections.{module}"), class_name)
    )
    placed = () if root is None else (Path(root),)
    known = inspect.signature(opened)
    try:
        known.bind(*placed, **options)
    except TypeError as error:
        raise InputError(
            f"collection {name!r}: got options {sorted(options)} ({error}); allowed: {class_name}{known}; "
            "mend the options"
        ) from error
    return opened(*placed, **options)
