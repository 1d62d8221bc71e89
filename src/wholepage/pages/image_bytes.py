"""The bytes of a picture, from wherever its address says, within limits.

A path, ``file:`` on this machine, ``data:image/...;base64,``, a member of an archive (``zip:archive.zip!/member``, read
in place), and http(s) when asked for. Any file this process may read can be named, and any server it reaches: addresses
from strangers must be checked before they come here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import lzma
import os
import stat
import struct
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from threading import local
from typing import IO

from wholepage.pages.addresses import archive_and_member, file_of, scheme_of
from wholepage.pages.errors import ImageError, shorten
from wholepage.pages.model import ImageRef

MAX_BYTES = 20 * 2**20

_ARCHIVES_OPEN = 8  # a thread
_CHUNK = 2**16
_SHOWN_PATH = 300  # characters; an address of base64 may have come to be taken for a path
# What base64 has to quote in an address; unquoting at large would make an object of every %.
_QUOTED = (("%2B", "+"), ("%2b", "+"), ("%2F", "/"), ("%2f", "/"), ("%3D", "="), ("%3d", "="))
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError, struct.error, zlib.error,
    lzma.LZMAError,
)  # fmt: skip


def read_image_bytes(
    ref: ImageRef,
    *,
    max_bytes: int = MAX_BYTES,
    allow_http: bool = False,
    timeout_s: float = 10.0,
    at: str = "",
) -> bytes:
    """The bytes an address names, not decoded; compared with ``ref.sha256`` when that is given.

    Raises:
        ImageError: missing, unreadable (also: other bytes than the digest says), too large, or an address of a kind
            not allowed.
    """
    uri, scheme = ref.uri, scheme_of(ref.uri)
    match scheme:
        case "" | "file":
            raw = _from_file(uri, file_of(uri) if scheme else uri, max_bytes, at)
        case "data":
            raw = _from_data(uri, max_bytes, at)
        case "zip":
            raw = _from_archive(uri, max_bytes, at)
        case "http" | "https" if allow_http:
            raw = _from_web(uri, max_bytes, timeout_s, at)
        case _:
            kinds = "a path, file:, data:, zip:" + (", http(s):" if allow_http else "")
            do = "pass allow_http=True to fetch it" if scheme in ("http", "https") else "save the picture to a file"
            raise ImageError(uri, "scheme", f"got {scheme}:; allowed: {kinds}; {do}", at=at)
    if ref.sha256 is not None and (found := hashlib.sha256(raw).hexdigest()) != ref.sha256.lower():
        raise unreadable(uri, at, f"bytes with sha256 {found}", ref.sha256, "restore the file, or mend the digest")
    return raw


def image_sha256(
    ref: ImageRef, *, max_bytes: int = MAX_BYTES, allow_http: bool = False, timeout_s: float = 10.0, at: str = ""
) -> str:
    """Hex digest of the bytes an address names: one picture, one digest, wherever it lies.

    Raises:
        ImageError: as for ``read_image_bytes``.
    """
    raw = read_image_bytes(ref, max_bytes=max_bytes, allow_http=allow_http, timeout_s=timeout_s, at=at)
    return hashlib.sha256(raw).hexdigest()


def unreadable(uri: str, at: str, got: str, allowed: str = "a whole picture", do: str = "replace it") -> ImageError:
    """The error of a picture that is there and cannot be used."""
    return ImageError(uri, "unreadable", f"got {got}; allowed: {allowed}; {do}", at=at)


def _check_size(uri: str, size: int, max_bytes: int, at: str) -> None:
    if size > max_bytes:
        detail = f"got {size} bytes or more; allowed: {max_bytes}; shrink it, or raise max_bytes"
        raise ImageError(uri, "too-large", detail, at=at)


def _at_most(file: IO[bytes], uri: str, max_bytes: int, at: str) -> bytes:
    raw = file.read(max_bytes + 1)
    _check_size(uri, len(raw), max_bytes, at)
    return raw


def _stat(uri: str, path: str, at: str) -> os.stat_result:
    """Of a plain file; anything else (a folder, a pipe that would block) is refused."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        got = f"got no file {shorten(path, _SHOWN_PATH)!r}"
        raise ImageError(uri, "missing", f"{got}; allowed: a file; check the path", at=at) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error  # without the path, which may be long
        raise unreadable(uri, at, f"a path that cannot be used ({why})", "a file", "check the path") from error
    if not stat.S_ISREG(found.st_mode):
        raise unreadable(uri, at, "a folder or device", "a plain file", "check the path")
    return found


