"""What page measures there are: how each is written, what it means, and what computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.page import (
    bad_cases,
    block_gain,
    consistency,
    cwl,
    diversity,
    height_gain,
    items,
    rank_biased,
    readers,
)
from wholepage.evaluation.page.arrays import GradedPages
from wholepage.evaluation.page.heights import Costs, Heights
from wholepage.evaluation.page.names import Asked, Cutoff, Form, Option
from wholepage.evaluation.page_measures import (
    exposure_gap,
    ideal_exposure,
    modality_exposure,
    pair_accuracy,
    pair_name,
)
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality, Page, Ranking

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shown:
    """All that a measure may look at.

    Attributes:
        arrays: a row for each page.
        pages, rankings, grades: of the same rows.
        single: for each row the rankings of one modality each; None = not given.
        heights, costs: what results take.
    """

    arrays: GradedPages
    pages: Sequence[Page]
    rankings: Sequence[Ranking]
    grades: Sequence[Mapping[str, float]]
    single: Sequence[Sequence[Ranking]] | None
    heights: Heights
    costs: Costs


class PageMeasure(NamedTuple):
    """One measure.

    Attributes:
        form: how it is written.  meaning: one line.
        compute: its values for each page, NaN = nothing to measure.
    """

    form: Form
    meaning: str
    compute: Callable[[Shown, Asked], Values]


def _of_list(compute: Callable[..., Values], *, always: bool = False) -> Callable[[Shown, Asked], Values]:
    """A measure of a list with its options as they are written; NaN where nothing is judged, unless ``always``."""

    def values(shown: Shown, asked: Asked) -> Values:
        found = compute(shown.arrays, k=asked.k, **asked.options)
        return found if always else np.where(shown.arrays.judged > 0, found, np.nan)

    return values


def _of_arrays(compute: Callable[..., Values]) -> Callable[[Shown, Asked], Values]:
    """A measure over arrays with its options as they are written."""
    return lambda shown, asked: compute(shown.arrays, **_cut(asked), **asked.options)


def _of_heights(compute: Callable[..., Values]) -> Callable[[Shown, Asked], Values]:
    """The same, of a measure that asks how high results are."""
    return lambda shown, asked: compute(shown.arrays, shown.heights, **_cut(asked), **asked.options)


def _cut(asked: Asked) -> dict[str, int | None]:
    return {} if asked.form.cutoff == "none" else {"k": asked.k}


def _each(value: Callable[[Shown, Asked, int], float]) -> Callable[[Shown, Asked], Values]:
    """A measure that is computed page by page, from the page's number."""
    return lambda shown, asked: np.array([value(shown, asked, row) for row in range(len(shown.pages))], np.float64)


def _against_single(value: Callable[..., float]) -> Callable[[Shown, Asked], Values]:
    """A measure of one page against the single-modal rankings of its query."""

    def one(shown: Shown, asked: Asked, row: int) -> float:
        return value(shown.rankings[row], shown.pages[row], _single(shown, asked)[row], **asked.options)

    return _each(one)


def _single(shown: Shown, asked: Asked) -> Sequence[Sequence[Ranking]]:
    if shown.single is None:
        raise InputError(
            f"measure {asked}: got no single-modal rankings; allowed: with them; pass single=, the rankings of "
            "page.only(modality)"
        )
    return shown.single


def _helpful(shown: Shown, asked: Asked, row: int) -> float:
    rankings = _single(shown, asked)[row]
    return consistency.inversions(shown.rankings[row], shown.pages[row], rankings, shown.grades[row]).helping_share


def _inverted(shown: Shown, asked: Asked, row: int) -> float:
    rankings = _single(shown, asked)[row]
    found = consistency.inversions(shown.rankings[row], shown.pages[row], rankings, shown.grades[row])
    return found.inverted / found.pairs if found.pairs else float("nan")


def _pairs(shown: Shown, asked: Asked, row: int) -> float:
    found = pair_accuracy(shown.rankings[row], shown.pages[row], shown.grades[row])
    of = asked.word("of")
    by_name = {"all": found.overall, "within": found.within_all, "cross": found.cross_all, **found.cross}
    by_name |= {kind.value: value for kind, value in found.within.items()}
    return by_name.get(of, float("nan"))


