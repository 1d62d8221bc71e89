"""Files built to keep a reader busy: refused by how they are made, before a picture library sees them.

A small file can ask for much without a single large side: a JPEG of thousands of scans, each a pass over all pixels; a
JPEG, PNG or GIF of a million empty blocks, each some microseconds and a Python object. What is counted here is what
readers spend their time on; programs that write pictures stay far below every limit.
"""

from __future__ import annotations

import re

from wholepage.pages.errors import ImageError

MAX_BLOCKS = 20_000
"""Chunks of a PNG; segments and bytes of fill before the pixels of a JPEG; sub-blocks before those of a GIF."""
MAX_SCANS = 100
"""Passes over the pixels of one JPEG; progressive ones have about ten."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_GIF = (b"GIF87a", b"GIF89a")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_WITHOUT_LENGTH = {0x00, 0x01, 0xD8, 0xD9, *range(0xD0, 0xD8)}
# In the data of a scan FF00 stands for the byte FF, and FFD0 to FFD7 are restarts.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MARKER = re.compile(rb"\xff+[^\xff]", re.DOTALL)


def check_structure(raw: bytes, uri: str, at: str = "") -> None:
    """Refuse the bytes of a picture that are made of more blocks or scans than pictures have.

    Bytes of other formats, and broken ones, pass: who opens them says what is wrong with them.

    Args:
        uri, at: for the message.
    Raises:
        ImageError: too large, in blocks or scans.
    """
    blocks = scans = 0
    if raw.startswith(_JPEG):
        blocks, scans = _jpeg(raw)
    elif raw.startswith(_PNG):
        blocks = _png_chunks(raw)
    elif raw.startswith(_GIF):
        blocks = _gif_blocks(raw)
    if scans > MAX_SCANS:
        detail = f"got a JPEG of more than {MAX_SCANS} scans; allowed: {MAX_SCANS}; save the picture anew"
        raise ImageError(uri, "too-large", detail, at=at)
    if blocks > MAX_BLOCKS:
        detail = f"got a file of more than {MAX_BLOCKS} blocks; allowed: {MAX_BLOCKS}; save the picture anew"
        raise ImageError(uri, "too-large", detail, at=at)


def _png_chunks(raw: bytes) -> int:
    place, found = len(_PNG), 0
    while place + 8 <= len(raw) and found <= MAX_BLOCKS:
        found += 1
        if raw[place + 4 : place + 8] == b"IEND":
            break
        place += 12 + int.from_bytes(raw[place : place + 4], "big")
    return found


def _jpeg(raw: bytes) -> tuple[int, int]:
    """Segments and bytes of fill up to the first scan, and scans."""
    place, blocks, scans = 2, 0, 0
    while scans <= MAX_SCANS and blocks <= MAX_BLOCKS:
        marker = (_MARKER_IN_SCAN if scans else _MARKER).search(raw, place)
        if marker is None:
            # A reader that has seen no scan goes on to the end, byte by byte.
            return (blocks, scans) if scans else (blocks + len(raw) - place, scans)
        code = raw[marker.end() - 1]
        if scans and code == _END_OF_IMAGE:
            break
        blocks += 1 if scans else marker.end() - place - 1
        place = marker.end()
        if code not in _WITHOUT_LENGTH:
            place += max(2, int.from_bytes(raw[place : place + 2], "big"))
        scans += code == _START_OF_SCAN
    return blocks, scans


def _gif_blocks(raw: bytes) -> int:
    """Sub-blocks and stray bytes before the first frame."""
    place, found = 13, 0
    if len(raw) > 10 and raw[10] & 0x80:
        place += 3 * 2 ** ((raw[10] & 7) + 1)
    while place < len(raw) and found <= MAX_BLOCKS:
        found += 1
        match raw[place]:
            case 0x2C | 0x3B:
                break
            case 0x21:
                place += 2
                while place < len(raw) and raw[place] and found <= MAX_BLOCKS:
                    place += 1 + raw[place]
                    found += 1
        place += 1
    return found
