"""What there is in the generated world, what its things are called, and when one answers a query.

A thing has one value of each of six attributes. ``ATTRIBUTES`` lists the values, ``WORDS`` what each is called (no
phrase means two values), ``INK`` and ``GROUND`` the colours it is painted in. A query asks for two or three
attributes; ``relevance`` is the whole law of the grades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import msgspec
import numpy as np

from wholepage.pages import Modality

Rgb = tuple[int, int, int]
_T = TypeVar("_T")

WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "count": {
            "one": ("one", "a single", "a lone"),
            "two": ("two", "a pair of", "twin"),
            "three": ("three", "a trio of", "a triad of"),
            "four": ("four", "a quartet of", "a foursome of"),
        },
        "size": {
            "tiny": ("tiny", "minute", "minuscule"),
            "small": ("small", "little", "compact"),
            "large": ("large", "big", "sizeable"),
            "huge": ("huge", "giant", "enormous"),
        },
        "colour": {
            "red": ("red", "crimson", "scarlet"),
            "orange": ("orange", "tangerine"),
            "yellow": ("yellow", "lemon", "golden"),
            "green": ("green", "emerald"),
            "blue": ("blue", "azure", "cobalt"),
            "purple": ("purple", "violet"),
            "pink": ("pink", "rosy"),
            "brown": ("brown", "chocolate", "chestnut"),
        },
        "pattern": {
            "solid": ("solid", "plain", "unpatterned"),
            "striped": ("striped", "banded", "barred"),
            "spotted": ("spotted", "dotted", "polka-dot"),
            "checked": ("checked", "chequered", "checkerboard"),
        },
        "shape": {
            "circle": ("circle", "disc"),
            "square": ("square", "box"),
            "triangle": ("triangle", "wedge"),
            "star": ("star", "starburst"),
            "ring": ("ring", "hoop"),
            "cross": ("cross", "plus sign"),
            "crescent": ("crescent", "sickle"),
            "heart": ("heart", "valentine"),
        },
        "background": {
            "white": ("on white", "against snow"),
            "black": ("on black", "in the dark"),
            "grey": ("on grey", "against slate"),
            "beige": ("on beige", "on sand"),
            "sky": ("against the sky", "in the open air"),
        },
    }
)
"""Attribute, value, and its phrases, the first the plainest. Shapes are given in the singular; see ``plural``."""

ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType({name: tuple(values) for name, values in WORDS.items()})
"""Attribute and its values, in the order in which a phrase says them."""

INK: Mapping[str, Rgb] = MappingProxyType(
    {
        "red": (205, 25, 30),
        "orange": (250, 130, 15),
        "yellow": (245, 215, 25),
        "green": (35, 150, 50),
        "blue": (30, 70, 215),
        "purple": (125, 40, 165),
        "pink": (245, 120, 185),
        "brown": (115, 65, 25),
    }
)
"""What each ``colour`` is painted in before jitter."""

GROUND: Mapping[str, Rgb] = MappingProxyType(
    {
        "white": (244, 244, 244),
        "black": (22, 22, 26),
        "grey": (142, 144, 148),
        "beige": (222, 206, 172),
        "sky": (178, 216, 246),
    }
)
"""What each ``background`` is painted in before jitter."""

COVER: Rgb = (72, 78, 84)
"""What stands in front of a half hidden thing."""

RADIUS_PX: Mapping[str, float] = MappingProxyType({"tiny": 5.0, "small": 7.5, "large": 10.5, "huge": 13.0})
"""Half the extent of one thing of each ``size`` before jitter, in a picture ``SIDE_PX`` wide and high."""

SIDE_PX = 64
COUNT: Mapping[str, int] = MappingProxyType({"one": 1, "two": 2, "three": 3, "four": 4})
TOP_GRADE = 3

Thing = dict[str, str]
"""Attribute and value: of a thing all six, of what is asked or said some."""


class Shown(msgspec.Struct, frozen=True):
    """What a result is really about, and what its words claim.

    Attributes:
        thing: all six attributes of the thing that is drawn, or that the words are about.
        said: what the words claim of it; of texts always true and often not all, of answers sometimes false; empty
            for pictures, and for answers that do not commit themselves.
    """

    thing: Thing
    said: Thing = {}

    @property
    def false_claims(self) -> tuple[str, ...]:
        """The attributes that the words get wrong."""
        return tuple(name for name, value in self.said.items() if self.thing[name] != value)


def matches(thing: Thing, asked: Thing) -> int:
    """How many of the asked attributes the thing has."""
    return sum(thing.get(name) == value for name, value in asked.items())


def relevance(modality: Modality, shown: Shown, asked: Thing) -> int:
    """The grade, 0 to 3: the share of the asked attributes that are met, in thirds rounded down.

    A text, picture or video meets what its thing has, said or not. An answer meets what it claims and its thing has,
    and each false claim, asked for or not, takes one met attribute away; so one that commits itself to nothing gets 0.
    """
    if modality is Modality.ANSWER:
        met = sum(shown.said.get(name) == value == shown.thing[name] for name, value in asked.items())
        met = max(0, met - len(shown.false_claims))
    else:
        met = matches(shown.thing, asked)
    return TOP_GRADE * met // len(asked)


def plural(noun: str) -> str:
    """The plural of a shape's name."""
    return noun + ("es" if noun.endswith(("s", "x")) else "s")


def pick(options: Sequence[_T], rng: np.random.Generator) -> _T:
    """One of them, each as likely."""
    return options[int(rng.integers(len(options)))]


def other_value(name: str, value: str, rng: np.random.Generator) -> str:
    """Another value of the attribute, each as likely."""
    return pick([other for other in ATTRIBUTES[name] if other != value], rng)


def any_thing(rng: np.random.Generator) -> Thing:
    """A thing with every attribute at random."""
    return {name: pick(values, rng) for name, values in ATTRIBUTES.items()}
