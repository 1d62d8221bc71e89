"""What annotation engines save, and whether the error they claim is the real one: simulated and real lists.

    .venv/bin/python benchmarks/annotation_savings.py --root DATA --json --out benchmarks/annotation_savings.md

People are perfect, or err on a tenth of the results, each person on others, and always the same way on the same result.
The ranker's pair accuracy is measured on the very lists: the share of pairs of different grades that it puts in the
right order. ``claimed`` is the mean posterior error when the engine stops, ``real`` the share of all labels, asked and
inferred, that are not the collection's. Real lists are ordered once by ``single_modal_lists`` and kept in ``--lists``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from conditions import command, commit, machine
from single_modal_lists import CHORUS, COLLECTIONS, List, read_lists, write_lists
from wholepage.annotation.confusion_fit import Answers, fit_confusions
from wholepage.annotation.draws import drawn
from wholepage.annotation.engines import BayesianBisection, Bisection, Engine, HmmParameters, MonotoneHmm, Said
from wholepage.annotation.falling import confusion_of
from wholepage.annotation.hmm_fit import fit_hmm

LEVELS, TAU, ERROR, PEOPLE = 4, 0.05, 0.1, 3
LENGTHS, NOISES = (10, 20, 50, 100), (0.0, 0.35, 0.7, 1.2)
FEW, GROCERY_FOLDS = 40, 5
Grades = tuple[int, ...]
EngineFor = Callable[[int], Engine]


class Scale(NamedTuple):
    """How many lists: pilots and measured ones of a simulation, at most of a real modality, resamples of intervals."""

    pilots: int = 60
    lists: int = 60
    most_pilots: int = 300
    most_lists: int = 250
    resamples: int = 1000


QUICK = Scale(15, 6, 40, 15, 200)


class Row(msgspec.Struct, frozen=True):
    """One engine on one set of lists.

    Attributes:
        low, high: 95 % interval of the claimed less the real error, by resampling lists.
        found: share of results with a grade above 0 whose label is above 0, too.
        saving: share of questions that a grade for every result by one person would take, and this did not.
    """

    lists: str
    results_a_list: float
    ranker_pair_accuracy: float
    people: str
    engine: str
    questions_a_list: float
    saving: float
    claimed_error: float
    real_error: float
    low: float
    high: float
    found: float

    @property
    def off(self) -> float:
        """The claimed less the real error."""
        return self.claimed_error - self.real_error


class Ran(NamedTuple):
    """Sums of one list."""

    results: int
    asked: int
    claimed: float
    wrong: int
    relevant: int
    found: int


# ------------------------------------------------------------------ one list


def run(grades: Grades, engine: Engine, answer: Callable[[int, int], tuple[int, str]]) -> Ran:
    """Drive an engine to the end; ``answer(index, k)`` is what the k-th person asked about it says, and who that is."""
    said: list[Said] = []
    asked = [0] * len(grades)
    while (index := engine.next_question(said)) is not None:
        grade, who = answer(index, asked[index])
        asked[index] += 1
        said.append(Said(index, grade, who))
    posterior = engine.posterior(said)
    labels = posterior.argmax(1)
    true = np.array(grades)
    return Ran(
        len(grades),
        len(said),
        float((1 - posterior.max(1)).sum()),
        int((labels != true).sum()),
        int((true > 0).sum()),
        int(((true > 0) & (labels > 0)).sum()),
    )


def noisy(grades: Grades, error: float, name: str) -> Callable[[int, int], tuple[int, str]]:
    """People who misread a share of the results, each person others."""
    draw = np.random.default_rng(drawn(0, name))
    wrong = draw.random((len(grades), PEOPLE)) < error
    steps = draw.integers(1, LEVELS, size=(len(grades), PEOPLE))
    return lambda index, k: (int(grades[index] + wrong[index, k] * steps[index, k]) % LEVELS, f"person {k}")


def pair_accuracy(lists: Sequence[Grades]) -> float:
    """Share of pairs of different grades that stand in the right order."""
    right = all_pairs = 0
    for grades in lists:
        above, below = np.triu_indices(len(grades), 1)
        values = np.array(grades)
        right += int((values[above] > values[below]).sum())
        all_pairs += int((values[above] != values[below]).sum())
    return right / all_pairs if all_pairs else float("nan")


def row(name: str, people: str, engine: str, lists: Sequence[Grades], ran: Sequence[Ran], resamples: int) -> Row:
    """The sums of lists, together."""
    table = np.array(ran, float)
    results, asked, claimed, wrong, relevant, found = table.sum(0).tolist()
    draws = table[np.random.default_rng(0).integers(len(table), size=(resamples, len(table)))].sum(1)
    low, high = np.quantile((draws[:, 2] - draws[:, 3]) / draws[:, 0], [0.025, 0.975])
    return Row(
        name, results / len(table), pair_accuracy(lists), people, engine, asked / len(table), 1 - asked / results,
        claimed / results, wrong / results, float(low), float(high), found / relevant if relevant else float("nan"),
    )  # fmt: skip


class Full:
    """Full annotation: every result is asked about once, and the answer believed as far as people err."""

    def __init__(self, n: int, error: float) -> None:
        self.n, self.levels, self._told = n, LEVELS, confusion_of(error, LEVELS)

    def next_question(self, said: Sequence[Said], but: Collection[int] = ()) -> int | None:
        """The first result that nobody was asked about."""
        return next(iter(self.questions(said, 1, but)), None)

    def questions(self, said: Sequence[Said], count: int, but: Collection[int] = ()) -> list[int]:
        """The first results that nobody was asked about."""
        asked = {one.index for one in said}
        return [index for index in range(self.n) if index not in asked and index not in but][:count]

    def posterior(self, said: Sequence[Said]) -> NDArray[np.float64]:
        """The answers."""
        found = np.full((self.n, self.levels), 1 / self.levels)
        for one in said:
            found[one.index] = self._told[:, one.grade]
        return found

    def claimed_error(self, said: Sequence[Said]) -> float:
        """How far people err."""
        return float((1 - self.posterior(said).max(1)).mean())


class Kept:
    """Engines of one kind, made once a length."""

    def __init__(self, make: EngineFor) -> None:
        self._make, self._made = make, dict[int, Engine]()

    def __call__(self, n: int) -> Engine:
        if n not in self._made:
            self._made[n] = self._make(n)
        return self._made[n]


def engines(error: float) -> dict[str, EngineFor]:
    """Those that need no pilot lists."""
    overlap = PEOPLE if error else 1
    full: dict[str, EngineFor] = {"full": Kept(lambda n: Full(n, error))} if error else {}
    return full | {
        "bisect": Kept(lambda n: Bisection(n, LEVELS)),
        "bayes": Kept(lambda n: BayesianBisection(n, LEVELS, error, TAU, overlap=overlap)),
    }


def hmm(parameters: HmmParameters, error: float, tau: float = TAU) -> EngineFor:
    """The HMM, taught by pilot lists that somebody graded whole and right."""
    return Kept(lambda n: MonotoneHmm(n, parameters, tau, error=error, overlap=PEOPLE if error else 1))


def hmms(parameters: HmmParameters, error: float) -> dict[str, EngineFor]:
    """The HMM as always, and with people who err also one content with the error of full annotation."""
    found = {"hmm": hmm(parameters, error)}
    return found | {f"hmm, tau {error:g}": hmm(parameters, error, error)} if error else found


def told(error: float) -> str:
    """Who answers."""
    return f"{error:.0%} error" if error else "perfect"


# ------------------------------------------------------------------ simulated lists


def simulated(n: int, noise: float, count: int, seed: int) -> list[Grades]:
    """Lists of shares of grades drawn at random, ordered by the grade plus noise of a standard deviation."""
    draw = np.random.default_rng([seed, n, round(100 * noise)])
    found = []
    for _ in range(count):
        shares = draw.dirichlet([4.0, 2.0, 1.0, 1.0])
        grades = draw.choice(LEVELS, size=n, p=shares)
        order = np.argsort(-(grades + noise * draw.standard_normal(n)), kind="stable")
        found.append(tuple(grades[order].tolist()))
    return found


def simulation(scale: Scale) -> list[Row]:
    """Every engine at every length, ranker and error of people."""
    rows = []
    for n in LENGTHS:
        for noise in NOISES:
            lists = simulated(n, noise, scale.lists, 1)
            taught = fit_hmm(simulated(n, noise, scale.pilots, 0), LEVELS)
            for error in (0.0, ERROR):
                for name, make in (engines(error) | hmms(taught, error)).items():
                    ran = [run(of, make(n), noisy(of, error, f"{n} {noise} {k}")) for k, of in enumerate(lists)]
                    rows.append(row(f"noise {noise:g}", told(error), name, lists, ran, scale.resamples))
    return rows


# ------------------------------------------------------------------ real lists


class Part(NamedTuple):
    """Held-out lists of one modality, with the pilot lists for them."""

    pilots: list[Grades]
    held_out: list[Grades]


def parts_of(lists: Sequence[List], scale: Scale) -> list[Part]:
    """Pilots of the training side; without one, every fold of the queries is held out in turn, two halves at least."""
    pilots = [of for of in lists if of.side == "train"]
    held_out = _first([of for of in lists if of.side == "test"], scale.most_lists)
    if pilots and lists[0].collection != "financebench":
        return [Part([of.grades for of in _first(pilots, scale.most_pilots)], [of.grades for of in held_out])]
    folds = GROCERY_FOLDS if lists[0].collection == "grocery" else 2
    at = [drawn(0, "pilot", of.query) % folds for of in held_out]
    parts = [
        Part(
            [of.grades for of, fold in zip(held_out, at, strict=True) if fold != out],
            [of.grades for of, fold in zip(held_out, at, strict=True) if fold == out],
        )
        for out in range(folds)
    ]
    return [part for part in parts if part.pilots and part.held_out]


def _first(lists: Sequence[List], most: int) -> list[List]:
    """As many as are wanted, by a hash of the query."""
    return sorted(lists, key=lambda of: drawn(0, "lists", of.query))[:most]


def real(name: str, lists: Sequence[List], ranker: str, scale: Scale) -> list[Row]:
    """Every engine on one collection, all modalities together; the HMM also modality by modality."""
    mine = [of for of in lists if of.ranker == ranker]
    by_modality = {m: parts_of([of for of in mine if of.modality == m], scale) for m in dict.fromkeys(
        of.modality for of in mine if of.side == "test")}  # fmt: skip
    taught = {modality: [fit_hmm(part.pilots, LEVELS) for part in parts] for modality, parts in by_modality.items()}
    rows = []
    for error in (0.0, ERROR):
        ran: dict[str, dict[str, list[Ran]]] = {}
        for modality, parts in by_modality.items():
            for part, parameters in zip(parts, taught[modality], strict=True):
                made = engines(error) | hmms(parameters, error)
                if len(part.pilots) > FEW and not error:
                    made[f"hmm, {FEW} pilots"] = hmm(fit_hmm(part.pilots[:FEW], LEVELS), error)
                for engine, make in made.items():
                    ran.setdefault(engine, {}).setdefault(modality, []).extend(
                        run(of, make(len(of)), noisy(of, error, f"{name} {modality} {k}"))
                        for k, of in enumerate(part.held_out)
                    )
        grades = {modality: [of for part in parts for of in part.held_out] for modality, parts in by_modality.items()}
        for engine, of in ran.items():
            if set(of) == set(by_modality):
                all_grades, all_ran = [*chain(*grades.values())], [*chain(*(of[m] for m in grades))]
                rows.append(row(f"{name}, {ranker}", told(error), engine, all_grades, all_ran, scale.resamples))
        for modality in by_modality if len(by_modality) > 1 else ():
            rows.append(
                row(f"{name}, {ranker}: {modality}", told(error), "hmm", grades[modality], ran["hmm"][modality],
                    scale.resamples)
            )  # fmt: skip
    return rows


def transferred(lists: Sequence[List], scale: Scale) -> list[Row]:
    """financebench, taught by pilot lists of the collections that its rankers learned from."""
    rows = []
    for modality in ("text", "image"):
        mine = [of for of in lists if of.ranker == "towers" and of.modality == modality]
        pilots = [of.grades for of in _first([of for of in mine if of.side == "train"], scale.most_pilots)]
        held_out = [of.grades for of in _first([of for of in mine if of.side == "test"], scale.most_lists)]
        make = hmm(fit_hmm(pilots, LEVELS), 0.0)
        ran = [run(of, make(len(of)), noisy(of, 0.0, str(k))) for k, of in enumerate(held_out)]
        rows.append(
            row(f"financebench, towers: {modality}", told(0), "hmm, foreign pilots", held_out, ran, scale.resamples)
        )
    return rows


def rated(lists: Sequence[List], scale: Scale) -> list[Row]:
    """Real people: three raters of products. A label is right where it is the median of theirs.

    Their final rating is somebody else's: all three differ from it on 5.7 % of the products, which nobody can find by
    asking them. Confusions are learned from the ratings of the pilot lists, without the medians or with them as gold.
    """
    ran: dict[str, list[Ran]] = {}
    grades: list[Grades] = []
    lists = [msgspec.structs.replace(of, grades=_medians(of)) for of in lists]
    folds = [drawn(0, "pilot", of.query) % 2 for of in lists]
    for out in (0, 1):
        pilots = [of for of, fold in zip(lists, folds, strict=True) if fold != out]
        held_out = [of for of, fold in zip(lists, folds, strict=True) if fold == out][: scale.most_lists]
        parameters = fit_hmm([of.grades for of in pilots], LEVELS)
        answers = [
            Answers(len(of.grades), [Said(i, g, f"{k}") for k, all_of in enumerate(of.ratings) for i, g in
                                     enumerate(all_of)]) for of in pilots
        ]  # fmt: skip
        gold = [
            Answers(n, [*said, *(Said(i, g, "gold") for i, g in enumerate(of.grades))])
            for (n, said), of in zip(answers, pilots, strict=True)
        ]
        people = {
            "hmm": {},
            "hmm, people learned": fit_confusions(answers, parameters, error=ERROR),
            "hmm, people learned from gold": fit_confusions(gold, parameters, known={"gold": np.eye(LEVELS)}),
        }
        made: dict[str, EngineFor] = {
            "full": Kept(lambda n: Full(n, ERROR)),
            "bisect": Kept(lambda n: Bisection(n, LEVELS)),
            "bayes": Kept(lambda n: BayesianBisection(n, LEVELS, ERROR, TAU, overlap=PEOPLE)),
        }
        for engine, of in people.items():
            made[engine] = Kept(
                lambda n, p=parameters, c=of: MonotoneHmm(n, p, TAU, c, error=ERROR, overlap=PEOPLE)  # type: ignore[misc]
            )
        for engine, make in made.items():
            ran.setdefault(engine, []).extend(run(of.grades, make(len(of.grades)), _rater(of)) for of in held_out)
        grades += [of.grades for of in held_out]
    return [row("products, words", "real raters", engine, grades, of, scale.resamples) for engine, of in ran.items()]


def _medians(of: List) -> Grades:
    return tuple(sorted(three)[1] for three in zip(*of.ratings, strict=True))


def _rater(of: List) -> Callable[[int, int], tuple[int, str]]:
    first = drawn(0, of.query) % PEOPLE

    def answer(index: int, k: int) -> tuple[int, str]:
        who = (first + index + k) % PEOPLE
        return of.ratings[who][index], f"{who}"

    return answer


# ------------------------------------------------------------------ telling


def table(rows: Sequence[Row], title: str) -> str:
    """Rows as Markdown."""
    lines = [
        f"| {title} | results | pairs right | people | engine | questions | saved | claimed | real | claimed - real "
        "(95 %) | relevant found |",
        "|---|---:|---:|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.lists} | {r.results_a_list:.1f} | {r.ranker_pair_accuracy:.3f} | {r.people} | {r.engine} | "
        f"{r.questions_a_list:.1f} | {r.saving:.0%} | {r.claimed_error:.3f} | {r.real_error:.3f} | "
        f"{r.off:+.3f} ({r.low:+.3f} .. {r.high:+.3f}) | {r.found:.3f} |"
        for r in rows
    ]
    return "\n".join(lines)


def document(parts: dict[str, list[Row]], seconds: float) -> str:
    """The whole result."""
    return f"""# What annotation engines save, and whether their claims come true

