"""``wholepage study``: what page labels are worth, measured.

wholepage study recipes/cost_synthetic.toml --out runs/cost_synthetic
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def study(
    recipe: Annotated[Path, typer.Argument(help="A recipe: what is learned from, what is varied.", metavar="RECIPE")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where everything goes; default runs/NAME."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FOLDER", help="The data folder (else WHOLEPAGE_DATA).")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default one a core.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON document on stdout in place of tables.")] = False,
) -> None:
    """Measure what page labels are worth: annotation-cost curves, and what else the recipe varies.

    Every method is trained on the same single-modal rankers with every share of the page labels, several seeds, and
    measured query by query. The folder then holds measured.parquet, report.html, tables.tex and tables.md. A study that
    was killed goes on where it was: give the same command again.

    Example: wholepage study recipes/cost_synthetic.toml --out runs/cost_synthetic
    """
    from wholepage.apps.console import note, print_json, progress
    from wholepage.pages.errors import require

    require("torch", "train")
    require("pyarrow", "eval")
    import shlex
    import sys

    from wholepage.apps import studies
    from wholepage.apps.study_recipe import read_recipe

    found = read_recipe(recipe)
    place = out or Path("runs") / found.name
    made_by = f"{shlex.join(['wholepage', *sys.argv[1:]])} · {studies.version()} · {studies.machine()}"
    with progress() as report:
        outcome = studies.study(found, place, root=root, made_by=made_by, workers=workers, progress=report)
    if json_:
        print_json(outcome.summary)
    else:
        print(outcome.markdown)
    note(f"report: {place / 'report.html'}")
