"""Trainings side by side: the same bits as one after another, in the same order, with the same errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch

from wholepage.pages.errors import ImageError, InputError, RecordError, WorkerLost
from wholepage.pages.model import Modality
from wholepage.rankers.tower import TowerScorer
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_smar
from wholepage.training.workers import Workers

LOOP = LoopConfig(epochs=2, batch_size=8)
TOWERS = TowerConfig(folds=2, rank=4, hidden=4, loop=LOOP, teacher_loop=LOOP)
HEADS = SmarConfig(members=3, width=8, layers=1, heads=2, keep=8, loop=LOOP)

# A process that is started anew imports what it calls, so these functions need a module of their own.
ERRANDS = """
import os, signal, time, torch
from wholepage.pages.errors import ImageError, InputError, RecordError

def where(number, seconds, *, progress=None):
    time.sleep(seconds)
    if progress:
        progress(1, 1, f"errand {number}")
    return number, os.getpid(), torch.get_num_threads()

def die(number, *, progress=None):
    if number:
        os.kill(os.getpid(), signal.SIGKILL)
    return number

def fail(kind, *, progress=None):
    if kind == "input":
        raise InputError("errand: got nothing; allowed: something; bring it")
    if kind == "record":
        raise RecordError("pages.jsonl", 7, "grade", "-1", "0 and up", "mend the line")
    raise ImageError("zip:a.zip!/b.png", "missing", "no such member", at="results[2]")
"""


@pytest.fixture(scope="module")
def errands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("errands")
    (folder / "errands_for_workers.py").write_text(ERRANDS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        import errands_for_workers  # type: ignore[import-not-found]

        yield errands_for_workers
        del sys.modules["errands_for_workers"]


@pytest.fixture(scope="module")
def two(errands: ModuleType) -> Iterator[Workers]:
    """Two processes for the whole file: starting them is what takes time."""
    with Workers(2) as workers:
        yield workers


def bits(module: torch.nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


def tower_bits(fit: SingleModalFit) -> list[dict[str, bytes]]:
    scorers = [fit.upstream.scorers[modality] for modality in (Modality.TEXT, Modality.IMAGE)]
    return [bits(tower) for scorer in scorers if isinstance(scorer, TowerScorer) for tower in scorer.towers]


def test_towers_and_heads_have_the_same_bits_from_one_process_and_from_two(
    planted: SimpleNamespace, two: Workers
) -> None:
    """One thread here too: the fixture of this folder sees to it."""
    made = planted.world(16)
    vectors = planted.fake_vectors()
    said, bought = made.single(), made.lifted({}, share=0.3)
    alone, pooled = (
        fit_single_modal(made.pages, said, vectors, TOWERS, workers=workers) for workers in (Workers(1), two)
    )
    assert tower_bits(alone) == tower_bits(pooled)
    assert len({tuple(sorted(tower.items())) for tower in tower_bits(alone)}) == 4  # so that a wrong order would show
    assert alone.teachers == pooled.teachers
    assert [a.tobytes() for a in alone.out_of_fold] == [a.tobytes() for a in pooled.out_of_fold]
    one, many = (fit_smar(made.pages, bought, alone, vectors, HEADS, workers=workers) for workers in (Workers(1), two))
    assert [bits(head) for head in one.heads] == [bits(head) for head in many.heads]
    assert len({tuple(sorted(bits(head).items())) for head in one.heads}) == 3
    other = fit_smar(
        made.pages, bought, alone, vectors, msgspec.structs.replace(HEADS, loop=LoopConfig(epochs=2, seed=1))
    )
    assert [bits(head) for head in other.heads] != [bits(head) for head in one.heads]


def test_results_keep_the_order_of_arguments_when_the_first_is_slowest(errands: Any, two: Workers) -> None:
    told: list[tuple[int, int, str]] = []
    asked = [(0, 0.4), (1, 0.0), (2, 0.1), (3, 0.0)]
    found = two.each(errands.where, asked, progress=lambda *step: told.append(step), what="errands")
    assert [number for number, *_ in found] == [0, 1, 2, 3]
    processes = {process for _, process, _ in found}
    assert os.getpid() not in processes
    assert 1 <= len(processes) <= 2
    assert {threads for *_, threads in found} == {1}
    assert told == [(1, 4, "errands"), (2, 4, "errands"), (3, 4, "errands"), (4, 4, "errands")]


@pytest.mark.parametrize(("count", "asked"), [(1, [(0, 0.0), (1, 0.0)]), (2, [(0, 0.0)]), (2, [])])
def test_one_worker_or_one_training_stays_in_this_process(
    errands: Any, count: int, asked: list[tuple[int, float]]
) -> None:
    told: list[str] = []
    with Workers(count) as workers:
        found = workers.each(errands.where, asked, progress=lambda done, total, what: told.append(what))
    assert [(number, process) for number, process, _ in found] == [(number, os.getpid()) for number, _ in asked]
    assert told == [f"errand {number}" for number, _ in asked]  # every step, told by the training itself


@pytest.mark.parametrize("kind", ["input", "record", "image"])
def test_an_error_arrives_as_what_it_was(errands: Any, two: Workers, kind: str) -> None:
    with pytest.raises((InputError, ImageError)) as here:
        errands.fail(kind)
    with pytest.raises((InputError, ImageError)) as there:
        two.each(errands.fail, [(kind,), (kind,)])
    assert type(there.value) is type(here.value)
    assert str(there.value) == str(here.value)
    if isinstance(there.value, RecordError):
        assert (there.value.path, there.value.line, there.value.field) == ("pages.jsonl", 7, "grade")
    if isinstance(there.value, ImageError):
        assert (there.value.reason, there.value.at) == ("missing", "results[2]")
    assert [number for number, *_ in two.each(errands.where, [(5, 0.0), (6, 0.0)])] == [5, 6]  # the pool goes on


def test_a_killed_worker_is_named_and_the_next_call_starts_new_ones(errands: Any) -> None:
    with Workers(2) as workers:
        with pytest.raises(
            WorkerLost, match=r"errands: got a worker process that was killed .* of 3 .*run the same again"
        ):
            workers.each(errands.die, [(0,), (1,), (0,)], what="errands")
        assert workers.each(errands.die, [(0,), (0,)]) == [0, 0]


def test_training_that_cannot_be_done_says_so_from_two_processes(planted: SimpleNamespace, two: Workers) -> None:
    """A loss that runs away is a typed error of the training loop, also when the loop runs elsewhere."""
    made = planted.world(8)
    wild = msgspec.structs.replace(TOWERS, loop=LoopConfig(epochs=3, batch_size=2, learning_rate=1e30))
    with pytest.raises(InputError, match="finite"):
        fit_single_modal(made.pages, made.single(), planted.fake_vectors(), wild, workers=two)


@pytest.mark.parametrize("count", [0, -1])
def test_a_pool_of_nobody_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=rf"got {count}; allowed: 1 or more"):
        Workers(count)
