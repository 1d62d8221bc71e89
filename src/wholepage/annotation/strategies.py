"""What to buy, as values that print, hash and are read back: ``parse_strategy("top(p=0.1)") == Top(0.1)``.

A value only says what is wanted. ``selection.select`` carries out those that need no answers; ``Anchors`` and
``Active`` decide on what was answered, and are carried out by ``buying.buy``.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import ClassVar, Literal, TypeAlias, get_args

import msgspec

from wholepage.annotation.draws import as_written
from wholepage.pages.errors import InputError

By = Literal["committee", "entropy"]
_FORM = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*\(\s*(?P<given>[^()]*?)\s*\)\s*", re.ASCII)
_FIELD = re.compile(r"\s*(?P<field>[a-z]+)\s*=\s*(?P<value>[\w.+-]+)\s*", re.ASCII)
_NUMBER = re.compile(r"[0-9.]+(?:[eE][+-]?[0-9]+)?", re.ASCII)


class _Value(msgspec.Struct, frozen=True):
    name: ClassVar[str] = "strategy"
    reads_ranks: ClassVar[bool] = True

    @property
    def spec(self) -> str:
        """The strategy as text; ``parse_strategy`` reads it back."""
        return f"{self.name}({', '.join(f'{f}={_shown(f, getattr(self, f))}' for f in self.__struct_fields__)})"

    def __str__(self) -> str:
        return self.spec


class _Share(_Value, frozen=True):
    p: float

    def __post_init__(self) -> None:
        if not _is_number(self.p) or not 0 < self.p <= 1:
            raise InputError(f"{self.name}: got p={self.p!r}; allowed: above 0, at most 1; 0.1 buys one label in ten")

    @property
    def exact(self) -> Fraction:
        """The share as the decimal it is written as, free of binary rounding."""
        return as_written(self.p)


class Top(_Share, frozen=True):
    """The share p from the top of each modality's list.

    Source: arXiv 2510.16803, Top-P.
    """

    name: ClassVar[str] = "top"


class Bottom(_Share, frozen=True):
    """The share p from the bottom of each modality's list: what the top is compared with."""

    name: ClassVar[str] = "bottom"


class Window(_Value, frozen=True):
    """Of each modality's list the ranks from the share ``lo`` down to the share ``hi``.

    Windows that meet (0 to .2, .2 to .4, ... 1) share out every list among them: no rank twice, none left out.

    Attributes:
        lo, hi: heights in a list, 0 = its top, 1 = its end.
    Raises:
        InputError: not 0 <= lo < hi <= 1.
    Source: arXiv 2510.16803, ablation of where to annotate.
    """

    name: ClassVar[str] = "window"
    lo: float
    hi: float

    def __post_init__(self) -> None:
        if not (_is_number(self.lo) and _is_number(self.hi) and 0 <= self.lo < self.hi <= 1):
            raise InputError(
                f"window: got lo={self.lo!r}, hi={self.hi!r}; allowed: 0 <= lo < hi <= 1; window(lo=0.2, hi=0.4) buys "
                "the second fifth of each list"
            )

    @property
    def exact(self) -> Fraction:
        """The share that the window is, free of binary rounding."""
        return as_written(self.hi) - as_written(self.lo)

    @property
    def bounds(self) -> tuple[Fraction, Fraction]:
        """``lo`` and ``hi`` as the decimals they are written as."""
        return as_written(self.lo), as_written(self.hi)

    @property
    def p(self) -> float:
        """The share of the labels that it costs."""
        return float(self.exact)


class Random(_Share, frozen=True):
    """The share p of each modality's results, drawn at random; looks at no ranking."""

    name: ClassVar[str] = "random"
    reads_ranks: ClassVar[bool] = False


class Spread(_Share, frozen=True):
    """The share p of each modality's list from all heights: one at random out of each of as many equal strata."""

    name: ClassVar[str] = "spread"


class WholePages(_Share, frozen=True):
    """Few pages, each judged whole; looks at no ranking."""

    name: ClassVar[str] = "whole_pages"
    reads_ranks: ClassVar[bool] = False


class Concentrated(_Share, frozen=True):
    """A third of each list, its head and one of each stratum below, on as few pages as the share pays for.

    The head is always asked about, for where few results are relevant it is the only one likely to be.

    Between ``Spread``, which compares few results on every page, and ``WholePages``, which sees few queries: pairs of
    labels on one page grow with the square of the labels, and it is pairs that tell how modalities compare.
    """

    name: ClassVar[str] = "concentrated"


