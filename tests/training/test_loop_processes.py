"""Two processes under torchrun do what one does: uneven and empty parts, checkpoints, refusals by all at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributed import TCPStore
from torch.optim.optimizer import register_optimizer_step_pre_hook

from wholepage.training import loop, loop_processes
from wholepage.training.loop import LoopConfig, run
from wholepage.training.loop_processes import Processes

SRC = Path(__file__).parents[2] / "src"
COUNT = 16  # batches of 5, 5, 5 and 1: parts of 3 and 2, and in the last one of 1 and 0
PLAIN = LoopConfig(epochs=20, batch_size=5, accumulate=2, learning_rate=0.02, max_norm=0.5, seed=3)
SINGLE = LoopConfig(epochs=1, batch_size=1, learning_rate=0.02)
RESUMED = LoopConfig(epochs=4, batch_size=4, checkpoint_steps=1, learning_rate=0.02)

# Measured: after 40 steps weights (of size 1) differ by 6.0e-8, gradient norms by 1.8e-7 of themselves.
CLOSE = {"rtol": 2e-6, "atol": 1e-6}


class Odd(nn.Module):
    """Rows with an odd number go through a parameter of their own; another parameter is used by none."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 3), nn.Dropout(dropout), nn.Linear(3, 1))
        self.odd = nn.Parameter(torch.zeros(1))
        self.never = nn.Parameter(torch.ones(2))

    def of(self, rows: list[int]) -> Tensor:
        """Squared errors; called by the loss in place of ``forward``."""
        errors = []
        for row in rows:
            generator = torch.Generator().manual_seed(row)
            inputs = torch.randn(4, generator=generator)
            score = self.inner(inputs) + (self.odd * inputs[1] if row % 2 else 0.0)
            errors.append((score - inputs @ torch.tensor([1.0, -2.0, 0.5, 3.0])) ** 2)
        return torch.cat(errors)


def mean_error(module: Any, rows: list[int]) -> Tensor:
    return module.of(rows).mean()


@contextmanager
def watched() -> Iterator[list[float]]:
    """The norm of the gradient of every step, as the optimizer sees it."""
    seen: list[float] = []

    def look(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        seen.append(float(torch.stack([g.norm() for g in gradients]).norm()))

    hook = register_optimizer_step_pre_hook(look)
    try:
        yield seen
    finally:
        hook.remove()


def trained(config: LoopConfig, **given: Any) -> dict[str, np.ndarray]:
    """Weights and gradient norms of a run."""
    with watched() as norms:
        module = run(given.pop("make", Odd), COUNT, given.pop("loss", mean_error), config, **given)
    return {"norms": np.array(norms)} | {key: value.numpy() for key, value in module.state_dict().items()}


class Stop(Exception):
    """The run was killed."""


def stopped(config: LoopConfig, folder: Path, after: int, what: str = "training") -> None:
    """A run in which every process dies in its step after so many."""
    calls = 0

    def dying(module: Any, rows: list[int]) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Stop
        return mean_error(module, rows)

    with pytest.raises(Stop):
        run(Odd, COUNT, dying, config, folder=folder, what=what)


def refusal(**given: Any) -> np.ndarray:
    with pytest.raises(ValueError, match="got") as caught:
        run(Odd, COUNT, given.pop("loss", mean_error), PLAIN, what="it", **given)
    return np.array(str(caught.value))


def summed(processes: Processes) -> dict[str, np.ndarray]:
    """Gradients of several types and layouts, in parcels of 8 numbers at most."""
    loop_processes._NUMBERS_PER_PARCEL = 8
    given = [nn.Parameter(torch.zeros(2, 3).T), nn.Parameter(torch.zeros(20)), nn.Parameter(torch.zeros(3))]
    given += [nn.Parameter(torch.zeros(2, dtype=torch.float64)), nn.Parameter(torch.zeros(1))]
    for number, parameter in enumerate(given[:-1]):
        if number != 2 or processes.first:  # the third has a gradient in the first process alone, the last in none
            parameter.grad = (torch.arange(parameter.numel()).view_as(parameter) + number + 100.0 * processes.index).to(
                parameter.dtype
            )
    processes.sum_gradients(given)
    assert given.pop().grad is None
    return {str(number): parameter.grad.numpy() for number, parameter in enumerate(given)}


def each_process(folder: Path) -> None:
    """What each of the two processes does; its results go to one file a case."""
    processes = Processes()
    me = processes.index

    def keep(case: str, arrays: dict[str, np.ndarray]) -> None:
        np.savez(folder / f"{case}.{me}.npz", **arrays)

    def never(*given: object) -> None:
        raise Stop

    if me:
        loop.write_checkpoint = never  # type: ignore[assignment]
    keep("plain", trained(PLAIN))
    keep("single", trained(SINGLE))
    stopped(RESUMED, folder / "kept", after=6)
    steps: list[int] = []
    kept = trained(RESUMED, folder=folder / "kept", progress=lambda done, *_: steps.append(done))
    keep("resumed", kept | {"steps": np.array(steps)})
    keep("whole", trained(RESUMED))
    keep("from one", trained(RESUMED, folder=folder / "one"))
    draws: list[float] = []

    def noting(module: Any, rows: list[int]) -> Tensor:
        draws.append(float(torch.rand(())))
        return mean_error(module, rows)

    keep("dropout", trained(RESUMED, make=lambda: Odd(0.3), loss=noting) | {"draws": np.array(draws)})
    keep("again", trained(RESUMED, make=lambda: Odd(0.3), loss=noting))
    keep("bf16", trained(LoopConfig(epochs=2, batch_size=5, precision="bf16")))
    bad = processes.count - 1  # no number in the last process alone

    def breaking(module: Any, rows: list[int]) -> Tensor:
        return mean_error(module, rows) * (float("nan") if me == bad else 1.0)

    said = {
        "loss": refusal(loss=breaking),
        "content": refusal(content=f"data {me}"),
        "place": refusal(folder=folder / ("mine" if me == 0 else "nobody's")),
    }
    keep("refused", said)
    keep("summed", summed(processes))


@dataclass(frozen=True)
class Results:
    """What the two processes left behind."""

    folder: Path

    def of(self, case: str) -> list[dict[str, np.ndarray]]:
        """The arrays of a case, a process each."""
        return [dict(np.load(self.folder / f"{case}.{index}.npz")) for index in range(2)]


SCRIPT = """
import importlib.util, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("cases", sys.argv[1])
cases = sys.modules["cases"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
cases.each_process(Path(sys.argv[2]))

from accelerate import PartialState

PartialState().destroy_process_group()
threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
print("left:", [name for name in threads if "gloo" in name], file=sys.stderr)
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two processes for all cases, told of each other as torchrun tells them; starting Python is what costs."""
    folder = tmp_path_factory.mktemp("two")
    stopped(RESUMED, folder / "one", after=6)
    stopped(PLAIN, folder / "mine", after=8, what="it")
    # The meeting place is ours, as it is torchrun's: a free port told to a process that is still starting may be gone.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "WORLD_SIZE": 2,
        "LOCAL_WORLD_SIZE": 2,
        "MASTER_ADDR": store.host,
        "MASTER_PORT": store.port,
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }
    processes = []
    for rank in range(2):
        told = {key: str(value) for key, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()}
        with (folder / f"said.{rank}").open("w") as said:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", SCRIPT, __file__, str(folder)],
                    env={**os.environ, **told, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
                    stdout=said,
                    stderr=said,
                )
            )
    try:
        codes = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0], [(folder / f"said.{rank}").read_text()[-3000:] for rank in range(2)]
    return Results(folder)


