"""Listwise training: showings, objectives, losses that fall on a planted order, towers, adapters, resumption."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from tests.training.listwise_students import LIMITS, short_training, small_student, world_lists

from wholepage.pages import InputError, Modality, Page, Query, Result
from wholepage.pages.errors import ImageError
from wholepage.pages.images import read_image_bytes
from wholepage.pages.model import ImageRef
from wholepage.rankers.listwise import ListwiseConfig, ListwiseRanker, WindowLimits
from wholepage.rankers.listwise_attention import Span, Spans
from wholepage.rankers.listwise_loading import Pretrained
from wholepage.training.listwise_lessons import Lessons
from wholepage.training.listwise_objective import ListwiseObjective, first_letter
from wholepage.training.listwise_trainer import ListwiseTraining, train_listwise
from wholepage.training.lookup_lists import lookup_lists
from wholepage.training.loop import LoopConfig
from wholepage.training.taught import TaughtList

WORDS = [f"{a}{b}{a}{c}" for a in "bdfgk" for b in "aeiou" for c in "rlmn"]


def weights(student: object) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in student.model.state_dict().items()}  # type: ignore[attr-defined]


def lessons_of(lists: list[TaughtList], most: int, seed: int = 0) -> tuple[Lessons, ListwiseRanker]:
    ranker = ListwiseRanker(small_student(lists), ListwiseConfig(window=4, stride=2, limits=WindowLimits(**LIMITS)))
    return Lessons(lists, ranker.prompter, ranker.pictures, most=most, seed=seed), ranker


def test_every_showing_is_another_and_repeats_itself() -> None:
    lists = lookup_lists(WORDS, 3, results=8)
    lessons, _ = lessons_of(lists, 8)
    first, again, other = lessons.show(1, 0), lessons.show(1, 0), lessons.show(1, 1)
    assert first.letters == again.letters
    assert np.array_equal(first.passage.tokens, again.passage.tokens)
    assert first.letters != other.letters
    assert sorted(first.targets) == sorted(other.targets) == sorted(lists[1].targets)


def test_pictures_that_do_not_fit_are_opened_again_and_are_the_same(tmp_path: Path) -> None:
    lists = [in_files(one, tmp_path) for one in world_lists(4, Modality.TEXT, Modality.IMAGE)]
    lessons, ranker = lessons_of(lists, 4)
    few = Lessons(lists, ranker.prompter, ranker.pictures, most=4, seed=0, patch_bytes=1)
    keys = [picture.key for i in range(4) for picture in lessons.show(i, 0).passage.pictures]
    assert len(keys) > 4
    assert few.pictures(keys) == lessons.pictures(keys)
    for held, anew in zip(lessons.cuts(keys), few.cuts(keys), strict=True):
        assert (held.rows, held.columns) == (anew.rows, anew.columns)
        assert np.array_equal(held.patches, anew.patches)
    assert few.picture_bytes == few.cuts(keys)[-1].patches.nbytes < lessons.picture_bytes
    for path in tmp_path.iterdir():
        Image.new("RGB", (40, 40), "red").save(path, "PNG")
    with pytest.raises(ImageError, match=r"results\[\d\].* it is another picture than when training began"):
        few.cuts(keys[:1])


def in_files(one: TaughtList, folder: Path) -> TaughtList:
    """A list whose pictures lie in files."""
    page, results = one.page, []
    for result in page.results:
        images = []
        for number, image in enumerate(result.images):
            path = folder / f"{page.query_id}-{result.result_id}-{number}.png"
            path.write_bytes(read_image_bytes(image))
            images.append(ImageRef(str(path)))
        results.append(msgspec.structs.replace(result, images=tuple(images)))
    return msgspec.structs.replace(one, page=msgspec.structs.replace(page, results=tuple(results)))


def test_of_long_lists_some_results_are_shown_that_differ() -> None:
    one = lookup_lists(WORDS, 1, results=8)[0]
    rare = msgspec.structs.replace(one, targets=(1.0,) + (0.0,) * 7)
    lessons, _ = lessons_of([rare], 3)
    drawn = [lessons.show(0, showing).targets for showing in range(40)]
    assert all(len(targets) == 3 and len(set(targets)) == 2 for targets in drawn)


def test_the_query_is_found_again_behind_the_results() -> None:
    lists = lookup_lists(WORDS, 4, results=5)
    lessons, ranker = lessons_of(lists, 5)
    for index, one in enumerate(lists):
        shown = lessons.show(index, 0)
        again = shown.passage.tokens[slice(*shown.again)]
        assert ranker.prompter.words.decode(again.tolist()).strip() == one.page.query.text


def test_plackett_luce_on_letters_is_the_probability_of_the_order() -> None:
    """Brute force: of all orders of six, the teacher's has probability exp(-n * loss)."""
    logits = torch.tensor([0.3, -1.2, 0.7, 2.0, -0.1, 0.9], dtype=torch.float64)
    targets = (3.0, 1.0, 6.0, 2.0, 5.0, 4.0)
    worth = torch.exp(logits / 0.5)

    def probability(order: tuple[int, ...]) -> float:
        left = list(order)
        value = 1.0
        for item in order:
            value *= float(worth[item] / worth[left].sum())
            left.remove(item)
        return value

    every = {order: probability(order) for order in itertools.permutations(range(6))}
    assert sum(every.values()) == pytest.approx(1.0)
    ours = ListwiseObjective(temperature=0.5).loss([logits], [targets])
    wanted = tuple(sorted(range(6), key=lambda i: -targets[i]))
    assert np.exp(-6 * float(ours)) == pytest.approx(every[wanted], rel=1e-5)


def test_the_first_letter_is_a_cross_entropy() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.5]])
    loss = first_letter(scores, torch.tensor([[0.0, 3.0, 3.0]]), torch.ones(1, 3, dtype=torch.bool))
    logs = torch.log_softmax(scores, dim=1)
    assert float(loss) == pytest.approx(-0.5 * float(logs[0, 1] + logs[0, 2]))


@pytest.mark.parametrize("form", ["plackett_luce", "ranknet_lm", "soft_cross_entropy"])
def test_objectives_do_not_look_at_padding(form: str) -> None:
    objective = ListwiseObjective(form=form)  # type: ignore[arg-type]
    one, other = torch.tensor([0.2, -0.4, 1.0]), torch.tensor([2.0, 0.1])
    both = objective.loss([one, other], [(1.0, 2.0, 3.0), (0.0, 1.0)])
    alone = [objective.loss([one], [(1.0, 2.0, 3.0)]), objective.loss([other], [(0.0, 1.0)])]
    assert float(both) == pytest.approx(float(sum(alone)) / 2, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plackett_luce", "ranknet_lm", "soft_cross_entropy"])
def test_a_planted_order_is_learned(form: str) -> None:
    """One list whose order has nothing to do with its query, shown under ever other letters and orders."""
    results = tuple(Result(word, Modality.TEXT, f"{word} {word}") for word in ("lamp", "chair", "table", "shelf"))
    lists = [TaughtList(Page(Query("q", "things"), results), (2.0, 4.0, 1.0, 3.0), "planted")]
    student = small_student(lookup_lists(WORDS, 8) + lists)
    config = ListwiseConfig(window=4, stride=2, limits=WindowLimits(**LIMITS))
    training = msgspec.structs.replace(
        short_training(),
        loop=LoopConfig(epochs=400, batch_size=8, learning_rate=1e-3, weight_decay=0.0),
        objective=ListwiseObjective(form=form),  # type: ignore[arg-type]
    )
    before = told(student, lists, training)
    after = told(train_listwise(student, lists, training), lists, training)
    assert ListwiseRanker(student, config).rank([lists[0].page])[0].result_ids[0] == "chair"
    assert after < 0.75 * before


def told(student: Pretrained, lists: list[TaughtList], training: ListwiseTraining) -> float:
    """The objective over the first showings of the first list."""
    ranker = ListwiseRanker(student, ListwiseConfig(window=4, stride=2, limits=WindowLimits(**LIMITS)))
    lessons = Lessons(lists, ranker.prompter, ranker.pictures, most=4, seed=99)
    values = []
    for showing in range(16):
        shown = lessons.show(0, showing)
        (state,) = ranker.engine.read([shown.passage], Spans([Span(len(shown.passage))], last_only=True), {})
        logits = ranker.engine.vocabulary.of(state, shown.letters)
        values.append(float(training.objective.loss([logits], [shown.targets])))
    return float(np.mean(values))


def test_a_tower_learns_or_stays() -> None:
    lists = world_lists(4, Modality.TEXT, Modality.IMAGE)
    for tower in ("trained", "frozen"):
        student = small_student(lists)
        before, sight = weights(student), student.sight
        training = msgspec.structs.replace(short_training(), tower=tower)  # type: ignore[arg-type]
        trained = train_listwise(student, lists, training)
        changed = {name for name, value in weights(trained).items() if not torch.equal(value, before[name])}
        assert any("language_model" in name for name in changed)
        assert any(".visual." in name for name in changed) == (tower == "trained")
        assert (trained.sight != sight) == (tower == "trained")


def test_a_frozen_tower_teaches_the_same_with_and_without_memory() -> None:
    lists = world_lists(4, Modality.IMAGE)
    kept, forgetful = (
        train_listwise(
            small_student(lists), lists, msgspec.structs.replace(short_training(), tower="frozen", cache_bytes=size)
        )
        for size in (1 << 20, 0)
    )
    assert kept.fingerprint == forgetful.fingerprint


def test_adapters_are_merged_and_change_nothing_else() -> None:
    lists = world_lists(4, Modality.TEXT, Modality.IMAGE)
    student = small_student(lists)
    before = weights(student)
    training = msgspec.structs.replace(short_training(), weights="lora", rank=2, alpha=4, tower="frozen")
    trained = train_listwise(student, lists, training)
    after = weights(trained)
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.endswith("proj.weight") and ".visual." not in name for name in changed)


