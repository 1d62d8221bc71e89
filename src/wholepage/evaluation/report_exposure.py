"""Which modality gets the attention, and which would get it in the order of the grades."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import matplotlib
import msgspec

from wholepage.evaluation.drawing import INCH_PER_LETTER, INKS, SERIES, SETTINGS, blank_axes, svg_text
from wholepage.evaluation.markup import plain_text
from wholepage.evaluation.measure_words import signed
from wholepage.evaluation.page_measures import ideal_exposure, modality_exposure
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table
from wholepage.evaluation.run_comparison import RunComparison
from wholepage.evaluation.significance import bca_interval
from wholepage.evaluation.tables import Cell, Column, Marked
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality

_K = 10


class ExposureShare(msgspec.Struct, frozen=True):
    """The attention a ranker gives a modality, as a mean over pages.

    Attributes:
        share: of the page's attention; a page without the modality counts as 0.
        ideal: what it would be in the order of the grades, on the same pages.
        low, high: 95 % interval (BCa) of share - ideal; NaN = one page.
        pages: that have a grade, and that every ranker ordered.
    """

    ranker: str
    modality: Modality
    share: float
    ideal: float
    low: float
    high: float
    pages: int


def exposure_shares(comparison: RunComparison, *, k: int = _K) -> list[ExposureShare]:
    """Shares by modality (in their order), then ranker; none without pages.

    Raises:
        DecodingError: a ranking is not a permutation of its page.
    """
    graded = []
    for page in comparison.pages or ():
        grades = comparison.judgments.by_result(page.query_id)
        ranked_by_all = all(page.query_id in run.rankings for run in comparison.runs)
        if ranked_by_all and any(result_id in grades for result_id in page.result_ids):
            graded.append((page, ideal_exposure(page, grades, k=k)))
    present = {kind for page, _ in graded for kind in page.modalities}
    shares = []
    for run in comparison.runs:
        given = [(modality_exposure(run.rankings[page.query_id], page, k=k), best) for page, best in graded]
        for kind in Modality:
            if kind in present and given:
                shares.append(
                    _share(run.name, kind, [(g.get(kind, 0.0), b.get(kind, 0.0)) for g, b in given], comparison)
                )
    order = list(Modality)
    return sorted(shares, key=lambda one: order.index(one.modality))  # stable: rankers keep their order


def exposure_section(comparison: RunComparison) -> list[Section]:
    """A plot of the shares against the ideal, and the same as a table; nothing without pages of several modalities."""
    shares = exposure_shares(comparison)
    kinds = list(dict.fromkeys(one.modality for one in shares))
    if len(kinds) < 2:
        return []
    told = (
        f"Place r of the first {_K} is seen with weight 1 / log2(r + 1). The line marks the share each modality would "
        "get in the order of the grades; results of equal grade share the attention of their places, results without a "
        "grade count as grade 0. Right of the line a modality stands higher than its grades say."
    )
    alt = "; ".join(f"{one.ranker}, {one.modality.value}: {one.share:.3f}, ideal {one.ideal:.3f}" for one in shares)
    figure = Figure(
        exposure_plot(shares),
        "Share of the attention by modality: dots are rankers, with 95 % intervals (BCa) of the distance from ideal.",
        f"Share of attention by modality. {alt}.",
    )
    return [Heading("Exposure"), Prose(told), figure, _table(shares, kinds)]


def exposure_plot(shares: Sequence[ExposureShare]) -> str:
    """For each modality a line at the ideal share, and a dot a ranker, as an ``<svg>`` element.

    Raises:
        InputError: no shares.
    """
    if not shares:
        raise InputError("exposure_plot: got no shares; allowed: one or more; measure pages with grades")
    names = [textwrap.fill(plain_text(one.ranker), 30) for one in shares]
    numbers = [f"{100 * one.share:.1f} %  ({signed(100 * (one.share - one.ideal), 1)})" for one in shares]
    places, heads, y = [], [], 0.0
    for index, one in enumerate(shares):
        if not index or shares[index - 1].modality is not one.modality:
            heads.append((y + 0.1, one))
            y += 1.0
        places.append(y + 0.4 * names[index].count("\n"))
        y += 1.0 + 0.8 * names[index].count("\n")
        if index + 1 < len(shares) and shares[index + 1].modality is not one.modality:
            y += 0.5
    left = 0.3 + INCH_PER_LETTER * max(16, *(len(line) for name in names for line in name.split("\n")))
    right = 0.25 + 0.92 * INCH_PER_LETTER * max(map(len, numbers))
    with matplotlib.rc_context(SETTINGS):
        figure, axes = blank_axes(0.26 * y + 0.75, left=left, right=right, top=0.1, bottom=0.6)
        axes.grid(axis="x", color=INKS["faint"], alpha=0.3, linewidth=0.7)
        axes.set_ylim(y - 0.3, -0.5)
        for top, one in heads:
            mine = [place for place, other in zip(places, shares, strict=True) if other.modality is one.modality]
            axes.text(-0.02, top, one.modality.value, transform=axes.get_yaxis_transform(), va="center", ha="right",
                      fontweight="bold")  # fmt: skip
            ideal = f"ideal {100 * one.ideal:.1f} %"
            axes.text(1.02, top, ideal, transform=axes.get_yaxis_transform(), va="center", fontsize=9.2)
            axes.plot([one.ideal] * 2, [top, max(mine) + 0.4], color=INKS["ink"], linewidth=1.4, zorder=2)
        for place, name, number, one in zip(places, names, numbers, shares, strict=True):
            axes.plot([one.ideal, one.share], [place] * 2, color=SERIES["1"], linewidth=1, alpha=0.5, zorder=1)
            if not math.isnan(one.low):
                ends = [one.ideal + one.low, one.ideal + one.high]
                axes.plot(ends, [place] * 2, color=SERIES["1"], linewidth=2.4, solid_capstyle="round", zorder=3)
            axes.plot([one.share], [place], marker="o", markersize=7, color=SERIES["1"], zorder=4)
            axes.text(-0.02, place, name, transform=axes.get_yaxis_transform(), va="center", ha="right")
            axes.text(1.02, place, number, transform=axes.get_yaxis_transform(), va="center", fontsize=9.2)
        axes.set_yticks([])
        axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.4g} %")
        axes.set_xlabel(f"share of the attention in the first {_K} places")
        return svg_text(figure)


def _share(
    ranker: str, kind: Modality, pairs: Sequence[tuple[float, float]], comparison: RunComparison
) -> ExposureShare:
    count = len(pairs)
    apart = [given - ideal for given, ideal in pairs]
    low, high = bca_interval(apart, seed=comparison.seed) if count > 1 else (math.nan, math.nan)
    return ExposureShare(
        ranker,
        kind,
        math.fsum(given for given, _ in pairs) / count,
        math.fsum(ideal for _, ideal in pairs) / count,
        low,
        high,
        count,
    )


def _table(shares: Sequence[ExposureShare], kinds: Sequence[Modality]) -> Table:
    rankers = list(dict.fromkeys(one.ranker for one in shares))
    found = {(one.ranker, one.modality): one for one in shares}
    rows: list[tuple[Cell, ...]] = []
    for ranker in rankers:
        mine = [found[ranker, kind] for kind in kinds]
        rows.append((ranker, *(_cell(one) for one in mine), mine[0].pages))
    return Table(
        ("ranker", *(Column(f"{kind.value}, share − ideal") for kind in kinds), "pages"),  # noqa: RUF001  a minus
        tuple(rows),
        caption="How much more (or less) of the attention each modality gets than the grades give it.",
        note="0 is ideal. In brackets 95 % intervals (BCa over pages).",
    )


def _cell(one: ExposureShare) -> Marked:
    ends = (None, None) if math.isnan(one.low) else (one.low, one.high)
    return Marked(one.share - one.ideal, "", *ends)