- command: `{command()}`
- commit: {commit()}
- machine: {machine(1)}; {seconds:.0f} s, lists ordered before
- grades 0 to {LEVELS - 1}; engines stop at a mean posterior error of {TAU}; with people who err, up to {PEOPLE} of them
  answer a question (bisection: one). `full` asks one person about every result; `hmm, tau {ERROR:g}` is content with as
  many wrong labels as that leaves. Questions are those of a list, pilot lists not counted; real is the share of wrong
  labels, asked and inferred.

## Simulated lists

{table(parts["simulated"], "ranker")}

## Real lists

Held-out lists; pilots are those of the training split (grocery: of the other {GROCERY_FOLDS - 1} folds of queries;
financebench, answers of opencqa, products: of the other half), at most {Scale().most_pilots} a modality.

{table(parts["real"], "collection, ranker")}
"""


def lists_on_disk(name: str, folder: Path, root: Path | None) -> list[List]:
    """The lists of a collection, ordered now if they were not before."""
    path = folder / f"{name}.json"
    if not path.is_file():
        if root is None:
            raise SystemExit(f"got no {path}; give --root, and its lists are ordered (minutes)")
        write_lists(name, root, folder)
    return read_lists(path)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=None, help="the data folder; needed where lists are not ordered")
    parser.add_argument("--lists", type=Path, default=Path("runs/lists"), help="where ordered lists are kept")
    parser.add_argument("--only", nargs="*", default=["simulated", *COLLECTIONS, CHORUS])
    parser.add_argument("--quick", action="store_true", help="few lists: to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file")
    asked = parser.parse_args()
    scale = QUICK if asked.quick else Scale()
    on_disk = {name: lists_on_disk(name, asked.lists, asked.root) for name in asked.only if name != "simulated"}
    begun = time.perf_counter()
    parts: dict[str, list[Row]] = {"simulated": simulation(scale) if "simulated" in asked.only else [], "real": []}
    for name, lists in on_disk.items():
        if name == CHORUS:
            parts["real"] += rated(lists, scale)
            continue
        parts["real"] += real(name, lists, "towers", scale)
        if name == "financebench":
            parts["real"] += transferred(lists, scale)
    seconds = time.perf_counter() - begun
    if asked.json:
        print(json.dumps({"seconds": seconds, **msgspec.to_builtins(parts)}, indent=1))
    else:
        print(document(parts, seconds))
    if asked.out is not None:
        asked.out.write_text(document(parts, seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
