"""What the guideline says each grade means, for the buttons that give it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wholepage.apps.desk.views import Block

_GRADE = re.compile(r"\s*(\d{1,2})\s*(?:[:.)=\u2013\u2014-]+|\s)\s*(\S.*)", re.DOTALL)
_LONGEST = 120


def grade_words(guideline: Iterable[Block], levels: int) -> dict[int, str]:
    """The words of each grade, from the lines of a guideline that begin with it, such as ``- **3**: what was asked``.

    A grade that two lines begin with keeps the first. Grades that no line begins with are left out; so are all when
    fewer than two have words: one number at the start of a line is chance.

    Args:
        guideline: its blocks; lists and paragraphs are read.
        levels: grades run from 0 to ``levels - 1``.
    """
    words: dict[int, str] = {}
    for block in guideline:
        if block.kind not in ("list", "paragraph"):
            continue
        texts = ("".join(span.text for span in item) for item in block.items)
        for line in (line for text in texts for line in ([text] if block.kind == "list" else text.split("\n"))):
            found = _GRADE.fullmatch(line)
            if found and int(found[1]) < levels:
                words.setdefault(int(found[1]), _short(found[2]))
    return words if len(words) > 1 else {}


def _short(text: str) -> str:
    plain = " ".join(text.split()).removesuffix(".")
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1].rstrip()}…"
