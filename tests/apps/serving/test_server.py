"""The real server in a process of its own: it answers, and on a signal it goes without losing an answer."""

from __future__ import annotations

import asyncio
import os
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

HERE = Path(__file__).parent
SERVER = """
import json, sys
from wholepage.apps.serving import server
from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.apps.serving.served_models import ModelSpec

told = json.loads(sys.argv[1])
if told["patient"]:
    server._MOST_TURNS = 2000
if told.get("odd"):
    server.ServingEngine.__init__.__kwdefaults__["worker_command"] = (sys.executable, told["odd"])
spec = ModelSpec("folder", json.dumps(told["source"])) if told.get("odd") else ModelSpec("bm25")
settings = server.ServerSettings(engine=EngineSettings(**told["engine"]), leave_s=told["leave_s"])
server.serve({"m": spec}, port=0, settings=settings, listening=lambda port: print(port, flush=True))
print("ended", flush=True)
"""
DOCUMENTS = ["a shoe", "a red lamp", "nothing at all"]


@contextmanager
def server(
    odd: dict[str, object] | None = None, leave_s: float = 0.0, *, patient: bool = False
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port, and its address; ``patient``: it waits long for those who have connected."""
    import json

    told = {"odd": str(HERE / "odd_worker.py") if odd is not None else "", "source": odd or {}}
    told |= {"engine": {"beat_s": 0.1, "workers": 2}, "leave_s": leave_s, "patient": patient}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(told)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[2] / "src")},
    )
    try:
        yield process, f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(client: httpx.Client, query: str, documents: list[str] = DOCUMENTS) -> httpx.Response:
    return client.post("/v1/rerank", json={"model": "m", "query": query, "documents": documents})


def test_it_answers_and_leaves_nothing_behind() -> None:
    with server() as (process, address), httpx.Client(base_url=address, timeout=60) as client:
        assert client.get("/readyz").status_code == 200
        answer = ask(client, "red lamp")
        assert answer.status_code == 200
        assert answer.json()["results"][0]["index"] == 1
        assert "wholepage_engine_done_total 1.0" in client.get("/metrics").text
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["m"]
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stdout.read() == "ended\n"
        gone, alive = psutil.wait_procs(workers, timeout=60)
        assert (len(gone), alive) == (2, [])


def test_while_it_leaves_it_says_so_and_still_answers() -> None:
    with server(leave_s=120.0) as (process, address), httpx.Client(base_url=address, timeout=60) as client:
        assert "connection" not in ask(client, "lamp").headers
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while client.get("/readyz").status_code == 200:
            assert time.monotonic() - began < 60
        last = ask(client, "shoe")
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, "a second signal shortens the leave"


@pytest.mark.slow
@pytest.mark.parametrize("leave_s", [0.0, 0.5])
def test_sigterm_under_load_loses_no_answer(leave_s: float) -> None:
    async def load(process: subprocess.Popen[str], address: str) -> tuple[int, list[str]]:
        right, wrong = 0, []
        stop = asyncio.Event()

        async def client(who: int) -> None:
            nonlocal right
            async with httpx.AsyncClient(base_url=address, timeout=60) as http:
                for turn in range(10_000):
                    numbers = [who, turn, 1000 + who]
                    body = {"model": "m", "query": f"{who} {turn}", "documents": [str(number) for number in numbers]}
                    try:
                        answer = await http.post("/v1/rerank", json=body)
                    except httpx.ConnectError:
                        return  # nobody listens any more: the request was never taken
                    except httpx.TransportError as error:
                        if stop.is_set() and type(error) is not httpx.ReadTimeout:
                            return  # a connection that was closed between two requests
                        wrong.append(repr(error))
                        return
                    if answer.status_code == 503 and stop.is_set():
                        return
                    order = sorted(range(3), key=lambda i: (-numbers[i], i))
                    found = [result["index"] for result in answer.json().get("results", [])]
                    if answer.status_code != 200 or found != order:
                        wrong.append(f"{answer.status_code} {answer.text}")
                    right += 1

        async def end() -> None:
            async with asyncio.timeout(120):
                while right < 100 and not wrong:
                    await asyncio.sleep(0.01)
            stop.set()
            process.send_signal(signal.SIGTERM)

        await asyncio.gather(end(), *(client(who) for who in range(8)))
        return right, wrong

    with server(odd={"seconds": 0.01}, leave_s=leave_s) as (process, address):
        right, wrong = asyncio.run(load(process, address))
        assert process.wait(timeout=60) == 0
    assert wrong == []
    assert right >= 100


def status_of(connection: socket.socket, timeout_s: float = 60.0) -> bytes:
    """Ask on a connection that was made before; the status, or nothing when it was closed without an answer."""
    body = b'{"model": "m", "query": "lamp", "documents": ["a shoe", "a red lamp"]}'
    head = b"POST /v1/rerank HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    connection.settimeout(timeout_s)
    connection.sendall(head % len(body) + body)
    return connection.recv(1024)[9:12]


def test_who_connected_before_the_end_and_speaks_then_is_answered() -> None:
    with server(patient=True) as (process, address):
        port = int(address.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as early:
            time.sleep(0.3)  # it is taken, and has said nothing
            process.send_signal(signal.SIGTERM)
            time.sleep(0.25)  # longer than the server takes to notice
            assert status_of(early) == b"200"
        assert process.wait(timeout=60) == 0


def test_who_stands_in_line_when_the_server_goes_is_let_in() -> None:
    with server(patient=True) as (process, address):
        port = int(address.rsplit(":", 1)[1])
        time.sleep(0.3)
        process.send_signal(signal.SIGSTOP)
        with socket.create_connection(("127.0.0.1", port)) as early:  # made by the system, not taken by the server
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)  # the server is to find everything at once: the signal, its own clock, the connection
            process.send_signal(signal.SIGCONT)
            assert status_of(early) == b"200"
        assert process.wait(timeout=60) == 0


def test_a_connection_that_stays_silent_holds_the_server_up_for_little() -> None:
    with server() as (process, address), socket.socket() as silent:
        silent.connect(("127.0.0.1", int(address.rsplit(":", 1)[1])))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert silent.recv(1) == b"", "closed, not reset"


def test_the_end_of_the_front_ends_the_workers() -> None:
    with server() as (process, _):
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert alive == []
