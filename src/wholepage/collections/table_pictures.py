"""Pictures in the cells of a table, as files: Parquet cannot be read one picture at a time.

A cell holds the bytes, or a record ``{"bytes", "path"}`` as the ``datasets`` library writes it. Each picture is
written once, named by its checksum, so the same picture in many rows is one file.
"""

from __future__ import annotations

from pathlib import Path

from wholepage.collections.synthetic_drawing import filed
from wholepage.collections.table_files import Row
from wholepage.pages import ImageRef

_BEGINNINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


def picture_of(row: Row, column: str, folder: Path) -> ImageRef | None:
    """The picture of a cell as a file in a folder; None where the cell is empty.

    Raises:
        RecordError: the cell holds something else than PNG, JPEG or WEBP.
    """
    cell = row.cells.get(column)
    raw = cell.get("bytes") if isinstance(cell, dict) else cell
    if raw is None:
        return None
    ending = next((one for start, one in _BEGINNINGS.items() if isinstance(raw, bytes) and raw.startswith(start)), None)
    if ending is None:
        raise row.error(column, type(raw).__name__, "the bytes of a PNG, JPEG or WEBP", "fetch the table again")
    return filed(raw, folder, ending)
