"""People and invitations: managers invite annotators and reviewers, admins everybody, and admins change roles."""

from __future__ import annotations

from datetime import timedelta

from fastapi.responses import Response

from wholepage.annotation.people import Person, Role
from wholepage.apps.desk.access import ADMINS, INVITABLE, NotAllowed, NotThere
from wholepage.apps.desk.board_views import InvitedView, PeopleView, PersonRow
from wholepage.apps.desk.urls import person_url
from wholepage.apps.desk.visits import Guest, Visit
from wholepage.pages.errors import InputError, shorten

INVITE_DAYS = 7


def show_people(visit: Guest) -> Response:
    """Everybody, and the form to invite."""
    me, admin = visit.who, visit.who.role in ADMINS
    rows = []
    for person in visit.desk.store.people():
        who = person.person_id
        mine = who == me.person_id
        rows.append(
            PersonRow(
                who,
                person.name,
                person.role.value,
                person.active,
                mine,
                role_url=person_url(who, "role") if admin and not mine else "",
                deactivate_url=person_url(who, "deactivate") if admin and person.active and not mine else "",
                activate_url=person_url(who, "activate") if admin and not person.active else "",
                renew_url=person_url(who, "renew") if admin and person.active and not mine else "",
            )
        )
    roles = tuple(role.value for role in Role) if admin else ()
    invitable = tuple(role.value for role in INVITABLE[me.role])
    return visit.page("people.html", "People", PeopleView(tuple(rows), invitable, roles, "/people/invite"))


def invite(visit: Guest) -> Response:
    """Make an invitation for somebody new."""
    role = visit.fields.word("role", Role)
    if role not in INVITABLE[visit.who.role]:
        raise NotAllowed(
            f"got an invitation for the role {role.value!r}; allowed: "
            f"{', '.join(r.value for r in INVITABLE[visit.who.role])}; ask an admin of this desk"
        )
    return _invited(visit, role)


def renew(visit: Guest, person: str) -> Response:
    """Make an invitation for somebody who lost their password."""
    found = _found(visit, person)
    return _invited(visit, found.role, found.person_id)


def set_role(visit: Guest, person: str) -> Response:
    """Change what somebody may do."""
    found, role = _other(visit, person), visit.fields.word("role", Role)
    visit.desk.store.set_role(found.person_id, role)
    return visit.done("/people", "saved")


def deactivate(visit: Guest, person: str) -> Response:
    """End somebody's access."""
    visit.desk.store.deactivate(_other(visit, person).person_id)
    return visit.done("/people", "saved")


def activate(visit: Guest, person: str) -> Response:
    """Let somebody in again."""
    visit.desk.store.activate(_found(visit, person).person_id)
    return visit.done("/people", "saved")


def _invited(visit: Visit, role: Role, person_id: str | None = None) -> Response:
    desk = visit.desk
    expires = desk.clock() + timedelta(days=INVITE_DAYS)
    token = desk.store.invite(role, visit.who.person_id, expires, person_id=person_id)
    place = desk.address or f"{visit.request.url.scheme}://{visit.request.url.netloc}"
    view = InvitedView(role.value, f"{place.rstrip('/')}/invite/{token}", f"{expires:%Y-%m-%d %H:%M} UTC")
    return visit.page("invited.html", "Invitation", view)


def _found(visit: Visit, person_id: str) -> Person:
    try:
        if not person_id.isprintable():  # not every database takes such text
            raise InputError(f"person: got {shorten(person_id)!r}; allowed: an id of this desk; see the list of people")
        return visit.desk.store.person(person_id)
    except InputError as error:
        raise NotThere(str(error)) from error


def _other(visit: Visit, person_id: str) -> Person:
    found = _found(visit, person_id)
    if found.person_id == visit.who.person_id:
        raise InputError("got a change of yourself; allowed: changes of others; ask another admin")
    return found
