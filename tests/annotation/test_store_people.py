"""People of the desk: names, passwords, invites and sessions; nothing secret is kept, nothing is guessed quickly."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from wholepage.annotation import accounts
from wholepage.annotation.accounts import FORGOTTEN_AFTER_S, FREE_TRIES, LONGEST_WAIT_S
from wholepage.annotation.database import open_engine, reading
from wholepage.annotation.people import (
    Person,
    Role,
    ScryptCost,
    hash_password,
    name_key,
    new_token,
    password_fits,
    tidy_name,
    token_hash,
)
from wholepage.annotation.store import Store
from wholepage.pages.errors import InputError, SignInRefused, StoreError

CHEAP = ScryptCost(n=16, r=1, p=1)
PASSWORD = "correct horse battery"


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def store(address: str, time: Time) -> Iterator[Store]:
    with Store.open(address, clock=time, cost=CHEAP, session_s=3600) as store:
        yield store


@pytest.fixture
def ann(store: Store) -> Person:
    """An admin with a password."""
    return store.add_person(Person("ann", "Ann", Role.ADMIN), PASSWORD)


# --- names, passwords, tokens -----------------------------------------------------------------------------------------


def test_a_password_is_hashed_with_scrypt_and_a_salt_of_its_own() -> None:
    stored = hash_password(PASSWORD, CHEAP)
    kind, n, r, p, salt, digest = stored.split("$")
    assert (kind, n, r, p) == ("scrypt", "16", "1", "1")
    salted = base64.b64decode(salt)
    assert len(salted) == 16
    assert base64.b64decode(digest) == hashlib.scrypt(PASSWORD.encode(), salt=salted, n=16, r=1, p=1, dklen=32)
    assert hash_password(PASSWORD, CHEAP) != stored
    assert password_fits(PASSWORD, stored)
    assert not password_fits(PASSWORD + "x", stored)
    assert not password_fits("", stored)
    assert not password_fits(PASSWORD, None, CHEAP)


def test_the_cost_goes_with_the_hash() -> None:
    assert password_fits(PASSWORD, hash_password(PASSWORD, ScryptCost(n=64, r=2, p=3)), CHEAP)
    usual = hash_password(PASSWORD)
    assert usual.startswith("scrypt$16384$8$5$")
    assert password_fits(PASSWORD, usual, CHEAP)


def test_an_unknown_name_costs_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    real = hashlib.scrypt

    def counted(*args: object, **told: object) -> bytes:
        asked.append((told["n"], told["r"], told["p"]))
        return real(*args, **told)

    stored = hash_password(PASSWORD, CHEAP)
    monkeypatch.setattr(hashlib, "scrypt", counted)
    password_fits("wrong", stored, CHEAP)
    password_fits("wrong", None, CHEAP)
    assert asked == [(16, 1, 1)] * 2


def test_letters_typed_in_two_ways_are_one_password() -> None:
    stored = hash_password("Zoe\u0308 Mu\u0308ller", CHEAP)
    assert password_fits("Zo\u00eb M\u00fcller", stored)


@pytest.mark.parametrize("password", ["", "123456789", "x" * 1_001])
def test_passwords_of_odd_length_are_refused(password: str) -> None:
    with pytest.raises(InputError, match="10 to 1,000") as refused:
        hash_password(password, CHEAP)
    assert "123456789" not in str(refused.value)


@pytest.mark.parametrize(
    "stored", ["", "plain", "scrypt$16$1$1$x", "scrypt$x$1$1$eA==$eA==", "scrypt$15$1$1$eA==$eA=="]
)
def test_a_damaged_hash_is_an_error_not_a_way_in(stored: str) -> None:
    with pytest.raises(StoreError, match="set the password anew"):
        password_fits(PASSWORD, stored)


def test_names_have_one_form() -> None:
    assert tidy_name("  Zoe\u0308\u00a0 Müller ") == "Zoë Müller"
    assert name_key("ZOË  Müller") == name_key("zoë müller")
    assert name_key("Straße") == name_key("STRASSE")
    for odd in ("", "   ", "x" * 81, "a\u200bb", "a\x00b", "a\ud800", "a\u202eb"):
        with pytest.raises(InputError, match="characters that can be seen"):
            tidy_name(odd)


def test_people_are_checked() -> None:
    for person_id, name in (
        ("", "Ann"),
        ("a", " Ann"),
        ("model:x", "Ann"),
        ("MODEL:x", "Ann"),
        (" a", "Ann"),
        ("a", "A\nB"),
    ):
        with pytest.raises(InputError):
            Person(person_id, name, Role.ANNOTATOR)


def test_tokens_cannot_be_guessed_or_read_back() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(base64.urlsafe_b64decode(t + "=")) == 32 for t in tokens)
    assert token_hash("abc") == hashlib.sha256(b"abc").digest()
    assert token_hash("\ud800") != token_hash("?")


# --- people -----------------------------------------------------------------------------------------------------------


def test_people_are_kept(store: Store, address: str, ann: Person) -> None:
    bob = store.add_person(Person("p-2", "bob", Role.ANNOTATOR))
    assert store.people() == [ann, bob]
    assert store.person("p-2") == bob
    with Store.open(address, cost=CHEAP) as again:
        assert again.people() == [ann, bob]
    with pytest.raises(InputError, match="got 'nobody'"):
        store.person("nobody")


@pytest.mark.parametrize("person", [Person("ann", "Other", Role.ANNOTATOR), Person("p-3", "ANN", Role.ANNOTATOR)])
def test_ids_and_names_are_taken_once(store: Store, ann: Person, person: Person) -> None:
    with pytest.raises(InputError, match="one of which is taken"):
        store.add_person(person)
    assert store.people() == [ann]


def test_a_change_of_role_counts_at_once(store: Store, ann: Person) -> None:
    store.add_person(Person("bob", "Bob", Role.ANNOTATOR), PASSWORD)
    token = store.sign_in("Bob", PASSWORD)
    assert store.set_role("bob", Role.REVIEWER) == Person("bob", "Bob", Role.REVIEWER)
    assert store.session(token).role is Role.REVIEWER
    with pytest.raises(InputError, match="got 'nobody'"):
        store.set_role("nobody", Role.ADMIN)


def test_who_is_deactivated_is_out_at_once_and_may_come_back(store: Store, ann: Person) -> None:
    store.add_person(Person("bob", "Bob", Role.ANNOTATOR), PASSWORD)
    token = store.sign_in("Bob", PASSWORD)
    assert store.deactivate("bob").active is False
    assert store.session(token) is None
    with pytest.raises(SignInRefused, match="a name or a password that is wrong"):
        store.sign_in("Bob", PASSWORD)
    with pytest.raises(SignInRefused, match="may not sign in any more"):
        store.open_session("bob")
    assert store.activate("bob").active
    assert store.session(token) is None
    assert store.session(store.sign_in("Bob", PASSWORD)) == Person("bob", "Bob", Role.ANNOTATOR)


def test_an_admin_is_always_left(store: Store, ann: Person) -> None:
    for change in (lambda: store.deactivate("ann"), lambda: store.set_role("ann", Role.MANAGER)):
        with pytest.raises(InputError, match="one admin at least"):
            change()
    assert store.person("ann") == ann
    store.add_person(Person("eve", "Eve", Role.ADMIN))
    done: list[str] = []
    gate = threading.Barrier(2)

    def leave(person_id: str) -> None:
        gate.wait()
        try:
            store.set_role(person_id, Role.MANAGER)
        except InputError:
            done.append(person_id)

    threads = [threading.Thread(target=leave, args=(p,)) for p in ("ann", "eve")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    assert [p.person_id for p in store.people() if p.role is Role.ADMIN] == done


def test_a_new_password_ends_what_the_old_one_opened(store: Store, ann: Person) -> None:
    token = store.sign_in("ann", PASSWORD)
    store.set_password("ann", "battery staple")
    assert store.session(token) is None
    with pytest.raises(SignInRefused):
        store.sign_in("ann", PASSWORD)
    assert store.session(store.sign_in("ann", "battery staple")) == ann
    with pytest.raises(InputError, match="10 to 1,000"):
        store.set_password("ann", "short")
    with pytest.raises(InputError, match="got 'nobody'"):
        store.set_password("nobody", PASSWORD)


# --- invites ----------------------------------------------------------------------------------------------------------


def test_an_invite_lets_one_person_in_once(store: Store, ann: Person, time: Time) -> None:
    token = store.invite(Role.REVIEWER, "ann", time.now + timedelta(days=1))
    bob = store.accept(token, "  Bob ", PASSWORD)
    assert (bob.name, bob.role, bob.active) == ("Bob", Role.REVIEWER, True)
    assert bob.person_id.startswith("p-")
    assert store.person(bob.person_id) == bob
    assert store.session(store.open_session(bob)) == store.session(store.sign_in("bob", PASSWORD)) == bob
    with pytest.raises(SignInRefused, match="unknown, used or too old"):
        store.accept(token, "Carol", PASSWORD)
    assert len(store.people()) == 2


def test_invites_that_are_unknown_or_too_old_are_refused(store: Store, time: Time) -> None:
    token = store.invite(Role.ANNOTATOR, "cli", time.now + timedelta(hours=1))
    time.pass_s(3600)
    for wrong in (token, "nonsense", ""):
        with pytest.raises(SignInRefused, match="unknown, used or too old"):
            store.accept(wrong, "Bob", PASSWORD)
    assert store.people() == []


def test_an_invite_is_not_used_up_by_a_mistake(store: Store, ann: Person, time: Time) -> None:
    token = store.invite(Role.ANNOTATOR, "ann", time.now + timedelta(hours=1))
    for name, password in (("Ann", PASSWORD), ("", PASSWORD), ("Bob", "short")):
        with pytest.raises(InputError):
            store.accept(token, name, password)
    assert store.accept(token, "Bob", PASSWORD).name == "Bob"


def test_one_invite_used_by_many_at_once_lets_one_in(store: Store, time: Time) -> None:
    token = store.invite(Role.ANNOTATOR, "cli", time.now + timedelta(hours=1))
    gate = threading.Barrier(6)
    refused: list[int] = []

    def come(number: int) -> None:
        gate.wait()
        try:
            store.accept(token, f"Bob {number}", PASSWORD)
        except SignInRefused:
            refused.append(number)

    threads = [threading.Thread(target=come, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    assert len(store.people()) == 1


def test_who_lost_a_password_comes_back_as_themselves(store: Store, ann: Person, time: Time) -> None:
    bob = store.add_person(Person("bob", "Bob", Role.REVIEWER), PASSWORD)
    old = store.sign_in("Bob", PASSWORD)
    token = store.invite(Role.ADMIN, "ann", time.now + timedelta(hours=1), person_id="bob")
    assert store.accept(token, "Robert", "battery staple") == Person("bob", "Robert", Role.REVIEWER)
    assert store.session(old) is None
    assert store.session(store.sign_in("robert", "battery staple")).person_id == bob.person_id
    with pytest.raises(SignInRefused):
        store.sign_in("bob", PASSWORD)
    again = store.invite(Role.ADMIN, "ann", time.now + timedelta(hours=1), person_id="bob")
    with pytest.raises(InputError, match="taken"):
        store.accept(again, "Ann", PASSWORD)
    with pytest.raises(InputError, match="got 'nobody'"):
        store.invite(Role.ADMIN, "ann", time.now, person_id="nobody")


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_ends_by_itself_or_by_hand(store: Store, ann: Person, time: Time) -> None:
    token, other = store.sign_in("ANN", PASSWORD), store.sign_in(" ann ", PASSWORD)
    assert token != other
    assert store.session(token) == store.session(other) == ann
    store.sign_out(token)
    store.sign_out(token)
    assert store.session(token) is None
    assert store.session(other) == ann
    time.pass_s(3599)
    assert store.session(other) == ann
    time.pass_s(1)
    assert store.session(other) is None
    assert store.session("nonsense") is None
    assert store.session("") is None


def test_nothing_secret_is_in_the_database(store: Store, address: str, ann: Person, time: Time) -> None:
    secrets = [PASSWORD, store.sign_in("ann", PASSWORD), store.invite(Role.ANNOTATOR, "ann", time.now)]
    engine = open_engine(address)
    with reading(engine) as connection:
        rows = [row for table in ("people", "invites", "sessions", "sign_ins")
                for row in connection.execute(text(f"SELECT * FROM {table}"))]  # fmt: skip
    engine.dispose()
    assert len(rows) == 3
    for secret in secrets:
        assert not any(secret in str(cell) or secret.encode() in bytes(str(cell), "utf-8") for r in rows for cell in r)


@pytest.mark.parametrize(
    ("name", "password"), [("ann", "wrong password"), ("nobody", PASSWORD), ("", PASSWORD), ("bob", "")]
)
def test_who_does_not_know_is_not_told_what_was_wrong(store: Store, ann: Person, name: str, password: str) -> None:
    store.add_person(Person("bob", "Bob", Role.ANNOTATOR))  # has no password yet
    with pytest.raises(SignInRefused) as refused:
        store.sign_in(name, password)
    assert str(refused.value) == "sign in: got a name or a password that is wrong; try again, or ask for a new invite"
    assert refused.value.wait_s == 0


def tries(store: Store, name: str, password: str = "wrong password") -> float:
    """One try with a wrong password; how long the name has to wait now."""
    with pytest.raises(SignInRefused) as refused:
        store.sign_in(name, password)
    return refused.value.wait_s


@pytest.mark.parametrize("name", ["Ann", "nobody"])
def test_passwords_are_not_guessed_quickly(store: Store, ann: Person, time: Time, name: str) -> None:
    assert [tries(store, name) for _ in range(FREE_TRIES)] == [0] * FREE_TRIES
    waits = []
    while len(waits) < 9:
        waits.append(tries(store, name, PASSWORD))  # not even the right one is looked at
        time.pass_s(waits[-1])
        assert tries(store, name) == 0
    assert waits == [15, 30, 60, 120, 240, 480, 900, 900, 900]
    assert tries(store, name) == LONGEST_WAIT_S
    time.pass_s(1)
    assert tries(store, name) == LONGEST_WAIT_S - 1
    with pytest.raises(SignInRefused, match="allowed: another try in 899 s"):
        store.sign_in(name, PASSWORD)
    time.pass_s(FORGOTTEN_AFTER_S)
    assert tries(store, name) == 0


def test_success_is_a_new_beginning_and_others_are_not_held_up(store: Store, ann: Person, time: Time) -> None:
    store.add_person(Person("bob", "Bob", Role.ANNOTATOR), PASSWORD)
    for _ in range(FREE_TRIES - 1):
        tries(store, "ann")
    assert store.session(store.sign_in("ann", PASSWORD)) == ann
    for _ in range(FREE_TRIES):
        assert tries(store, "ann") == 0
    assert tries(store, "ann") == 15
    assert store.session(store.sign_in("bob", PASSWORD)).name == "Bob"
    time.pass_s(15)
    assert store.session(store.sign_in("ann", PASSWORD)) == ann


def test_tries_at_once_and_of_two_processes_count_together(
    store: Store, ann: Person, address: str, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    real = accounts.password_fits
    monkeypatch.setattr(accounts, "password_fits", lambda typed, *rest: looked.append(typed) or real(typed, *rest))
    with Store.open(address, clock=time, cost=CHEAP) as other:
        gate = threading.Barrier(16)

        def guess(number: int) -> None:
            gate.wait()
            tries(other if number % 2 else store, "ann", f"guess number {number}")

        threads = [threading.Thread(target=guess, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(looked) == FREE_TRIES


def test_many_sessions_are_opened_at_once(store: Store, ann: Person) -> None:
    """Opening sessions from many threads gives each its own token."""
    tokens: list[str] = []
    threads = [threading.Thread(target=lambda: tokens.append(store.open_session("ann"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(tokens)) == 12
    assert all(store.session(token) == ann for token in tokens)
