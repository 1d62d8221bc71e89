"""The C/W/L framework beside the package cwl-eval, and where it meets measures that are computed otherwise."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from wholepage.evaluation.page import cwl, items, rank_biased, readers
from wholepage.evaluation.page.arrays import GradedPages, from_arrays, from_rankings
from wholepage.evaluation.page.heights import Costs
from wholepage.pages.errors import InputError, ShapeError

COSTS = Costs(text=1.0, image=0.5, video=3.0, answer=2.25, beyond=1.5)
TOP = 3.0
PAIRS = {  # reader, and cwl-eval's class and settings
    "P": (readers.FirstK(5), "PrecisionCWLMetric", (5,)),
    "SDCG": (readers.ScaledDcg(10), "NDCGCWLMetric", (10,)),
    "RBP": (readers.RankBiased(0.9), "RBPCWLMetric", (0.9,)),
    "INST": (readers.Inst(2.0), "INSTCWLMetric", (2.0,)),
    "INSQ": (readers.Insq(1.5), "INSQCWLMetric", (1.5,)),
    "RR": (readers.FirstHit(), "RRCWLMetric", ()),
    "AP": (readers.EveryHit(), "APCWLMetric", ()),
    "BPM": (readers.Bejewelled(T=1.25, K=9.0), "BPMCWLMetric", (1.25, 9.0)),
    "IFT": (
        readers.Forager(T=1.5, A=0.3, b1=0.9, R1=4.0, b2=0.25, R2=10.0),
        "IFTGoalRateCWLMetric",
        (1.5, 0.9, 4.0, 0.3, 0.25, 10.0),
    ),
    "TBG": (readers.TimeBiased(6.0), "TBGCWLMetric", (6.0,)),
}


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The package cwl-eval, with its log closed."""
    ruler = pytest.importorskip("cwl.ruler.cwl_ruler", reason="cwl-eval is not installed: nothing to compare with")
    logging.getLogger("cwl").disabled = True
    return ruler


@pytest.fixture(scope="module")
def pages(thousand: Any) -> GradedPages:
    return from_rankings(thousand.rankings, thousand.judgments, thousand.pages)


@pytest.mark.parametrize(("depth", "count"), [(60, 1000), (cwl.DEPTH, 6)])
@pytest.mark.parametrize("name", PAIRS)
def test_equals_cwl_eval(theirs: Any, pages: GradedPages, name: str, depth: int, count: int) -> None:
    reader, metric_name, settings = PAIRS[name]
    found = cwl.cwl(pages, reader, COSTS, top=TOP, depth=depth)
    residual = cwl.cwl_residual(pages, reader, COSTS, top=TOP, depth=depth)
    kinds, prices, seen = pages.kinds(), COSTS.table(), 0
    outside = {"min_cost": COSTS.beyond, "max_cost": COSTS.beyond, "max_n": depth}
    for row, length in enumerate(pages.lengths[:count]):
        if np.isnan(pages.grades[row]).all():
            assert np.isnan([values[row] for values in found]).all()
            continue
        metric = getattr(theirs, metric_name)(*settings)
        metric.residuals = True
        metric.measure(theirs.Ranking("t", pages.grades[row, :length] / TOP, prices[kinds[row, :length]], **outside))
        assert [values[row] for values in found] == pytest.approx(metric.get_scores(), abs=1e-9, rel=1e-12), row
        assert residual[row] == pytest.approx(metric.residual_expected_utility, abs=1e-9)
        seen += 1
    assert seen >= 0.8 * count


def test_by_hand() -> None:
    gains, costs = np.array([[1.0, 0.0, 0.5]]), np.array([[2.0, 1.0, 4.0]])
    found = cwl.expectations(gains, costs, readers.FirstK(2))
    assert [value[0] for value in found] == pytest.approx([0.5, 1.0, 1.5, 3.0, 2.0])
    endless = cwl.expectations(gains, costs, readers.RankBiased(0.5))  # reached 1, 1/2, 1/4
    assert endless.ed[0] == pytest.approx(1.75)
    assert endless.eu[0] == pytest.approx((1 + 0.5 / 4) / 1.75)
    assert endless.etc[0] == pytest.approx(0.5 * 2 + 0.25 * 3 + 0.125 * 7)


def test_meets_the_measures_of_lists(pages: GradedPages) -> None:
    judged = ~np.isnan(pages.grades).all(axis=1)
    binary = cwl.cwl(pages, readers.FirstK(5), Costs())
    np.testing.assert_allclose(binary.eu[judged], items.precision(pages, k=5)[judged], atol=1e-12)
    hit = cwl.cwl(pages, readers.FirstHit(), Costs())
    rr = items.reciprocal_rank(pages)
    np.testing.assert_allclose(hit.eu[judged], rr[judged], atol=1e-12)
    for p in (0.5, 0.8):
        reader = readers.RankBiased(p)
        np.testing.assert_allclose(
            cwl.cwl(pages, reader, Costs(), top=3).eu,
            rank_biased.rank_biased_precision(pages, p=p, top=3),
            atol=1e-12,
        )
        residual = rank_biased.rank_biased_residual(pages, p=p)
        np.testing.assert_allclose(cwl.cwl_residual(pages, reader, Costs())[judged], residual[judged], atol=1e-12)


def test_cost_of_each_unit_is_the_depth(pages: GradedPages) -> None:
    for reader, _, _ in PAIRS.values():
        found = cwl.cwl(pages, reader, Costs(), depth=50)
        judged = ~np.isnan(found.ed)
        np.testing.assert_allclose(found.ec[judged], 1.0, atol=1e-12)
        assert (found.ed[judged] >= 1).all()
        assert (found.ed[judged] <= 50 + 1e-9).all()
        assert ((found.eu[judged] >= 0) & (found.eu[judged] <= 1)).all()


def test_pages_without_modalities_cost_what_text_costs() -> None:
    found = cwl.cwl(from_arrays([[1.0, 0.0]]), readers.FirstK(4), Costs(text=2, beyond=5))
    assert found.etc[0] == 14


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: readers.FirstK(0),
        lambda: readers.ScaledDcg(0),
        lambda: readers.RankBiased(1.0),
        lambda: readers.Inst(0.0),
        lambda: readers.Insq(-1.0),
        lambda: readers.Bejewelled(T=1.0, K=0.0),
        lambda: readers.Forager(b1=0.0),
        lambda: readers.Forager(R2=-1.0),
        lambda: readers.TimeBiased(0.0),
        lambda: cwl.cwl(from_arrays([[1.0]]), readers.FirstK(), Costs(), depth=0),
        lambda: cwl.cwl(from_arrays([[1.0]]), readers.FirstK(), Costs(), unknown=2.0),
    ],
)
def test_wrong_settings_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="got"):
        wrong()


def test_shapes_must_agree() -> None:
    for gains, costs in ((np.zeros((1, 2)), np.ones((1, 3))), (np.zeros((1, 0)), np.ones((1, 0)))):
        with pytest.raises(ShapeError, match="c/w/l"):
            cwl.expectations(gains, costs, readers.FirstK())
