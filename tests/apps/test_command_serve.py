"""``wholepage serve`` as it is run: it answers every family, goes when it is told to, and refuses what is not safe."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from wholepage.apps.cli import app
from wholepage.apps.result_page import result_page
from wholepage.apps.serp.shelf import Shelf
from wholepage.apps.serving.calls import ServedModel
from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.served_models import ModelSpec
from wholepage.pages import Modality, Page, Query, Result
from wholepage.pages.records import write_pages
from wholepage.rankers.weights import MANIFEST

from .serving.fakes import FakeEngine

SRC = Path(__file__).parents[2] / "src"
KEY = "a-key-of-enough-letters"
DOCUMENTS = ["a recipe for lentil soup", "how to choose running shoes", "red running shoes are light"]
ORDER = [2, 1, 0]
SHOWN = tuple(Result(f"r{i}", Modality.TEXT, text) for i, text in enumerate(DOCUMENTS))
PAGE = Page(Query("q1", "red <running> shoes"), SHOWN)


@contextmanager
def serving(*args: str, environment: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The command in a process of its own on a free port: the process, its address, what it said until it listened."""
    process = subprocess.Popen(
        [sys.executable, "-m", "wholepage", "serve", "--port", "0", "--workers", "1", *args],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(SRC), "WHOLEPAGE_KEYS": "", **(environment or {})},
    )  # fmt: skip
    said = ""
    try:
        while not (found := re.search(r"^serving .* at (http://\S+)/ ;", said, re.MULTILINE)):
            line = process.stderr.readline()
            assert line, f"ended with {process.wait(timeout=60)}: {said}"
            said += line
        yield process, found[1], said
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def status_of_a_body_that_says_it_has(address: str, size: int) -> int:
    """What is answered to the headers of a request alone."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/v1/rerank")
    headers = {"Content-Type": "application/json", "Content-Length": str(size), "Authorization": f"Bearer {KEY}"}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with contextlib.closing(connection):
        return connection.getresponse().status


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A settings file by which a server goes at once."""
    path = tmp_path_factory.mktemp("settings") / "serving.toml"
    path.write_text("leave_s = 0.0\n[engine]\nbeat_s = 0.1\n")
    return str(path)


