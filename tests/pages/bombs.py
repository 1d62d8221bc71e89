"""Picture files made to take much memory or time from whoever opens them; each is small on disk.

``REFUSED`` are those that must not be opened; ``HARMLESS`` those that look alike and are a small picture after all.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from PIL import Image

MUCH = 200 * 10**6
_PNG = b"\x89PNG\r\n\x1a\n"


@cache
def zeros(size: int) -> bytes:
    """So many zeros, deflated: a thousandth of their size."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(min(2**20, size - at))) for at in range(0, size, 2**20)) + packer.flush()


def small(kind: str, **options: Any) -> bytes:
    """A picture of 8 x 8."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int = 8, height: int = 8, *, data: bytes | None = None, before: bytes = b"", after: bytes = b""
) -> bytes:
    """An RGB picture of one colour with chunks before and after its pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zeros(height * (1 + 3 * width)) if data is None else data
    return _PNG + chunk(b"IHDR", head) + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND")


def jpeg(*segments: tuple[int, bytes], fill: bytes = b"") -> bytes:
    """A picture with further segments at its beginning."""
    raw = small("JPEG")
    more = b"".join(bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body for code, body in segments)
    return raw[:2] + more + fill + raw[2:]


def jpeg_of_scans(scans: int, side: int = 1000) -> bytes:
    """A progressive picture whose last pass is there so many times more."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "JPEG", progressive=True)
    raw = buffer.getvalue()
    last, end = raw.rindex(b"\xff\xda"), raw.rindex(b"\xff\xd9")
    return raw[:end] + raw[last:end] * scans + raw[end:]


def gif(width: int = 8, height: int = 8, *, before: bytes = b"", frame: tuple[int, int] = (8, 8)) -> bytes:
    """A picture of one frame with extensions before it."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return head + before + b"\x2c" + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\0;"


def webp(width: int, height: int, frames: int = 1) -> bytes:
    """An animation of small frames on a canvas."""
    inner = small("WEBP", lossless=True)[12:]
    frame = b"ANMF" + struct.pack("<I", 16 + len(inner)) + bytes(6) + b"\7\0\0\7\0\0" + b"\x64\0\0\0" + inner
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body += frame * frames
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def tiff(tags: dict[int, tuple[int, tuple[int, ...]]], data: bytes, at: int = 0x0111) -> bytes:
    """A picture of these tags, each a type (1 byte, 3 short, 4 long) and numbers; the tag ``at`` leads to the data."""
    forms = {1: "B", 3: "H", 4: "L"}
    tags = dict(sorted({**tags, at: (4, (0,))}.items()))
    place = 8 + 2 + 12 * len(tags) + 4
    sizes = {tag: struct.calcsize(f"<{len(numbers)}{forms[form]}") for tag, (form, numbers) in tags.items()}
    tags[at] = (4, (place + sum(size for size in sizes.values() if size > 4),))
    entries, more = b"", b""
    for tag, (form, numbers) in tags.items():
        body = struct.pack(f"<{len(numbers)}{forms[form]}", *numbers)
        entries += struct.pack("<HHL", tag, form, len(numbers))
        entries += body.ljust(4, b"\0") if len(body) <= 4 else struct.pack("<L", place + len(more))
        more += body if len(body) > 4 else b""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + more + data


def striped(width: int, height: int, data: bytes, rows: int | None = None) -> bytes:
    """A TIFF of one deflated strip."""
    tags = {
        0x0100: (4, (width,)), 0x0101: (4, (height,)), 0x0102: (3, (8, 8, 8)), 0x0103: (3, (8,)), 0x0106: (3, (2,)),
        0x0115: (3, (3,)), 0x0116: (4, (rows or height,)), 0x0117: (4, (len(data),)),
    }  # fmt: skip
    return tiff(tags, data)


def tiled(width: int, length: int, *, compression: int, data: bytes, form: int = 4) -> bytes:
    """A TIFF of 16 x 16 pixels in one tile of another size."""
    tags = {
        0x0100: (4, (16,)), 0x0101: (4, (16,)), 0x0102: (3, (8, 8, 8)), 0x0103: (3, (compression,)), 0x0106: (3, (2,)),
        0x0115: (3, (3,)), 0x0142: (form, (width,)), 0x0143: (4, (length,)), 0x0145: (4, (len(data),)),
    }  # fmt: skip
    return tiff(tags, data, 0x0144)


