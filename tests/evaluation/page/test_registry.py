"""Page measures by name: how they are written and read, and what they say of pages with little to measure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page.calibration import calibration_gap
from wholepage.evaluation.page.heights import Costs, Heights
from wholepage.evaluation.page.registry import (
    evaluate_page_measures,
    is_page_measure,
    page_measures,
    parse_page_measure,
)
from wholepage.evaluation.page.shuffles import shuffle_variance
from wholepage.evaluation.page_measures import evaluate_pages
from wholepage.evaluation.reliability import page_reliability
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking

MakePage = Callable[[str, str], Page]
SINGLE = ("TauAP", "WeightedTau", "RBO", "Inverted", "HelpfulInversions")


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("nDCG@10", "nDCG@10"),
        ("ndcg(dcg='exp-log2')@10", "nDCG(dcg='exp-log2')@10"),
        ("P(rel=2)@5", "P(rel=2)@5"),
        ("BlockNDCG@10", "BlockNDCG(gain=max)@10"),
        (" blockndcg ( mean ) @ 3 ", "BlockNDCG(gain=mean)@3"),
        ("HBG(half=3.5)", "HBG(half=3.5, spread=even)"),
        ("RBP(p=.8)", "RBP(p=0.8, top=1)"),
        ("CWL.INST(T=2, ETU)", "CWL.INST(T=2, top=1, part=ETU)"),
        ("cwl.p(part=residual)@5", "CWL.P(top=1, part=Residual)@5"),
        ("PairAccuracy", "PairAccuracy"),
        ("PairAccuracy(text|image)", "PairAccuracy(text|image)"),
        ("ExposureGap@10", "ExposureGap@10"),
        ("ERRIA(norm=ideal)@5", "ERRIA(alpha=0.5, rel=1, norm=ideal)@5"),
    ],
)
def test_what_is_printed_says_the_variant_and_is_read_again(written: str, printed: str) -> None:
    asked = parse_page_measure(written)
    assert str(asked) == printed
    assert parse_page_measure(printed) == asked


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("nothing@10", "page measure: got 'nothing@10'"),
        ("", "page measure: got ''"),
        ("BlockNDCG(gain=median)@10", "gain='median'; allowed: max or mean or sum"),
        ("BlockNDCG(gian=max)@10", "got 'gian=max'"),
        ("BlockNDCG(max, gain=mean)@10", "got 'gain=mean'"),
        ("BlockNDCG@0", "got 'BlockNDCG@0'"),
        ("nHBG@10", "allowed: no cutoff"),
        ("P", "allowed: a cutoff"),
        ("RBP(p=1)", r"p='1'; allowed: a number in \(0, 1\)"),
        ("RBP(p=nan)", "p='nan'"),
        ("RBP(p=x)", "p='x'"),
        ("AlphaNDCG(alpha=-1)@5", r"allowed: a number in \[0, 1\]"),
        ("HBG(half=inf)", "half='inf'"),
        ("CWL.INST(p=0.5)", "got 'p=0.5'"),
    ],
)
def test_wrong_names_are_refused(wrong: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        parse_page_measure(wrong)


def test_which_are_page_measures() -> None:
    assert [name for name in page_measures() if not is_page_measure(name)] == [
        "nDCG@10", "P@10", "R@10", "RR@10", "AP@10", "Success@10", "Judged@10"
    ]  # fmt: skip
    assert not is_page_measure("Rprec")
    assert not is_page_measure("ndcg_cut_10")
    with pytest.raises(InputError, match="BlockNDCG"):
        is_page_measure("BlockNDCG(gain=no)@10")


def test_every_measure_says_what_it_means_and_is_read_as_it_is_printed(thousand: Any) -> None:
    listed = page_measures()
    assert all(meaning and "\n" not in meaning for meaning in listed.values())
    assert [str(parse_page_measure(name)) for name in listed] == list(listed)
    pages = thousand.pages[:40]
    single = [Ranking(p.query_id, p.only(kind).result_ids) for p in pages for kind in p.modalities]
    found = evaluate_page_measures(thousand.rankings, pages, thousand.judgments, list(listed), single=single)
    assert found.measures == tuple(listed)
    for name in listed:
        values = np.array(list(found.of(name).values()))
        assert len(values) == 40
        assert np.isfinite(values).any(), name
        assert np.nanstd(values) > 0 or "EC" in name, name


def test_measures_of_lists_equal_ir_measures_where_something_is_judged(thousand: Any) -> None:
    names = ["nDCG@10", "P@5", "R@10", "RR", "AP", "Success@3"]
    mine = evaluate_page_measures(thousand.rankings, thousand.pages, thousand.judgments, names)
    theirs = evaluate(thousand.rankings, thousand.judgments, names)
    for name in names:
        assert mine.of(name) == pytest.approx(theirs.of(name), abs=1e-9)


def test_measures_that_were_there_before_keep_their_names_and_values(thousand: Any) -> None:
    pages, ranked = thousand.pages[:150], thousand.rankings[:150]
    before = evaluate_pages(ranked, pages, thousand.judgments, k=10)
    found = evaluate_page_measures(ranked, pages, thousand.judgments, before.measures)
    assert found.measures == before.measures
    for name in before.measures:
        assert found.of(name) == pytest.approx(before.of(name), nan_ok=True)


def test_pages_with_little_to_measure(page: MakePage) -> None:
    pages = [page("nothing judged", "ti"), page("nothing relevant", "ti"), page("no results", ""), page("fine", "ti")]
    rankings = [Ranking(p.query_id, p.result_ids) for p in pages]
    said = Judgments.from_mapping({"nothing relevant": {"r0": 0, "r1": 0}, "no results": {"x": 2}, "fine": {"r0": 2}})
    lists = ["nDCG@5", "P@5", "R@5", "RR", "AP", "Success@5"]
    shares = ["BlockNDCG@5", "nHBG", "AlphaNDCG@5", "ERRIA@5"]
    names = [*lists, *shares, "HBG", "RBP", "RBPResidual(p=0.5)", "Judged@5", "BadCase@1", "CWL.INST", "ExposureGap@5"]
    found = evaluate_page_measures(rankings, pages, said, names)
    assert list(found.of("nDCG@5")) == [p.query_id for p in pages]
    rows = {n: list(v.values()) for n, v in found.values.items()}
    for name in lists:
        assert rows[name][1:3] == [0, 0]
        assert math.isnan(rows[name][0])
        assert rows[name][3] > 0
    for name in (str(parse_page_measure(n)) for n in shares):
        assert all(map(math.isnan, rows[name][:3])), name
        assert rows[name][3] > 0
    np.testing.assert_array_equal(rows["HBG(half=5, spread=even)"][:3], [np.nan, 0, np.nan])
    np.testing.assert_array_equal(rows["RBP(p=0.8, top=1)"][:3], [np.nan, 0, np.nan])
    np.testing.assert_array_equal(rows["RBPResidual(p=0.5)"], [1, 0.25, 1, 0.5])
    np.testing.assert_array_equal(rows["Judged@5"], [0, 1, np.nan, 0.5])
    np.testing.assert_array_equal(rows["BadCase(bad=0, by=1, below=cut)@1"], [np.nan, 0, np.nan, 0])
    assert found.mean("nDCG@5") == pytest.approx(1 / 3)


def test_heights_and_costs_are_used(page: MakePage) -> None:
    one = page("q", "it")
    said, ranked = Judgments.from_mapping({"q": {"r0": 0, "r1": 1}}), [Ranking("q", ("r0", "r1"))]

    def value(name: str, **settings: Any) -> float:
        return evaluate_page_measures(ranked, [one], said, [name], **settings).of(str(parse_page_measure(name)))["q"]

    assert value("HBG(half=5, spread=top)", heights=Heights(image=5)) == pytest.approx(0.5)
    assert value("HBG(half=5, spread=top)", heights=Heights(image=10)) == pytest.approx(0.25)
    assert value("CWL.RR(part=ETC)") == 2
    assert value("CWL.RR(part=ETC)", costs=Costs(image=4)) == 5


def test_rankings_of_other_queries_are_not_read_and_what_is_missing_is_told(page: MakePage) -> None:
    one, said = page("q", "ti"), Judgments.from_mapping({"q": {"r0": 1}})
    ranked = [Ranking("q", ("r0", "r1")), Ranking("other", ("x",))]
    assert evaluate_page_measures(ranked, [one], said, ["RR"]).of("RR") == {"q": 1.0}
    for name in SINGLE:
        with pytest.raises(InputError, match="single-modal rankings"):
            evaluate_page_measures(ranked, [one], said, [name])
    with pytest.raises(InputError, match="measures: got none"):
        evaluate_page_measures(ranked, [one], said, [])
    with pytest.raises(InputError, match="got none of query"):
        evaluate_page_measures([], [one], said, ["RR"])


def test_shuffle_variance_by_hand(page: MakePage) -> None:
    one, said = page("q", "ti"), Judgments.from_mapping({"q": {"r0": 1}})
    runs = [[Ranking("q", ("r0", "r1"))], [Ranking("q", ("r1", "r0"))], [Ranking("q", ("r0", "r1"))]]
    measured = [evaluate_page_measures(run, [one], said, ["RR", "Success@2"]) for run in runs]
    found = shuffle_variance(measured)
    assert found.measures == ("ShuffleVariance(RR)", "ShuffleVariance(Success@2)")
    assert found.of("ShuffleVariance(RR)") == {"q": pytest.approx(np.var([1, 0.5, 1], ddof=1))}
    assert found.of("ShuffleVariance(Success@2)") == {"q": 0.0}
    with pytest.raises(InputError, match="got 1"):
        shuffle_variance(measured[:1])
    with pytest.raises(InputError, match="evaluation 1"):
        shuffle_variance([measured[0], evaluate_page_measures(runs[0], [one], said, ["RR"])])


def test_calibration_gap_is_the_gap_of_the_report(page: MakePage) -> None:
    pages = [page("q", "tit"), page("p", "it")]
    said = Judgments.from_mapping({"q": {"r0": 1, "r1": 0, "r2": 0}, "p": {"r0": 1, "r1": 1}})
    told = [np.array([0.9, 0.8, 0.4], np.float32), np.array([0.5, 0.6], np.float32)]
    gap = calibration_gap(pages, told, said, threshold=1)
    assert gap == page_reliability(pages, told, said, threshold=1).modality_gap
    assert gap == pytest.approx(0.65 - 0.5 - (1.9 / 3 - 2 / 3), abs=1e-6)
    assert math.isnan(calibration_gap([page("q", "tt")], [told[1]], said, threshold=1))
