"""The desk's parts on their own: guidelines, forms, tickets, numbers, cookies."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation.events import Kind, SkipReason, Task
from wholepage.apps.desk import rendering
from wholepage.apps.desk.forms import MEDIA_TYPE, Fields
from wholepage.apps.desk.guideline import blocks
from wholepage.apps.desk.security import Cookies, Secrets, derived, same
from wholepage.apps.desk.tickets import Stub, Ticket
from wholepage.apps.desk.views import Block, Span
from wholepage.pages.errors import InputError


def text(words: str) -> tuple[Span, ...]:
    """A run without marks."""
    return (Span("text", words),)


def test_guidelines() -> None:
    written = (
        "# What *fits* ##\nGive **3** when `a*b` fits\nand more.\n\n- one\n  goes on\n- two\n\n2) x\n3. y\n"
        "> said\n> so\n***\n```py\n<b>*x*\n```\nsnake_case_word [a](javascript:1) <i>no</i>"
    )
    assert blocks(written) == (
        Block("heading", 1, ((Span("text", "What "), Span("em", "fits")),)),
        Block(
            "paragraph", 0,
            ((Span("text", "Give "), Span("strong", "3"), Span("text", " when "), Span("code", "a*b"),
              Span("text", " fits\nand more.")),),
        ),
        Block("list", 0, (text("one\ngoes on"), text("two"))),
        Block("numbers", 0, (text("x"), text("y"))),
        Block("quote", 0, (text("said\nso"),)),
        Block("rule", 0, ()),
        Block("code", 0, (text("<b>*x*"),)),
        Block("paragraph", 0, (text("snake_case_word [a](javascript:1) <i>no</i>"),)),
    )  # fmt: skip


@given(st.text(alphabet=st.sampled_from("#*_`->1. \nab"), max_size=80))
def test_guidelines_lose_no_word(written: str) -> None:
    shown = "".join(span.text for block in blocks(written) for item in block.items for span in item)
    assert [c for c in shown if c in "ab"] == [c for line in written.split("\n") for c in _kept(line) if c in "ab"]


def _kept(line: str) -> str:
    """A line that opens code names a language, which is not shown."""
    return "" if line.strip().startswith("```") else line


@pytest.mark.parametrize(
    "written",
    [
        "*" * 100_000,
        "`" * 100_000,
        "# " + "a " * 50_000,
        "**a" * 30_000,
        "_a *b " * 20_000,
        "- " * 50_000,
        ">" * 99_999,
    ],
)
def test_guidelines_take_no_longer_than_they_are(written: str) -> None:
    began = time.process_time()
    blocks(written)
    assert time.process_time() - began < 2


def read(body: bytes) -> Fields:
    return Fields.read(body, MEDIA_TYPE)


def test_forms() -> None:
    fields = read(b"a=%20x%0D%0Ay%20&n=1%2C000&m=2.5&e=&s=+p+&r=language&u=%C3%A9")
    assert fields.text("a") == "x\ny"
    assert fields.whole("n") == 1000
    assert fields.amount("m") == 2.5
    assert fields.whole("e") is fields.amount("e") is fields.whole("missing") is None
    assert fields.secret("s") == " p "
    assert fields.word("r", SkipReason) is SkipReason.LANGUAGE
    assert fields.text("u") == "é"
    assert Fields.read(b"", "") == Fields()


@pytest.mark.parametrize(
    ("body", "ask"),
    [
        (b"n=-1", lambda f: f.whole("n")),
        (b"n=1.0", lambda f: f.whole("n")),
        ("n=²".encode().replace("²".encode(), b"%C2%B2"), lambda f: f.whole("n")),
        (b"n=9999999999999", lambda f: f.whole("n")),
        (b"n=nan", lambda f: f.amount("n")),
        (b"n=inf", lambda f: f.amount("n")),
        (b"n=-0.1", lambda f: f.amount("n")),
        (b"n=x", lambda f: f.amount("n")),
        (b"n=bored", lambda f: f.word("n", SkipReason)),
        (b"n=+", lambda f: f.needed("n")),
        (b"n=" + b"x" * 2001, lambda f: f.text("n")),
    ],
)
def test_fields_that_are_wrong(body: bytes, ask: Any) -> None:
    with pytest.raises(InputError, match=r"n: got .*allowed"):
        ask(read(body))


TASKS = [Task.grade("q", "a"), Task.pair(Kind.PAGES, "q", "bm25", "smar"), Task.pair(Kind.PREFERENCE, "q", "a", "b")]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("left_first", [True, False])
def test_tickets_are_found_again_and_tell_nothing(task: Task, left_first: bool) -> None:
    key = derived("session", b"ticket")
    ticket = Ticket("shoes", "p-ann", 3, task, left_first, 2, 1_700_000_000_000)
    written = ticket.written(key)
    assert Stub.read(written).ticket(key, "shoes", "p-ann", TASKS) == ticket
    other = Ticket("shoes", "p-ann", 3, task, not left_first, 2, 1_700_000_000_000).written(key)
    assert other.rsplit(".", 1)[0] == written.rsplit(".", 1)[0]
    assert "bm25" not in written


def test_tickets_that_were_changed_are_none() -> None:
    key = derived("session", b"ticket")
    written = Ticket("shoes", "p-ann", 3, TASKS[0], True, 2, 17).written(key)
    assert Stub.read(written).ticket(derived("other", b"ticket"), "shoes", "p-ann", TASKS) is None
    assert Stub.read(written).ticket(key, "hats", "p-ann", TASKS) is None
    assert Stub.read(written).ticket(key, "shoes", "p-ben", TASKS) is None
    assert Stub.read(written).ticket(key, "shoes", "p-ann", TASKS[1:]) is None
    for changed in (written.replace("3.2.17", "3.2.18"), written.replace("3.2.17", "3.1.17"), written[:-1] + "x"):
        assert Stub.read(changed).ticket(key, "shoes", "p-ann", TASKS) is None


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader_of_tickets(written: str) -> None:
    try:
        stub = Stub.read(written)
    except InputError:
        return
    assert stub.ticket(b"key", "c", "w", TASKS) is None


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (rendering.percent(0.376), "38 %"),
        (rendering.percent(0.0512, 1), "5.1 %"),
        (rendering.percent(None), "\u2013"),
        (rendering.percent(float("nan")), "\u2013"),
        (rendering.number(12345), "12,345"),
        (rendering.number(None), "\u2013"),
        (rendering.money(3.5), "3.50"),
        (rendering.duration(2.44), "2.4 s"),
        (rendering.duration(48), "48 s"),
        (rendering.duration(59.6), "1 min 0 s"),
        (rendering.duration(245.2), "4 min 5 s"),
        (rendering.duration(3 * 3600 + 12 * 60), "3 h 12 min"),
        (rendering.duration(3599.7), "1 h 0 min"),
        (rendering.duration(None), "\u2013"),
    ],
)
def test_numbers_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


def test_tokens_of_forms_belong_to_one_secret() -> None:
    assert Secrets("a", "b").csrf == Secrets("a", "c").csrf != Secrets("", "a2").csrf
    assert Secrets("a").csrf != Secrets("b").csrf
    assert Secrets().csrf == ""
    assert same("x", "x")
    assert not same("", "")
    assert not same("é", "x")


def test_cookies_are_read_by_name() -> None:
    plain, secure = Cookies(False), Cookies(True)
    assert plain.read({"cookie": "x=1; desk-session=abc; desk-visit=d"}) == Secrets("abc", "d")
    assert secure.read({"cookie": "desk-session=abc; __Host-desk-session=z"}) == Secrets("z", "")
    assert plain.read({}) == Secrets()
    assert len(plain.read({"cookie": "desk-session=" + "x" * 5000}).session) == 256
