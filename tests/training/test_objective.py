"""The objective: its terms add up, which pages teach under it, and pages of every shape leave it finite and whole."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Choice, Judgments, Preference
from wholepage.pages.model import Modality
from wholepage.rankers.features import PageItems
from wholepage.training.alignment import aligned_listwise, aligned_within, cross_modal_hinge, iso_tie
from wholepage.training.batches import Lesson, PageBatch, collate
from wholepage.training.loop import LoopConfig
from wholepage.training.losses import list_mle
from wholepage.training.objective import Alignment, SmarConfig, smar_loss, teaches
from wholepage.training.preferences import PagePairs, no_pairs, preferred
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import fit_smar

TEXT, IMAGE, VIDEO, ANSWER = Modality
CODES = {modality: code for code, modality in enumerate(Modality)}
NAN = math.nan
FORMS: tuple[Alignment, ...] = ("listwise", "pairwise", "kl")
EVERYTHING = SmarConfig(cross_weight=0.7, tie_weight=0.3, pair_weight=1.3, tie_eps=0.1, margin=0.8)
PEOPLE = msgspec.structs.replace(EVERYTHING, align="none")


def lesson(
    sizes: dict[Modality, int], seed: int = 0, *, silent: tuple[Modality, ...] = (), pairs: bool = True
) -> Lesson:
    """A page of so many results of each modality: grades, weights and opinions of some, two compared pairs."""
    draw = np.random.default_rng(seed)
    group = np.concatenate([np.full(size, CODES[m]) for m, size in sizes.items()])
    n = len(group)
    grades = np.where(draw.random(n) < 0.3, NAN, draw.integers(0, 4, n)).astype(np.float32)
    weights = np.where(np.isnan(grades), 0, 1 - 0.9 * draw.random(n)).astype(np.float32)
    teacher = np.where(draw.random(n) < 0.1, NAN, 2 * draw.standard_normal(n)).astype(np.float32)
    teacher[np.isin(group, [CODES[m] for m in silent])] = NAN
    index = np.array([draw.choice(n, 2, replace=False) for _ in range(2 if pairs and n > 1 else 0)]).reshape(-1, 2)
    compared = PagePairs(index.astype(np.int64), np.arange(len(index)) % 2 == 0, np.ones(len(index), np.float32))
    blank = np.zeros((n, 1), np.float32)
    return Lesson(PageItems(np.zeros(1, np.float32), blank, blank, group), grades, teacher, weights, compared)


def value_and_gradient(batch: PageBatch, config: SmarConfig, size: float = 1.0) -> tuple[float, Tensor]:
    drawn = torch.randn(batch.grades.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    scores = (size * drawn).requires_grad_()
    value = smar_loss(scores, batch, config)
    (gradient,) = torch.autograd.grad(value, scores)
    return value.item(), gradient


# --- its terms --------------------------------------------------------------------------------------------------------


def test_the_terms_add_up() -> None:
    batch = collate([lesson({TEXT: 5, IMAGE: 4}, 1), lesson({TEXT: 2, IMAGE: 1, ANSWER: 3}, 2)])
    items, weights, pairs = batch.items, batch.weights, batch.pairs
    assert weights is not None
    assert pairs is not None
    scores = torch.randn(batch.grades.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    parts = [
        list_mle(scores, batch.grades, items.mask, weights=weights),
        1.3 * preferred(scores, pairs, items.mask, margin=0.8, eps=0.1),
        0.7 * cross_modal_hinge(scores, batch.grades, items.group, items.mask, margin=0.8, weights=weights),
        0.3 * iso_tie(scores, batch.grades, items.group, items.mask, eps=0.1, weights=weights),
    ]
    assert min(map(float, parts)) > 0.01
    assert value_and_gradient(batch, PEOPLE)[0] == pytest.approx(float(sum(parts)))
    aligned = {
        "listwise": aligned_listwise(scores, batch.teacher, items.group),
        "pairwise": aligned_within(scores, batch.teacher, items.group, margin=0.8),
    }
    for form, term in aligned.items():
        config = msgspec.structs.replace(EVERYTHING, align=form, align_weight=2.0, teacher_depth=100.0)
        assert value_and_gradient(batch, config)[0] == pytest.approx(float(sum(parts) + 2 * term))
    config = SmarConfig(align_mean="ordered", page_weight=0.0, pair_weight=0.0, teacher_depth=100.0)
    over = aligned_listwise(scores, batch.teacher, items.group, mean_over="ordered")
    assert value_and_gradient(batch, config)[0] == pytest.approx(float(over))
    assert float(over) > 1.1 * float(aligned["listwise"])


def one(group: list[int], grades: list[float], teacher: list[float] | None = None, pairs: bool = False) -> Lesson:
    blank = np.zeros((len(group), 1), np.float32)
    items = PageItems(np.zeros(1, np.float32), blank, blank, np.array(group))
    opinions = np.array(teacher or [NAN] * len(group), np.float32)
    compared = PagePairs(np.array([[0, 1]]), np.array([False]), np.ones(1, np.float32)) if pairs else no_pairs()
    return Lesson(items, np.array(grades, np.float32), opinions, pairs=compared)


@pytest.mark.parametrize(
    ("taught", "terms"),
    [
        (one([0, 0, 1], [1, 2, NAN]), {"page_weight"}),
        (one([0, 1, 1], [1, 2, NAN]), {"page_weight", "cross_weight"}),
        (one([0, 1, 1], [2, 2, NAN]), {"tie_weight"}),
        (one([0, 0, 1], [2, 2, NAN]), set()),
        (one([0, 1, 1], [2, 2, 1]), {"page_weight", "cross_weight", "tie_weight"}),
        (one([0, 1], [NAN, NAN], pairs=True), {"pair_weight"}),
        (one([0, 1, 1], [NAN, 1, NAN]), set()),
        (one([0, 0, 1], [NAN] * 3, [1, 2, 5]), {"align_weight"}),
        (one([0, 1, 2], [NAN] * 3, [1, 2, 5]), set()),
        (one([0], [3], [1]), set()),
    ],
)
def test_a_page_teaches_where_its_loss_can_move(taught: Lesson, terms: set[str]) -> None:
    names = ("page_weight", "pair_weight", "cross_weight", "tie_weight", "align_weight")
    for name in names:
        config = SmarConfig(**{other: float(other == name) for other in names})
        assert teaches(taught, config) == (name in terms)
        gradient = value_and_gradient(collate([taught]), config, 0.1)[1]
        assert bool(gradient.any()) == (name in terms)


@pytest.mark.parametrize("name", ["pair_weight", "cross_weight", "tie_weight", "margin", "tie_eps"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    for wrong in (-0.1, NAN, math.inf):
        with pytest.raises(InputError, match=f"SmarConfig.{name}: got"):
            SmarConfig(**{name: wrong})  # type: ignore[arg-type]


def test_one_term_is_enough() -> None:
    nothing = {"page_weight": 0.0, "pair_weight": 0.0, "align": "none"}
    with pytest.raises(InputError, match="neither people's answers nor alignment"):
        SmarConfig(**nothing)  # type: ignore[arg-type]
    for name in ("page_weight", "pair_weight", "cross_weight", "tie_weight"):
        SmarConfig(**(nothing | {name: 1.0}))  # type: ignore[arg-type]


def test_settings_survive_json() -> None:
    config = msgspec.structs.replace(EVERYTHING, teacher_trust="measured", align_mean="ordered")
    assert msgspec.json.decode(msgspec.json.encode(config), type=SmarConfig) == config
    with pytest.raises(msgspec.ValidationError, match="teacher_trust"):
        msgspec.convert({"teacher_trust": "maybe"}, SmarConfig)


# --- pages of every shape ---------------------------------------------------------------------------------------------

SHAPES: dict[str, list[Lesson]] = {
    "no teacher of images": [lesson({TEXT: 5, IMAGE: 5}, 1, silent=(IMAGE,))],
    "no teacher at all": [lesson({TEXT: 5, IMAGE: 5}, 2, silent=(TEXT, IMAGE))],
    "one modality": [lesson({VIDEO: 6}, 3)],
    "a single image": [lesson({TEXT: 8, IMAGE: 1}, 4)],
    "forty to one": [lesson({TEXT: 40, IMAGE: 1}, 5), lesson({TEXT: 80, IMAGE: 2}, 6)],
    "200 results": [lesson({TEXT: 120, IMAGE: 60, ANSWER: 20}, 7)],
    "all four": [lesson({TEXT: 4, IMAGE: 3, VIDEO: 3, ANSWER: 2}, 8)],
    "one result": [lesson({ANSWER: 1}, 9)],
    "together": [
        lesson({TEXT: 1}, 10), lesson({TEXT: 30, VIDEO: 1}, 11), lesson({IMAGE: 4}, 12, silent=(IMAGE,), pairs=False),
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", list(SHAPES))
def test_pages_of_every_shape_are_finite_and_lose_no_other_term(shape: str, form: Alignment) -> None:
    """What people said costs the same as without alignment, and alignment the same as without people."""
    batch, config = collate(SHAPES[shape]), msgspec.structs.replace(EVERYTHING, align=form)
    alone = msgspec.structs.replace(
        config, page_weight=0.0, pair_weight=0.0, cross_weight=0.0, tie_weight=0.0, align_mean="ordered"
    )
    for both in (config, msgspec.structs.replace(config, align_mean="ordered")):
        for size in (0.0, 1.0, 1e4):
            value, gradient = value_and_gradient(batch, both, size)
            assert math.isfinite(value)
            assert bool(torch.isfinite(gradient).all())
            assert not gradient[~batch.items.mask].any()
    (value, gradient), people, aligned = (
        value_and_gradient(batch, of) for of in (msgspec.structs.replace(config, align_mean="ordered"), PEOPLE, alone)
    )
    assert value == pytest.approx(people[0] + aligned[0])
    torch.testing.assert_close(gradient, people[1] + aligned[1])
    assert bool(people[1].any()) == (shape != "one result")
    assert bool(aligned[1].any()) == (shape not in ("no teacher at all", "one result"))


@pytest.mark.parametrize("form", FORMS)
def test_a_modality_without_opinions_is_as_if_its_beta_were_0(form: Alignment) -> None:
    config = SmarConfig(align=form)
    silent = collate([lesson({TEXT: 5, IMAGE: 5}, 1, silent=(IMAGE,))])
    heard = collate([lesson({TEXT: 5, IMAGE: 5}, 1)])
    off = msgspec.structs.replace(config, betas={IMAGE: 0.0})
    assert value_and_gradient(silent, config)[0] == value_and_gradient(heard, off)[0]
    assert value_and_gradient(heard, config)[0] > value_and_gradient(heard, off)[0]


def pulls(form: Alignment, mean: str, many: int, few: int, depth: float) -> tuple[float, float]:
    """How hard the alignment of each of two modalities pulls at its scores: mean sum of absolute gradients a page."""
    taught = []
    for seed in range(60):
        page = lesson({TEXT: many, IMAGE: few}, seed)
        opinions = 2 * np.random.default_rng(seed).standard_normal(many + few)
        taught.append(Lesson(page.items, page.grades, opinions.astype(np.float32)))
    config = SmarConfig(align=form, page_weight=0.0, align_mean=mean, teacher_depth=depth)  # type: ignore[arg-type]
    gradient = value_and_gradient(collate(taught), config, 0.1)[1].abs()
    return float(gradient[:, :many].sum()), float(gradient[:, many:].sum())


@pytest.mark.parametrize(("form", "mean"), [("listwise", "ordered"), ("pairwise", "items"), ("kl", "items")])
@pytest.mark.parametrize(("many", "few"), [(80, 2), (200, 5)])
@pytest.mark.parametrize("depth", [2.0, 100.0])
def test_neither_side_of_an_uneven_page_drowns_the_other(
    form: Alignment, mean: str, many: int, few: int, depth: float
) -> None:
    large, small = pulls(form, mean, many, few, depth)
    assert 1 / 2.5 < large / small < 2.5


def test_over_all_items_a_long_tail_makes_its_modality_quiet() -> None:
    """Why ``align_mean`` can be set: most of a long list is tied tail, which costs nothing but counts."""
    large, small = pulls("listwise", "items", 200, 5, 2.0)
    assert large / small < 0.3
    large, small = pulls("listwise", "items", 200, 5, 100.0)
    assert large / small > 0.8


# --- and in training --------------------------------------------------------------------------------------------------

LOOP = LoopConfig(epochs=2, batch_size=4)
TOWERS = TowerConfig(folds=2, rank=4, hidden=4, loop=LOOP, teacher_loop=LOOP)


@pytest.mark.parametrize(
    ("sizes", "without"),
    [
        ({TEXT: 4, IMAGE: 4}, IMAGE),
        ({VIDEO: 5}, None),
        ({TEXT: 40, IMAGE: 1}, None),
        ({TEXT: 120, IMAGE: 60, ANSWER: 20}, None),
        ({TEXT: 3, IMAGE: 3, VIDEO: 3, ANSWER: 3}, VIDEO),
    ],
    ids=["no teacher of images", "one modality", "forty to one", "200 results", "all four"],
)
def test_pages_of_every_shape_train(
    planted: SimpleNamespace, sizes: dict[Modality, int], without: Modality | None
) -> None:
    made: Any = planted.world(8, sizes)
    fit = fit_single_modal(made.pages, made.single(), planted.fake_vectors(), TOWERS)
    teachers = [{m: ranking for m, ranking in of.items() if m is not without} for of in fit.teachers]
    fit = SingleModalFit(fit.upstream, fit.out_of_fold, teachers, fit.labels)
    compared = [Preference(p.query_id, p.result_ids[0], p.result_ids[1], Choice.LEFT) for p in made.pages]
    said = made.lifted({}, share=0.4).merge(Judgments(preferences=compared))
    weights = {q: dict.fromkeys(list(said.by_result(q))[:1], 0.5) for q in said.query_ids if said.by_result(q)}
    for form in FORMS:
        config = SmarConfig(
            align=form, align_mean="ordered", teacher_trust="measured", cross_weight=0.5, tie_weight=0.5,
            members=1, width=8, layers=1, heads=2, keep=8, loop=LOOP,
        )  # fmt: skip
        ranker = fit_smar(made.pages, said, fit, planted.fake_vectors(), config, weights=weights)
        scores = ranker.score(planted.world(2, sizes, prefix="new").pages)
        assert all(np.isfinite(of).all() and len(set(of.tolist())) > 1 for of in scores)
        assert ranker.made_of["page_pairs"] == 8
        assert set(ranker.made_of["teacher_trust"]) == {m.value for of in teachers for m in of}
