"""Files from elsewhere, only when asked for: checked by SHA-256, gone on with where they broke off.

What arrives is written to ``<name>.part`` and takes its name when the checksum is right. A ``.part`` that is there is
gone on with. Addresses are https, ``file:`` of this machine, or http of this machine (a test, a mirror); a redirect may
not lead elsewhere.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import ipaddress
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any
from urllib.parse import urlsplit

import msgspec

from wholepage.pages import InputError, RecordError
from wholepage.pages.addresses import file_of, scheme_of
from wholepage.pages.errors import EndpointError

_CHUNK = 1 << 20
_PART = ".part"


class RemoteFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file, where it comes from, and what it must be.

    Attributes:
        path: where it goes, below the folder asked for.  size_bytes: None = not known.
    """

    path: Annotated[str, msgspec.Meta(min_length=1)]
    url: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    size_bytes: int | None = None


_MANIFEST = msgspec.json.Decoder(list[RemoteFile])
Progress = Callable[[int, int, str], None]
"""``progress(bytes done, bytes in all or 0, path)``."""


def read_manifest(path: str | Path) -> tuple[RemoteFile, ...]:
    """A list of files: JSON, ``[{"path", "url", "sha256", "size_bytes"?}, ...]``.

    Raises:
        RecordError: the file is missing or of another form.
    """
    try:
        return tuple(_MANIFEST.decode(Path(path).read_bytes()))
    except OSError as error:
        raise RecordError(path, 0, "file", error.strerror or str(error), "a file", "check the path") from error
    except msgspec.DecodeError as error:
        raise RecordError(
            path, 0, "manifest", str(error), 'a JSON list of {"path", "url", "sha256", "size_bytes"?}', "mend it"
        ) from error


def fetch(file: RemoteFile, folder: str | Path, *, timeout_s: float = 60.0, progress: Progress | None = None) -> bool:
    """Bring a file into a folder.

    Args:
        timeout_s: the longest wait for the next bytes.
    Returns:
        False where it was there already, as it should be.
    Raises:
        InputError: the address or the path is not allowed.
        RecordError: the file there, or what arrived, has another checksum; what arrived is deleted.
        EndpointError: it cannot be had; what arrived so far stays, to be gone on with.
    """
    place = placed(file, folder)
    check_address(file.url)
    if place.exists():
        check(file, folder)
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(place.name + _PART)
    if file.size_bytes is not None and part.exists() and part.stat().st_size > file.size_bytes:
        part.unlink()
    if file.size_bytes is None or not part.exists() or part.stat().st_size < file.size_bytes:
        _receive(file, part, timeout_s, progress)
    digest = sha256_of(part)
    if digest != file.sha256:
        part.unlink()
        raise RecordError(
            place, 0, "sha256", f"{digest} from {file.url}", file.sha256,
            "nothing was kept; try again, and do not use the source if it stays so",
        )  # fmt: skip
    os.replace(part, place)
    return True


