"""Files that are made to take memory or time are refused before they get it; measured in a process of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wholepage.pages.errors import ImageError
from wholepage.pages.image_structure import MAX_BLOCKS, MAX_SCANS, check_structure
from wholepage.pages.images import image_size, open_image, to_data_uri
from wholepage.pages.model import ImageRef

from .bombs import HARMLESS, REFUSED, chunk, gif, jpeg, jpeg_of_scans, png, small

SRC = str(Path(__file__).parents[2] / "src")
LIMIT_MB = 300
# Opens the files named, one after the other; tells of each what came of it, and by how much the peak of memory grew.
OPENED = """
import json, resource, sys, time, warnings
from wholepage.apps.desk.pictures import SIDES, Pictures
from wholepage.pages.errors import ImageError
from wholepage.pages.images import open_image
from wholepage.pages.model import ImageRef

warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
limits = json.loads(sys.argv[1])

def memory(word):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(word))

for path in sys.argv[2:]:
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before, began = memory("VmRSS"), time.process_time()
    try:
        came = list(open_image(ImageRef(path), **limits).size)
    except ImageError as error:
        came = error.reason
    grown, spent = memory("VmHWM") - before, time.process_time() - began
    desk = Pictures().shown(ImageRef(path), SIDES[""]).problem if not limits else None
    print(json.dumps([came, round(grown), spent, desk, round(memory("VmHWM") - before)]))
"""
measured = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="no /proc here, to measure with")


def opened(folder: Path, files: dict[str, bytes], **limits: int) -> dict[str, list[Any]]:
    """Name -> what came of it, megabytes, seconds, what the desk says, megabytes with the desk."""
    paths = []
    for number, raw in enumerate(files.values()):
        paths.append(folder / f"{number}.bin")
        paths[-1].write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-c", OPENED, json.dumps(limits), *map(str, paths)],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "PYTHONPATH": SRC},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(files, map(json.loads, done.stdout.splitlines()), strict=True))


@measured
def test_bombs_are_refused_in_little_memory_and_time_and_the_desk_draws_in_their_place(tmp_path: Path) -> None:
    files = {name: make() for name, (_, make) in REFUSED.items()}
    assert max(map(len, files.values())) < 20 * 2**20
    for name, (came, grown, seconds, desk, grown_of_desk) in opened(tmp_path, files).items():
        assert came == REFUSED[name][0], name
        assert desk, name
        assert max(grown, grown_of_desk) < LIMIT_MB, name
        assert seconds < 5, name


@measured
def test_what_only_looks_like_a_bomb_is_a_small_picture(tmp_path: Path) -> None:
    for name, found in opened(tmp_path, {name: make() for name, make in HARMLESS.items()}).items():
        came, grown, seconds, desk, grown_of_desk = found
        assert came in ([8, 8], [16, 16]), name
        assert desk == "", name
        assert max(grown, grown_of_desk) < LIMIT_MB, name
        assert seconds < 10, name


@measured
@pytest.mark.slow
def test_the_largest_picture_a_server_takes_is_opened_in_300_megabytes(tmp_path: Path) -> None:
    side = 4096
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 4), dtype=np.uint8)
    layer = Image.fromarray(noise).resize((side, side), Image.Resampling.NEAREST)
    plain, turned = layer.convert("RGB"), Image.Exif()
    turned[0x0112] = 6
    forms: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "PNG": (layer, "PNG", {"compress_level": 1}),
        "PNG of palette": (plain.quantize(32), "PNG", {"transparency": 0}),
        "JPEG, turned": (plain, "JPEG", {"exif": turned.tobytes()}),
        "JPEG in passes": (plain, "JPEG", {"progressive": True, "subsampling": 0, "quality": 90}),
        "JPEG of four inks": (plain.convert("CMYK"), "JPEG", {}),
        "WEBP": (layer, "WEBP", {"quality": 20, "method": 0}),
        "WEBP without loss": (layer, "WEBP", {"lossless": True, "quality": 0, "method": 0}),
        "GIF": (plain.quantize(32), "GIF", {}),
        "TIFF": (layer, "TIFF", {"compression": "tiff_deflate"}),
        "TIFF of 16 bits": (Image.fromarray(np.zeros((side, side), np.uint16)), "TIFF", {"compression": "tiff_lzw"}),
    }  # fmt: skip
    files = {}
    for name, (picture, kind, options) in forms.items():
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        files[name] = buffer.getvalue()
    for name, found in opened(tmp_path, files, max_pixels=side * side, max_bytes=2**30).items():
        assert found[0] == [side, side], name
        assert found[1] < LIMIT_MB, (name, found)


@pytest.mark.parametrize("name", [name for name in REFUSED if REFUSED[name][0] == "too-large"])
def test_the_header_alone_tells_of_what_is_too_large(name: str) -> None:
    raw = REFUSED[name][1]()
    if name != "GIF, a frame beyond its sides":  # the frame is looked at when it is decoded
        with pytest.raises(ImageError) as caught:
            image_size(raw, uri="a.bin", at="documents[0]")
        assert caught.value.reason == "too-large"
        assert str(caught.value).startswith("documents[0]: image 'a.bin' is too-large: ")


def blocks_of(kind: str, blocks: int) -> bytes:
    match kind:
        case "PNG":
            return png(before=chunk(b"prVa") * (blocks - 3))
        case "JPEG":
            own = small("JPEG")
            return jpeg(fill=b"\xff\xec\0\2" * (blocks - own[: own.index(b"\xff\xda") + 2].count(b"\xff") + 1))
        case _:
            return gif(before=b"\x21\xf9" + b"\x01\0" * (blocks - 2) + b"\0")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_the_limit_of_blocks_is_exact(kind: str) -> None:
    check_structure(blocks_of(kind, MAX_BLOCKS), "a")
    with pytest.raises(ImageError, match=r"too-large: got a file of more than 20000 blocks; allowed: 20000; save"):
        check_structure(blocks_of(kind, MAX_BLOCKS + 1), "a")


def test_the_limit_of_scans_is_exact() -> None:
    scans = jpeg_of_scans(0, 16).count(b"\xff\xda")
    assert 2 <= scans < 20
    raw = jpeg_of_scans(MAX_SCANS - scans, 16)
    assert open_image(ImageRef(to_data_uri(raw))).size == (16, 16)
    with pytest.raises(ImageError, match=r"too-large: got a JPEG of more than 100 scans; allowed: 100; save the pic"):
        to_data_uri(jpeg_of_scans(MAX_SCANS - scans + 1, 16))


@given(st.sampled_from(["PNG", "JPEG", "GIF"]), st.binary(max_size=80), st.integers(0, 2**16))
def test_any_bytes_have_a_structure(kind: str, noise: bytes, place: int) -> None:
    raw = small(kind)
    at = place % len(raw)
    for broken in (raw[:at] + noise + raw[at:], raw[:at] + noise, raw[:at] + noise + raw[at + len(noise) :]):
        check_structure(broken, "a")


def test_quoted_data_is_unquoted_in_little_memory() -> None:
    raw = small("PNG")
    whole = to_data_uri(raw)
    head, _, body = whole.partition(",")
    quoted = body.replace("+", "%2b").replace("/", "%2F").replace("=", "%3D")
    assert quoted != body
    assert open_image(ImageRef(f"{head},{quoted}")).size == (8, 8)
    for bad, reason in (("%41" * 10, "unreadable"), ("%", "unreadable"), ("%41" * 28_000_000, "too-large")):
        with pytest.raises(ImageError) as caught:
            open_image(ImageRef(f"{head},{bad}"))
        assert caught.value.reason == reason
