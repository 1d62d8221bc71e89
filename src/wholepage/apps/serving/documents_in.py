"""What clients send as queries and documents -> one page.

A document is a text, or an object with ``text``, ``image`` (one, or the frames of a video), or ``content`` (a text, or
parts of chat messages); and ``id`` and ``modality`` where the client has them. A query is the same without the two.
Nothing here opens an address: ``pictures_in`` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from wholepage.apps.serving.limits import ServingSettings
from wholepage.pages.errors import InputError, PageError, shorten
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result

QUERY_ID = "query"
OMITTED = "<omitted>"

_LONGEST_ADDRESS = 2048
_SCHEMES = ("http://", "https://", "file:", "zip:")
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_NAMED = 5  # places that a note names; the rest is a number


class ImageUrl(msgspec.Struct, frozen=True):
    """An address of a picture, as chat messages have it; ``detail`` is not used."""

    url: str
    detail: str | None = None


class Part(msgspec.Struct, frozen=True):
    """A part of a chat message: of type ``text``, ``image_url`` or ``image``."""

    type: str
    text: str | None = None
    image_url: str | ImageUrl | None = None
    image: str | None = None


class QueryObject(msgspec.Struct, frozen=True):
    """A query that is more than a text."""

    text: str | None = None
    image: str | ImageUrl | None = None
    content: str | list[Part] | None = None


class DocumentObject(msgspec.Struct, frozen=True):
    """A document that is more than a text.

    Attributes:
        image: ``data:image/...;base64,``, bare base64, or http(s) where the server fetches; several = a video's frames.
        id: comes back with the result.
        modality: what it is; without it ``image`` where there is a picture, else ``text``.
    """

    text: str | None = None
    image: str | ImageUrl | list[str | ImageUrl] | None = None
    content: str | list[Part] | None = None
    id: str | int | None = None
    modality: Modality | None = None


QueryIn: TypeAlias = str | QueryObject
DocumentIn: TypeAlias = str | DocumentObject


class Document(msgspec.Struct, frozen=True):
    """A query or a document, whatever it was sent as.

    Attributes:
        at: where it stands in the request, such as ``documents[3]``.
        pictures: addresses as they were sent, not opened.
        id: as it was sent.
    """

    at: str
    text: str = ""
    pictures: tuple[str, ...] = ()
    id: str | int | None = None
    modality: Modality | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing that a ranker could read."""
        return not self.pictures and not self.text.strip()

    def echo(self) -> dict[str, str | list[str]]:
        """The document as answers show it: pictures that were sent whole are left out, addresses stay."""
        shown: dict[str, str | list[str]] = {"text": self.text} if self.text or not self.pictures else {}
        pictures = [uri if on_the_web(uri) and len(uri) <= _LONGEST_ADDRESS else OMITTED for uri in self.pictures]
        if pictures:
            shown["image"] = pictures[0] if len(pictures) == 1 else pictures
        return shown


class Ask(msgspec.Struct, frozen=True):
    """A query and what is to be ordered for it; ``first`` is the request's index of the first document."""

    query: Document
    documents: tuple[Document, ...]
    first: int = 0


class Laid(msgspec.Struct, frozen=True):
    """An ask as a page.

    Attributes:
        places: the request's index of each result of the page.  left: of documents that hold nothing to read.
    """

    page: Page
    places: tuple[int, ...]
    left: tuple[int, ...] = ()


def document_of(given: DocumentIn | QueryIn, at: str) -> Document:
    """A query or document, whatever it was sent as.

    Raises:
        InputError: it holds no field that could be read, a part of a kind that is not known, or an empty id.
    """
    if isinstance(given, str):
        if given[:11].lower() == "data:image/":
            raise InputError(
                f"{at}: got a picture ({shorten(given)}) as a text; allowed: texts; pass {{'image': ...}} for a picture"
            )
        return Document(at, given)
    texts: list[str] = []
    pictures: list[str] = []
    if given.text is not None:
        texts.append(given.text)
    images = given.image if isinstance(given.image, list) else [] if given.image is None else [given.image]
    pictures += [_url(image) for image in images]
    if isinstance(given.content, str):
        texts.append(given.content)
    for number, part in enumerate(given.content if isinstance(given.content, list) else ()):
        words, shown = _of_part(part, f"{at}.content[{number}]")
        texts += words
        pictures += shown
    if given.text is None and given.image is None and given.content is None:
        raise InputError(f"{at}: got neither text, image nor content; allowed: one of them or more; mend the document")
    if any(not picture for picture in pictures):
        raise InputError(f"{at}: got an empty address of a picture; allowed: data:, base64; leave the picture out")
    text = "\n".join(filter(None, texts))
    if isinstance(given, QueryObject):
        return Document(at, text, tuple(pictures))
    if given.id == "":
        raise InputError(f"{at}.id: got an empty id; allowed: a text or number; leave it out instead")
    return Document(at, text, tuple(pictures), given.id, given.modality)


