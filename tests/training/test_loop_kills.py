"""SIGKILL at random moments, again and again: the run goes on, and ends with the bits of one that was left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SRC = Path(__file__).parents[2] / "src"
STEPS = 120  # 16 items in batches of 5: 4 steps an epoch
KILLS = 10
EVERY = [1, 2, 3]  # steps between two checkpoints

# One process starts Python and torch; it forks the runs, and kills each some milliseconds after a step it told of.
# The loss draws from all three global generators, and the module from torch's.
PLAYER = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
import torch
from torch import nn
from wholepage.training.loop import LoopConfig, run

torch.set_num_threads(1)
inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(5))
wanted = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])

def make():
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.3), nn.Linear(3, 1))

def loss(module, rows):
    noise = random.gauss(0, 0.1) + np.random.standard_normal() * 0.1
    return ((module(inputs[rows]) - wanted[rows] + noise) ** 2).mean()

def train(config, folder, progress=None):
    module = run(make, 16, loss, config, folder=folder, progress=progress)
    return [value.tolist() for value in module.state_dict().values()]

def killed(config, folder, lots):
    told, tell = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if not child:
        def progress(done, total, what):  # a step goes on only when told to, so that it never runs to its end
            os.write(tell, done.to_bytes(2, "big"))
            os.read(wait, 1)
        try:
            train(config, folder, progress)
        finally:
            os._exit(0)
    first = int.from_bytes(os.read(told, 2), "big")
    for _ in range(lots.randrange(8)):
        os.write(go, b".")
        os.read(told, 2)
    os.write(go, b".")
    time.sleep(lots.random() * 0.01)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    for end in (told, tell, wait, go):
        os.close(end)
    return [first, os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL]

def outcome(config, folder, kills, lots):
    folder.mkdir()
    alone = train(config, None)  # first, for what torch imports late
    seen = [killed(config, folder / "run", lots) for _ in range(kills)]
    steps = []
    same = train(config, folder / "run", lambda done, *_: steps.append(done)) == alone
    return {"kills": seen, "last": steps[0], "same": same, "beside": os.listdir(folder)}

folder, settings, checkpoint_steps, kills = json.loads(sys.argv[1])
for every in checkpoint_steps:
    config = LoopConfig(**settings, checkpoint_steps=every)
    print(json.dumps(outcome(config, Path(folder) / str(every), kills, random.Random(every))))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What was seen with each number of steps between checkpoints; one process for all, for torch is slow to start."""
    settings = {"epochs": STEPS // 4, "batch_size": 5, "learning_rate": 0.02}
    done = subprocess.run(
        [sys.executable, "-c", PLAYER, json.dumps([str(tmp_path_factory.mktemp("kills")), settings, EVERY, KILLS])],
        env={**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(EVERY, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("checkpoint_steps", EVERY)
def test_ten_kills_change_no_bit(outcomes: dict[int, dict[str, Any]], checkpoint_steps: int) -> None:
    told = outcomes[checkpoint_steps]
    starts = [first for first, _ in told["kills"]] + [told["last"]]
    assert len(told["kills"]) == KILLS
    assert all(killed for _, killed in told["kills"])
    assert starts == sorted(starts)  # no kill threw it back behind a checkpoint
    assert 1 < starts[-1] <= STEPS  # it went on, and there was something left to do
    assert all((first - 1) % checkpoint_steps == 0 for first in starts)
    assert told["same"]
    assert told["beside"] == ["run"]
