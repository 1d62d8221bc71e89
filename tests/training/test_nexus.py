"""Schedules: what each stage is shown, what is watched, when it stops, and that a killed one goes on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.training.listwise_students import short_training, small_student, texts_of, world_lists

from wholepage.pages import InputError, Modality
from wholepage.pages.errors import Halted
from wholepage.rankers.listwise import ListwiseRanker
from wholepage.training.coreset import CoresetConfig
from wholepage.training.list_mixing import JOINT_SHARES
from wholepage.training.nexus import Fall, NexusConfig, Stage, _gate, _shown, fit_nexus, ndcg_by_list
from wholepage.training.small_vlm import make_small_vlm
from wholepage.training.taught import ListKind, TaughtList

TEXT = world_lists(8, Modality.TEXT)
IMAGE = world_lists(8, Modality.IMAGE, seed=4)
MIXED = world_lists(8, Modality.TEXT, Modality.IMAGE, seed=5, each=2)
LISTS = {"text": TEXT, "image": IMAGE, "joint": MIXED}
HELD_OUT = {ListKind.TEXT: TEXT[:3], ListKind.IMAGE: IMAGE[:3], ListKind.MIXED: MIXED[:3]}
STAGES = (
    Stage("text", short_training()),
    Stage("image", short_training(seed=1), replay=0.2),
    Stage("joint", short_training(seed=2), shares=dict(JOINT_SHARES)),
)


class Letters:
    """Counts letters; enough to tell lists apart."""

    name, dim = "letters", 26

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.array([[text.lower().count(chr(97 + i)) + 0.1 for i in range(26)] for text in texts], np.float32)


def test_a_schedule_from_end_to_end(tmp_path: Path) -> None:
    student = small_student([*TEXT, *IMAGE, *MIXED])
    outcome = fit_nexus(student, LISTS, HELD_OUT, NexusConfig(STAGES, window=4, stride=2))
    assert [report.name for report in outcome.stages] == ["text", "image", "joint"]
    assert [(report.kept, report.replayed, report.shown) for report in outcome.stages] == [
        (8, 0, 8),
        (8, 2, 10),
        (8, 0, 8),
    ]
    assert [[fall.kind for fall in report.falls] for report in outcome.stages] == [
        [],
        [ListKind.TEXT],
        [ListKind.TEXT, ListKind.IMAGE],
    ]
    assert outcome.stages[1].falls[0].before == outcome.stages[0].quality[ListKind.TEXT]
    assert outcome.trained_on == (*TEXT, *IMAGE, *MIXED)
    outcome.ranker.save(tmp_path / "model")
    pages = [one.page for one in MIXED]
    assert ListwiseRanker.load(tmp_path / "model").rank(pages) == outcome.ranker.rank(pages)


def test_a_schedule_that_was_killed_between_stages_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = fit_nexus(small_student([*TEXT, *IMAGE]), LISTS, {}, NexusConfig(STAGES[:2], window=4, stride=2))
    fit_nexus(small_student([*TEXT, *IMAGE]), LISTS, {}, NexusConfig(STAGES[:1], window=4, stride=2), folder=tmp_path)
    resumed = fit_nexus(
        small_student([*TEXT, *IMAGE]), LISTS, {}, NexusConfig(STAGES[:2], window=4, stride=2), folder=tmp_path
    )
    assert resumed.ranker.pretrained.fingerprint == whole.ranker.pretrained.fingerprint


def test_a_joint_stage_holds_the_shares() -> None:
    shown = _shown(MIXED, [*TEXT, *IMAGE], STAGES[2])
    kinds = [one.kind for one in shown]
    assert {kind: kinds.count(kind) for kind in ListKind} == {ListKind.MIXED: 4, ListKind.TEXT: 2, ListKind.IMAGE: 2}


def test_a_coreset_is_kept_and_needs_an_encoder() -> None:
    stage = Stage("text", short_training(lists=4), CoresetConfig(4))
    with pytest.raises(InputError, match="encoder"):
        fit_nexus(small_student(TEXT), LISTS, {}, NexusConfig((stage,), window=4, stride=2))
    outcome = fit_nexus(small_student(TEXT), LISTS, {}, NexusConfig((stage,), window=4, stride=2), encoder=Letters())
    assert (outcome.stages[0].lists, outcome.stages[0].kept) == (8, 4)


def test_what_was_forgotten_is_told_or_stops() -> None:
    fine, lost = (Fall("image", ListKind.TEXT, 0.80, after, 0.03) for after in (0.78, 0.70))
    assert (fine.too_far, lost.too_far) == (False, True)
    _gate((fine,), "stop")
    _gate((fine, lost), "report")
    with pytest.raises(
        Halted, match=r"stage 'image': got text lists from 0\.800 to 0\.700 nDCG; allowed: a loss of 0\.03"
    ):
        _gate((fine, lost), "stop")


def test_a_stage_without_lists_is_named() -> None:
    with pytest.raises(InputError, match=r"\['other'\]"):
        fit_nexus(small_student(TEXT), LISTS, {}, NexusConfig((Stage("other"),)))


def test_replay_and_shares_exclude_each_other() -> None:
    with pytest.raises(InputError, match="not beside shares"):
        Stage("joint", replay=0.1, shares=dict(JOINT_SHARES))


def test_ndcg_is_what_ir_measures_says() -> None:
    import ir_measures

    ranker = ListwiseRanker(make_small_vlm(texts_of(TEXT), seed=3))
    lists = world_lists(20, Modality.TEXT, seed=8, each=12)
    shifted: list[TaughtList] = [
        msgspec.structs.replace(one, targets=tuple(t - min(one.targets) for t in one.targets)) for one in lists
    ]
    ours = ndcg_by_list(ranker, shifted)
    for one, value, ranking in zip(shifted, ours, ranker.rank([one.page for one in shifted]), strict=True):
        gains = dict(zip(one.page.result_ids, (2 ** int(t) - 1 for t in one.targets), strict=True))
        run = {one.page.query_id: {r: float(-i) for i, r in enumerate(ranking.result_ids)}}
        found = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], {one.page.query_id: gains}, run)
        assert value == pytest.approx(found[ir_measures.nDCG @ 10], abs=1e-9)
