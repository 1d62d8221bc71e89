"""The guide on serving: its requests are sent, its clients run, its settings read, its files there."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.setup import read_setup

from .serving.fakes import FakeEngine
from .test_command_serve import serving

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "serving.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = _BLOCK.findall(GUIDE)
USUAL = "http://127.0.0.1:8000"


def blocks(language: str, holding: str = "") -> list[str]:
    return [body for found, body in BLOCKS if found == language and holding in body]


def row(start: str) -> list[str]:
    """The cells of a line of a table."""
    (line,) = [line for line in GUIDE.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The offline default, as the first command of the guide serves it."""
    path = tmp_path_factory.mktemp("serving") / "patient.toml"
    path.write_text("[engine]\nthreads = 1\nsilent_s = 60.0\n[requests]\ntimeout_s = 100.0\n")
    with serving("offline", "--settings", str(path)) as (_, found, _):
        yield found


def test_every_block_is_run_or_looked_up_by_some_test() -> None:
    """`bash` lines are parsed by the tests of all guides."""
    assert {language for language, _ in BLOCKS} == {"bash", "sh", "py", "toml"}
    assert len(blocks("sh", "curl")) + len(blocks("sh", "docker")) == len(blocks("sh"))
    assert len(blocks("py", "import cohere")) + len(blocks("py", "standing_app")) == len(blocks("py"))
    assert len(blocks("toml")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("sh", "curl"), ids=lambda block: block.split()[2])
def test_requests_are_answered(block: str, address: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: apt-get install curl")
    command = block.replace(USUAL, address).replace("curl -s ", "curl -sf --max-time 100 ")
    assert address in command
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if "rerank" not in block:
        assert "wholepage_engine_workers_alive 1.0" in done.stdout
        return
    asked, told = json.loads(re.search(r"-d '(.*)'", block, re.DOTALL)[1]), json.loads(done.stdout)
    indices = [one["index"] for one in told["results"]]
    soup = next(i for i, one in enumerate(asked["documents"]) if "soup" in str(one))
    if "top_n" in asked:
        assert len(indices) == asked["top_n"]
        assert soup not in indices
    else:
        assert indices[-1] == soup
        assert {one.get("id") for one in told["results"]} == {"a1", "p1", None}
        assert told["meta"]["rerank"]["modalities"] == {"answer": 1, "image": 1, "text": 1}
        assert [one["document"].get("image") for one in told["results"] if one.get("id") == "p1"] == ["<omitted>"]


@pytest.mark.slow
def test_the_client_of_cohere_is_answered(address: str) -> None:
    pytest.importorskip("cohere", reason="the official client is not installed: pip install cohere")
    (block,) = blocks("py", "import cohere")
    assert USUAL in block
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(block.replace(USUAL, address), "serving.md", "exec"), {"__name__": "__main__"})
    told = [line.split() for line in said.getvalue().splitlines()]
    assert [index for index, _ in told] == ["2", "1"]
    assert all(0 < float(score) < 1 for _, score in told)


def test_an_application_with_an_engine_of_its_own() -> None:
    (block,) = blocks("py", "standing_app")
    names: dict[str, Any] = {}
    exec(compile(block, "serving.md", "exec"), names)
    assert not names["app"].state.engine.ready
    with TestClient(names["app"]) as client:
        body = {"query": "red shoes", "documents": ["soup", "red shoes"]}
        assert client.get("/readyz").status_code == 200
        assert [one["index"] for one in client.post("/v2/rerank", json=body).json()["results"]] == [1, 0]
    assert not names["app"].state.engine.ready, "it is drained with the application"


def test_settings_are_read_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "serving.toml").write_text(text, encoding="utf-8")
    told, written = read_setup(tmp_path / "serving.toml", {}), tomllib.loads(text)
    assert set(written) == {"leave_s", "engine", "requests", "fetch"}
    for table in ("engine", "requests"):
        assert {name: getattr(getattr(told, table), name) for name in written[table]} == written[table]
    assert told.fetch.hosts == ("images.example.org",)


def test_routes_and_errors_are_those_of_the_table() -> None:
    client = TestClient(create_app(FakeEngine()))
    for path in ("/v2/rerank", "/v1/rerank", "/rerank", "/score", "/v1/score"):
        told = client.post(path, json={}).json()
        (line,) = [line for line in GUIDE.splitlines() if line.startswith("|") and f"POST {path}`" in line] or [
            line for line in GUIDE.splitlines() if line.startswith("|") and f"`{path}`" in line
        ]
        assert all(f'"{key}"' in line for key in told), (path, told)
    body = {"query": "q", "documents": ["a"], "nope": 1}
    assert client.post("/v2/rerank", json=body).status_code == 422
    assert "nope" in client.post("/v1/rerank", json=body).json()["meta"]["warnings"][0]


def test_places_that_ask_for_no_key_are_named() -> None:
    (told,) = re.findall(r"^(`/healthz`.*?)and the result page ask for no key", GUIDE, re.MULTILINE | re.DOTALL)
    named = re.findall(r"`(/\S+?)`", told)
    with serving("bm25", environment={"WHOLEPAGE_KEYS": "a-key-of-enough-letters"}) as (_, address, _):
        import httpx

        asked = {path: httpx.get(f"{address}{path}", timeout=60) for path in ("/v1/models", "/info", *named)}
        open_ = [path for path, answer in asked.items() if answer.status_code == 200]
    assert open_ == named


def test_what_it_says_of_deploy_is_what_is_written_there() -> None:
    (block,) = blocks("sh", "docker")
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "deploy").iterdir() if path.is_file())
    for line in block.strip().splitlines():
        assert line in written or line == "serve run deploy.ray_serve:application models=offline replicas=2", line
    assert "serve run deploy.ray_serve:application models=offline replicas=2" in written


def test_adapters_are_there() -> None:
    named = re.findall(r"`(wholepage\.apps\.adapters\.\w+)\.(\w+)`", GUIDE)
    assert len(named) == 4
    for module, name in named:
        origin = importlib.util.find_spec(module).origin
        assert re.search(rf"^class {name}\b", Path(origin).read_text(encoding="utf-8"), re.MULTILINE)


def test_command_lines_name_no_option_that_is_not_explained() -> None:
    options = {word for block in blocks("bash") for word in shlex.split(block) if word.startswith("--")}
    text = _BLOCK.sub("", GUIDE)
    plain = {"--host", "--port", "--log-level", "--store", "--settings", "--keys"}
    assert [option for option in sorted(options - plain) if option not in text] == []
