"""Which page measure to trust: how often each says what people say of whole result pages.

    .venv/bin/python benchmarks/page_preferences.py --out benchmarks/page_preferences.md

Two sets of image search pages (image_search_preferences/ of the data folder): pairs of pages of two engines with the
page that people preferred, and searches with the satisfaction of the user. Nothing is fitted to either: every measure
has the options that the registry gives it, and what other options would have given is told in a table of its own.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from conditions import command, commit
from preference_values import REFERENCE, Values, measured, page_values, scaled, search_measures
from wholepage.apps.places import data_root
from wholepage.collections.image_preferences import BOTH, ImagePreferences
from wholepage.collections.image_satisfaction import JudgedSearch, read_judged_searches
from wholepage.evaluation.page.arrays import from_arrays
from wholepage.evaluation.significance import bca_interval, compare_to
from wholepage.evaluation.tables import Cell, Column, Marked, write_table

EQUAL = 1e-9
OTHER_OPTIONS = {
    "nDCG@k": {k: f"nDCG@{k}" for k in (1, 3, 5, 10, 15)},
    "RBP(p)": {p: f"RBP(p={p}, top=4)" for p in (0.5, 0.65, 0.8, 0.9, 0.95, 0.99)},
    "HBG(half)": {half: f"HBG(half={half})" for half in (1.25, 2.5, 5, 10, 20, 40)},
    "CWL.INST(T)": {wanted: f"CWL.INST(T={wanted}, top=4)" for wanted in (0.5, 1, 2, 4, 8)},
    "P(rel)@10": {rel: f"P(rel={rel})@10" for rel in (1, 1.5, 2, 2.5, 3, 3.5)},
}


class Told(NamedTuple):
    """One measure beside people.

    Attributes:
        agree: by query or user, the share of people's preferences that it shares; a tie of its own counts a half.
        ties: the share where it sees no difference.
        order: a correlation over everything, ties of people with it.  low, high: its interval; NaN = none.
        auc: how often it is higher for one of the upper half of people's scale than for one of the lower; NaN = none.
    """

    agree: dict[str, float]
    ties: float
    order: float
    low: float = math.nan
    high: float = math.nan
    auc: float = math.nan


def main() -> None:
    """Read, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=None, help="the data folder; default: $WHOLEPAGE_DATA")
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file; default: print")
    parser.add_argument("--resamples", type=int, default=2000, help="of each bootstrap")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    root = data_root(asked.root)
    text = report(ImagePreferences(root), read_judged_searches(root), asked.resamples, asked.seed)
    if asked.out is None:
        print(text)
    else:
        asked.out.write_text(text, encoding="utf-8")


def report(collection: ImagePreferences, searches: Sequence[JudgedSearch], resamples: int, seed: int) -> str:
    """The whole file."""
    people = {one.query: _sign(one.winner) for one in collection.page_opinions()}
    told = {name: page_told(values, people, resamples, seed) for name, values in page_values(collection).items()}
    of_users = search_told(searches, [one.satisfaction for one in searches], upper=4)
    grades = [one.screens[0] for one in searches]
    of_screens = search_told(
        searches, grades, upper=2, without=("grade of the first screen", "mean grade of two screens")
    )
    strict = sum(sign != 0 for sign in people.values())
    parts = [
        f"# Which page measure to trust\n\n- command: `{command()}`\n- commit: {commit()}\n- bootstrap: BCa, "
        f"{resamples} resamples, seed {seed}; tests: paired permutation, Holm over the table",
        "## Page against page\n\n" + _pages_words(collection, strict, len(people)),
        table(told, REFERENCE, "Kendall tau-b", resamples, seed) + "\n" + verdict(told, REFERENCE, resamples, seed),
        "## Other options (told, not chosen)\n\n" + options_table(collection, people),
        "## Satisfaction of the user\n\n" + _search_words(searches),
        table(of_users, "SDCG@10 of rows", "Spearman", resamples, seed)
        + "\n" + verdict(of_users, "SDCG@10 of rows", resamples, seed),
        "## Grade of the first screen\n\nThe same measures against the grade, 0 to 3, that people gave the first "
        "screen as a whole (AUC: 2 or 3 against 0 or 1). By whom rows and screens were graded, the "
        "data does not say: read it as how the two ways of grading hang together.",
        table(of_screens, "SDCG@10 of rows", "Spearman", resamples, seed),
    ]  # fmt: skip
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


# ------------------------------------------------------------------ pages of two engines