def test_one_request_of_each_family_and_a_good_end() -> None:
    with (
        serving("rerank-v3.5=bm25", "other=bm25") as (process, address, said),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        assert "serving rerank-v3.5 (bm25), other (bm25) at http://127.0.0.1:" in said
        assert "warning" not in said
        assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/health", "/ping")] == [200] * 4
        asked = {"model": "rerank-v3.5", "query": "red running shoes", "documents": DOCUMENTS}
        cohere = client.post("/v2/rerank", json={**asked, "top_n": 2}).json()
        assert [one["index"] for one in cohere["results"]] == ORDER[:2]
        jina = client.post("/v1/rerank", json={**asked, "return_documents": True}).json()
        assert [one["document"]["text"] for one in jina["results"]] == [DOCUMENTS[i] for i in ORDER]
        tei = client.post("/rerank", json={"query": asked["query"], "texts": DOCUMENTS}).json()
        assert [one["index"] for one in tei] == ORDER
        vllm = client.post("/score", json={"queries": asked["query"], "documents": DOCUMENTS}).json()
        scores = [one["score"] for one in vllm["data"]]
        assert sorted(range(3), key=lambda i: -scores[i]) == ORDER
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["rerank-v3.5", "other"]
        assert client.post("/v1/rerank", json={**asked, "model": "nope"}).status_code == 404
        assert 'route="/v2/rerank"' in client.get("/metrics").text

        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert psutil.wait_procs(workers, timeout=60)[1] == []


def test_while_it_leaves_who_comes_is_answered(tmp_path: Path) -> None:
    (tmp_path / "patient.toml").write_text("leave_s = 120.0\n")
    with (
        serving("bm25", "--settings", str(tmp_path / "patient.toml")) as (process, address, _),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        process.send_signal(signal.SIGTERM)
        while client.get("/readyz").status_code == 200:
            pass
        last = client.post("/v2/rerank", json={"query": "red running shoes", "documents": DOCUMENTS})
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, "a second signal shortens the leave"


def test_keys_and_limits_are_those_of_the_command_line(at_once: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"ann {KEY}\n")
    args = ("bm25", "--keys", str(tmp_path / "keys"), "--rate", "0.001", "--max-documents", "2", "--host", "0.0.0.0")
    more = ("--settings", at_once, "--timeout", "7", "--max-body", "1", "--fetch-images")
    with serving(*args, *more) as (process, address, said):
        assert "0.0.0.0 is reached by other machines, and keys travel as they are" in said
        assert "from any public host" in said
        assert "EVERYBODY" not in said
        own = address.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=own, timeout=60, headers={"Authorization": f"Bearer {KEY}"}) as client:
            body = {"query": "red shoes", "documents": DOCUMENTS[:2]}
            assert httpx.post(f"{own}/v1/rerank", json=body, timeout=60).status_code == 401
            assert client.post("/v1/rerank", json=body).status_code == 200
            assert client.post("/v1/rerank", json={**body, "documents": DOCUMENTS}).status_code == 422
            assert status_of_a_body_that_says_it_has(own, 2**20 + 1) == 413
            private = {**body, "documents": [{"image": "http://10.1.2.3/a.png"}]}
            refused = client.post("/v1/rerank", json=private)
            assert refused.status_code == 422
            assert "fetches none" not in refused.text
            told = [client.post("/v1/rerank", json=body).status_code for _ in range(20)]
            assert told[-1] == 429, "the rate of a key"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_openly_for_everybody_is_said_loudly(at_once: str) -> None:
    with serving("bm25", "--host", "0.0.0.0", "--open", "--settings", at_once) as (process, _, said):
        assert "warning: --open: EVERYBODY who reaches 0.0.0.0" in said
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_keys_of_the_environment(at_once: str) -> None:
    with serving("bm25", "--settings", at_once, environment={"WHOLEPAGE_KEYS": KEY}) as (process, address, _):
        body = {"query": "red shoes", "documents": DOCUMENTS}
        assert httpx.post(f"{address}/v2/rerank", json=body, timeout=60).status_code == 401
        answer = httpx.post(f"{address}/v2/rerank", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        assert [one["index"] for one in answer.json()["results"]] == ORDER
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_the_result_page_stands_beside_it_and_takes_grades(at_once: str, tmp_path: Path) -> None:
    write_pages(tmp_path / "pages.jsonl", [PAGE])
    store = str(tmp_path / "a.db")
    own = ["shoes", str(tmp_path / "pages.jsonl"), "--store", store, "--engine", "selected"]
    assert CliRunner().invoke(app, ["annotate", "create", *own]).exit_code == 0
    judged = ("--judge-into", "shoes", "--store", store)
    with (
        serving("bm25", "--settings", at_once, "--pages", str(tmp_path / "pages.jsonl"), *judged) as (
            process,
            address,
            _,
        ),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        start = client.get("/")
        assert start.headers["content-type"].startswith("text/html")
        assert "red &lt;running&gt; shoes" in start.text
        assert "<running>" not in start.text
        page = client.get("/", params={"page": 0, "order": "bm25"}).text
        places = [page.index(text) for text in DOCUMENTS]
        assert sorted(range(3), key=places.__getitem__) == ORDER
        assert 'name="password"' in client.get("/serp/sign-in").text
        assert client.get("/serp/static/../../../etc/passwd").status_code == 404
        assert client.post("/v1/rerank", json={"query": "shoes", "documents": DOCUMENTS}).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_the_page_asks_the_workers() -> None:
    routes = result_page(Shelf([PAGE], name="one"), {"words": ModelSpec("bm25")})
    engine = FakeEngine(models=(ServedModel("words", "overlap", ("text",)),))
    shown = TestClient(create_app(engine, routes=routes(engine))).get("/", params={"page": 0, "order": "words"}).text
    assert {call.model for call in engine.calls} == {"words"}
    places = [shown.index(text) for text in DOCUMENTS]
    assert sorted(range(3), key=places.__getitem__) == ORDER


@pytest.mark.parametrize("before", ["", "trap '' INT; "], ids=["", "started by a script with &"])
def test_a_signal_while_models_are_read_ends_it_and_its_workers(before: str) -> None:
    # A shell that runs a script makes what it puts in the background deaf to SIGINT.
    process = subprocess.Popen(
        ["sh", "-c", f'{before}exec "$@"', "sh", sys.executable, "-m", "wholepage", "serve", "bm25", "--port", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(SRC)},
    )  # fmt: skip
    try:
        began = time.monotonic()
        while not (workers := psutil.Process(process.pid).children()):
            assert time.monotonic() - began < 60
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
        assert "Traceback" not in said, said
        assert process.returncode == (0 if "serving" in said else 1), said
        assert psutil.wait_procs(workers, timeout=60)[1] == []
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield door.getsockname()[1]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--host", "0.0.0.0"], 5, "--open"),
        (["--host", "::"], 5, "WHOLEPAGE_KEYS"),
        (["--open", "--host", "256.1.1.1"], 5, "'256.1.1.1' and port 8000"),
        (["--open", "--host", "203.0.113.7"], 5, "allowed: an address of this machine"),
        (["--allow-host", "a.example"], 5, "--fetch-images"),
        (["--fetch-images", "--allow-host", "not a host"], 5, "hosts"),
        (["--rate", "3"], 5, "without keys"),
        (["--keys", "nowhere.txt"], 4, "nowhere.txt"),
        (["--keys-variable", "NOT_SET"], 5, "NOT_SET"),
        (["--settings", "nowhere.toml"], 4, "nowhere.toml"),
        (["--timeout", "500"], 5, "max_timeout_s"),
        (["--timeout", "-1"], 5, "timeout_s"),
        (["--max-body", "1024"], 5, "max_bytes_under_way"),
        (["--judge-into", "shoes"], 5, "--pages"),
        (["--pages", "nowhere.jsonl"], 4, "nowhere.jsonl"),
        (["--pages", "pages.jsonl", "--split", "nope"], 5, "nope"),
        (["--pages", "pages.jsonl", "--judge-into", "nope", "--store", "none.db"], 5, "nope"),
        (["received=bm25", "--pages", "pages.jsonl"], 5, "'received'"),
        (["nowhere"], 4, "'nowhere'"),
        (["bm25", "bm25"], 5, "two by the name"),
        (["--workers", "0"], 2, "--workers"),
        (["--port", "70000"], 2, "--port"),
        (["--log-level", "loud"], 2, "--log-level"),
        (["--nope"], 2, "--nope"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_what_cannot_be_is_refused_before_it_listens(
    args: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pages("pages.jsonl", [PAGE])
    monkeypatch.delenv("WHOLEPAGE_KEYS", raising=False)
    answer = CliRunner().invoke(app, ["serve", *args], env={"COLUMNS": "200"})
    assert answer.exit_code == code, answer.output
    assert said in answer.output
    assert code == 2 or answer.output.splitlines()[-1].startswith("error: ")


def test_a_port_that_is_taken_is_named(taken_port: int) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    answer = CliRunner().invoke(app, ["serve", "bm25", "--port", str(taken_port)])
    assert answer.exit_code == 5
    assert f"port {taken_port}: Address already in use" in answer.output
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_model_that_cannot_be_read_ends_it(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"kind": "of something else"}')
    done = subprocess.run(
        [sys.executable, "-m", "wholepage", "serve", str(tmp_path), "--port", "0", "--workers", "1"],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "PYTHONPATH": str(SRC)},
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_library_that_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = CliRunner().invoke(app, ["serve", "bm25"])
    assert answer.exit_code == 3
    assert "wholepage[serve]" in answer.output


def test_help_is_light_and_teaches() -> None:
    code = (
        "import sys\nfrom wholepage.apps.cli import app\n"
        "try:\n    app(['serve', '--help'])\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'uvicorn', 'starlette', 'httpcore', 'PIL'} & set(sys.modules)\n"
        "sys.exit(code or ' '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Example: wholepage serve " in done.stdout
