"""The processes that train one model together: who takes which rows, and how their gradients become one.

Started by ``torchrun`` or ``accelerate launch``; or just one. Where each holds the whole model (``loop_sharding`` is
the other way), gradients are summed by hand and not by ``DistributedDataParallel``, for three reasons: that one counts
every process alike, while the last batch of an epoch may leave a process fewer rows or none; it hangs where a process
has nothing to go backward through; and it sees only calls of ``forward``, while a loss may call whatever the module
offers. The price is that sums do not overlap with the backward pass; they are sent once a step, not once a batch.

A process that fails alone leaves the others waiting; the launcher ends them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator

import torch

# Its functions take the group of processes that there is at import for a default. Imported with the first optimizer,
# and so after the start of the group, they would keep it past its end, and its threads break the exit of the program.
import torch.distributed.nn.functional
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch import Tensor, distributed, nn

from wholepage.pages.errors import InputError

_TYPES = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
SHARED = "ACCELERATE_USE_FSDP"
"""What launchers set where processes shall share layers; it does not show in the type."""
_YES = ("1", "true", "yes", "on")
_ONE_WAY = {
    "FSDP_VERSION": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",  # transformers would read the student in the first process alone
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "",
}
"""Settings of a launcher that say how layers are shared, and the one value of each that the loop follows."""
_NUMBERS_PER_PARCEL = 2**25  # 128 MiB in float32


class Processes:
    """This process among those that train together. Where there is one, nothing is sent.

    Attributes:
        index: of this one, from 0.  count: of all.  device: where this one computes.
        shared: whether they were launched to share the layers of what they train (FSDP); one alone holds all of it.
    Raises:
        InputError: they were launched for another way of sharing the work (DeepSpeed, TPU), or to share layers as the
            loop does not.
    """

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available())
        if state.distributed_type not in _TYPES:
            raise InputError(
                f"training: got processes launched as {state.distributed_type}; allowed: {[str(t) for t in _TYPES]}; "
                "launch with torchrun, or on GPUs with accelerate launch --multi_gpu"
            )
        self.index, self.count = int(state.process_index), int(state.num_processes)
        self.device: torch.device = state.device
        self.shared = self.count > 1 and _asked_to_share()

    @property
    def first(self) -> bool:
        """Whether this one writes what is written once."""
        return self.index == 0

    def part(self, batch: list[int]) -> list[int]:
        """The rows of a batch that this process takes; none where there are more processes than rows."""
        return batch[self.index :: self.count]

    def total(self, value: Tensor) -> Tensor:
        """The sum of a scalar over the processes, the same in each; without gradient."""
        if self.count == 1:
            return value.detach()
        summed = value.detach().to(torch.float64, copy=True)
        distributed.all_reduce(summed)
        return summed

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum of all processes' gradients in place of each one's own.

        No gradient counts as 0; where no process has one, there is none afterwards, and so the optimizer passes the
        parameter over as it does in one process.
        """
        if self.count == 1:
            return
        given = list(parameters)
        known = torch.tensor([p.grad is not None for p in given], dtype=torch.int32, device=self.device)
        distributed.all_reduce(known, op=distributed.ReduceOp.MAX)
        gradients: list[Tensor] = []
        for parameter, has in zip(given, known.tolist(), strict=True):
            if has:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for parcel in _parcels(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in parcel])
            distributed.all_reduce(flat)
            start = 0
            for gradient in parcel:
                gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
                start += gradient.numel()

    def check_alike(self, identity: str, done: int, what: str) -> None:
        """Refuse, in every process at once, to train together on different things or from different places.

        Raises:
            InputError: another process has another run (data, first weights, settings), or another checkpoint of it.
        """
        if self.count == 1:
            return
        digest = hashlib.sha256(f"{identity} {done}".encode()).digest()
        own = torch.tensor(list(digest), dtype=torch.int32, device=self.device)
        first = own.clone()
        distributed.broadcast(first, 0)
        differs = (own != first).any().int()
        distributed.all_reduce(differs, op=distributed.ReduceOp.MAX)
        if differs.item():
            raise InputError(
                f"{what}: got {self.count} processes that differ in first weights, data, settings or checkpoint; "
                "allowed: the same in all; give each the same files and seed, and a folder on a disk that they share"
            )

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            distributed.barrier()


def _asked_to_share() -> bool:
    if os.environ.get(SHARED, "").lower() not in _YES:
        return False
    for name, allowed in _ONE_WAY.items():
        got = os.environ.get(name, allowed)
        if got.lower() != allowed:
            raise InputError(
                f"training: got processes launched to share layers with {name}={got}; allowed: {allowed or 'not set'}"
                "; launch with recipes/launch/fsdp_2b.yaml (the model names its layers, the recipe says the rest)"
            )
    return True


def _parcels(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients that are sent together: one message costs less than one for each of hundreds of adapters."""
    parcel: list[Tensor] = []
    numbers = 0
    for gradient in gradients:
        full = numbers + gradient.numel() > _NUMBERS_PER_PARCEL
        if parcel and (full or gradient.dtype != parcel[0].dtype):
            yield parcel
            parcel, numbers = [], 0
        parcel.append(gradient)
        numbers += gradient.numel()
    if parcel:
        yield parcel
