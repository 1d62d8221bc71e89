"""The training loop: against a plain loop by hand, killed and resumed, and refused where it must be."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from wholepage.pages.errors import InputError, WeightsError
from wholepage.rankers.weights import load_model
from wholepage.training.batches import shuffled
from wholepage.training.loop import BatchLoss, LoopConfig, content_hash, device_of, run
from wholepage.training.loop_rates import warm_then_cosine

SRC = Path(__file__).parents[2] / "src"
COUNT = 16
INPUTS = torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(5))
WANTED = INPUTS @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])

# What the killed process runs: the same data, module and loss as below, dying by SIGKILL inside step `at`.
DYING = """
import json, os, signal, sys
import torch
from torch import nn
from wholepage.rankers import weights
from wholepage.training.loop import LoopConfig, run

torch.set_num_threads(1)
folder, settings, at, where = json.loads(sys.argv[1])
inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(5))
wanted = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
calls = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def loss(module, rows):
    global calls
    calls += 1
    value = ((module(inputs[rows]) - wanted[rows]) ** 2).mean()
    if where == "in the step" and calls == at:
        die()
    return value

if where == "between the renames":
    moves, rename = 0, os.rename

    def counted(source, target):
        global moves
        moves += 1
        if moves == at:
            die()
        rename(source, target)

    weights.os.rename = counted

run(lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.3), nn.Linear(3, 1)), 16, loss, LoopConfig(**settings),
    folder=weights.Path(folder))
