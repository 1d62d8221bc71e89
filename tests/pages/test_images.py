"""Pictures are opened late, within limits, and only from where it is allowed."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import multiprocessing
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from wholepage.pages import ImageError, ImageRef, image_bytes
from wholepage.pages.images import FORMATS, image_sha256, open_image, read_image_bytes, to_data_uri

PIXELS = np.random.default_rng(7).integers(0, 256, (12, 17, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}, "TIFF": {}}


def encoded(picture: Image.Image = PICTURE, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def data_ref(raw: bytes, mime: str = "image/png") -> ImageRef:
    return ImageRef(f"data:{mime};base64,{base64.b64encode(raw).decode()}")


def opened(raw: bytes, **options: Any) -> np.ndarray[Any, Any]:
    picture = open_image(data_ref(raw), **options)
    assert picture.mode == "RGB"
    assert type(picture) is Image.Image
    return np.asarray(picture)


def opened_or_why(raw: bytes, **options: Any) -> np.ndarray[Any, Any] | str:
    try:
        return opened(raw, **options)
    except ImageError as error:
        return error.reason


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def webp_canvas(width: int, height: int) -> bytes:
    """An animated WEBP of one small frame on a canvas of the size claimed."""
    small = encoded(Image.new("RGB", (8, 8), "red"), "WEBP", lossless=True)[12:]
    frame = struct.pack("<I", 16 + len(small)) + bytes(6) + b"\7\0\0\7\0\0" + b"\x64\0\0\0" + small
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + size + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body += b"ANMF" + frame
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize("kind", LOSSLESS)
def test_pixels_come_as_they_were_written(kind: str) -> None:
    assert np.array_equal(opened(encoded(kind=kind, **LOSSLESS[kind])), PIXELS)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_allowed_is_read_and_no_other(kind: str) -> None:
    plain = Image.new("RGB", (9, 5), (200, 30, 60))
    assert np.abs(opened(encoded(plain, kind)).astype(int) - [200, 30, 60]).max() <= 4
    for other in ("PPM", "ICO", "TGA", "JPEG2000"):
        with pytest.raises(ImageError, match=r"is unreadable: got \d+ bytes that begin .*allowed: PNG, JPEG"):
            opened(encoded(plain.resize((16, 16)), other))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_once_as_their_exif_says(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(kind=kind, exif=exif.tobytes(), **LOSSLESS.get(kind, {"quality": 95}))
    with Image.open(io.BytesIO(raw)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    seen = open_image(data_ref(raw))
    assert np.array_equal(np.asarray(seen), expected)
    if kind != "JPEG":
        turned = {1: PIXELS, 3: PIXELS[::-1, ::-1], 6: np.rot90(PIXELS, -1), 8: np.rot90(PIXELS)}
        assert orientation not in turned or np.array_equal(np.asarray(seen), turned[orientation])
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(seen)), expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_odd_orientation_is_no_turn() -> None:
    for value in (0, 9, 6000):
        exif = Image.Exif()
        exif[0x0112] = value
        assert np.array_equal(opened(encoded(exif=exif.tobytes())), PIXELS)
    assert np.array_equal(opened(encoded(exif=b"Exif\0\0II*\0\xff\xff\xff\xff")), PIXELS)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    alpha = np.linspace(0, 255, PIXELS[..., 0].size).reshape(PIXELS.shape[:2]).astype(np.uint8)
    layer = PICTURE.convert("RGB" if mode == "RGBA" else "L")
    colours = np.asarray(layer.convert("RGB")).astype(float)
    layer.putalpha(Image.fromarray(alpha))
    assert layer.mode == mode
    weight = alpha[..., None] / 255
    assert np.abs(opened(encoded(layer)) - (colours * weight + 255 * (1 - weight))).max() <= 1


def test_transparent_colours_of_palettes_and_keys_become_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        assert opened(encoded(palette, kind, transparency=0)).tolist() == [[[255, 255, 255], [200, 100, 50]]]
    pair = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    assert opened(encoded(pair, transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [4, 5, 6]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_greys_of_16_bits_keep_their_shades(kind: str) -> None:
    deep = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    assert opened(encoded(Image.fromarray(deep), kind))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_bits_and_cmyk_are_shown_and_pixels_without_white_are_refused() -> None:
    assert opened(encoded(Image.new("1", (2, 2), 1))).min() == 255
    assert opened(encoded(Image.new("CMYK", (2, 2), (0, 0, 0, 0)), "TIFF")).min() == 255
    for mode in ("I", "F"):
        with pytest.raises(ImageError, match=f"is unreadable: got colours that cannot be shown .*mode {mode}"):
            opened(encoded(Image.new(mode, (2, 2)), "TIFF"))


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "TIFF"):
        raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(opened(raw).astype(int) - [255, 0, 0]).max() <= 4


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about broken EXIF
@pytest.mark.parametrize("kind", [*FORMATS, "GIF of two"])
def test_what_is_cut_short_is_refused_or_whole(kind: str) -> None:
    more: dict[str, Any] = {"save_all": True, "append_images": [PICTURE.rotate(90)]} if kind == "GIF of two" else {}
    raw = encoded(kind=kind[:4].strip(), **more)
    whole = opened(raw)
    found = [opened_or_why(raw[:length]) for length in range(1, len(raw))]
    refused = [why for why in found if isinstance(why, str)]
    assert set(refused) == {"unreadable"}
    assert len(refused) > len(raw) // 3
    assert all(np.array_equal(seen, whole) for seen in found if not isinstance(seen, str))


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.binary(max_size=60), st.sampled_from(["", *FORMATS]), st.integers(0, 2**16), st.integers(0, 255))
def test_broken_bytes_are_image_errors(noise: bytes, kind: str, place: int, value: int) -> None:
    raw = bytearray(encoded(kind=kind) if kind else noise)
    if kind:
        raw[place % len(raw)] = value
    seen = opened_or_why(bytes(raw), max_pixels=10**6)
    assert seen in ("unreadable", "too-large") if isinstance(seen, str) else seen.size <= 3 * 10**6


@pytest.mark.parametrize("raw", [png_header(9_000, 9_000), webp_canvas(9_000, 9_000)], ids=["png", "webp"])
def test_a_bomb_is_refused_before_its_pixels_exist(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    def explode(*_: object) -> None:
        pytest.fail("the bomb went off")

    monkeypatch.setattr(ImageFile.ImageFile, "load", explode)
    monkeypatch.setattr("PIL._webp.WebPAnimDecoder", explode)
    with pytest.raises(ImageError, match="too-large: got ") as caught:
        opened(raw)
    assert caught.value.reason == "too-large"
    assert len(raw) < 300


@pytest.mark.parametrize("kind", FORMATS)
def test_the_limit_of_pixels_is_exact(kind: str) -> None:
    raw = encoded(kind=kind)
    assert opened(raw, max_pixels=12 * 17).shape == (12, 17, 3)
    with pytest.raises(ImageError, match=r"too-large: got 17 x 12 = 204 pixels; allowed: 203; .*max_pixels"):
        opened(raw, max_pixels=12 * 17 - 1)


@pytest.mark.parametrize("lossless", [True, False])
def test_the_canvas_of_a_webp_is_read_from_its_header(lossless: bool) -> None:
    for mode, size in (("RGB", (1, 1)), ("RGB", (300, 257)), ("RGBA", (64, 1000))):
        raw = encoded(Image.new(mode, size), "WEBP", lossless=lossless)
        opened(raw, max_pixels=size[0] * size[1])
        with pytest.raises(ImageError, match=f"got {size[0]} x {size[1]} = "):
            opened(raw, max_pixels=size[0] * size[1] - 1)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, tuple[str, bytes]]:
    """The same picture under every kind of address."""
    raw = encoded()
    path = tmp_path / "a b#1%41.png"
    path.write_bytes(raw)
    with zipfile.ZipFile(tmp_path / "all!.zip", "w") as archive:
        archive.writestr("in/a b!/c.png", raw, zipfile.ZIP_DEFLATED)
    return {
        "path": (str(path), raw),
        "file": (f"file://{quote(str(path))}", raw),
        "file at localhost": (f"FILE://localhost{quote(str(path))}", raw),
        "file with one slash": (f"file:{quote(str(path))}", raw),
        "zip": (f"zip:{tmp_path}/all!.zip!/in/a b!/c.png", raw),
        "data": (to_data_uri(raw), raw),
        "data, quoted": (to_data_uri(raw).replace("+", "%2B").replace("/", "%2F").replace("image%2F", "image/"), raw),
    }


def test_one_picture_has_one_digest_wherever_it_lies(places: dict[str, tuple[str, bytes]]) -> None:
    for name, (uri, raw) in places.items():
        digest = hashlib.sha256(raw).hexdigest()
        assert read_image_bytes(ImageRef(uri)) == raw, name
        assert image_sha256(ImageRef(uri)) == digest, name
        assert np.array_equal(np.asarray(open_image(ImageRef(uri, digest.upper()))), PIXELS), name
        assert read_image_bytes(ImageRef(uri), max_bytes=len(raw)) == raw, name
        with pytest.raises(ImageError, match="max_bytes") as caught:
            read_image_bytes(ImageRef(uri), max_bytes=len(raw) - 1)
        assert caught.value.reason == "too-large", name
        with pytest.raises(ImageError, match=f"got bytes with sha256 {digest}; allowed: {'0' * 64}") as caught:
            open_image(ImageRef(uri, "0" * 64))
        assert caught.value.reason == "unreadable", name


def _broken_zip(folder: Path) -> str:
    path = folder / "broken.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encoded())
    whole = path.read_bytes()
    path.write_bytes(whole.replace(whole[60:64], b"\0\0\0\0", 1))
    return f"zip:{path}!/a.png"


def _locked_zip(folder: Path) -> str:
    path = folder / "locked.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encoded())
    whole = bytearray(path.read_bytes())
    whole[6] |= 1
    whole[whole.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(whole)
    return f"zip:{path}!/a.png"


def _no_zip(folder: Path) -> str:
    (folder / "no.zip").write_bytes(b"no archive at all")
    return f"zip:{folder}/no.zip!/a.png"


def _empty(folder: Path) -> str:
    (folder / "empty.png").touch()
    return str(folder / "empty.png")


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.png")
    return str(folder / "pipe.png")


REFUSED: list[tuple[str, Callable[[Path], str], str, str]] = [
    ("no file", lambda folder: f"{folder}/none.png", "missing", "got no file"),
    ("no file at the end of a long path", lambda folder: f"{folder}/{'a/' * 1000}b.png", "missing", r"\d+ chars\)'"),
    ("a long name", lambda folder: f"{folder}/{'a' * 3000}", "unreadable", "name too long"),
    ("a file as a folder", lambda folder: f"{_empty(folder)}/a.png", "missing", "got no file"),
    ("no file:", lambda folder: f"file://{folder}/none.png", "missing", "none.png"),
    ("a folder", str, "unreadable", "a folder or device"),
    ("a pipe", _pipe, "unreadable", "a folder or device"),
    ("a null byte", lambda folder: f"{folder}/a\0.png", "unreadable", "null"),
    ("nothing in it", _empty, "unreadable", "0 bytes that begin"),
    ("another machine", lambda _: "file://server/a.png", "scheme", "another host"),
    ("a relative file:", lambda _: "file:a.png", "scheme", "a relative path"),
    ("http", lambda _: "http://127.0.0.1:9/a.png", "scheme", "got http:; allowed: a path.*pass allow_http=True"),
    ("https", lambda _: "HTTPS://127.0.0.1:9/a.png", "scheme", "got https:"),
    ("ftp", lambda _: "ftp://127.0.0.1/a.png", "scheme", "got ftp:"),
    ("a script", lambda _: "javascript:alert(1)", "scheme", "got javascript:"),
    ("data of text", lambda _: "data:text/plain;base64,aGk=", "scheme", "data:image/<type>;base64"),
    ("data without base64", lambda _: "data:image/svg+xml,<svg/>", "scheme", "data:image/<type>;base64"),
    ("data without a comma", lambda _: "data:image/png;base64", "scheme", "data:image/<type>;base64"),
    ("broken base64", lambda _: "data:image/png;base64,iVB*", "unreadable", "broken base64"),
    ("base64 without its end", lambda _: "data:image/png;base64,iVBOR", "unreadable", "broken base64"),
    ("base64 of no ASCII", lambda _: "data:image/png;base64,äöüß", "unreadable", "broken base64"),
    ("data that is no picture", lambda _: "data:image/png;base64,aGVsbG8=", "unreadable", "begin b'hello'"),
    ("no archive", lambda folder: f"zip:{folder}/none.zip!/a.png", "missing", "none.zip"),
    ("no member named", lambda folder: f"zip:{folder}/a.zip", "scheme", "zip:<archive>!/<member>"),
    ("no member", lambda folder: f"{_locked_zip(folder)}x", "missing", "no member 'a.pngx'"),
    ("a file that is no archive", _no_zip, "unreadable", "a broken archive"),
    ("a member with other bytes", _broken_zip, "unreadable", "a broken archive .*CRC"),
    ("a locked member", _locked_zip, "unreadable", "a broken archive .*password"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "reason", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_opened_says_why(tmp_path: Path, make: Callable[[Path], str], reason: str, said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        open_image(ImageRef(make(tmp_path)), at="results[3] 'r7'")
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"results[3] 'r7': image {caught.value.uri!r} is {reason}: got ")
    assert "; allowed: " in str(caught.value)
    assert len(str(caught.value)) < 600


def test_archives_serve_many_threads(tmp_path: Path) -> None:
    made = {}
    for a in range(image_bytes._ARCHIVES_OPEN + 4):
        with zipfile.ZipFile(tmp_path / f"{a}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for m in range(20):
                made[f"zip:{tmp_path}/{a}.zip!/{m}.png"] = raw = encoded(Image.new("L", (5 + a, 5 + m), m))
                archive.writestr(f"{m}.png", raw)
    wanted = [uri for uri in made for _ in range(5)]
    np.random.default_rng(0).shuffle(wanted)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda uri: read_image_bytes(ImageRef(uri)), wanted))
    assert found == [made[uri] for uri in wanted]


def _read_all(uris: list[str]) -> list[bytes]:
    return [read_image_bytes(ImageRef(uri)) for uri in uris]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes do not fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_does_not_share_the_handle(tmp_path: Path) -> None:
    uris = [f"zip:{tmp_path}/a.zip!/{m}" for m in range(200)]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for m in range(200):
            archive.writestr(str(m), bytes([m]) * 30_000)
    expected = _read_all(uris)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pending = [pool.apply_async(_read_all, (uris,)) for _ in range(4)]
        assert _read_all(uris) == expected
        for answer in pending:
            assert answer.get(timeout=30) == expected


def test_open_archives_are_few_and_fresh(tmp_path: Path) -> None:
    for n in range(30):
        with zipfile.ZipFile(tmp_path / f"{n}.zip", "w") as archive:
            archive.writestr("a", bytes([n]))
    for n in (*range(30), *range(30)):
        assert read_image_bytes(ImageRef(f"zip:{tmp_path}/{n}.zip!/a")) == bytes([n])
    held = image_bytes._archives.open
    assert len(held) == image_bytes._ARCHIVES_OPEN
    again = next(reversed(held.values()))
    read_image_bytes(ImageRef(f"zip:{tmp_path}/29.zip!/a"))
    assert next(reversed(held.values())) is again
    with zipfile.ZipFile(tmp_path / "29.zip", "w") as archive:
        archive.writestr("a", b"new and longer")
    assert read_image_bytes(ImageRef(f"zip:{tmp_path}/29.zip!/a")) == b"new and longer"


def test_a_zip_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(30 * 2**20))
    assert (tmp_path / "a.zip").stat().st_size < 2**16
    with pytest.raises(ImageError, match=f"got {30 * 2**20} bytes or more; allowed: {20 * 2**20}"):
        read_image_bytes(ImageRef(f"zip:{tmp_path}/a.zip!/a"))


@pytest.mark.parametrize("kind", FORMATS)
def test_data_addresses_hold_the_bytes_themselves(kind: str) -> None:
    raw = encoded(kind=kind)
    uri = to_data_uri(raw)
    assert uri.startswith(f"data:image/{kind.lower()};base64,")
    assert read_image_bytes(ImageRef(uri)) == raw


def test_data_addresses_of_pictures_lose_nothing() -> None:
    assert np.array_equal(np.asarray(open_image(ImageRef(to_data_uri(PICTURE)))), PIXELS)
    with pytest.raises(ImageError, match=r"<7 bytes>.* is unreadable"):
        to_data_uri(b"nothing")


def test_the_faces_leave_pillow_alone() -> None:
    probe = "import sys, wholepage.pages, wholepage.pages.records; print('PIL' in sys.modules)"
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=True, timeout=60)
    source = str(Path(image_bytes.__file__).parents[2])
    assert run([sys.executable, "-c", probe], env={**os.environ, "PYTHONPATH": source}).stdout == "False\n"
