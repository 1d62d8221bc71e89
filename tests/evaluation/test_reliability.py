"""Reliability against scikit-learn, scipy and brute force; the section of the report."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from wholepage.evaluation.reliability import page_reliability, reliability, wilson_interval
from wholepage.evaluation.reliability_report import reliability_section
from wholepage.evaluation.report import Figure, Heading, Prose, Table, render_report
from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result


def drawn(count: int, seed: int = 0, power: float = 1.5) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Probabilities, results that are relevant a little less often, and a modality each; some values repeat."""
    random = np.random.default_rng(seed)
    given = np.where(random.random(count) < 0.2, 0.25, random.random(count))
    kinds = random.choice(["answer", "text", "image"], count, p=[0.1, 0.6, 0.3])
    return given, random.random(count) < given**power, kinds.tolist()


def test_bins_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    given = random.permutation(np.linspace(0.001, 0.999, 1000))  # distinct, and 10 divides their number
    hits = random.random(1000) < given
    truth, told = calibration_curve(hits, given, n_bins=10, strategy="quantile")
    bins = reliability(given, hits, ["text"] * 1000).overall.bins
    np.testing.assert_allclose([one.observed for one in bins], truth)
    np.testing.assert_allclose([one.predicted for one in bins], told)
    assert {one.count for one in bins} == {100}


def test_numbers_are_those_of_scikit_learn_for_every_modality() -> None:
    given, hits, kinds = drawn(700)
    report = reliability(given, hits, kinds)
    assert [one.name for one in report.modalities] == ["text", "image", "answer"]
    for one in (report.overall, *report.modalities):
        rows = np.array([one.name in ("all", kind) for kind in kinds])
        p, y = given[rows], hits[rows]
        assert one.count == len(p)
        assert one.predicted == pytest.approx(sum(p) / len(p))
        assert one.observed == pytest.approx(sum(y) / len(y))
        assert one.brier == pytest.approx(brier_score_loss(y, p))
        assert one.log_loss == pytest.approx(log_loss(y, p))
        assert one.bias == pytest.approx(sum(p) / len(p) - sum(y) / len(y))
    biases = [one.bias for one in report.modalities]
    assert report.modality_gap == max(abs(a - b) for a in biases for b in biases)


def test_bins_by_brute_force_with_ties() -> None:
    given, hits, _ = drawn(233, seed=3)
    one = reliability(given, hits, ["text"] * 233, bins=7).overall
    # The bin of a value: how many whole sevenths of the results lie at or below the first value not smaller.
    ordered = sorted(given)
    edges = sorted({ordered[math.ceil(k * 233 / 7) - 1] for k in range(1, 8)})
    inside = [[i for i in range(233) if low < given[i] <= high] for low, high in zip([-1, *edges], edges, strict=False)]
    assert [part.count for part in one.bins] == [len(rows) for rows in inside]
    assert sum(part.count for part in one.bins) == 233
    error = 0.0
    for part, rows in zip(one.bins, inside, strict=True):
        told, seen = sum(given[i] for i in rows) / len(rows), sum(hits[i] for i in rows) / len(rows)
        assert (part.predicted, part.observed) == pytest.approx((told, seen))
        error += abs(told - seen) * len(rows) / 233
    assert one.ece == pytest.approx(error)


def test_results_of_equal_probability_share_a_bin_whatever_their_order() -> None:
    given, hits, kinds = drawn(300, seed=1)
    report = reliability(given, hits, kinds)
    order = np.random.default_rng(0).permutation(300)
    assert reliability(given[order], hits[order], [kinds[i] for i in order]) == report
    [only] = reliability([0.25] * 9, [1, 0, 0] * 3, ["text"] * 9).overall.bins
    assert (only.count, only.observed) == (9, pytest.approx(1 / 3))


