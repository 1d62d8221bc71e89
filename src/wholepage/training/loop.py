"""The one training loop: shuffle, accumulate, clip, step, checkpoint, resume. On ``accelerate``.

A run is a pure function of (module, data, loss, ``LoopConfig``). A run that was killed goes on from its last checkpoint
and ends with the same weights as one that was not: to the bit on a CPU, on a GPU as far as its sums repeat themselves.
Checkpoints are safetensors and JSON, written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError, WeightsError
from wholepage.rankers.tower import load_state
from wholepage.rankers.weights import load_model, save_model
from wholepage.training.batches import shuffled

CHECKPOINT_KIND = "checkpoint"

M = TypeVar("M", bound=nn.Module)

BatchLoss = Callable[[nn.Module, list[int]], Tensor]
"""The loss of the module on the training items of these indices; inputs go to ``device_of(module)`` first."""

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)``."""


class LoopConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to train.

    Attributes:
        epochs; batch_size: lists a step; learning_rate: at its peak, reached after a tenth of the run, then down to 0;
        weight_decay; max_norm: of the gradient; accumulate: batches a step; seed: of order, dropout and first weights;
        checkpoint_steps: steps between two checkpoints, 0 = only at the end of every epoch.
    """

    epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    max_norm: float = 1.0
    accumulate: int = 1
    seed: int = 0
    checkpoint_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "max_norm", "accumulate"):
            if not getattr(self, name) > 0:
                raise InputError(f"LoopConfig.{name}: got {getattr(self, name)}; allowed: above 0; set it higher")
        for name in ("weight_decay", "seed", "checkpoint_steps"):
            if not getattr(self, name) >= 0:
                raise InputError(f"LoopConfig.{name}: got {getattr(self, name)}; allowed: 0 or more; set it higher")


def run(
    make: Callable[[], M],
    count: int,
    loss: BatchLoss,
    config: LoopConfig,
    *,
    content: str = "",
    folder: Path | None = None,
    progress: Progress | None = None,
    what: str = "training",
) -> M:
    """Train a module from its seed, or from where the last run was killed.

    Args:
        make: builds the module; called under the run's seed.
        count: how many training items ``loss`` can be asked about.
        loss: one scalar a batch; it must be finite.
        content: names the training data and whatever sets the loss (``content_hash``), so that a checkpoint is never
            resumed on anything else.
        folder: keeps the checkpoint; may be missing or empty. None = nothing is kept.
        progress: called after every step.
    Returns:
        The trained module on the CPU, in evaluation mode.
    Raises:
        InputError: there is nothing to train on, or the loss or its gradient is not finite.
        WeightsError: the folder holds the checkpoint of another run.
    """
    if count < 1:
        raise InputError(f"{what}: got no training items; allowed: at least one; check the split and the judgments")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):  # manual_seed seeds all of them
        torch.manual_seed(config.seed)
        return _Run(make(), count, loss, config, content, folder, progress, what).to_end()


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are; a loss brings its inputs there."""
    return next(module.parameters()).device


