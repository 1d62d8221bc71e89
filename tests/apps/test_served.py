"""``wholepage rank --endpoint``: a served model ranks whole lists, over real HTTP."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wholepage.apps.cli import app
from wholepage.apps.served import served_ranker
from wholepage.pages import EndpointError, Modality, Page, Query, Result
from wholepage.pages.records import read_rankings, write_pages

_ENTRY = re.compile(r"^\[([A-Z])\].*?worth (\d+)", re.MULTILINE)
ORDER = [3, 9, 1, 7, 5]
PAGE = Page(Query("q", "what is worth most?"), tuple(Result(f"r{n}", Modality.TEXT, f"worth {n}") for n in ORDER))


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Names the result of greatest worth first; keeps what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            words = json.dumps(body["messages"]).replace("\\n", "\n")
            worth = {name: float(n) for name, n in _ENTRY.findall(words)}
            top = [{"token": name, "logprob": n - 10, "bytes": None} for name, n in worth.items()]
            top.sort(key=lambda one: -one["logprob"])
            first = {**top[0], "top_logprobs": top}
            message = {"role": "assistant", "content": top[0]["token"]}
            told = {"choices": [{"index": 0, "message": message, "logprobs": {"content": [first]}}]}
            raw = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1", asked
    http.shutdown()
    http.server_close()


def test_a_served_model_orders_a_page(server: tuple[str, list[dict[str, Any]]]) -> None:
    address, asked = server
    with served_ranker(address, "some-model") as ranker:
        ranking = ranker.rank([PAGE])[0].check(PAGE)
    assert ranking.result_ids == ("r9", "r7", "r5", "r3", "r1")
    assert ranking.by == ranker.name == "listwise(some-model)"
    assert [body["model"] for body in asked] == ["some-model"]  # one request, one token
    assert asked[0]["max_tokens"] == 1


def test_the_command_asks_it(server: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    write_pages(tmp_path / "pages.jsonl", [PAGE])
    args = ["rank", str(tmp_path / "pages.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--endpoint", server[0]]
    said = CliRunner().invoke(app, [*args, "--model", "some-model"])
    assert said.exit_code == 0, said.output
    assert next(iter(read_rankings(tmp_path / "out.jsonl"))).result_ids[0] == "r9"
    alone = CliRunner().invoke(app, args)
    assert alone.exit_code == 5
    assert "--endpoint without --model" in alone.output


def test_nobody_there_is_an_error_and_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with served_ranker("http://127.0.0.1:9/v1", "none") as ranker, pytest.raises(EndpointError, match="127"):
        ranker.rank([PAGE])
