"""What the commands say: progress and notes on stderr, tables or JSON on stdout, files that are whole or not there."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

Report = Callable[[int, int, str], None]
"""``report(done, total, what)``."""

STDOUT = "-"


def note(message: str) -> None:
    """A line on stderr, for people."""
    print(message, file=sys.stderr)


@contextmanager
def progress() -> Iterator[Report]:
    """A bar on stderr for each thing that is reported; gone when done, and silent where there is no terminal."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def report(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


def print_json(value: object) -> None:
    """One JSON document on stdout; NaN becomes null, as JSON has none."""
    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: Container[str] = ()
) -> None:
    """A table on stdout; the first column and those of words to the left, the others to the right.

    Args:
        words: the names of the columns that hold words, not numbers.
    """
    # Text, for what stands in a page must not be read as markup: "[/b]" in it would be an error.
    table = Table(title=Text(title), title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index and column not in words else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    # a file or pipe has no width of its own: never cut a number there
    (console if console.is_terminal else Console(width=max(200, console.width))).print(table)


def number(value: float | None) -> str:
    """A measure for a table; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def deliver(output: str, name: str, write: Callable[[Path], object]) -> None:
    """Have a file written in its place, or on stdout when ``output`` is ``"-"``.

    Args:
        name: what the file would be called, whose suffix says its format.
        write: writes a file at the path given, whole or not at all.
    """
    if output != STDOUT:
        place = Path(output).expanduser()
        place.parent.mkdir(parents=True, exist_ok=True)
        write(place)
        return
    with tempfile.TemporaryDirectory() as folder:  # readers of stdout, too, get all of it or nothing
        place = Path(folder) / name
        write(place)
        sys.stdout.write(place.read_text(encoding="utf-8"))
        sys.stdout.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
