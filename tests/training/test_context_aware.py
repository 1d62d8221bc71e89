from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError, WeightsError
from wholepage.training.context_aware import ContextAwareConfig, fit_context_aware
from wholepage.training.loop import LoopConfig
from wholepage.training.workers import Workers

COLUMNS = 4
LOOP = LoopConfig(epochs=30, batch_size=16, learning_rate=5e-3)
CONFIG = ContextAwareConfig(members=1, width=16, layers=1, heads=2, hidden=16, dropout=0.0, loop=LOOP)
BRIEF = msgspec.structs.replace(CONFIG, members=2, dropout=0.1, loop=LoopConfig(epochs=2, batch_size=8))

Pages = tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]


def relative(count: int, seed: int, share: float = 1.0) -> Pages:
    """Pages on which a result is worth how far its first number lies from the page's middle: 0 to 3 by rank.

    The middle moves from page to page, so that nobody can tell who looks at one result alone.
    """
    random = np.random.default_rng(seed)
    features, grades = [], []
    for _ in range(count):
        n = int(random.integers(8, 13))
        rows = random.standard_normal((n, COLUMNS)).astype(np.float32)
        rows[:, 0] += random.normal() * 3
        far = np.abs(rows[:, 0] - rows[:, 0].mean())
        given = np.digitize(far.argsort().argsort() / n, [0.4, 0.7, 0.9]).astype(np.float32)
        given[random.random(n) >= share] = np.nan
        features.append(rows)
        grades.append(given)
    return features, grades


def ndcg(scores: list[NDArray[np.float32]], grades: list[NDArray[np.float32]]) -> float:
    values = []
    for given, grade in zip(scores, grades, strict=True):
        gains, discount = np.exp2(grade) - 1, 1 / np.log2(np.arange(len(grade)) + 2)
        values.append(float(gains[np.argsort(-given)] @ discount / (np.sort(gains)[::-1] @ discount)))
    return float(np.mean(values))


@pytest.fixture(scope="module")
def taught() -> Pages:
    return relative(160, seed=0)


@pytest.fixture(scope="module")
def held() -> Pages:
    return relative(60, seed=1)


@pytest.mark.parametrize("loss", ["ndcg_loss2++", "gain_softmax", "list_mle"])
def test_it_learns_what_only_the_page_tells(taught: Pages, held: Pages, loss: Any) -> None:
    ranker = fit_context_aware(*taught, msgspec.structs.replace(CONFIG, loss=loss), seed=0)
    assert ndcg(ranker.predict(held[0]), held[1]) > ndcg([rows[:, 1] for rows in held[0]], held[1]) + 0.15


def test_few_labels_teach_and_unlabelled_results_are_seen(held: Pages) -> None:
    features, grades = relative(160, seed=0, share=0.4)
    assert 0.3 < 1 - np.isnan(np.concatenate(grades)).mean() < 0.5
    whole = fit_context_aware(features, grades, CONFIG, seed=0)
    assert ndcg(whole.predict(held[0]), held[1]) > ndcg([rows[:, 1] for rows in held[0]], held[1]) + 0.1
    # The middle of a page is that of all its results: without those nobody judged, it is another one.
    kept = [~np.isnan(given) for given in grades]
    cut = fit_context_aware(
        [rows[k] for rows, k in zip(features, kept, strict=True)],
        [given[k] for given, k in zip(grades, kept, strict=True)],
        CONFIG,
        seed=0,
    )
    assert not np.array_equal(cut.predict(held[0])[0], whole.predict(held[0])[0])


def test_pages_that_teach_nothing_change_nothing(taught: Pages) -> None:
    features, grades = taught[0][:20], taught[1][:20]
    flat = np.full(len(features[0]), 2.0, np.float32)
    one = np.full(len(features[0]), np.nan, np.float32)
    one[0] = 3.0
    padded = fit_context_aware([features[0], *features, features[0]], [flat, *grades, one], BRIEF, seed=3)
    plain = fit_context_aware(features, grades, BRIEF, seed=3)
    for a, b in zip(padded.predict(features), plain.predict(features), strict=True):
        np.testing.assert_array_equal(a, b)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_runs_save_the_same_bytes_and_another_seed_others(taught: Pages, tmp_path: Path) -> None:
    features, grades = taught[0][:20], taught[1][:20]
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        fit_context_aware(features, grades, BRIEF, seed=seed).save(tmp_path / name)
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one["arrays.safetensors"] != other["arrays.safetensors"]


