"""The generated world: its grades are its truth, its pixels show it, and nothing but content gives a grade away."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from wholepage.collections.synthetic import SPLITS, Synthetic
from wholepage.collections.synthetic_world import (
    ATTRIBUTES,
    COUNT,
    GROUND,
    INK,
    WORDS,
    Shown,
    any_thing,
    plural,
    relevance,
)
from wholepage.pages import Collection, ImageRef, InputError, Judgments, Modality, Page

Truth = list[tuple[Page, dict[str, Shown]]]
WORLD = Synthetic(120)
WORDS_ONLY = (Modality.TEXT, Modality.ANSWER)

_MEANING = {phrase: (name, value) for name, of in WORDS.items() for value, phrases in of.items() for phrase in phrases}
_MEANING |= {plural(noun): meaning for noun, meaning in _MEANING.items() if meaning[0] == "shape"}
_PHRASE = re.compile(rf"\b({'|'.join(sorted(map(re.escape, _MEANING), key=len, reverse=True))})\b")


def heard(text: str) -> dict[str, str]:
    """What the words of a text mean, found by looking them up."""
    return dict(_MEANING[phrase] for phrase in _PHRASE.findall(text.lower()))


def pixels(ref: ImageRef) -> NDArray[np.uint8]:
    head, _, body = ref.uri.partition(",")
    png = b64decode(body) if head == "data:image/png;base64" else Path(ref.uri).read_bytes()
    assert hashlib.sha256(png).hexdigest() == ref.sha256
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
        return np.asarray(image.convert("RGB"))


def nearest(colour: NDArray[np.floating], named: dict[str, tuple[int, int, int]]) -> str:
    return min(named, key=lambda name: float(np.square(colour - np.array(named[name])).sum()))


@pytest.fixture(scope="module")
def truth() -> Truth:
    return [*WORLD.truth("train"), *WORLD.truth("dev")]


@pytest.fixture(scope="module")
def said() -> Judgments:
    return WORLD.judgments("train").merge(WORLD.judgments("dev"))


# ---------------------------------------------------------------- the same world each time


def test_it_is_a_collection_of_pages_that_agree_with_their_judgments() -> None:
    world = Synthetic(9, 3, dev_share=0.3)
    assert isinstance(world, Collection)
    assert [world.size(split) for split in SPLITS] == [6, 3, 3]
    assert world.splits == SPLITS
    seen: set[str] = set()
    for split in SPLITS:
        pages = list(world.pages(split))
        judgments = world.judgments(split)
        assert len(pages) == world.size(split)
        assert set(judgments.query_ids) == {page.query_id for page in pages}
        for page in pages:
            assert set(judgments.by_result(page.query_id)) == set(page.result_ids)
            assert {grade.who for grade in judgments.grades(page.query_id)} == {"world"}
            assert page.query_id not in seen
            assert not seen & set(page.result_ids)
            seen |= {page.query_id, *page.result_ids}
    assert len({page.query.text for split in SPLITS for page in world.pages(split)}) > 6


_WRITE = """
import hashlib, msgspec
from wholepage.collections.synthetic import Synthetic
world, digest = Synthetic(6, 11), hashlib.sha256()
for split in world.splits:
    for page in world.pages(split):
        digest.update(msgspec.json.encode(page) + b"\\n")
    for said in world.judgments(split):
        digest.update(msgspec.json.encode(said) + b"\\n")
