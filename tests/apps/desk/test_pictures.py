"""Pictures as browsers get them: small, encoded anew, kept, and replaced by a drawing where they cannot be shown."""

from __future__ import annotations

import base64
import io
import logging
import zipfile
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from wholepage.apps.desk.pictures import SIDES, Pictures, drawing
from wholepage.apps.desk.server import look_at_pictures
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result

from .conftest import World


def saved(path: Path, size: tuple[int, int] = (50, 40), *, noise: bool = False) -> ImageRef:
    """A picture in a file."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    (Image.fromarray(pixels) if noise else Image.new("RGB", size, "teal")).save(path)
    return ImageRef(str(path))


@pytest.mark.parametrize(
    ("size", "shown"), [((4000, 1000), (640, 160)), ((300, 2000), (96, 640)), ((50, 40), (50, 40))]
)
def test_no_side_is_longer_than_asked(tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]) -> None:
    made = Pictures().shown(saved(tmp_path / "a.png", size), SIDES[""])
    assert Image.open(io.BytesIO(made.body)).size == shown


def test_few_colours_stay_exact_and_many_become_a_photo(tmp_path: Path) -> None:
    flat, photo = saved(tmp_path / "flat.png"), saved(tmp_path / "photo.png", noise=True)
    pictures = Pictures()
    made = pictures.shown(flat, 640)
    assert made.media_type == "image/png"
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(made.body)).convert("RGB")), np.asarray(Image.open(flat.uri))
    )
    assert pictures.shown(photo, 640).media_type == "image/jpeg"


def test_nothing_of_the_file_but_its_pixels_is_sent(tmp_path: Path) -> None:
    """Neither comments nor places nor what was hidden behind the picture."""
    hidden = PngImagePlugin.PngInfo()
    hidden.add_text("Comment", "<script>where I live</script>")
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.png", pnginfo=hidden)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    noise.save(tmp_path / "b.jpg", exif=exif)
    with (tmp_path / "a.png").open("ab") as file:
        file.write(b"where I live")
    for name in ("a.png", "b.jpg"):
        body = Pictures().shown(ImageRef(str(tmp_path / name)), 640).body
        assert b"where I live" not in body
        assert not Image.open(io.BytesIO(body)).getexif()


def test_pictures_are_kept_within_their_bounds(tmp_path: Path) -> None:
    refs = [saved(tmp_path / f"{i}.png", (64, 64), noise=True) for i in range(6)]
    size = len(Pictures().shown(refs[0], 640).body)
    pictures = Pictures(kept_bytes=3 * size + size // 2)
    first = [pictures.shown(ref, 640) for ref in refs]
    for path in tmp_path.iterdir():
        path.unlink()
    assert [bool(pictures.shown(ref, 640).problem) for ref in refs] == [True, True, True, False, False, False]
    assert pictures.shown(refs[-1], 640) is first[-1]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("/nowhere/a.png", "not where it should be"),
        ("https://example.org/a.png", "address that is not opened"),
        ("http://127.0.0.1/a.png", "address that is not opened"),
        ("ftp://example.org/a.png", "address that is not opened"),
        ("data:text/html;base64,PHNjcmlwdD4=", "address that is not opened"),
        ("data:image/svg+xml;base64," + base64.b64encode(b"<svg onload=alert(1)>").decode(), "broken"),
        ("zip:/nowhere.zip!/a.png", "not where it should be"),
        ("file://other.host/a.png", "address that is not opened"),
        ("a\x00b.png", "broken"),
        (str(Path(__file__)), "broken"),
    ],
)
def test_what_cannot_be_shown_is_drawn(uri: str, said: str) -> None:
    pictures = Pictures()
    made = pictures.shown(ImageRef(uri), 640)
    assert said in made.problem
    assert made.media_type == "image/svg+xml"
    root = ElementTree.fromstring(made.body)
    assert made.problem in "".join(root.itertext())
    assert pictures.problem(ImageRef(uri)) == made.problem


def test_a_picture_that_is_only_found_broken_when_it_is_opened(tmp_path: Path) -> None:
    ref = saved(tmp_path / "cut.png", (200, 200), noise=True)
    raw = Path(ref.uri).read_bytes()
    Path(ref.uri).write_bytes(raw[: len(raw) // 2])
    pictures = Pictures()
    assert pictures.problem(ref) == ""  # its bytes are there
    assert "broken" in pictures.shown(ref, 640).problem
    assert "broken" in pictures.problem(ref)
    page = Page(Query("q", "x"), (Result("r", Modality.IMAGE, "", (ref,)),))
    assert pictures.broken([page]) == 1
    assert pictures.check([page]) == {ref: pictures.problem(ref)}


def test_a_picture_that_comes_back_is_shown_again(tmp_path: Path) -> None:
    ref, pictures = ImageRef(str(tmp_path / "a.png")), Pictures()
    assert pictures.problem(ref)
    assert pictures.shown(ref, 640).problem
    saved(tmp_path / "a.png")
    assert pictures.problem(ref) == ""
    assert pictures.shown(ref, 640).problem == ""


def test_a_root_keeps_everything_inside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.png"
    root.mkdir()
    saved(outside)
    saved(root / "in.png")
    (root / "link.png").symlink_to(outside)
    for archive in (root / "in.zip", tmp_path / "out.zip"):
        with zipfile.ZipFile(archive, "w") as packed:
            packed.write(root / "in.png", "a.png")
    pictures = Pictures(root)
    for uri in (
        "in.png",
        str(root / "in.png"),
        f"file://{root}/in.png",
        "zip:in.zip!/a.png",
        f"zip:{root}/in.zip!/a.png",
    ):
        assert pictures.shown(ImageRef(uri), 640).problem == "", uri
    for uri in (
        str(outside), "../outside.png", "link.png", f"file://{outside}", f"zip:{tmp_path}/out.zip!/a.png",
        "zip:../out.zip!/a.png", "a\x00/../../outside.png",
    ):  # fmt: skip
        assert pictures.shown(ImageRef(uri), 640).problem, uri
        assert pictures.problem(ImageRef(uri)), uri


def test_many_at_once_give_the_same_bytes(tmp_path: Path) -> None:
    refs = [saved(tmp_path / f"{i}.png", (900, 700), noise=True) for i in range(3)]
    alone = [Pictures().shown(ref, 640).body for ref in refs]
    pictures, found = Pictures(kept_bytes=1), []

    def look() -> None:
        found.append([pictures.shown(ref, 640).body for ref in refs])

    threads = [Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4


def test_drawings_hold_no_words_but_ours() -> None:
    assert b"<script" not in drawing("The picture file is broken.").body


def test_browsers_ask_once(world: World) -> None:
    ada = world.browser("ada")
    first = ada.get("/pictures/shoes/0/1/0")
    assert first.headers["content-type"] == "image/jpeg"
    assert first.headers["cache-control"] == "private, max-age=86400"
    assert first.headers["content-security-policy"] == "default-src 'none'"
    again = ada.client.get("/pictures/shoes/0/1/0", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    large = ada.get("/pictures/shoes/0/1/0?size=large")
    assert max(Image.open(io.BytesIO(large.content)).size) == 900
    assert large.headers["etag"] != first.headers["etag"]
    assert Image.open(io.BytesIO(ada.get("/pictures/shoes/0/2/1").content)).getpixel((0, 0)) == (0, 0, 255)
    style = next(a["href"] for t, a in ada.see("/").elements if t == "link" and "desk.css" in a.get("href", ""))
    assert "immutable" in ada.get(style).headers["cache-control"]
    assert ada.get("/static/desk.css").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "place", ["9/0/0", "0/9/0", "0/1/9", "0/0/0", "-1/0/0", "x/0/0", "1/query", "0/1/0/0", "1e3/0/0"]
)
def test_places_without_pictures(world: World, place: str) -> None:
    assert world.browser("ada").get(f"/pictures/shoes/{place}").status_code == 404


def test_cards_and_board_say_what_cannot_be_shown(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert world.browser("ada").get("/pictures/shoes/1/1/0").status_code == 404
    assert world.browser("ada").get("/pictures/shoes/1/1/0").headers["content-type"] == "image/svg+xml"
    with caplog.at_level(logging.WARNING, logger="wholepage.desk"):
        assert look_at_pictures(world.app.state.desk) == 1
    assert "gone.png" in caplog.text
    assert world.browser("mia").get("/campaigns/shoes/board.json").json()["broken_pictures"] == 1
    assert "cannot be shown" in world.browser("ada").see("/campaigns/shoes/gold/1").text
