"""The deployment for Ray, on a Ray of this machine: it answers like the server, and a worker that dies comes back."""

from __future__ import annotations

import contextlib
import importlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import psutil
import pytest

from wholepage.pages.errors import InputError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[serve]>=2.60'")
serve = pytest.importorskip("ray.serve", reason="Ray Serve is not installed: pip install 'ray[serve]>=2.60'")

FILE = Path(__file__).parents[2] / "deploy" / "ray_serve.py"
DOCUMENTS = ["a lamp", "a red lamp"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployed(monkeypatch_module: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch_module.syspath_prepend(str(FILE.parent))
    return importlib.import_module(FILE.stem)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def cluster(
    deployed: ModuleType, monkeypatch_module: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ModuleType, str]]:
    monkeypatch_module.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch_module.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch_module.setenv("PYTHONPATH", str(FILE.parent))
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    try:
        with socket.create_server(("127.0.0.1", 0)) as door:
            port = door.getsockname()[1]
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield deployed, f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def workers() -> list[psutil.Process]:
    """The worker processes of replicas, which this process's Ray began; nobody else's, whatever runs beside it."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "wholepage.apps.serving.worker" in " ".join(one.cmdline()):
                found.append(one)
    return found


@pytest.mark.parametrize("wrong", [{"replica": "2"}, {"replicas": "two"}, {"open": "perhaps"}])
def test_options_that_there_are_not(deployed: ModuleType, wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        deployed.application(wrong)


def test_a_replica_without_keys_is_refused(deployed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHOLEPAGE_KEYS", raising=False)
    own = deployed.Rerank.func_or_class.__mro__[1]
    with pytest.raises(InputError, match="open=true"):
        own({"models": "bm25"})
    assert own({"models": "bm25", "open": True}).__serve_build_asgi_app__().state.engine.ready is False


def test_it_answers_on_ray_and_a_dead_worker_comes_back(cluster: tuple[ModuleType, str]) -> None:
    assert workers() == []
    deployed, address = cluster
    serve.run(deployed.application({"models": "bm25,words=bm25", "open": "true", "cpus": "0.5"}))
    with httpx.Client(base_url=address, timeout=60) as client:
        assert client.get("/readyz").status_code == 200
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["bm25", "words"]
        body = {"query": "red lamp", "documents": DOCUMENTS}
        for path in ("/v2/rerank", "/v1/rerank"):
            answer = client.post(path, json={**body, "model": "words"}).json()
            assert [one["index"] for one in answer["results"]] == [1, 0]
        tei = client.post("/rerank", json={"query": "red lamp", "texts": DOCUMENTS}).json()
        assert [one["index"] for one in tei] == [1, 0]
        (own,) = workers()
        own.kill()
        began = time.monotonic()
        while client.post("/v1/rerank", json={**body, "query": f"{time.monotonic()}"}).status_code != 200:
            assert time.monotonic() - began < 60
    left = workers()
    assert len(left) == 1
    serve.shutdown()
    assert psutil.wait_procs(left, timeout=60)[1] == []
