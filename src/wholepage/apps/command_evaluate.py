"""``wholepage evaluate RUN JUDGMENTS [RUN ...]``: how good orders are, and whether they differ by more than luck."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from wholepage.evaluation.measures import Evaluation
    from wholepage.pages.judgments import Judgments
    from wholepage.pages.model import Page, Ranking

_MEASURE = "nDCG@10"


def evaluate(
    run: Annotated[
        Path, typer.Argument(help="Rankings (.jsonl) or a TREC run; the others are compared with this one.")
    ],
    judgments: Annotated[Path, typer.Argument(help="What people said: judgments (.jsonl) or TREC qrels.")],
    more_runs: Annotated[list[Path] | None, typer.Argument(help="Further rankings or runs.")] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure", "-m", help=f"A measure, as ir_measures spells it; again for more. Default {_MEASURE}."
        ),
    ] = None,
    pages: Annotated[
        Path | None,
        typer.Option(
            "--pages", help="The pages ranked: adds pair accuracy within and across modalities, and exposure."
        ),
    ] = None,
    skip_unjudged: Annotated[
        bool, typer.Option("--skip-unjudged", help="Leave out ranked queries that nobody graded (else an error).")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap and the permutation test.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="One JSON document on stdout in place of tables.")] = False,
) -> None:
    """Measure rankings: means with 95 % intervals (BCa), and each against the first (Holm-corrected p).

    A judged query that a run does not hold counts as 0, as in trec_eval. p-values are of a paired permutation test, and
    corrected for the runs compared under one measure.

    Example: wholepage evaluate smar.jsonl dev.qrels zscore.jsonl -m nDCG@10 -m RR@10 --pages pages.jsonl
    """
    from wholepage.apps.console import print_json
    from wholepage.apps.places import file_there
    from wholepage.evaluation.measures import parse_measure
    from wholepage.pages.errors import InputError
    from wholepage.pages.records import read_pages

    asked = [str(parse_measure(name)) for name in measure or [_MEASURE]]
    paths = [run, *(more_runs or [])]
    if len(set(paths)) != len(paths):
        raise InputError(f"runs: got {[str(p) for p in paths]}; allowed: each file once; drop the repeats")
    said = read_any_judgments(judgments)
    shown = list(read_pages(file_there(pages, "pages"))) if pages is not None else None
    measured = {str(p): _measured(read_any_rankings(p), said, asked, shown, skip_unjudged) for p in paths}
    rows = [_row(name, found, seed) for name, found in measured.items()]
    _compare(rows, measured, seed)
    if json_:
        print_json({"judgments": str(judgments), "seed": seed, "runs": rows})
    else:
        _print(rows)


def read_any_rankings(path: Path) -> list[Ranking]:
    """Rankings of a file: JSONL by its ending, else a TREC run.

    Raises:
        NotFound: there is no such file.
        RecordError: a line cannot be read.
    """
    from wholepage.apps.places import file_there
    from wholepage.pages.records import read_rankings, read_run

    file_there(path, "rankings")
    jsonl = path.name.removesuffix(".gz").endswith(".jsonl")
    return list(read_rankings(path) if jsonl else read_run(path))


def read_any_judgments(path: Path) -> Judgments:
    """Judgments of a file: JSONL by its ending, else TREC qrels.

    Raises:
        NotFound: there is no such file.
        RecordError: a line cannot be read.
    """
    from wholepage.apps.places import file_there
    from wholepage.pages.records import read_judgments, read_qrels

    file_there(path, "judgments")
    jsonl = path.name.removesuffix(".gz").endswith(".jsonl")
    return read_judgments(path) if jsonl else read_qrels(path)


def _measured(
    rankings: list[Ranking], said: Judgments, asked: list[str], pages: list[Page] | None, skip_unjudged: bool
) -> dict[str, dict[str, float]]:
    """Values by measure and query."""
    from wholepage.evaluation.measures import evaluate as evaluate_lists
    from wholepage.evaluation.page_measures import evaluate_pages

    found = dict(evaluate_lists(rankings, said, asked, skip_unjudged=skip_unjudged).values)
    if pages is not None:
        page_values: Evaluation = evaluate_pages(rankings, pages, said)
        found |= page_values.values
    return found


def _row(name: str, measured: dict[str, dict[str, float]], seed: int) -> dict[str, Any]:
    from wholepage.evaluation.significance import bca_interval

    cells: dict[str, Any] = {}
    for measure, values in measured.items():
        known = [value for value in values.values() if not math.isnan(value)]
        mean = math.fsum(known) / len(known) if known else math.nan
        low, high = bca_interval(known, seed=seed) if len(known) > 1 else (math.nan, math.nan)
        cells[measure] = {"mean": mean, "low": low, "high": high, "queries": len(known)}
    return {"run": name, "measures": cells, "against_first": {}}


def _compare(rows: list[dict[str, Any]], measured: dict[str, dict[str, dict[str, float]]], seed: int) -> None:
    """Fill ``against_first``; a measure that fewer than two queries share is left out of it."""
    from wholepage.evaluation.significance import compare_to

    first, *others = measured
    for measure, reference in measured[first].items():
        against = {
            name: measured[name][measure]
            for name in others
            if measure in measured[name] and _shared(reference, measured[name][measure]) > 1
        }
        for row, found in zip(
            (row for row in rows if row["run"] in against), compare_to(reference, against, seed=seed), strict=True
        ):
            row["against_first"][measure] = {
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "p": found.p,
                "p_holm": found.p_holm,
                "queries": found.queries,
            }


def _shared(one: dict[str, float], other: dict[str, float]) -> int:
    """How many queries both have a value for; queries that only one of them has are for ``compare_to`` to refuse."""
    return sum(1 for query in one if not math.isnan(one[query]) and not math.isnan(other.get(query, 0.0)))


def _print(rows: list[dict[str, Any]]) -> None:
    from wholepage.apps.console import number, print_table

    for measure in rows[0]["measures"]:
        lines = []
        for row in rows:
            cell = row["measures"].get(measure)
            if cell is None:
                continue
            line = [row["run"], number(cell["mean"]), f"{number(cell['low'])} .. {number(cell['high'])}"]
            found = row["against_first"].get(measure)
            if len(rows) > 1:
                line += [f"{found['difference']:+.4f}", number(found["p_holm"])] if found else ["-", "-"]
            lines.append([*line, str(cell["queries"])])
        columns = ["run", "mean", "95 % (BCa)", *(["- first", "p (Holm)"] if len(rows) > 1 else []), "queries"]
        print_table(measure, columns, lines)