def test_members_differ(taught: Pages) -> None:
    ranker = fit_context_aware(taught[0][:20], taught[1][:20], BRIEF, seed=0)
    first, second = (net.score.weight.detach().numpy() for net in ranker.nets)
    assert np.abs(first - second).max() > 1e-3


def test_a_run_that_stopped_goes_on_to_the_same_weights(taught: Pages, tmp_path: Path) -> None:
    features, grades = taught[0][:20], taught[1][:20]
    whole = fit_context_aware(features, grades, BRIEF, seed=0)

    class Stopped(Exception):
        pass

    def stop(done: int, total: int, what: str) -> None:
        if "network 2" in what and done == total - 1:
            raise Stopped

    with pytest.raises(Stopped):
        fit_context_aware(features, grades, BRIEF, seed=0, folder=tmp_path, progress=stop)
    told: list[str] = []
    resumed = fit_context_aware(
        features, grades, BRIEF, seed=0, folder=tmp_path, progress=lambda done, total, what: told.append(what)
    )
    assert set(told) == {"context-aware, network 2 of 2"}
    for a, b in zip(resumed.predict(features), whole.predict(features), strict=True):
        np.testing.assert_array_equal(a, b)
    other = [np.where(np.isnan(given), given, 3 - given) for given in grades]
    with pytest.raises(WeightsError, match="another run"):
        fit_context_aware(features, other, BRIEF, seed=0, folder=tmp_path)
    changed = msgspec.structs.replace(BRIEF, loss="list_mle")
    with pytest.raises(WeightsError, match="another run"):
        fit_context_aware(features, grades, changed, seed=0, folder=tmp_path)


@pytest.mark.slow
def test_workers_train_the_same_bits(taught: Pages) -> None:
    features, grades = taught[0][:10], taught[1][:10]
    with Workers(2) as workers:
        beside = fit_context_aware(features, grades, BRIEF, seed=0, workers=workers)
    alone = fit_context_aware(features, grades, BRIEF, seed=0)
    for a, b in zip(beside.predict(features), alone.predict(features), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_teach_is_refused(taught: Pages) -> None:
    features, grades = taught[0][:3], taught[1][:3]
    nobody = [np.full(len(given), np.nan, np.float32) for given in grades]
    for pages, told, match in (
        (features, grades[:2], "3 pages and 2 grades"),
        (features, [grades[0][:-1], *grades[1:]], r"grades\[0\]: got shape"),
        ([features[0][:, :2], *features[1:]], grades, r"features\[1\]: got shape"),
    ):
        with pytest.raises(ShapeError, match=match):
            fit_context_aware(pages, told, CONFIG, seed=0)
    for pages, told, match in (
        (features, nobody, "got no page that teaches among 3"),
        ([], [], "got no page that teaches among 0"),
        (features, [-grades[0], *grades[1:]], r"grades\[0\]: got -3.0; allowed: finite, from 0 up"),
        (features, [np.where(grades[0] > 2, np.inf, grades[0]), *grades[1:]], r"grades\[0\]: got inf"),
        ([features[0] * np.nan, *features[1:]], grades, r"features\[0\]\[0, 0\]: got nan"),
    ):
        with pytest.raises(InputError, match=match):
            fit_context_aware(pages, told, CONFIG, seed=0)


@pytest.mark.parametrize(
    "wrong", [{"members": 0}, {"layers": 0}, {"dropout": 1.0}, {"dropout": math.nan}, {"loss": "tanh"}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"ContextAwareConfig.{next(iter(wrong))}: got"):
        ContextAwareConfig(**wrong)


def test_settings_survive_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(BRIEF), type=ContextAwareConfig) == BRIEF
