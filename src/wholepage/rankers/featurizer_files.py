"""The reading of pages in the model folder of a page reranker: its settings, its tensors, its single-modal rankers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import WeightsError
from wholepage.pages.model import Modality
from wholepage.pages.protocols import Scorer
from wholepage.rankers.features import Featurizer
from wholepage.rankers.fusion import SingleModal
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.nested import load_nested, nestable, places
from wholepage.rankers.tower import check_encoders, load_scales
from wholepage.rankers.users import UserColumns


class FeaturizerFiles(NamedTuple):
    """What a model folder keeps of a featurizer, for ``save_model``.

    Attributes:
        config: its settings.  arrays: its tensors.
        children: what writes its single-modal rankers, by sub-folder; empty when one of them cannot be saved.
    """

    config: dict[str, Any]
    arrays: dict[str, NDArray[np.float32]]
    children: dict[str, Callable[[Path], None]]


def featurizer_files(featurizer: Featurizer) -> FeaturizerFiles:
    """What to keep of a featurizer in a model folder."""
    upstream, users = featurizer.upstream, featurizer.users
    single = nestable(upstream)
    kept = places(single)
    config: dict[str, Any] = {
        "encoders": featurizer.vectors.name,
        "known": [m.value for m in featurizer.known],
        "read_as": {a.value: b.value for a, b in featurizer.read_as.items()},
        "numbers": list(featurizer.scale.names),
        "upstream": upstream.name,
        "missing": upstream.missing if isinstance(upstream, SingleModal) else None,
        "towers": {m.value: place for m, place in kept.items()},  # of any kind; the name is that of the first version
    }
    config |= {"users": users.settings()} if users.dim else {}
    arrays = featurizer.scale.arrays() | featurizer.vector_scale.arrays() | users.arrays()
    return FeaturizerFiles(config, arrays, {kept[m]: scorer.save for m, scorer in single.items()})


def load_featurizer(
    folder: Path,
    config: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    vectors: ResultVectors,
    upstream: Scorer | None = None,
) -> Featurizer:
    """Read a featurizer back; call it inside ``settings_of``.

    Args:
        config, arrays: of the model folder; ``config["sizes"]`` says what its heads read.
        vectors: the frozen encoders it was trained on.
        upstream: the single-modal rankers, where they are of no kind that is kept in the folder.
    Raises:
        WeightsError: damaged, or encoders or single-modal rankers other than those it was trained on.
    """
    check_encoders(folder, config, vectors)
    upstream = _load_single(folder, config, vectors) if upstream is None else upstream
    if upstream.name != config["upstream"]:
        raise WeightsError(
            f"{folder}: got single-modal rankers {upstream.name!r}; allowed: {config['upstream']!r}, which it "
            "was trained on; pass them as upstream=..."
        )
    scales = load_scales(folder, config, arrays, vectors)
    users = _load_users(folder, config, arrays)
    read_as = {Modality(a): Modality(b) for a, b in config["read_as"].items()}
    return Featurizer(upstream, vectors, [Modality(m) for m in config["known"]], *scales, read_as, users)


def _load_single(folder: Path, config: Mapping[str, Any], vectors: ResultVectors) -> SingleModal:
    if not config["towers"]:
        raise WeightsError(
            f"{folder}: got no single-modal rankers inside; allowed: {config['upstream']!r}, which it was trained on; "
            "pass them as upstream=..."
        )
    return SingleModal(load_nested(folder, config["towers"], vectors), missing=config["missing"])


def _load_users(folder: Path, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> UserColumns:
    """The user columns of a folder; folders without them, as earlier versions wrote all, read nothing of users."""
    users = UserColumns.from_settings(config.get("users", []), arrays)
    wanted = config["sizes"].get("user_dim", 0)
    if users.dim != wanted:
        raise WeightsError(
            f"{folder}: got {users.dim} user columns for heads that read {wanted}; allowed: the same; save it again"
        )
    return users
