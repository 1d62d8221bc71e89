"""What is not a page: pictures, style sheets, scripts, and queries that a search box suggests."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from wholepage.apps.desk.access import NotThere
from wholepage.apps.desk.pictures import SIDES
from wholepage.apps.serp.look import Look, number
from wholepage.apps.serp.visits import Visit
from wholepage.pages.errors import shorten
from wholepage.pages.model import ImageRef

SUGGESTED = 8

_FOR_EVER = "public, max-age=31536000, immutable"
_FOR_A_WHILE = "private, max-age=600"  # numbers of pages mean others when another collection is served here
_DRAWN = "default-src 'none'"


def static(visit: Visit) -> Response:
    """A style sheet, script or drawing; its address changes whenever it does."""
    name = visit.request.path_params["name"]
    found = visit.serp.templates.static.get(name)
    if found is None:
        raise NotThere(f"static: got {shorten(name)!r}; allowed: the page's own files")
    kept = _FOR_EVER if visit.asked("v") == found.etag else "no-cache"
    return _sent(visit, found.body, found.media_type, f'"{found.etag}"', kept)


def query_picture(visit: Visit) -> Response:
    """The picture that a query asks with."""
    return _picture(visit, visit.serp.shelf.query_picture(number(visit.request.path_params["page"], "page")))


def result_picture(visit: Visit) -> Response:
    """A picture of a result, by numbers: what a client says never becomes a path."""
    places = (number(visit.request.path_params[what], what) for what in ("page", "result", "picture"))
    return _picture(visit, visit.serp.shelf.picture(*places))


def suggest(visit: Visit) -> Response:
    """Queries of the collection that hold what somebody has typed so far, and where their pages are."""
    look, shelf = Look.read(visit.request.query_params), visit.serp.shelf
    found = [
        {"text": shelf.pages[page].query.text, "url": Look(page=page, order=look.order, beside=look.beside).url()}
        for page in shelf.suggest(look.q, SUGGESTED)
    ]
    return JSONResponse(found)


def _picture(visit: Visit, ref: ImageRef) -> Response:
    shown = visit.serp.pictures.shown(ref, SIDES.get(visit.asked("size"), SIDES[""]))
    if shown.problem:
        answer = Response(shown.body, 404, media_type=shown.media_type)
    else:
        answer = _sent(visit, shown.body, shown.media_type, shown.etag, _FOR_A_WHILE)
    answer.headers["content-security-policy"] = _DRAWN
    return answer


def _sent(visit: Visit, body: bytes, media_type: str, etag: str, kept: str) -> Response:
    headers = {"etag": etag, "cache-control": kept}
    if etag in visit.request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
