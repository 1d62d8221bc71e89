"""The rerank server on a Ray cluster: replicas behind Ray Serve's proxies, each with workers of its own.

    pip install '.[serve,text]' 'ray[serve]>=2.60'
    WHOLEPAGE_KEYS=... serve run deploy.ray_serve:application models=offline replicas=2
    serve run deploy.ray_serve:application models=runs/demo/model,bm25 open=true       # nobody is asked for a key

Ray places replicas, restarts those that fail, and routes to them. What a replica does is what ``wholepage serve`` does:
the same routes, queue, deadlines, cache and workers. Keys come from WHOLEPAGE_KEYS or a file that every node has.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from ray import serve
from starlette.types import ASGIApp

from wholepage.apps.serving.fetch import SafeFetcher
from wholepage.apps.serving.keys import Keys
from wholepage.apps.serving.setup import found_keys, named_models, read_setup
from wholepage.apps.serving.standing import standing_app
from wholepage.pages.errors import InputError


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands behind the name of the application, as ``name=value``.

    Attributes:
        models: as ``wholepage serve`` takes them, parted by commas; the first is the default.
        replicas: how many servers.  workers: processes that rank, of each.
        cpus, gpus: that a replica reserves.
        keys: a file of keys, on every node; empty = those of WHOLEPAGE_KEYS alone.
        open: everybody may ask, where there are no keys.
        settings: a TOML file, on every node, as ``--settings`` reads it.
        fetch_images: pictures are fetched from web addresses; hosts and limits are in ``settings``.
    """

    models: str = "offline"
    replicas: int = 1
    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    keys: str = ""
    open: bool = False
    settings: str = ""
    fetch_images: bool = False


@serve.deployment(name="rerank", health_check_period_s=5, graceful_shutdown_timeout_s=40)
@serve.ingress()
class Rerank:
    """One replica.

    Raises:
        InputError: there are no keys, and it was not said that there need be none.
        Whatever reading settings, keys or models raises.
    """

    def __init__(self, options: dict[str, object]) -> None:
        told = msgspec.convert(options, Options)
        setup = read_setup(Path(told.settings) if told.settings else None, {"engine": {"workers": told.workers}})
        digests = found_keys(Path(told.keys) if told.keys else None, None)
        if not (digests or told.open):
            raise InputError(
                "keys: got none; allowed: WHOLEPAGE_KEYS, keys=FILE, or open=true, which lets everybody in; choose one"
            )
        self._standing = standing_app(
            named_models(told.models.split(",")),
            setup,
            keys=Keys(digests, setup.requests),
            fetcher=SafeFetcher(setup.fetch) if told.fetch_images else None,
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._standing

    def check_health(self) -> None:
        """Have Ray replace a replica whose workers are gone.

        Raises:
            RuntimeError: no worker takes pages.
        """
        if not self._standing.state.engine.ready:
            raise RuntimeError("no worker takes pages")


def application(args: dict[str, str]) -> serve.Application:
    """The application, for ``serve run`` and for the files of ``serve deploy``.

    Args:
        args: fields of ``Options``, as text.
    Raises:
        InputError: another field, or a value that cannot be.
    """
    try:
        told = msgspec.convert(args, Options, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"application: {error}; allowed: {', '.join(Options.__struct_fields__)}; mend it") from error
    waiting = read_setup(Path(told.settings) if told.settings else None, {}).engine.max_queued_calls
    deployment = Rerank.options(
        num_replicas=told.replicas,
        ray_actor_options={"num_cpus": told.cpus, "num_gpus": told.gpus},
        # A replica's own queue says when it is full, and after what time to come again; Ray must not hold calls back.
        max_ongoing_requests=2 * waiting,
    )
    return deployment.bind(msgspec.to_builtins(told))
