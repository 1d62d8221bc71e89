"""What is not a page: pictures of campaigns, style sheets and scripts, and whether the desk is alive."""

from __future__ import annotations

from collections.abc import Callable

from fastapi.responses import JSONResponse, Response

from wholepage.apps.desk.access import REVIEWERS, NotThere
from wholepage.apps.desk.pictures import SIDES
from wholepage.apps.desk.visits import Guest, Visit
from wholepage.pages.errors import shorten
from wholepage.pages.model import ImageRef

_FOR_EVER = "public, max-age=31536000, immutable"
_FOR_A_DAY = "private, max-age=86400"
_DRAWN = "default-src 'none'"


def healthz() -> Response:
    """Whether the desk answers."""
    return JSONResponse({"status": "ok"})


def static(visit: Guest, name: str) -> Response:
    """A style sheet, script or drawing of the desk; its address changes whenever it does."""
    found = visit.desk.templates.static.get(name)
    if found is None:
        raise NotThere(f"static: got {shorten(name)!r}; allowed: the desk's own files")
    kept = _FOR_EVER if visit.asked("v") == found.etag else "no-cache"
    return _sent(visit, found.body, found.media_type, f'"{found.etag}"', kept)


def query_picture(visit: Guest, campaign: str, page: int) -> Response:
    """The picture that a query asks with."""
    return _picture(visit, campaign, lambda: visit.desk.table(campaign).query_picture(page))


def result_picture(visit: Guest, campaign: str, page: int, result: int, number: int) -> Response:
    """A picture of a result."""
    return _picture(visit, campaign, lambda: visit.desk.table(campaign).picture(page, result, number))


def _picture(visit: Visit, campaign: str, ref_of: Callable[[], ImageRef]) -> Response:
    """A picture, for those who have a part in its campaign; others learn not even that there is one."""
    desk, person = visit.desk, visit.who
    if person.role not in REVIEWERS and not desk.has_part(campaign, person.person_id):
        raise NotThere("picture: there is none here for you")
    shown = desk.pictures.shown(ref_of(), SIDES.get(visit.asked("size"), SIDES[""]))
    if shown.problem:
        answer = Response(shown.body, 404, media_type=shown.media_type)
    else:
        answer = _sent(visit, shown.body, shown.media_type, shown.etag, _FOR_A_DAY)
    answer.headers["content-security-policy"] = _DRAWN
    return answer


def _sent(visit: Visit, body: bytes, media_type: str, etag: str, kept: str) -> Response:
    headers = {"etag": etag, "cache-control": kept}
    if etag in visit.request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
