"""Who may come to the desk: people, invites, passwords, sessions; the half of the store that knows no campaigns.

A name's password cannot be guessed quickly: the first tries are free, then each has to wait longer. Tries are counted
before the password is looked at, in the database, so that neither many at once nor another process gets more of them.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from wholepage.annotation.database import reading, writing
from wholepage.annotation.moments import Clock, moment_of, stamp
from wholepage.annotation.people import (
    Person,
    Role,
    ScryptCost,
    hash_password,
    name_key,
    new_person_id,
    new_token,
    password_fits,
    tidy_name,
    token_hash,
)
from wholepage.annotation.tables import INVITES, PEOPLE, SESSIONS, SIGN_INS
from wholepage.pages.errors import InputError, SignInRefused, StoreError

FREE_TRIES = 5
"""Wrong passwords that a name may have in a row before it must wait."""

FIRST_WAIT_S = 15.0
LONGEST_WAIT_S = 900.0
FORGOTTEN_AFTER_S = 3_600.0
"""Tries are forgotten when a name was left alone for so long."""

_COLUMNS = (PEOPLE.c.person, PEOPLE.c.name, PEOPLE.c.role, PEOPLE.c.active)


class Accounts:
    """People, invites and sessions of one database; ``Store`` adds the campaigns.

    Args:
        engine: of a database with the store's tables.
        clock: what time it is.
        session_s: how long somebody stays signed in.
        cost: what hashing a password costs.
    """

    def __init__(self, engine: Engine, *, clock: Clock, session_s: float, cost: ScryptCost) -> None:
        self._engine, self._clock, self._session_s, self._cost = engine, clock, session_s, cost

    # --- people

    def add_person(self, person: Person, password: str | None = None) -> Person:
        """Add somebody; without a password they come in by an invite of their own.

        Raises:
            InputError: the id or the name is taken, or the password is too short or too long.
        """
        hashed = None if password is None else hash_password(password, self._cost)
        try:
            with writing(self._engine) as connection:
                _insert_person(connection, person, hashed)
        except StoreError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise _taken(person.person_id, person.name) from error
            raise
        return person

    def person(self, person_id: str) -> Person:
        """Somebody by their id.

        Raises:
            InputError: nobody has it.
        """
        with reading(self._engine) as connection:
            return _person(connection, person_id)

    def people(self) -> list[Person]:
        """Everybody, also who may not sign in any more, by name."""
        with reading(self._engine) as connection:
            found = [_made(row) for row in connection.execute(select(*_COLUMNS))]
        return sorted(found, key=lambda person: (name_key(person.name), person.person_id))

    def set_role(self, person_id: str, role: Role) -> Person:
        """Change what somebody may do, from their next request on.

        Raises:
            InputError: nobody has the id, or no admin would be left.
        """
        return self._change(person_id, role=role.value)

    def deactivate(self, person_id: str) -> Person:
        """End somebody's access at once; what they did stays.

        Raises:
            InputError: nobody has the id, or no admin would be left.
        """
        return self._change(person_id, active=False)

    def activate(self, person_id: str) -> Person:
        """Let somebody in again, with the password they had.

        Raises:
            InputError: nobody has the id.
        """
        return self._change(person_id, active=True)

    def set_password(self, person_id: str, password: str) -> None:
        """Give somebody a new password; whoever is signed in as them is out.

        Raises:
            InputError: nobody has the id, or the password is too short or too long.
        """
        hashed = hash_password(password, self._cost)
        with writing(self._engine) as connection:
            person = _person(connection, person_id)
            connection.execute(update(PEOPLE).where(PEOPLE.c.person == person_id), {"password": hashed})
            connection.execute(delete(SESSIONS).where(SESSIONS.c.person == person_id))
            connection.execute(delete(SIGN_INS).where(SIGN_INS.c.name_key == name_key(person.name)))

    def _change(self, person_id: str, **values: object) -> Person:
        with writing(self._engine) as connection:
            admins = connection.execute(_admins().with_for_update()).all()  # two who leave at once wait for each other
            _person(connection, person_id)
            connection.execute(update(PEOPLE).where(PEOPLE.c.person == person_id), values)
            if admins and not connection.execute(_admins()).first():
                raise InputError(
                    f"person {person_id!r}: got a change that leaves no active admin; allowed: one admin at least; "
                    "make another one first"
                )
            if values.get("active") is False:
                connection.execute(delete(SESSIONS).where(SESSIONS.c.person == person_id))
            return _person(connection, person_id)

    # --- invites

    def invite(self, role: Role, by: str, expires: datetime, *, person_id: str | None = None) -> str:
        """A token that lets one person in, once; it is shown now and never again, for only its hash is kept.

        Args:
            role: what they may do.
            by: who invites.
            expires: the moment from which it is worth nothing.
            person_id: somebody who is here already and lost their password; they keep their role.
        Raises:
            InputError: nobody has the id.
        """
        token = new_token()
        with writing(self._engine) as connection:
            if person_id is not None:
                role = _person(connection, person_id).role
            values = {"token_sha256": token_hash(token), "role": role.value, "invited_by": by}
            connection.execute(insert(INVITES), values | {"expires": stamp(expires), "person": person_id})
        return token

    def accept(self, token: str, name: str, password: str) -> Person:
        """Use an invite: somebody new, or somebody who is back, with the name and password they choose.

        Raises:
            InputError: no name, a name that is taken, a password too short or too long; the invite is not used up.
            SignInRefused: the invite is unknown, used or too old.
        """
        name, digest = tidy_name(name), token_hash(token)
        with reading(self._engine) as connection:
            self._invited(connection, digest)  # before the costly hash: strangers shall not make us work
        hashed = hash_password(password, self._cost)
        person = Person(new_person_id(), name, Role.ANNOTATOR)
        try:
            with writing(self._engine) as connection:
                role, back = self._invited(connection, digest)
                if back is None:
                    person = Person(person.person_id, name, role)
                    _insert_person(connection, person, hashed)
                else:
                    values = {"name": name, "name_key": name_key(name), "password": hashed}
                    connection.execute(update(PEOPLE).where(PEOPLE.c.person == back), values)
                    connection.execute(delete(SESSIONS).where(SESSIONS.c.person == back))
                    connection.execute(delete(SIGN_INS).where(SIGN_INS.c.name_key == name_key(name)))
                    person = _person(connection, back)
                unused = and_(INVITES.c.token_sha256 == digest, INVITES.c.used.is_(None))
                if not connection.execute(update(INVITES).where(unused), {"used": stamp(self._clock())}).rowcount:
                    raise _invite_refused()  # somebody was quicker; nothing of this is kept
        except StoreError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise _taken(person.person_id, name) from error
            raise
        return person

    def _invited(self, connection: Connection, digest: bytes) -> tuple[Role, str | None]:
        asked = select(INVITES.c.role, INVITES.c.person, INVITES.c.expires, INVITES.c.used)
        found = connection.execute(asked.where(INVITES.c.token_sha256 == digest)).first()
        if found is None or found.used is not None or self._clock() >= moment_of(found.expires):
            raise _invite_refused()
        return Role(found.role), found.person

    # --- sessions

    def sign_in(self, name: str, password: str) -> str:
        """The token of a new session for who knows the password.

        Raises:
            SignInRefused: the name or the password is wrong (never said which), or the name must wait: ``wait_s``.
        """
        try:
            key = name_key(name)
        except InputError:
            key = ""  # nobody has it; it is refused like any other
        self._count_try(key)
        with reading(self._engine) as connection:
            found = connection.execute(select(*_COLUMNS, PEOPLE.c.password).where(PEOPLE.c.name_key == key)).first()
        fits = password_fits(password, found.password if found else None, self._cost)
        if found is None or not fits or not found.active:
            raise SignInRefused("sign in: got a name or a password that is wrong; try again, or ask for a new invite")
        with writing(self._engine) as connection:
            connection.execute(delete(SIGN_INS).where(SIGN_INS.c.name_key == key))
        return self.open_session(found.person)

    def open_session(self, person: Person | str) -> str:
        """The token of a new session of somebody, such as right after they used their invite.

        Raises:
            InputError: nobody has the id.
            SignInRefused: they may not sign in any more.
        """
        person_id = person.person_id if isinstance(person, Person) else person
        token, now = new_token(), self._clock()
        ends = stamp(now + timedelta(seconds=self._session_s))
        with writing(self._engine) as connection:
            if not _person(connection, person_id).active:
                raise SignInRefused(f"sign in: {person_id!r} may not sign in any more; ask an admin")
            connection.execute(delete(SESSIONS).where(SESSIONS.c.expires <= stamp(now)))
            connection.execute(
                insert(SESSIONS), {"token_sha256": token_hash(token), "person": person_id, "expires": ends}
            )
        return token

    def session(self, token: str) -> Person | None:
        """Who is signed in by a token, as they are now; None = nobody: unknown, ended, or not allowed in any more."""
        asked = select(*_COLUMNS, SESSIONS.c.expires).join_from(SESSIONS, PEOPLE)
        with reading(self._engine) as connection:
            found = connection.execute(asked.where(SESSIONS.c.token_sha256 == token_hash(token))).first()
        if found is None or not found.active or self._clock() >= moment_of(found.expires):
            return None
        return _made(found)

    def sign_out(self, token: str) -> None:
        """End a session; nothing happens to one that is over."""
        with writing(self._engine) as connection:
            connection.execute(delete(SESSIONS).where(SESSIONS.c.token_sha256 == token_hash(token)))

    def _count_try(self, key: str) -> None:
        now = self._clock()
        with writing(self._engine) as connection:
            forgotten = SIGN_INS.c.latest < stamp(now - timedelta(seconds=FORGOTTEN_AFTER_S))
            connection.execute(delete(SIGN_INS).where(forgotten))
            connection.execute(_NEVER_TRIED, {"key": key, "now": stamp(now)})
            mine = SIGN_INS.c.name_key == key
            asked = select(SIGN_INS.c.tries, SIGN_INS.c.latest).where(mine).with_for_update()
            tries, latest = connection.execute(asked).one()
            if tries >= FREE_TRIES:
                wait_s = min(FIRST_WAIT_S * 2.0 ** (tries - FREE_TRIES), LONGEST_WAIT_S)
                left_s = wait_s - (now - moment_of(latest)).total_seconds()
                if left_s > 0:
                    raise SignInRefused(
                        f"sign in: got {tries} wrong passwords for this name; allowed: another try in "
                        f"{math.ceil(left_s)} s; wait, or ask for a new invite", wait_s=left_s,
                    )  # fmt: skip
            connection.execute(update(SIGN_INS).where(mine), {"tries": tries + 1, "latest": stamp(now)})


_NEVER_TRIED = text(
    "INSERT INTO sign_ins (name_key, tries, latest) VALUES (:key, 0, :now) ON CONFLICT (name_key) DO NOTHING"
)


def _admins() -> Select[tuple[str]]:
    return select(PEOPLE.c.person).where(PEOPLE.c.role == Role.ADMIN.value, PEOPLE.c.active)


def _person(connection: Connection, person_id: str) -> Person:
    found = connection.execute(select(*_COLUMNS).where(PEOPLE.c.person == person_id)).first()
    if found is None:
        raise InputError(f"person: got {person_id!r}; allowed: an id of this store; see the list of people")
    return _made(found)


def _made(row: Any) -> Person:
    return Person(row.person, row.name, Role(row.role), bool(row.active))


def _insert_person(connection: Connection, person: Person, hashed: str | None) -> None:
    named = {"person": person.person_id, "name": person.name, "name_key": name_key(person.name)}
    connection.execute(
        insert(PEOPLE), {**named, "role": person.role.value, "active": person.active, "password": hashed}
    )


def _taken(person_id: str, name: str) -> InputError:
    return InputError(
        f"person: got the id {person_id!r} and the name {name!r}, one of which is taken; allowed: new ones; choose "
        "another"
    )


def _invite_refused() -> SignInRefused:
    return SignInRefused("invite: got one that is unknown, used or too old; ask for a new one")
