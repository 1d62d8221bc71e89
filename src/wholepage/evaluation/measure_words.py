"""How measures are spoken of in a report: which way is better, and numbers with their sign."""

from __future__ import annotations

import math
import re
from typing import Literal

_MINUS = "\u2212"
_LESS = ("BadCase", "ExposureGap", "Inverted", "RBPResidual")
_NEITHER = ("Exposure", "IdealExposure", "Judged", "NumQ", "NumRel", "NumRelRet", "NumRet")


def signed(number: float, digits: int = 3) -> str:
    """A difference with its sign; what rounds to nothing has none."""
    if math.isnan(number):
        return "–"  # noqa: RUF001  an en dash, as in tables
    written = f"{abs(number):.{digits}f}"
    if float(written) == 0.0:
        return written
    return ("+" if number > 0 else _MINUS) + written


def plain(number: float, digits: int = 3) -> str:
    """A number with a real minus sign; an en dash where there is none."""
    if math.isnan(number):
        return "–"  # noqa: RUF001  an en dash, as in tables
    written = f"{abs(number):.{digits}f}"
    return (_MINUS if number < 0 and float(written) != 0.0 else "") + written


def p_value(p: float) -> str:
    """A p-value as papers write it."""
    return "p < .001" if p < 0.001 else "p = " + f"{p:.3f}".removeprefix("0")


def better_end(measure: str) -> Literal["highest", "lowest"] | None:
    """Which end of a measure is the good one; None = neither is, such as a share of attention or a cost."""
    name = measure.partition("(")[0].partition("@")[0]
    if name in _NEITHER or re.search(r"part=(ETC|EC|ED)\b", measure):
        return None
    return "lowest" if name in _LESS else "highest"


def higher_is_better(measure: str) -> bool:
    """Whether a larger value counts as a gain; where neither end is good, it does."""
    return better_end(measure) != "lowest"