def check_close(ours: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert ours.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(ours[key], value, err_msg=key, **CLOSE)


@pytest.mark.parametrize(("case", "config"), [("plain", PLAIN), ("single", SINGLE), ("from one", RESUMED)])
def test_two_processes_train_what_one_does(two: Results, case: str, config: LoopConfig) -> None:
    wanted = trained(config)
    if case == "from one":  # resumed from what one process had kept after 6 of the 16 steps
        assert len(wanted["norms"]) == 16
        wanted["norms"] = wanted["norms"][6:]
    for ours in two.of(case):
        check_close(ours, wanted)
    assert (wanted["never"] == 1).all()  # without a gradient there is no weight decay either
    assert wanted["odd"] != 0


def test_all_processes_end_with_the_same_bits(two: Results) -> None:
    for case in ("plain", "single", "resumed", "dropout", "bf16"):
        first, second = two.of(case)
        for key in first.keys() - {"steps", "draws"}:
            assert np.array_equal(first[key], second[key]), (case, key)
            assert np.isfinite(first[key]).all()


def test_a_resumed_pair_ends_with_the_bits_of_one_that_was_not_stopped(two: Results) -> None:
    for ours, wanted in zip(two.of("resumed"), two.of("whole"), strict=True):
        for key in wanted.keys() - {"norms"}:
            assert np.array_equal(ours[key], wanted[key]), key


def test_the_first_process_alone_tells_of_progress(two: Results) -> None:
    first, second = two.of("resumed")
    assert first["steps"].tolist() == list(range(7, 17))
    assert second["steps"].size == 0


def test_each_process_draws_lots_of_its_own_and_the_same_again(two: Results) -> None:
    first, second = two.of("dropout")
    assert not set(first["draws"].tolist()) & set(second["draws"].tolist())
    for ours, again in zip(two.of("dropout"), two.of("again"), strict=True):
        for key in again:
            assert np.array_equal(ours[key], again[key]), key


def test_all_processes_refuse_what_one_cannot_take(two: Results) -> None:
    for said in two.of("refused"):
        assert "it: got loss nan at step 1 of 40" in str(said["loss"])
        assert "it: got 2 processes that differ" in str(said["content"])
        assert "it: got 2 processes that differ" in str(said["place"])


def test_gradients_of_all_kinds_are_summed(two: Results) -> None:
    for ours in two.of("summed"):
        for number, (shape, dtype) in enumerate([((3, 2), "f4"), ((20,), "f4"), ((3,), "f4"), ((2,), "f8")]):
            own = np.arange(np.prod(shape)).reshape(shape) + number
            assert ours[str(number)].dtype == dtype
            assert np.array_equal(ours[str(number)], own if number == 2 else 2 * own + 100)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_the_group_ends_with_its_threads(two: Results) -> None:
    """Threads that live on break the exit of the program now and then, after all went well."""
    assert [(two.folder / f"said.{rank}").read_text().splitlines()[-1] for rank in range(2)] == ["left: []"] * 2


def test_parts_are_disjoint_and_whole() -> None:
    for count, rows in ((1, 5), (2, 5), (3, 3), (4, 2)):
        parts = []
        for index in range(count):
            processes = Processes()
            processes.index, processes.count = index, count
            parts.append(processes.part(list(range(rows))))
        assert sorted(row for part in parts for row in part) == list(range(rows))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
