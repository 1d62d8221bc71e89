"""Ray Data: the same bytes from one, two and four actors, and after one was killed; skipped where there is no Ray."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from wholepage.apps.batch.messages import Event, Finished, Told
from wholepage.apps.batch.plan import Shard
from wholepage.apps.batch.ray_actors import RayActors, ShardActor
from wholepage.apps.batch.shards import Order
from wholepage.pages.errors import InputError

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
