"""How much of people's work a judge saves: prediction-powered measures on products that three raters judged.

    .venv/bin/python benchmarks/model_judge.py --out benchmarks/model_judge.md

chorus_products/ of the data folder: queries whose products have grades 0 to 3 by three raters, and a final one. The
final grades stand for people's, of a random part of the queries or results; one rater, or a rule that counts words,
stands for the model that judges everything. Every draw of the part that people judge is another sample, and all grades
are known, so that it can be seen how often the intervals hold the truth.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from conditions import command, commit
from wholepage.apps.places import data_root
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.place_measures import PlaceMeasure, dcg_by_place, precision_by_place
from wholepage.evaluation.powered_measures import powered_places, powered_places_difference
from wholepage.evaluation.prediction_powered import (
    PoweredEstimate,
    prediction_powered_difference,
    prediction_powered_mean,
)
from wholepage.evaluation.tables import Cell, Column, write_table
from wholepage.pages import Judgments, Modality, Page, Query, Ranking, Result, by_score
from wholepage.rankers.bm25 import BM25Scorer, words_of

Grades = dict[str, dict[str, float]]
PEOPLE = "final"
WORDS = "words in the title"
FEWEST = 10


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=None, help="the data folder; default: $WHOLEPAGE_DATA")
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file; default: print")
    parser.add_argument("--draws", type=int, default=500, help="samples of what people judge")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    root = data_root(asked.root)
    titles, texts = read_products(root)
    grades = read_grades(root, titles)
    text = report(grades, titles, texts, asked.draws, asked.seed)
    if asked.out is None:
        print(text)
    else:
        asked.out.write_text(text, encoding="utf-8")


def read_grades(root: Path, known: Container[str]) -> dict[str, Grades]:
    """By who said so, query and product: three raters' grades and the final ones, of known products.

    Queries with fewer than ten of them are left out.
    """
    found: dict[str, Grades] = defaultdict(lambda: defaultdict(dict))
    with gzip.open(root / "chorus_products/ratings_3agents.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            for who in ("agent1", "agent2", "agent3", PEOPLE) if row["docid"] in known else ():
                found[who][row["query"]][row["docid"]] = float(row[who])
    return {who: {q: of for q, of in sorted(said.items()) if len(of) >= FEWEST} for who, said in found.items()}


def read_products(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Titles, and titles with descriptions, by product; products without a title are left out."""
    titles, texts = {}, {}
    with gzip.open(root / "chorus_products/products.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            product = json.loads(line)
            if product.get("title"):
                titles[product["id"]] = product["title"]
                texts[product["id"]] = f"{product['title']} {product.get('short_description') or ''}".strip()
    return titles, texts


def ranked(grades: Grades, texts: dict[str, str]) -> list[Ranking]:
    """Every query's graded products in BM25's order."""
    pages = [
        Page(Query(query, query), tuple(Result(r, Modality.TEXT, texts[r]) for r in sorted(of)))
        for query, of in grades.items()
    ]
    return by_score(BM25Scorer()).rank(pages)


def by_words(grades: Grades, titles: dict[str, str]) -> Grades:
    """A grade from 0 to 3 by the share of the query's words that the title has."""
    return {
        query: {result: 3.0 * _share(words_of(query), words_of(titles[result])) for result in of}
        for query, of in grades.items()
    }


Draw = Callable[[np.random.Generator, int], tuple[float, list[PoweredEstimate]]]
"""Many samples of what people judge: the truth, and what is estimated from each."""


class Case(NamedTuple):
    """What is estimated, from whose grades."""

    measure: str
    part: str
    judge: str
    draw: Draw


def report(grades: dict[str, Grades], titles: dict[str, str], texts: dict[str, str], draws: int, seed: int) -> str:
    """The whole file."""
    people = grades[PEOPLE]
    judges = {"rater 1": grades["agent1"], "rater 2": grades["agent2"], "rater 3": grades["agent3"]}
    judges[WORDS] = by_words(people, titles)
    rankings = [ranked(people, titles), ranked(people, texts)]
    told: list[tuple[Cell, ...]] = []
    for number, case in enumerate(cases(judges, people, rankings)):
        truth, found = case.draw(np.random.default_rng([seed, number]), draws)
        told.append((case.measure, case.part, case.judge, *_summary(truth, found)))
    agree = ", ".join(f"{judge} {_agreement(said, people):.0%}" for judge, said in judges.items())
    headings = (
        "measure",
        "people judged",
        "judge",
        "truth",
        "mean estimate",
        "judge alone",
        "weight",
        "width",
        "saved",
    )
    columns = [Column(heading) for heading in (*headings, "holds the truth", "people alone hold it")]
    return (
        f"# What a judge saves people\n\n- command: `{command()}`\n- commit: {commit()}\n- {draws} draws of what "
        f"people judge (a fifth of that where single results are judged), seed {seed}; 95 % "
        f"intervals\n\n{len(people)} queries with {FEWEST} rated products or more, ranked by BM25 on titles; "
        "*difference*: minus BM25 on titles and descriptions. People = the final grade; the judge is one of the "
        "three raters behind it, which is a better judge than a model is likely to be, or a rule that counts the "
        f"query's words in the title. Grades equal to the final one: {agree}. **Judge alone**: what his grades "
        "would have said. **Width**: of the interval with the judge over the interval of people alone on the same "
        "results, mean over draws. **Saved**: 1 - width squared, the share of people's judgments that the judge "
        "stood in for. **Holds the truth**: how often the interval holds the mean over all queries by people; the "
        "queries themselves are not drawn anew here, and the intervals allow for that too, so more than 95 % is "
        "expected. The weight is found in the same sample, which biases the estimate a little where people judge few "
        "queries (mean estimate beside truth); a weight of one's own does not.\n\n" + write_table(told, columns)
    )


def cases(judges: dict[str, Grades], people: Grades, rankings: Sequence[Sequence[Ranking]]) -> Iterator[Case]:
    """Everything that is estimated, in the order of the table."""
    for judge, said in judges.items():
        for share in (0.15, 0.3):
            yield Case("nDCG@10", f"{share:.0%} of queries", judge, whole_queries(said, people, rankings[:1], share))
    for judge, said in judges.items():
        draw = whole_queries(said, people, rankings, 0.3)
        yield Case("nDCG@10, difference", "30% of queries", judge, draw)
    for measure in (dcg_by_place(10), precision_by_place(10, relevant_from=2)):
        for judge, said in judges.items():
            yield Case(measure.name, "20% of results", judge, single(said, people, rankings[:1], measure))
    for judge, said in judges.items():
        draw = single(said, people, rankings, dcg_by_place(10))
        yield Case("DCG(linear)@10, difference", "20% of results", judge, draw)


def whole_queries(judge: Grades, people: Grades, rankings: Sequence[Sequence[Ranking]], share: float) -> Draw:
    """nDCG@10 of one ranker, or of the first minus the second, where people judge some queries."""
    by_judge, by_people = (
        [evaluate(of, Judgments.from_mapping(said), ["nDCG@10"]).of("nDCG@10") for of in rankings]
        for said in (judge, people)
    )
    sign = [1.0, -1.0]
    truth = math.fsum(s * math.fsum(of.values()) / len(of) for s, of in zip(sign, by_people, strict=False))

    def draw(rng: np.random.Generator, draws: int) -> tuple[float, list[PoweredEstimate]]:
        found, names = [], sorted(by_people[0])
        for _ in range(draws):
            some = rng.choice(names, size=round(share * len(names)), replace=False).tolist()
            parts = [{query: of[query] for query in some} for of in by_people]
            if len(rankings) == 1:
                found.append(prediction_powered_mean(by_judge[0], parts[0]))
            else:
                found.append(prediction_powered_difference((by_judge[0], by_judge[1]), (parts[0], parts[1])))
        return truth, found

    return draw


def single(judge: Grades, people: Grades, rankings: Sequence[Sequence[Ranking]], measure: PlaceMeasure) -> Draw:
    """A sum over places where people judge a fifth of the results, drawn anywhere."""
    model, everything = Judgments.from_mapping(judge), Judgments.from_mapping(people)

    def estimate(said: Judgments) -> PoweredEstimate:
        if len(rankings) == 1:
            return powered_places(rankings[0], model, said, measure, drawn="anywhere")
        return powered_places_difference(rankings[0], rankings[1], model, said, measure, drawn="anywhere")

    def draw(rng: np.random.Generator, draws: int) -> tuple[float, list[PoweredEstimate]]:
        found = [estimate(Judgments.from_mapping(_fifth(people, rng))) for _ in range(max(1, draws // 5))]
        return estimate(everything).estimate, list(found)

    return draw


def _fifth(grades: Grades, rng: np.random.Generator) -> Grades:
    drawn = {query: rng.random(len(of)) < 0.2 for query, of in grades.items()}
    return {q: {r: g for (r, g), d in zip(of.items(), drawn[q], strict=True) if d} for q, of in grades.items()}


def _summary(truth: float, found: Sequence[PoweredEstimate]) -> Iterator[float]:
    width = float(np.mean([(one.high - one.low) / (one.people_high - one.people_low) for one in found]))
    yield truth
    yield float(np.mean([one.estimate for one in found]))
    yield truth + float(np.mean([one.model_bias for one in found]))
    yield float(np.mean([one.weight for one in found]))
    yield width
    yield 1.0 - width**2
    yield float(np.mean([one.low <= truth <= one.high for one in found]))
    yield float(np.mean([one.people_low <= truth <= one.people_high for one in found]))


def _agreement(said: Grades, people: Grades) -> float:
    return float(np.mean([said[q][r] == grade for q, of in people.items() for r, grade in of.items()]))


def _share(asked: Sequence[str], has: Sequence[str]) -> float:
    return sum(word in has for word in asked) / len(asked) if asked else 0.0


if __name__ == "__main__":
    main()
