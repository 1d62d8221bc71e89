"""The weights that come with the package: whole, small, and better than chance at what they were trained for."""

from __future__ import annotations

import numpy as np
import pytest

import wholepage
from wholepage.collections.synthetic import Synthetic
from wholepage.pages import InputError, Modality
from wholepage.rankers.listwise import ListwiseRanker
from wholepage.rankers.shipped import RELEASE, SHIPPED, shipped
from wholepage.training.nexus import ndcg_by_list
from wholepage.training.taught import TaughtList


def test_everything_together_is_small() -> None:
    assert sum(path.stat().st_size for path in RELEASE.rglob("*") if path.is_file()) < 20 * 10**6
    assert not [path for path in RELEASE.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pickle")]


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_it_ranks_by_name_as_from_its_folder(name: str) -> None:
    page = next(Synthetic(2, 5, dev_share=0.0, modalities=(Modality.TEXT, Modality.IMAGE)).pages("train"))
    by_name = wholepage.load(name).rank([page])
    assert by_name == ListwiseRanker.load(shipped(name)).rank([page])
    by_name[0].check(page)


def test_it_beats_a_random_order_on_lists_it_never_saw() -> None:
    world = Synthetic(60, 4321, dev_share=0.0, results_per_modality=(6, 6), noise=0.5,
                      modalities=(Modality.TEXT, Modality.IMAGE))  # fmt: skip
    judged, lists = world.judgments("train"), []
    for page in world.pages("train"):
        grades = {grade.result_id: grade.grade for grade in judged.grades(page.query_id)}
        if len(set(grades.values())) > 1:
            lists.append(TaughtList.graded(page, grades, "world"))
    ours = ndcg_by_list(ListwiseRanker.load(shipped("listwise-small")), lists)
    rng, chance = np.random.default_rng(0), []
    for one in lists:
        gains = np.exp2(np.array(one.targets) - min(one.targets)) - 1
        discount = 1 / np.log2(np.arange(10) + 2)
        best = np.sort(gains)[::-1][:10] @ discount
        chance.append(np.mean([rng.permutation(gains)[:10] @ discount / best for _ in range(50)]))
    assert ours.mean() > np.mean(chance) + 0.05


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="listwise-small"):
        shipped("listwise-huge")
