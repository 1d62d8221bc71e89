"""What users of other rerankers pass as documents -> one Page; and the check that every picture can be opened."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image, ImageOps

from wholepage.pages.errors import ImageError, InputError, PageError, shorten
from wholepage.pages.images import open_image, to_data_uri
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result

Picture: TypeAlias = "str | Path | Image.Image"
Document: TypeAlias = "str | Path | Image.Image | Mapping[str, Any]"

QUERY_ID = "query"
_KEYS = ("text", "image", "id", "modality")
_ALLOWED = f"a text (str), a picture (pathlib.Path or PIL image), or a dict with the keys {', '.join(_KEYS)}"
_LOOKS_LIKE_PICTURE = re.compile(r"data:image/.*|\S+\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic)", re.I | re.S)


def page_of(query: str, documents: Sequence[Document], ids: Sequence[str | int] | None = None) -> Page:
    """One page of a query and its documents; result ids are the ids given, else ``documents[i]``.

    Raises:
        InputError: the query or a document is empty or of another type, or has unknown keys.
        PageError: two documents share an id.
        ImageError: a picture given as a PIL image cannot be read.
    """
    if not isinstance(query, str) or not query.strip():
        raise InputError(f"query: got {_shown(query)}; allowed: words, as a str; say what is looked for")
    if isinstance(documents, (str, bytes, Mapping)) or not isinstance(documents, Sequence):
        raise InputError(f"documents: got {_shown(documents)}; allowed: a list, each {_ALLOWED}; put them into a list")
    own = ids_of(documents, ids)
    results = tuple(
        _result(document, f"documents[{i}]", f"documents[{i}]" if own[i] is None else str(own[i]))
        for i, document in enumerate(documents)
    )
    return Page(Query(QUERY_ID, query), results)


def ids_of(documents: Sequence[Document], ids: Sequence[str | int] | None = None) -> list[str | int | None]:
    """The id that each document came with, or None.

    Args:
        ids: one a document; None = those under ``"id"`` in the documents.
    Raises:
        InputError: not one id a document, ids given twice over, or an id that is neither str nor int.
        PageError: two documents share an id.
    """
    found = [document.get("id") if isinstance(document, Mapping) else None for document in documents]
    if ids is not None:
        if any(one is not None for one in found):
            raise InputError("ids: got ids=... beside documents with an 'id'; allowed: one of the two; drop either")
        if isinstance(ids, str) or len(ids) != len(documents):
            raise InputError(f"ids: got {_shown(ids)} for {len(documents)} documents; allowed: one each; mend the list")
        found = list(ids)
    first: dict[str, int] = {}
    for i, one in enumerate(found):
        if one is None and ids is None:
            continue
        if not isinstance(one, (str, int)) or isinstance(one, bool) or one == "":
            raise InputError(f"documents[{i}]: got id {_shown(one)}; allowed: a str or int, not empty; mend the id")
        if str(one) in first:
            raise PageError(
                f"documents[{first[str(one)]}] and documents[{i}] share the id {one!r}; allowed: ids unique; "
                "rename or drop one"
            )
        first[str(one)] = i
    return found


def check_pictures(page: Page, what: str = "results") -> None:
    """Open every picture of a page, so that nothing is scored unseen because it could not be read.

    Args:
        what: what a result is called in the message, before its index.
    Raises:
        ImageError: a picture is missing, unreadable or too large; names the query, and the result's index and id.
    """
    seen: set[ImageRef] = set()
    for i, result in enumerate(page.results):
        named = f"{what}[{i}]" if result.result_id == f"{what}[{i}]" else f"{what}[{i}] {result.result_id!r}"
        at = named if page.query_id == QUERY_ID else f"query {page.query_id!r}: {named}"
        for ref in result.images:
            if ref not in seen:
                open_image(ref, at=at)
                seen.add(ref)


def _result(document: Document, at: str, result_id: str) -> Result:
    if isinstance(document, Mapping):
        return _from_mapping(document, at, result_id)
    if isinstance(document, str):
        if _LOOKS_LIKE_PICTURE.fullmatch(document.strip()):
            raise InputError(
                f"{at}: got the text {shorten(document)!r}, which looks like a picture's address; allowed: {_ALLOWED}; "
                "pass pathlib.Path(...) or {'image': ...} for the picture, {'text': ...} for the words"
            )
        return _from_mapping({"text": document}, at, result_id)
    if isinstance(document, (Path, Image.Image)):
        return _from_mapping({"image": document}, at, result_id)
    raise InputError(f"{at}: got {_shown(document)}; allowed: {_ALLOWED}; convert it")


def _from_mapping(document: Mapping[str, Any], at: str, result_id: str) -> Result:
    unknown = [key for key in document if key not in _KEYS]
    if unknown:
        raise InputError(f"{at}: got the keys {unknown}; allowed: {', '.join(_KEYS)}; rename or drop them")
    text = document.get("text") or ""
    if not isinstance(text, str):
        raise InputError(f"{at}['text']: got {_shown(text)}; allowed: a str; convert it")
    given = document.get("image")
    pictures = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    refs = tuple(_image_ref(picture, at) for picture in pictures)
    if not text.strip() and not refs:
        raise InputError(f"{at}: got neither words nor a picture; allowed: {_ALLOWED}; leave empty documents out")
    named = document.get("modality")
    if named is None:
        modality = Modality.IMAGE if refs else Modality.TEXT
    elif named in [m.value for m in Modality]:
        modality = Modality(named)
    else:
        allowed = ", ".join(m.value for m in Modality)
        raise InputError(f"{at}['modality']: got {_shown(named)}; allowed: {allowed}; choose one, or leave it out")
    try:
        return Result(result_id, modality, text, refs)
    except PageError as error:  # says the result's id; the place in the list is what the caller knows
        raise PageError(f"{at}: {error}") from error


def _image_ref(picture: Any, at: str) -> ImageRef:
    if isinstance(picture, Image.Image):
        return ImageRef(_data_uri(picture, at))
    if isinstance(picture, Path):
        return ImageRef(os.path.abspath(picture))  # a name like a:b.png must not be taken for a scheme
    if isinstance(picture, str) and picture:
        return ImageRef(picture)
    raise InputError(
        f"{at}['image']: got {_shown(picture)}; allowed: a path, a data: URI, a PIL image, or a list of them (the "
        "frames of a video); convert it"
    )


def _data_uri(picture: Image.Image, at: str) -> str:
    """The picture as an address, so that it goes through the same door as every other."""
    try:
        upright = ImageOps.exif_transpose(picture)
        return to_data_uri(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # PIL reads late: a cut file shows only now
        raise ImageError("a PIL image", "unreadable", f"{error}; pass a whole picture", at=at) from error


def _shown(value: object) -> str:
    return f"{type(value).__name__} {shorten(repr(value))}"
