"""Work handed in by many threads: all of it is done, once, in order, together with what waits at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from wholepage.annotation import batches
from wholepage.annotation.batches import Batches, Job


class Server:
    """Does jobs, and notes in which batches; waits at a gate before each batch."""

    def __init__(self) -> None:
        self.served: list[list[object]] = []
        self.inside = 0
        self.gate = threading.Semaphore(1_000)
        self.began = threading.Semaphore(0)
        self.batches = Batches(self.serve)

    def serve(self, jobs: list[Job[object]]) -> None:
        self.inside += 1
        assert self.inside == 1, "two threads at once"
        self.began.release()
        self.gate.acquire()
        for job in jobs:
            with job:
                job.result = job.work()
        self.served.append([job.result for job in jobs])
        self.inside -= 1

    def hand_in(self, work: Callable[[], object]) -> tuple[threading.Thread, Job[object]]:
        """A job of a thread of its own; returns when it is in the queue."""
        job: Job[object] = Job(work, durable=True)
        thread = threading.Thread(target=self.batches.do, args=(job,))
        waiting = len(self.batches._waiting)
        busy = self.batches._busy
        thread.start()
        while busy and len(self.batches._waiting) == waiting:
            threading.Event().wait(0.001)
        return thread, job


@pytest.fixture
def server() -> Server:
    """A server whose first batch waits until it is let through."""
    server = Server()
    server.gate = threading.Semaphore(0)
    return server


def test_alone_one_is_served_at_once() -> None:
    server = Server()
    for number in range(3):
        job: Job[object] = Job(lambda number=number: number, durable=True)
        server.batches.do(job)
        assert job.result == number
    assert server.served == [[0], [1], [2]]


def test_what_waits_together_is_done_together_in_order(server: Server) -> None:
    first, _ = server.hand_in(lambda: "first")
    server.began.acquire()
    others = [server.hand_in(lambda number=number: number)[0] for number in range(5)]
    server.gate.release(2)
    for thread in (first, *others):
        thread.join(10)
        assert not thread.is_alive()
    assert server.served == [["first"], [0, 1, 2, 3, 4]]
    server.gate.release()
    server.batches.do(Job(lambda: "after", durable=True))
    assert server.served[-1] == ["after"]


def test_a_batch_has_a_largest_size(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LARGEST", 2)
    threads = [server.hand_in(lambda: "first")[0]]
    server.began.acquire()
    threads += [server.hand_in(lambda number=number: number)[0] for number in range(5)]
    server.gate.release(10)
    for thread in threads:
        thread.join(10)
    assert server.served == [["first"], [0, 1], [2, 3], [4]]


def test_an_error_is_kept_for_its_owner(server: Server) -> None:
    def fails() -> None:
        raise KeyError("mine")

    first, _ = server.hand_in(lambda: "first")
    server.began.acquire()
    good, good_job = server.hand_in(lambda: "good")
    bad, bad_job = server.hand_in(fails)
    server.gate.release(2)
    for thread in (first, good, bad):
        thread.join(10)
    assert (good_job.result, good_job.error) == ("good", None)
    assert isinstance(bad_job.error, KeyError)


def test_when_the_server_fails_the_next_is_served() -> None:
    fail = [True]

    def serve(jobs: list[Job[object]]) -> None:
        if fail.pop():
            raise ZeroDivisionError
        for job in jobs:
            job.result = "done"

    queue = Batches(serve)
    with pytest.raises(ZeroDivisionError):
        queue.do(Job(lambda: None, durable=True))
    fail.append(False)
    job: Job[object] = Job(lambda: None, durable=True)
    queue.do(job)
    assert job.result == "done"


class Interrupted:
    """A lock whose owner is interrupted while waiting, once ``now`` is set."""

    def __init__(self) -> None:
        self.now, self.released = threading.Event(), False

    def acquire(self) -> bool:
        self.now.wait(10)
        raise KeyboardInterrupt

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize("leads", [False, True])
def test_who_is_interrupted_while_waiting_holds_nobody_up(server: Server, leads: bool) -> None:
    first, _ = server.hand_in(lambda: "first")
    server.began.acquire()
    gone: Job[object] = Job(lambda: "gone", durable=True)
    gone.ready = Interrupted()  # type: ignore[assignment]
    stopped: list[bool] = []

    def wait() -> None:
        try:
            server.batches.do(gone)
        except KeyboardInterrupt:
            stopped.append(True)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not server.batches._waiting:
        threading.Event().wait(0.001)
    last, job = server.hand_in(lambda: "last")
    if leads:  # interrupted when the turn has come to it
        server.gate.release()
        first.join(10)
        assert gone.leads
        gone.ready.now.set()  # type: ignore[attr-defined]
        server.gate.release()
    else:  # interrupted while another batch is under way
        gone.ready.now.set()  # type: ignore[attr-defined]
        waiting.join(10)
        server.gate.release(2)
    for thread in (first, waiting, last):
        thread.join(10)
        assert not thread.is_alive()
    assert stopped
    assert job.result == "last"
    assert server.served == [["first"], ["last"]]
