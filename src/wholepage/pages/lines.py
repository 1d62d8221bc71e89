"""Files of lines, whole or not at all: read strictly, with the place of every error; written atomically.

The ground of all record formats. Lines are UTF-8 without byte order mark; a name that ends in ``.gz`` is gzip. Blank
lines may only stand at the end of a file.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import secrets
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, Literal, ParamSpec, TypeVar, overload

import msgspec
import numpy as np

from wholepage.pages.errors import DecodingError, InputError, PageError, RecordError, shorten

T = TypeVar("T")
P = ParamSpec("P")
_GZIP_LEVEL = 6
_AT = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`$")
_BOM = b"\xef\xbb\xbf"


@overload
def atomic_write(path: str | Path, mode: Literal["w"] = "w") -> AbstractContextManager[IO[str]]: ...
@overload
def atomic_write(path: str | Path, mode: Literal["wb"]) -> AbstractContextManager[IO[bytes]]: ...
def atomic_write(path: str | Path, mode: str = "w") -> AbstractContextManager[IO[Any]]:
    """A file that appears complete or not at all, even when the machine stops.

    What is written goes to a hidden file in the same folder, which takes the name of ``path`` when the block ends
    without error and is deleted otherwise.

    Args:
        path: a link is followed; an existing file keeps its permissions.
        mode: ``"w"`` (UTF-8, lines end in ``\\n``, gzipped when the name ends in ``.gz``) or ``"wb"`` (bytes as they
            are, whatever the name).
    Raises:
        InputError: another mode.
        RecordError: the folder is missing, or may not be written to.
    """
    if mode not in ("w", "wb"):
        raise InputError(f"atomic_write: got mode {mode!r}; allowed: 'w', 'wb'; a whole file is written at once")
    return _replacing(Path(os.path.realpath(path)), mode, packed=mode == "w" and _is_gzip(path))


@contextmanager
def _replacing(path: Path, mode: str, *, packed: bool) -> Iterator[IO[Any]]:
    draft = path.parent / f".{secrets.token_hex(8)}.tmp"
    done = False
    try:
        try:
            # Not tempfile: its files are private to the owner, and would stay so under the final name.
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise _unusable(path, error, "a folder that exists and may be written to") from error
        with _opened(descriptor, "wb" if packed else mode) as file:
            with _gzip_text(file) if packed else nullcontext(file) as given:
                yield given
            file.flush()
            os.fsync(file.fileno())
        if path.is_file():
            os.chmod(draft, stat.S_IMODE(path.stat().st_mode))
        try:
            os.replace(draft, path)
        except IsADirectoryError as error:
            raise _unusable(path, error, "the name of a file") from error
        done = True
    finally:
        if not done:
            draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _opened(descriptor: int, mode: str) -> IO[Any]:
    if mode == "wb":
        return os.fdopen(descriptor, mode)
    return os.fdopen(descriptor, mode, encoding="utf-8", newline="\n")


def _gzip(raw: IO[bytes]) -> gzip.GzipFile:
    """Equal bytes in, equal bytes out: the header holds neither name nor time."""
    return gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0)


@contextmanager
def _gzip_text(raw: IO[bytes]) -> Iterator[IO[str]]:
    with _gzip(raw) as packed, io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
        yield file


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut; only where folders can be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_lines(path: str | Path, lines: Iterable[bytes]) -> int:
    """Write lines (without their ends) atomically, gzipped by suffix; returns how many."""
    count = 0
    with atomic_write(path, "wb") as raw, _gzip(raw) if _is_gzip(path) else nullcontext(raw) as file:
        for line in lines:
            file.write(line + b"\n")
            count += 1
    return count


def read_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line, blank lines at the end left out.

    Raises:
        RecordError: the file is missing or its gzip is broken, a blank line in the middle, a byte order mark.
    """
    number, blank = 0, 0
    try:
        with gzip.open(path, "rb") if _is_gzip(path) else open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    blank = blank or number
                    continue
                if blank:
                    raise RecordError(path, blank, "line", "a blank line", "blank lines at the end only", "remove it")
                if number == 1 and line.startswith(_BOM):
                    raise RecordError(path, 1, "line", "a byte order mark", "UTF-8 without one", "save it without")
                yield number, line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecordError(
            path, number + 1, "file", f"broken gzip ({error})", "a whole gzip file", "copy it again"
        ) from error
    except OSError as error:
        raise _unusable(path, error, "a file that can be read") from error


