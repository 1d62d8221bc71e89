"""What a study found, in words: names of methods, shares, and statements that say as much as was shown and no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wholepage.evaluation.study import Difference, Draw, Half, Needed

MEASURE = "nDCG@10"
METHODS = {
    "smar": "SMAR",
    "sft": "SFT",
    "lambdamart": "LambdaMART",
    "context": "self-attention, page labels only",
    "isotonic": "isotonic calibration",
    "align_only": "alignment only",
    "zscore": "z-score",
    "minmax": "min-max",
    "rrf": "reciprocal rank fusion",
    "raw": "raw merge",
    "round_robin": "round robin",
}
EXPERIMENTS = {
    "cost": "What labels buy",
    "where": "Where to annotate",
    "alignment": "Form of the alignment",
    "teacher": "How good the teachers are",
    "imbalance": "Imbalanced modalities",
    "budget": "Ways to spend one budget",
    "loss": "Form of the loss",
}
_MINUS = "\u2212"
_NO_BREAK = "\u00a0"


def method_name(method: str, variant: str = "") -> str:
    """What an arm is called: ``SMAR, align=kl``."""
    name = METHODS.get(method, method)
    return f"{name}, {variant}" if variant else name


def experiment_name(experiment: str) -> str:
    """The heading of an experiment; one that has none is called what it is called in the rows."""
    return EXPERIMENTS.get(experiment, experiment)


def in_order(methods: Iterable[str]) -> list[str]:
    """The methods in the order of ``METHODS``, others after them by name, each once."""
    known = list(METHODS)
    return sorted(set(methods), key=lambda name: (known.index(name) if name in METHODS else len(known), name))


def percent(share: float) -> str:
    """A share as a percentage, such as ``2.5 %``, that no line break parts."""
    return f"{100 * share:.6g}{_NO_BREAK}%"


def count(labels: float) -> str:
    """A number of labels: whole, unless folds or seeds make it a mean below 10."""
    return f"{labels:,.1f}" if labels < 10 and labels != round(labels) else f"{labels:,.0f}"


def signed(number: float, digits: int = 3) -> str:
    """A difference with its sign; what rounds to zero has none."""
    written = f"{abs(number):.{digits}f}"
    sign = "" if float(written) == 0 else "+" if number > 0 else _MINUS
    return sign + written


def difference_in_words(one: Difference, draw: Draw) -> str:
    """A difference with its interval."""
    return (
        f"difference {signed(one.difference)}, {percent(draw.level)} interval {signed(one.low)} to {signed(one.high)}"
    )


def needed_in_words(found: Needed, draw: Draw) -> str:
    """How few labels match all of them, as a statement; or that none did, or that nothing can be said."""
    who = method_name("smar", found.variant)
    if found.reference is None:
        return (
            f"{found.collection}: SFT with all page labels was not measured, so nothing is said of the labels that "
            f"{who} needs."
        )
    if found.not_worse_at is None:
        return _never(found, who, draw)
    first = _at(found.differences, found.not_worse_at)
    said = (
        f"{found.collection}: with {percent(first.share)} of the page labels ({count(first.labels)} of "
        f"{count(found.full_labels)}) {who} is not worse than SFT with all of them: {MEASURE} {first.ndcg:.3f} against "
        f"{found.reference:.3f}, {difference_in_words(first, draw)}, margin {draw.margin:g}."
    )
    if found.not_worse_from != found.not_worse_at:
        later = [one for one in found.differences if one.share > first.share and not one.not_worse]
        holds = (
            "at the largest share it does not hold"
            if found.not_worse_from is None
            else f"only from {percent(found.not_worse_from)} on does it hold at every larger share measured"
        )
        said += f" It was not shown at {_shares(later)}, so read it with care: {holds}."
    return f"{said} {_better(found, draw)}"


def half_in_words(halves: Sequence[Half], draw: Draw) -> str:
    """Whether alignment stood for half of the labels, for the pairs of one collection and variant."""
    held = [one.against for one in halves if one.against.not_worse]
    worse = [one.against for one in halves if one.against.high < -draw.margin]
    open_ = [one.against for one in halves if not one.against.not_worse and one.against not in worse]
    parts = []
    if held:
        parts.append(f"is not worse at {_shares(held)}")
    if worse:
        parts.append(f"is worse at {_shares(worse)}")
    if open_:
        parts.append(f"is neither shown to be at {_shares(open_)}")
    return (
        f"Is alignment worth half of the labels? {method_name('smar', halves[0].variant)} against SFT with twice as "
        f"many labels {', '.join(parts)} (margin {draw.margin:g})."
    )


def _never(found: Needed, who: str, draw: Draw) -> str:
    closest = max(found.differences, key=lambda one: (one.low, one.share))
    shown = (
        f"it is worse by more than the margin of {draw.margin:g}"
        if closest.high < -draw.margin
        else "it is worse, though perhaps by less than the margin"
        if closest.high < 0
        else f"whether it is worse by more than the margin of {draw.margin:g} is open"
    )
    return (
        f"{found.collection}: at no share measured ({_range(found.differences)}) was {who} shown to be not worse than "
        f"SFT with all {count(found.full_labels)} page labels ({MEASURE} {found.reference:.3f}). It came closest at "
        f"{percent(closest.share)}: {MEASURE} {closest.ndcg:.3f}, {difference_in_words(closest, draw)}; {shown}."
    )


def _better(found: Needed, draw: Draw) -> str:
    if found.better_at is None:
        return "It was better at no share measured."
    first = _at(found.differences, found.better_at)
    where = f"{percent(found.better_at)} ({difference_in_words(first, draw)})"
    if found.better_from == found.better_at:
        larger = any(one.share > first.share for one in found.differences)
        return f"It is better {'from' if larger else 'at'} {where}{' on' if larger else ''}."
    return f"It is better at {where}, but not at every larger share measured."


def _at(differences: Sequence[Difference], share: float) -> Difference:
    return next(one for one in differences if one.share == share)


def _range(differences: Sequence[Difference]) -> str:
    ends = [percent(one.share) for one in (differences[0], differences[-1])]
    return " to ".join(dict.fromkeys(ends))


def _shares(differences: Sequence[Difference]) -> str:
    return ", ".join(percent(one.share) for one in differences)
