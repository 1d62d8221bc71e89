"""Who may do what: one table of every route of the desk, which the guard obeys and the tests walk through.

A route without a line here is closed to everybody.
"""

from __future__ import annotations

from typing import Final

from wholepage.annotation.people import Role
from wholepage.pages.errors import InputError, WholepageError

ANYBODY: Final = frozenset[Role | None]({None, *Role})
SIGNED_IN: Final = frozenset[Role | None](Role)
REVIEWERS: Final = frozenset[Role | None]({Role.REVIEWER, Role.MANAGER, Role.ADMIN})
MANAGERS: Final = frozenset[Role | None]({Role.MANAGER, Role.ADMIN})
ADMINS: Final = frozenset[Role | None]({Role.ADMIN})

ACCESS: Final[dict[tuple[str, str], frozenset[Role | None]]] = {
    ("GET", "/healthz"): ANYBODY,
    ("GET", "/static/{name}"): ANYBODY,
    ("GET", "/sign-in"): ANYBODY,
    ("POST", "/sign-in"): ANYBODY,
    ("GET", "/invite/{token}"): ANYBODY,
    ("POST", "/invite/{token}"): ANYBODY,
    ("POST", "/sign-out"): SIGNED_IN,
    ("GET", "/"): SIGNED_IN,
    ("GET", "/campaigns/{campaign}/guideline"): SIGNED_IN,
    ("GET", "/campaigns/{campaign}/work"): SIGNED_IN,
    ("POST", "/campaigns/{campaign}/answer"): SIGNED_IN,
    ("POST", "/campaigns/{campaign}/skip"): SIGNED_IN,
    ("POST", "/campaigns/{campaign}/later"): SIGNED_IN,
    ("POST", "/campaigns/{campaign}/escalate"): SIGNED_IN,
    ("POST", "/campaigns/{campaign}/undo"): SIGNED_IN,
    ("GET", "/pictures/{campaign}/{page}/query"): SIGNED_IN,
    ("GET", "/pictures/{campaign}/{page}/{result}/{number}"): SIGNED_IN,
    ("GET", "/campaigns/{campaign}/review"): REVIEWERS,
    ("GET", "/campaigns/{campaign}/review/task"): REVIEWERS,
    ("POST", "/campaigns/{campaign}/review/decide"): REVIEWERS,
    ("GET", "/campaigns/{campaign}/board"): MANAGERS,
    ("GET", "/campaigns/{campaign}/board.json"): MANAGERS,
    ("GET", "/campaigns/{campaign}/manage"): MANAGERS,
    ("POST", "/campaigns/{campaign}/guideline"): MANAGERS,
    ("POST", "/campaigns/{campaign}/budget"): MANAGERS,
    ("POST", "/campaigns/{campaign}/pause"): MANAGERS,
    ("POST", "/campaigns/{campaign}/resume"): MANAGERS,
    ("POST", "/campaigns/{campaign}/close"): MANAGERS,
    ("GET", "/campaigns/{campaign}/gold"): MANAGERS,
    ("GET", "/campaigns/{campaign}/gold/{page}"): MANAGERS,
    ("POST", "/campaigns/{campaign}/gold"): MANAGERS,
    ("GET", "/campaigns/{campaign}/export/{name}"): MANAGERS,
    ("GET", "/people"): MANAGERS,
    ("POST", "/people/invite"): MANAGERS,
    ("POST", "/people/{person}/role"): ADMINS,
    ("POST", "/people/{person}/deactivate"): ADMINS,
    ("POST", "/people/{person}/activate"): ADMINS,
    ("POST", "/people/{person}/renew"): ADMINS,
}
"""Route -> who may; ``None`` stands for somebody who is not signed in."""

INVITABLE: Final[dict[Role, tuple[Role, ...]]] = {
    Role.ADMIN: (Role.ANNOTATOR, Role.REVIEWER, Role.MANAGER, Role.ADMIN),
    Role.MANAGER: (Role.ANNOTATOR, Role.REVIEWER),
    Role.REVIEWER: (),
    Role.ANNOTATOR: (),
}
"""Which roles somebody may invite others to."""


class NotSignedIn(WholepageError):
    """This is only for people who are signed in."""


class NotAllowed(WholepageError):
    """Whoever asks may not do this, or the request comes from somebody else's page."""


class NotThere(InputError):
    """There is no such thing here, or none for whoever asks."""


class Conflict(InputError):
    """This was right once, but something else has happened since."""


def check_role(method: str, path: str, role: Role | None) -> None:
    """Let a role pass to a route.

    Args:
        method: such as ``GET``.
        path: of the route, as the table writes it.
        role: of whoever asks; None = not signed in.
    Raises:
        NotSignedIn: nobody is signed in, and somebody must be.
        NotAllowed: the role may not, or the route is not in the table.
    """
    allowed = ACCESS.get((method, path), frozenset())
    if role in allowed:
        return
    if role is None:
        raise NotSignedIn("got nobody who is signed in; allowed: people of this desk; sign in")
    raise NotAllowed(
        f"got the role {role.value!r}; allowed: {', '.join(sorted(r.value for r in allowed if r)) or 'nobody'}; ask "
        "an admin of this desk"
    )
