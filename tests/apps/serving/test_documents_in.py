"""Documents and pictures as clients send them."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.apps.serving.documents_in import (
    OMITTED,
    Ask,
    Document,
    DocumentIn,
    DocumentObject,
    Laid,
    QueryObject,
    document_of,
    laid,
    notes_on,
    query_of,
    unknown_fields,
)
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.pictures_in import Fetch, PictureDoor
from wholepage.apps.serving.together import together
from wholepage.pages.errors import ImageError, InputError, PageError
from wholepage.pages.images import open_image
from wholepage.pages.model import ImageRef, Modality

from .fakes import FakeFetch, base64_of, data_uri, png

PICTURE = data_uri()
URL = "https://pictures.test/a.png"


def document(given: Any) -> Document:
    """A document as it comes in JSON."""
    return document_of(msgspec.convert(given, DocumentIn), "documents[0]")


def let_in(
    documents: list[Any], fetcher: Fetch | None = None, query: Document | None = None, **settings: int
) -> tuple[Laid, dict[str, ImageRef]]:
    """The page of documents."""
    found = tuple(document_of(msgspec.convert(one, DocumentIn), f"documents[{i}]") for i, one in enumerate(documents))
    ask = Ask(query or Document("query", "q"), found)
    refs = asyncio.run(PictureDoor(ServingSettings(**settings), fetcher).refs([ask]))
    return laid(ask, refs), refs


@pytest.mark.parametrize(
    ("given", "text", "pictures"),
    [
        ("a text", "a text", ()),
        ("", "", ()),
        ({"text": "a"}, "a", ()),
        ({"image": PICTURE}, "", (PICTURE,)),
        ({"image": {"url": URL}}, "", (URL,)),
        ({"text": "a", "image": PICTURE}, "a", (PICTURE,)),
        ({"image": [PICTURE, {"url": URL}], "modality": "video"}, "", (PICTURE, URL)),
        ({"content": "a"}, "a", ()),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb", ()),
        ({"content": [{"type": "image_url", "image_url": URL}]}, "", (URL,)),
        ({"content": [{"type": "image_url", "image_url": {"url": URL, "detail": "low"}}]}, "", (URL,)),
        (
            {
                "text": "a",
                "image": PICTURE,
                "content": [{"type": "text", "text": "b"}, {"type": "image", "image": URL}],
            },
            "a\nb",
            (PICTURE, URL),
        ),
    ],
)
def test_every_shape_of_document(given: Any, text: str, pictures: tuple[str, ...]) -> None:
    found = document(given)
    assert (found.text, found.pictures) == (text, pictures)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "got neither text, image nor content"),
        ({"id": "x"}, "got neither text, image nor content"),
        ({"text": "a", "id": ""}, r"documents\[0\].id: got an empty id"),
        ({"image": ""}, "got an empty address"),
        (PICTURE, r"got a picture .* as a text"),
        ({"content": [{"type": "video_url"}]}, r"documents\[0\].content\[0\]: got a part of type 'video_url'"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text"}]}, r"content\[1\]: got a part of type 'text'"),
        ({"content": [{"type": "image_url", "image": "x"}]}, "got a part of type 'image_url'"),
    ],
)
def test_documents_that_cannot_be(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        document(given)


def test_query_rules() -> None:
    settings = ServingSettings(max_query_chars=5)
    assert query_of("hello", "query", settings).text == "hello"
    assert query_of(QueryObject(image=URL), "query", settings).pictures == (URL,)
    for wrong, said in (
        (" \n", "nothing to look for"),
        (QueryObject(text=""), "nothing to look for"),
        ("sixsix", "got 6 characters; allowed: 5"),
    ):
        with pytest.raises(InputError, match=said):
            query_of(wrong, "query", settings)
    with pytest.raises(InputError, match="got 2 pictures; allowed: one"):
        query_of(msgspec.convert({"content": [{"type": "image", "image": URL}] * 2}, QueryObject), "query", settings)


def test_a_page_of_everything() -> None:
    query = Document("query", "q", (PICTURE,))
    video = {"image": [PICTURE, PICTURE], "modality": "video", "text": "seen"}
    found, _ = let_in(["a", {"image": PICTURE, "id": 7}, " ", {"text": "b", "modality": "answer"}, video], query=query)
    page = found.page
    assert found.places == (0, 1, 3, 4)
    assert found.left == (2,)
    assert page.result_ids == ("0", "7", "3", "4")
    assert [result.modality for result in page.results] == [
        Modality.TEXT, Modality.IMAGE, Modality.ANSWER, Modality.VIDEO,
    ]  # fmt: skip
    assert len(page.results[3].images) == 2
    assert page.query.image is not None
    assert open_image(page.query.image).size == (2, 2)


def test_ids_are_the_clients_and_never_shared() -> None:
    found, _ = let_in([{"text": "a", "id": "1"}, "b", {"text": "c", "id": "#1"}, "d"])
    assert found.page.result_ids == ("1", "##1", "#1", "3")
    with pytest.raises(PageError, match=r"documents\[0\] and documents\[2\]: got the same id '5'"):
        let_in([{"text": "a", "id": 5}, "b", {"text": "c", "id": "5"}])


@given(st.lists(st.none() | st.sampled_from(["0", "1", "2", "#0", "#1", "##1", "#2"]), max_size=7))
def test_ids_are_unique_whatever_clients_call_theirs(ids: list[str | None]) -> None:
    own = [one for one in ids if one is not None]
    documents = [DocumentObject(text="t", id=one) for one in ids]
    ask = Ask(Document("query", "q"), tuple(document_of(one, f"d[{i}]") for i, one in enumerate(documents)))
    if len(set(own)) < len(own):
        with pytest.raises(PageError):
            laid(ask, {})
        return
    found = laid(ask, {}).page.result_ids
    assert len(set(found)) == len(ids)
    assert all(a == b for a, b in zip(ids, found, strict=True) if a is not None)


def test_modality_must_fit_the_content() -> None:
    with pytest.raises(PageError, match=r"documents\[0\]: .*modality 'video' without images"):
        let_in([{"text": "a", "modality": "video"}])


def test_notes_on_what_may_be_meant_otherwise() -> None:
    addresses = [URL, "file:/etc/a.PNG", "http://x.test/a.jpg?size=3"]
    texts = ["https://x.test/page", "see https://x.test/a.png", *addresses, "", "https://x.test/a b.png"]
    notes = notes_on([Document(f"documents[{i}]", text) for i, text in enumerate(texts)])
    assert len(notes) == 2
    assert notes[0].startswith("documents[5]: nothing to read")
    assert notes[1].startswith("documents[2], documents[3], documents[4]: a picture's address")
    many = notes_on([Document(f"documents[{i}]", "") for i in range(1000)])
    assert many[0].startswith("documents[0], documents[1], documents[2], documents[3], documents[4] and 995 more:")


def test_unknown_fields_are_found_at_every_depth() -> None:
    given = ["a", {"text": "b", "title": "c"}, {"content": [{"type": "text", "text": "x", "uuid": 1}, 3]}, 4]
    assert unknown_fields(given) == {"title", "content.uuid"}
    assert unknown_fields({"text": "q", "lang": "de"}) == {"lang"}


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        (Document("", "a"), {"text": "a"}),
        (Document("", ""), {"text": ""}),
        (Document("", "a", (PICTURE,)), {"text": "a", "image": OMITTED}),
        (Document("", "", (URL,)), {"image": URL}),
        (Document("", "", (base64_of(png()),)), {"image": OMITTED}),
        (Document("", "", (URL, PICTURE)), {"image": [URL, OMITTED]}),
        (Document("", "", ("https://x.test/" + "a" * 5000,)), {"image": OMITTED}),
    ],
)
def test_echo_holds_no_base64(document: Document, shown: dict[str, object]) -> None:
    assert document.echo() == shown


def test_pictures_become_one_kind_of_address() -> None:
    """Bare base64, a ``data:`` address of a wrong type, and one with escapes are the same picture."""
    raw = png()
    escaped = "data:image/png;base64," + base64_of(raw).replace("=", "%3D").replace("+", "%2B")
    sent = [data_uri(raw), base64_of(raw), data_uri(raw).replace("image/png", "image/jpeg"), escaped]
    _, refs = let_in([{"image": one} for one in sent])
    assert {ref.uri for ref in refs.values()} == {data_uri(raw)}


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd", "etc/passwd", "../../secret.png", "file:///etc/passwd", "FILE:/etc/passwd", "zip:/a.zip!/b.png",
        "ftp://x.test/a.png", "gopher://x", "blob:abc", "javascript:1", "data:text/html;base64,aGk=", "data:,hi",
        "C:\\a.png", "\\\\host\\a.png", "~/a.png", "a", "aGVsbG8gd29ybGQ=", "data:image/png;base64,!!!",
        "data:image/png;base64," + base64.b64encode(b"GIF89a").decode(), "data:image/svg+xml;base64,PHN2Zy8+", "\x00",
        "//x.test/a.png",
    ],
)  # fmt: skip
def test_what_is_no_picture_sent_whole_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr("os.stat", opened)
    with pytest.raises(ImageError, match=r"^documents\[1\]: image"):
        let_in(["a", {"image": address}])


def test_a_path_to_a_real_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    for address in (str(path), f"file://{path}", f"zip:{path}!/a.png", path.as_uri()):
        with pytest.raises(ImageError) as caught:
            let_in([{"image": address}])
        assert caught.value.reason == "scheme"


def test_caps_on_pictures() -> None:
    big = data_uri(png(100, 100))
    for settings, said in (
        ({"max_pixels": 9_999}, "100 x 100 = 10000 pixels; allowed: 9999"),
        ({"max_picture_bytes": 50}, "too-large"),
    ):
        for sent in (big, big.partition(",")[2]):
            with pytest.raises(ImageError, match=said):
                let_in([{"image": sent}], **settings)
    with pytest.raises(InputError, match="got 3 pictures in a request; allowed: 2"):
        let_in([{"image": [PICTURE, PICTURE]}], query=Document("query", "", (PICTURE,)), max_pictures=2)


def test_a_picture_that_claims_to_be_huge_is_refused_by_its_header() -> None:
    head = b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00" + b"\xff\x3f\x00" * 2
    with pytest.raises(ImageError, match="16384 x 16384"):
        let_in([{"image": data_uri(head)}])


def test_web_addresses_are_fetched_once_and_only_where_asked_for() -> None:
    with pytest.raises(ImageError, match=r"documents\[0\]: .*this server fetches none"):
        let_in([{"image": URL}])
    fetcher = FakeFetch(a=png(3, 3), b=png(4, 4))
    other = URL.replace("a.png", "b.png")
    found, refs = let_in([{"image": URL}, {"image": other}, {"image": URL}], fetcher)
    assert sorted(fetcher.asked) == [URL, other]
    assert refs[URL].uri == data_uri(png(3, 3))
    assert found.page.results[0].images == found.page.results[2].images


def test_what_cannot_be_fetched_names_the_document() -> None:
    with pytest.raises(ImageError) as caught:
        let_in(["a", {"image": URL}], FakeFetch(a=OSError("status 404")))
    assert str(caught.value) == f"documents[1]: image '{URL}' is missing: status 404"


def test_what_is_fetched_is_measured_too() -> None:
    for settings, raw in (
        ({"max_pixels": 15}, png(4, 4)),
        ({"max_picture_bytes": 20}, png()),
        ({"max_body_bytes": 20}, png()),
        ({}, b"<svg/>"),
    ):
        with pytest.raises(ImageError, match=r"documents\[0\]"):
            let_in([{"image": URL}], FakeFetch(a=raw), **settings)


def test_together_keeps_the_order_and_cancels_what_is_left() -> None:
    ended: list[str] = []

    async def job(name: str, wait_s: float, *, fails: bool = False) -> str:
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            ended.append(name)
            raise
        if fails:
            raise InputError(name)
        return name

    async def run() -> None:
        assert await together([lambda: job("a", 0.02), lambda: job("b", 0)]) == ["a", "b"]
        assert await together([lambda: job("a", 0.01), lambda: job("b", 0)], at_once=1) == ["a", "b"]
        with pytest.raises(InputError, match="b"):
            await together([lambda: job("slow", 60), lambda: job("b", 0, fails=True), lambda: job("c", 60)], at_once=2)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert "slow" in ended
