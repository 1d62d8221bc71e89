"""The single-modal ranker trained here: a small scoring head on frozen encoders, for one modality.

It learns from single-modal labels alone (``training.single_modal``). Several towers, each trained without one share of
the queries, are averaged; so the same model can score its own training pages without having seen them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError, NoRanker, WeightsError
from wholepage.pages.model import Modality, Page
from wholepage.rankers.matching import (
    MATCH_NAMES,
    NumberScale,
    PageVectors,
    ResultVectors,
    VectorScale,
    feature_columns,
    match_numbers,
)
from wholepage.rankers.weights import load_model, save_model

KIND = "tower"
_ITEMS_PER_PASS = 8192


@dataclass(frozen=True)
class TowerItems:
    """The results of one page as a tower reads them.

    Shapes:
        query: [query_dim]; item: [n, item_dim]; numbers: [n, k]; seen: [n] bool, False = nothing to read
    """

    query: NDArray[np.float32]
    item: NDArray[np.float32]
    numbers: NDArray[np.float32]
    seen: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.item)


class Tower(nn.Module):
    """Score of one result: a low-rank product of query and result vectors, plus a small net on what they share.

    Args:
        query_dim, item_dim, number_dim: sizes of the inputs.  rank: of the product.  hidden: of the net.
        dropout: on both vectors, in training.
    """

    def __init__(
        self, query_dim: int, item_dim: int, number_dim: int, *, rank: int = 64, hidden: int = 32, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.sizes = {"query_dim": query_dim, "item_dim": item_dim, "number_dim": number_dim, "rank": rank}
        self.sizes |= {"hidden": hidden}
        self.query = nn.Linear(query_dim, rank, bias=False)
        self.item = nn.Linear(item_dim, rank, bias=False)
        self.shared = nn.Sequential(nn.Linear(number_dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.dropout = nn.Dropout(dropout)
        self.gain = 4.0 / rank**0.5

    def forward(self, query: Tensor, item: Tensor, numbers: Tensor) -> Tensor:
        """Scores of results.

        Shapes:
            query: [..., query_dim] or, for all items of a page, [B, 1, query_dim]
            item: [..., item_dim]; numbers: [..., number_dim]; return: [...]
        """
        product = (self.query(self.dropout(query)) * self.item(self.dropout(item))).sum(-1) * self.gain
        return torch.as_tensor(product + self.shared(numbers).squeeze(-1))


class TowerReader:
    """Turns pages into ``TowerItems``: frozen vectors, shared words, and the result's own numbers, scaled.

    Args:
        vectors: the frozen encoders.  scale: fitted on ``MATCH_NAMES`` and the feature names after them.
        vector_scale: fitted on the vectors of results.
    """

    def __init__(self, vectors: ResultVectors, scale: NumberScale, vector_scale: VectorScale) -> None:
        self.vectors, self.scale, self.vector_scale = vectors, scale, vector_scale

    @classmethod
    def fit(
        cls, vectors: ResultVectors, pages: Sequence[Page], names: Sequence[str], *, keep: int | None = None
    ) -> TowerReader:
        """Fit both scalings on training pages, at least one; ``keep`` principal directions, None = all columns."""
        encoded = vectors.encode(pages)
        rows = [raw_numbers(page, names, of) for page, of in zip(pages, encoded, strict=True)]
        scale = NumberScale.fit((*MATCH_NAMES, *names), np.concatenate(rows))
        return cls(vectors, scale, VectorScale.fit(encoded, keep=keep))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.scale.names[len(MATCH_NAMES) :]

    def read(self, pages: Sequence[Page]) -> list[TowerItems]:
        """One ``TowerItems`` a page."""
        read = []
        for page, encoded in zip(pages, self.vectors.encode(pages), strict=True):
            numbers = self.scale.apply(raw_numbers(page, self.feature_names, encoded))
            seen = np.abs(encoded.item).sum(axis=1) > 0
            read.append(TowerItems(encoded.query, self.vector_scale.apply(encoded), numbers, seen))
        return read


def raw_numbers(page: Page, names: Sequence[str], encoded: PageVectors) -> NDArray[np.float32]:
    """Match numbers beside the named features, unscaled: ``[len(page), 4 + len(names)]``."""
    return np.concatenate([match_numbers(page, encoded), feature_columns(page, names)], axis=1)


def tower_scores(tower: Tower, items: Sequence[TowerItems]) -> list[NDArray[np.float32]]:
    """Scores of one tower, an array a page; results with nothing to read get NaN."""
    if not items:
        return []
    lengths = [len(page) for page in items]
    query = np.repeat(np.stack([page.query for page in items]), lengths, axis=0)
    item = np.concatenate([page.item for page in items])
    numbers = np.concatenate([page.numbers for page in items])
    tower.eval()
    with torch.inference_mode():
        parts = [
            tower(*(torch.from_numpy(part[start : start + _ITEMS_PER_PASS]) for part in (query, item, numbers))).numpy()
            for start in range(0, len(item), _ITEMS_PER_PASS)
        ]
    flat = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    flat = np.where(np.concatenate([page.seen for page in items]), flat, np.nan).astype(np.float32)
    return np.split(flat, np.cumsum(lengths)[:-1])


class TowerScorer:
    """Orders the results of one modality: the mean of several towers' scores.

    NaN where a result holds nothing that the encoders can read (a picture without text, without an image encoder).

    Args:
        modality: what it was trained on.
        reader: turns pages into the towers' inputs.
        towers: at least one.
        also: modalities it may order too, for want of labels of their own (such as answers by the text tower).
    Raises:
        InputError: no tower.
    """

    kind = KIND

    def __init__(
        self, modality: Modality, reader: TowerReader, towers: Sequence[Tower], *, also: Sequence[Modality] = ()
    ) -> None:
        if not towers:
            raise InputError(f"tower-{modality.value}: got no tower; allowed: at least one; train one")
        self.modality, self.reader, self.towers, self.also = modality, reader, tuple(towers), tuple(also)

    @property
    def name(self) -> str:
        return f"tower-{self.modality.value}"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Scores ``[len(page)]`` a page.

        Raises:
            NoRanker: a page holds a modality this tower was not trained for.
        """
        check_modalities(self.name, pages, (self.modality, *self.also))
        items = self.reader.read(pages)
        each = [tower_scores(tower, items) for tower in self.towers]
        return [np.mean([scores[i] for scores in each], axis=0, dtype=np.float32) for i in range(len(pages))]

    def save(self, folder: Path) -> None:
        """Write a model folder of kind ``tower``; the encoders are named in it, not copied."""
        arrays = self.reader.scale.arrays() | self.reader.vector_scale.arrays()
        for index, tower in enumerate(self.towers):
            arrays |= {f"{index}.{key}": value.numpy() for key, value in tower.state_dict().items()}
        config = {
            "modality": self.modality.value,
            "also": [m.value for m in self.also],
            "encoders": self.reader.vectors.name,
            "numbers": list(self.reader.scale.names),
            "towers": len(self.towers),
            "sizes": self.towers[0].sizes,
        }
        save_model(folder, KIND, config, arrays)

    @classmethod
    def load(cls, folder: Path, vectors: ResultVectors) -> TowerScorer:
        """Read a model folder.

        Raises:
            WeightsError: another kind, a damaged file, or encoders other than those it was trained on.
        """
        config, arrays = load_model(folder, KIND)
        with settings_of(folder):
            check_encoders(folder, config, vectors)
            reader = TowerReader(vectors, *load_scales(folder, config, arrays, vectors))
            towers = []
            for index in range(config["towers"]):
                tower = Tower(**config["sizes"])
                load_state(tower, arrays, f"{index}.", folder)
                towers.append(tower)
            also = [Modality(value) for value in config["also"]]
            return cls(Modality(config["modality"]), reader, towers, also=also)