print(digest.hexdigest())
"""


def test_two_processes_with_different_hash_seeds_write_the_same_bytes() -> None:
    def written(hash_seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        ran = subprocess.run([sys.executable, "-c", _WRITE], env=env, capture_output=True, text=True, check=True)
        return ran.stdout.strip()

    first = written("1")
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert written("4321") == first
    assert list(Synthetic(6, 11).pages("dev")) == list(Synthetic(6, 11).pages("dev"))
    assert list(Synthetic(6, 11).pages("dev")) != list(Synthetic(6, 12).pages("dev"))


def test_a_page_does_not_depend_on_how_many_there_are() -> None:
    few, many = Synthetic(4, dev_share=0.5), Synthetic(40, dev_share=0.1)
    for split in SPLITS:
        pages = list(few.pages(split))
        assert len(pages) == 2
        assert [page for page, _ in zip(many.pages(split), pages, strict=False)] == pages
        for page in pages:
            assert many.judgments(split).by_result(page.query_id) == few.judgments(split).by_result(page.query_id)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**70),
    queries=st.integers(1, 4),
    share=st.floats(0, 0.99),
    numbers=st.tuples(st.integers(0, 3), st.integers(1, 4)).map(sorted),
    chosen=st.sets(st.sampled_from(Modality), min_size=1),
    noise=st.floats(0, 3),
)
def test_any_world_holds_together(
    seed: int, queries: int, share: float, numbers: list[int], chosen: set[Modality], noise: float
) -> None:
    fewest, most = numbers
    world = Synthetic(
        queries, seed, dev_share=share, results_per_modality=(fewest, most), modalities=chosen, noise=noise
    )
    assert world.size("train") + world.size("dev") == queries
    assert world.size("train") >= 1
    grades = world.judgments("train")
    for page in world.pages("train"):
        numbers_of = Counter(result.modality for result in page.results)
        assert all(fewest <= numbers_of[modality] <= most for modality in chosen)
        assert set(numbers_of) <= chosen
        assert set(grades.by_result(page.query_id).values()) <= {0.0, 1.0, 2.0, 3.0}
        assert msgspec.json.decode(msgspec.json.encode(page), type=Page) == page


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"queries": 0}, "queries: got 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"dev_share": 1.0}, "dev_share: got 1.0"),
        ({"results_per_modality": (4, 2)}, "results_per_modality: got"),
        ({"results_per_modality": (0, 0)}, "results_per_modality: got"),
        ({"results_per_modality": (1, 2, 3)}, "results_per_modality: got"),
        ({"modalities": ()}, "modalities: got"),
        ({"modalities": ("text", "smell")}, "smell.*allowed: text, image, video, answer"),
        ({"noise": 3.5}, "noise: got 3.5"),
        ({"noise": float("nan")}, "noise: got nan"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Synthetic(**options)


def test_an_unknown_split_is_refused_when_asked_for() -> None:
    for ask in (WORLD.pages, WORLD.judgments, WORLD.truth, WORLD.asked, WORLD.size):
        with pytest.raises(InputError, match="got split 'valid'; allowed: train, dev, test"):
            ask("valid")


# ---------------------------------------------------------------- grades are the truth


def test_no_phrase_has_two_meanings() -> None:
    phrases = [phrase for of in WORDS.values() for several in of.values() for phrase in several]
    assert len(phrases) == len(set(phrases))
    assert all(4 <= len(values) <= 8 for values in ATTRIBUTES.values())
    assert set(INK) == set(ATTRIBUTES["colour"])
    assert set(GROUND) == set(ATTRIBUTES["background"])


def test_every_grade_is_the_share_of_the_querys_own_words_that_is_met(truth: Truth, said: Judgments) -> None:
    asked_for = {**WORLD.asked("train"), **WORLD.asked("dev")}
    for page, shown in truth:
        asked = heard(page.query.text)
        assert asked == asked_for[page.query_id]
        assert len(asked) in (2, 3)
        grades = said.by_result(page.query_id)
        for result in page.results:
            it = shown[result.result_id]
            met = [name for name in asked if it.thing[name] == asked[name]]
            if result.modality is Modality.ANSWER:
                false = [name for name in it.said if it.said[name] != it.thing[name]]
                met = [name for name in met if it.said.get(name) == asked[name]][len(false) :]
            assert grades[result.result_id] == {(0, 2): 0, (1, 2): 1, (2, 2): 3}.get((len(met), len(asked)), len(met))


@pytest.mark.parametrize(
    ("said_of_it", "as_answer", "as_text"),
    [
        ({"colour": "red", "shape": "star", "size": "tiny"}, 3, 3),
        ({"colour": "red", "shape": "star"}, 2, 3),
        ({"colour": "red", "shape": "star", "size": "tiny", "count": "two"}, 2, 3),  # a false claim nobody asked for
        ({"colour": "red", "shape": "star", "size": "huge"}, 1, 3),
        ({"colour": "blue", "shape": "ring", "size": "tiny"}, 0, 3),
        ({}, 0, 3),
    ],
)
def test_relevance_by_hand(said_of_it: dict[str, str], as_answer: int, as_text: int) -> None:
    asked = {"size": "tiny", "colour": "red", "shape": "star"}
    thing = {**asked, "count": "one", "pattern": "solid", "background": "sky"}
    assert relevance(Modality.ANSWER, Shown(thing, said_of_it), asked) == as_answer
    assert relevance(Modality.TEXT, Shown(thing, said_of_it), asked) == as_text
    assert relevance(Modality.IMAGE, Shown({**thing, "size": "huge"}), asked) == 2


def test_without_noise_words_say_what_the_truth_says_they_say() -> None:
    world = Synthetic(60, dev_share=0, noise=0, modalities=WORDS_ONLY)
    asked = world.asked("train")
    for page, shown in world.truth("train"):
        for result in page.results:
            it = shown[result.result_id]
            assert heard(result.text) == it.said
            assert not it.false_claims
            assert set(asked[page.query_id]) <= set(it.said)


def test_with_noise_texts_omit_and_compare_and_answers_invent_and_hedge(truth: Truth) -> None:
    results = [(page, result, shown[result.result_id]) for page, shown in truth for result in page.results]
    texts = [(page, result, it) for page, result, it in results if result.modality is Modality.TEXT]
    answers = [(page, result, it) for page, result, it in results if result.modality is Modality.ANSWER]
    assert not any(it.false_claims for _, _, it in texts)
    silent = [not set(heard(page.query.text)) <= set(it.said) for page, _, it in texts]
    compared = [heard(result.text) != it.said for _, result, it in texts]
    assert 0.15 < np.mean(silent) < 0.5
    assert 0.15 < np.mean(compared) < 0.5
    assert 0.1 < np.mean([bool(it.false_claims) for _, _, it in answers]) < 0.35
    hedges = [heard(result.text) == heard(page.query.text) and not it.said for page, result, it in answers]
    assert 0.05 < np.mean(hedges) < 0.25
    found = [
        any(shown[answer.result_id].thing == shown[other.result_id].thing for other in page.results if other != answer)
        for page, shown in truth
        for answer in page.only(Modality.ANSWER).results
    ]
    assert np.mean(found) > 0.8


def test_words_for_the_same_value_differ(truth: Truth) -> None:
    """Not a word of the query stands in a good part of the texts that meet it."""
    strangers = []
    for page, shown in truth:
        asked = heard(page.query.text)
        words = set(_PHRASE.findall(page.query.text))
        for result in page.only(Modality.TEXT).results:
            if set(asked.items()) <= set(shown[result.result_id].said.items()):
                strangers.append(not words & set(_PHRASE.findall(result.text)))
    assert 0.05 < np.mean(strangers) < 0.6


# ---------------------------------------------------------------- pixels


def test_pictures_and_videos_are_all_pixels_and_texts_all_words(truth: Truth) -> None:
    frames: Counter[int] = Counter()
    for page, _ in truth:
        assert page.modalities == tuple(Modality)
        assert 24 <= len(page) <= 32
        for result in page.results:
            assert (result.text == "") == (result.modality in (Modality.IMAGE, Modality.VIDEO))
            if result.modality is Modality.VIDEO:
                frames[len(result.images)] += 1
                assert len({image.sha256 for image in result.images}) == len(result.images)
            else:
                assert len(result.images) == (result.modality is Modality.IMAGE)
            assert set(result.features) == {"clicks"} | {
                Modality.VIDEO: {"duration_s"},
                Modality.ANSWER: {"confidence"},
            }.get(result.modality, set())
    assert set(frames) == {3, 4}


def painted(truth: Truth) -> Iterator[tuple[Shown, NDArray[np.float64]]]:
    for page, shown in truth[::3]:
        for result in page.results:
            for image in result.images[:2]:
                yield shown[result.result_id], pixels(image).astype(np.float64)


def test_the_named_colours_are_in_the_pixels(truth: Truth) -> None:
    ink_right, ground_right = [], []
    for it, rgb in painted(truth):
        high, low = rgb.max(axis=2), rgb.min(axis=2)
        colourful = (high - low) / np.maximum(high, 1) > 0.38
        ink = rgb[colourful & (high > 80)]
        if len(ink) >= 8:  # else hidden behind the cover
            ink_right.append(nearest(np.median(ink, axis=0), dict(INK)) == it.thing["colour"])
        edge = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
        ground_right.append(nearest(np.median(edge, axis=0), dict(GROUND)) == it.thing["background"])
    assert len(ink_right) > 500
    assert len(ink_right) > 0.97 * len(ground_right)
    assert np.mean(ink_right) > 0.985
    assert np.mean(ground_right) > 0.97


def test_without_noise_the_number_and_size_of_things_are_in_the_pixels() -> None:
    world = Synthetic(25, dev_share=0, noise=0, modalities=[Modality.IMAGE])
    numbers: list[bool] = []
    areas: dict[str, list[float]] = {size: [] for size in ATTRIBUTES["size"]}
    for page, shown in world.truth("train"):
        for result in page.results:
            thing = shown[result.result_id].thing
            rgb = pixels(result.images[0])
            # The ground is one flat colour when there is no noise: that of the corner least likely to be covered.
            corners = Counter(tuple(rgb[y, x]) for y in (0, -1) for x in (0, -1))
            there = (rgb != np.array(corners.most_common(1)[0][0])).any(axis=2)
            label, _ = ndimage.label(there, structure=np.ones((3, 3)))
            parts = np.bincount(label.ravel())[1:]
            numbers.append(int((parts >= 6).sum()) == COUNT[thing["count"]])
            if thing["shape"] == "square":
                areas[thing["size"]].append(there.sum() / COUNT[thing["count"]])
    assert len(numbers) > 150
    assert np.mean(numbers) > 0.98
    ordered = [areas[size] for size in ATTRIBUTES["size"]]
    assert all(max(smaller) < min(larger) for smaller, larger in pairwise(ordered))


def test_folder_holds_the_same_pictures_once(tmp_path: Path) -> None:
    world = partial(Synthetic, 2, dev_share=0.5)
    filed = list(world(folder=tmp_path).pages("train"))
    refs = [ref for page in filed for result in page.results for ref in result.images]
    embedded = [ref for page in world().pages("train") for r in page.results for ref in r.images]
    assert [ref.sha256 for ref in refs] == [ref.sha256 for ref in embedded]
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(refs, embedded, strict=True))
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {Path(ref.uri) for ref in refs}
    before = {path: path.stat().st_mtime_ns for path in files}
    assert list(world(folder=tmp_path).pages("train")) == filed
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_picture_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        next(Synthetic(2, folder=tmp_path).pages("train"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# ---------------------------------------------------------------- hard on purpose, and no leak


def test_near_duplicates_stand_on_nearly_every_page(truth: Truth) -> None:
    def differ(left: Shown, right: Shown) -> int:
        return sum(left.thing[name] != right.thing[name] for name in ATTRIBUTES)

    found = []
    for _, shown in truth:
        several = list(shown.values())
        found.append(any(differ(a, b) == 1 for i, a in enumerate(several) for b in several[:i]))
    assert np.mean(found) > 0.95


def ndcg(scores: NDArray[np.floating], grades: NDArray[np.floating], k: int = 10) -> float:
    """nDCG with linear gains."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    gained = grades[np.argsort(-scores, kind="stable")][:k]
    ideal = np.sort(grades)[::-1][:k]
    return float(gained @ discount[: len(gained)] / (ideal @ discount[: len(ideal)]))