def page_told(values: Mapping[str, Values], people: Mapping[str, int], resamples: int, seed: int) -> Told:
    """A measure's word on each pair of pages beside people's."""
    baidu, sogou = values["baidu"], values["sogou"]
    # Where a measure has nothing to say of a page (NaN), it sees no difference.
    apart = {query: float(np.nan_to_num(baidu[query] - sogou[query])) for query in people}
    agree = {query: shared(apart[query], sign) for query, sign in people.items() if sign}
    signs, differences = np.array(list(people.values())), np.array([apart[q] for q in people])
    differences = np.where(np.abs(differences) < EQUAL, 0.0, differences)
    low, high = _tau_interval(differences, signs, min(resamples, 1000), seed)
    return Told(agree, float((differences == 0.0).mean()), _tau(differences, signs), low, high)


def shared(difference: float, sign: float) -> float:
    """1 = the measure prefers what people prefer, 0 = the other, a half = it sees no difference."""
    return 0.5 if abs(difference) < EQUAL else float((difference > 0) == (sign > 0))


def options_table(collection: ImagePreferences, people: Mapping[str, int]) -> str:
    """Agreement on the strict preferences under other options of five measures."""
    graded, rows = scaled(collection.judgments(BOTH)), []
    for title, options in OTHER_OPTIONS.items():
        for option, values in zip(options, measured(collection, graded, list(options.values())).values(), strict=True):
            apart = {q: float(np.nan_to_num(values["baidu"][q] - values["sogou"][q])) for q in people}
            agree = [shared(apart[q], sign) for q, sign in people.items() if sign]
            rows.append((title, option, math.fsum(agree) / len(agree)))
    by_title: dict[str, list[str]] = defaultdict(list)
    for title, option, agreed in rows:
        by_title[title].append(f"{option:g}: {agreed:.3f}")
    return write_table([(title, " · ".join(of)) for title, of in by_title.items()], ["measure", "option: agreement"])


# ------------------------------------------------------------------ searches of users


def search_told(
    searches: Sequence[JudgedSearch], target: Sequence[int], *, upper: int, without: Sequence[str] = ()
) -> dict[str, Told]:
    """Each measure against what people said of a search, over pairs of one user's searches.

    Args:
        upper: where the upper half of the target's scale begins.
        without: names to leave out, where they hold the target itself.
    """
    pages = from_arrays([one.rows for one in searches])
    values = {name: compute(pages) for name, compute in search_measures().items()}
    values["grade of the first screen"] = np.array([one.screens[0] for one in searches], float)
    values["mean grade of two screens"] = np.array([np.mean(one.screens) for one in searches])
    by_user: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(searches):
        by_user[f"user {one.user}"].append(place)
    pairs = {
        user: [(a, b) for a, b in combinations(places, 2) if target[a] != target[b]]
        for user, places in by_user.items()
    }  # fmt: skip
    pairs = {user: of for user, of in pairs.items() if of}
    found = {}
    for name, of in values.items():
        if name in without:
            continue
        agree = {u: np.mean([shared(of[a] - of[b], target[a] - target[b]) for a, b in ab]) for u, ab in pairs.items()}
        ties = float(np.mean([abs(of[a] - of[b]) < EQUAL for ab in pairs.values() for a, b in ab]))
        order = float(stats.spearmanr(of, target).statistic)
        found[name] = Told({u: float(share) for u, share in agree.items()}, ties, order, auc=_auc(of, target, upper))
    return found


# ------------------------------------------------------------------ tables


def table(told: Mapping[str, Told], reference: str, order: str, resamples: int, seed: int) -> str:
    """Agreement with its interval, against the reference; falling by agreement."""
    others = {name: one.agree for name, one in told.items() if name != reference}
    tests = {one.name: one for one in compare_to(told[reference].agree, others, seed=seed, resamples=resamples)}
    rows: list[list[Cell]] = []
    for name, one in sorted(told.items(), key=lambda item: -np.mean(list(item[1].agree.values()))):
        low, high = bca_interval(list(one.agree.values()), resamples=resamples, seed=seed)
        mean = math.fsum(one.agree.values()) / len(one.agree)
        test = tests.get(name)
        row: list[Cell] = [f"{name} (reference)" if name == reference else name, Marked(mean, low=low, high=high)]
        row += [one.ties, one.order if math.isnan(one.low) else Marked(one.order, low=one.low, high=one.high)]
        row += [] if math.isnan(one.auc) else [one.auc]
        row += [None] if test is None else [Marked(test.difference, low=test.low, high=test.high)]
        rows.append([*row, None if test is None else test.p_holm])
    auc = [] if any(math.isnan(one.auc) for one in told.values()) else ["AUC"]
    headings = ["measure", "agreement", "no difference", order, *auc, f"minus {reference}", "p (Holm)"]
    return write_table(rows, [Column(heading) for heading in headings])


