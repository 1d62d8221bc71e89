"""Coming in, grading, going out: the parts of the result page that only people of a campaign's store have."""

from __future__ import annotations

from starlette.responses import Response

from wholepage.apps.desk.access import NotThere
from wholepage.apps.serp.look import Look, number
from wholepage.apps.serp.problems import status_of
from wholepage.apps.serp.views import SignInView
from wholepage.apps.serp.visits import Visit, signed_in
from wholepage.pages.errors import SignInRefused

_LONGEST_NAME = 200


def show_sign_in(visit: Visit) -> Response:
    """The form to sign in."""
    look = Look.within(visit.asked("next"))
    return visit.page("sign_in.html", "Sign in", SignInView(visit.judge_into.name, look.url()), look=look)


def sign_in(visit: Visit) -> Response:
    """Sign somebody in, or say that name or password are wrong."""
    fields, judge = visit.fields, visit.judge_into
    name, look = fields.text("name", longest=_LONGEST_NAME), Look.within(fields.text("next"))
    try:
        token = judge.store.sign_in(name, fields.secret("password"))
    except SignInRefused as error:
        view = SignInView(judge.name, look.url(), name, str(error))
        answer = visit.page("sign_in.html", "Sign in", view, look=look, status=status_of(error))
        if error.wait_s > 0:
            answer.headers["retry-after"] = str(round(error.wait_s + 0.5))
        return answer
    if visit.secrets.session:
        judge.store.sign_out(visit.secrets.session)
    answer = visit.done(look.url())
    cookies = visit.serp.cookies
    answer.headers.append("set-cookie", cookies.header(cookies.session, token))
    answer.headers.append("set-cookie", cookies.header(cookies.visit, ""))
    return answer


def sign_out(visit: Visit) -> Response:
    """End the session."""
    visit.judge_into.store.sign_out(visit.secrets.session)
    answer = visit.done(Look.within(visit.fields.text("next")).url())
    cookies = visit.serp.cookies
    answer.headers.append("set-cookie", cookies.header(cookies.session, ""))
    return answer


def judge(visit: Visit) -> Response:
    """Take a grade, or take one back when it is empty."""
    fields, person = visit.fields, signed_in(visit)
    look = Look.read(fields.values)
    place, result = number(fields.text("page"), "page"), number(fields.text("result"), "result")
    page = visit.serp.shelf.page(place).page
    if result >= len(page):
        raise NotThere(f"result: got {result} on page {place}; allowed: 0 to {len(page) - 1}; open the page again")
    visit.judge_into.judge(page, page.results[result], person, fields.whole("grade"))
    return visit.done(f"{look.url()}#r{result}")