class Anchors(_Share, frozen=True):
    """Every list of few pages graded whole by bisection (``anchors``): few questions, the other grades inferred.

    Attributes:
        p: the share of the labels that may be asked, audit included.
        audit: the part of these questions that checks inferred grades.
    Raises:
        InputError: not 0 < p <= 1, or not 0 <= audit < 1.
    Source: own derivation.
    """

    name: ClassVar[str] = "anchors"
    audit: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _is_number(self.audit) or not 0 <= self.audit < 1:
            raise InputError(
                f"anchors: got audit={self.audit!r}; allowed: 0 up to, not including, 1; 0.1 checks inferred grades "
                "with one question in ten"
            )


class Active(_Share, frozen=True):
    """In rounds, where the ranker trained on the answers so far is most in doubt.

    Attributes:
        p: the share of the labels that all rounds together may ask for.
        by: whose doubt: ``committee`` (spread of an ensemble) or ``entropy`` (of the posterior over grades). The name
            is for the record; who calls ``buying.buy`` brings the numbers.
        floor: the part that doubt has no say in: added to the first round, and drawn at random in each later one.
        rounds: how many, the first included.
    Raises:
        InputError: not 0 < p <= 1, another ``by``, not 0 <= floor < 1, or fewer than 2 rounds.
    """

    name: ClassVar[str] = "active"
    by: By = "committee"
    floor: float = 0.25
    rounds: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in get_args(By):
            raise InputError(f"active: got by={self.by!r}; allowed: {', '.join(get_args(By))}; choose one")
        if not _is_number(self.floor) or not 0 <= self.floor < 1:
            raise InputError(
                f"active: got floor={self.floor!r}; allowed: 0 up to, not including, 1; 0.25 leaves a quarter to chance"
            )
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, int) or self.rounds < 2:
            raise InputError(
                f"active: got rounds={self.rounds!r}; allowed: whole numbers from 2 up; for one take concentrated"
            )

    def paid_until(self, rounds: int, budget: int) -> int:
        """Labels bought when so many rounds are over: the floor and an equal part at first, then an equal part each."""
        floor = as_written(self.floor)
        return math.floor(budget * (floor + (1 - floor) * Fraction(rounds, self.rounds)))


OneShot: TypeAlias = Top | Bottom | Window | Random | Spread | Concentrated | WholePages
Strategy: TypeAlias = OneShot | Anchors | Active
_STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in get_args(Strategy)}
NAMES = tuple(_STRATEGIES)
"""The names that a spec may begin with."""


def parse_strategy(text: str) -> Strategy:
    """Read a strategy from its spec, such as ``"top(p=0.1)"`` or ``"active(p=0.1, rounds=4)"``.

    Fields are named, in any order; those that have a default may be left out.

    Raises:
        InputError: another name, another form, or a value out of range.
    """
    found = _FORM.fullmatch(text)
    kind = _STRATEGIES.get(found["name"]) if found else None
    if found is None or kind is None:
        raise _not_one(text, "it is none of these")
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, float | int | str] = {}
    for part in found["given"].split(",") if found["given"] else []:
        given = _FIELD.fullmatch(part)
        if given is None or given["field"] not in fields or given["field"] in values:
            raise _not_one(text, f"{part.strip()!r} is no field of {kind.name}, or comes twice")
        values[given["field"]] = _value(text, given["field"], given["value"])
    missing = [name for name, field in fields.items() if field.required and name not in values]
    if missing:
        raise _not_one(text, f"{kind.name} needs {', '.join(missing)}")
    return kind(**values)  # type: ignore[arg-type]


def _value(text: str, field: str, given: str) -> float | int | str:
    if field == "by":
        return given
    if field == "rounds":
        if not re.fullmatch(r"[0-9]{1,9}", given, re.ASCII):
            raise _not_one(text, f"{field}={given} is no whole number")
        return int(given)
    try:
        if _NUMBER.fullmatch(given):
            return float(given)
    except ValueError:  # such as 1.2.3
        pass
    raise _not_one(text, f"{field}={given} is no number from 0 up")


def _not_one(text: str, why: str) -> InputError:
    forms = ", ".join(_form(kind) for kind in _STRATEGIES.values())
    return InputError(f"strategy: got {text!r}: {why}; allowed: {forms}; write one of these")


def _form(kind: type[Strategy]) -> str:
    usual = {"p": "0.1", "lo": "0.2", "hi": "0.4"}
    shown = (
        f"{f.name}={usual[f.name] if f.required else _shown(f.name, f.default)}" for f in msgspec.structs.fields(kind)
    )
    return f"{kind.name}({', '.join(shown)})"


def _shown(field: str, value: float | int | str) -> str:
    if isinstance(value, str) or field == "rounds":
        return str(value)
    return repr(float(value) + 0.0)  # a share of -0.0 is 0.0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