"""


def make(dropout: float = 0.3) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(dropout), nn.Linear(3, 1))


def squared(module: nn.Module, rows: list[int]) -> Tensor:
    return torch.mean((module(INPUTS[rows]) - WANTED[rows]) ** 2)


def train(
    config: LoopConfig, *, dropout: float = 0.3, folder: Path | None = None, loss: BatchLoss = squared
) -> nn.Module:
    return run(lambda: make(dropout), COUNT, loss, config, folder=folder)


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# --- what a run is ----------------------------------------------------------------------------------------------------


def test_it_is_the_plain_loop() -> None:
    config = LoopConfig(
        epochs=4, batch_size=5, learning_rate=0.02, weight_decay=0.1, max_norm=0.7, accumulate=2, seed=3
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        by_hand = make()
        optimizer = torch.optim.AdamW(by_hand.parameters(), lr=1.0, weight_decay=0.1)
        total, step = 4 * 2, 0  # 16 items: 4 batches, 2 steps an epoch
        for epoch in range(4):
            order = np.random.default_rng([3, epoch]).permutation(COUNT).tolist()
            for batches in ([order[:5], order[5:10]], [order[10:15], order[15:]]):
                optimizer.param_groups[0]["lr"] = 0.02 * (
                    1.0 if step < 1 else 0.5 * (1 + math.cos(math.pi * (step - 1) / 7))
                )
                optimizer.zero_grad()
                for batch in batches:
                    (squared(by_hand, batch) / 2).backward()
                nn.utils.clip_grad_norm_(by_hand.parameters(), 0.7)
                optimizer.step()
                step += 1
        assert step == total
    trained = train(config)
    for ours, theirs in zip(trained.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_it_learns() -> None:
    trained = train(
        LoopConfig(epochs=200, batch_size=8, learning_rate=0.05, weight_decay=0.0, max_norm=10.0), dropout=0.0
    )
    with torch.inference_mode():
        assert float(squared(trained, list(range(COUNT)))) < 0.01 * float(WANTED.square().mean())


def test_twice_is_the_same_to_the_bit_and_another_seed_is_not() -> None:
    config = LoopConfig(epochs=3, batch_size=5)
    assert same(train(config), train(config))
    assert not same(train(config), train(LoopConfig(epochs=3, batch_size=5, seed=1)))


def test_it_comes_back_ready_to_use() -> None:
    trained = train(LoopConfig(epochs=1))
    assert isinstance(trained, nn.Sequential)
    assert not trained.training
    assert device_of(trained) == torch.device("cpu")


@contextmanager
def watched() -> Iterator[list[tuple[float, float]]]:
    """Gradient norm and learning rate of every step, as the optimizer sees them."""
    seen: list[tuple[float, float]] = []

    def look(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        (group,) = optimizer.param_groups
        seen.append((float(torch.stack([p.grad.norm() for p in group["params"]]).norm()), group["lr"]))

    hook = register_optimizer_step_pre_hook(look)
    try:
        yield seen
    finally:
        hook.remove()


def test_two_batches_of_8_are_one_of_16() -> None:
    """Adam forgives a gradient of the wrong scale, so the gradients are compared too."""
    trained, norms = [], []
    for size, accumulate in ((16, 1), (8, 2), (8, 1)):
        config = LoopConfig(epochs=6, batch_size=size, accumulate=accumulate, learning_rate=0.01, max_norm=1e9)
        with watched() as seen:
            trained.append(train(config, dropout=0.0))
        norms.append([norm for norm, _ in seen])
    whole, halves, alone = trained
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    for ours, theirs in zip(halves.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len(norms[2]) == 12
    assert not torch.allclose(alone[0].weight, whole[0].weight, rtol=1e-4, atol=1e-5)  # type: ignore[index]


def test_the_last_step_of_an_epoch_takes_what_is_left() -> None:
    asked: list[list[int]] = []

    def noting(module: nn.Module, rows: list[int]) -> Tensor:
        asked.append(rows)
        return squared(module, rows)

    steps: list[int] = []
    run(make, COUNT, noting, LoopConfig(epochs=2, batch_size=3, accumulate=4), progress=lambda d, t, w: steps.append(d))
    assert steps == [1, 2, 3, 4]  # 6 batches an epoch: steps of 4 and 2
    wanted = [b.tolist() for epoch in range(2) for b in shuffled(COUNT, 3, seed=0, epoch=epoch)]
    assert asked == wanted


def test_gradients_are_clipped_and_the_rate_follows_its_curve() -> None:
    steep = LoopConfig(epochs=10, batch_size=8, max_norm=0.25, learning_rate=0.02)
    with watched() as clipped:
        train(steep, loss=lambda module, rows: 50 * squared(module, rows))
    with watched() as free:
        train(msgspec.structs.replace(steep, max_norm=1e9), loss=lambda module, rows: 50 * squared(module, rows))
    assert len(clipped) == 20
    assert max(norm for norm, _ in clipped) <= 0.25 * (1 + 1e-5)
    assert min(norm for norm, _ in free) > 0.25  # it had something to clip
    assert [rate for _, rate in clipped] == pytest.approx([0.02 * warm_then_cosine(step, 20) for step in range(20)])


def test_the_callers_random_numbers_are_left_alone() -> None:
    def state() -> tuple[bytes, tuple[object, ...], object]:
        legacy = np.random.get_state()
        return torch.get_rng_state().numpy().tobytes(), (legacy[0], legacy[1].tobytes(), *legacy[2:]), random.getstate()

    def draws(module: nn.Module, rows: list[int]) -> Tensor:
        return squared(module, rows) * (1 + 0 * torch.rand(()))

    before = state()
    train(LoopConfig(epochs=1), loss=draws)
    assert state() == before
    with pytest.raises(InputError):
        train(LoopConfig(epochs=1), loss=lambda m, r: draws(m, r) * math.nan)
    assert state() == before


def test_the_environment_does_not_change_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    config = LoopConfig(epochs=1, batch_size=4)
    plain = train(config)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    AcceleratorState._reset_state(reset_partial_state=True)  # it reads the environment once a process
    try:
        assert same(train(config), plain)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_progress_is_told_after_every_step() -> None:
    told: list[tuple[int, int, str]] = []
    run(make, COUNT, squared, LoopConfig(epochs=2, batch_size=8), progress=lambda *a: told.append(a), what="it")
    assert told == [(1, 4, "it"), (2, 4, "it"), (3, 4, "it"), (4, 4, "it")]


# --- the learning rate ------------------------------------------------------------------------------------------------


def test_warm_then_cosine_analytically() -> None:
    curve = [warm_then_cosine(step, 110) for step in range(110)]
    assert curve[:11] == pytest.approx([(step + 1) / 11 for step in range(11)])
    assert curve[11] == 1.0
    assert curve[11 + 33] == pytest.approx(0.75)  # a third of 99: cos 60 degrees is a half
    assert curve[109] == pytest.approx(0.5 * (1 - math.cos(math.pi / 99)))
    assert all(later < earlier for earlier, later in itertools.pairwise(curve[11:]))


@pytest.mark.parametrize("total", [1, 2, 5, 9])
def test_short_runs_start_at_the_peak_and_never_stand_still(total: int) -> None:
    curve = [warm_then_cosine(step, total) for step in range(total)]
    assert curve[0] == 1.0
    assert all(0 < rate <= 1 for rate in curve)


# --- killed and resumed -----------------------------------------------------------------------------------------------


def kill(folder: Path, settings: dict[str, int], at: int, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING, json.dumps([str(folder), settings, at, where])],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("checkpoint_steps", "where"),
    [(1, "in the step"), (3, "in the step"), (1, "between the renames")],
)
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, checkpoint_steps: int, where: str
) -> None:
    settings = {"epochs": 5, "batch_size": 5, "checkpoint_steps": checkpoint_steps}  # 4 steps an epoch, 20 in all
    # Any step after the first checkpoint. The first save takes one rename, every other two, the second of them odd.
    at = random.Random(f"{checkpoint_steps} {where}").randrange(6, 20)
    if where == "between the renames":
        at |= 1
    folder = tmp_path / "run"
    kill(folder, settings, at, where)
    config = LoopConfig(**settings)
    steps: list[int] = []
    resumed = run(make, COUNT, squared, config, folder=folder, progress=lambda d, t, w: steps.append(d))
    assert same(resumed, train(config))
    assert steps[-1] == 20
    # Of the moves, the first save takes one and each other two: the save after step s is the moves 2s - 2 and 2s - 1.
    saved = (at - 1) // 2 if where == "between the renames" else (at - 1) // checkpoint_steps * checkpoint_steps
    assert steps[0] == saved + 1  # it went on, and did not start again
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # nothing half written is left


class Stop(Exception):
    """The run was killed."""


def stopped_at(step: int, config: LoopConfig, folder: Path) -> None:
    def progress(done: int, total: int, what: str) -> None:
        if done == step:
            raise Stop

    with pytest.raises(Stop):
        run(make, COUNT, squared, config, folder=folder, progress=progress)


@pytest.mark.parametrize("checkpoint_steps", [0, 1, 3])
def test_a_run_killed_again_and_again(tmp_path: Path, checkpoint_steps: int) -> None:
    config = LoopConfig(epochs=3, batch_size=5, accumulate=2, checkpoint_steps=checkpoint_steps)
    for step in (1, 3, 4, 5):
        stopped_at(step, config, tmp_path / "run")
    assert same(train(config, folder=tmp_path / "run"), train(config))


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    config = LoopConfig(epochs=2, batch_size=5)
    first = train(config, folder=tmp_path / "run")

    def never(module: nn.Module, rows: list[int]) -> Tensor:
        raise Stop

    assert same(run(make, COUNT, never, config, folder=tmp_path / "run"), first)


def test_an_empty_folder_is_a_fresh_start(tmp_path: Path) -> None:
    config = LoopConfig(epochs=1)
    assert same(train(config, folder=tmp_path), train(config))


def test_a_checkpoint_is_safetensors_and_json_and_nothing_else(tmp_path: Path) -> None:
    stopped_at(3, LoopConfig(epochs=2, batch_size=5, checkpoint_steps=1), tmp_path / "run")
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {p.relative_to(tmp_path).as_posix() for p in files} == {"run/manifest.json", "run/arrays.safetensors"}
    json.loads((tmp_path / "run" / "manifest.json").read_text())
    config, arrays = load_model(tmp_path / "run", "checkpoint")
    assert config["done"] == 3
    assert {name.split(".")[0] for name in arrays} == {"model", "optimizer", "rng"}
    assert arrays["optimizer.0.step"].shape == ()
    assert float(arrays["optimizer.0.step"]) == 3.0


def finished(folder: Path, *, content: str = "data") -> None:
    run(make, COUNT, squared, LoopConfig(epochs=1, batch_size=8), content=content, folder=folder, what="it")


@pytest.mark.parametrize(
    "other",
    [
        {"content": "other data"},
        {"config": LoopConfig(epochs=1, batch_size=8, seed=1)},
        {"config": LoopConfig(epochs=1, batch_size=4)},
        {"config": LoopConfig(epochs=2, batch_size=8)},
        {"config": LoopConfig(epochs=1, batch_size=8, learning_rate=0.1)},
        {"count": COUNT - 1},
        {"make": lambda: nn.Linear(4, 1)},
        {"what": "another"},
    ],
    ids=["data", "seed", "batches", "epochs", "rate", "count", "sizes", "what"],
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, other: dict[str, object]) -> None:
    finished(tmp_path / "run")
    given = {
        "make": make,
        "count": COUNT,
        "content": "data",
        "what": "it",
        "config": LoopConfig(epochs=1, batch_size=8),
    }
    given |= other
    with pytest.raises(WeightsError, match="checkpoint of another run"):
        run(
            given["make"], given["count"], squared, given["config"],  # type: ignore[arg-type]
            content=given["content"], folder=tmp_path / "run", what=given["what"],  # type: ignore[arg-type]
        )  # fmt: skip
    finished(tmp_path / "run")  # its own still goes


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    finished(tmp_path / "run")
    path = tmp_path / "run" / "arrays.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="sha256"):
        finished(tmp_path / "run")


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_nothing_to_train_on() -> None:
    with pytest.raises(InputError, match="it: got no training items"):
        run(make, 0, squared, LoopConfig(), what="it")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_step(bad: float) -> None:
    calls = iter(range(100))

    def breaking(module: nn.Module, rows: list[int]) -> Tensor:
        return squared(module, rows) * (bad if next(calls) == 4 else 1.0)

    with pytest.raises(InputError, match=rf"it: got loss {bad} at step 5 of 12"):
        run(make, COUNT, breaking, LoopConfig(epochs=3, batch_size=4), what="it")


def test_a_gradient_that_is_not_finite_names_its_step() -> None:
    def breaking(module: nn.Module, rows: list[int]) -> Tensor:
        return (module(INPUTS[rows]) * 0.0).clamp(min=0.0).sqrt().sum()  # 0, with the gradient 0 * inf

    with pytest.raises(InputError, match="got a gradient of norm nan at step 1 of 1"):
        run(lambda: make(0.0), COUNT, breaking, LoopConfig(epochs=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"max_norm": -1.0},
        {"accumulate": 0},
        {"weight_decay": -0.1},
        {"seed": -1},
        {"checkpoint_steps": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=f"LoopConfig.{name}: got"):
        LoopConfig(**wrong)  # type: ignore[arg-type]


# --- the name of the data ---------------------------------------------------------------------------------------------


def arrays() -> Iterator[np.ndarray]:
    yield np.arange(6, dtype=np.float32)
    yield np.arange(4, dtype=np.float32).reshape(2, 2)


def test_the_content_hash_sees_settings_values_types_and_borders() -> None:
    def of(*given: object) -> str:
        return content_hash({"a": 1}, [np.asarray(one, np.float32) for one in given])

    known = {
        of([1, 2], [3, 4]),
        of([1, 2, 3], [4]),
        of([[1, 2]], [3, 4]),
        of([3, 4], [1, 2]),
        of([1, 2], [3, 5]),
        content_hash({"a": 2}, [np.float32([1, 2]), np.float32([3, 4])]),
        content_hash({"a": 1}, [np.int32([1, 2]), np.float32([3, 4])]),
    }
    assert len(known) == 7
    assert content_hash(LoopConfig(), arrays()) == content_hash(LoopConfig(), arrays())
    strided = np.arange(8, dtype=np.float32)[::2]
    assert content_hash(1, [strided]) == content_hash(1, [strided.copy()])
