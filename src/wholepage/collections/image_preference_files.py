"""The files below ``image_search_preferences/``: tables with a header, plain or gzipped, read strictly."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wholepage.pages import InputError, RecordError
from wholepage.pages.lines import read_lines, text_of

FOLDER = "image_search_preferences"


class Line(NamedTuple):
    """One line of a table, its values in the order of the header; raises errors that say where."""

    path: Path
    number: int
    names: tuple[str, ...]
    values: tuple[str, ...]

    def error(self, field: str, got: str, allowed: str, do: str = "mend the line") -> RecordError:
        """The error to raise for one field of this line."""
        return RecordError(self.path, self.number, field, got, allowed, do)

    def text(self, name: str) -> str:
        """A value that is not blank.

        Raises:
            RecordError: it is.
        """
        value = self.values[self.names.index(name)]
        if not value.strip():
            raise self.error(name, repr(value), "some text")
        return value

    def whole(self, name: str, low: int, high: int | None = None) -> int:
        """A whole number from ``low`` to ``high``; ``2.0`` is one too, as the files have both spellings.

        Raises:
            RecordError: it is something else.
        """
        value = self.values[self.names.index(name)]
        number = self._number(name, value)
        if number != math.floor(number) or number < low or (high is not None and number > high):
            raise self.error(
                name, repr(value), f"whole numbers from {low}" + (f" to {high}" if high is not None else "")
            )
        return int(number)

    def real(self, name: str, low: float, high: float) -> float:
        """A number from ``low`` to ``high``.

        Raises:
            RecordError: it is something else.
        """
        value = self.values[self.names.index(name)]
        number = self._number(name, value)
        if not low <= number <= high:
            raise self.error(name, repr(value), f"numbers from {low:g} to {high:g}")
        return number

    def _number(self, name: str, value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise self.error(name, repr(value), "a number") from None
        if not math.isfinite(number):
            raise self.error(name, repr(value), "a finite number")
        return number


def file_of(root: str | Path, name: str) -> Path:
    """A file of the data set by its plain name; with ``.gz`` behind it, it is found too.

    Args:
        root: the data folder, with ``image_search_preferences/``.
    Raises:
        InputError: it is not there.
    """
    folder = Path(root).resolve() / FOLDER
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise InputError(
        f"collection 'image_preferences': got no {name} or {name}.gz in {str(folder)!r}; allowed: a data folder that "
        f"holds {FOLDER}/; set WHOLEPAGE_DATA or pass root"
    )


def table(path: Path, header: Sequence[str], names: Sequence[str]) -> Iterator[Line]:
    """The lines of a table below its header, one at a time.

    Args:
        header: the first line of the file as it must be, column by column; tabs or commas by the name of the file.
        names: what to call the columns; more names than headings where the last heading stands for several columns.
    Raises:
        RecordError: another header, or a line with another number of values.
    """
    named = tuple(names)
    for number, raw in read_lines(path):
        values = _split(path, number, text_of(path, number, raw).rstrip("\r\n"))
        if number == 1:
            if values != tuple(header):
                raise RecordError(path, 1, "header", repr(values), repr(tuple(header)), "bring the header back")
            continue
        if len(values) != len(named):
            raise RecordError(
                path, number, "line", f"{len(values)} values", f"{len(named)} ({', '.join(named)})", "mend the line"
            )
        yield Line(path, number, named, values)


def _split(path: Path, number: int, text: str) -> tuple[str, ...]:
    if ".tsv" in path.name:
        return tuple(text.split("\t"))
    try:
        return tuple(next(csv.reader([text], strict=True)))
    except csv.Error as error:
        raise RecordError(path, number, "line", str(error), "values with commas between", "mend the line") from error
