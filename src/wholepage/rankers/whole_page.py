"""The SMAR reranker: the results of a page look at each other, and each gets one score across modalities.

``WholePageRanker`` reads pages, asks the heads (``rankers.page_head``), and is saved and loaded as one model folder,
single-modal rankers included. Calibrated, it gives probabilities; it tells where it is in doubt, so that people are
asked there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, WeightsError
from wholepage.pages.model import Page, Ranking
from wholepage.pages.protocols import Scorer, ranking_of
from wholepage.rankers.calibration import Calibration
from wholepage.rankers.features import Featurizer
from wholepage.rankers.featurizer_files import featurizer_files, load_featurizer
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.page_head import (
    UNSEEN_TRUST,
    ItemBatch,
    PageHead,
    head_scores,
    head_spread,
    pad_items,
    tempered,
)
from wholepage.rankers.tower import load_state, settings_of
from wholepage.rankers.weights import load_model, save_model

__all__ = ["Doubt", "ItemBatch", "PageHead", "WholePageRanker", "head_scores", "head_spread", "pad_items"]

KIND = "whole-page"

Doubt = Literal["committee", "entropy"]
"""What makes a result doubtful: heads that disagree about its place, or a probability near one half."""


class WholePageRanker:
    """Ranks pages of mixed results by one score across modalities.

    Args:
        featurizer: reads pages.  heads: trained; their scores are averaged.
        made_of: what it was trained with (labels bought, strategy, losses), kept in the model folder.
        name: printed with every ranking.
        calibration: from scores to probabilities (``training.calibrate``); None = it gives none.
        unseen_trust: how far scores of modalities that training never saw are believed, see ``page_head.tempered``.
    Raises:
        InputError: no head, or a trust outside of [0, 1].
    """

    def __init__(
        self,
        featurizer: Featurizer,
        heads: Sequence[PageHead],
        made_of: Mapping[str, Any] | None = None,
        *,
        name: str = "smar",
        calibration: Calibration | None = None,
        unseen_trust: float = UNSEEN_TRUST,
    ) -> None:
        if not heads:
            raise InputError(f"{name}: got no head; allowed: at least one; train one")
        if not 0 <= unseen_trust <= 1:
            raise InputError(f"{name}: got unseen_trust {unseen_trust}; allowed: 0 to 1; {UNSEEN_TRUST} is usual")
        self.featurizer, self.heads, self.made_of, self._name = featurizer, tuple(heads), dict(made_of or {}), name
        self.calibration, self.unseen_trust = calibration, unseen_trust

    @property
    def name(self) -> str:
        return self._name

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Scores ``[len(page)]`` a page, comparable across modalities of one page.

        Raises:
            NoRanker: a modality that neither training nor ``read_as`` covers.
        """
        scores = head_scores(self.heads, self.featurizer.read(pages))
        return [
            tempered(of, self.featurizer.unseen(page), self.unseen_trust)
            for page, of in zip(pages, scores, strict=True)
        ]

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, best first."""
        return [ranking_of(page, scores, self.name) for page, scores in zip(pages, self.score(pages), strict=True)]

    def calibrated(self, calibration: Calibration) -> WholePageRanker:
        """The same ranker, giving probabilities; no order changes."""
        return WholePageRanker(
            self.featurizer,
            self.heads,
            self.made_of,
            name=self.name,
            calibration=calibration,
            unseen_trust=self.unseen_trust,
        )

    def probabilities(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """P(grade >= threshold of the calibration) of each result, ``[len(page)]`` a page; ordered as the scores.

        Raises:
            InputError: it is not calibrated.
        """
        calibration = self._need_calibration("probabilities")
        return [calibration.probabilities(scores) for scores in self.score(pages)]

    def doubts(self, pages: Sequence[Page], by: Doubt = "committee") -> list[NDArray[np.float32]]:
        """How unsure it is of each result, ``[len(page)]`` a page, higher = more; for ``active`` selection.

        Args:
            by: ``committee`` = how far its heads disagree (``head_spread``, in units of the scores); ``entropy`` = of
                P(relevant), in bits.
        Raises:
            InputError: another ``by``, a committee of one head, or entropy without calibration.
        """
        if by == "committee":
            return head_spread(self.heads, self.featurizer.read(pages))[1]
        if by == "entropy":
            calibration = self._need_calibration("entropy")
            return [calibration.entropies(scores) for scores in self.score(pages)]
        raise InputError(f"{self.name}: got doubts by {by!r}; allowed: 'committee', 'entropy'; choose one")

    def _need_calibration(self, what: str) -> Calibration:
        if self.calibration is None:
            raise InputError(
                f"{self.name}: got asked for {what} without a calibration; allowed: a calibrated ranker; "
                "fit one (training.calibrate.fit_calibration) and use ranker.calibrated(...)"
            )
        return self.calibration

    def save(self, folder: Path) -> None:
        """Write a model folder of kind ``whole-page``, its single-modal rankers inside.

        Raises:
            WeightsError: the folder holds something else, or weights are not finite.
        """
        kept = featurizer_files(self.featurizer)
        arrays = dict(kept.arrays)
        for index, head in enumerate(self.heads):
            arrays |= {f"{index}.{key}": value.numpy() for key, value in head.state_dict().items()}
        config = {
            "name": self.name,
            **kept.config,
            "heads": len(self.heads),
            "sizes": self.heads[0].sizes,
            "unseen_trust": self.unseen_trust,
            "made_of": self.made_of,
        }
        config |= {"calibration": msgspec.to_builtins(self.calibration)} if self.calibration else {}
        save_model(folder, KIND, config, arrays, children=kept.children)

    @classmethod
    def load(cls, folder: Path, vectors: ResultVectors, upstream: Scorer | None = None) -> WholePageRanker:
        """Read a model folder.

        Args:
            vectors: the frozen encoders it was trained on.
            upstream: the single-modal rankers, where they are of no kind that is kept in the folder.
        Raises:
            WeightsError: another kind, a damaged file, or encoders or single-modal rankers other than those it
                was trained on.
        """
        folder = Path(folder)
        config, arrays = load_model(folder, KIND)
        with settings_of(folder):
            featurizer = load_featurizer(folder, config, arrays, vectors, upstream)
            heads = []
            for index in range(config["heads"]):
                head = PageHead(**config["sizes"])
                load_state(head, arrays, f"{index}.", folder)
                heads.append(head)
            calibration = _load_calibration(folder, config)
            trust = config.get("unseen_trust", 1.0)  # folders from before it was kept
            name = config["name"]
            return cls(featurizer, heads, config["made_of"], name=name, calibration=calibration, unseen_trust=trust)


def _load_calibration(folder: Path, config: Mapping[str, Any]) -> Calibration | None:
    if "calibration" not in config:
        return None
    try:
        return msgspec.convert(config["calibration"], Calibration)
    except msgspec.ValidationError as error:
        raise WeightsError(f"{folder}: calibration: got {error}; allowed: what save wrote; save it again") from error
