"""SMAR: its loss against its parts, its training on a planted world where modalities stand apart, and its promises."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from wholepage.pages.errors import InputError, PageError, ShapeError, WeightsError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality
from wholepage.rankers.features import PageItems
from wholepage.rankers.fusion import ZScoreMerge
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.batches import Lesson, PageBatch, collate
from wholepage.training.loop import LoopConfig, Progress
from wholepage.training.losses import list_mle, pairwise_hinge
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import Alignment, SmarConfig, fit_featurizer, fit_smar, smar_loss

TEXT, IMAGE, VIDEO, ANSWER = Modality.TEXT, Modality.IMAGE, Modality.VIDEO, Modality.ANSWER
CODES = {modality: code for code, modality in enumerate(Modality)}
SRC = Path(__file__).parents[2] / "src"
TOWER_LOOP = LoopConfig(epochs=20, batch_size=16, learning_rate=0.02)
TOWERS = TowerConfig(folds=2, rank=8, hidden=8, dropout=0.0, loop=TOWER_LOOP, teacher_loop=TOWER_LOOP)
CONFIG = SmarConfig(
    members=1, width=16, layers=1, heads=2, dropout=0.0,
    loop=LoopConfig(epochs=20, batch_size=8, learning_rate=5e-3),
)  # fmt: skip
SHORT = msgspec.structs.replace(CONFIG, dropout=0.1, loop=LoopConfig(epochs=2, batch_size=16))
OFFSETS = [{IMAGE: 2}, {TEXT: 2}]


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace) -> Any:
    return planted.world(60)


@pytest.fixture(scope="module")
def fit(planted: SimpleNamespace, made: Any) -> SingleModalFit:
    return fit_single_modal(made.pages, made.single(), planted.fake_vectors(), TOWERS)


@pytest.fixture(scope="module")
def held(planted: SimpleNamespace) -> Any:
    return planted.world(40, prefix="held")


def changed(config: SmarConfig, **changes: Any) -> SmarConfig:
    return msgspec.structs.replace(config, **changes)


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def batch() -> PageBatch:
    """Four pages of 1 to 7 results: interleaved modalities, grades and opinions that are partly missing."""
    draw = np.random.default_rng(3)
    lessons = []
    for count in (7, 5, 2, 1):
        group = draw.choice([CODES[TEXT], CODES[IMAGE], CODES[ANSWER]], count)
        grades = np.where(draw.random(count) < 0.3, np.nan, draw.integers(0, 4, count)).astype(np.float32)
        teacher = np.where(draw.random(count) < 0.2, np.nan, draw.standard_normal(count)).astype(np.float32)
        blank = np.zeros((count, 1), np.float32)
        lessons.append(Lesson(PageItems(np.zeros(1, np.float32), blank, blank, group), grades, teacher))
    return collate(lessons)


@pytest.fixture
def scores(batch: PageBatch) -> Tensor:
    drawn = torch.randn(batch.grades.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return drawn.requires_grad_()


def kl_by_hand(scores: Tensor, teacher: Tensor) -> Tensor:
    standard = (teacher.double() - teacher.double().mean()) / teacher.double().std(correction=0)
    wanted, given = standard.softmax(0), scores.softmax(0)
    return (wanted * (wanted.log() - given.log())).sum()


def by_hand(form: str, scores: Tensor, batch: PageBatch, betas: Mapping[Modality, float]) -> Tensor:
    """Sum over modalities of beta times the mean over the pages that have two opinions, page by page."""
    total = torch.zeros((), dtype=torch.float64)
    for modality, code in CODES.items():
        values = []
        for row, teacher, group in zip(scores, batch.teacher, batch.items.group, strict=True):
            mine = (group == code) & ~torch.isnan(teacher)
            if len(set(teacher[mine].tolist())) < 2:
                continue
            f, g = row[mine], teacher[mine]
            everything = torch.ones(1, len(f), dtype=torch.bool)
            values.append(
                kl_by_hand(f, g)
                if form == "kl"
                else (list_mle if form == "listwise" else pairwise_hinge)(f[None], g[None], everything)
            )
        if values:
            total = total + betas.get(modality, 1.0) * torch.stack(values).mean()
    return total


@pytest.mark.parametrize("form", ["listwise", "pairwise", "kl"])
@pytest.mark.parametrize("betas", [{}, {TEXT: 0.25}, {TEXT: 0.0, IMAGE: 3.0}, {VIDEO: 7.0}])
@pytest.mark.parametrize(("page_weight", "align_weight"), [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0), (1.0, 0.0)])
def test_the_loss_is_the_sum_of_its_parts(
    batch: PageBatch,
    scores: Tensor,
    form: Alignment,
    betas: dict[Modality, float],
    page_weight: float,
    align_weight: float,
) -> None:
    config = SmarConfig(align=form, betas=betas, page_weight=page_weight, align_weight=align_weight)
    wanted = page_weight * list_mle(scores, batch.grades, batch.items.mask)
    wanted = wanted + align_weight * by_hand(form, scores, batch, betas)
    torch.testing.assert_close(smar_loss(scores, batch, config), wanted, rtol=1e-5, atol=1e-6)


def test_the_parts_are_not_nothing(batch: PageBatch, scores: Tensor) -> None:
    scores = scores.detach()
    assert float(list_mle(scores, batch.grades, batch.items.mask)) > 0.1
    for form in ("listwise", "pairwise", "kl"):
        assert float(by_hand(form, scores, batch, {IMAGE: 0.0})) > 0.1
        assert float(by_hand(form, scores, batch, {TEXT: 0.0})) > 0.1


def test_without_alignment_only_page_grades_teach(batch: PageBatch, scores: Tensor) -> None:
    config = SmarConfig(align="none", align_weight=5.0)
    other = PageBatch(batch.items, batch.grades, torch.full_like(batch.teacher, math.nan))
    scores = scores.detach()
    value = smar_loss(scores, batch, config)
    assert float(value) == float(smar_loss(scores, other, config))
    assert float(value) == float(list_mle(scores, batch.grades, batch.items.mask))


@pytest.mark.parametrize("form", ["listwise", "pairwise", "kl"])
def test_without_page_weight_grades_do_not_matter(batch: PageBatch, scores: Tensor, form: Alignment) -> None:
    config = SmarConfig(align=form, page_weight=0.0)
    other, scores = PageBatch(batch.items, batch.grades.flip(1), batch.teacher), scores.detach()
    assert float(smar_loss(scores, batch, config)) == float(smar_loss(scores, other, config))


def test_results_that_were_not_bought_do_not_touch_the_page_loss(batch: PageBatch, scores: Tensor) -> None:
    config = SmarConfig(align="none")
    bought = ~torch.isnan(batch.grades)
    assert bool((~bought & batch.items.mask).any())
    smar_loss(scores, batch, config).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert not scores.grad[~bought].any()
    assert scores.grad[bought].any()
    moved = torch.where(bought, scores.detach(), scores.detach() + 100.0)
    assert float(smar_loss(moved, batch, config)) == float(smar_loss(scores.detach(), batch, config))


def test_padding_does_not_touch_the_loss(batch: PageBatch, scores: Tensor) -> None:
    for form in ("none", "listwise", "pairwise", "kl"):
        config = SmarConfig(align=form)
        moved = torch.where(batch.items.mask, scores.detach(), 50.0)
        torch.testing.assert_close(smar_loss(moved, batch, config), smar_loss(scores.detach(), batch, config))


def test_a_batch_that_teaches_nothing_costs_nothing_and_keeps_the_gradient(batch: PageBatch, scores: Tensor) -> None:
    empty = torch.full_like(batch.grades, math.nan)
    value = smar_loss(scores, PageBatch(batch.items, empty, empty), SmarConfig())
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == 0.0
    assert scores.grad is not None
    assert not scores.grad.any()


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", OFFSETS, ids=["images lifted", "texts lifted"])
def test_a_tenth_of_the_labels_beats_z_scores(
    planted: SimpleNamespace, made: Any, held: Any, fit: SingleModalFit, offset: dict[Modality, int]
) -> None:
    truth = held.lifted(offset)
    bought = made.lifted(offset, share=0.1)
    assert len(bought) < 0.11 * 60 * 12
    ranker = fit_smar(made.pages, bought, fit, planted.fake_vectors(), CONFIG)
    ours, theirs = ranker.rank(held.pages), ZScoreMerge(fit.upstream).rank(held.pages)
    assert planted.ndcg(ours, truth) > planted.ndcg(theirs, truth) + 0.05
    assert planted.ndcg(ours, truth) > 0.93
    across = [planted.pair_accuracy(o, held.pages, truth, across=True) for o in (ours, theirs)]
    assert across[0] > across[1] + 0.1
    assert planted.pair_accuracy(ours, held.pages, truth, across=False) > 0.95
    assert ranker.made_of["page_labels"] == len(bought)


def test_alignment_keeps_the_order_within_that_few_labels_alone_lose(
    planted: SimpleNamespace, made: Any, held: Any, fit: SingleModalFit
) -> None:
    bought, truth = made.lifted(OFFSETS[0], share=0.1), held.lifted(OFFSETS[0])
    within = {}
    for form in ("none", "listwise", "pairwise", "kl"):
        ranker = fit_smar(made.pages, bought, fit, planted.fake_vectors(), changed(CONFIG, align=form))
        within[form] = planted.pair_accuracy(ranker.rank(held.pages), held.pages, truth, across=False)
    assert min(within[form] for form in ("listwise", "pairwise", "kl")) > max(0.95, within["none"])


def test_alignment_alone_cannot_tell_how_modalities_compare(
    planted: SimpleNamespace, made: Any, held: Any, fit: SingleModalFit
) -> None:
    """In one world every image beats every text, in the other the reverse: one order cannot be right in both."""
    config = changed(CONFIG, page_weight=0.0)
    ranker = fit_smar(made.pages, Judgments(), fit, planted.fake_vectors(), config)
    order = ranker.rank(held.pages)
    images, texts = held.lifted({IMAGE: 4}), held.lifted({TEXT: 4})
    across = [planted.pair_accuracy(order, held.pages, truth, across=True) for truth in (images, texts)]
    assert sum(across) == pytest.approx(1.0)
    assert planted.pair_accuracy(order, held.pages, images, across=False) > 0.95
    # The bought labels of either world settle it.
    for offset, truth in (({IMAGE: 4}, images), ({TEXT: 4}, texts)):
        taught = fit_smar(made.pages, made.lifted(offset, share=0.1), fit, planted.fake_vectors(), CONFIG)
        assert planted.pair_accuracy(taught.rank(held.pages), held.pages, truth, across=True) > 0.75


def test_alignment_alone_does_not_look_at_grades(planted: SimpleNamespace, made: Any, fit: SingleModalFit) -> None:
    config = changed(SHORT, page_weight=0.0)
    without, given = (
        fit_smar(made.pages, said, fit, planted.fake_vectors(), config)
        for said in (Judgments(), made.lifted(OFFSETS[0]))
    )
    assert states_equal(without, given)
    assert (without.made_of["page_labels"], given.made_of["page_labels"]) == (0, 60 * 12)


def states_equal(one: WholePageRanker, other: WholePageRanker) -> bool:
    pairs = zip(one.heads, other.heads, strict=True)
    return all(
        torch.equal(a, b)
        for x, y in pairs
        for a, b in zip(x.state_dict().values(), y.state_dict().values(), strict=True)
    )


# --- what is kept -----------------------------------------------------------------------------------------------------


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_two_runs_save_the_same_bytes(planted: SimpleNamespace, made: Any, tmp_path: Path) -> None:
    pages, said = made.pages[:20], made.single().restrict({p.query_id: p.result_ids for p in made.pages[:20]})
    brief = msgspec.structs.replace(TOWER_LOOP, epochs=2)
    towers = msgspec.structs.replace(TOWERS, dropout=0.1, loop=brief, teacher_loop=brief)
    for name in ("one", "two", "other"):
        single = fit_single_modal(pages, said, planted.fake_vectors(), towers)
        loop = msgspec.structs.replace(SHORT.loop, seed=1 if name == "other" else 0)
        config = changed(SHORT, members=2, loop=loop)
        fit_smar(pages, said, single, planted.fake_vectors(), config).save(tmp_path / name)
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert {name.split(".")[-1] for name in one} == {"json", "safetensors"}
    assert one["arrays.safetensors"] != other["arrays.safetensors"]
    assert one["single-text/arrays.safetensors"] == other["single-text/arrays.safetensors"]


def test_a_saved_model_ranks_as_before(
    planted: SimpleNamespace, made: Any, fit: SingleModalFit, tmp_path: Path
) -> None:
    """A modality that was never trained on included: it was placed last, and still is."""
    mixed = planted.world(20, {TEXT: 4, VIDEO: 2})
    labels = mixed.single().restrict({p.query_id: p.only(TEXT).result_ids for p in mixed.pages})
    single = fit_single_modal(mixed.pages, labels, planted.fake_vectors(), TOWERS)
    assert VIDEO not in single.upstream.scorers
    ranker = fit_smar(mixed.pages, mixed.lifted({}, share=0.5), single, planted.fake_vectors(), SHORT)
    ranker.save(tmp_path / "model")
    again = WholePageRanker.load(tmp_path / "model", planted.fake_vectors())
    new = planted.world(5, {TEXT: 3, VIDEO: 2}, prefix="new").pages
    assert again.rank(new) == ranker.rank(new)
    assert again.made_of == ranker.made_of


def test_made_of_counts_page_labels_and_says_how(planted: SimpleNamespace, made: Any, fit: SingleModalFit) -> None:
    bought = made.lifted(OFFSETS[0], share=0.23, seed=4)
    assert 100 < len(bought) < 250
    config = changed(SHORT, betas={IMAGE: 0.5})
    ranker = fit_smar(
        made.pages, bought, fit, planted.fake_vectors(), config, made_of={"strategy": "random"}, name="mine"
    )
    assert ranker.name == "mine"
    assert ranker.made_of["page_labels"] == len(bought)
    assert ranker.made_of["single_modal_labels"] == 60 * 12
    assert ranker.made_of["pages"] == 60
    assert ranker.made_of["strategy"] == "random"
    assert msgspec.convert(json.loads(json.dumps(ranker.made_of["config"])), SmarConfig) == config


def test_members_are_averaged(planted: SimpleNamespace, made: Any, fit: SingleModalFit) -> None:
    ranker = fit_smar(made.pages, Judgments(), fit, planted.fake_vectors(), changed(SHORT, members=2))
    assert len(ranker.heads) == 2
    pages = made.pages[:3]
    alone = [WholePageRanker(ranker.featurizer, [head]).score(pages) for head in ranker.heads]
    for mean, one, two in zip(ranker.score(pages), *alone, strict=True):
        np.testing.assert_allclose(mean, (one + two) / 2, rtol=1e-5, atol=1e-6)
        assert np.abs(one - two).max() > 1e-3


def test_a_featurizer_can_be_shared(planted: SimpleNamespace, made: Any, fit: SingleModalFit) -> None:
    vectors, bought = planted.fake_vectors(), made.lifted(OFFSETS[0], share=0.1)
    featurizer = fit_featurizer(made.pages, fit, vectors, SHORT)
    given = fit_smar(made.pages, bought, fit, vectors, SHORT, featurizer=featurizer)
    assert given.featurizer is featurizer
    assert states_equal(given, fit_smar(made.pages, bought, fit, vectors, SHORT))


def test_modalities_not_seen_are_read_as_what_they_are_like(
    planted: SimpleNamespace, made: Any, fit: SingleModalFit
) -> None:
    ranker = fit_smar(made.pages, Judgments(), fit, planted.fake_vectors(), SHORT)
    assert ranker.featurizer.read_as == {ANSWER: TEXT, VIDEO: IMAGE}
    new = planted.world(3, {TEXT: 2, VIDEO: 2, ANSWER: 2}, prefix="new").pages
    assert all(np.isfinite(scores).all() for scores in ranker.score(new))


# --- pages of every shape ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    [{TEXT: 5}, {TEXT: 5, IMAGE: 1}, {TEXT: 30, IMAGE: 2}, {TEXT: 3, IMAGE: 3, VIDEO: 3, ANSWER: 3}],
    ids=["one modality", "a single image", "30 to 2", "all four"],
)
def test_pages_of_every_shape_train_and_score(planted: SimpleNamespace, sizes: dict[Modality, int]) -> None:
    made = planted.world(14, sizes, vary=True)
    single = fit_single_modal(made.pages, made.single(), planted.fake_vectors(), TOWERS)
    for form in ("listwise", "kl"):
        config = changed(SHORT, align=form)
        ranker = fit_smar(made.pages, made.lifted({}, share=0.4), single, planted.fake_vectors(), config)
        scores = ranker.score(planted.world(4, sizes, prefix="new", vary=True).pages)
        assert all(np.isfinite(one).all() for one in scores)
        assert all(len(set(one.tolist())) > 1 for one in scores)


# --- killed and resumed -----------------------------------------------------------------------------------------------

# What the killed process runs: everything of `whole_training` below, dying by SIGKILL after so many steps.
DYING = """
import importlib.util, json, os, signal, sys
from pathlib import Path