def check(file: RemoteFile, folder: str | Path) -> None:
    """Make sure that a file is there, plain or packed as ``<name>.gz``, and is what it should be when unpacked.

    Raises:
        RecordError: it is missing, damaged, or has another checksum.
    """
    place = placed(file, folder)
    packed = place.with_name(f"{place.name}.gz")
    if not place.is_file() and not packed.is_file():
        raise RecordError(place, 0, "file", "none", "the file", "fetch it")
    if not place.is_file():
        place = packed
    try:
        digest = sha256_of(place) if place != packed else _sha256_of_packed(packed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecordError(place, 0, "file", f"broken gzip ({error})", "a whole gzip file", "fetch it again") from error
    if digest != file.sha256:
        raise RecordError(place, 0, "sha256", digest, file.sha256, "move the file away and fetch it again")


def sha256_of(path: Path) -> str:
    """The checksum of a file, read piece by piece."""
    with open(path, "rb") as file:
        return _digest(file.read)


def _sha256_of_packed(path: Path) -> str:
    with gzip.open(path, "rb") as file:
        return _digest(file.read)


def _digest(read: Callable[[int], bytes]) -> str:
    digest = hashlib.sha256()
    while piece := read(_CHUNK):
        digest.update(piece)
    return digest.hexdigest()


def placed(file: RemoteFile, folder: str | Path) -> Path:
    """Where a file goes.

    Raises:
        InputError: its path leads out of the folder.
    """
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts or "\\" in file.path or ":" in file.path:
        raise InputError(f"path: got {file.path!r}; allowed: a relative path that stays in its folder; mend the list")
    return Path(folder).joinpath(*path.parts)


def check_address(url: str) -> None:
    """Refuse an address that files may not come from.

    Raises:
        InputError: it is neither https, nor a file or an http server of this machine.
    """
    scheme = scheme_of(url)
    if (scheme == "https" and urlsplit(url).hostname) or (scheme == "file" and file_of(url) is not None):
        return
    if scheme == "http" and _is_loopback(urlsplit(url).hostname or ""):
        return
    raise InputError(f"address: got {url!r}; allowed: https://, file:///, http:// of this machine; mend the list")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_address(newurl)
        if scheme_of(newurl) not in ("https", "http"):
            raise InputError(f"address: got a redirect to {newurl!r}; allowed: https://; mend the list")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(file: RemoteFile, part: Path, timeout_s: float, progress: Progress | None) -> None:
    """Go on with a part until the source has no more."""
    have = part.stat().st_size if part.exists() else 0
    with _opened(file.url, have, timeout_s) as (source, begins), open(part, "r+b" if begins else "wb") as kept:
        kept.seek(begins)
        kept.truncate()
        done = begins
        while piece := _piece(source, file.url):
            kept.write(piece)
            done += len(piece)
            if progress is not None:
                progress(done, file.size_bytes or 0, file.path)
            if file.size_bytes is not None and done > file.size_bytes:
                return  # the checksum will say no; a source without end must not fill the disk
        kept.flush()
        os.fsync(kept.fileno())
        if getattr(source, "length", None) or (file.size_bytes is not None and done < file.size_bytes):
            raise EndpointError(
                f"{file.url}: got {done} bytes, then the end; allowed: the whole file; ask again, what came is kept",
                reason="unreachable",
            )


def _piece(source: IO[bytes], url: str) -> bytes:
    try:
        return source.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise EndpointError(
            f"{url}: got {error!r} while reading; allowed: the whole file; ask again, what came is kept",
            reason="unreachable",
        ) from error


@contextmanager
def _opened(url: str, have: int, timeout_s: float) -> Iterator[tuple[IO[bytes], int]]:
    """A source, and the byte that it begins with: ``have``, or 0 where it does not go on in the middle."""
    if scheme_of(url) == "file":
        path = str(file_of(url))
        try:
            with open(path, "rb") as source:
                begins = have if have <= os.fstat(source.fileno()).st_size else 0
                source.seek(begins)
                yield source, begins
        except FileNotFoundError as error:
            raise EndpointError(
                f"{url}: got no such file; allowed: a file; mend the list", reason="unreachable"
            ) from error
        return
    handlers: list[Any] = [_SafeRedirects()]
    if scheme_of(url) == "http":
        handlers.append(urllib.request.ProxyHandler({}))  # this machine is never asked through another
    request = urllib.request.Request(url, headers={"User-Agent": "wholepage", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.build_opener(*handlers).open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:  # there is no more, or another file: the checksum will tell
                yield io.BytesIO(), have
                return
        raise EndpointError(
            f"{url}: got HTTP {error.code}; allowed: 200; see the homepage", reason="refused"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise EndpointError(
            f"{url}: got {error}; allowed: a server that answers; ask again later", reason="unreachable"
        ) from error
    with answer:
        begins = have if answer.status == 206 and _begins(answer.headers.get("Content-Range", "")) == have else 0
        if answer.status == 206 and begins != have:
            raise EndpointError(
                f"{url}: got another range than asked; allowed: bytes={have}-; delete the part and retry"
            )
        yield answer, begins


def _begins(content_range: str) -> int:
    """The first byte of ``bytes 5-9/10``; -1 where it says something else."""
    first = content_range.removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1
