"""The command line: ``wholepage --help``.

Each command is a module of its own (``command_*.py``); heavy libraries are imported when a command runs, so that help
answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from wholepage.apps import (
    command_ab,
    command_annotate,
    command_batch,
    command_collection,
    command_evaluate,
    command_plan,
    command_rank,
    command_select,
    command_serve,
    command_study,
    command_train,
)
from wholepage.apps.exits import MEANINGS, reported

_EPILOG = "\n\n".join(
    [
        "[bold]Exit codes[/bold]",
        *(f"{code}  {meaning}" for code, meaning in MEANINGS.items()),
        "Errors are one line on stderr; WHOLEPAGE_DEBUG=1 shows where they came from. WHOLEPAGE_DATA is the folder of "
        "real collections, WHOLEPAGE_CACHE where vectors are kept (~/.cache/wholepage).",
    ]
)


class _Commands(TyperGroup):
    """The commands, with named errors turned into exit codes."""

    def invoke(self, ctx: Any) -> Any:
        with reported():
            return super().invoke(ctx)


app = typer.Typer(
    name="wholepage",
    cls=_Commands,
    help="Rerank whole result pages: one query, results of several modalities, one order.\n\n"
    "Start with: wholepage demo",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import wholepage

        typer.echo(f"wholepage {wholepage.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and end."
    ),
) -> None:
    pass


app.command("demo")(command_train.demo)
app.command("rank")(command_rank.rank)
app.command("select")(command_select.select)
app.add_typer(command_annotate.annotate, name="annotate")
app.add_typer(command_train.train, name="train")
app.command("evaluate")(command_evaluate.evaluate)
app.add_typer(command_ab.ab, name="ab")
app.add_typer(command_collection.collection, name="collection")
app.command("compare")(command_train.compare)
app.command("study")(command_study.study)
app.command("plan")(command_plan.plan)
app.command("batch")(command_batch.batch)
app.command("serve")(command_serve.serve)


def main() -> None:
    """Run the command line; ends the process with one of ``exits.MEANINGS``."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter must not end the command
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' own bars; progress is ours to show
    app()
