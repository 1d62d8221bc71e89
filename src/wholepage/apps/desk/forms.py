"""The fields of a form, read strictly: each once, valid UTF-8, of a length that makes sense."""

from __future__ import annotations

import math
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from wholepage.pages.errors import InputError, shorten

MEDIA_TYPE = "application/x-www-form-urlencoded"
LONGEST = 2_000
_MOST_FIELDS = 40
_Word = TypeVar("_Word", bound=str)


class Fields(msgspec.Struct, frozen=True):
    """What a form sent, by name."""

    values: dict[str, str] = {}

    @classmethod
    def read(cls, body: bytes, media_type: str) -> Fields:
        """The fields of a request's body.

        Args:
            body: as sent.
            media_type: its ``Content-Type``; without a body it may be empty.
        Raises:
            InputError: another kind of body, broken UTF-8, too many fields, or one that comes twice.
        """
        if not body:
            return cls()
        if media_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise InputError(f"form: got the type {shorten(media_type)!r}; allowed: {MEDIA_TYPE}; send a plain form")
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
            )
        except ValueError as error:
            raise InputError(f"form: got {error}; allowed: up to {_MOST_FIELDS} fields in UTF-8") from error
        if len({name for name, _ in pairs}) < len(pairs):
            raise InputError("form: got a field twice; allowed: each once; open the page again")
        return cls(dict(pairs))

    def text(self, name: str, *, longest: int = LONGEST) -> str:
        """A text, spaces at its ends left out; empty when the form has no such field.

        Raises:
            InputError: too long.
        """
        value = self.values.get(name, "").replace("\r\n", "\n").strip()
        if len(value) > longest:
            raise InputError(f"{name}: got {len(value):,} characters; allowed: {longest:,}; shorten it")
        return value

    def secret(self, name: str) -> str:
        """A text exactly as it was typed."""
        return self.values.get(name, "")

    def needed(self, name: str) -> str:
        """A text that may not be empty.

        Raises:
            InputError: it is, or it is too long.
        """
        value = self.text(name)
        if not value:
            raise InputError(f"{name}: got nothing; allowed: a value; fill it in")
        return value

    def whole(self, name: str) -> int | None:
        """A whole number from 0; None when empty.

        Raises:
            InputError: something else.
        """
        value = self.text(name).replace(",", "")
        if not value:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 12):
            raise InputError(f"{name}: got {shorten(value)!r}; allowed: a whole number from 0; mend it")
        return int(value)

    def amount(self, name: str) -> float | None:
        """A number from 0; None when empty.

        Raises:
            InputError: something else.
        """
        value = self.text(name).replace(",", "")
        if not value:
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise InputError(f"{name}: got {shorten(value)!r}; allowed: a number from 0; mend it")
        return number

    def word(self, name: str, kind: type[_Word]) -> _Word:
        """One of a fixed set of words.

        Args:
            name: of the field.
            kind: an enumeration of strings.
        Raises:
            InputError: another word.
        """
        value = self.text(name)
        try:
            return kind(value)
        except ValueError as error:
            allowed = ", ".join(map(str, kind))  # type: ignore[call-overload]
            raise InputError(f"{name}: got {shorten(value)!r}; allowed: {allowed}; choose one of them") from error
