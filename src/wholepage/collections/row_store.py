"""Records by key, on disk: what must be found again while something else is read row by row.

A table of millions of documents does not fit into memory, and Parquet cannot be read one row at a time. So it is
copied once into an SQLite file, which is asked for the few rows that a page needs.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

from wholepage.pages import InputError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (position INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS filled (stamp TEXT NOT NULL);
"""


class RowStore:
    """Rows of bytes, each under a key; a key may have many, kept in the order they came.

    Args:
        place: the file, made where there is none; None = a temporary one that goes with this object.
    Raises:
        InputError: the file cannot be made, or is something else.
    """

    def __init__(self, place: str | Path | None = None) -> None:
        self.place = None if place is None else Path(place)
        try:
            # An empty name is SQLite's own word for a temporary file on disk.
            self._rows = sqlite3.connect(
                "" if self.place is None else str(self.place), isolation_level=None, check_same_thread=False
            )
            self._rows.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        self._end = weakref.finalize(self, self._rows.close)

    def fill(self, stamp: str, rows: Iterable[tuple[str, bytes]]) -> bool:
        """Copy rows in, all or none; nothing is done where the same stamp was filled in before.

        Args:
            stamp: says what the rows were made of; another one replaces them all.
        Returns:
            Whether rows were copied.
        Raises:
            InputError: the file cannot be written.
        """
        try:
            if self._rows.execute("SELECT stamp FROM filled").fetchall() == [(stamp,)]:
                return False
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                for old in ("DROP INDEX IF EXISTS by_key", "DELETE FROM rows", "DELETE FROM filled"):
                    self._rows.execute(old)
                self._rows.executemany("INSERT INTO rows (key, value) VALUES (?, ?)", rows)
                self._rows.execute("CREATE INDEX by_key ON rows (key, position)")
                self._rows.execute("INSERT INTO filled VALUES (?)", (stamp,))
                self._rows.execute("COMMIT")
            finally:
                if self._rows.in_transaction:
                    self._rows.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return True

    def get(self, key: str) -> list[bytes]:
        """The rows of a key, in the order they came; empty where there are none."""
        found = self._rows.execute("SELECT value FROM rows WHERE key = ? ORDER BY position", (key,))
        return [value for (value,) in found]

    def keys(self) -> Iterator[str]:
        """Every key once, in the order of its first row."""
        for (key,) in self._rows.execute("SELECT key FROM rows GROUP BY key ORDER BY MIN(position)"):
            yield key

    def close(self) -> None:
        """Let go of the file; a temporary one is gone."""
        self._end()

    def _unusable(self, error: sqlite3.Error) -> InputError:
        return InputError(
            f"index {str(self.place) if self.place else '(temporary)'!r}: got {error}; allowed: a file of this "
            "package's own, in a folder that may be written to; name another file"
        )


def stamp_of(paths: Iterable[Path], *parts: str) -> str:
    """What rows were made of: names, sizes and times of files, and whatever else decides."""
    files = (f"{path.name}:{(told := path.stat()).st_size}:{told.st_mtime_ns}" for path in paths)
    return "|".join((*parts, *files))
