"""Where in a data folder a collection lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from wholepage.collections.table_files import Row
from wholepage.pages import InputError


def home_of(name: str, root: str | Path, folders: Sequence[str], holds: Callable[[Path], bool], what: str) -> Path:
    """The folder itself where it holds the collection, else the first of the folders named below it that does.

    Args:
        name: the collection, for the message.
        holds: whether a folder holds it.
        what: what must be there, in words.
    Raises:
        InputError: neither does.
    """
    asked = Path(root).resolve()
    for folder in (asked, *(asked / one for one in folders)):
        if folder.is_dir() and holds(folder):
            return folder
    raise InputError(
        f"collection {name!r}: got {str(root)!r}, which does not hold it; allowed: a folder with {what}, or a data "
        f"folder with such a folder named {' or '.join(folders)}; fetch the files or mend the path"
    )


def inside(row: Row, field: str, folder: Path, path: str) -> Path:
    """A path of a table as one below a folder.

    Raises:
        RecordError: it leads out of the folder.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise row.error(field, repr(path), "a relative path that stays in its folder")
    return folder.joinpath(*parts.parts)
