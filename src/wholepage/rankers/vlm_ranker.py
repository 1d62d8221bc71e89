"""The page reranker on a vision-language model, as a ranker and as a model folder.

The folder holds what was trained (adapters, fusion, page heads, scalings, single-modal rankers); of the frozen model
only its name and fingerprint, and the settings of its prompts. It is loaded with that model, from wherever it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, WeightsError
from wholepage.pages.model import Page, Ranking
from wholepage.pages.protocols import Scorer, ranking_of
from wholepage.rankers.features import Featurizer
from wholepage.rankers.featurizer_files import featurizer_files, load_featurizer
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.page_head import pad_items, tempered
from wholepage.rankers.tower import load_state, settings_of
from wholepage.rankers.vlm import VlmEncoder
from wholepage.rankers.vlm_head import Adapters, VlmPageHead
from wholepage.rankers.weights import load_model, save_model

KIND = "vlm-whole-page"
PAGES_PER_PASS = 8


class VlmPageRanker:
    """Ranks pages of mixed results by one score across modalities, each result read by a vision-language model.

    Args:
        featurizer: reads pages for the page heads.
        heads: trained, all on one frozen model; their scores are averaged. They are moved to where that model is.
        made_of: what it was trained with, kept in the model folder.
        name: printed with every ranking.
        pages_per_pass: how many pages are scored at a time; scores depend on it by no more than rounding.
    Raises:
        InputError: no head, heads on several frozen models, or no page a pass.
    """

    def __init__(
        self,
        featurizer: Featurizer,
        heads: Sequence[VlmPageHead],
        made_of: Mapping[str, Any] | None = None,
        *,
        name: str = "smar-vlm",
        pages_per_pass: int = PAGES_PER_PASS,
    ) -> None:
        if not heads or any(head.encoder is not heads[0].encoder for head in heads) or pages_per_pass < 1:
            raise InputError(
                f"{name}: got {len(heads)} heads on {len({id(head.encoder) for head in heads})} frozen models, "
                f"{pages_per_pass} pages a pass; allowed: heads on one model, 1 page or more; load the model once"
            )
        self.featurizer, self.made_of, self._name = featurizer, dict(made_of or {}), name
        self.encoder, self.pages_per_pass = heads[0].encoder, pages_per_pass
        self.heads = tuple(head.to(self.encoder.device).eval() for head in heads)

    @property
    def name(self) -> str:
        return self._name

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Scores ``[len(page)]`` a page, comparable across modalities of one page.

        Raises:
            NoRanker: a modality that neither training nor ``read_as`` covers.
            ImageError: a picture cannot be read; names the query, and the result's index and id.
        """
        scores: list[NDArray[np.float32]] = []
        for start in range(0, len(pages), self.pages_per_pass):
            scores += self._score(pages[start : start + self.pages_per_pass])
        return [tempered(of, self.featurizer.unseen(page)) for page, of in zip(pages, scores, strict=True)]

    def _score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        prompts = self.encoder.prompts(pages)
        here = pad_items(self.featurizer.read(pages)).to(self.encoder.device)
        with torch.inference_mode():
            found = torch.stack([head(here, prompts) for head in self.heads]).mean(dim=0).cpu().numpy()
        return [np.asarray(row[: len(page)], np.float32) for row, page in zip(found, pages, strict=True)]

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, best first."""
        return [ranking_of(page, scores, self.name) for page, scores in zip(pages, self.score(pages), strict=True)]

    def save(self, folder: Path) -> None:
        """Write a model folder of kind ``vlm-whole-page``, its single-modal rankers inside.

        Raises:
            WeightsError: the folder holds something else, or weights are not finite.
        """
        kept = featurizer_files(self.featurizer)
        arrays: dict[str, NDArray[Any]] = dict(kept.arrays)
        for index, head in enumerate(self.heads):
            arrays |= {f"{index}.{key}": value.cpu().numpy() for key, value in head.state_dict().items()}
        config = {
            "name": self.name,
            **kept.config,
            "frozen": {"name": self.encoder.name, "fingerprint": self.encoder.fingerprint, **self.encoder.settings},
            "heads": len(self.heads),
            "sizes": self.heads[0].sizes,
            "adapters": self.heads[0].adapted.sizes,
            "made_of": self.made_of,
        }
        save_model(folder, KIND, config, arrays, children=kept.children)

    @classmethod
    def load(
        cls,
        folder: Path,
        encoder: VlmEncoder,
        vectors: ResultVectors,
        upstream: Scorer | None = None,
    ) -> VlmPageRanker:
        """Read a model folder.

        Args:
            encoder: the frozen model it was trained on.
            vectors: the frozen encoders it was trained on.
            upstream: the single-modal rankers, where they are of no kind that is kept in the folder.
        Raises:
            WeightsError: another kind, a damaged file, or a frozen model, settings of prompts, encoders or
                single-modal rankers other than those it was trained on.
        """
        folder = Path(folder)
        config, arrays = load_model(folder, KIND)
        with settings_of(folder):
            _check_frozen(folder, config["frozen"], encoder)
            featurizer = load_featurizer(folder, config, arrays, vectors, upstream)
            adapters, heads = Adapters(**config["adapters"]), []
            for index in range(config["heads"]):
                head = VlmPageHead(encoder, **config["sizes"], adapters=adapters)
                load_state(head, arrays, f"{index}.", folder)
                heads.append(head)
            return cls(featurizer, heads, config["made_of"], name=config["name"])


def _check_frozen(folder: Path, frozen: Mapping[str, Any], encoder: VlmEncoder) -> None:
    got = {"fingerprint": encoder.fingerprint, **encoder.settings}
    odd = [key for key in got if got[key] != frozen[key]]
    if odd:
        raise WeightsError(
            f"{folder}: got the frozen model {encoder.name!r} with {[(key, got[key]) for key in odd]}; allowed: "
            f"{frozen['name']!r} with {[(key, frozen[key]) for key in odd]}, which it was trained on; load that one"
        )
