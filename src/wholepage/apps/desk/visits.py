"""One request: who makes it, what their form says, and whether they may; every route of the desk passes here first."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from wholepage.annotation.people import Person
from wholepage.apps.desk.access import ADMINS, MANAGERS, REVIEWERS, NotAllowed, NotSignedIn, check_role
from wholepage.apps.desk.forms import Fields
from wholepage.apps.desk.security import UNSAFE, Secrets, new_secret, same
from wholepage.apps.desk.state import Desk
from wholepage.apps.desk.views import PersonView, Shell

NOTICES = {
    "undone": "Taken back.",
    "saved": "Saved.",
    "skipped": "Skipped.",
    "later": "You will see it again later.",
    "escalated": "A reviewer will look at it.",
    "decided": "Decided.",
    "paused": "Paused.",
    "resumed": "Goes on.",
    "closed": "The campaign is closed.",
    "welcome": "Welcome.",
    "left": "You are signed out.",
}
"""What a page may say once, by the code in its address."""


class Visit(msgspec.Struct, frozen=True):
    """A request that may go on.

    Attributes:
        desk: everything there is.
        request: as the framework has it.
        secrets: of the browser; ``session`` is empty when nobody is signed in.
        person: who is signed in.
        fields: of the form.
    """

    desk: Desk
    request: Request
    secrets: Secrets
    person: Person | None
    fields: Fields

    @property
    def who(self) -> Person:
        """Somebody who is signed in.

        Raises:
            NotSignedIn: nobody is.
        """
        if self.person is None:
            raise NotSignedIn("got nobody who is signed in; allowed: people of this desk; sign in")
        return self.person

    def asked(self, name: str) -> str:
        """A value in the address after the question mark, shortened; empty when there is none."""
        return self.request.query_params.get(name, "")[:2000]

    def page(self, template: str, title: str, view: object, *, status: int = 200) -> Response:
        """A page; a browser without secrets gets one with it, so that its forms can be trusted."""
        answer = HTMLResponse(page(self.request, template, title, view), status)
        if not self.secrets.session and self.request.state.new_visit:
            cookies = self.desk.cookies
            answer.headers.append("set-cookie", cookies.header(cookies.visit, self.secrets.visit))
        return answer

    def done(self, url: str, notice: str = "", *, seq: int | None = None) -> Response:
        """What was asked is done: scripts get JSON, browsers go on to an address of this desk."""
        if wants_json(self.request):
            return JSONResponse({"ok": True, "seq": seq, "next": url, "notice": NOTICES.get(notice, "")})
        return RedirectResponse(f"{url}?said={notice}" if notice else url, 303)


async def arrive(request: Request) -> Visit:
    """Find out who asks, and let them pass only where the table of access says so.

    Raises:
        NotSignedIn: nobody is signed in, and somebody must be.
        NotAllowed: another role may, or the form is not one that this browser got from the desk.
        InputError: the form cannot be read.
        NotThere: the address is of a campaign that is not there.
    """
    body = await request.body() if request.method in UNSAFE else b""
    return await run_in_threadpool(_admitted, request, body)


def _admitted(request: Request, body: bytes) -> Visit:
    desk: Desk = request.app.state.desk
    sent = desk.cookies.read(request.headers)
    person = desk.store.session(sent.session) if sent.session else None
    request.state.new_visit = person is None and not sent.visit
    secrets = Secrets(sent.session if person else "", sent.visit or new_secret())
    request.state.person, request.state.csrf = person, secrets.csrf
    check_role(request.method, request.scope["route"].path, person.role if person else None)
    fields = Fields()
    if request.method in UNSAFE:
        fields = Fields.read(body, request.headers.get("content-type", ""))
        _check_origin(request, fields, secrets)
    if "campaign" in request.path_params:
        desk.live(request.path_params["campaign"])
    return Visit(desk, request, secrets, person, fields)


def _check_origin(request: Request, fields: Fields, secrets: Secrets) -> None:
    """Refuse a form that this browser did not get from this desk."""
    token = request.headers.get("x-csrf-token") or fields.secret("csrf")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise NotAllowed("got a form of another site; allowed: forms of this desk; open the page here")
    if request.state.new_visit or not same(token, secrets.csrf):
        raise NotAllowed("got a form that this browser did not get from this desk; open the page again and repeat")


Guest = Annotated[Visit, Depends(arrive)]
"""The argument of a route that is its visit."""


def page(request: Request, template: str, title: str, view: object) -> str:
    """A template with everything around it, as HTML."""
    person: Person | None = getattr(request.state, "person", None)
    shell = Shell(
        title=title,
        csrf=getattr(request.state, "csrf", ""),
        person=person_view(person) if person else None,
        notice=NOTICES.get(request.query_params.get("said", ""), ""),
        path=request.url.path,
    )
    desk: Desk = request.app.state.desk
    return desk.templates.page(template, shell, view)


def person_view(person: Person) -> PersonView:
    """Who is signed in, as templates show it."""
    role = person.role
    return PersonView(person.name, role.value, True, role in REVIEWERS, role in MANAGERS, role in ADMINS)


def wants_json(request: Request) -> bool:
    """Whether a script asks: it says that it takes JSON and does not say HTML."""
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted
