"""Preferences: how answers become pairs, their loss against plain loops, and pages that only preferences teach."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from wholepage.pages.errors import InputError, PageError, ShapeError, WeightsError
from wholepage.pages.judgments import Choice, Judgments, Preference
from wholepage.pages.model import Modality, Page, Query, Result
from wholepage.rankers.features import PageItems
from wholepage.training.batches import Lesson, collate, supervise
from wholepage.training.loop import LoopConfig
from wholepage.training.preferences import PagePairs, PairBatch, no_pairs, pad_pairs, pairs_of, preferred
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_smar

TEXT, IMAGE = Modality.TEXT, Modality.IMAGE
LEFT, SAME, RIGHT = Choice.LEFT, Choice.SAME, Choice.RIGHT
PAGE = Page(Query("q", "words"), tuple(Result(i, TEXT, i) for i in "abcd"))
CONFIG = SmarConfig(
    align="none", members=1, width=16, layers=1, heads=2, dropout=0.0,
    loop=LoopConfig(epochs=15, batch_size=8, learning_rate=5e-3),
)  # fmt: skip


def prefer(left: str, right: str, choice: Choice, who: str = "ann") -> Preference:
    return Preference("q", left, right, choice, who)


def told(pairs: PagePairs) -> set[tuple[str, str, bool, float]]:
    return {
        ("abcd"[one], "abcd"[other], bool(strict), round(float(share), 6))
        for (one, other), strict, share in zip(pairs.index, pairs.strict, pairs.share, strict=True)
    }


# --- answers become pairs ---------------------------------------------------------------------------------------------


def test_the_better_one_comes_first() -> None:
    said = [prefer("a", "b", LEFT), prefer("a", "c", RIGHT), prefer("d", "b", SAME)]
    assert told(pairs_of(PAGE, said)) == {("a", "b", True, 1.0), ("c", "a", True, 1.0), ("b", "d", False, 1.0)}


def test_people_who_contradict_each_other_share_the_weight_of_one_pair() -> None:
    said = [
        prefer("a", "b", LEFT), prefer("b", "a", RIGHT, "bob"), prefer("a", "b", RIGHT, "cat"),
        prefer("b", "a", SAME, "dan"), prefer("c", "d", LEFT),
    ]  # fmt: skip
    assert told(pairs_of(PAGE, said)) == {
        ("a", "b", True, 0.5), ("b", "a", True, 0.25), ("a", "b", False, 0.25), ("c", "d", True, 1.0),
    }  # fmt: skip


def test_the_order_of_the_answers_does_not_matter() -> None:
    said = [prefer("a", "b", LEFT), prefer("c", "b", LEFT), prefer("a", "b", RIGHT, "bob"), prefer("d", "a", SAME)]
    one, other = pairs_of(PAGE, said), pairs_of(PAGE, said[::-1])
    for name in ("index", "strict", "share"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_nothing_compared_is_no_pair() -> None:
    assert len(pairs_of(PAGE, [])) == len(no_pairs()) == 0
    assert no_pairs().index.shape == (0, 2)


def test_a_preference_off_the_page_is_refused() -> None:
    for said in (prefer("a", "ghost", LEFT), prefer("ghost", "a", LEFT)):
        with pytest.raises(PageError, match="'q': got a preference about 'ghost'"):
            supervise([PAGE], Judgments(preferences=[said]))


def test_supervise_reads_preferences_beside_grades() -> None:
    said = Judgments.from_mapping({"q": {"a": 1.0}}).merge(Judgments(preferences=[prefer("d", "c", LEFT)]))
    (known,) = supervise([PAGE], said)
    assert told(known.pairs) == {("d", "c", True, 1.0)}
    np.testing.assert_array_equal(known.grades, np.float32([1, np.nan, np.nan, np.nan]))


def lesson(count: int, pairs: PagePairs) -> Lesson:
    blank, nothing = np.zeros((count, 1), np.float32), np.full(count, np.nan, np.float32)
    items = PageItems(np.zeros(1, np.float32), blank, blank, np.zeros(count, np.int64))
    return Lesson(items, nothing, nothing, pairs=pairs)


def test_a_batch_pads_pairs_and_has_none_where_no_page_has() -> None:
    some = pairs_of(PAGE, [prefer("a", "b", LEFT), prefer("d", "c", SAME)])
    batch = collate([lesson(3, no_pairs()), lesson(4, some)]).to(torch.device("cpu"))
    assert batch.pairs is not None
    assert batch.pairs.index.shape == (2, 2, 2)
    assert batch.pairs.share.tolist() == [[0, 0], [1, 1]]
    assert batch.pairs.index[1].tolist() == [[0, 1], [2, 3]]
    assert batch.pairs.strict[1].tolist() == [True, False]
    assert collate([lesson(3, no_pairs())]).pairs is None
    moved = collate([lesson(4, some)]).to(torch.device("meta")).pairs
    assert moved is not None
    assert {moved.index.device.type, moved.strict.device.type, moved.share.device.type} == {"meta"}


# --- the loss ---------------------------------------------------------------------------------------------------------


def drawn(seed: int, lengths: tuple[int, ...] = (5, 3, 7), most: int = 6) -> tuple[Tensor, PairBatch, Tensor]:
    draw = np.random.default_rng(seed)
    pages = []
    for row, length in enumerate(lengths):
        count = 0 if row == 1 else int(draw.integers(1, most))
        index = np.array([draw.choice(length, 2, replace=False) for _ in range(count)], np.int64).reshape(-1, 2)
        pages.append(PagePairs(index, draw.random(count) < 0.6, draw.random(count).astype(np.float32) + 0.1))
    scores = torch.from_numpy(draw.standard_normal((len(lengths), max(lengths))))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return scores, pad_pairs(pages), mask


def by_loops(scores: Tensor, pairs: PairBatch, margin: float, eps: float) -> float:
    pages = []
    for row, index, strict, share in zip(scores, pairs.index, pairs.strict, pairs.share, strict=True):
        cost, weight = 0.0, 0.0
        for (i, j), order, part in zip(index.tolist(), strict.tolist(), share.tolist(), strict=True):
            ahead = float(row[i] - row[j])
            cost += part * max(0.0, margin - ahead if order else abs(ahead) - eps)
            weight += part
        if weight:
            pages.append(cost / weight)
    return float(np.mean(pages))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("margin", "eps"), [(1.0, 0.0), (0.3, 0.5), (0.0, 0.1)])
def test_the_loss_is_the_loop(seed: int, margin: float, eps: float) -> None:
    scores, pairs, mask = drawn(seed)
    found = preferred(scores, pairs, mask, margin=margin, eps=eps)
    assert float(found) == pytest.approx(by_loops(scores, pairs, margin, eps), rel=1e-6)


def test_a_pair_by_hand() -> None:
    pairs = pad_pairs([PagePairs(np.array([[1, 0], [0, 2]]), np.array([True, False]), np.float32([0.25, 0.75]))])
    scores, mask = torch.tensor([[0.5, 1.0, -1.0]]), torch.ones(1, 3, dtype=torch.bool)
    assert float(preferred(scores, pairs, mask)) == pytest.approx(0.25 * 0.5 + 0.75 * 1.5)
    assert float(preferred(scores, pairs, mask, margin=0.25, eps=1.5)) == 0.0


def test_padding_and_neighbours_do_not_matter() -> None:
    scores, pairs, mask = drawn(1)
    wide = torch.cat([torch.where(mask, scores, math.nan), torch.full((3, 2), math.inf)], dim=1)
    more = PairBatch(
        torch.cat([pairs.index, torch.full((3, 1, 2), 99)], dim=1),
        torch.cat([pairs.strict, torch.ones(3, 1, dtype=torch.bool)], dim=1),
        torch.cat([pairs.share, torch.zeros(3, 1)], dim=1),
    )
    padded = preferred(wide, more, torch.cat([mask, torch.zeros(3, 2, dtype=torch.bool)], dim=1))
    assert float(padded) == pytest.approx(float(preferred(scores, pairs, mask)), rel=1e-12)
    alone = [
        float(preferred(scores[i : i + 1], PairBatch(*(of[i : i + 1] for of in vars(pairs).values())), mask[i : i + 1]))
        for i in (0, 2)
    ]
    assert np.mean(alone) == pytest.approx(float(preferred(scores, pairs, mask)), rel=1e-12)


def test_the_gradient_is_that_of_differences_and_stays_finite() -> None:
    scores, pairs, mask = drawn(2)
    leaf = scores.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: preferred(s, pairs, mask, margin=0.37, eps=0.11), (leaf,))
    for size in (0.0, 1e4):
        extreme = (scores.float() * size).requires_grad_()
        (gradient,) = torch.autograd.grad(preferred(extreme, pairs, mask), extreme)
        assert bool(torch.isfinite(gradient).all())


def test_no_pair_costs_nothing_and_keeps_the_gradient() -> None:
    scores = torch.randn(2, 3, requires_grad=True)
    value = preferred(scores, pad_pairs([no_pairs(), no_pairs()]), torch.ones(2, 3, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(value, scores)
    assert float(value.detach()) == 0.0
    assert not gradient.any()


def test_what_cannot_be_is_refused() -> None:
    scores, pairs, mask = drawn(3)
    for place in (-1, 5, 7):  # row 0 has 5 results
        wrong = PairBatch(pairs.index.clone(), pairs.strict, pairs.share)
        wrong.index[0, 0, 1] = place
        with pytest.raises(InputError, match="a pair outside its page"):
            preferred(scores, wrong, mask)
    with pytest.raises(ShapeError, match="pairs of 3 pages"):
        preferred(scores[:2], pairs, mask[:2])
    with pytest.raises(ShapeError, match="mask"):
        preferred(scores, pairs, mask[:, :2])
    for named in ({"margin": -1.0}, {"eps": math.nan}):
        with pytest.raises(InputError, match=next(iter(named))):
            preferred(scores, pairs, mask, **named)


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace) -> SimpleNamespace:
    world: SimpleNamespace = planted.world(40, {TEXT: 4, IMAGE: 4})
    return world


@pytest.fixture(scope="module")
def fit(planted: SimpleNamespace, made: SimpleNamespace) -> SingleModalFit:
    towers = TowerConfig(folds=2, rank=4, hidden=4, loop=LoopConfig(epochs=2, batch_size=8))
    return fit_single_modal(made.pages, made.single(), planted.fake_vectors(), towers)


def compared(pages: list[Page], grades: Judgments, *, seed: int = 0) -> Judgments:
    """Twelve random pairs of every page, compared as its grades say."""
    draw, said = np.random.default_rng(seed), []
    for page in pages:
        of = grades.by_result(page.query_id)
        for _ in range(12):
            left, right = (str(i) for i in draw.choice(page.result_ids, 2, replace=False))
            choice = SAME if of[left] == of[right] else LEFT if of[left] > of[right] else RIGHT
            said.append(Preference(page.query_id, left, right, choice))
    return Judgments(preferences=said)


@pytest.mark.parametrize("lifted", [TEXT, IMAGE])
def test_pages_with_preferences_and_no_grades_teach(
    planted: SimpleNamespace, made: SimpleNamespace, fit: SingleModalFit, lifted: Modality
) -> None:
    """With grades out of the loss too: preferences are all there is."""
    said = compared(made.pages, made.lifted({lifted: 2}))
    held = planted.world(20, {TEXT: 4, IMAGE: 4}, prefix="held")
    for config in (CONFIG, msgspec.structs.replace(CONFIG, page_weight=0.0)):
        ranker = fit_smar(made.pages, said, fit, planted.fake_vectors(), config)
        assert ranker.made_of["page_labels"] == 0
        assert 300 < ranker.made_of["page_pairs"] <= 40 * 12
        rankings, truth = ranker.rank(held.pages), held.lifted({lifted: 2})
        assert planted.pair_accuracy(rankings, held.pages, truth, across=True) > 0.9
        assert planted.pair_accuracy(rankings, held.pages, truth, across=False) > 0.8


def test_without_their_weight_preferences_teach_nothing(
    planted: SimpleNamespace, made: SimpleNamespace, fit: SingleModalFit
) -> None:
    said = compared(made.pages, made.lifted({IMAGE: 2}))
    with pytest.raises(InputError, match="no page that teaches"):
        fit_smar(made.pages, said, fit, planted.fake_vectors(), msgspec.structs.replace(CONFIG, pair_weight=0.0))


def test_a_checkpoint_of_other_preferences_is_refused(
    planted: SimpleNamespace, made: SimpleNamespace, fit: SingleModalFit, tmp_path: Path
) -> None:
    config = msgspec.structs.replace(CONFIG, loop=LoopConfig(epochs=1, batch_size=40))
    for seed in (0, 0, 1):
        said = compared(made.pages, made.lifted({IMAGE: 2}), seed=seed)
        if seed:
            with pytest.raises(WeightsError, match="another run"):
                fit_smar(made.pages, said, fit, planted.fake_vectors(), config, folder=tmp_path)
        else:
            fit_smar(made.pages, said, fit, planted.fake_vectors(), config, folder=tmp_path)
