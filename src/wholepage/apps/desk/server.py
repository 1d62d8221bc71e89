"""The server of the desk: one process that answers on an address of this machine.

serve(Store.open("answers.db"), "127.0.0.1", 8000)
"""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from threading import Thread

import uvicorn

from wholepage.annotation.store import Store
from wholepage.apps.desk.app import create_app
from wholepage.apps.desk.state import Desk
from wholepage.pages.errors import WholepageError, shorten

_GARBAGE = (50_000, 20, 50)
_LONG = 80  # characters of an address
_NAMED = 5  # pictures that the log names; the rest is a number
_LOG = logging.getLogger("wholepage.desk")


def serve(
    store: Store,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    secure_cookies: bool = False,
    pictures_root: Path | None = None,
    address: str | None = None,
    log_level: str = "warning",
) -> None:
    """Serve the desk until it is stopped (Ctrl-C or SIGTERM); requests that have begun are answered first.

    Args:
        store: of people and campaigns.
        host, port: where to listen; other hosts than this machine should reach it through a proxy that speaks https.
        secure_cookies: people come over https.
        pictures_root: a folder in which all picture files lie; None = wherever the campaigns' pages say.
        address: where people reach the desk, for links in invitations.
        log_level: of the server's own log: ``info`` writes a line a request.
    """
    app = create_app(store, secure_cookies=secure_cookies, pictures_root=pictures_root, address=address)
    # Logs and plans are many objects that live as long as the server: looking through them for garbage again and again
    # makes people wait.
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    Thread(target=look_at_pictures, args=(app.state.desk,), name="pictures", daemon=True).start()
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level=log_level,
        access_log=log_level in ("info", "debug", "trace"),
        server_header=False,
        proxy_headers=secure_cookies,
        timeout_graceful_shutdown=10,
    )


def look_at_pictures(desk: Desk) -> int:
    """Open every picture of the campaigns that go on, and log how many cannot be shown, which is returned.

    The board tells that number too, and cards say it of their pictures. A campaign that cannot be read is logged.
    """
    return sum(_look(desk, campaign_id) for campaign_id in desk.store.campaign_ids())


def _told(uri: str) -> str:
    """An address for the log: of a long path its end, which names the file; of a ``data:`` address its beginning."""
    return shorten(uri) if uri.startswith("data:") or len(uri) <= _LONG else f"...{uri[-_LONG:]}"


def _look(desk: Desk, campaign_id: str) -> int:
    try:
        closed = desk.live(campaign_id).read().closed
    except WholepageError as error:
        _LOG.error("campaign %s: %s", campaign_id, error)
        return 0
    found = {} if closed else desk.pictures.check(desk.table(campaign_id).pages)
    for ref, problem in list(found.items())[:_NAMED]:
        _LOG.warning("campaign %s: picture %s: %s", campaign_id, _told(ref.uri), problem)
    if found:
        _LOG.warning("campaign %s: %d pictures cannot be shown", campaign_id, len(found))
    return len(found)
