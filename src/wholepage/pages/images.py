"""Open pictures by reference: late, within limits, and only from where it is allowed.

Where from: a path, ``file:`` on this machine, ``data:image/...;base64,``, a member of an archive
(``zip:archive.zip!/member``, read in place), and http(s) when asked for. What: PNG, JPEG, WEBP, GIF, BMP or TIFF; of
an animation or a file of several sheets, the first one. A video is not opened here: it is a tuple of ``ImageRef``, one
a frame, in time order.

Sizes and structure are checked before anything is decoded. At worst, which is a WEBP, opening takes sixteen bytes a
pixel. Any file this process may read can be named: addresses from strangers must be checked before they come here.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, TiffImagePlugin

from wholepage.pages.errors import ImageError
from wholepage.pages.image_bytes import MAX_BYTES, image_sha256, read_image_bytes, unreadable
from wholepage.pages.image_structure import check_structure
from wholepage.pages.model import ImageRef

__all__ = [
    "FORMATS", "MAX_BYTES", "MAX_PIXELS", "image_sha256", "image_size", "open_image", "read_image_bytes", "to_data_uri",
]  # fmt: skip

MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

_ORIENTATION = 0x0112
_TILE_WIDTH, _TILE_LENGTH = 0x0142, 0x0143
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's readers are known to raise on broken files.
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
    NotImplementedError, struct.error, zlib.error,
)  # fmt: skip


def open_image(
    ref: ImageRef,
    *,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    allow_http: bool = False,
    timeout_s: float = 10.0,
    at: str = "",
) -> Image.Image:
    """The picture as people see it: RGB, turned as its EXIF says, transparency on white, 16-bit greys brought to 8.

    Args:
        max_bytes: of the file; checked before it is read.
        max_pixels: width x height; checked before pixels are decoded. Pillow's own ``MAX_IMAGE_PIXELS`` holds too.
        allow_http: also fetch http(s) addresses, within ``timeout_s``.
        at: whose picture it is, such as ``results[3] 'r7'``; begins the message.
    Raises:
        ImageError: missing, unreadable, too large, or an address of a kind not allowed.
    """
    raw = read_image_bytes(ref, max_bytes=max_bytes, allow_http=allow_http, timeout_s=timeout_s, at=at)
    with _within(raw, max_pixels, ref.uri, at) as picture:
        try:
            picture.load()
        except _BROKEN as error:
            raise unreadable(ref.uri, at, f"pixels that cannot be decoded ({error})") from error
        try:
            return _as_seen(picture)
        except (ValueError, OSError) as error:
            raise unreadable(ref.uri, at, f"colours that cannot be shown ({error})", "8 or 16 bits") from error


def image_size(raw: bytes, *, max_pixels: int = MAX_PIXELS, uri: str = "", at: str = "") -> tuple[int, int]:
    """Width and height of a picture file as its header says; no pixel is decoded, and none is turned.

    Args:
        uri, at: where the bytes came from and whose picture it is; for the message.
    Raises:
        ImageError: no picture of an allowed format, or larger than ``max_pixels``.
    """
    with _within(raw, max_pixels, uri or f"<{len(raw)} bytes>", at) as picture:
        return picture.size


def to_data_uri(image: Image.Image | bytes) -> str:
    """A ``data:`` address that holds the picture itself.

    Args:
        image: a decoded picture, stored as PNG (without loss); or the bytes of a picture file, stored as they are.
    Raises:
        ImageError: the bytes are no picture of an allowed format.
    """
    if isinstance(image, bytes):
        with _opened(image, f"<{len(image)} bytes>", "") as picture:
            mime, raw = Image.MIME[str(picture.format)], image
    else:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        mime, raw = "image/png", buffer.getvalue()
    return f"data:{mime};base64,{base64.b64encode(raw).decode('ascii')}"


@contextmanager
def _within(raw: bytes, max_pixels: int, uri: str, at: str) -> Iterator[Image.Image]:
    """The picture with its header read and found within limits."""
    # Pillow's WEBP reader makes its canvas on opening.
    _check_pixels(_webp_canvas(raw), max_pixels, uri, at)
    with _opened(raw, uri, at) as picture:
        _check_pixels(picture.size, max_pixels, uri, at)
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            _check_pixels(_tile(picture, uri, at), max_pixels, uri, at)
        yield picture


@contextmanager
def _opened(raw: bytes, uri: str, at: str) -> Iterator[Image.Image]:
    """The picture with its header read and its pixels not."""
    check_structure(raw, uri, at)
    try:
        picture = Image.open(io.BytesIO(raw), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(uri, "too-large", str(error), at=at) from error
    except _BROKEN as error:
        raise unreadable(uri, at, f"{len(raw)} bytes that begin {raw[:8]!r}", ", ".join(FORMATS)) from error
    with picture:
        yield picture


def _check_pixels(size: tuple[int, int], max_pixels: int, uri: str, at: str) -> None:
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        detail = f"got {size[0]} x {size[1]} = {pixels} pixels; allowed: {max_pixels}; shrink it, or raise max_pixels"
        raise ImageError(uri, "too-large", detail, at=at)


def _tile(picture: TiffImagePlugin.TiffImageFile, uri: str, at: str) -> tuple[int, int]:
    """Sides of one tile of a TIFF, which is decoded whole even where the picture is smaller; (0, 0) without tiles."""
    width, length = (picture.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    if isinstance(width, int) and isinstance(length, int):
        return width, length
    raise unreadable(uri, at, "a TIFF whose tiles have no whole sides", "whole numbers", "save it anew")


def _webp_canvas(raw: bytes) -> tuple[int, int]:
    """Width and height in the header of a WEBP file; (0, 0) of any other."""
    if len(raw) < 30 or raw[:4] != b"RIFF" or raw[8:12] != b"WEBP":
        return 0, 0
    if raw[12:16] == b"VP8X":
        return int.from_bytes(raw[24:27], "little") + 1, int.from_bytes(raw[27:30], "little") + 1
    if raw[12:16] == b"VP8L":
        packed = int.from_bytes(raw[21:25], "little")
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    return int.from_bytes(raw[26:28], "little") & 0x3FFF, int.from_bytes(raw[28:30], "little") & 0x3FFF


def _as_seen(picture: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(picture))
    if picture.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {picture.mode}) whose white is not known; save it with 8 or 16 bits")
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        # Copies only where one is needed: each takes as much memory as the picture.
        layer = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        seen = Image.new("RGB", layer.size, "white")
        seen.paste(layer, mask=layer.getchannel("A"))
    else:
        seen = picture if picture.mode == "RGB" and turn is not None else picture.convert("RGB")
    if turn is not None:
        seen = seen.transpose(turn)
    # Whoever finds the EXIF in the copy would turn it twice.
    seen.info = {}
    return seen


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation; 1 (as stored) where EXIF is broken, as browsers do: the pixels are whole."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except _BROKEN:
        return 1
    return found if isinstance(found, int) else 1
