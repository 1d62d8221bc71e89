"""The tutorial, from top to bottom: its files are written, its commands run, its server started and asked."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from typer.testing import CliRunner

from wholepage.apps.cli import app
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page.registry import evaluate_page_measures
from wholepage.pages.records import read_judgments, read_pages, read_rankings

from .test_command_serve import serving

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL).findall(TUTORIAL)
USUAL = "http://127.0.0.1:8000"


def blocks(language: str, holding: str = "") -> list[str]:
    return [body for found, body in BLOCKS if found == language and holding in body]


def run(code: str) -> str:
    """What a block of Python prints."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code, "tutorial.md", "exec"), {"__name__": "__main__"})
    return said.getvalue()


LINES = [line for block in blocks("bash") for line in block.splitlines()]
(SERVE,) = [line for line in LINES if line.startswith("wholepage serve")]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which everything before the server has been done."""
    folder, threads = tmp_path_factory.mktemp("tutorial"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WHOLEPAGE_CACHE", str(folder / "cache"))
        run(blocks("python", "write_pages")[0])
        for line in LINES:
            if line != SERVE:
                said = CliRunner().invoke(app, shlex.split(line)[1:])
                assert said.exit_code == 0, f"{line}: {said.output}"
        yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def address(walked: Path) -> Iterator[str]:
    """Where the model is served, as the tutorial says but for the port."""
    (walked / "patient.toml").write_text("[engine]\nthreads = 1\nsilent_s = 60.0\n[requests]\ntimeout_s = 100.0\n")
    words = shlex.split(SERVE.replace("--port 8000 ", ""))
    assert "--port" not in words
    with serving(*words[2:], "--settings", "patient.toml") as (_, found, _):
        yield found


def test_every_block_is_run_or_read_here() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "bash", "json", "python"}
    assert [len(blocks(language)) for language in ("sh", "json", "python")] == [2, 2, 3]
    assert all(line.startswith("wholepage ") for line in LINES)
    assert len(LINES) == 6


def test_what_it_installs_is_there() -> None:
    (block,) = blocks("sh", "venv")
    assert block.splitlines() == [
        "python3 -m venv .venv",
        ".venv/bin/pip install '.[all]'",
        ". .venv/bin/activate",
    ]
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"^all = \[", text, re.MULTILINE)
    (named,) = re.findall(r"'(torch[^']+)'", TUTORIAL)
    assert f'"{named}"' in text


def test_the_lines_it_shows_are_read(tmp_path: Path) -> None:
    page, grade = blocks("json")
    (tmp_path / "pages.jsonl").write_text(" ".join(page.split("\n")) + "\n", encoding="utf-8")
    (tmp_path / "judgments.jsonl").write_text(grade, encoding="utf-8")
    (read,) = read_pages(tmp_path / "pages.jsonl")
    assert [str(one.modality) for one in read.results] == ["text", "image", "answer"]
    assert read_judgments(tmp_path / "judgments.jsonl").by_result(read.query_id) == {"a": 3.0}


@pytest.mark.slow
def test_training_helped_on_pages_that_it_has_not_seen(walked: Path) -> None:
    pages, said = list(read_pages(walked / "mine/dev.pages.jsonl")), read_judgments(walked / "mine/dev.judgments.jsonl")
    assert {one.query_id for one in pages}.isdisjoint(
        one.query_id for one in read_pages(walked / "mine/train.pages.jsonl")
    )
    runs = {name: list(read_rankings(walked / f"{name}.jsonl")) for name in ("untrained", "trained")}
    mean = {name: evaluate(run, said, ["nDCG@10"]).mean("nDCG@10") for name, run in runs.items()}
    cross = {
        name: evaluate_page_measures(run, pages, said, ["PairAccuracy(cross)"]).mean("PairAccuracy(cross)")
        for name, run in runs.items()
    }
    assert mean["trained"] > mean["untrained"]
    assert cross["trained"] > cross["untrained"] + 0.1
    report = (walked / "report.html").read_text(encoding="utf-8")
    assert "untrained" in report
    assert "trained" in report


@pytest.mark.slow
def test_the_server_answers_as_it_says(address: str) -> None:
    (curl,) = blocks("sh", "curl")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: apt-get install curl")
    command = curl.replace(USUAL, address).replace("curl -s ", "curl -sf --max-time 100 ")
    assert address in command
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    found = re.search(r"here (\d), then (\d), then (\d)", TUTORIAL)
    assert found is not None
    assert [one["index"] for one in told["results"]] == [int(place) for place in found.groups()]

    (client,) = blocks("python", "urllib")
    assert USUAL in client
    assert json.loads(run(client.replace(USUAL, address))) == [1, 0]

    shown = httpx.get(f"{address}/", timeout=100)
    assert shown.status_code == 200
    assert "text/html" in shown.headers["content-type"]


@pytest.mark.slow
def test_the_model_is_loaded_without_a_server(walked: Path) -> None:
    (block,) = blocks("python", "wholepage.load")
    said = run(block)
    first = next(iter(read_pages(walked / "mine/dev.pages.jsonl")))
    (ranked,) = [one for one in read_rankings(walked / "trained.jsonl") if one.query_id == first.query_id]
    assert said.strip() == f"{first.query.text} {ranked.result_ids}"
