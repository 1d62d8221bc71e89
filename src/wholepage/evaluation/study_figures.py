"""The figures of a study's report: what is drawn, in which colours, and what stands under it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from wholepage.evaluation.plots import Interval, interval_plot
from wholepage.evaluation.report import Figure, Section
from wholepage.evaluation.study import Curve, Draw, Needed, Point
from wholepage.evaluation.study_ablation import Ablated
from wholepage.evaluation.study_findings import arm_names
from wholepage.evaluation.study_plots import Line, Spot, difference_plot, share_plot, sweep_plot
from wholepage.evaluation.study_samples import Arm, by_size
from wholepage.evaluation.study_words import MEASURE, METHODS, in_order, method_name, percent, signed
from wholepage.pages.errors import InputError

GOAL = "SFT, all labels"
_SWEPT = {"teacher": "quality of the teachers", "imbalance": "results of the commonest modality for one of each other"}
_SHOWN_LEVELS = ("smar", "align_only", "zscore")


def read_ndcg(point: Point) -> tuple[float, float, float]:
    """nDCG@10 with its interval."""
    return point.ndcg, point.low, point.high


def read_cross(point: Point) -> tuple[float, float, float]:
    """The share of cross-modal pairs in the right order, with its interval.

    Raises:
        InputError: the point has none.
    """
    if point.cross is None or point.cross_low is None or point.cross_high is None:
        raise InputError(
            f"point at {point.share:g}: got no cross-modal pairs; allowed: a point that has some; leave it out"
        )
    return point.cross, point.cross_low, point.cross_high


def share_figure(
    lines: Sequence[Curve],
    measure: str,
    read: Callable[[Point], tuple[float, float, float]],
    levels: Mapping[str, float],
    caption: str,
) -> list[Section]:
    """Lines over the share of the labels, in one figure; none where nothing was bought.

    Args:
        lines: of one collection.
        measure: what is read.
        read: value, low and high of a point.
        levels: further dashed lines, by name.
        caption: of the figure.
    """
    inks = _inks([(line.method, line.variant) for line in lines])
    drawn, free = [], {}
    for line in sorted(lines, key=lambda one: inks[one.method, one.variant]):
        name = method_name(line.method, line.variant)
        spots = tuple(Spot(p.share, *read(p)) for p in line.points if p.share > 0)
        if spots:
            drawn.append(Line(name, inks[line.method, line.variant], spots))
        for point in line.points:
            if point.share == 0 and line.method in _SHOWN_LEVELS:
                free[f"{name}, no labels" if line.method == "smar" else name] = read(point)[0]
    if not drawn:
        return []
    told = [f"{line.name}: " + ", ".join(f"{percent(s.x)} {s.value:.3f}" for s in line.spots) for line in drawn]
    told += [f"{name}: {level:.3f}" for name, level in ({**levels, **free}).items()]
    return [Figure(share_plot(drawn, measure=measure, levels={**levels, **free}), caption, "; ".join(told))]


def difference_figure(one: Needed, draw: Draw) -> list[Section]:
    """SMAR minus SFT with all labels, by share; none where either was not measured."""
    spots = [Spot(d.share, d.difference, d.low, d.high) for d in one.differences if d.share > 0]
    if not spots:
        return []
    measure = f"{MEASURE}: {method_name('smar', one.variant)} minus SFT with all labels"
    return [
        Figure(
            difference_plot(spots, margin=draw.margin, measure=measure, goal=GOAL),
            f"Lines: {percent(draw.level)} intervals over queries. What lies wholly above the dashed margin is not "
            "worse, what lies wholly above 0 is better.",
            "; ".join(f"{percent(d.share)}: {signed(d.difference)}" for d in one.differences),
        )
    ]


def ablation_figure(arms: Sequence[Ablated], experiment: str, draw: Draw) -> Section:
    """The arms of one experiment on one collection: a sweep, lines over shares, or differences from the reference."""
    bands = f"{percent(draw.level)} intervals over queries"
    if experiment in _SWEPT and len({one.variant for one in arms if one.variant}) > 1:
        return _sweep_figure(arms, experiment, bands)
    if len({one.point.share for one in arms if one.point.share > 0}) > 2:
        curves: dict[tuple[str, str], list[Point]] = {}
        for one in arms:
            curves.setdefault((one.method, one.variant), []).append(one.point)
        lines = [Curve(arms[0].collection, *name, 0, tuple(points)) for name, points in curves.items()]
        figures = share_figure(lines, MEASURE, read_ndcg, {}, f"Bands: {bands}.")
        return figures[0]
    names = arm_names(arms)
    keys = [Arm(one.method, one.variant, one.point.share) for one in arms]
    against = {one.reference for one in arms if one.reference is not None}
    goal, measure, caption = None, MEASURE, f"Dots are means, lines {bands}."
    rows = [_interval(names[key], *read_ndcg(one.point)) for key, one in zip(keys, arms, strict=True)]
    if len(against) == 1 and len(arms) == 1 + sum(one.difference is not None for one in arms):
        goal = names[next(iter(against))]
        measure, caption = f"difference in {MEASURE} from {goal}", f"Dots are differences, lines {bands}, paired."
        rows = [
            _interval(names[key], one.difference or 0.0, one.low or 0.0, one.high or 0.0)
            for key, one in zip(keys, arms, strict=True)
        ]
    told = "; ".join(f"{row.name} {row.value:.3f}" for row in rows)
    return Figure(interval_plot(rows, measure=measure, reference=goal), caption, told)


def _sweep_figure(arms: Sequence[Ablated], experiment: str, bands: str) -> Section:
    places = sorted({one.variant for one in arms if one.variant}, key=by_size)
    shares: dict[str, set[float]] = {}
    for one in arms:
        shares.setdefault(one.method, set()).add(one.point.share)
    order = in_order(shares)
    lines: dict[str, list[Ablated]] = {}
    for one in sorted(arms, key=lambda a: (order.index(a.method), a.point.share)):
        name = method_name(one.method)
        several = len(shares[one.method]) > 1
        lines.setdefault(f"{name}, {percent(one.point.share)}" if several else name, []).append(one)
    swept = {name: [one for one in line if one.variant] for name, line in lines.items()}
    drawn = [
        Line(name, ink, tuple(Spot(places.index(a.variant), *read_ndcg(a.point)) for a in line))
        for ink, (name, line) in enumerate(swept.items())
        if line
    ]
    levels = {name: one.point.ndcg for name, line in lines.items() for one in line if not one.variant}
    named = arm_names(arms)
    told = [f"{named[Arm(a.method, a.variant, a.point.share)]} {a.point.ndcg:.3f}" for a in arms]
    return Figure(
        sweep_plot(drawn, places, measure=MEASURE, below=_SWEPT[experiment], levels=levels),
        f"Bands: {bands}." + (" Dashed: what the change does not touch." if levels else ""),
        "; ".join(told),
    )


def _inks(names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """A colour for each line; a method keeps its own in every figure unless it has several lines."""
    methods = [method for method, _ in names]
    order = in_order(methods)
    ordered = sorted(dict.fromkeys(names), key=lambda name: (order.index(name[0]), by_size(name[1])))
    known = list(METHODS)
    if len(set(methods)) == len(ordered) and set(methods) <= set(known):
        return {name: known.index(name[0]) for name in ordered}
    return {name: ink for ink, name in enumerate(ordered)}


def _interval(name: str, value: float, low: float, high: float) -> Interval:
    # A bias-corrected interval of few queries may leave the mean out; a plot shows both.
    return Interval(name, value, min(low, value), max(high, value))
