"""Templates and static files of the result page; drawings are shared with the desk."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from pathlib import Path

import jinja2

from wholepage.apps.desk.rendering import FOLDER as DESK
from wholepage.apps.desk.rendering import StaticFile, number, percent
from wholepage.apps.serp.views import Shell

FOLDER = Path(__file__).parent
STATIC = "/serp/static/"


class Templates:
    """The templates and static files, read once."""

    def __init__(self) -> None:
        paths = [*sorted((FOLDER / "static").glob("*")), DESK / "static" / "icon.svg"]
        self.static = {path.name: _static(path) for path in paths if not path.name.startswith(".")}
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([FOLDER / "templates", DESK / "templates"]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self._environment.filters |= {"percent": percent, "number": number, "asset": self.asset}
        for path in sorted((FOLDER / "templates").glob("*.html")):  # a broken one is found now
            self._environment.get_template(path.name)

    def page(self, template: str, shell: Shell, view: object) -> str:
        """A template with its two values, as HTML."""
        return self._environment.get_template(template).render(shell=shell, view=view)

    def asset(self, name: str) -> str:
        """The address of a static file, another one whenever its bytes change."""
        return f"{STATIC}{name}?v={self.static[name].etag}"


@cache
def templates() -> Templates:
    """Read once in a process."""
    return Templates()


def _static(path: Path) -> StaticFile:
    body = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return StaticFile(body, media_type, hashlib.sha256(body).hexdigest()[:16])
