"""Opening pictures, late and guarded.

A picture is named by an ``ImageRef`` and opened only here: a file path, ``file:``, ``data:``, ``zip:archive.zip!/member``
(read in place), and http(s) only when asked for. Sizes are checked before anything is decoded; what cannot be read is
an ``ImageError``, never a blank picture.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import threading
import urllib.error
import urllib.request
import zipfile
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from PIL import Image, ImageOps, UnidentifiedImageError

from wholepage.pages.errors import ImageError
from wholepage.pages.model import ImageRef

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_HTTP_TIMEOUT_S = 10.0
_OPEN_ARCHIVES = 16
_ARCHIVE_LOCK = threading.Lock()


def open_image(
    ref: ImageRef,
    *,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    allow_http: bool = False,
    at: str = "",
) -> Image.Image:
    """Open a picture as upright RGB; transparent parts become white.

    Args:
        max_bytes: of the encoded picture.  max_pixels: width times height, read from its header before decoding.
        allow_http: fetch http(s) addresses; off, so that no data makes this program use the network.
        at: where the reference stands, such as ``results[3] 'a7'``, for the message.
    Raises:
        ImageError: ``missing``, ``unreadable`` (also a wrong sha256), ``too-large`` or ``scheme``.
    """
    data = read_image_bytes(ref, max_bytes=max_bytes, allow_http=allow_http, at=at)
    return decode_image(data, ref.uri, max_pixels=max_pixels, at=at)


def decode_image(data: bytes, uri: str, *, max_pixels: int = MAX_PIXELS, at: str = "") -> Image.Image:
    """Decode the bytes of a picture as upright RGB.

    Raises:
        ImageError: ``unreadable`` or ``too-large``; ``uri`` and ``at`` stand in the message.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise ImageError(
                    uri,
                    "too-large",
                    f"got {width} x {height} pixels; allowed: {max_pixels} in all; make it smaller or raise max_pixels",
                    at=at,
                )
            picture.load()
            return _flat(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise ImageError(
            uri, "unreadable", f"got {len(data)} bytes of no known format; allowed: {', '.join(FORMATS)}", at=at
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(uri, "too-large", f"{error}; allowed: {max_pixels} pixels", at=at) from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise ImageError(
            uri, "unreadable", f"damaged or cut short ({error}); allowed: a whole {'/'.join(FORMATS)} file", at=at
        ) from error


def read_image_bytes(ref: ImageRef, *, max_bytes: int = MAX_BYTES, allow_http: bool = False, at: str = "") -> bytes:
    """The encoded picture, undecoded; its sha256 is checked when the reference gives one.

    Raises:
        ImageError: ``missing``, ``unreadable``, ``too-large`` or ``scheme``.
    """
    scheme = ref.uri.split(":", 1)[0].lower() if ":" in ref.uri else ""
    if scheme == "data":
        data = _from_data(ref.uri, max_bytes, at)
    elif scheme == "zip":
        data = _from_zip(ref.uri, max_bytes, at)
    elif scheme in ("http", "https"):
        if not allow_http:
            raise ImageError(
                ref.uri,
                "scheme",
                "got a web address; allowed: files, data: and zip:; download it, or allow_http=True",
                at=at,
            )
        data = _from_http(ref.uri, max_bytes, at)
    elif scheme == "file" or len(scheme) <= 1:
        data = _from_file(ref.uri, max_bytes, at)
    elif "://" in ref.uri:
        raise ImageError(ref.uri, "scheme", f"got scheme {scheme!r}; allowed: a path, file:, data:, zip:", at=at)
    else:
        data = _from_file(ref.uri, max_bytes, at)
    if ref.sha256 is not None:
        found = hashlib.sha256(data).hexdigest()
        if found != ref.sha256.lower():
            raise ImageError(
                ref.uri, "unreadable", f"got sha256 {found[:12]}..; allowed: {ref.sha256[:12]}..; it was changed", at=at
            )
    return data


def to_data_uri(picture: Image.Image | bytes) -> str:
    """A ``data:`` address that holds the picture; a PIL image is encoded as PNG.

    Raises:
        ImageError: the bytes are not a picture.
    """
    if isinstance(picture, bytes):
        try:
            with Image.open(io.BytesIO(picture), formats=FORMATS) as opened:
                kind = str(opened.format).lower()
        except (UnidentifiedImageError, OSError) as error:
            raise ImageError("bytes", "unreadable", f"{error}; allowed: {', '.join(FORMATS)}") from error
        return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _flat(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA") or (picture.mode == "P" and "transparency" in picture.info):
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return picture.convert("RGB")


def _check_size(uri: str, count: int, max_bytes: int, at: str) -> None:
    if count > max_bytes:
        raise ImageError(
            uri, "too-large", f"got {count} bytes; allowed: {max_bytes}; shrink it or raise max_bytes", at=at
        )


def _from_file(uri: str, max_bytes: int, at: str) -> bytes:
    path = Path(unquote(urlsplit(uri).path)) if uri.lower().startswith("file:") else Path(uri)
    try:
        _check_size(uri, path.stat().st_size, max_bytes, at)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(
            uri, "missing", f"no file at {path}; allowed: an existing file; check the path", at=at
        ) from error
    except (OSError, ValueError) as error:
        raise ImageError(uri, "unreadable", f"{error}; allowed: a readable file", at=at) from error


def _from_data(uri: str, max_bytes: int, at: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma or not head.lower().startswith("data:image/"):
        raise ImageError(
            uri, "unreadable", "got a data: address of no picture; allowed: data:image/...;base64,...", at=at
        )
    _check_size(uri, len(body) * 3 // 4 if head.lower().endswith(";base64") else len(body), max_bytes + 3, at)
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(unquote(body), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(
            uri, "unreadable", f"broken base64 ({error}); allowed: data:image/...;base64,...", at=at
        ) from error


def _from_zip(uri: str, max_bytes: int, at: str) -> bytes:
    archive, mark, member = uri[len("zip:") :].partition("!/")
    if not mark or not member:
        raise ImageError(
            uri, "scheme", "got no member; allowed: zip:archive.zip!/member; name the picture in it", at=at
        )
    try:
        with _ARCHIVE_LOCK:
            opened = _archive(archive, Path(archive).stat().st_mtime_ns)
            _check_size(uri, opened.getinfo(member).file_size, max_bytes, at)
            return opened.read(member)
    except FileNotFoundError as error:
        raise ImageError(uri, "missing", f"no archive at {archive}; allowed: an existing ZIP file", at=at) from error
    except KeyError as error:
        raise ImageError(
            uri, "missing", f"the archive has no {member!r}; allowed: one of its members", at=at
        ) from error
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, zipfile.LargeZipFile) as error:
        raise ImageError(uri, "unreadable", f"{error}; allowed: a whole, unencrypted ZIP file", at=at) from error


@lru_cache(maxsize=_OPEN_ARCHIVES)
def _archive(path: str, modified_ns: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


class _SameSchemes(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web addresses only, so that a server cannot point at local files."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.URLError(f"redirect to {newurl!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _from_http(uri: str, max_bytes: int, at: str) -> bytes:
    try:
        with urllib.request.build_opener(_SameSchemes).open(uri, timeout=_HTTP_TIMEOUT_S) as answer:
            data = bytes(answer.read(max_bytes + 1))
    except (OSError, ValueError) as error:
        raise ImageError(uri, "missing", f"{error}; allowed: an address that answers with a picture", at=at) from error
    _check_size(uri, len(data), max_bytes, at)
    return data
