"""Where shards are read and written: a path, or an address such as ``s3://bucket/folder``.

``s3://`` and ``gs://`` are opened by pyarrow, whose options follow a question mark
(``s3://bucket/pages?endpoint_override=host:9000&scheme=http``); every other scheme by fsspec. A file appears whole or
not at all: on a disk by renaming, in an object store because an object is there only when all of it has come.
"""

from __future__ import annotations

import fnmatch
import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

import pyarrow
from pyarrow import fs as pyarrow_fs

from wholepage.apps.places import NotFound
from wholepage.pages.addresses import scheme_of
from wholepage.pages.errors import InputError, require
from wholepage.pages.lines import atomic_write

_BUFFER_BYTES = 1 << 20
_BY_PYARROW = ("file", "s3", "gs", "gcs")
_WILD = re.compile(r"[*?\[]")
_DRAFT = re.compile(r"\.[0-9a-f]{16}\.tmp")


@dataclass(frozen=True)
class Stamp:
    """What a file looked like: its size and when it was written (nanoseconds; 0 = not told)."""

    bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Place:
    """A file or folder, somewhere.

    Attributes:
        files: the file system.  path: in it.
        shown: the address as messages and manifests say it, without options and keys.
    """

    files: Any
    path: str
    shown: str

    @property
    def local(self) -> bool:
        """It lies on a disk of this machine."""
        return isinstance(self.files, pyarrow_fs.LocalFileSystem)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def child(self, name: str) -> Place:
        """What is called so in this folder."""
        return Place(self.files, f"{self.path.rstrip('/')}/{name}", f"{self.shown.rstrip('/')}/{name}")

    def stamp(self) -> Stamp | None:
        """Size and time of a file; None where there is none."""
        info = self.files.get_file_info(self.path)
        if info.type != pyarrow_fs.FileType.File:
            return None
        return Stamp(int(info.size), int(info.mtime_ns or 0))

    def is_folder(self) -> bool:
        """There is a folder, or there are objects under that name."""
        return bool(self.files.get_file_info(self.path).type == pyarrow_fs.FileType.Directory)

    def listed(self) -> list[Place]:
        """The files in this folder, by name; none where there is no folder.

        Raises:
            InputError: it is a file, or holds a name that is no UTF-8.
        """
        try:
            found = self.files.get_file_info(pyarrow_fs.FileSelector(self.path, allow_not_found=True))
        except NotADirectoryError as error:
            raise InputError(f"{self.shown}: got a file; allowed: a folder; name another") from error
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.shown}: got the name of a file that is not UTF-8; allowed: names in UTF-8; rename it"
            ) from error
        names = sorted(info.base_name for info in found if info.type == pyarrow_fs.FileType.File)
        return [self.child(name) for name in names]

    def opened(self) -> IO[bytes]:
        """The bytes of a file, from the start; it can be read from any place.

        Raises:
            NotFound: there is no such file.
        """
        try:
            if self.local:
                return open(self.path, "rb", buffering=_BUFFER_BYTES)
            return io.BufferedReader(self.files.open_input_file(self.path), _BUFFER_BYTES)
        except FileNotFoundError as error:
            raise NotFound(
                f"{self.shown}: got no such file; allowed: a file that is there; check the address"
            ) from error

    def arrow(self) -> Any:
        """The file for pyarrow's own readers."""
        return self.files.open_input_file(self.path)

    def read_bytes(self) -> bytes:
        """All of a small file."""
        with self.opened() as file:
            return file.read()

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A file that is there when the block ends without error, and not before.

        An upload that breaks off may leave a part of an object behind where the store lets it; who trusts a file reads
        its digest first (``job``).
        """
        if self.local:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path, "wb") as file:
                yield file
            return
        with tempfile.TemporaryFile() as draft:
            yield draft
            draft.seek(0)
            if self.files.type_name.startswith("py::fsspec"):
                self.files.create_dir(self.path.rpartition("/")[0], recursive=True)
            with self.files.open_output_stream(self.path) as stream:
                shutil.copyfileobj(draft, stream, _BUFFER_BYTES)

    def write_bytes(self, content: bytes) -> None:
        """A small file, whole."""
        with self.writing() as file:
            file.write(content)

    def remove(self) -> None:
        """Delete a file that is there."""
        self.files.delete_file(self.path)

    def remove_drafts(self) -> None:
        """Delete what writers that were killed left behind in this folder."""
        for place in self.listed():
            if _DRAFT.fullmatch(place.name):
                place.remove()


def place_of(address: str) -> Place:
    """The place that an address names; nothing need be there yet.

    Raises:
        InputError: a scheme that nothing here can open, or options that its file system does not know.
        MissingExtra: fsspec is needed and not installed.
    """
    scheme = scheme_of(address)
    if not scheme:
        return Place(pyarrow_fs.LocalFileSystem(), absolute(address), address)
    try:
        if scheme in _BY_PYARROW:
            files, path = pyarrow_fs.FileSystem.from_uri(_quoted(address))
        else:
            inner, path = require("fsspec", "batch").core.url_to_fs(address)
            files = pyarrow_fs.PyFileSystem(pyarrow_fs.FSSpecHandler(inner))
    except (ValueError, ImportError, pyarrow.ArrowException) as error:
        raise InputError(
            f"address {_for_errors(address)!r}: got {type(error).__name__}; allowed: a path, s3://, gs://, or a "
            "scheme that fsspec and its plug-ins know, with options after '?'; mend the address"
        ) from error
    return Place(files, path, _without_keys(address))


def files_at(address: str, endings: tuple[str, ...]) -> list[tuple[str, Place]]:
    """The files that an address names, each with its own address: a file, all of a folder, or a pattern for its names.

    Args:
        address: its last part may hold ``*``, ``?`` and ``[...]``, unless there is a file or folder of that very name
            (in an address with a scheme, ``?`` begins the options).  endings: what names of a folder's files end in;
            those that begin with ``.`` or ``_`` are left out.
    Raises:
        NotFound: there is nothing.
        InputError: a scheme that nothing can open, or a file whose name ends otherwise.
    """
    scheme = scheme_of(address)
    bare, mark, options = address.partition("?") if scheme else (address, "", "")
    whole = place_of(address)
    if whole.stamp() is not None:
        if not whole.name.endswith(endings):
            raise InputError(
                f"input: got {whole.shown!r}; allowed: files that end in {', '.join(endings)}; rename or convert it"
            )
        return [(absolute(address), whole)]
    above, _, last = bare.rpartition("/")
    pattern = last if _WILD.search(last) and not whole.is_folder() else None
    if pattern:
        above = above or ("/" if bare.startswith("/") else ".")
        folder, prefix = place_of(f"{above}{mark}{options}"), above
        pattern = unquote(pattern) if scheme in _BY_PYARROW else pattern
    else:
        folder, prefix = whole, bare.rstrip("/")
    inside = [
        place
        for place in folder.listed()
        if not place.name.startswith((".", "_"))
        and place.name.endswith(endings)
        and (pattern is None or fnmatch.fnmatchcase(place.name, pattern))
    ]
    if not inside:
        raise NotFound(
            f"input: got {_without_keys(address)!r}, where nothing can be read; allowed: a file, a folder or a pattern "
            f"of files that end in {', '.join(endings)}; check the address"
        )
    if not scheme:
        return [(place.path, place) for place in inside]
    names = [quote(place.name) if scheme in _BY_PYARROW else place.name for place in inside]
    return [(f"{prefix}/{name}{mark}{options}", place) for name, place in zip(names, inside, strict=True)]


def absolute(address: str) -> str:
    """The same place, whatever folder a process runs in."""
    return address if scheme_of(address) else str(Path(address).expanduser().absolute())


def _quoted(address: str) -> str:
    """Letters that an address may not hold (blanks, ``#``, anything beyond ASCII) as ``%..``; what is so stays so."""
    bare, mark, options = address.partition("?")
    return quote(bare, safe="%/:@!$&'()*+,;=~") + mark + options


def _for_errors(address: str) -> str:
    """The address as far as it surely holds no key: in one that cannot be read, a key may stand anywhere before @."""
    return re.sub(r"//.*@", "//", address.partition("?")[0])


def _without_keys(address: str) -> str:
    return re.sub(r"//[^/]*@", "//", address.partition("?")[0] if scheme_of(address) else address)
