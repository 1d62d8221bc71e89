"""What somebody looks at, as its address says it: a query or a page, an order, perhaps a second order beside it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from wholepage.apps.desk.access import NotThere
from wholepage.pages.errors import InputError, shorten

LONGEST_QUERY = 400
_LONGEST_NAME = 200
_MOST_FIELDS = 20


class Look(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody looks at.

    Attributes:
        q: the words asked for.
        page: the number of a page, in place of words.
        order: by name; empty = the usual one.
        beside: the name of the order on the left, of two side by side; empty = one order alone.
        all: ``1`` = every result, however many there are.
    """

    q: str = ""
    page: int | None = None
    order: str = ""
    beside: str = ""
    all: str = ""

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Look:
        """What an address asks for.

        Raises:
            InputError: the query is too long.
            NotThere: the page is no number.
        """
        q = given.get("q", "").replace("\0", " ").strip()
        if len(q) > LONGEST_QUERY:
            raise InputError(f"query: got {len(q):,} characters; allowed: {LONGEST_QUERY}; shorten it")
        page = given.get("page", "")
        return cls(
            q,
            number(page, "page") if page else None,
            given.get("order", "")[:_LONGEST_NAME],
            given.get("beside", "")[:_LONGEST_NAME],
            "1" if given.get("all") == "1" else "",
        )

    @classmethod
    def within(cls, url: str) -> Look:
        """What an address that came from outside asks for, so that people are sent nowhere but to a result page.

        Whatever is wrong with the address leads to the start.
        """
        try:
            parts = urlsplit(url)
            given = parse_qsl(parts.query, max_num_fields=_MOST_FIELDS)
            inside = parts.path == "/" and not parts.scheme and not parts.netloc
            return cls.read(dict(given)) if inside else cls()
        except ValueError:  # InputError and NotThere among them
            return cls()

    def url(self, **changes: object) -> str:
        """The address of it, with changes."""
        asked = msgspec.to_builtins(msgspec.structs.replace(self, **changes))
        given = {name: value for name, value in asked.items() if value not in ("", None)}
        return f"/?{urlencode(given)}" if given else "/"

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """What forms carry along, the query left out."""
        found = (("order", self.order), ("beside", self.beside))
        return tuple((name, value) for name, value in found if value)


def number(text: str, what: str) -> int:
    """A number in an address.

    Raises:
        NotThere: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise NotThere(f"{what}: got {shorten(text)!r}; allowed: a whole number from 0; go back to the search")
    return int(text)
