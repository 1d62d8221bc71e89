"""SMAR against the z-score merge, offline and online: the same winner, and how many users it takes to know.

    .venv/bin/python benchmarks/ab_smar.py --runs runs/ab_smar --out benchmarks/ab_smar.md
    .venv/bin/python benchmarks/ab_smar.py --collection fashion --root DATA --runs runs/ab_smar

Both rankers are trained once and kept in ``--runs``, and so is each behaviour that is done: a run that was stopped
goes on. Users are SIMULATED: they click by the grades that nDCG is
computed from, so that online and offline agree is partly by construction. What is not: how users look at a page of
several modalities stands between the two, and is varied here; and how many users it takes.

For each behaviour many users come. They are cut into groups of N who never meet, each group is one experiment, and the
power at N is the share of experiments that find the winner; at least 200 of them at each N. N are users of both arms
together who came at all.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import msgspec
import numpy as np
from scipy import stats

from ab_smar_rankers import SMAR, ZSCORE, World, world
from ab_smar_told import ALPHA, MEASURE, POWER, Row, told
from ab_smar_users import METHODS, SENSE, Crowd, behaviours, in_arms, joined, merged_pages, on_merged
from conditions import command, commit, machine
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.online.interleaving.verdict import sign_test
from wholepage.evaluation.online.means import ratio_difference
from wholepage.evaluation.online.power import users_for_means, users_for_sign_test
from wholepage.evaluation.significance import bca_interval, compare_to
from wholepage.evaluation.users.settings import UserSettings
from wholepage.evaluation.users.simulator import MadePage
from wholepage.pages.lines import atomic_write

PRIMARY = "sat-CTR"
"""The indicator that says whether enough users have come."""


class Scale(NamedTuple):
    """Users who come at first and at most for one behaviour; experiments of a size, at least and at most."""

    users: int = 40_000
    most_users: int = 640_000
    least: int = 200
    most: int = 400


QUICK = Scale(400, 400, 8, 10)


class Found(NamedTuple):
    """Experiments of one size: how many, and how many say that SMAR, that z-score is better."""

    users: int
    experiments: int
    right: int
    wrong: int

    @property
    def power(self) -> float:
        """Share of experiments that find SMAR better."""
        return self.right / self.experiments


# ------------------------------------------------------------------ experiments


def sizes(most: int) -> list[int]:
    """Users of an experiment, each about 1.41 times the one before."""
    return [n for n in (2 * round(10 * 2 ** (k / 2)) for k in range(40)) if n <= most]


def verdict_of_arms(crowd: Crowd, name: str, rows: slice) -> int:
    """1 = SMAR found better, -1 = z-score, 0 = not decided."""
    above, below = crowd.sums[name]
    arms = [np.flatnonzero(crowd.arm[rows] == arm) + rows.start for arm in (0, 1)]
    if min(map(len, arms)) < 2 or not all(below[arm].any() for arm in arms):
        return 0
    found = ratio_difference(*((above[arm], below[arm]) for arm in arms), level=1 - ALPHA)
    return SENSE[name] * int(np.sign(found.difference)) if found.p < ALPHA else 0


def verdict_of_merged(crowd: Crowd, name: str, rows: slice) -> int:
    """The same by the exact sign test over users."""
    preference = crowd.sums[name][0][rows]
    wins, losses = int((preference > 0).sum()), int((preference < 0).sum())
    return int(np.sign(wins - losses)) if sign_test(wins, losses) < ALPHA else 0


Judge = Callable[[Crowd, str, slice], int]


def experiments(crowd: Crowd, name: str, judge: Judge, users: int, scale: Scale) -> Found:
    """Groups of users who never meet, judged one by one."""
    count = min(len(crowd.pages) // users, scale.most)
    said = [judge(crowd, name, slice(k * users, (k + 1) * users)) for k in range(count)]
    return Found(users, count, said.count(1), said.count(-1))


def searched(crowd: Crowd, name: str, judge: Judge, scale: Scale) -> list[Found]:
    """Sizes upwards, to the first two with the power wanted."""
    found: list[Found] = []
    for users in sizes(len(crowd.pages) // scale.least):
        found.append(experiments(crowd, name, judge, users, scale))
        if len(found) > 1 and min(found[-1].power, found[-2].power) >= POWER:
            break
    return found


def row_of(behaviour: str, name: str, crowd: Crowd, judge: Judge, found: Sequence[Found]) -> Row:
    """The smallest size from which on all that were tried have the power wanted."""
    enough = next((k for k in range(len(found)) if all(one.power >= POWER for one in found[k:])), None)
    at = found[-1 if enough is None else enough]
    before = found[enough - 1].power if enough else math.nan
    low, high = stats.binomtest(at.right, at.experiments).proportion_ci(method="wilson")
    above, below = crowd.sums[name]
    if judge is verdict_of_arms:
        arms = [crowd.arm == arm for arm in (0, 1)]
        if not all(below[arm].any() for arm in arms):
            change, ends, formula = math.nan, (math.nan, math.nan), None
        else:
            of = ratio_difference(*((above[arm], below[arm]) for arm in arms), level=1 - ALPHA)
            change, ends = of.difference, (of.low, of.high)
            spread = of.standard_error / math.sqrt(sum(1 / count for count in of.users))
            formula = 2 * users_for_means(change, spread, alpha=ALPHA) if of.p < ALPHA else None
        sense = SENSE[name]
    else:
        half = np.sign(above) / 2
        change, spread = float(half.mean()), 1.96 * float(half.std()) / math.sqrt(len(half))
        ends, sense = (change - spread, change + spread), 1
        wins, losses = (float((sign * above > 0).mean()) for sign in (1, -1))
        formula = users_for_sign_test(wins, losses, alpha=ALPHA) if abs(change) > spread else None
    sure = ends[0] > 0 or ends[1] < 0
    winner = "" if not sure else (SMAR if sense * change > 0 else ZSCORE)
    return Row(
        behaviour, name, change, *ends, winner, None if enough is None else at.users,
        at.users * float(crowd.pages.mean()), found[-1].users, at.power, float(low), float(high), before,
        at.wrong / at.experiments, at.experiments, formula,
    )  # fmt: skip


def grown(come: Callable[[int, int], Crowd], judge: Judge, scale: Scale, name: str, seed: int) -> Crowd:
    """Users come until the largest experiment has the power wanted, or until there are as many as may be."""
    crowds, per = [come(scale.users, seed)], scale.users
    while sum(len(crowd.pages) for crowd in crowds) * 1.5 < scale.most_users:
        crowd = joined(crowds)
        largest = sizes(len(crowd.pages) // scale.least)[-2:]
        if all(experiments(crowd, name, judge, n, scale).power >= POWER for n in largest):
            return crowd
        for _ in range(len(crowds)):
            crowds.append(come(per, seed + len(crowds)))
    return joined(crowds)


def measure(given: World, scale: Scale, seed: int, kept: Path, report: Callable[[str], None]) -> list[Row]:
    """Every behaviour, by every question; what an earlier run finished is read from the folder."""
    kept.mkdir(parents=True, exist_ok=True)
    merged = {method.name: merged_pages(given, method, seed) for method in METHODS}
    rows: list[Row] = []
    for behaviour, settings in behaviours().items():
        of = scale._replace(most_users=scale.users) if behaviour.startswith("null") else scale
        for asked in ("arms", *merged):
            place = kept / f"{re.sub('[^a-z0-9]+', '-', behaviour.lower()).strip('-')}--{asked}.json"
            if not place.is_file():
                start = time.process_time()
                given_seed = 1000 * seed + (1 if asked == "arms" else 500)
                found = (
                    by_arms(given, settings, of, given_seed)
                    if asked == "arms"
                    else by_merging(given, asked, merged[asked], settings, of, given_seed)
                )
                made = [msgspec.structs.replace(row, behaviour=behaviour) for row in found]
                with atomic_write(place) as file:
                    file.write(json.dumps(msgspec.to_builtins(made)))  # knows NaN
                report(f"{behaviour}, {asked}: {time.process_time() - start:.0f} s of processor time")
            rows += msgspec.convert(json.loads(place.read_text(encoding="utf-8")), list[Row])
    return rows


def by_arms(given: World, settings: UserSettings, scale: Scale, seed: int) -> list[Row]:
    """An A/B test with every indicator."""
    crowd = grown(lambda users, at: in_arms(given, settings, users, at), verdict_of_arms, scale, PRIMARY, seed)
    return [
        row_of("", name, crowd, verdict_of_arms, searched(crowd, name, verdict_of_arms, scale))
        for name in SENSE
        if crowd.sums[name][1].any()
    ]


def by_merging(
    given: World, name: str, made: dict[str, list[MadePage]], settings: UserSettings, scale: Scale, seed: int
) -> list[Row]:
    """An interleaving."""
    few = scale._replace(users=max(scale.users // 4, min(scale.users, 400)))
    crowd = grown(
        lambda users, at: on_merged(given, made, settings, users, at, name), verdict_of_merged, few, name, seed
    )
    return [row_of("", name, crowd, verdict_of_merged, searched(crowd, name, verdict_of_merged, few))]


def offline(given: World, seed: int) -> dict[str, Any]:
    """nDCG@10 of both with intervals, and the paired permutation test."""
    values = {name: evaluate(of, given.judgments, [MEASURE]).of(MEASURE) for name, of in given.rankings.items()}
    test = compare_to(values[SMAR], {ZSCORE: values[ZSCORE]}, seed=seed)[0]
    of = {name: np.array(list(one.values())) for name, one in values.items()}
    return {
        "queries": len(given.pages),
        **{name: {"mean": float(one.mean()), "interval": bca_interval(one, seed=seed)} for name, one in of.items()},
        "p": test.p,
        "winner": "" if test.p >= ALPHA else max(of, key=lambda name: float(of[name].mean())),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Rank, ask, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", default="synthetic")
    parser.add_argument("--root", type=Path, default=os.environ.get("WHOLEPAGE_DATA"))
    parser.add_argument("--runs", type=Path, default=Path("runs/ab_smar"))
    parser.add_argument("--queries", type=int, default=400, help="of the generated collection")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, default=Scale().users, help="who come at first for one behaviour")
    parser.add_argument("--most-users", type=int, default=Scale().most_users, help="who come for one behaviour")
    parser.add_argument("--quick", action="store_true", help="to see that it runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    start = time.perf_counter()
    given = world(asked.collection, asked.runs, root=asked.root, queries=asked.queries, seed=asked.seed)
    ready = time.perf_counter() - start
    found = offline(given, asked.seed)
    scale = QUICK if asked.quick else Scale(users=asked.users, most_users=asked.most_users)
    size = f"{asked.collection}-{asked.queries}-{asked.seed}-{scale.users}-{scale.most_users}"
    rows = measure(given, scale, asked.seed, asked.runs / size, lambda line: print(line, file=sys.stderr, flush=True))
    seconds = f"{time.perf_counter() - start:.0f}, of which training or reading the rankers {ready:.0f},"
    shown = {"collection": asked.collection, "command": command(), "commit": commit(), "machine": machine(1),
             "seconds": seconds}  # fmt: skip
    if asked.out is not None:
        with atomic_write(asked.out) as file:
            file.write(told(rows, found, shown))
    if asked.json:
        print(msgspec.json.encode({**shown, "offline": found, "rows": rows}).decode())  # NaN becomes null
    else:
        print(told(rows, found, shown))


if __name__ == "__main__":
    main()