told = json.loads(sys.argv[1])
for name in ("planted", "tests_of_smar"):
    spec = importlib.util.spec_from_file_location(name, told[name])
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
steps = 0

def dying(done, total, what):
    global steps
    steps += 1
    if steps == told["at"]:
        os.kill(os.getpid(), signal.SIGKILL)

sys.modules["tests_of_smar"].torch.set_num_threads(1)
sys.modules["tests_of_smar"].whole_training(sys.modules["planted"], Path(told["folder"]), dying)
"""


def whole_training(planted: Any, folder: Path | None, progress: Progress) -> WholePageRanker:
    """Six towers and two heads, four steps each, a checkpoint every two."""
    made, vectors = planted.world(16), planted.fake_vectors()
    loop = LoopConfig(epochs=2, batch_size=8, checkpoint_steps=2)
    towers = TowerConfig(folds=2, rank=4, hidden=4, loop=loop, teacher_loop=loop)
    towers_at, heads_at = (None, None) if folder is None else (folder / "towers", folder / "heads")
    single = fit_single_modal(made.pages, made.single(), vectors, towers, folder=towers_at, progress=progress)
    config = SmarConfig(members=2, width=8, layers=1, heads=2, loop=loop)
    bought = made.lifted({IMAGE: 2}, share=0.3)
    return fit_smar(made.pages, bought, single, vectors, config, folder=heads_at, progress=progress)


def test_a_killed_training_ends_with_the_bytes_of_one_that_was_not(planted: SimpleNamespace, tmp_path: Path) -> None:
    """Killed by SIGKILL in the second tower, and once more in the second head."""
    told: list[str] = []
    whole_training(planted, None, lambda done, total, what: told.append(what)).save(tmp_path / "whole")
    total, in_the_second_head = len(told), told.index("smar, head 2 of 2") + 3
    first = told.index("text ranker, without fold 2") + 1
    for at in (first, in_the_second_head - first + 1):  # the first step of the second tower is lost
        order = {"planted": planted.file, "tests_of_smar": __file__, "folder": str(tmp_path / "kept"), "at": at}
        killed = subprocess.run(
            [sys.executable, "-c", DYING, json.dumps(order)],
            env={**os.environ, "PYTHONPATH": str(SRC)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    told.clear()
    last = whole_training(planted, tmp_path / "kept", lambda done, total, what: told.append(what))
    assert told == ["smar, head 2 of 2"] * (total - in_the_second_head + 1)  # what was done was not done again
    last.save(tmp_path / "resumed")
    assert digests(tmp_path / "resumed") == digests(tmp_path / "whole")


@pytest.mark.parametrize(
    "other",
    [
        {"align": "pairwise"},
        {"align_weight": 0.5},
        {"betas": {TEXT: 0.5}},
        {"page_weight": 0.5},
        {"dropout": 0.2},
        {"loop": msgspec.structs.replace(SHORT.loop, seed=1)},
        {"judgments": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_the_checkpoint_of_another_training_is_refused(
    planted: SimpleNamespace, made: Any, fit: SingleModalFit, tmp_path: Path, other: dict[str, Any]
) -> None:
    """First weights and pages are the same in all of them: nothing but what is taught tells them apart."""
    pages, some, vectors = made.pages[:6], fit.subset(range(6)), planted.fake_vectors()
    bought = made.lifted({}, share=0.5).restrict({p.query_id: p.result_ids for p in pages})
    config = changed(SHORT, loop=LoopConfig(epochs=1, batch_size=16))
    fit_smar(pages, bought, some, vectors, config, folder=tmp_path)
    fit_smar(pages, bought, some, vectors, config, folder=tmp_path)
    if other.pop("judgments", False):
        bought = bought.restrict({p.query_id: p.result_ids[1:] for p in pages})
    with pytest.raises(WeightsError, match="another run"):
        fit_smar(pages, bought, some, vectors, changed(config, **other), folder=tmp_path)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_judgment_off_the_page_is_refused(planted: SimpleNamespace, made: Any, fit: SingleModalFit) -> None:
    for said in ({"q0": {"ghost": 1.0}}, {"elsewhere": {"text0": 1.0}}):
        with pytest.raises(PageError, match=r"ghost|elsewhere"):
            fit_smar(made.pages, Judgments.from_mapping(said), fit, planted.fake_vectors(), SHORT)


def test_a_fit_of_other_pages_is_refused(planted: SimpleNamespace, made: Any, fit: SingleModalFit) -> None:
    with pytest.raises(ShapeError, match="60 teachers for 59 pages"):
        fit_smar(made.pages[1:], Judgments(), fit, planted.fake_vectors(), SHORT)


@pytest.mark.parametrize("case", ["no judgments", "equal grades", "one grade a page", "no beta", "no opinions"])
def test_nothing_teaches(planted: SimpleNamespace, made: Any, fit: SingleModalFit, case: str) -> None:
    said, config, single = Judgments(), changed(SHORT, align="none"), fit
    if case == "equal grades":
        said = Judgments.from_mapping({p.query_id: dict.fromkeys(p.result_ids, 2.0) for p in made.pages})
    elif case == "one grade a page":
        said = Judgments.from_mapping({p.query_id: {"text0": float(i % 4)} for i, p in enumerate(made.pages)})
    elif case == "no beta":
        config = changed(SHORT, betas={TEXT: 0.0, IMAGE: 0.0})
    elif case == "no opinions":
        config, single = SHORT, SingleModalFit(fit.upstream, fit.out_of_fold, [{}] * 60, fit.labels)
    with pytest.raises(InputError, match="smar: got no page that teaches among 60"):
        fit_smar(made.pages, said, single, planted.fake_vectors(), config)


@pytest.mark.parametrize(
    "wrong",
    [
        {"members": 0},
        {"page_weight": -1.0},
        {"align_weight": math.nan},
        {"betas": {TEXT: -0.5}},
        {"betas": {TEXT: math.inf}},
        {"page_weight": 0.0, "pair_weight": 0.0, "align": "none"},
        {"page_weight": 0.0, "pair_weight": 0.0, "align_weight": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="got"):
        SmarConfig(**wrong)


def test_settings_survive_json() -> None:
    config = SmarConfig(align="kl", betas={IMAGE: 0.5}, read_as={ANSWER: TEXT})
    assert msgspec.json.decode(msgspec.json.encode(config), type=SmarConfig) == config