def merged(page: Page, grades: NDArray[np.float64], how: str) -> NDArray[np.float64]:
    """Scores of the whole page from perfect rankers of each modality, merged without looking across."""
    scores = np.zeros(len(page))
    for modality in page.modalities:
        of = np.array([result.modality is modality for result in page.results])
        if how == "z-score":
            scores[of] = (grades[of] - grades[of].mean()) / (grades[of].std() or 1)
        else:
            scores[np.flatnonzero(of)[np.argsort(-grades[of], kind="stable")]] = -np.arange(of.sum())
    return scores


def test_perfect_rankers_of_each_modality_do_not_solve_the_page(truth: Truth, said: Judgments) -> None:
    rng = np.random.default_rng(0)
    measured: dict[str, list[float]] = {how: [] for how in ("random", "round robin", "z-score", "ideal")}
    spread = []
    for page, _ in truth:
        of = said.by_result(page.query_id)
        grades = np.array([of[result_id] for result_id in page.result_ids])
        if not grades.any():
            continue
        means = [
            np.mean([of[result_id] for result_id in page.only(modality).result_ids]) for modality in page.modalities
        ]
        spread.append(max(means) - min(means))
        measured["random"].append(ndcg(rng.random(len(page)), grades))
        measured["ideal"].append(ndcg(grades, grades))
        for how in ("round robin", "z-score"):
            measured[how].append(ndcg(merged(page, grades, how), grades))
    mean = {how: float(np.mean(values)) for how, values in measured.items()}
    assert mean["ideal"] == 1
    assert mean["random"] + 0.2 < mean["round robin"] < mean["z-score"] < 0.93
    assert np.mean(spread) > 0.8


def test_what_the_texts_say_tells_how_good_the_texts_are() -> None:
    """Absolute match of one modality's content predicts its level: that is what a page reranker can learn."""
    world = Synthetic(200, dev_share=0, modalities=WORDS_ONLY)
    judgments = world.judgments("train")
    for modality, at_least in ((Modality.TEXT, 0.7), (Modality.ANSWER, 0.3)):
        match, level = [], []
        for page in world.pages("train"):
            asked, of = heard(page.query.text), judgments.by_result(page.query_id)
            results = page.only(modality).results
            shares = [len(asked.items() & heard(result.text).items()) / len(asked) for result in results]
            match.append(np.mean(shares))
            level.append(np.mean([of[result.result_id] for result in results]))
        assert np.corrcoef(match, level)[0, 1] > at_least


def _auc(train: list[tuple[list[float], bool]], dev: list[tuple[list[float], bool]]) -> float:
    model = HistGradientBoostingClassifier(max_depth=3, max_iter=40, random_state=0)
    model.fit(np.array([row for row, _ in train]), np.array([good for _, good in train]))
    sure = model.predict_proba(np.array([row for row, _ in dev]))[:, 1]
    return float(roc_auc_score([good for _, good in dev], sure))


def _outside(page: Page, index: int) -> list[float]:
    """Everything about a result but its content: the letters of its id, its place, and the numbers of results."""
    result = page.results[index]
    alike = [i for i, other in enumerate(page.results) if other.modality is result.modality]
    letters = [float(int(letter, 16)) for letter in result.result_id]
    return [*letters, index, index / len(page), alike.index(index), len(alike), len(page), len(page.query_id)]


