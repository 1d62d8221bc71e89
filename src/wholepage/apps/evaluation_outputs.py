"""``wholepage evaluate``: names for rankers, rows for machines, and how a report says it was made."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import wholepage
from wholepage.evaluation.run_comparison import EvaluatedRun, RunComparison
from wholepage.pages.errors import InputError

_LIBRARIES = ("ir_measures", "numpy", "pillow", "scipy")
_ENDINGS = (".gz", ".jsonl", ".json", ".run", ".trec", ".txt", ".tsv")


def ranker_names(paths: Sequence[Path]) -> list[str]:
    """What a report calls the ranker of each file: its name without ending; with its folders where two would be alike.

    Raises:
        InputError: a file is named twice.
    """
    if len(set(paths)) != len(paths):
        raise InputError(f"runs: got {[str(path) for path in paths]}; allowed: each file once; drop the repeats")
    names = [_stem(path.name) for path in paths]
    for depth in range(2, max(len(path.parts) for path in paths) + 1):
        if len(set(names)) == len(names):
            return names
        alike = {name for name in names if names.count(name) > 1}
        names = [
            "/".join([*path.parts[-depth:-1], _stem(path.name)]) if name in alike else name
            for path, name in zip(paths, names, strict=True)
        ]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def made_with(files: Sequence[tuple[str, Path]], remark: str) -> tuple[tuple[str, str], ...]:
    """How a report was made: the command, versions, and a digest of each file; no clock, unless the remark tells one.

    Args:
        files: what each is, and where.
        remark: a line of who asked for the report; empty = none.
    """
    told = [("remark", remark)] if remark else []
    told.append(("command", shlex.join(["wholepage", *sys.argv[1:]])))
    versions = [f"{name} {metadata.version(name)}" for name in _LIBRARIES]
    told.append(
        (
            "versions",
            ", ".join([f"wholepage {wholepage.__version__}", f"Python {platform.python_version()}", *versions]),
        )
    )
    told += [(what, f"{path.name}, sha256 {_digest(path)}") for what, path in files]
    return tuple(told)


def rows_for_json(comparison: RunComparison, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What ``--json`` prints of each run."""
    return [_row(str(path), run) for path, run in zip(paths, comparison.runs, strict=True)]


def _row(path: str, run: EvaluatedRun) -> dict[str, Any]:
    measures = {
        name: {"mean": one.mean, "low": one.low, "high": one.high, "queries": one.queries}
        for name, one in run.estimates.items()
    }
    against = {
        name: {
            "difference": one.difference,
            "low": one.low,
            "high": one.high,
            "p": one.p,
            "p_holm": one.p_holm,
            "queries": one.queries,
        }
        for name, one in run.against_first.items()
    }
    return {"run": path, "measures": measures, "against_first": against}


def _stem(name: str) -> str:
    while True:
        ending = next((end for end in _ENDINGS if name.endswith(end) and name != end), None)
        if ending is None:
            return name
        name = name.removesuffix(ending)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
