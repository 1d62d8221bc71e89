"""Trust in the teachers: counted against plain loops, shrunk as it says, and a teacher that guesses fades out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.rankers.features import PageItems
from wholepage.training.batches import Lesson
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_heads, fit_smar
from wholepage.training.trust import PRIOR_PAIRS, TeacherTrust, measure_trust, trusting

TEXT, IMAGE, VIDEO, ANSWER = Modality
NAN = math.nan
MEASURED = SmarConfig(
    teacher_trust="measured", members=1, width=16, layers=1, heads=2, dropout=0.0,
    loop=LoopConfig(epochs=15, batch_size=8, learning_rate=5e-3),
)  # fmt: skip


def lesson(group: list[int], grades: list[float], teacher: list[float], weights: list[float] | None = None) -> Lesson:
    blank = np.random.default_rng(len(group)).standard_normal((len(group), 3)).astype(np.float32)
    items = PageItems(np.ones(2, np.float32), blank, blank, np.array(group, np.int64))
    given: NDArray[np.float32] | None = None if weights is None else np.array(weights, np.float32)
    return Lesson(items, np.array(grades, np.float32), np.array(teacher, np.float32), given)


def random_lessons(seed: int, count: int = 40) -> list[Lesson]:
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        n = int(draw.integers(1, 15))
        grades = np.where(draw.random(n) < 0.3, NAN, draw.integers(0, 4, n))
        teacher = np.where(draw.random(n) < 0.2, NAN, np.round(draw.standard_normal(n)))
        found.append(lesson(draw.choice([0, 1, 3], n).tolist(), grades.tolist(), teacher.tolist()))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_count_is_the_loop(seed: int) -> None:
    taught = random_lessons(seed)
    found = measure_trust(taught)
    for code, modality in enumerate(Modality):
        pairs, right = 0, 0.0
        for one in taught:
            for i in range(len(one.grades)):
                for j in range(len(one.grades)):
                    if one.items.group[i] == one.items.group[j] == code and one.grades[i] > one.grades[j]:
                        ahead = one.teacher[i] - one.teacher[j]
                        if not math.isnan(ahead):
                            pairs, right = pairs + 1, right + (1.0 if ahead > 0 else 0.5 if ahead == 0 else 0.0)
        if modality is VIDEO:
            assert modality not in found  # nobody ranks it
        else:
            assert found[modality] == TeacherTrust(pairs, right)
            assert pairs > 20


@pytest.mark.parametrize(
    ("pairs", "right", "factor"),
    [
        (0, 0.0, 1.0),  # nothing measured: followed as before
        (1000, 1000.0, 1.0),
        (int(PRIOR_PAIRS), PRIOR_PAIRS / 2, 0.5),  # accuracy (10 + 20) / (20 + 20) = .75
        (10**9, 5e8, 0.0),
        (1000, 0.0, 0.0),  # worse than guessing is not followed backwards
    ],
)
def test_the_factor_by_hand(pairs: int, right: float, factor: float) -> None:
    assert TeacherTrust(pairs, right).factor == pytest.approx(factor, abs=1e-7)


def test_grades_that_were_inferred_do_not_measure() -> None:
    """The third result would be a mistake of the teacher's in two pairs."""
    taught = [lesson([0, 0, 0, 0], [2, 1, 3, NAN], [5, 4, 0, 9], [1, 1, 0.9, 0])]
    assert measure_trust(taught)[TEXT] == TeacherTrust(1, 1.0)
    assert measure_trust([unweighted(taught[0])])[TEXT] == TeacherTrust(3, 1.0)


def unweighted(of: Lesson) -> Lesson:
    return Lesson(of.items, of.grades, of.teacher)


def test_trust_multiplies_the_betas_and_is_told() -> None:
    taught = [lesson([0] * 4 + [1] * 4, [3, 2, 1, 0] * 2, [3, 2, 1, 0, 0, 1, 2, 3])] * 20  # 120 pairs each
    config = SmarConfig(teacher_trust="measured", betas={TEXT: 0.5, VIDEO: 3.0})
    followed, figures = trusting(taught, config)
    assert followed.betas == {TEXT: 0.5, IMAGE: 0.0, VIDEO: 3.0}
    assert followed.teacher_trust == "given"
    assert figures == {
        "teacher_trust": {
            "text": {"pairs": 120, "right": 120.0, "accuracy": 1.0, "factor": 1.0},
            "image": {"pairs": 120, "right": 0.0, "accuracy": pytest.approx(20 / 140), "factor": 0.0},
        }
    }
    assert trusting(taught, followed) == (followed, {})