def overlapping(entries: int, size: int) -> bytes:
    """Tags, as in a TIFF or in EXIF, that all claim the same bytes for their own."""
    place = 8 + 2 + 12 * entries + 4
    table = b"".join(struct.pack("<HHLL", 700 + i, 7, size, place) for i in range(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + table + bytes(4 + size)


def _bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<LLLLllHHLLllLL", 154, 0, 54, 40, width, height, 1, 24, *[0] * 6) + bytes(100)


def _packed_text(kind: bytes) -> bytes:
    return chunk(kind, (b"k\0\1\0\0\0" if kind == b"iTXt" else b"k\0\0") + zeros(MUCH))


def _apps_of_exif() -> list[tuple[int, bytes]]:
    whole = overlapping(20_000, 3 * 10**6)
    return [(0xE1, b"Exif\0\0" + whole[at : at + 65000]) for at in range(0, len(whole), 65000)]


Made = Callable[[], bytes]
REFUSED: dict[str, tuple[str, Made]] = {
    "PNG, wide and high": ("too-large", lambda: png(60_000, 60_000, data=zlib.compress(b"\0"))),
    "PNG, just too many pixels": ("too-large", lambda: png(7072, 7072)),
    "PNG, zTXt": ("unreadable", lambda: png(before=_packed_text(b"zTXt"))),
    "PNG, iTXt": ("unreadable", lambda: png(before=_packed_text(b"iTXt"))),
    "PNG, iCCP": ("unreadable", lambda: png(before=_packed_text(b"iCCP"))),
    "PNG, many zTXt": ("unreadable", lambda: png(before=chunk(b"zTXt", b"k\0\0" + zeros(10**6)) * 3000)),
    "PNG, many zTXt at its end": ("unreadable", lambda: png(after=chunk(b"zTXt", b"k\0\0" + zeros(10**6)) * 3000)),
    "PNG, many tEXt": ("too-large", lambda: png(before=chunk(b"tEXt", b"k\0v") * 300_000)),
    "PNG, many chunks of its own": ("too-large", lambda: png(before=chunk(b"prVa") * 300_000)),
    "PNG, many chunks after": ("too-large", lambda: png(after=chunk(b"prVa") * 300_000)),
    "PNG, many pieces of no pixels": ("too-large", lambda: png(before=chunk(b"IDAT") * 300_000)),
    "JPEG, many bits of EXIF": ("too-large", lambda: jpeg(*[(0xE1, b"Exif\0\0x")] * 300_000)),
    "JPEG, many segments": ("too-large", lambda: jpeg(fill=b"\xff\xec\0\2" * 10**6)),
    "JPEG, fill": ("too-large", lambda: jpeg(fill=b"\xff" * (4 * 10**6))),
    "JPEG, stuffing": ("too-large", lambda: jpeg(fill=b"\xff\0" * (2 * 10**6))),
    "JPEG, restarts": ("too-large", lambda: jpeg(fill=b"\xff\xd0" * (2 * 10**6))),
    "JPEG, stray bytes and no scan": ("too-large", lambda: b"\xff\xd8\xff" + bytes(15 * 300_000)),
    "JPEG, many scans": ("too-large", lambda: jpeg_of_scans(2000)),
    "GIF, wide and high": ("too-large", lambda: gif(65_535, 65_535)),
    "GIF, a frame beyond its sides": ("too-large", lambda: gif(frame=(65_535, 65_535))),
    "GIF, many comments": ("too-large", lambda: gif(before=b"\x21\xfe\x01x\0" * 10**6)),
    "GIF, one comment in bits": ("too-large", lambda: gif(before=b"\x21\xfe" + b"\x01x" * (2 * 10**6) + b"\0")),
    "GIF, stray bytes": ("too-large", lambda: gif(before=bytes(4 * 10**6))),
    "WEBP, wide and high": ("too-large", lambda: webp(16_383, 16_383)),
    "WEBP, just too many pixels": ("too-large", lambda: webp(7072, 7072)),
    "TIFF, wide and high": ("too-large", lambda: striped(60_000, 60_000, zeros(10**6))),
    "TIFF, a tile larger than the picture": (
        "too-large", lambda: tiled(16_384, 16_384, compression=8, data=zeros(MUCH))),
    "TIFF, such a tile, not packed": ("too-large", lambda: tiled(30_000, 20_000, compression=1, data=bytes(1000))),
    "TIFF, such a tile in LZW": ("too-large", lambda: tiled(16_384, 16_384, compression=5, data=b"\x80\x0b" * 99)),
    "TIFF, a tile whose width is bytes": ("unreadable", lambda: tiled(255, 2**21, compression=5, data=b"x", form=1)),
    "TIFF, tags upon each other": ("unreadable", lambda: overlapping(30_000, 10**7)),
    "BMP, wide and high": ("too-large", lambda: _bmp(60_000, 60_000)),
}  # fmt: skip
HARMLESS: dict[str, Made] = {
    "PNG, more data than pixels": lambda: png(data=zeros(MUCH)),
    "APNG that claims two billion frames": lambda: png(before=chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
    "JPEG, tags of EXIF upon each other": lambda: jpeg(*_apps_of_exif()),
    "JPEG, a colour profile in 200 parts": lambda: jpeg(*[(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65_000))] * 200),
    "JPEG, a film behind it": lambda: small("JPEG") + b"\xff\xda\xff\xec\0\2" * 10**6,
    "WEBP, a hundred thousand frames": lambda: webp(8, 8, 100_000),
    "TIFF, more data than pixels": lambda: striped(16, 16, zeros(MUCH)),
}
