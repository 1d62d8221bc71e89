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
        "captioned": ("captioned", "Captioned"),
        "emoji": ("emoji", "Emoji"),
        "fashion": ("fashion", "Fashion"),
        "financebench": ("financebench", "FinanceBench"),
        "grocery": ("grocery", "Grocery"),
        "image_preferences": ("image_preferences", "ImagePreferences"),
        "jsonl": ("jsonl", "JsonlCollection"),
        "mmdocir": ("mmdocir", "MMDocIR"),
        "mmdocir_train": ("mmdocir_train", "MMDocIRTrain"),
        "opencqa": ("opencqa", "OpenCQA"),
        "rank_lists": ("rank_lists", "RankLists"),
        "synthetic": ("synthetic", "Synthetic"),
        "trec_dl": ("trec_dl", "TrecDl"),
    }
)

_PLACE = ("root", "path")  # where a collection lies

NAMES: tuple[str, ...] = tuple(_WHERE)
"""What ``open_collection`` knows, sorted."""


def open_collection(name: str, root: str | Path | None = None, **options: object) -> Collection:
    """Open a collection by its name.

    Args:
        name: one of ``NAMES``.
        root: the data folder; for ``"jsonl"`` and ``"rank_lists"`` the file or folder read; for ``"captioned"`` and
            ``"mmdocir_train"`` the folder of the data set; ``"synthetic"`` needs none.
        options: keyword arguments of the collection's class.
    Returns:
        The collection; its pages are read when they are asked for.
    Raises:
        InputError: the name or an option is unknown, or the root or one of its files is missing.
    """
    if name not in _WHERE:
        raise InputError(f"collection: got {name!r}; allowed: {', '.join(NAMES)}; choose one of them")
    if name == "synthetic" and root is not None:
        raise InputError(f"collection 'synthetic': got root={str(root)!r}; allowed: none, it reads no files; drop root")
    if name != "synthetic" and root is None:
        raise InputError(
            f"collection {name!r}: got no root; allowed: the folder that holds the data (for 'jsonl' a file or folder "
            "of pages); set WHOLEPAGE_DATA or pass root"
        )
    opened = _class_of(name)
    placed = () if root is None else (Path(root),)
    known = inspect.signature(opened)
    try:
        known.bind(*placed, **options)
    except TypeError as error:
        raise InputError(
            f"collection {name!r}: got options {sorted(options)} ({error}); allowed: {_WHERE[name][1]}{known}; "
            "mend the options"
        ) from error
    return opened(*placed, **options)


def options_of(name: str) -> tuple[str, ...]:
    """The names of the options that a collection takes beside its place.

    Raises:
        InputError: the name is unknown.
    """
    if name not in _WHERE:
        raise InputError(f"collection: got {name!r}; allowed: {', '.join(NAMES)}; choose one of them")
    return tuple(option for option in inspect.signature(_class_of(name)).parameters if option not in _PLACE)


def _class_of(name: str) -> Callable[..., Collection]:
    module, class_name = _WHERE[name]
    return cast(
        "Callable[..., Collection]", getattr(importlib.import_module(f"wholepage.collections.{module}"), class_name)
    )