@pytest.mark.parametrize("config", [SmarConfig(), SmarConfig(align="none", teacher_trust="measured")])
def test_nothing_is_measured_where_nothing_asks_for_it(config: SmarConfig) -> None:
    followed, figures = trusting(random_lessons(0), config)
    assert followed is config
    assert figures == {}


def test_heads_of_ready_lessons_measure_too() -> None:
    taught = [lesson([0] * 4 + [1] * 4, [3, 2, 1, 0] * 2, [3, 2, 1, 0, 0, 1, 2, 3])] * 20
    config = msgspec.structs.replace(MEASURED, loop=LoopConfig(epochs=1, batch_size=8))
    by_hand = msgspec.structs.replace(config, teacher_trust="given", betas={TEXT: 1.0, IMAGE: 0.0})
    given = msgspec.structs.replace(config, teacher_trust="given")
    found = [
        b"".join(v.numpy().tobytes() for v in fit_heads(taught, one)[0].state_dict().values())
        for one in (config, by_hand, given)
    ]
    assert found[0] == found[1] != found[2]


# --- learning ---------------------------------------------------------------------------------------------------------


def with_teacher(fit: SingleModalFit, pages: list[Page], order: Callable[[Ranking], Sequence[str]]) -> SingleModalFit:
    """The same fit, whose teacher of images orders otherwise."""
    teachers = [
        {**of, IMAGE: Ranking(page.query_id, tuple(str(i) for i in order(of[IMAGE])))}
        for page, of in zip(pages, fit.teachers, strict=True)
    ]
    return SingleModalFit(fit.upstream, fit.out_of_fold, teachers, fit.labels)


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace) -> Any:
    return planted.world(50)


@pytest.fixture(scope="module")
def fit(planted: SimpleNamespace, made: Any) -> SingleModalFit:
    loop = LoopConfig(epochs=20, batch_size=16, learning_rate=0.02)
    towers = TowerConfig(folds=2, rank=8, hidden=8, dropout=0.0, loop=loop, teacher_loop=loop)
    return fit_single_modal(made.pages, made.single(), planted.fake_vectors(), towers)


def test_a_teacher_that_guesses_fades_out(planted: SimpleNamespace, made: Any, fit: SingleModalFit) -> None:
    draw = np.random.default_rng(8)
    guessing = with_teacher(fit, made.pages, lambda ranking: list(draw.permutation(ranking.result_ids)))
    config = msgspec.structs.replace(MEASURED, loop=LoopConfig(epochs=1, batch_size=25))
    ranker = fit_smar(made.pages, made.lifted({IMAGE: 2}, share=0.5), guessing, planted.fake_vectors(), config)
    figures = ranker.made_of["teacher_trust"]
    assert figures["text"]["factor"] > 0.8
    assert figures["image"]["factor"] < 0.35
    assert figures["image"]["pairs"] > 50
    assert ranker.made_of["config"]["betas"] == {}  # the settings as they were given
    assert ranker.made_of["config"]["teacher_trust"] == "measured"


def test_a_teacher_that_is_wrong_does_no_harm_once_measured(
    planted: SimpleNamespace, made: Any, fit: SingleModalFit
) -> None:
    contrary = with_teacher(fit, made.pages, lambda ranking: ranking.result_ids[::-1])
    held = planted.world(30, prefix="held")
    images = [page.only(IMAGE) for page in held.pages]
    truth, bought = only(held, IMAGE), made.lifted({IMAGE: 2}, share=0.5)
    within: dict[str, float] = {}
    for trust in ("given", "measured"):
        config = msgspec.structs.replace(MEASURED, teacher_trust=trust)
        ranker = fit_smar(made.pages, bought, contrary, planted.fake_vectors(), config)
        within[trust] = planted.pair_accuracy(ranker.rank(images), images, truth, across=False)
        assert ("teacher_trust" in ranker.made_of) == (trust == "measured")
    assert within["measured"] > max(0.9, within["given"] + 0.05)


def only(world: Any, modality: Modality) -> Judgments:
    ids = {page.query_id: page.only(modality).result_ids for page in world.pages}
    judged: Judgments = world.single().restrict(ids)
    return judged