def text_of(path: str | Path, number: int, raw: bytes) -> str:
    """One line as text.

    Raises:
        RecordError: it is not UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(
            path, number, "line", f"byte {error.start} is not UTF-8", "UTF-8", "recode the file"
        ) from error


def decode(decoder: msgspec.json.Decoder[T], path: str | Path, number: int, raw: bytes, *, place: str = "") -> T:
    """One JSON record, or where and why it is none.

    Args:
        place: put before each field in messages, when the record is a part of its line.
    Raises:
        RecordError: broken JSON, a field that is unknown, missing or of another type, or a record against its rules.
    """
    try:
        return decoder.decode(raw)
    except UnicodeDecodeError as error:
        raise RecordError(
            path, number, f"{place}line", f"bytes that are not UTF-8 ({error.reason})", "UTF-8", "recode the file"
        ) from error
    except msgspec.ValidationError as error:
        raise _invalid(decoder.type, path, number, place, error) from error
    except msgspec.DecodeError as error:
        raise RecordError(
            path, number, f"{place}line", f"{error}: {_snippet(raw)}",
            "one whole JSON record on a line, without NaN or Infinity", "mend or remove the line",
        ) from error  # fmt: skip
    except RecursionError as error:
        raise RecordError(
            path, number, f"{place}line", "JSON nested too deeply", "a record", "remove the line"
        ) from error


def encode(record: object, decoder: msgspec.json.Decoder[Any], path: str | Path, number: int) -> bytes:
    """One record as JSON; what its own reader would refuse is not written.

    Raises:
        RecordError: the record holds what JSON cannot, or what the reader refuses.
    """
    try:
        raw = msgspec.json.encode(record, enc_hook=_plain_number)
    except (TypeError, UnicodeEncodeError, OverflowError) as error:
        raise RecordError(path, number, "record", str(error), "plain text and finite numbers", "convert it") from error
    decode(decoder, path, number, raw)
    return raw


def build(path: str | Path, number: int, field: str, make: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """What ``make`` returns for the arguments, errors of its rules given a place in a file.

    Raises:
        RecordError: ``make`` raised a PageError or DecodingError.
    """
    try:
        return make(*args, **named)
    except (PageError, DecodingError) as error:
        raise RecordError(path, number, field, *_parts(str(error))) from error


def _plain_number(value: object) -> float | int:
    if isinstance(value, np.generic) and np.issubdtype(value.dtype, np.number):
        plain: float | int = value.item()
        return plain
    raise TypeError(f"{type(value).__name__} {shorten(repr(value))}")


def _is_gzip(path: str | Path) -> bool:
    return str(path).endswith(".gz")


def _unusable(path: str | Path, error: OSError, allowed: str) -> RecordError:
    return RecordError(path, 0, "file", error.strerror or str(error), allowed, "check the path")


def _snippet(raw: bytes) -> str:
    return repr(shorten(raw.decode("utf-8", errors="replace").strip(), 60))


def _parts(message: str) -> tuple[str, str, str]:
    """A message in the house's form (``... got X; allowed: Y; do``) as its three parts."""
    got, _, rest = message.partition("; allowed: ")
    allowed, _, do = rest.partition("; ")
    where, got_word, what = got.partition("got ")
    if got_word:
        where = where.rstrip(": ")
        got = f"{what} ({where})" if where else what
    return got, allowed or "a record that keeps its rules", do or "mend the record"


def _invalid(kind: Any, path: str | Path, number: int, place: str, error: msgspec.ValidationError) -> RecordError:
    """msgspec's words (``Expected `str`, got `int` - at `$.query.text```) in the house's."""
    message = str(error)
    at = _AT.search(message)
    field = at["path"].lstrip(".") if at else ""
    what = message[: at.start()] if at else message
    found = _type_at(kind, field)
    if at and at["key"] and isinstance(found, msgspec.inspect.DictType):
        found = found.key_type
    if isinstance(error.__cause__, InputError):
        said = _parts(what)
    elif unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        names = [f.encode_name for f in found.fields] if isinstance(found, msgspec.inspect.StructType) else []
        field, said = f"{field}.{unknown[1]}", ("an unknown field", ", ".join(names), "rename or remove it")
    elif missing := re.fullmatch(r"Object missing required field `(.*)`", what, re.DOTALL):
        field, said = f"{field}.{missing[1]}", ("no such field", "a record with it", "add it")
    elif mismatch := re.fullmatch(r"Expected `(.*)`, got `(.*)`", what, re.DOTALL):
        said = (mismatch[2], mismatch[1], "mend the value")
    elif isinstance(found, msgspec.inspect.EnumType | msgspec.inspect.LiteralType):
        values = found.values if isinstance(found, msgspec.inspect.LiteralType) else [one.value for one in found.cls]
        members = ", ".join(map(repr, values))
        said = (what.removeprefix("Invalid enum value "), members, "write one of them")
    else:
        said = (what, "a value in the range of its type", "mend the value")
    return RecordError(path, number, (place + field.lstrip(".")).rstrip(".") or "record", *said)


def _type_at(kind: Any, field: str) -> msgspec.inspect.Type:
    """The type msgspec wanted at a field path such as ``results[0].modality``."""
    found = _main(msgspec.inspect.type_info(kind))
    for step in re.findall(r"[^.\[\]]+|\[[^\]]*\]", field):
        if isinstance(found, msgspec.inspect.StructType):
            found = next((f.type for f in found.fields if f.encode_name == step), found)
        elif isinstance(found, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
            found = found.item_type
        elif isinstance(found, msgspec.inspect.DictType):
            found = found.value_type
        found = _main(found)
    return found


def _main(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """Of several types allowed, the one that has parts; else the first that is not None."""
    if not isinstance(kind, msgspec.inspect.UnionType):
        return kind
    kinds = [one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType)]
    return next((one for one in kinds if isinstance(one, msgspec.inspect.StructType)), kinds[0])
