"""One request: who makes it, what its form says, and the page that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from wholepage.apps.desk.access import NotAllowed, NotSignedIn
from wholepage.apps.desk.forms import Fields
from wholepage.apps.desk.pictures import Pictures
from wholepage.apps.desk.security import UNSAFE, Cookies, Secrets, new_secret, same
from wholepage.apps.serp.look import Look
from wholepage.apps.serp.orders import Orders
from wholepage.apps.serp.rendering import Templates
from wholepage.apps.serp.shelf import Shelf
from wholepage.apps.serp.views import Shell
from wholepage.pages.errors import WholepageError

if TYPE_CHECKING:  # people and their log need a database, which most result pages have none of
    from wholepage.annotation.people import Person
    from wholepage.apps.serp.judging import JudgeInto

_MOST_WAITING = 64


class Busy(WholepageError):
    """So many wait for a page already that one more would wait for nothing."""


class Serp:
    """Everything that requests share.

    Args:
        shelf: the pages.  orders: of them.  pictures: opens theirs.  templates: of all pages.
        judge_into: takes grades; None = nobody grades here.
        cookies: how they are sent.
        shown: results of a page that are shown at first.
        at_once: pages that are made at the same time, and besides them as many pictures.
    """

    def __init__(
        self,
        shelf: Shelf,
        orders: Orders,
        *,
        pictures: Pictures,
        templates: Templates,
        judge_into: JudgeInto | None,
        cookies: Cookies,
        shown: int,
        at_once: int,
    ) -> None:
        self.shelf, self.orders, self.pictures, self.templates = shelf, orders, pictures, templates
        self.judge_into, self.cookies, self.shown = judge_into, cookies, shown
        # A ranker may take long; pictures and the start must not wait for it.
        self.slow, self.quick = CapacityLimiter(at_once), CapacityLimiter(at_once)


class Visit(msgspec.Struct, frozen=True):
    """A request that may go on.

    Attributes:
        serp: everything there is.
        request: as the framework has it.
        secrets: of the browser; ``session`` is empty when nobody is signed in.
        person: who is signed in.
        fields: of the form.
    """

    serp: Serp
    request: Request
    secrets: Secrets
    person: Person | None
    fields: Fields

    @property
    def judge_into(self) -> JudgeInto:
        """Where grades go.

        Raises:
            NotAllowed: nobody grades here.
        """
        if self.serp.judge_into is None:
            raise NotAllowed("got a grade; allowed: looking; start the server with a campaign to judge into")
        return self.serp.judge_into

    def asked(self, name: str) -> str:
        """A value in the address after the question mark, shortened; empty when there is none."""
        return self.request.query_params.get(name, "")[:2000]

    def page(
        self, template: str, title: str, view: object, *, look: Look | None = None, q: str = "", status: int = 200
    ) -> Response:
        """A page; a browser without secrets gets one with it where there are forms that must be trusted.

        Args:
            template: of the page.  title: of the window.  view: what the template shows.
            look: what somebody looks at, for the forms and links around it.
            q: what the search box holds.
            status: of the answer.
        """
        answer = HTMLResponse(page(self.serp, self.request, template, title, view, look=look, q=q), status)
        if self.serp.judge_into is not None and self.request.state.new_visit:
            cookies = self.serp.cookies
            answer.headers.append("set-cookie", cookies.header(cookies.visit, self.secrets.visit))
        return answer

    def done(self, url: str) -> Response:
        """What was asked is done: scripts get JSON, browsers go on to an address of this page."""
        if wants_json(self.request):
            return JSONResponse({"ok": True, "next": url})
        return RedirectResponse(url, 303)


Handler = Callable[[Visit], Response]


def endpoint(
    serp: Serp, handle: Handler, *, slow: Callable[[Request], bool] = lambda request: False
) -> Callable[[Request], object]:
    """A handler that may wait, as a route calls it: in a thread, of which there are few.

    Args:
        serp: what it gets.  handle: answers.  slow: tells the requests that may wait for a ranker.
    """

    async def answer(request: Request) -> Response:
        limiter = serp.slow if slow(request) else serp.quick
        body = await request.body() if request.method in UNSAFE else b""
        if limiter.statistics().tasks_waiting >= _MOST_WAITING:
            raise Busy(f"got more than {_MOST_WAITING} visitors who wait; come back in a moment")
        return await to_thread.run_sync(lambda: handle(_arrived(serp, request, body)), limiter=limiter)

    return answer


def _arrived(serp: Serp, request: Request, body: bytes) -> Visit:
    """Who asks.

    Raises:
        NotAllowed: a form that this browser did not get here.
        InputError: a form that cannot be read.
    """
    sent = serp.cookies.read(request.headers)
    judge = serp.judge_into
    person = judge.store.session(sent.session) if judge is not None and sent.session else None
    request.state.new_visit = person is None and not sent.visit
    secrets = Secrets(sent.session if person else "", sent.visit or new_secret())
    request.state.person, request.state.csrf = person, secrets.csrf if judge is not None else ""
    fields = Fields()
    if request.method in UNSAFE:
        fields = Fields.read(body, request.headers.get("content-type", ""))
        token = request.headers.get("x-csrf-token") or fields.secret("csrf")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise NotAllowed("got a form of another site; allowed: forms of this page; open it here")
        if request.state.new_visit or not same(token, secrets.csrf):
            raise NotAllowed("got a form that this browser did not get here; open the page again and repeat")
    return Visit(serp, request, secrets, person, fields)


def signed_in(visit: Visit) -> Person:
    """Whoever is signed in.

    Raises:
        NotSignedIn: nobody is.
    """
    if visit.person is None:
        raise NotSignedIn("got nobody who is signed in; allowed: people of the campaign's desk; sign in")
    return visit.person


def page(
    serp: Serp, request: Request, template: str, title: str, view: object, *, look: Look | None = None, q: str = ""
) -> str:
    """A template with everything around it, as HTML; the arguments as of ``Visit.page``."""
    person: Person | None = getattr(request.state, "person", None)
    look = look or Look()
    shell = Shell(
        title=title,
        shelf=serp.shelf.name,
        csrf=getattr(request.state, "csrf", ""),
        q=q,
        fields=look.fields,
        judging=serp.judge_into is not None,
        person=person.name if person else "",
        sign_in_url=sign_in_url(look),
    )
    return serp.templates.page(template, shell, view)


def sign_in_url(look: Look) -> str:
    """Where to sign in to come back to what one looks at."""
    return f"/serp/sign-in?{urlencode({'next': look.url()})}"


def wants_json(request: Request) -> bool:
    """Whether a script asks: it says that it takes JSON and does not say HTML."""
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted
