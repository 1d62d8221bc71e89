"""Single-modal rankers on a planted world: they learn it, and never read a page with its own labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from wholepage.pages.errors import InputError, NoRanker, WeightsError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page
from wholepage.pages.protocols import by_score, scores_on
from wholepage.rankers.tower import TowerScorer, tower_scores
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal, fold_of

TEXT, IMAGE, VIDEO, ANSWER = Modality.TEXT, Modality.IMAGE, Modality.VIDEO, Modality.ANSWER
LOOP = LoopConfig(epochs=20, batch_size=16, learning_rate=0.02)
CONFIG = TowerConfig(folds=2, rank=8, hidden=8, dropout=0.1, loop=LOOP, teacher_loop=LOOP)
BRIEF = msgspec.structs.replace(LOOP, epochs=2)
SHORT = msgspec.structs.replace(CONFIG, loop=BRIEF, teacher_loop=BRIEF)


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace) -> Any:
    return planted.world(60)


@pytest.fixture(scope="module")
def fit(planted: SimpleNamespace, made: Any) -> SingleModalFit:
    return fit_single_modal(made.pages, made.single(), planted.fake_vectors(), CONFIG)


def tower(fit: SingleModalFit, modality: Modality) -> TowerScorer:
    scorer = fit.upstream.scorers[modality]
    assert isinstance(scorer, TowerScorer)
    return scorer


def rows_of(page: Page, modality: Modality) -> list[int]:
    return [i for i, result in enumerate(page.results) if result.modality is modality]


# --- they learn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", [TEXT, IMAGE])
def test_held_out_pages_are_ordered_well(planted: SimpleNamespace, fit: SingleModalFit, modality: Modality) -> None:
    held = planted.world(40, {modality: 6}, prefix="held")
    order = by_score(tower(fit, modality)).rank(held.pages)
    assert planted.ndcg(order, held.single()) > 0.95
    as_received = [r.__class__(r.query_id, p.result_ids) for r, p in zip(order, held.pages, strict=True)]
    assert planted.ndcg(as_received, held.single()) < 0.8  # it had something to learn


def test_unseen_training_pages_are_ordered_nearly_as_well_as_new_ones(
    planted: SimpleNamespace, made: Any, fit: SingleModalFit
) -> None:
    class OutOfFold:
        name = "out of fold"

        def score(self, pages: list[Page]) -> list[np.ndarray]:
            return [s[rows_of(p, TEXT)] for s, p in zip(fit.out_of_fold, made.pages, strict=True)]

    parts = [page.only(TEXT) for page in made.pages]
    labels = made.single().restrict({part.query_id: part.result_ids for part in parts})
    assert planted.ndcg(by_score(OutOfFold()).rank(parts), labels) > 0.93


def test_every_label_is_counted_once(made: Any, fit: SingleModalFit) -> None:
    assert fit.labels == sum(len(page) for page in made.pages) == 60 * 12


def test_scores_and_teachers_stand_in_the_pages_order(made: Any, fit: SingleModalFit) -> None:
    for page, scores, teachers in zip(made.pages, fit.out_of_fold, fit.teachers, strict=True):
        assert scores.shape == (len(page),)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert list(teachers) == [TEXT, IMAGE]
        for modality, ranking in teachers.items():
            assert ranking.check(page.only(modality)).by == f"tower-{modality.value}-teacher"


def test_the_teacher_knows_the_labels_it_saw(planted: SimpleNamespace, made: Any, fit: SingleModalFit) -> None:
    parts = [page.only(IMAGE) for page in made.pages]
    labels = made.single().restrict({part.query_id: part.result_ids for part in parts})
    assert planted.ndcg([teachers[IMAGE] for teachers in fit.teachers], labels) > 0.95


def test_a_subset_keeps_the_rows_asked_for(fit: SingleModalFit) -> None:
    part = fit.subset([5, 2])
    assert part.upstream is fit.upstream
    assert part.labels == fit.labels
    np.testing.assert_array_equal(part.out_of_fold[1], fit.out_of_fold[2])
    assert part.teachers == [fit.teachers[5], fit.teachers[2]]


# --- honesty ----------------------------------------------------------------------------------------------------------


def test_out_of_fold_scores_are_those_of_the_tower_without_the_pages_fold(made: Any, fit: SingleModalFit) -> None:
    scorer = tower(fit, TEXT)
    for i in (0, 7, 31):
        page = made.pages[i]
        one = scorer.towers[fold_of(page.query_id, CONFIG.folds)]
        (alone,) = tower_scores(one, scorer.reader.read([page.only(TEXT)]))
        np.testing.assert_allclose(fit.out_of_fold[i][rows_of(page, TEXT)], alone, rtol=1e-4, atol=1e-5)


def test_a_page_never_sees_its_own_labels(planted: SimpleNamespace, made: Any) -> None:
    """Labels of one page turned round: its scores stay to the bit, and so do those of its fold; others may change."""
    victim = made.pages[11]
    turned = Judgments.from_mapping(
        {q: {r: 3 - g if q == victim.query_id else g for r, g in of.items()} for q, of in made.levels.items()}
    )
    before = fit_single_modal(made.pages, made.single(), planted.fake_vectors(), SHORT)
    after = fit_single_modal(made.pages, turned, planted.fake_vectors(), SHORT)
    changed = 0
    fold = fold_of(victim.query_id, SHORT.folds)
    for page, old, new in zip(made.pages, before.out_of_fold, after.out_of_fold, strict=True):
        if fold_of(page.query_id, SHORT.folds) == fold:
            assert old.tobytes() == new.tobytes()
        else:
            changed += old.tobytes() != new.tobytes()
    assert changed > 10
    assert before.teachers[11] != after.teachers[11]  # the teacher sees everything


def test_a_modality_never_sees_labels_of_another(planted: SimpleNamespace, made: Any) -> None:
    lifted = made.lifted({IMAGE: 2})
    before = fit_single_modal(made.pages, made.single(), planted.fake_vectors(), SHORT)
    after = fit_single_modal(made.pages, lifted, planted.fake_vectors(), SHORT)
    for page, old, new in zip(made.pages, before.out_of_fold, after.out_of_fold, strict=True):
        rows = rows_of(page, TEXT)
        assert old[rows].tobytes() == new[rows].tobytes()


def test_folds_depend_on_the_query_alone() -> None:
    ids = [f"query-{i}" for i in range(2000)]
    folds = {query_id: fold_of(query_id, 5) for query_id in ids}
    assert [fold_of("".join(list(query_id)), 5) for query_id in reversed(ids)] == list(folds.values())[::-1]
    shares = Counter(folds.values())
    assert sorted(shares) == [0, 1, 2, 3, 4]
    assert max(abs(count - 400) for count in shares.values()) < 80  # 4.5 standard deviations
    # Not Python's own hash, which differs from process to process: these are the folds for good.
    assert [fold_of(query_id, 5) for query_id in ids[:8]] == [4, 1, 1, 3, 2, 4, 3, 4]


# --- the same again ---------------------------------------------------------------------------------------------------


def test_twice_is_the_same_to_the_bit(planted: SimpleNamespace, made: Any, tmp_path: Path) -> None:
    fits = [fit_single_modal(made.pages, made.single(), planted.fake_vectors(), SHORT) for _ in range(2)]
    for old, new in zip(fits[0].out_of_fold, fits[1].out_of_fold, strict=True):
        assert old.tobytes() == new.tobytes()
    assert fits[0].teachers == fits[1].teachers
    for number, one in enumerate(fits):
        tower(one, IMAGE).save(tmp_path / str(number))
    for name in ("manifest.json", "arrays.safetensors"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()


def test_another_seed_is_another_ranker(planted: SimpleNamespace, made: Any) -> None:
    other = msgspec.structs.replace(SHORT, loop=msgspec.structs.replace(SHORT.loop, seed=1))
    one, two = (fit_single_modal(made.pages, made.single(), planted.fake_vectors(), c) for c in (SHORT, other))
    assert one.out_of_fold[0].tobytes() != two.out_of_fold[0].tobytes()


def test_checkpoints_bring_the_same_fit_back(planted: SimpleNamespace, tmp_path: Path) -> None:
    vectors, made = planted.fake_vectors(), planted.world(16, {TEXT: 4})
    plain = fit_single_modal(made.pages, made.single(), vectors, SHORT)
    told: list[str] = []
    for _ in range(2):
        kept = fit_single_modal(
            made.pages, made.single(), vectors, SHORT, folder=tmp_path, progress=lambda d, t, what: told.append(what)
        )
        for old, new in zip(plain.out_of_fold, kept.out_of_fold, strict=True):
            assert old.tobytes() == new.tobytes()
        assert kept.teachers == plain.teachers
    names = {path.parent.name for path in tmp_path.rglob("manifest.json")}
    assert names == {"text-without fold 1", "text-without fold 2", "text-teacher"}
    # 2 epochs of one step each, and only the first time
    assert told == [f"text ranker, {n}" for n in ("without fold 1", "without fold 2", "teacher") for _ in range(2)]


def test_checkpoints_with_other_settings_are_refused(planted: SimpleNamespace, tmp_path: Path) -> None:
    """Dropout changes neither data nor first weights: nothing but the settings tells the runs apart."""
    vectors, made = planted.fake_vectors(), planted.world(16, {TEXT: 4})
    fit_single_modal(made.pages, made.single(), vectors, SHORT, folder=tmp_path)
    other = msgspec.structs.replace(SHORT, dropout=0.5)
    for labels, config in ((made.single(), other), (made.lifted({TEXT: 1}), SHORT)):
        with pytest.raises(WeightsError, match="another run"):
            fit_single_modal(made.pages, labels, vectors, config, folder=tmp_path)


# --- modalities without labels ----------------------------------------------------------------------------------------


def test_answers_are_read_by_the_text_tower(planted: SimpleNamespace) -> None:
    made = planted.world(24, {TEXT: 4, ANSWER: 3})
    labels = made.single().restrict({p.query_id: p.only(TEXT).result_ids for p in made.pages})
    fit = fit_single_modal(made.pages, labels, planted.fake_vectors(), SHORT)
    assert fit.upstream.scorers[ANSWER] is fit.upstream.scorers[TEXT]
    assert fit.labels == 24 * 4
    # New pages and training pages are read alike: a training page by the towers that have not seen its query.
    scorer = tower(fit, TEXT)
    for page, scores, teachers in zip(made.pages, fit.out_of_fold, fit.teachers, strict=True):
        assert np.isfinite(scores).all()
        (alone,) = tower_scores(
            scorer.towers[fold_of(page.query_id, SHORT.folds)], scorer.reader.read([page.only(ANSWER)])
        )
        np.testing.assert_allclose(scores[rows_of(page, ANSWER)], alone, rtol=1e-4, atol=1e-5)
        assert teachers[ANSWER].check(page.only(ANSWER)).by == "tower-text-teacher"
    new = planted.world(3, {ANSWER: 3}, prefix="new")
    assert all(np.isfinite(scores).all() for scores in fit.upstream.score(new.pages))


def test_the_same_words_get_the_same_score_as_text_and_as_answer(planted: SimpleNamespace, fit: SingleModalFit) -> None:
    words = planted.world(1, {TEXT: 3}, prefix="new").pages[0]
    as_answers = Page(words.query, tuple(msgspec.structs.replace(r, modality=ANSWER) for r in words.results))
    one, two = fit.upstream.score([words, as_answers])
    np.testing.assert_array_equal(one, two)


def test_a_fallback_is_not_used_where_there_are_labels(planted: SimpleNamespace) -> None:
    made = planted.world(24, {TEXT: 4, ANSWER: 4})
    fit = fit_single_modal(made.pages, made.single(), planted.fake_vectors(), SHORT)
    assert fit.upstream.scorers[ANSWER].name == "tower-answer"
    assert fit.labels == 24 * 8


def test_too_few_teaching_pages_make_no_ranker(planted: SimpleNamespace) -> None:
    """One page of pictures whose labels differ, for two folds; the others have labels that are all equal."""
    made = planted.world(20, {TEXT: 4, IMAGE: 3})
    labels = Judgments.from_mapping(
        {
            page.query_id: {r.result_id: i if r.modality is TEXT or k == 0 else 1 for i, r in enumerate(page.results)}
            for k, page in enumerate(made.pages)
        }
    )
    fit = fit_single_modal(made.pages, labels, planted.fake_vectors(), SHORT)
    assert list(fit.upstream.scorers) == [TEXT, ANSWER]
    assert fit.labels == 20 * 4
    for page, scores, teachers in zip(made.pages, fit.out_of_fold, fit.teachers, strict=True):
        assert np.isnan(scores[rows_of(page, IMAGE)]).all()
        assert np.isfinite(scores[rows_of(page, TEXT)]).all()
        assert list(teachers) == [TEXT]
        (new,) = fit.upstream.score([page])
        assert np.isnan(new[rows_of(page, IMAGE)]).all()  # no opinion, and so the last places
    with pytest.raises(NoRanker):
        tower(fit, TEXT).score([made.pages[0]])


def test_teaching_pages_all_in_one_fold_make_no_ranker(planted: SimpleNamespace) -> None:
    """The tower without that fold would have nothing to learn from."""
    made = planted.world(30, {TEXT: 4, IMAGE: 4})
    fold = {page.query_id: fold_of(page.query_id, SHORT.folds) for page in made.pages}
    assert list(fold.values()).count(0) > 5
    labels = made.single().restrict(
        {p.query_id: p.result_ids if fold[p.query_id] == 0 else p.only(TEXT).result_ids for p in made.pages}
    )
    fit = fit_single_modal(made.pages, labels, planted.fake_vectors(), SHORT)
    assert IMAGE not in fit.upstream.scorers


def test_a_modality_on_some_pages_only(planted: SimpleNamespace) -> None:
    words, both = planted.world(10, {TEXT: 3}), planted.world(10, {IMAGE: 3}, prefix="b")
    labels = words.single().merge(both.single())
    fit = fit_single_modal([*words.pages, *both.pages], labels, planted.fake_vectors(), SHORT)
    assert [list(t) for t in fit.teachers] == [[TEXT]] * 10 + [[IMAGE]] * 10
    assert all(np.isfinite(scores).all() for scores in fit.out_of_fold)


def test_results_without_label_are_scored_too(planted: SimpleNamespace, made: Any) -> None:
    some = made.single().restrict({p.query_id: p.result_ids[:5] for p in made.pages})
    fit = fit_single_modal(made.pages, some, planted.fake_vectors(), SHORT)
    assert fit.labels == 60 * 5
    assert all(np.isfinite(scores).all() for scores in fit.out_of_fold)
    assert np.isfinite(scores_on(made.pages[0].only(TEXT), fit.teachers[0][TEXT])).all()


@pytest.mark.parametrize("what", ["no labels", "no pages", "all equal"])
def test_nothing_to_learn_from_is_an_error(planted: SimpleNamespace, what: str) -> None:
    made = planted.world(6)
    labels = {
        "no labels": Judgments(),
        "no pages": Judgments(),
        "all equal": Judgments.from_mapping({p.query_id: dict.fromkeys(p.result_ids, 1.0) for p in made.pages}),
    }[what]
    pages = [] if what == "no pages" else made.pages
    with pytest.raises(InputError, match="got no modality with 2 pages of differing labels"):
        fit_single_modal(pages, labels, planted.fake_vectors(), SHORT)


def test_one_fold_is_refused() -> None:
    with pytest.raises(InputError, match=r"TowerConfig.folds: got 1"):
        TowerConfig(folds=1)