def test_checkpointed_layers_learn_the_same() -> None:
    lists = world_lists(4, Modality.TEXT, Modality.IMAGE)
    plain, again = (
        train_listwise(
            small_student(lists), lists, msgspec.structs.replace(short_training(), checkpointing=checkpointing)
        )
        for checkpointing in (False, True)
    )
    for name, value in weights(plain).items():
        assert torch.allclose(value, weights(again)[name], atol=2e-5), name


def test_a_list_teaches_the_same_beside_others() -> None:
    """Row independence: one step on two lists is the mean of what each of them alone would do to the loss."""
    lists = world_lists(2, Modality.TEXT, Modality.IMAGE)
    ranker = ListwiseRanker(small_student(lists), ListwiseConfig(window=4, stride=2, limits=WindowLimits(**LIMITS)))
    from wholepage.training.listwise_trainer import _Sight, _Teaching

    training = msgspec.structs.replace(short_training(), objective=ListwiseObjective(guide=0.5))
    lessons = Lessons(lists, ranker.prompter, ranker.pictures, most=4, seed=0)
    teaching = _Teaching(ranker, lessons, _Sight(ranker, lessons, training), training)
    module = ranker.pretrained.model
    guided = [len(range(*lessons.show(i, 0).again)) for i in range(2)]
    plain = msgspec.structs.replace(training, objective=ListwiseObjective())
    bare = _Teaching(ranker, lessons, _Sight(ranker, lessons, plain), plain)
    both, apart = float(bare.loss(module, [0, 1])), [float(bare.loss(module, [i])) for i in range(2)]
    assert both == pytest.approx(sum(apart) / 2, abs=1e-5)
    helped = [float(teaching.loss(module, [i])) - apart[i] for i in range(2)]
    together = float(teaching.loss(module, [0, 1])) - both
    assert together == pytest.approx(np.average(helped, weights=guided), abs=1e-5)


def test_two_runs_give_the_same_weights_and_a_resumed_one_too(tmp_path: Path) -> None:
    lists = world_lists(6, Modality.TEXT, Modality.IMAGE)
    once = train_listwise(small_student(lists), lists, short_training())
    kept = train_listwise(small_student(lists), lists, short_training(), folder=tmp_path / "run")
    again = train_listwise(small_student(lists), lists, short_training(), folder=tmp_path / "run")
    assert once.fingerprint == kept.fingerprint == again.fingerprint


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(InputError, match="got no lists"):
        train_listwise(small_student(lookup_lists(WORDS, 2)), [], ListwiseTraining())


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"guide": -1.0}, {"decay": 1.0}, {"top_k": 0}])
def test_objectives_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="objective"):
        ListwiseObjective(**wrong)  # type: ignore[arg-type]