def content_hash(settings: object, arrays: Iterable[NDArray[Any]]) -> str:
    """Names training data, and the settings of a loss on it, for ``run(content=...)``."""
    digest = hashlib.sha256(json.dumps(msgspec.to_builtins(settings), sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Run(Generic[M]):
    def __init__(
        self,
        module: M,
        count: int,
        loss: BatchLoss,
        config: LoopConfig,
        content: str,
        folder: Path | None,
        progress: Progress | None,
        what: str,
    ) -> None:
        self.count, self.loss, self.config, self.folder = count, loss, config, folder
        self.progress, self.what = progress, what
        batches = -(-count // config.batch_size)
        self.steps_per_epoch = -(-batches // config.accumulate)
        self.total = self.steps_per_epoch * config.epochs
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, foreach=False
        )
        self.module, self.optimizer = self.accelerator.prepare(module, optimizer)
        self.identity = _identity(module, count, config, content, what)
        self.done = 0

    def to_end(self) -> M:
        self._resume()
        self.module.train()
        for step, batches in enumerate(self._steps()):
            if step < self.done:
                continue
            self._step(batches)
            self.done = step + 1
            every = self.config.checkpoint_steps or self.steps_per_epoch
            if self.folder is not None and (self.done % every == 0 or self.done == self.total):
                self._checkpoint()
            if self.progress:
                self.progress(self.done, self.total, self.what)
        trained: M = self.accelerator.unwrap_model(self.module)
        return trained.cpu().eval()

    def _steps(self) -> Iterator[list[list[int]]]:
        """The batches of every step of the run, a pure function of the seed."""
        config = self.config
        for epoch in range(config.epochs):
            drawn = shuffled(self.count, config.batch_size, seed=config.seed, epoch=epoch)
            batches = [[int(i) for i in batch] for batch in drawn]
            for start in range(0, len(batches), config.accumulate):
                yield batches[start : start + config.accumulate]

    def _step(self, batches: list[list[int]]) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * warm_then_cosine(self.done, self.total)
        self.optimizer.zero_grad()
        for batch in batches:
            value = self.loss(self.module, batch)
            self._check_finite("loss", value)
            self.accelerator.backward(value / len(batches))
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), self.config.max_norm)
        self._check_finite("a gradient of norm", norm)
        self.optimizer.step()

    def _check_finite(self, what: str, value: Tensor) -> None:
        found = float(value.detach())
        if not math.isfinite(found):
            raise InputError(
                f"{self.what}: got {what} {found} at step {self.done + 1} of {self.total}; allowed: finite; "
                "look for broken features, or lower learning_rate"
            )

    def _checkpoint(self) -> None:
        if self.folder is None or not self.accelerator.is_main_process:
            return
        module = self.accelerator.unwrap_model(self.module)
        arrays = {f"model.{key}": value.detach().cpu().numpy() for key, value in module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            arrays |= {f"optimizer.{index}.{key}": np.asarray(value.cpu()) for key, value in state.items()}
        arrays["rng"] = torch.get_rng_state().numpy()
        if self.accelerator.device.type == "cuda":
            arrays["rng.cuda"] = torch.cuda.get_rng_state(self.accelerator.device).numpy()
        save_model(self.folder, CHECKPOINT_KIND, {"run": self.identity, "done": self.done}, arrays)

    def _resume(self) -> None:
        if self.folder is None or not self.folder.exists() or (self.folder.is_dir() and not any(self.folder.iterdir())):
            return
        config, arrays = load_model(self.folder, CHECKPOINT_KIND)
        if config["run"] != self.identity:
            raise WeightsError(
                f"{self.folder}: got the checkpoint of another run (data, seed, sizes or settings differ); allowed: "
                "this run's own; name another folder, or remove this one"
            )
        load_state(self.accelerator.unwrap_model(self.module), arrays, "model.", self.folder)
        state: dict[int, dict[str, Any]] = {}
        for key, value in arrays.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                state.setdefault(int(index), {})[name] = torch.from_numpy(np.array(value))
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        torch.set_rng_state(torch.from_numpy(np.array(arrays["rng"])))
        if self.accelerator.device.type == "cuda" and "rng.cuda" in arrays:
            torch.cuda.set_rng_state(torch.from_numpy(np.array(arrays["rng.cuda"])), self.accelerator.device)
        self.done = int(config["done"])


def warm_then_cosine(step: int, total: int) -> float:
    """Share of the peak learning rate: up over the first tenth of the run, then down to 0 along a half cosine."""
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return float(0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, total - warm))))


def _identity(module: nn.Module, count: int, config: LoopConfig, content: str, what: str) -> str:
    """What a run is, as a hash: first weights, data, number of items, settings."""
    digest = hashlib.sha256(json.dumps([what, content, count, msgspec.to_builtins(config)], sort_keys=True).encode())
    for key, value in module.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
