"""Sample pages, and a ranker that remembers nothing from before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wholepage.apps.resolve import OFFLINE, ranker_from
from wholepage.apps.serving.served_models import FOLDER, load_model, spec_of
from wholepage.pages.model import Page
from wholepage.pages.protocols import Ranker


def drawn(pages: Sequence[Page], count: int, seed: int) -> list[Page]:
    """So many of the pages that have results, drawn without return; all where there are fewer."""
    filled = [page for page in pages if len(page)]
    chosen = np.random.default_rng([seed, 2]).permutation(len(filled))[:count]
    return [filled[i] for i in sorted(chosen.tolist())]


def cold_ranker(model: str, *, root: Path | None, cache: Path) -> Callable[[], Ranker]:
    """How to read a ranker whose vectors and pictures seen lie in a folder of its own.

    Args:
        model: as ``wholepage serve`` takes it.
        root: the data folder.  cache: an empty folder.
    Raises:
        NotFound: neither a known name nor a folder.
        InputError: a folder that holds no model.
    """
    spec = spec_of(model)
    if spec.kind in (OFFLINE, FOLDER):
        return lambda: ranker_from(spec.source or None, root=root, cache=cache)
    return lambda: load_model(spec).ranker
