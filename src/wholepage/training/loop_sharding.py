"""Layers that processes share: each keeps a part of every layer, of its gradient and of the optimizer's moments.

A layer is gathered for as long as it computes (torch's ``fully_shard``, FSDP2, one unit a layer); what is in no layer
(embeddings, a head, norms) stays whole in every process, as a loss may read it anywhere. While a model trains, a copy
in parts stands in the place of each of its layers; afterwards the layer itself, whole again.

Gathering takes all processes at once, so a loss must call each of these layers equally often in every process, and
every trained parameter of a layer must take part in each call. Decoder layers are like that, experts chosen by a router
are not.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from wholepage.pages.errors import InputError
from wholepage.training.loop_processes import Processes

_ADDING = "set_force_sum_reduction_for_comms"
"""Not every backend can average. Where torch can be told to, it adds and divides afterwards."""


class SharedLayers:
    """Some layers of a module, from now on in parts.

    Args:
        module: on the device of this process, the same in each.  paths: of its layers.
    Raises:
        InputError: no layers, a layer inside another or in two places, or a backend that cannot add up parts.
    """

    def __init__(self, module: nn.Module, paths: Sequence[str], processes: Processes, what: str = "training") -> None:
        self._module, self._count = module, processes.count
        self._whole = {path: module.get_submodule(path) for path in paths}
        _check_apart(module, self._whole, what)
        mesh = init_device_mesh(processes.device.type, (processes.count,))
        _check_backend(mesh, processes.device, what)
        for path, layer in self._whole.items():
            _put(module, path, _in_parts(layer, mesh))

    def sum_gradients(self) -> None:
        """Make of the processes' mean gradient, which ``fully_shard`` leaves, their sum."""
        for parameter in self._module.parameters():
            if isinstance(parameter, DTensor) and parameter.grad is not None:
                parameter.grad.mul_(self._count)

    def put_back(self) -> None:
        """The layers themselves in their places, with what they learned, whole and on the CPU in every process."""
        for path, layer in self._whole.items():
            learned = self._module.get_submodule(path)
            with torch.no_grad():
                for old, new in zip(layer.parameters(), learned.parameters(), strict=True):
                    old.data = whole(new).cpu()
                for kept, buffer in zip(layer.buffers(), learned.buffers(), strict=True):
                    kept.copy_(buffer)
            _put(self._module, path, layer)


def layers_of(module: nn.Module) -> list[str]:
    """Paths of the layers that the models inside name as what is never split, outermost first.

    Source: ``_no_split_modules`` of the models of transformers.
    """
    names = {name for one in module.modules() for name in getattr(one, "_no_split_modules", None) or ()}
    found: list[str] = []
    for path, one in module.named_modules():
        if type(one).__name__ in names and not any(path.startswith(f"{outer}.") for outer in found):
            found.append(path)
    return found


def is_whole(value: Tensor) -> bool:
    """Whether this process holds all of a tensor."""
    return not isinstance(value, DTensor)


def whole(value: Tensor) -> Tensor:
    """A tensor with the parts of all processes; all of them must ask. One that is whole is itself."""
    return value.full_tensor().detach() if isinstance(value, DTensor) else value


def like(value: Tensor, other: Tensor) -> Tensor:
    """The part of a whole tensor that another one's part is; nothing is sent."""
    if not isinstance(other, DTensor):
        return value
    mesh, place = other.device_mesh, other.device_mesh.get_local_rank()
    cuts = value.chunk(mesh.size())  # by rows, as fully_shard cuts; of few rows the last processes get none
    mine = cuts[place] if place < len(cuts) else value[:0]
    mine = mine.clone().to(other.device)  # a view would hold on to all of it
    return DTensor.from_local(mine, mesh, other.placements, shape=value.shape, stride=value.stride())


def clip_shared(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients, some of which are in parts, to a norm of all of them; the norm that they had.

    What is whole must be the same in all processes. Source: as ``torch.nn.utils.clip_grad_norm_``.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    own = [(_local(gradient), isinstance(gradient, DTensor)) for gradient in gradients]
    if not own:
        return torch.zeros(())
    squares = torch.zeros(2, dtype=torch.float64, device=own[0][0].device)
    for gradient, in_parts in own:
        squares[int(in_parts)] += torch.linalg.vector_norm(gradient).double() ** 2
    parts = squares[1:].clone()
    distributed.all_reduce(parts)
    norm = (squares[0] + parts[0]).sqrt()
    share = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient, _ in own:
        gradient.mul_(share.to(gradient.dtype))
    return norm


def bytes_held(tensors: Iterable[Tensor]) -> int:
    """What tensors take in the memory of this process."""
    return sum(_local(one).numel() * one.element_size() for one in tensors)


def _local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def _in_parts(layer: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """A copy of a layer, of which this process keeps its part; what the layer held is let go."""
    parts = copy.deepcopy(layer)
    for parameter in layer.parameters():
        parameter.data = parameter.data.new_empty(0)
    # Said outright: where each layer is a unit of its own, the default would keep it gathered until the way back.
    made = fully_shard(parts, mesh=mesh, reshard_after_forward=True)
    if hasattr(made, _ADDING):
        getattr(made, _ADDING)(True)
    return cast(nn.Module, made)


def _put(module: nn.Module, path: str, layer: nn.Module) -> None:
    above, _, name = path.rpartition(".")
    setattr(module.get_submodule(above), name, layer)


def _check_apart(module: nn.Module, layers: dict[str, nn.Module], what: str) -> None:
    odd = [path for path in layers if any(path.startswith(f"{outer}.") for outer in layers)]
    places = Counter(id(one) for _, one in module.named_modules(remove_duplicate=False))
    places.update(id(one) for _, one in module.named_parameters(remove_duplicate=False))
    for path, one in layers.items():
        if places[id(one)] > 1 or any(places[id(parameter)] > 1 for parameter in one.parameters()):
            odd.append(path)
    if odd or not layers:
        raise InputError(
            f"{what}: got processes launched to share the layers of {type(module).__name__}, and "
            f"{f'{sorted(set(odd))[:4]} among them' if odd else 'none that it names'}; allowed: layers apart from each "
            "other, each in one place; launch without SHARD, or with recipes/launch/multi_gpu.yaml"
        )


def _check_backend(mesh: DeviceMesh, device: torch.device, what: str) -> None:
    given = torch.ones(mesh.size(), device=device)
    scatter = getattr(distributed, "reduce_scatter_single", None) or distributed.reduce_scatter_tensor  # the newer name
    how = distributed.ReduceOp.SUM if hasattr(FSDPModule, _ADDING) else distributed.ReduceOp.AVG
    try:
        scatter(given.new_empty(1), given, op=how)
    except RuntimeError as error:
        raise InputError(
            f"{what}: got processes launched to share layers, over {distributed.get_backend()} of torch "
            f"{torch.__version__}, which says {error}; allowed: one that adds up parts; take nccl, or a newer torch"
        ) from error
