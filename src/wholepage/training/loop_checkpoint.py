"""What a training run keeps of itself, so that a killed one goes on as if nothing had been.

A checkpoint holds the weights that training can change, the optimizer's state, where in the run it is, and the state of
everything that draws lots: torch (the GPU's generator too), numpy's and Python's global generators. Order of the data
and learning rate follow from the seed and the place. It is a model folder (``rankers.weights``): safetensors and JSON,
written whole or not at all, every byte checked when it is read.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import WeightsError
from wholepage.rankers.weights import MANIFEST, load_model, save_model
from wholepage.training.loop_sharding import like, whole

CHECKPOINT_KIND = "checkpoint"


def kept(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module that training can change: all but frozen parameters."""
    state = module.state_dict(keep_vars=True)
    return {key: value for key, value in state.items() if value.requires_grad or not isinstance(value, nn.Parameter)}


def write_checkpoint(
    folder: Path, identity: str, done: int, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> None:
    """Keep a run after ``done`` of its steps. Where layers are in parts, the other processes ``give_parts`` meanwhile.

    Raises:
        WeightsError: the folder holds something else, or a weight is not finite.
    """
    arrays = {key: _array(whole(value)) for key, value in _tensors(module, optimizer)} | _lots(device)
    save_model(folder, CHECKPOINT_KIND, {"run": identity, "done": done, "seal": _seal(identity, done)}, arrays)


def identity_of(module: nn.Module, named: Sequence[object]) -> str:
    """What a run is, as a hash: what names its data and settings, and the first weights, frozen ones too."""
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode())
    for key, value in module.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def give_parts(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give what this process holds of shared layers to the one that writes the checkpoint."""
    for _, value in _tensors(module, optimizer):
        whole(value)


def read_checkpoint(
    folder: Path, identity: str, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> int:
    """Bring a run to where it was kept, in place.

    Returns:
        How many steps are done; 0, and nothing changed, where the folder is missing or empty.
    Raises:
        WeightsError: the folder holds something else, another run, or a checkpoint that was changed.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return 0
    config, arrays = load_model(folder, CHECKPOINT_KIND)
    if config.get("run") != identity:
        raise WeightsError(
            f"{folder}: got the checkpoint of another run (data, seed, sizes or settings differ); allowed: "
            "this run's own; name another folder, or remove this one"
        )
    done = config.get("done")
    # Tensors have checksums, the manifest has none. (Before there were seals, checkpoints were written without.)
    if not isinstance(done, int) or config.get("seal", _seal(identity, done)) != _seal(identity, done):
        raise WeightsError(
            f"{folder}: got {done!r} as the number of steps done, which the seal denies; allowed: what was written; "
            "the manifest was changed, copy it again or remove the folder"
        )
    _restore_module(module, arrays, folder)
    _restore_optimizer(optimizer, arrays)
    _restore_lots(arrays, device)
    return done


def tidy(folder: Path) -> None:
    """Clean up after a process that was killed while it wrote a checkpoint.

    Between two renames the checkpoint before lies beside its place; it is put back. What was half written is removed.
    """
    beside = f".{glob.escape(folder.name)}.{'?' * 8}"
    for old in sorted(folder.parent.glob(f"{beside}.old")):
        if not folder.exists() and (old / folder.name / MANIFEST).is_file():
            os.rename(old / folder.name, folder)
        shutil.rmtree(old)
    for new in folder.parent.glob(f"{beside}.new"):
        shutil.rmtree(new)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, everything that draws lots draws from this seed; afterwards it goes on where it was before."""
    words, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):  # manual_seed seeds all of them
            reseed(seed)
            yield
    finally:
        random.setstate(words)
        np.random.set_state(numbers)


def reseed(seed: int) -> None:
    """Start torch's generators, and numpy's and Python's global ones, from a seed, 0 or more."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """What is kept, in an order that is the same in all processes: one that read a checkpoint has its own."""
    for key, value in kept(module).items():
        yield f"model.{key}", value
    for index, state in sorted(optimizer.state_dict()["state"].items()):
        for key, value in sorted(state.items()):
            yield f"optimizer.{index}.{key}", value


def _array(value: Tensor) -> NDArray[Any]:
    """A tensor as numpy has it; bfloat16, which it has not, as float32: nothing is lost there and back."""
    value = value.detach().cpu()
    return np.asarray(value.float() if value.dtype == torch.bfloat16 else value)


def _seal(identity: str, done: object) -> str:
    return hashlib.sha256(f"{identity} {done}".encode()).hexdigest()


def _lots(device: torch.device) -> dict[str, NDArray[Any]]:
    _, words, gauss = random.getstate()
    numbers: dict[str, Any] = dict(np.random.get_state(legacy=False))
    lots: dict[str, NDArray[Any]] = {
        "rng": torch.get_rng_state().numpy(),
        "rng.numpy": numbers["state"]["key"],
        "rng.numpy.rest": np.array([numbers["state"]["pos"], numbers["has_gauss"], numbers["gauss"]], np.float64),
        "rng.python": np.array(words, np.uint32),
        "rng.python.rest": np.array([] if gauss is None else [gauss], np.float64),
    }
    if device.type == "cuda":
        lots["rng.cuda"] = torch.cuda.get_rng_state(device).numpy()
    return lots


def _restore_lots(arrays: Mapping[str, NDArray[Any]], device: torch.device) -> None:
    torch.set_rng_state(torch.from_numpy(np.array(arrays["rng"])))
    if device.type == "cuda" and "rng.cuda" in arrays:
        torch.cuda.set_rng_state(torch.from_numpy(np.array(arrays["rng.cuda"])), device)
    if "rng.numpy" not in arrays:  # an older checkpoint
        return
    place, has_gauss, cached = arrays["rng.numpy.rest"].tolist()
    np.random.set_state(("MT19937", arrays["rng.numpy"], int(place), int(has_gauss), cached))
    gauss = arrays["rng.python.rest"].tolist()
    random.setstate((3, tuple(arrays["rng.python"].tolist()), gauss[0] if gauss else None))


def _restore_module(module: nn.Module, arrays: Mapping[str, NDArray[Any]], folder: Path) -> None:
    state = {key[len("model.") :]: np.array(value) for key, value in arrays.items() if key.startswith("model.")}
    there = kept(module)
    wanted = {key: tuple(value.shape) for key, value in there.items()}
    got = {key: value.shape for key, value in state.items()}
    if wanted != got:
        odd = sorted(key for key in {*wanted, *got} if wanted.get(key) != got.get(key))
        raise WeightsError(
            f"{folder}: got tensors {[(key, got.get(key)) for key in odd[:4]]}; allowed: "
            f"{[(key, wanted.get(key)) for key in odd[:4]]}; the folder and this version do not belong together"
        )
    # strict=False: frozen parameters are not in it; all others were just compared.
    module.load_state_dict({key: like(torch.from_numpy(state[key]), there[key]) for key in there}, strict=False)


def _restore_optimizer(optimizer: torch.optim.Optimizer, arrays: Mapping[str, NDArray[Any]]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, array in arrays.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            value = torch.from_numpy(np.array(array))
            # Moments are cut as their parameter is; the count of steps is one number.
            state.setdefault(int(index), {})[name] = like(value, learned[int(index)]) if value.ndim else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
