"""The result page as routes and as an app.

routes = serp_routes(load_shelf("fashion"), {"smar": load("runs/fashion/model")})
app = wholepage.apps.serving.http.create_app(engine, settings, routes=routes)      # beside every client's interface
app = create_serp(load_shelf("pages.jsonl"), rankers)                              # or alone
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from wholepage.apps.desk.pictures import Pictures
from wholepage.apps.desk.security import Application, Cookies, SecureHeaders, SmallBodies
from wholepage.apps.serp import files, looking, people, problems
from wholepage.apps.serp.orders import KEPT, Orders
from wholepage.apps.serp.rendering import templates
from wholepage.apps.serp.shelf import Shelf
from wholepage.apps.serp.visits import Handler, Serp, endpoint
from wholepage.pages.errors import InputError
from wholepage.pages.protocols import Ranker

if TYPE_CHECKING:  # see visits
    from wholepage.apps.serp.judging import JudgeInto

_QUICK: tuple[tuple[str, Handler], ...] = (
    ("/serp/static/{name}", files.static),
    ("/serp/suggest", files.suggest),
    ("/serp/pictures/{page}/query", files.query_picture),
    ("/serp/pictures/{page}/{result}/{picture}", files.result_picture),
)
_JUDGING: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/serp/sign-in", people.show_sign_in),
    ("POST", "/serp/sign-in", people.sign_in),
    ("POST", "/serp/sign-out", people.sign_out),
    ("POST", "/serp/judge", people.judge),
)


class SerpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a result page is set up.

    Attributes:
        shown: results of a page that are shown at first; the rest when asked for.
        kept: orders that are remembered.
        at_once: pages that are made at the same time; each may keep a thread waiting for its ranker.
        pictures_root: a folder outside which no picture is opened; empty = wherever the pages say.
        secure_cookies: people come over https: cookies are sent over nothing else.
    Raises:
        InputError: a number below 1.
    """

    shown: int = 60
    kept: int = KEPT
    at_once: int = 4
    pictures_root: str = ""
    secure_cookies: bool = False

    def __post_init__(self) -> None:
        for name in ("shown", "kept", "at_once"):
            if getattr(self, name) < 1:
                raise InputError(f"result page: {name}: got {getattr(self, name)}; allowed: 1 or more; raise it")


def serp_routes(
    shelf: Shelf,
    rankers: Mapping[str, Ranker],
    *,
    judge_into: JudgeInto | None = None,
    settings: SerpSettings | None = None,
) -> tuple[BaseRoute, ...]:
    """The routes of a result page: ``/``, and all that begins with ``/serp/``.

    Whoever mounts them need do nothing else: headers, errors and limits of these addresses are their own.

    Args:
        shelf: the pages to look at.
        rankers: by the name that people read; the first one's order is shown first. They are asked in threads, each by
            one visitor at a time.
        judge_into: a campaign that takes grades from people who are signed in; None = nobody grades here.
        settings: None = as ``SerpSettings`` says.
    Raises:
        InputError: a name that no ranker may have, or something that cannot rank.
    """
    app = _guarded(shelf, rankers, judge_into, settings or SerpSettings())
    return (Route("/", app, name="serp"), Route("/serp/{rest:path}", app, name="serp-parts"))


def create_serp(
    shelf: Shelf,
    rankers: Mapping[str, Ranker],
    *,
    judge_into: JudgeInto | None = None,
    settings: SerpSettings | None = None,
) -> Application:
    """A result page as an app of its own; the arguments as of ``serp_routes``."""
    return _guarded(shelf, rankers, judge_into, settings or SerpSettings())


def _guarded(
    shelf: Shelf, rankers: Mapping[str, Ranker], judge_into: JudgeInto | None, settings: SerpSettings
) -> Application:
    serp = Serp(
        shelf,
        Orders(rankers, kept=settings.kept),
        pictures=Pictures(Path(settings.pictures_root) if settings.pictures_root else None),
        templates=templates(),
        judge_into=judge_into,
        cookies=Cookies(settings.secure_cookies),
        shown=settings.shown,
        at_once=settings.at_once,
    )
    own = [Route("/", endpoint(serp, looking.show, slow=looking.asks), methods=["GET"])]
    own += [Route(path, endpoint(serp, handle), methods=["GET"]) for path, handle in _QUICK]
    if judge_into is not None:
        own += [Route(path, endpoint(serp, handle), methods=[method]) for method, path, handle in _JUDGING]
    inner = Starlette(routes=own, exception_handlers=problems.handlers(serp))
    inner.router.redirect_slashes = False
    return SecureHeaders(SmallBodies(inner), secure=settings.secure_cookies)
