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
        "baidu_ultr": ("baidu_ultr", "BaiduUltr"),
        "beir": ("beir_folder", "BeirFolder"),
        "captioned": ("captioned", "Captioned"),
        "crossrank": ("crossrank", "CrossRank"),
        "emoji": ("emoji", "Emoji"),
        "fashion": ("fashion", "Fashion"),
        "financebench": ("financebench", "FinanceBench"),
        "grocery": ("grocery", "Grocery"),
        "image_preferences": ("image_preferences", "ImagePreferences"),
        "inquire": ("inquire", "InquireRerank"),
        "ir_datasets": ("ir_datasets_lists", "IrDatasetsLists"),
        "jsonl": ("jsonl", "JsonlCollection"),
        "libsvm": ("libsvm", "LibSvm"),
        "mixbench": ("mixbench", "MixBench"),
        "mmdocir": ("mmdocir", "MMDocIR"),
        "mmdocir_train": ("mmdocir_train", "MMDocIRTrain"),
        "opencqa": ("opencqa", "OpenCQA"),
        "qilin": ("qilin", "Qilin"),
        "rank_lists": ("rank_lists", "RankLists"),
        "synthetic": ("synthetic", "Synthetic"),
        "trec_dl": ("trec_dl", "TrecDl"),
        "vidore": ("vidore", "Vidore"),
    }
)

_PLACE = ("root", "path")  # where a collection lies

ROOTLESS = ("ir_datasets", "synthetic")
"""Those that are opened without a folder of data."""

NAMES: tuple[str, ...] = tuple(_WHERE)
"""What ``open_collection`` knows, sorted."""


def open_collection(name: str, root: str | Path | None = None, **options: object) -> Collection:
    """Open a collection by its name.

    Args:
        name: one of ``NAMES``.
        root: the data folder; for ``"jsonl"`` and ``"rank_lists"`` the file or folder read; for ``"captioned"`` and
            ``"mmdocir_train"`` the folder of the data set; ``ROOTLESS`` ones have none.
        options: keyword arguments of the collection's class.
    Returns:
        The collection; its pages are read when they are asked for.
    Raises:
        InputError: the name or an option is unknown, or the root or one of its files is missing.
    """
    opened = class_of(name)
    if name in ROOTLESS and root is not None:
        raise InputError(
            f"collection {name!r}: got root={str(root)!r}; allowed: none, it reads no files of yours; drop root"
        )
    if name not in ROOTLESS and root is None:
        raise InputError(
            f"collection {name!r}: got no root; allowed: the folder that holds the data (for 'jsonl' a file or folder "
            "of pages); set WHOLEPAGE_DATA or pass root"
        )
    placed = () if root is None else (Path(root),)
    known = inspect.signature(opened)
    try:
        known.bind(*placed, **options)
    except TypeError as error:
        needed = ", ".join(needed_by(name))
        raise InputError(
            f"collection {name!r}: got options {sorted(options)} ({error}); allowed: "
            f"{', '.join(options_of(name)) or 'none'}{needed and f', of which it needs {needed}'}; mend the options"
        ) from error
    return opened(*placed, **options)


def options_of(name: str) -> tuple[str, ...]:
    """The names of the options that a collection takes beside its place.

    Raises:
        InputError: the name is unknown.
    """
    return tuple(option for option in inspect.signature(class_of(name)).parameters if option not in _PLACE)


def needed_by(name: str) -> tuple[str, ...]:
    """The options without which a collection cannot be opened.

    Raises:
        InputError: the name is unknown.
    """
    parameters = inspect.signature(class_of(name)).parameters
    return tuple(one for one in options_of(name) if parameters[one].default is inspect.Parameter.empty)


def class_of(name: str) -> Callable[..., Collection]:
    """The class of a collection; makes one when called.

    Raises:
        InputError: the name is unknown.
    """
    if name not in _WHERE:
        raise InputError(f"collection: got {name!r}; allowed: {', '.join(NAMES)}; choose one of them")
    module, class_name = _WHERE[name]
    return cast(
        "Callable[..., Collection]", getattr(importlib.import_module(f"wholepage.collections.{module}"), class_name)
    )
