"""Pages by number, in files of every kind, and jobs over them."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
from pyarrow import parquet

from wholepage.apps.batch.job import Run, run_batch
from wholepage.apps.batch.messages import Engine
from wholepage.apps.batch.plan import Settings
from wholepage.apps.batch.processes import InProcess
from wholepage.pages.model import Modality, Page, Query, Result

WORDS = ["red", "lamp", "shoe", "river", "house", "green", "blue", "table", "chair", "moon", "star", "tree", "road"]


def pages(count: int, *, results: int = 3, words: int = 8) -> list[Page]:
    """Pages that differ, the same ones in every run."""
    draws = random.Random(7)

    def text(length: int) -> str:
        return " ".join(draws.choices(WORDS, k=length))

    return [
        Page(
            Query(f"q{i}", text(2)),
            tuple(Result(f"r{j}", Modality.TEXT, text(words), features={"clicks": float(j)}) for j in range(results)),
        )
        for i in range(count)
    ]


def write_jsonl(path: Path, listed: Sequence[Page]) -> str:
    """One page a line, gzipped by suffix."""
    content = b"".join(msgspec.json.encode(page) + b"\n" for page in listed)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


def write_parquet(path: Path, listed: Sequence[Page], *, rows_of_a_group: int, nested: bool = True) -> str:
    """Nested columns, or one of JSON texts."""
    rows = [msgspec.to_builtins(page) for page in listed]
    table: Any = (
        pyarrow.Table.from_pylist(rows)
        if nested
        else pyarrow.table({"page": [msgspec.json.encode(page).decode() for page in listed]})
    )
    parquet.write_table(table, path, row_group_size=rows_of_a_group)
    return str(path)


def settings(**given: Any) -> Settings:
    """Ranking by BM25 in shards of 20, unless told otherwise."""
    return Settings(**{"task": "rank", "model": "bm25", "shard_rows": 20, "batch_pages": 8, **given})


def job(inputs: str | Sequence[str], out: Path | str, engine: Engine | None = None, **given: Any) -> Run:
    """A job, quietly, in this process unless told otherwise."""
    named = [inputs] if isinstance(inputs, str) else inputs
    return run_batch(
        named, str(out), settings(**given), engine or InProcess(),
        report=lambda done, total, what: None, note=lambda message: None,
    )  # fmt: skip


def records(out: Path) -> list[bytes]:
    """All lines of all shards, in their order."""
    return [line for path in sorted(out.glob("part-*.jsonl")) for line in path.read_bytes().splitlines()]


def files(out: Path) -> dict[str, bytes]:
    """Every file of a folder by its path."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