def test_the_intervals_are_wilsons() -> None:
    for count in (1, 2, 9, 500):
        for hits in {0, 1, count // 2, count}:
            expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
            assert wilson_interval(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-12)
    expected = binomtest(3, 10).proportion_ci(0.8, method="wilson")
    assert wilson_interval(3, 10, confidence=0.8) == pytest.approx((expected.low, expected.high))
    for part in reliability(*drawn(400)).overall.bins:
        ends = binomtest(round(part.observed * part.count), part.count).proportion_ci(0.95, method="wilson")
        assert (part.low, part.high) == pytest.approx((ends.low, ends.high), abs=1e-12)


def test_probabilities_that_are_right_have_little_error_and_others_more() -> None:
    right, wrong = (reliability(*drawn(20_000, power=power)).overall for power in (1.0, 3.0))
    assert right.ece < 0.02
    assert wrong.ece == pytest.approx(wrong.bias, abs=0.01)
    assert wrong.bias > 0.15
    given, hits, kinds = drawn(20_000, power=3.0)
    mended = reliability(given**3, hits, kinds).overall
    assert mended.ece < 0.02
    assert mended.brier < wrong.brier - 0.03
    assert mended.log_loss < wrong.log_loss - 0.1


def test_one_result_of_a_modality_and_a_wrong_certainty() -> None:
    report = reliability([0.3, 1.0], [False, False], ["text", "video"])
    text, video = report.modalities
    assert (text.count, text.ece, len(text.bins)) == (1, pytest.approx(0.3), 1)
    assert 30 < video.log_loss < math.inf
    assert report.modality_gap == pytest.approx(0.7)
    assert reliability([0.3], [True], ["text"]).modality_gap is None


@pytest.mark.parametrize(
    ("given", "relevant", "kinds", "bins", "error", "match"),
    [
        ([0.1, 0.2], [True], ["text", "text"], 10, ShapeError, r"\(2,\), \(1,\), \(2,\)"),
        ([[0.1]], [[True]], ["text"], 10, ShapeError, "flatten the pages"),
        ([0.1], [True], ["text"], 0, ShapeError, "0 bins"),
        ([], [], [], 10, InputError, "no results"),
        ([0.1, 1.5], [True, False], ["text"] * 2, 10, InputError, "got probability 1.5; allowed: 0 to 1"),
        ([math.nan], [True], ["text"], 10, InputError, "got probability nan"),
        ([0.5], [3], ["text"], 10, InputError, "other than true and false"),
    ],
)
def test_other_input_is_refused(
    given: Any, relevant: Any, kinds: Any, bins: int, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        reliability(given, relevant, kinds, bins=bins)


@pytest.mark.parametrize(("hits", "count", "confidence"), [(0, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_an_interval_of_nothing_is_refused(hits: int, count: int, confidence: float) -> None:
    with pytest.raises(InputError, match="wilson_interval: got"):
        wilson_interval(hits, count, confidence=confidence)


# ---------------------------------------------------------------- pages


def pages_of() -> list[Page]:
    picture = (ImageRef("a.png"),)
    first = (
        Result("a", Modality.TEXT, "x"),
        Result("b", Modality.IMAGE, images=picture),
        Result("c", Modality.TEXT, "y"),
    )
    return [Page(Query("q1", "x"), first), Page(Query("q2", "y"), first[:2])]


def test_pages_are_compared_with_their_judgments() -> None:
    judgments = Judgments.from_mapping({"q1": {"a": 2, "b": 1}, "q2": {"b": 3}})
    probabilities = [np.float32([0.8, 0.4, 0.9]), np.float32([0.2, 0.7])]
    found = page_reliability(pages_of(), probabilities, judgments, threshold=2)
    assert found == reliability(np.float32([0.8, 0.4, 0.7]), [True, False, True], ["text", "image", "image"])
    with pytest.raises(InputError, match="no results"):
        page_reliability(pages_of(), probabilities, Judgments.from_mapping({}), threshold=2)
    with pytest.raises(ShapeError, match="one probability a result"):
        page_reliability(pages_of(), probabilities[::-1], judgments, threshold=2)


# ---------------------------------------------------------------- the report


def test_the_section_shows_every_modality_and_repeats_itself() -> None:
    report = reliability(*drawn(500))
    heading, prose, table, *figures = reliability_section(report, title="How sure & how right")
    assert heading == Heading("How sure & how right")
    assert isinstance(prose, Prose)
    assert f"{report.modality_gap:.3f}" in prose.text
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["all", "text", "image", "answer"]
    for row, one in zip(table.rows, (report.overall, *report.modalities), strict=True):
        assert row[1:] == (one.count, one.predicted, one.observed, one.bias, one.ece, one.brier, one.log_loss)
    assert len(figures) == 4
    for figure, one in zip(figures, (report.overall, *report.modalities), strict=True):
        assert isinstance(figure, Figure)
        assert f"{one.count:,} results" in figure.svg
        assert f"ECE {one.ece:.3f}" in figure.svg
        assert figure.svg.count("<use") >= len(one.bins)
    first = render_report("r", reliability_section(report))
    assert first == render_report("r", reliability_section(reliability(*drawn(500))))
    assert first != render_report("r", reliability_section(reliability(*drawn(500, seed=1))))


def test_one_modality_needs_one_plot() -> None:
    sections = reliability_section(reliability([0.2, 0.6], [False, True], ["text", "text"]))
    assert [type(section) for section in sections] == [Heading, Prose, Table, Figure]