def _gap(shown: Shown, asked: Asked, row: int) -> float:
    return exposure_gap(shown.rankings[row], shown.pages[row], shown.grades[row], k=asked.cut)


def _exposure(shown: Shown, asked: Asked, row: int) -> float:
    given = modality_exposure(shown.rankings[row], shown.pages[row], k=asked.cut)
    return given.get(Modality(asked.word("of")), float("nan"))


def _ideal_exposure(shown: Shown, asked: Asked, row: int) -> float:
    if not shown.arrays.judged[row]:
        return float("nan")
    return ideal_exposure(shown.pages[row], shown.grades[row], k=asked.cut).get(
        Modality(asked.word("of")), float("nan")
    )


def _reader(name: str, make: Callable[..., readers.Reader], meaning: str, *options: Option) -> PageMeasure:
    """``CWL.name(..., top, part)``: one of the numbers that the framework expects of a reader."""
    cutoff: Cutoff = "must" if name in ("P", "SDCG") else "none"

    def compute(shown: Shown, asked: Asked) -> Values:
        settings: dict[str, Any] = {option.name: asked.options[option.name] for option in options} | _cut(asked)
        reader, top = make(**settings), asked.number("top")
        if asked.word("part") == "Residual":
            return cwl.cwl_residual(shown.arrays, reader, shown.costs, top=top)
        found = cwl.cwl(shown.arrays, reader, shown.costs, top=top)._asdict()
        return np.asarray(found[asked.word("part").lower()])

    return PageMeasure(Form(f"CWL.{name}", (*options, _TOP, _PART), cutoff), meaning, compute)


_NAMES = tuple(kind.value for kind in Modality)
_PAIRS = tuple(pair_name(a, b) for i, a in enumerate(Modality) for b in list(Modality)[i + 1 :])
_REL = Option("rel", 1.0)
_TOP = Option("top", 1.0)
_PART = Option("part", "EU", ("EU", "ETU", "EC", "ETC", "ED", "Residual"))
_ALPHA = Option("alpha", 0.5, low=0.0, high=1.0, ends="[]")
_HEIGHTS = (Option("half", height_gain.HALF_HEIGHT), Option("spread", "even", ("even", "top")))
_OF = Option("of", "image", _NAMES)
_P = Option("p", 0.8, high=1.0)
_WANTED = Option("T", 1.0)

LISTS = (
    PageMeasure(
        Form("nDCG", (Option("dcg", "log2", ("log2", "exp-log2")),), "may", brief=True),
        "discounted gain over that of the ideal order of all judged results",
        _of_list(items.ndcg),
    ),
    PageMeasure(Form("P", (_REL,), "must", brief=True), "share of relevant among k", _of_list(items.precision)),
    PageMeasure(Form("R", (_REL,), "must", brief=True), "share of the relevant within k", _of_list(items.recall)),
    PageMeasure(
        Form("RR", (_REL,), "may", brief=True), "one over the first relevant place", _of_list(items.reciprocal_rank)
    ),
    PageMeasure(
        Form("AP", (_REL,), "may", brief=True),
        "mean precision at the places of the relevant",
        _of_list(items.average_precision),
    ),
    PageMeasure(Form("Success", (_REL,), "must", brief=True), "is one relevant within k?", _of_list(items.success)),
    PageMeasure(
        Form("Judged", (), "may", brief=True), "share of judged among k", _of_list(items.judged_share, always=True)
    ),
)

