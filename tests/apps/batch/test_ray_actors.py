"""Ray Data: the same bytes from one, two and four actors, and after one was killed; skipped where there is no Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from wholepage.apps.batch import ray_actors
from wholepage.apps.batch.messages import Event, Finished, Told
from wholepage.apps.batch.plan import Shard
from wholepage.apps.batch.processes import InProcess
from wholepage.apps.batch.ray_actors import RayActors, ShardActor
from wholepage.apps.batch.shards import Order
from wholepage.pages.errors import InputError, WorkerLost

from .made import files, job, pages, write_jsonl

SOURCE = Path(__file__).parents[3] / "src"


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One Ray for all tests; it takes some twenty seconds to start."""
    pytest.importorskip("pandas", reason="Ray Data is not installed: pip install 'ray[data]'")
    found = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[data]'")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    found.init(num_cpus=4, include_dashboard=False, object_store_memory=80 * 2**20)
    yield found
    found.shutdown()


class KillsOne(RayActors):
    """Kills the actor that has done the first shard."""

    def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
        self.killed: list[str] = []

        def listening(event: Event) -> None:
            told(event)
            if isinstance(event, Finished) and not self.killed:
                self.killed.append(event.worker)
                os.kill(int(event.worker), signal.SIGKILL)

        super().run(order, shards, listening)


@pytest.mark.slow
def test_one_two_and_four_actors_write_the_same(ray: Any, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(600, words=20))
    inside = job(source, tmp_path / "inside", shard_rows=50)
    for count in (1, 2, 4):
        assert (
            job(source, tmp_path / f"ray-{count}", RayActors("local", count), shard_rows=50).summary == inside.summary
        )
        assert files(tmp_path / f"ray-{count}") == files(tmp_path / "inside")


@pytest.mark.slow
def test_a_killed_actor_is_replaced(ray: Any, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(3000, words=60))
    engine = KillsOne("local", 2)
    killed = job(source, tmp_path / "killed", engine, shard_rows=300)
    assert len(engine.killed) == 1
    assert killed.summary == job(source, tmp_path / "inside", shard_rows=300).summary
    assert files(tmp_path / "killed") == files(tmp_path / "inside")


@pytest.mark.slow
def test_errors_of_rows_come_through(ray: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b"{no json}\n")
    with pytest.raises(InputError, match=r"bad\.jsonl:1: line"):
        job(str(tmp_path / "bad.jsonl"), tmp_path / "out", RayActors("local", 1))


@pytest.mark.slow
def test_a_shard_that_ends_every_actor_ends_the_job(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dies:
        """An actor that is killed whenever it is given a shard, and notes that it was."""

        def __init__(self, order: str) -> None:
            self.notes = tmp_path

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            import os
            import uuid

            (self.notes / f"killed-{uuid.uuid4()}").touch()
            os.kill(os.getpid(), 9)
            return batch

    monkeypatch.setattr(ray_actors, "ShardActor", Dies)
    source = write_jsonl(tmp_path / "pages.jsonl", pages(5))
    with pytest.raises(WorkerLost, match="it goes on where this stopped"):
        job(source, tmp_path / "out", RayActors("local", 1))
    assert len(list(tmp_path.glob("killed-*"))) == 3
    assert not (tmp_path / "out" / "_SUCCESS").exists()


@pytest.mark.slow
def test_the_command_starts_ray_and_prints_one_document(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="Ray Data is not installed: pip install 'ray[data]'")
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[data]'")
    write_jsonl(tmp_path / "pages.jsonl", pages(40))
    command = [sys.executable, "-m", "wholepage", "batch", "rank", "pages.jsonl", "-m", "bm25", "-o", "out"]
    done = subprocess.run(
        [*command, "--shard-rows", "20", "--ray", "local", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert (told["rows"], told["shards_done"], told["output"]) == (40, 2, "out")
    inside = job(str(tmp_path / "pages.jsonl"), tmp_path / "inside")
    assert told["output_sha256"] == inside.summary.output_sha256


def test_what_ray_prints_does_not_reach_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pandas", "ray"):
        pytest.importorskip(name, reason="Ray Data is not installed: pip install 'ray[data]'")

    class Prints(RayActors):
        def _start(self, ray: Any) -> None:
            print("(raylet) started")

        def _run(self, ray: Any, order: Order, shards: Sequence[Shard], told: Told) -> None:
            print("(raylet) a worker died")
            InProcess().run(order, shards, told)

    job(write_jsonl(tmp_path / "pages.jsonl", pages(3)), tmp_path / "out", Prints("local", 1))
    said = capsys.readouterr()
    assert said.out == ""
    assert "(raylet) a worker died" in said.err


def test_an_actor_answers_what_a_worker_does(tmp_path: Path) -> None:
    """What runs inside Ray, without Ray."""
    source = write_jsonl(tmp_path / "pages.jsonl", pages(50))

    class WithoutRay:
        def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
            import msgspec

            from wholepage.apps.batch.messages import FROM_WORKER

            actor = ShardActor(msgspec.json.encode(order).decode())
            for shard in shards:
                answer = FROM_WORKER.decode(actor({"text": [msgspec.json.encode(shard).decode()]})["text"][0])
                assert isinstance(answer, Finished)
                told(answer)

    assert job(source, tmp_path / "actor", WithoutRay()).summary == job(source, tmp_path / "inside").summary
    assert files(tmp_path / "actor") == files(tmp_path / "inside")


def test_numbers_of_actors_are_checked() -> None:
    with pytest.raises(InputError, match="got 0 workers"):
        RayActors("local", 0)