def check_modalities(name: str, pages: Sequence[Page], allowed: Sequence[Modality]) -> None:
    """Refuse pages with results of modalities that a single-modal ranker was not trained for.

    Raises:
        NoRanker: there is one.
    """
    for page in pages:
        for modality in page.modalities:
            if modality not in allowed:
                raise NoRanker(
                    f"{name} on query {page.query_id!r}: got a {modality.value!r} result; allowed: "
                    f"{[m.value for m in allowed]}, for it ranks one modality; pass page.only(modality), or use a "
                    "ranker of whole pages"
                )


@contextmanager
def settings_of(folder: Path) -> Iterator[None]:
    """Inside, settings of a model folder that are missing or make no sense are the folder's fault.

    Raises:
        WeightsError: in place of KeyError, TypeError and ValueError.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder}: got settings that cannot be used ({type(error).__name__}: {error}); allowed: those that this "
            "version writes; save it again, or load it with the version that wrote it"
        ) from error


def load_scales(
    folder: Path, config: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]], vectors: ResultVectors
) -> tuple[NumberScale, VectorScale]:
    """The scalings in a model folder, to fit the model and the encoders.

    Raises:
        WeightsError: their sizes are not those of the columns named, the encoders, or the model.
    """
    scale = NumberScale.from_arrays(config["numbers"], arrays)
    vector_scale = VectorScale.from_arrays(vectors.text_dim, arrays)
    sizes = config["sizes"]
    got = {
        "numbers": (len(scale.names), scale.centre.shape, scale.spread.shape),
        "vectors": (vector_scale.centre.shape, vector_scale.gain.shape),
        "inputs": (sizes["query_dim"], sizes["item_dim"], sizes["number_dim"]),
    }
    numbers, width = len(scale.names), vectors.text_dim + vectors.image_dim
    allowed = {
        "numbers": (numbers, (numbers,), (numbers,)),
        "vectors": ((width,), (2,)),
        "inputs": (vectors.text_dim, vector_scale.dim, numbers),
    }
    odd = [name for name in got if got[name] != allowed[name]]
    if odd:
        raise WeightsError(
            f"{folder}: got {[(name, got[name]) for name in odd]}; allowed: {[(name, allowed[name]) for name in odd]}, "
            f"with the encoders {vectors.name!r}; load it with those it was trained on, or train again"
        )
    return scale, vector_scale


def check_encoders(folder: Path, config: Mapping[str, Any], vectors: ResultVectors) -> None:
    """Refuse to run a model on other vectors than those it learned from.

    Raises:
        WeightsError: the names differ.
    """
    if config["encoders"] != vectors.name:
        raise WeightsError(
            f"{folder}: got encoders {vectors.name!r}; allowed: {config['encoders']!r}, which it was trained on; "
            "load it with those encoders, or train again"
        )


def load_state(module: nn.Module, arrays: Mapping[str, NDArray[Any]], prefix: str, folder: Path) -> None:
    """Load the arrays under a prefix into a module, exactly.

    Raises:
        WeightsError: names or shapes differ from the module's.
    """
    state = {key[len(prefix) :]: torch.from_numpy(np.array(a)) for key, a in arrays.items() if key.startswith(prefix)}
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    got = {key: tuple(value.shape) for key, value in state.items()}
    if wanted != got:
        odd = sorted(key for key in {*wanted, *got} if wanted.get(key) != got.get(key))
        raise WeightsError(
            f"{folder}: got tensors {[(key, got.get(key)) for key in odd[:4]]}; allowed: "
            f"{[(key, wanted.get(key)) for key in odd[:4]]}; the folder and this version do not belong together"
        )
    module.load_state_dict(state)
    module.eval()