def verdict(told: Mapping[str, Told], reference: str, resamples: int, seed: int) -> str:
    """What the table allows to say, in words made from its numbers."""
    intervals = {
        name: bca_interval(list(one.agree.values()), resamples=resamples, seed=seed) for name, one in told.items()
    }
    sure = [name for name, (low, _) in intervals.items() if low > 0.5]
    unsure = [name for name in intervals if name not in sure]
    others = {name: one.agree for name, one in told.items() if name != reference}
    tests = compare_to(told[reference].agree, others, seed=seed, resamples=resamples)
    apart = [f"{one.name} ({one.difference:+.3f})" for one in tests if one.p_holm < 0.05]
    return (
        f"More often with people than a coin (interval above .5): {len(sure)} of {len(told)}; not: "
        f"{', '.join(unsure) or 'none'}. Different from {reference} after Holm: {', '.join(apart) or 'none'}."
    )


def _pages_words(collection: ImagePreferences, strict: int, queries: int) -> str:
    coverage = measured(
        collection, scaled(collection.judgments(BOTH)), ["Judged@10", "RBPResidual(p=0.8)", "RBPResidual(p=0.95)"]
    )
    judged, *residuals = (
        np.mean([value for of in values.values() for value in of.values()]) for values in coverage.values()
    )
    return (
        f"{queries} queries, the first three rows of Baidu's and Sogou's page; people preferred one for {strict} and "
        f"neither for {queries - strict}. **Agreement**: the share of the {strict} preferences that a measure shares "
        "(a tie of the measure counts a half; .5 is a coin), with the interval over queries. **Kendall tau-b**: of the "
        "difference with people's word (-1, 0, 1) over all queries, ties of people with it. Relevance 0 to 100 is "
        "grade 0 to 4, pictures are read row by row; *of rows*: a row is one result, its grade the mean or the highest "
        "of its pictures; *by pairs*: a picture's grade is the share of comparisons it won, no relevance is read. The "
        "ideal order of nDCG is that of both engines' results. "
        f"Judged@10 is {judged:.3f}: nothing shown is unjudged, so nothing is guessed. What lies below the third row "
        f"is not in the data and counts as nothing (residual of RBP {residuals[0]:.3f} at p = .8, {residuals[1]:.3f} "
        "at p = .95). Measures of several modalities say nothing here, as every result is a picture."
    )


def _search_words(searches: Sequence[JudgedSearch]) -> str:
    users = len({one.user for one in searches})
    return (
        f"{len(searches)} searches of {users} users; each row of pictures has a grade from 0 to 3, and the user "
        "said how satisfied he was, 1 to 5. **Agreement**: over pairs of one user's searches with different "
        "satisfaction, the share where the measure is higher for the better one (its ties a half); mean and "
        "interval over users, who are drawn anew, not their searches. **Spearman** over all searches, and **AUC** "
        "(satisfied, 4 or 5, against 1 to 3), are told without intervals. Grades of single pictures are not in the "
        "data: rows are the results. All ten rows of every search are judged."
    )


def _auc(values: NDArray[np.float64], target: Sequence[int], upper: int) -> float:
    high = np.array(target) >= upper
    return float(stats.mannwhitneyu(values[high], values[~high]).statistic / (high.sum() * (~high).sum()))


def _sign(winner: str | None) -> int:
    return {"baidu": 1, "sogou": -1, None: 0}[winner]


def _tau(differences: NDArray[np.float64], signs: NDArray[np.int64]) -> float:
    found = float(stats.kendalltau(differences, signs).statistic)
    return 0.0 if math.isnan(found) else found  # a measure that is the same everywhere orders nothing


def _tau_interval(
    differences: NDArray[np.float64], signs: NDArray[np.int64], resamples: int, seed: int
) -> tuple[float, float]:
    if (differences == differences[0]).all():
        return 0.0, 0.0
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers so alike that BCa is undefined, which is handled here
            found = stats.bootstrap(
                (differences, signs), _tau, paired=True, vectorized=False, n_resamples=resamples, method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval  # fmt: skip
        if math.isfinite(found.low) and math.isfinite(found.high):
            break
    return float(found.low), float(found.high)


if __name__ == "__main__":
    main()