def query_of(given: QueryIn, at: str, settings: ServingSettings) -> Document:
    """A query, which must hold words or one picture.

    Raises:
        InputError: it is empty, too long, or holds several pictures.
    """
    query = document_of(given, at)
    if query.empty:
        raise InputError(f"{at}: got nothing to look for; allowed: words, or a picture; say what is looked for")
    if len(query.text) > settings.max_query_chars:
        raise InputError(
            f"{at}: got {len(query.text)} characters; allowed: {settings.max_query_chars}; ask in fewer words"
        )
    if len(query.pictures) > 1:
        raise InputError(f"{at}: got {len(query.pictures)} pictures; allowed: one; choose one")
    return query


def notes_on(documents: Sequence[Document]) -> list[str]:
    """What a client should know of its documents: which hold nothing, which may be meant as pictures."""
    notes = []
    if empty := [document.at for document in documents if document.empty]:
        notes.append(f"{listed(empty)}: nothing to read; placed last, without a score of the ranker")
    if meant := [document.at for document in documents if not document.pictures and _like_a_picture(document.text)]:
        notes.append(f"{listed(meant)}: a picture's address was read as a text; pass {{'image': ...}} for the picture")
    return notes


def laid(ask: Ask, refs: Mapping[str, ImageRef]) -> Laid:
    """The page of an ask; documents that hold nothing to read are left out of it.

    Args:
        refs: of every address in the query and the documents, the picture that was found there.
    Raises:
        PageError: two documents share an id, or one is of a modality that it cannot be.
    """
    read = [i for i, document in enumerate(ask.documents) if not document.empty]
    ids = _ids([ask.documents[i] for i in read], [ask.first + i for i in read])
    results = tuple(_result(ask.documents[i], result_id, refs) for i, result_id in zip(read, ids, strict=True))
    left = tuple(ask.first + i for i, document in enumerate(ask.documents) if document.empty)
    query = Query(QUERY_ID, ask.query.text, refs[ask.query.pictures[0]] if ask.query.pictures else None)
    return Laid(Page(query, results), tuple(ask.first + i for i in read), left)


def unknown_fields(given: Any) -> set[str]:
    """Names of fields in documents, or a query, that nothing here reads."""
    found: set[str] = set()
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, dict):
            found |= one.keys() - _DOCUMENT_FIELDS
            content = one.get("content")
            for part in content if isinstance(content, list) else ():
                found |= {f"content.{name}" for name in part.keys() - _PART_FIELDS} if isinstance(part, dict) else set()
    return found


def listed(names: Sequence[str]) -> str:
    """Names for a message: the first few, and how many more."""
    more = len(names) - _NAMED
    return ", ".join(shorten(name) for name in names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def on_the_web(uri: str) -> bool:
    """Whether an address is http or https."""
    return uri[:8].lower().startswith(("http://", "https://"))


_DOCUMENT_FIELDS = set(DocumentObject.__struct_fields__)
_PART_FIELDS = set(Part.__struct_fields__)


def _like_a_picture(text: str) -> bool:
    if len(text) > _LONGEST_ADDRESS or not text[:8].lower().startswith(_SCHEMES):
        return False
    return text.partition("?")[0].lower().endswith(_ENDINGS) and not any(c.isspace() for c in text)


def _url(image: str | ImageUrl) -> str:
    return image.url if isinstance(image, ImageUrl) else image


def _of_part(part: Part, at: str) -> tuple[list[str], list[str]]:
    """Texts and pictures of a part."""
    match part:
        case Part(type="text", text=str(text)):
            return [text], []
        case Part(type="image_url", image_url=str() | ImageUrl() as image):
            return [], [_url(image)]
        case Part(type="image", image=str(image)):
            return [], [image]
    allowed = "text with 'text', image_url with 'image_url', image with 'image'"
    raise InputError(f"{at}: got a part of type {shorten(part.type)!r}; allowed: {allowed}; send frames of a video so")


def _ids(documents: Sequence[Document], places: Sequence[int]) -> list[str]:
    """The clients' ids where there are some, else the index, made different from every id."""
    taken: dict[str, str] = {}
    for document in documents:
        if document.id is None:
            continue
        if str(document.id) in taken:
            raise PageError(
                f"{taken[str(document.id)]} and {document.at}: got the same id {shorten(str(document.id))!r}; "
                "allowed: ids unique in a request; rename one, or leave ids out"
            )
        taken[str(document.id)] = document.at
    ids = []
    for document, place in zip(documents, places, strict=True):
        own = str(place if document.id is None else document.id)
        while document.id is None and own in taken:
            own = f"#{own}"
        ids.append(own)
    return ids


def _result(document: Document, result_id: str, refs: Mapping[str, ImageRef]) -> Result:
    images = tuple(refs[picture] for picture in document.pictures)
    modality = document.modality or (Modality.IMAGE if images else Modality.TEXT)
    try:
        return Result(result_id, modality, document.text, images)
    except PageError as error:  # says the result's id; the place in the request is what the client knows
        raise PageError(f"{document.at}: {error}") from error
