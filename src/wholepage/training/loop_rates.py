"""Learning rates: how they rise and fall over a run, and which parameters learn at what multiple of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import nn

from wholepage.pages.errors import InputError


def warm_then_cosine(step: int, total: int) -> float:
    """Share of the peak learning rate: up over the first tenth of the run, then down to 0 along a half cosine."""
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return float(0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, total - warm))))


def multiples_of(module: nn.Module, learning_rates: Callable[[str], float] | None, what: str) -> dict[str, float]:
    """Multiple of the learning rate of each parameter that is trained, by name.

    Raises:
        InputError: nothing is trained, or a multiple is not above 0 and finite.
    """
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if not names:
        raise InputError(
            f"{what}: got a module without parameters to train; allowed: at least one with requires_grad; freeze fewer"
        )
    multiples = {name: 1.0 if learning_rates is None else float(learning_rates(name)) for name in names}
    for name, multiple in multiples.items():
        if not 0 < multiple < math.inf:
            raise InputError(
                f"{what}: learning_rates({name!r}): got {multiple}; allowed: above 0 and finite; to keep a parameter "
                "as it is, set its requires_grad to False"
            )
    return multiples


def groups_of(module: nn.Module, multiples: Mapping[str, float]) -> list[dict[str, Any]]:
    """Parameters by their multiple, for the optimizer."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if name in multiples:
            groups.setdefault(multiples[name], []).append(parameter)
    return [{"params": parameters, "multiple": multiple} for multiple, parameters in groups.items()]
