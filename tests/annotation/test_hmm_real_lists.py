"""The promise of the HMM on real lists: the error it claims is the real one.

Lists are ordered by BM25. It was trained on nothing, so that of all lists any half may teach what lists are like, and
the other be searched. Where BM25 is worse than chance on the half that teaches (mmdocir, whose evidence is short),
lists are turned over.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from wholepage.annotation.draws import drawn
from wholepage.annotation.hmm import HmmParameters, MonotoneHmm
from wholepage.annotation.hmm_fit import fit_hmm
from wholepage.annotation.said import Said
from wholepage.collections import open_collection
from wholepage.pages.model import Modality
from wholepage.pages.protocols import by_score
from wholepage.rankers.bm25 import BM25Scorer

MOST = 200
SPLITS = {
    "fashion": ("train", "dev"),
    "opencqa": ("train", "dev"),
    "mmdocir": ("train", "dev"),
    "grocery": ("train",),
    "financebench": ("dev",),
}


def lists_of(name: str, root: Path, modality: Modality) -> list[list[int]]:
    """Grades of lists in BM25's order, where every result has words; queries by a hash."""
    collection = open_collection(name, root)
    parts, grades = [], {}
    for split in SPLITS[name]:
        said = collection.judgments(split)
        for part in (page.only(modality) for page in collection.pages(split) if modality in page.modalities):
            if all(result.text.strip() for result in part.results):
                parts.append(part)
                grades[part.query_id] = said.by_result(part.query_id)
    parts = sorted(parts, key=lambda part: drawn(0, part.query_id))[:MOST]
    return [
        [round(grades[ranking.query_id][result_id]) for result_id in ranking.result_ids]
        for ranking in by_score(BM25Scorer()).rank(parts)
    ]


def turned(pilots: list[list[int]], lists: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Both, turned over if most pairs of the pilots stand the wrong way round."""
    pairs = [np.sign(a - b) for of in pilots for i, a in enumerate(of) for b in of[i + 1 :]]
    if sum(pairs) >= 0:
        return pilots, lists
    return [of[::-1] for of in pilots], [of[::-1] for of in lists]


@cache
def halves(name: str, root: Path, modality: Modality) -> list[tuple[HmmParameters, list[list[int]]]]:
    """What each half teaches, and the lists of the other."""
    lists = lists_of(name, root, modality)
    parts = [turned(lists[::2], lists[1::2]), turned(lists[1::2], lists[::2])]
    return [(fit_hmm(pilots, 4), held_out) for pilots, held_out in parts]


def measured(parameters: HmmParameters, held_out: Sequence[Sequence[int]], error: float) -> np.ndarray:
    """Results, questions, claimed and real errors, summed."""
    draw = np.random.default_rng(0)
    sums = np.zeros(4)
    for grades in held_out:
        engine = MonotoneHmm(len(grades), parameters, 0.05, error=error, overlap=3 if error else 1)
        said: list[Said] = []
        misread = {}
        while (index := engine.next_question(said)) is not None:
            who = f"p{sum(one.index == index for one in said)}"
            misread[index, who] = draw.integers(1, 4) if draw.random() < error else 0
            said.append(Said(index, int(grades[index] + misread[index, who]) % 4, who))
        posterior = engine.posterior(said)
        wrong = (posterior.argmax(1) != grades).sum()
        sums += len(grades), len(said), (1 - posterior.max(1)).sum(), wrong
    return sums


@pytest.mark.slow
@pytest.mark.parametrize("error", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "modalities"),
    [
        ("fashion", [Modality.TEXT]),
        ("opencqa", [Modality.TEXT, Modality.IMAGE]),
        ("mmdocir", [Modality.TEXT, Modality.IMAGE]),
        ("grocery", [Modality.TEXT]),
        ("financebench", [Modality.TEXT, Modality.IMAGE, Modality.ANSWER]),
    ],
)
def test_what_is_claimed_is_real(name: str, modalities: list[Modality], error: float, data_root: Path) -> None:
    sums = np.zeros(4)
    for modality in modalities:
        for parameters, held_out in halves(name, data_root, modality):
            sums += measured(parameters, held_out, error)
    results, asked, claimed, real = sums
    assert results > 500
    assert asked < results
    assert abs(claimed - real) / results <= 0.02, f"claimed {claimed / results:.4f}, real {real / results:.4f}"
