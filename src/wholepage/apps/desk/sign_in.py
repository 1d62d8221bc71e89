"""Coming in and going out: sign-in with name and password, invitations, sign-out."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from fastapi.responses import Response

from wholepage.annotation.people import LONGEST_PASSWORD, SHORTEST_PASSWORD
from wholepage.apps.desk.problems import status_of
from wholepage.apps.desk.views import InviteView, SignInView
from wholepage.apps.desk.visits import Guest, Visit
from wholepage.pages.errors import InputError, SignInRefused


def show_sign_in(visit: Guest) -> Response:
    """The form to sign in."""
    view = SignInView(next_url=_inside(visit.asked("next")))
    return visit.page("sign_in.html", "Sign in", view)


def sign_in(visit: Guest) -> Response:
    """Sign somebody in, or say that name or password are wrong."""
    fields = visit.fields
    name, next_url = fields.text("name", longest=200), _inside(fields.text("next"))
    try:
        token = visit.desk.store.sign_in(name, fields.secret("password"))
    except SignInRefused as error:
        view = SignInView(name, next_url, str(error))
        answer = visit.page("sign_in.html", "Sign in", view, status=status_of(error))
        if error.wait_s > 0:
            answer.headers["retry-after"] = str(round(error.wait_s + 0.5))
        return answer
    return _come_in(visit, token, next_url)


def show_invite(visit: Guest, token: str) -> Response:
    """The form of an invitation."""
    return visit.page("invite.html", "Welcome", _invite_view(token))


def accept_invite(visit: Guest, token: str) -> Response:
    """Take an invitation: somebody new, with the name and password that they chose."""
    fields = visit.fields
    name, password = fields.text("name", longest=200), fields.secret("password")
    try:
        if password != fields.secret("again"):
            raise InputError("password: got two that differ; allowed: the same twice; type it again")
        if len(password) > LONGEST_PASSWORD:
            raise InputError(f"password: got {len(password):,} characters; allowed: up to {LONGEST_PASSWORD:,}")
        person = visit.desk.store.accept(token, name, password)
    except InputError as error:
        return visit.page("invite.html", "Welcome", _invite_view(token, name, str(error)), status=status_of(error))
    return _come_in(visit, visit.desk.store.open_session(person), "/?said=welcome")


def sign_out(visit: Guest) -> Response:
    """End the session."""
    visit.desk.store.sign_out(visit.secrets.session)
    answer = visit.done("/sign-in", "left")
    cookies = visit.desk.cookies
    answer.headers.append("set-cookie", cookies.header(cookies.session, ""))
    answer.headers.append("clear-site-data", '"cache"')
    return answer


def _come_in(visit: Visit, token: str, url: str) -> Response:
    """A new session for this browser; the one that it had before ends."""
    if visit.secrets.session:
        visit.desk.store.sign_out(visit.secrets.session)
    answer = visit.done(url)
    cookies = visit.desk.cookies
    answer.headers.append("set-cookie", cookies.header(cookies.session, token))
    answer.headers.append("set-cookie", cookies.header(cookies.visit, ""))
    return answer


def _invite_view(token: str, name: str = "", problem: str = "") -> InviteView:
    return InviteView(f"/invite/{quote(token, safe='')}", name, problem, SHORTEST_PASSWORD)


def _inside(url: str) -> str:
    """An address on this desk; the start page for any other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    plain = url.startswith("/") and not url.startswith("//") and "\\" not in url and url.isprintable()
    return url if plain and not parts.scheme and not parts.netloc and len(url) < 1000 else "/"
