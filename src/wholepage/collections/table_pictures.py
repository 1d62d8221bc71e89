"""Pictures in the cells of a table, as files: Parquet cannot be read one picture at a time.

A cell holds the bytes, or a record ``{"bytes", "path"}`` as the ``datasets`` library writes it. Each picture is
written once, named by its checksum, so the same picture in many rows is one file.
"""

from __future__ import annotations

from pathlib import Path

from wholepage.collections.synthetic_drawing import filed
from wholepage.collections.table_files import Row
from wholepage.pages import ImageRef, InputError

_BEGINNINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


def picture_of(row: Row, column: str, folder: Path) -> ImageRef | None:
    """The picture of a cell as a file in a folder; None where the cell is empty.

    Raises:
        RecordError: the cell holds something else than PNG, JPEG or WEBP.
        InputError: the folder cannot be written to.
    """
    cell = row.cells.get(column)
    raw = cell.get("bytes") if isinstance(cell, dict) else cell
    if raw is None:
        return None
    ending = next((one for start, one in _BEGINNINGS.items() if isinstance(raw, bytes) and raw.startswith(start)), None)
    if ending is None:
        raise row.error(column, type(raw).__name__, "the bytes of a PNG, JPEG or WEBP", "fetch the table again")
    try:
        return filed(raw, folder, ending)
    except OSError as error:
        raise _not_writable(folder, error) from error


def picture_folder(folder: Path) -> Path:
    """The folder for pictures, made where there is none.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error
    return folder


def _not_writable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"pictures: got {str(folder)!r} ({error.strerror or error}); allowed: a folder that may be written to, with "
        "room for the pictures of the tables; pass another as pictures"
    )