WHOLE = (
    PageMeasure(
        Form("BlockNDCG", (Option("gain", "max", ("max", "mean", "sum")),), "may"),
        "nDCG of the blocks of one modality, against the best order of the same blocks",
        _of_arrays(block_gain.block_ndcg),
    ),
    PageMeasure(
        Form("HBG", _HEIGHTS, "may"),
        "grades, discounted by the height scrolled before they are met",
        _of_heights(height_gain.height_biased_gain),
    ),
    PageMeasure(
        Form("nHBG", _HEIGHTS),
        "the same over that of the best order of this page",
        _of_heights(height_gain.normalised_height_biased_gain),
    ),
    PageMeasure(
        Form("RBP", (_P, _TOP)),
        "gain a result for a reader who goes on with probability p",
        _of_arrays(rank_biased.rank_biased_precision),
    ),
    PageMeasure(
        Form("RBPResidual", (_P,)),
        "how much of RBP hangs on what nobody judged",
        _of_arrays(rank_biased.rank_biased_residual),
    ),
    PageMeasure(
        Form("AlphaNDCG", (_ALPHA, _REL), "must"),
        "nDCG in which a repeated modality gives less",
        _of_arrays(diversity.alpha_ndcg),
    ),
    PageMeasure(
        Form("ERRIA", (_ALPHA, _REL, Option("norm", "bound", ("bound", "ideal"))), "must"),
        "expected reciprocal rank over the modalities",
        _of_arrays(diversity.err_ia),
    ),
    PageMeasure(
        Form(
            "BadCase",
            (Option("bad", 0.0, ends="[)"), Option("by", 1.0), Option("below", "cut", ("cut", "item"))),
            "must",
        ),
        "1 = a bad result within k while a better one stands below",
        _of_arrays(bad_cases.bad_case),
    ),
    PageMeasure(
        Form("PairAccuracy", (Option("of", "all", ("all", "within", "cross", *_NAMES, *_PAIRS), bare=True),)),
        "share of differently graded pairs in the right order",
        _each(_pairs),
    ),
    PageMeasure(Form("ExposureGap", (), "must"), "attention that would have to move between modalities", _each(_gap)),
    PageMeasure(Form("Exposure", (_OF,), "must"), "share of the attention a modality gets", _each(_exposure)),
    PageMeasure(
        Form("IdealExposure", (_OF,), "must"), "share it would get in the order of the grades", _each(_ideal_exposure)
    ),
    PageMeasure(
        Form("TauAP"),
        "top-weighted tau of each modality's order against its own ranker, mean",
        _against_single(consistency.page_tau_ap),
    ),
    PageMeasure(
        Form("WeightedTau"),
        "hyperbolically weighted tau of the same orders, mean",
        _against_single(consistency.page_weighted_tau),
    ),
    PageMeasure(
        Form("RBO", (Option("p", 0.9, high=1.0), Option("ties", "order", ("order", "scores")))),
        "rank-biased overlap of the same orders, extrapolated, mean",
        _against_single(consistency.page_rbo),
    ),
    PageMeasure(Form("Inverted"), "share of single-modal pairs that the page turned round", _each(_inverted)),
    PageMeasure(Form("HelpfulInversions"), "of those with two grades, the share that helped", _each(_helpful)),
    _reader("P", readers.FirstK, "C/W/L: reads k results"),
    _reader("SDCG", readers.ScaledDcg, "C/W/L: goes on as the discount of DCG falls, to k"),
    _reader("RBP", readers.RankBiased, "C/W/L: goes on with probability p", _P),
    _reader("INST", readers.Inst, "C/W/L: wants T, stops sooner the less is missing", _WANTED),
    _reader("INSQ", readers.Insq, "C/W/L: wants T, whatever was found", _WANTED),
    _reader("RR", readers.FirstHit, "C/W/L: stops at the first gain"),
    _reader("AP", readers.EveryHit, "C/W/L: stops at any of the gains"),
    _reader("BPM", readers.Bejewelled, "C/W/L: stops when T is gained or K spent", _WANTED, Option("K", 10.0)),
    _reader(
        "IFT",
        readers.Forager,
        "C/W/L: wants T at a rate of A",
        _WANTED,
        Option("A", 0.25, ends="[)"),
        Option("b1", 1.0),
        Option("R1", 10.0, ends="[)"),
        Option("b2", 1.0),
        Option("R2", 10.0, ends="[)"),
    ),
    _reader("TBG", readers.TimeBiased, "C/W/L: half the readers leave after each half spent", Option("half", 10.0)),
)
