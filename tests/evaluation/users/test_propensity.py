"""Click-through rates corrected for places."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from wholepage.evaluation.users.click_models.fitting import Climb
from wholepage.evaluation.users.click_models.pbm import PositionModel, fit_pbm, fit_pbm_by_modality
from wholepage.evaluation.users.propensity import corrected_rates
from wholepage.pages import InputError

from .samplers import QUERIES, RESULTS, by_name, log_of, pbm_clicks, small_log

KNOWN = PositionModel(items=(), attraction=np.array([]), examination=np.array([[1.0, 0.5, 0.1]]), unknown=0.5, trace=())
LOG = small_log([("q", "abc", "ab"), ("q", "bac", "a"), ("q", "cab", "b"), ("q", "abc", "")])


def test_rates_by_hand() -> None:
    found = corrected_rates(LOG, KNOWN)
    assert [name for _, name in found.items] == ["a", "b", "c"]
    assert found.shows.tolist() == [4.0, 4.0, 4.0]
    assert found.clicks.tolist() == [2.0, 2.0, 0.0]
    assert found.rate.tolist() == [0.5, 0.5, 0.0]
    # a: clicked at the first place and at the second; b: at the second and at the third.
    np.testing.assert_allclose(found.corrected, [(1 + 2) / 4, (2 + 10) / 4, 0.0])
    weights = np.array([1.0, 2.0, 0.0, 0.0])
    assert math.isclose(found.standard_error[0], weights.std(ddof=1) / 2)
    assert found.standard_error[2] == 0.0


def test_heavy_weights_are_cut() -> None:
    np.testing.assert_allclose(corrected_rates(LOG, KNOWN, max_weight=5.0).corrected, [0.75, 7 / 4, 0.0])
    np.testing.assert_allclose(corrected_rates(LOG, KNOWN, max_weight=1.0).corrected, [0.5, 0.5, 0.0])
    np.testing.assert_allclose(corrected_rates(LOG, KNOWN, max_weight=math.inf).corrected, [0.75, 3.0, 0.0])


def test_results_that_stood_low_get_what_they_deserve() -> None:
    # Results 0 to 5 mostly stand above, 6 to 11 mostly below: their plain rates say they are worse, which they are not.
    rng = np.random.default_rng(0)
    n, depth = 60_000, 6
    shown = np.argsort(rng.random((n, RESULTS)) + (np.arange(RESULTS) > 5) * 0.5, axis=1)[:, :depth]
    query, modality = rng.integers(QUERIES, size=n), np.arange(RESULTS) % 2
    attraction = rng.uniform(0.3, 0.6, (QUERIES, RESULTS))
    examination = np.array([0.7 ** np.arange(depth), 0.85 ** np.arange(depth)])  # pictures are seen further down
    clicked = pbm_clicks(attraction[query[:, None], shown], examination[modality[shown], np.arange(depth)], rng)
    log = log_of(shown, clicked, query, modality)
    found = corrected_rates(log, fit_pbm_by_modality(log))
    off = by_name(found.items, found.corrected) - attraction
    plain = by_name(found.items, found.rate) - attraction
    assert np.abs(off).max() < 0.11
    assert plain[:, 6:].mean() < -0.1
    assert abs(off[:, 6:].mean()) < 0.02
    # With the true examination the mean is right within its own standard error: five of it, for the worst of 72.
    true = PositionModel(
        items=(), attraction=np.array([]), unknown=0.5, trace=(),
        examination=np.concatenate([examination, np.full((2, depth), np.nan)]),
    )  # fmt: skip
    exact = corrected_rates(log, true, max_weight=math.inf)
    away = (by_name(exact.items, exact.corrected) - attraction) / by_name(exact.items, exact.standard_error)
    assert np.abs(away).max() < 5.0
    assert abs(away.std() - 1.0) < 0.3
    np.testing.assert_allclose(exact.rate, exact.clicks / exact.shows)


def test_one_show_has_no_error() -> None:
    found = corrected_rates(small_log([("q", "ab", "b")]), KNOWN)
    assert np.isnan(found.standard_error).all()


def test_what_cannot_be_corrected_is_told() -> None:
    with pytest.raises(InputError, match=r"max_weight: got 0\.5"):
        corrected_rates(LOG, KNOWN, max_weight=0.5)
    with pytest.raises(InputError, match="max_weight: got nan"):
        corrected_rates(LOG, KNOWN, max_weight=math.nan)
    with pytest.raises(InputError, match="a page of 4 results"):
        corrected_rates(small_log([("q", "abcd", "")]), KNOWN)
    new = msgspec.structs.replace(fit_pbm(LOG, Climb(prior=0.5)), examination=np.array([[1.0, np.nan, 0.5]]))
    with pytest.raises(InputError, match="never saw"):
        corrected_rates(LOG, new)
