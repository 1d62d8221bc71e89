"""Templates and what they may use: escaping that is always on, numbers as people read them, addresses of files."""

from __future__ import annotations

import hashlib
import math
import mimetypes
from functools import cache
from pathlib import Path

import jinja2
import msgspec

from wholepage.apps.desk.views import Shell

FOLDER = Path(__file__).parent
NOTHING = "\u2013"
"""What stands for a number that is not known: a dash."""


class StaticFile(msgspec.Struct, frozen=True):
    """A style sheet, script or drawing, kept in memory."""

    body: bytes
    media_type: str
    etag: str


class Templates:
    """The desk's templates and static files, read once.

    Args:
        folder: holds ``templates`` and ``static``.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.static = {
            path.name: _static(path) for path in sorted((folder / "static").glob("*")) if not path.name.startswith(".")
        }
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self._environment.filters |= {
            "percent": percent, "number": number, "duration": duration, "money": money, "asset": self.asset,
        }  # fmt: skip
        for name in self._environment.list_templates():  # a broken one is found now, and nobody waits for them later
            self._environment.get_template(name)

    def page(self, template: str, shell: Shell, view: object) -> str:
        """A template with its two values, as HTML."""
        return self._environment.get_template(template).render(shell=shell, view=view)

    def asset(self, name: str) -> str:
        """The address of a static file, another one whenever its bytes change."""
        return f"/static/{name}?v={self.static[name].etag}"


@cache
def templates() -> Templates:
    """The desk's own, read once in a process."""
    return Templates()


def percent(share: float | None, digits: int = 0) -> str:
    """A share as ``37 %``."""
    return NOTHING if share is None or _unknown(share) else f"{100 * share:.{digits}f} %"


def number(value: float | None, digits: int = 0) -> str:
    """A number as ``12,345``."""
    return NOTHING if value is None or _unknown(value) else f"{value:,.{digits}f}"


def money(value: float | None) -> str:
    """An amount as ``1,234.50``."""
    return number(value, 2)


def duration(seconds: float | None) -> str:
    """A time as ``3 h 12 min``, ``4 min 5 s``, ``48 s`` or ``2.4 s``."""
    if seconds is None or _unknown(seconds):
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"


def _unknown(value: float) -> bool:
    return not math.isfinite(value)


def _static(path: Path) -> StaticFile:
    body = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return StaticFile(body, media_type, hashlib.sha256(body).hexdigest()[:16])
