"""The one training loop: shuffle, accumulate, clip, step, checkpoint, resume. In one process or many.

A run is a pure function of (module, data, loss, ``LoopConfig``). A run that was killed goes on from its last checkpoint
and ends with the same weights as one that was not: to the bit on a CPU, on a GPU as far as its sums repeat themselves.
Checkpoints are safetensors and JSON, written whole or not at all.

Under ``torchrun --nproc_per_node N`` (or ``accelerate launch``) the same program trains in N processes: all
draw the same batches, each takes its rows, and their gradients are summed, each row with the same weight. Where the
loss is a mean over its rows, or a ``PartLoss`` says what a part counts, and no lots are drawn, N processes do what one
does, up to the order of sums. The first process alone writes and tells. (``accelerate`` says who and where the
processes are; it does not change the arithmetic.) Launched to share layers (FSDP), each process keeps a part of every
layer that ``layers`` names; what is computed stays the same.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

import msgspec
import numpy as np
import torch
from accelerate.utils import convert_to_fp32
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError
from wholepage.training.batches import shuffled
from wholepage.training.loop_checkpoint import (
    give_parts,
    identity_of,
    read_checkpoint,
    reseed,
    seeded,
    tidy,
    write_checkpoint,
)
from wholepage.training.loop_processes import Processes
from wholepage.training.loop_rates import groups_of, multiples_of, warm_then_cosine
from wholepage.training.loop_sharding import SharedLayers, clip_shared, is_whole

Precision = Literal["fp32", "bf16"]

M = TypeVar("M", bound=nn.Module)

BatchLoss = Callable[[nn.Module, list[int]], Tensor]
"""The loss of the module on the training items of these indices; inputs go to ``device_of(module)`` first."""

PartLoss = Callable[[nn.Module, list[int], list[int]], Tensor]
"""``part_loss(module, batch, part)``: the loss of the whole batch, with gradient through the rows of the part alone."""

Layers = Callable[[nn.Module], Sequence[str]]
"""Paths of a module's layers that processes may share (``loop_sharding`` says which may be)."""

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)``."""


class LoopConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to train.

    Attributes:
        epochs; batch_size: lists a step; learning_rate: at its peak, reached after a tenth of the run, then down to 0;
        weight_decay; max_norm: of the gradient; accumulate: batches a step; seed: of order, dropout and first weights;
        checkpoint_steps: steps between two checkpoints, 0 = only at the end of every epoch;
        precision: ``bf16`` = the loss is computed under autocast (matrix products in bfloat16; the module's outputs,
            weights, gradients and optimizer as they are, float32).
    """

    epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    max_norm: float = 1.0
    accumulate: int = 1
    seed: int = 0
    checkpoint_steps: int = 0
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "max_norm", "accumulate"):
            if not getattr(self, name) > 0:
                raise InputError(f"LoopConfig.{name}: got {getattr(self, name)}; allowed: above 0; set it higher")
        for name in ("weight_decay", "seed", "checkpoint_steps"):
            if not getattr(self, name) >= 0:
                raise InputError(f"LoopConfig.{name}: got {getattr(self, name)}; allowed: 0 or more; set it higher")
        if self.precision not in get_args(Precision):
            raise InputError(
                f"LoopConfig.precision: got {self.precision!r}; allowed: {get_args(Precision)}; name one of them"
            )


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
    learning_rates: Callable[[str], float] | None = None,
    part_loss: PartLoss | None = None,
    layers: Layers | None = None,
) -> M:
    """Train a module from its seed, or from where the last run was killed.

    Args:
        make: builds the module; called under the run's seed. Parameters that need no gradient are neither trained nor
            kept in checkpoints, but a checkpoint is resumed only beside the same ones.
        count: how many training items ``loss`` can be asked about.
        loss: one scalar a batch; it must be finite. In several processes, a mean over the rows it is given.
        content: names the training data and whatever sets the loss (``content_hash``), so that a checkpoint is never
            resumed on anything else.
        folder: keeps the checkpoint; may be missing or empty. None = nothing is kept. Processes share it.
        progress: called after every step, in the first process.
        learning_rates: by the name of a parameter, what multiple of the learning rate it gets; None = 1 each.
        part_loss: asked in several processes, where the rows of a batch do not count alike in ``loss``.
        layers: what processes that were launched to share layers share; None = they are refused. Where a run of theirs
            fails, the module is left in pieces.
    Returns:
        The trained module on the CPU, in evaluation mode.
    Raises:
        InputError: there is nothing to train on or nothing to train, the loss or its gradient is not finite, or
            processes were given different things, or launched to share what cannot be.
        WeightsError: the folder holds the checkpoint of another run, or a damaged one.
    """
    if count < 1:
        raise InputError(f"{what}: got no training items; allowed: at least one; check the split and the judgments")
    with seeded(config.seed):
        return _Run(
            make(), count, loss, config, content, folder, progress, what, learning_rates, part_loss, layers
        ).to_end()


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are; a loss brings its inputs there."""
    return next(module.parameters()).device


def checkpointed(module: M) -> M:
    """Trade time for memory: the module's layers compute their activations once more in the backward pass.

    Gradients stay the same. Where adapters are trained on a frozen model, its inputs get gradients, so that they flow.

    Raises:
        InputError: the module does not offer it.
    """
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")  # the newer name of transformers first
    for name in names:
        enable = getattr(module, name, None)
        if enable is None:
            continue
        try:
            enable(**{name.replace("enable", "kwargs"): {"use_reentrant": False}})
        except ValueError as error:
            raise InputError(
                f"{type(module).__name__}: got {error}; allowed: a model whose layers can be computed again; train it "
                "without, with a smaller batch and accumulate above 1"
            ) from error
        return module
    raise InputError(
        f"{type(module).__name__}: got none of {names}; allowed: a model of transformers or peft; give the model "
        "inside this module, or train without"
    )


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
        learning_rates: Callable[[str], float] | None,
        part_loss: PartLoss | None,
        layers: Layers | None,
    ) -> None:
        self.count, self.loss, self.part_loss, self.config, self.folder = count, loss, part_loss, config, folder
        self.progress, self.what = progress, what
        batches = -(-count // config.batch_size)
        self.steps_per_epoch = -(-batches // config.accumulate)
        self.total = self.steps_per_epoch * config.epochs
        self.processes = Processes()
        self.device = self.processes.device
        _check_precision(config.precision, self.device)
        multiples = multiples_of(module, learning_rates, what)
        self.identity = _identity(module, count, config, content, what, multiples)
        self.module = module.to(self.device)
        self.shared = self._shared(layers)
        self.optimizer = torch.optim.AdamW(
            groups_of(self.module, multiples), lr=config.learning_rate, weight_decay=config.weight_decay, foreach=False
        )
        self.done = 0

    def _shared(self, layers: Layers | None) -> SharedLayers | None:
        if not self.processes.shared:
            return None
        return SharedLayers(self.module, [] if layers is None else layers(self.module), self.processes, self.what)

    def to_end(self) -> M:
        if self.folder is not None:
            if self.processes.first:
                tidy(self.folder)
            self.processes.wait()
            self.done = read_checkpoint(self.folder, self.identity, self.module, self.optimizer, self.device)
        self.processes.check_alike(self.identity, self.done, self.what)
        self.module.train()
        with self._outputs():
            for batches in islice(self._steps(), self.done, None):
                self._step(batches)
                self.done += 1
                self._keep()
                if self.progress and self.processes.first:
                    self.progress(self.done, self.total, self.what)
        if self.shared:
            self.shared.put_back()
        return self.module.cpu().eval()

    def _steps(self) -> Iterator[list[list[int]]]:
        """The batches of every step of the run, a pure function of the seed."""
        config = self.config
        for epoch in range(config.epochs):
            drawn = shuffled(self.count, config.batch_size, seed=config.seed, epoch=epoch)
            batches = [[int(i) for i in batch] for batch in drawn]
            for start in range(0, len(batches), config.accumulate):
                yield batches[start : start + config.accumulate]

    def _step(self, batches: list[list[int]]) -> None:
        rate = self.config.learning_rate * warm_then_cosine(self.done, self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["multiple"]
        if not self.processes.first:
            # Lots of their own, which nobody needs to keep. Those of the first process go on from step to step.
            reseed(_seed_of(self.config.seed, self.processes.index, self.done))
        self.optimizer.zero_grad()
        for batch in batches:
            self._learn(batch, len(batches))
        self._check_finite("a gradient of norm", self._joined())
        self.optimizer.step()

    def _joined(self) -> Tensor:
        """The norm of the gradient of all processes, which afterwards lies clipped in each."""
        learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.processes.sum_gradients(p for p in learned if is_whole(p))
        if self.shared is None:
            return nn.utils.clip_grad_norm_(self.module.parameters(), self.config.max_norm)
        self.shared.sum_gradients()
        return clip_shared(learned, self.config.max_norm)

    def _learn(self, batch: list[int], batches: int) -> None:
        part = self.processes.part(batch)
        value = torch.zeros((), device=self.device)
        if part or self.shared:
            with self._autocast():
                value = self._share(batch, part)
        self._check_finite("loss", self.processes.total(value))
        if part or self.shared:
            (value / batches).backward()  # type: ignore[no-untyped-call]

    def _share(self, batch: list[int], part: list[int]) -> Tensor:
        """The loss of a part, weighted so that the parts of a batch sum up to its gradient."""
        if len(part) == len(batch):
            return self.loss(self.module, part)
        if not part:  # it computes with the others, who share their layers with it, and counts for nothing
            return self._weighed(batch, batch[:1]) * 0.0
        return self._weighed(batch, part)

    def _weighed(self, batch: list[int], part: list[int]) -> Tensor:
        if self.part_loss is not None:
            return self.part_loss(self.module, batch, part)
        return self.loss(self.module, part) * (len(part) / len(batch))

    def _autocast(self) -> AbstractContextManager[object]:
        if self.config.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _outputs(self) -> AbstractContextManager[object]:
        """Inside, the module's outputs are float32, whatever it computes in, and so is what a loss makes of them."""
        if self.config.precision == "fp32":
            return nullcontext()
        return self.module.register_forward_hook(lambda module, given, output: convert_to_fp32(output))

    def _check_finite(self, what: str, value: Tensor) -> None:
        found = float(value.detach())
        if not math.isfinite(found):
            raise InputError(
                f"{self.what}: got {what} {found} at step {self.done + 1} of {self.total}; allowed: finite; "
                "look for broken features, or lower learning_rate"
            )

    def _keep(self) -> None:
        every = self.config.checkpoint_steps or self.steps_per_epoch
        if self.folder is None or not (self.done % every == 0 or self.done == self.total):
            return
        if self.processes.first:
            write_checkpoint(self.folder, self.identity, self.done, self.module, self.optimizer, self.device)
        elif self.shared:
            give_parts(self.module, self.optimizer)
        self.processes.wait()


def _check_precision(precision: Precision, device: torch.device) -> None:
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError(
            f"LoopConfig.precision: got 'bf16' on {torch.cuda.get_device_name(device)}, which cannot compute in it; "
            "allowed here: 'fp32'; change it, or take a newer GPU"
        )


def _seed_of(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _identity(
    module: nn.Module, count: int, config: LoopConfig, content: str, what: str, multiples: dict[str, float]
) -> str:
    settings = msgspec.to_builtins(config)
    # What is as it was before there was a choice is left out, so that older checkpoints go on.
    if config.precision == "fp32":
        del settings["precision"]
    named: list[Any] = [what, content, count, settings]
    if set(multiples.values()) != {1.0}:
        named.append(multiples)
    return identity_of(module, named)
