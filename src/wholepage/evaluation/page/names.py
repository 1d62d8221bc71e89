"""How page measures are written: ``Name(option=value, ...)@k``, as ir_measures writes its own.

Upper and lower case are the same, words may be quoted or stand alone, and options may be left out. What is printed back
names every option, so that the variant is in the name; only the measures that ir_measures has too are printed as it
prints them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from wholepage.pages.errors import InputError

Value = float | str
Cutoff = Literal["must", "may", "none"]
_SPELLING = re.compile(r"\s*(?P<name>[\w.]+)\s*(?:\((?P<options>[^()]*)\))?\s*(?:@\s*(?P<at>\d+))?\s*")


class Option(msgspec.Struct, frozen=True):
    """One option of a measure: a word of a few, or a number in a range.

    Attributes:
        name: as it is written.  default: without it.  words: that are allowed; none = it is a number.
        low, high: the range of a number.  ends: whether the two ends belong to it: ``[`` or ``(``, ``]`` or ``)``.
        bare: printed as the word alone, and not at all at its default: ``PairAccuracy(within)``.
    """

    name: str
    default: Value
    words: tuple[str, ...] = ()
    low: float = 0.0
    high: float = math.inf
    ends: str = "()"
    bare: bool = False

    @property
    def allowed(self) -> str:
        """The values that can be given, in words."""
        if self.words:
            return " or ".join(self.words)
        return f"a number in {self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"

    def read(self, text: str, name: str) -> Value:
        """The value that a text means.

        Raises:
            InputError: it is not allowed.
        """
        plain = text.strip().strip("'\"")
        for word in self.words:
            if word.casefold() == plain.casefold():
                return word
        try:
            number = float(plain)
        except ValueError:
            number = math.nan
        above = number >= self.low if self.ends[0] == "[" else number > self.low
        under = number <= self.high if self.ends[1] == "]" else number < self.high
        if self.words or not (above and under):
            raise InputError(f"measure {name}: got {self.name}={plain!r}; allowed: {self.allowed}; correct the option")
        return number


class Form(msgspec.Struct, frozen=True):
    """What may be written about one measure.

    Attributes:
        name: as it is written.  options: in the order they are printed.
        cutoff: whether ``@k`` must, may or cannot follow.
        brief: options at their default are not printed (the measures that ir_measures has too).
    """

    name: str
    options: tuple[Option, ...] = ()
    cutoff: Cutoff = "none"
    brief: bool = False

    @property
    def example(self) -> str:
        """The name with all its defaults."""
        return str(Asked(self, {option.name: option.default for option in self.options}, self._at))

    @property
    def _at(self) -> int | None:
        return None if self.cutoff == "none" else 10


class Asked(msgspec.Struct, frozen=True):
    """A measure with its options: prints itself in full."""

    form: Form
    options: dict[str, Value]
    k: int | None = None

    def __str__(self) -> str:
        told = [
            ("" if option.bare else f"{option.name}=") + _shown(self.options[option.name], self.form.brief)
            for option in self.form.options
            if not (self.form.brief or option.bare) or self.options[option.name] != option.default
        ]
        inside = f"({', '.join(told)})" if told else ""
        return f"{self.form.name}{inside}{'' if self.k is None else f'@{self.k}'}"

    def number(self, name: str) -> float:
        """An option that is a number."""
        return float(self.options[name])

    def word(self, name: str) -> str:
        """An option that is a word."""
        return str(self.options[name])

    @property
    def cut(self) -> int:
        """The number after @, of a measure that must have one.

        Raises:
            InputError: it has none.
        """
        if self.k is None:
            raise InputError(f"measure {self}: got no cutoff; allowed: @1 and up; write {self.form.name}@10")
        return self.k


def read_name(text: str, forms: Mapping[str, Form]) -> Asked:
    """The measure that a text means.

    Args:
        forms: by their names in lower case.
    Raises:
        InputError: there is no such measure, or an option or the cutoff is wrong.
    """
    found = _SPELLING.fullmatch(text)
    form = forms.get(found["name"].casefold()) if found else None
    if found is None or form is None:
        examples = ", ".join(one.example for one in forms.values())
        raise InputError(f"page measure: got {text!r}; allowed: {examples}; correct the name")
    k = None if found["at"] is None else int(found["at"])
    if (form.cutoff == "must" and k is None) or (form.cutoff == "none" and k is not None) or k == 0:
        may = {"must": "a cutoff of @1 or more", "may": "@1 and up, or none", "none": "no cutoff"}[form.cutoff]
        raise InputError(f"measure {form.name}: got {text!r}; allowed: {may}; write {form.example}")
    return Asked(form, _options(form, found["options"] or ""), k)


def _options(form: Form, text: str) -> dict[str, Value]:
    known = {option.name.casefold(): option for option in form.options}
    values = {option.name: option.default for option in form.options}
    seen: set[str] = set()
    for part in filter(str.strip, text.split(",")):
        key, equals, value = part.rpartition("=")
        option = known.get(key.strip().casefold()) if equals else _with_word(form, value)
        if option is None or option.name in seen:
            allowed = ", ".join(f"{one.name} ({one.allowed})" for one in form.options) or "no options"
            raise InputError(
                f"measure {form.name}: got {part.strip()!r}; allowed: {allowed}, each once; write {form.example}"
            )
        seen.add(option.name)
        values[option.name] = option.read(value, form.name)
    return values


def _with_word(form: Form, text: str) -> Option | None:
    """The option that a word alone belongs to, as in ``BlockNDCG(max)@10``."""
    plain = text.strip().strip("'\"").casefold()
    return next((one for one in form.options if plain in map(str.casefold, one.words)), None)


def _shown(value: Value, quoted: bool) -> str:
    if isinstance(value, str):
        return repr(value) if quoted else value
    return str(int(value)) if value == int(value) else repr(value)