def _from_file(uri: str, path: str | None, max_bytes: int, at: str) -> bytes:
    if path is None:
        detail = "got another host or a relative path; allowed: file:///path on this machine; mend the address"
        raise ImageError(uri, "scheme", detail, at=at)
    _check_size(uri, _stat(uri, path, at).st_size, max_bytes, at)
    try:
        with open(path, "rb") as file:
            return _at_most(file, uri, max_bytes, at)
    except OSError as error:
        raise unreadable(uri, at, f"an error while reading ({error})", "a file that can be read") from error


def _from_data(uri: str, max_bytes: int, at: str) -> bytes:
    head, comma, body = uri.partition(",")
    kind, *parameters = head[len("data:") :].lower().split(";")
    if not comma or not kind.startswith("image/") or "base64" not in parameters:
        detail = "got another kind of data; allowed: data:image/<type>;base64,<data>; encode the picture so"
        raise ImageError(uri, "scheme", detail, at=at)
    # Four characters make three bytes, or twelve where each is quoted.
    _check_size(uri, (len(body) // 4 if "%" in body else len(body) * 3 // 4) - 2, max_bytes, at)
    for quoted, plain in _QUOTED:
        body = body.replace(quoted, plain)
    try:
        raw = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise unreadable(uri, at, f"broken base64 ({error})", "whole base64", "encode it again") from error
    _check_size(uri, len(raw), max_bytes, at)
    return raw


class _Archives(local):
    """Archives this thread has open, the latest used last.

    A handle has one place in its file, so threads do not share them, nor do processes after a fork.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.open: dict[tuple[str, int, int, int], zipfile.ZipFile] = {}

    def get(self, path: str, found: os.stat_result) -> zipfile.ZipFile:
        if self.process != os.getpid():
            self.process, self.open = os.getpid(), {}
        key = (os.path.abspath(path), found.st_mtime_ns, found.st_size, found.st_ino)
        archive = self.open.pop(key, None) or zipfile.ZipFile(path)
        self.open[key] = archive
        while len(self.open) > _ARCHIVES_OPEN:
            self.open.pop(next(iter(self.open))).close()
        return archive


_archives = _Archives()


def _from_archive(uri: str, max_bytes: int, at: str) -> bytes:
    halves = archive_and_member(uri)
    if halves is None:
        detail = "got half an address; allowed: zip:<archive>!/<member>; name both"
        raise ImageError(uri, "scheme", detail, at=at)
    path, member = halves
    found = _stat(uri, path, at)
    try:
        archive = _archives.get(path, found)
        try:
            info = archive.getinfo(member)
        except KeyError as error:
            detail = f"got no member {member!r} in {path!r}; allowed: a member; check the name"
            raise ImageError(uri, "missing", detail, at=at) from error
        _check_size(uri, info.file_size, max_bytes, at)
        with archive.open(info) as file:
            return _at_most(file, uri, max_bytes, at)
    except _BROKEN_ARCHIVE as error:
        raise unreadable(uri, at, f"a broken archive ({error})", "a whole zip without password") from error


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Redirects from web to web only: urllib itself would follow one to ftp."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if scheme_of(newurl) not in ("http", "https"):
            raise urllib.error.URLError(f"redirect to {scheme_of(newurl)}:")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _from_web(uri: str, max_bytes: int, timeout_s: float, at: str) -> bytes:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPErrorProcessor, urllib.request.HTTPDefaultErrorHandler, _WebOnly,
    ):  # fmt: skip
        opener.add_handler(handler())
    deadline = time.monotonic() + timeout_s
    raw = bytearray()
    try:
        with opener.open(uri, timeout=timeout_s) as answer:
            _check_size(uri, int(answer.headers.get("Content-Length") or 0), max_bytes, at)
            while chunk := answer.read1(_CHUNK):
                raw += chunk
                _check_size(uri, len(raw), max_bytes, at)
                if time.monotonic() > deadline:
                    raise TimeoutError
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
    except urllib.error.HTTPError as error:
        with error:
            reason = "missing" if error.code in (404, 410) else "unreadable"
        raise ImageError(uri, reason, f"got status {error.code}; allowed: 200; check the address", at=at) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        # Late with the connection, the headers or a part of the answer: to who waits it is all the same.
        late = isinstance(getattr(error, "reason", error), TimeoutError)
        said = f"more than {timeout_s} s" if late else error
        raise unreadable(uri, at, f"an error while fetching ({said})", "an answer", "check the address") from error
    return bytes(raw)
