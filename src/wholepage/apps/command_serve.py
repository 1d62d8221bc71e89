"""``wholepage serve MODEL``: any ranker behind the rerank interfaces that clients know."""

from __future__ import annotations

import errno
import logging
import signal
import socket
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wholepage.apps.exits import OTHER

if TYPE_CHECKING:
    from wholepage.apps.result_page import Routes
    from wholepage.apps.serp.judging import JudgeInto
    from wholepage.apps.serving.keys import Keys
    from wholepage.apps.serving.pictures_in import Fetch
    from wholepage.apps.serving.served_models import ModelSpec
    from wholepage.apps.serving.setup import Setup

_LIBRARIES = ("uvicorn", "starlette", "prometheus_client", "httpcore", "idna")
_MIB = 2**20
_ADDRESS_ERRORS = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, socket.EAI_NONAME, socket.EAI_AGAIN}


class LogLevel(StrEnum):
    """How much the server's log says."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]MODEL...",
            help="Model folders, offline (needs no training), bm25, or a cross-encoder's folder; the first answers "
            "requests that name none. Without any, offline.",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; others than this machine's need keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 = any free.")] = 8000,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes that rank, each with all models; else 2.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help="Who may ask: keys or sha256:<digest>, one a line.")
    ] = None,
    variable: Annotated[
        str | None,
        typer.Option("--keys-variable", metavar="NAME", help="Environment variable with keys; else WHOLEPAGE_KEYS."),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Let everybody in who reaches --host, without a key. Be sure.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0, help="Requests a second that a key may send; else any number.")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch-images", help="Fetch pictures from web addresses; else they are sent along.")
    ] = False,
    allowed: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="HOST", help="Fetch from here alone (.example.org = all below); again for more."
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", help="Answer within so many seconds; else 30.")
    ] = None,
    longest: Annotated[
        float | None, typer.Option("--max-timeout", metavar="S", help="The most that a request may ask for; else 120.")
    ] = None,
    queue: Annotated[
        int | None, typer.Option("--queue", min=1, help="Requests that may wait; more are told to come again.")
    ] = None,
    documents: Annotated[
        int | None, typer.Option("--max-documents", min=1, help="Documents of a request; else 1000.")
    ] = None,
    body: Annotated[
        int | None, typer.Option("--max-body", metavar="MIB", min=1, help="Size of a request; else 32.")
    ] = None,
    pages: Annotated[
        str | None,
        typer.Option("--pages", help="Show these at /: a collection by name, or a file or folder of pages."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Of --pages; else train, or all (a single file).")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FOLDER", help="The data folder (else WHOLEPAGE_DATA).")
    ] = None,
    judge_into: Annotated[
        str | None,
        typer.Option("--judge-into", metavar="CAMPAIGN", help="With --pages: people grade there, signed in."),
    ] = None,
    store: Annotated[
        str,
        typer.Option(
            "--store", envvar="WHOLEPAGE_STORE", metavar="PATH_OR_ADDRESS", help="Where that campaign is kept."
        ),
    ] = "annotation.db",
    secure: Annotated[
        bool, typer.Option("--secure", help="Behind https: cookies travel on encrypted connections alone.")
    ] = False,
    settings: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE", help="Any setting, as TOML; options go before it.")
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", help="info writes a line a request.")
    ] = LogLevel.WARNING,
) -> None:
    """Serve models to clients of Cohere, Jina, text-embeddings-inference and vLLM, until Ctrl-C or SIGTERM.

    Requests that have begun are answered before it ends. It listens to this machine alone if not told otherwise, and
    to others only with keys, or --open.

    Example: wholepage serve runs/demo/model bm25 --port 8000
    """
    from wholepage.pages.errors import require

    for library in _LIBRARIES:
        require(library, "serve")
    from wholepage.apps.serving import setup
    from wholepage.apps.serving.fetch import SafeFetcher
    from wholepage.apps.serving.keys import Keys

    told = setup.read_setup(
        settings,
        {
            "engine": {"workers": workers, "max_queued_calls": queue},
            "requests": {
                "timeout_s": timeout,
                "max_timeout_s": longest,
                "max_documents": documents,
                "max_body_bytes": None if body is None else body * _MIB,
                "requests_per_s": rate,
            },
            "fetch": {"hosts": allowed or None},
        },
    )
    digests = setup.found_keys(keys, variable)
    setup.check_fit(told, fetch=fetch, hosts=allowed or (), locked=bool(digests), pages=pages, judge_into=judge_into)
    setup.check_reach(host, locked=bool(digests) and pages is None, opened=open_)
    _log_to_stderr(log_level)
    if not setup.is_own(host):
        _warn(_of_reach(host, keys=bool(digests), page=pages is not None))
    if fetch and not told.fetch.hosts:
        _warn("--fetch-images without --allow-host: pictures are fetched from any public host that a request names")
    named = setup.named_models(models or ())
    with ExitStack() as held:
        routes = None
        if pages is not None:
            routes = _result_page(pages, split, root, named, _campaign(store, judge_into, held), secure=secure)
        _run(
            named,
            host,
            port,
            told,
            log_level,
            keys=Keys(digests, told.requests),
            fetcher=SafeFetcher(told.fetch) if fetch else None,
            routes=routes,
        )


def _result_page(
    pages: str,
    split: str | None,
    root: Path | None,
    models: dict[str, ModelSpec],
    judge_into: JudgeInto | None,
    *,
    secure: bool,
) -> Routes:
    from wholepage.pages.errors import require

    require("jinja2", "serve")
    from wholepage.apps.result_page import result_page
    from wholepage.apps.serp.shelf import load_shelf

    return result_page(load_shelf(pages, split, root), models, judge_into=judge_into, secure_cookies=secure)


def _campaign(store: str, campaign: str | None, held: ExitStack) -> JudgeInto | None:
    if campaign is None:
        return None
    from wholepage.pages.errors import require

    require("sqlalchemy", "annotate")
    from wholepage.annotation.store import Store
    from wholepage.apps.serp.judging import JudgeInto

    return JudgeInto(held.enter_context(Store.open(store)), campaign)


def _run(
    models: dict[str, ModelSpec],
    host: str,
    port: int,
    told: Setup,
    log_level: LogLevel,
    *,
    keys: Keys,
    fetcher: Fetch | None,
    routes: Routes | None,
) -> None:
    from wholepage.apps.console import note
    from wholepage.apps.serving import server
    from wholepage.pages.errors import InputError

    began: list[int] = []

    def listening(found: int) -> None:
        began.append(found)
        told_models = ", ".join(f"{name} ({spec.source or spec.kind})" for name, spec in models.items())
        place = f"[{host}]" if ":" in host else host
        note(f"serving {told_models} at http://{place}:{found}/ ; Ctrl-C ends it")

    settings = server.ServerSettings(told.engine, told.requests, told.leave_s, log_level.value)
    # Until the server takes signals itself: the first process of a container would not hear SIGTERM otherwise, and what
    # a script starts with `&` would not hear SIGINT, into which it is turned.
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        server.serve(models, host, port, settings, keys=keys, fetcher=fetcher, routes=routes, listening=listening)
    except KeyboardInterrupt:  # before it took signals itself: a good end only if it was there for requests
        if not began:
            raise typer.Exit(OTHER) from None
    except OSError as error:
        if error.errno not in _ADDRESS_ERRORS:
            raise
        why = (error.strerror or "").partition(" (")[0]
        raise InputError(
            f"serve: got {host!r} and port {port}: {why}; allowed: an address of this machine, and a port that is "
            "free; choose another --host or --port, or end what listens there"
        ) from error
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _of_reach(host: str, *, keys: bool, page: bool) -> str:
    """What to know of a server that other machines reach."""
    if keys and not page:
        return f"{host} is reached by other machines, and keys travel as they are: let a proxy before it speak https"
    what = "look at the page /" if keys else "use this server"
    return (
        f"--open: EVERYBODY who reaches {host} may {what}, as often as they like, without a key; end it now if that is "
        "not what you want"
    )


def _warn(message: str) -> None:
    typer.secho(f"warning: {message}", fg="yellow", bold=True, err=True)


def _log_to_stderr(level: LogLevel) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("wholepage").setLevel(level.value.upper())