def test_ids_places_and_numbers_do_not_give_grades_away() -> None:
    world = Synthetic(900, dev_share=0.5, modalities=WORDS_ONLY)
    outside: dict[str, list[tuple[list[float], bool]]] = {}
    sorted_by_grade: dict[str, list[tuple[list[float], bool]]] = {}
    for split in ("train", "dev"):
        judgments = world.judgments(split)
        outside[split], sorted_by_grade[split] = [], []
        for page in world.pages(split):
            of = judgments.by_result(page.query_id)
            leaky = Page(page.query, tuple(sorted(page.results, key=lambda r: -of[r.result_id])))
            for of_page, rows in ((page, outside[split]), (leaky, sorted_by_grade[split])):
                rows += [(_outside(of_page, i), of[r.result_id] >= 2) for i, r in enumerate(of_page.results)]
    assert len(outside["dev"]) > 5000
    assert 0.46 < _auc(outside["train"], outside["dev"]) < 0.54
    assert _auc(sorted_by_grade["train"], sorted_by_grade["dev"]) > 0.75  # a leak would be found


def test_features_help_a_little_at_most(truth: Truth, said: Judgments) -> None:
    rows: list[tuple[list[float], bool]] = []
    for page, _ in truth:
        of = said.by_result(page.query_id)
        for result in page.results:
            features = [result.features.get(name, -1.0) for name in ("clicks", "duration_s", "confidence")]
            pictures = [float(len(image.uri)) for image in result.images]
            rows.append(([*features, len(result.text), sum(pictures), len(pictures)], of[result.result_id] >= 2))
    half = len(rows) // 2
    assert 0.45 < _auc(rows[:half], rows[half:]) < 0.65
    # Honest: what the feature promises is there, a lower confidence where the answer is wrong.
    confidence: dict[bool, list[float]] = {True: [], False: []}
    for page, shown in truth:
        for result in page.only(Modality.ANSWER).results:
            it = shown[result.result_id]
            confidence[bool(it.false_claims) or not it.said].append(result.features["confidence"])
    assert np.mean(confidence[True]) + 0.05 < np.mean(confidence[False])


def test_any_thing_has_every_attribute() -> None:
    thing = any_thing(np.random.default_rng(0))
    assert list(thing) == list(ATTRIBUTES)
    assert all(value in ATTRIBUTES[name] for name, value in thing.items())
