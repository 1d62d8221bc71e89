"""What a browser is told when something cannot be done: every error becomes a status here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from wholepage.apps.desk.access import Conflict, NotAllowed, NotSignedIn, NotThere
from wholepage.apps.desk.security import HEADERS
from wholepage.apps.serp.look import Look
from wholepage.apps.serp.views import ProblemView
from wholepage.apps.serp.visits import Busy, Serp, page, sign_in_url, wants_json
from wholepage.pages.errors import ImageError, InputError, SignInRefused, StoreError, WholepageError

STATUS: Final[tuple[tuple[type[WholepageError], int], ...]] = (  # the first that fits, so narrow ones come first
    (NotSignedIn, 401),
    (NotAllowed, 403),
    (NotThere, 404),
    (Conflict, 409),
    (SignInRefused, 401),
    (ImageError, 404),
    (InputError, 422),
    (Busy, 503),
    (StoreError, 503),
    (WholepageError, 500),
)
"""Error -> HTTP status."""

_TITLES: Final = {
    401: "Please sign in",
    403: "This is not for you",
    404: "There is no such page",
    405: "This cannot be done here",
    409: "Something has happened since",
    422: "This cannot be taken as it is",
    429: "Too many tries",
    503: "Not just now",
}
_UNKNOWN = "Something went wrong here, and it is not your fault. Please try again."
_RETRY_S = 5

Answer = Callable[[Request, Exception], Response]


def status_of(error: WholepageError) -> int:
    """The status of an error; 429 for somebody who must wait before they try again."""
    if isinstance(error, SignInRefused) and error.wait_s > 0:
        return 429
    return next(status for kind, status in STATUS if isinstance(error, kind))


def handlers(serp: Serp) -> dict[type[Exception], Answer]:
    """How the app answers errors."""

    def told(request: Request, status: int, message: str, back: str = "/", word: str = "To the search") -> Response:
        title = _TITLES.get(status, "Something went wrong")
        if wants_json(request):
            told = {"ok": False, "status": status, "title": title, "message": message, "next": back}
            return JSONResponse(told, status)
        view = ProblemView(status, title, message, back, word)
        return HTMLResponse(page(serp, request, "problem.html", title, view), status)

    def named(request: Request, error: Exception) -> Response:
        status = status_of(error) if isinstance(error, WholepageError) else 500
        if isinstance(error, NotSignedIn):
            url = sign_in_url(Look())
            return told(request, status, str(error), url, "Sign in")
        # What a store or a ranker says may name places that are nobody's business.
        answer = told(request, status, str(error) if status < 500 or isinstance(error, Busy) else _UNKNOWN)
        if status == 503:
            answer.headers["retry-after"] = str(_RETRY_S)
        return answer

    def of_framework(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return told(request, status, "There is nothing at this address." if status == 404 else str(error))

    def unnamed(request: Request, _error: Exception) -> Response:
        # The server's log has the traceback. This answer passes outside of the headers that all others get.
        answer = told(request, 500, _UNKNOWN)
        for name, value in HEADERS:
            answer.headers[name.decode()] = value.decode()
        return answer

    return {WholepageError: named, HTTPException: of_framework, Exception: unnamed}
