"""``wholepage evaluate RUN JUDGMENTS [RUN ...]``: how good orders are, and whether they differ by more than luck."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from wholepage.evaluation.evaluation_report import ReportSettings
    from wholepage.evaluation.run_comparison import RunComparison
    from wholepage.pages.judgments import Judgments
    from wholepage.pages.model import Ranking

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
            "--measure",
            "-m",
            help=f"A measure of a list, as ir_measures spells it, or of a page; again for more. Default {_MEASURE}.",
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
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write all of it as one HTML page.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option("--latex", metavar="FILE", help="Write the tables in LaTeX (booktabs).")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write findings and tables in Markdown.")
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            "--cost",
            metavar="RANKER=COST",
            help="What a ranker's labels cost: a number, or a folder of `wholepage annotate export`; again for more.",
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Of the report.")] = "Evaluation",
    remark: Annotated[str, typer.Option("--remark", help="A line in the report, such as a date.")] = "",
    relevant: Annotated[
        float, typer.Option("--relevant", help="The grade from which a result counts as relevant, for calibration.")
    ] = 1.0,
    probabilities: Annotated[
        list[str] | None,
        typer.Option("--probabilities", metavar="RANKER", help="Its scores are probabilities already; again for more."),
    ] = None,
    shown_pages: Annotated[
        int, typer.Option("--shown-pages", min=0, help="How many worst and best pages the report shows.")
    ] = 2,
) -> None:
    """Measure rankings: means with 95 % intervals (BCa), and each against the first (Holm-corrected p).

    A judged query that a run does not hold counts as 0, as in trec_eval; measures of pages leave it out. p-values are
    of a paired permutation test, and corrected for the runs compared under one measure.

    --report writes one self-contained page: tables, differences query by query, the worst and best pages with their
    pictures, pairs and exposure by modality, calibration, cost. A ranker is called after its file, without the ending.

    Example: wholepage evaluate smar.jsonl dev.qrels zscore.jsonl -m nDCG@10 --pages pages.jsonl --report report.html
    """
    from wholepage.apps.console import note, print_json
    from wholepage.apps.evaluation_costs import read_costs
    from wholepage.apps.evaluation_outputs import made_with, ranker_names, rows_for_json
    from wholepage.apps.places import file_there
    from wholepage.evaluation.run_comparison import evaluate_runs, spelled
    from wholepage.pages.records import read_pages

    asked = [spelled(name) for name in measure or [_MEASURE]]
    paths = [run, *(more_runs or [])]
    names = ranker_names(paths)
    costs = read_costs(cost or [], names)
    said = read_any_judgments(judgments)
    shown = list(read_pages(file_there(pages, "pages"))) if pages is not None else None
    runs = {name: read_any_rankings(path) for name, path in zip(names, paths, strict=True)}
    comparison = evaluate_runs(runs, said, asked, pages=shown, skip_unjudged=skip_unjudged, seed=seed)
    for one in comparison.runs:
        if lacking := comparison.lacking(one):
            note(f"{one.name} lacks {len(lacking)} queries, such as {lacking[0]}: 0 in lists, left out of pages")
    if report is not None or latex is not None or markdown is not None:
        from wholepage.evaluation.evaluation_report import ReportSettings

        files = [*((f"ranker {name}", path) for name, path in zip(names, paths, strict=True)), ("judgments", judgments)]
        settings = ReportSettings(
            title=title,
            made=made_with([*files, ("pages", pages)] if pages is not None else files, remark),
            costs=costs,
            relevant_from=relevant,
            probabilities=tuple(probabilities or ()),
            shown_pages=shown_pages,
        )
        _write(comparison, settings, report, latex, markdown)
    rows = rows_for_json(comparison, paths)
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


def _write(
    comparison: RunComparison,
    settings: ReportSettings,
    report: Path | None,
    latex: Path | None,
    markdown: Path | None,
) -> None:
    """The files asked for, each whole or not there."""
    from wholepage.apps.console import deliver, note
    from wholepage.evaluation.evaluation_report import evaluation_latex, evaluation_markdown, write_evaluation_report
    from wholepage.pages.lines import atomic_write

    def text_at(place: Path, text: str) -> None:
        with atomic_write(place) as file:
            file.write(text)

    if report is not None:
        deliver(str(report), "report.html", lambda place: write_evaluation_report(place, comparison, settings))
    if latex is not None:
        deliver(str(latex), "tables.tex", lambda place: text_at(place, evaluation_latex(comparison, settings)))
    if markdown is not None:
        deliver(str(markdown), "tables.md", lambda place: text_at(place, evaluation_markdown(comparison, settings)))
    note(f"written: {', '.join(str(path) for path in (report, latex, markdown) if path is not None)}")


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
