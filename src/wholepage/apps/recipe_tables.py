"""How recipes are read: TOML, strictly, every error with the file, the table and the field; paths beside the file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from wholepage.apps.places import file_there
from wholepage.pages.errors import RecordError


def read_tables(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file that was named, and its tables as they are written.

    Raises:
        NotFound: there is no such file.
        RecordError: it is not TOML.
    """
    path = file_there(path, "recipe")
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecordError(path, 0, "file", str(error), "TOML in UTF-8", "mend the file") from error


def filled(default: msgspec.Struct | None, table: Any) -> Any:
    """A table whose own tables are filled up from the defaults of what it sets.

    ``[smar.loop]`` with one field changes that field of SMAR's loop; it is not a loop of another's defaults.
    """
    if default is None or not isinstance(table, dict):
        return table
    made = dict(table)
    for name, value in table.items():
        inner = getattr(default, name, None)
        if isinstance(value, dict) and isinstance(inner, msgspec.Struct):
            made[name] = msgspec.to_builtins(inner) | filled(inner, value)
    return made


def as_json(path: Path, tables: Mapping[str, Any]) -> bytes:
    """The tables as the JSON whose reader names the field of an error.

    Raises:
        RecordError: a value that JSON does not have, such as a date.
    """
    try:
        return msgspec.json.encode(tables)
    except (TypeError, OverflowError) as error:
        raise RecordError(path, 0, "file", str(error), "plain values", "mend the file") from error


def whole(folder: Path, path: str | None) -> str | None:
    """A path made whole: a relative one lies in the folder."""
    return None if path is None else os.path.normpath(folder / Path(path).expanduser())


def named(folder: Path, model: str) -> str:
    """What starts as a path does made whole; anything else is a name or a hub id."""
    return str(whole(folder, model)) if model.startswith((".", "~", "/")) else model
