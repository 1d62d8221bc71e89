"""A ranker of your own beside the ones here, measured on judged pages: python examples/your_own_ranker.py"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import wholepage
from wholepage.evaluation.measures import evaluate
from wholepage.rankers.bm25 import BM25Scorer
from wholepage.rankers.fusion import SingleModal, ZScoreMerge


class Popularity:
    """A Scorer: a name, and one number a result, higher is better, NaN for no opinion."""

    name = "popularity"

    def score(self, pages: Sequence[wholepage.Page]) -> list[NDArray[np.float32]]:
        """How often each result was clicked, whatever was asked."""
        return [np.array([r.features.get("clicks", np.nan) for r in page.results], np.float32) for page in pages]


world = wholepage.open_collection("synthetic", queries=100, seed=1)  # generated pages of all four modalities
pages, judgments = list(world.pages("dev")), world.judgments("dev")

texts, clicks = BM25Scorer(), Popularity()
by_modality = {
    wholepage.Modality.TEXT: texts,
    wholepage.Modality.ANSWER: texts,
    wholepage.Modality.IMAGE: clicks,  # nothing to read in these pictures
    wholepage.Modality.VIDEO: clicks,
}
for ranker in (wholepage.by_score(clicks), ZScoreMerge(SingleModal(by_modality))):
    rankings = ranker.rank(pages)
    measured = evaluate(rankings, judgments, ["nDCG@10", "RR(rel=3)@10"])
    print(f"{ranker.name}: {measured.means()}")
