"""What a browser is told when something cannot be done: every error becomes a status here, and nowhere else.

People get a page that says what to do; scripts get the same as JSON.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from wholepage.apps.desk.access import Conflict, NotAllowed, NotSignedIn, NotThere
from wholepage.apps.desk.security import HEADERS
from wholepage.apps.desk.views import ProblemView
from wholepage.apps.desk.visits import page, wants_json
from wholepage.pages.errors import (
    BudgetSpent,
    Halted,
    ImageError,
    InputError,
    SignInRefused,
    StoreError,
    WholepageError,
)

STATUS: Final[tuple[tuple[type[WholepageError], int], ...]] = (  # the first that fits, so narrow ones come first
    (NotSignedIn, 401),
    (NotAllowed, 403),
    (NotThere, 404),
    (Conflict, 409),
    (Halted, 409),
    (BudgetSpent, 409),
    (SignInRefused, 401),
    (ImageError, 404),
    (InputError, 422),
    (StoreError, 503),
    (WholepageError, 500),
)
"""Error -> HTTP status."""

_TITLES: Final = {
    400: "This could not be read",
    401: "Please sign in",
    403: "This is not for you",
    404: "There is no such page",
    405: "This cannot be done here",
    409: "Something has happened since",
    422: "This cannot be taken as it is",
    429: "Too many tries",
    503: "The store of answers does not answer",
}
_WAYS: Final = {
    **dict.fromkeys(("answer", "skip", "later", "escalate", "undo"), ("work", "To the next card")),
    **dict.fromkeys(("guideline", "budget", "close", "pause", "resume"), ("manage", "To the settings")),
    **dict.fromkeys(("invite", "role", "deactivate"), ("people", "To the people")),
    "decide": ("review", "To the waiting tasks"),
    "gold": ("gold", "To the gold"),
}
_UNKNOWN = "Something went wrong here, and it is not your fault. What was saved is safe; please try again."


def status_of(error: WholepageError) -> int:
    """The status of an error; 429 for somebody who must wait before they try again."""
    if isinstance(error, SignInRefused) and error.wait_s > 0:
        return 429
    return next(status for kind, status in STATUS if isinstance(error, kind))


def add_handlers(app: FastAPI) -> None:
    """Let the app answer errors with this module's pages."""
    app.add_exception_handler(WholepageError, _named)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(RequestValidationError, _not_read)
    app.add_exception_handler(Exception, _unnamed)


def _named(request: Request, error: Exception) -> Response:
    status = status_of(error) if isinstance(error, WholepageError) else 500
    if isinstance(error, NotSignedIn):
        sign_in = _sign_in_url(request)
        if request.method == "GET" and not wants_json(request):
            return RedirectResponse(sign_in, 303)
        return _told(request, status, str(error), back=sign_in, word="Sign in")
    # What the store says names its place, which is the admin's business.
    message = str(error) if status < 500 else _UNKNOWN
    answer = _told(request, status, message)
    if isinstance(error, SignInRefused) and error.wait_s > 0:
        answer.headers["retry-after"] = str(round(error.wait_s + 0.5))
    return answer


def _of_framework(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _told(request, status, "There is nothing at this address." if status == 404 else str(error))


def _not_read(request: Request, _error: Exception) -> Response:
    return _told(request, 404, "There is nothing at this address.")


def _unnamed(request: Request, _error: Exception) -> Response:
    # The server's log has the traceback. This answer passes outside of SecureHeaders.
    answer = _told(request, 500, _UNKNOWN)
    for name, value in HEADERS:
        answer.headers[name.decode()] = value.decode()
    return answer


def _told(request: Request, status: int, message: str, *, back: str = "", word: str = "") -> Response:
    title = _TITLES.get(status, "Something went wrong")
    if not back:
        back, word = _way_on(request, status)
    if wants_json(request):
        return JSONResponse({"ok": False, "status": status, "title": title, "message": message, "next": back}, status)
    view = ProblemView(status, title, message, back, word)
    return HTMLResponse(page(request, "problem.html", title, view), status)


def _way_on(request: Request, status: int) -> tuple[str, str]:
    """Where to go after a problem with a form: to the page that it is of, if that is still there."""
    route = str(getattr(request.scope.get("route"), "path", ""))
    ending, word = _WAYS.get(route.rsplit("/", 1)[-1], ("", ""))
    if request.method != "POST" or status not in (409, 422) or not ending:
        return "/", "To the campaigns"
    campaign = quote(str(request.path_params.get("campaign", "")), safe="")
    return (f"/campaigns/{campaign}/{ending}", word) if campaign else ("/people", "To the people")


def _sign_in_url(request: Request) -> str:
    here = request.url.path if request.method == "GET" else "/"
    asked = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
    return f"/sign-in?next={quote(here + asked, safe='')}"
