"""``wholepage train nexus``: a listwise ranker of texts and pictures, trained stage by stage from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train_nexus(
    recipe: Annotated[Path, typer.Argument(help="A recipe (.toml).", metavar="RECIPE")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="The model folder to write, in place of the recipe's."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Of the student and of all training, in place of the recipe's."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON document on stdout in place of tables.")] = False,
) -> None:
    """Train the listwise ranker: on lists of texts, then of pictures, then of both (Rank-Nexus).

    After every stage it is measured on held-out lists of every kind. A training that was killed goes on where it was
    when the same command is given again. Several processes: torchrun --nproc_per_node 2 -m wholepage train nexus ...

    Example: wholepage train nexus recipes/nexus_synthetic_cpu.toml
    """
    from wholepage.apps.console import note, print_json, print_table, progress
    from wholepage.pages.errors import InputError, require

    require("torch", "train")
    from wholepage.apps import nexus_run
    from wholepage.apps.nexus_recipe import read_nexus_recipe
    from wholepage.training.loop_processes import Processes

    wanted = read_nexus_recipe(recipe)
    wanted = wanted if seed is None else wanted.seeded(seed)
    if out is None and wanted.out is None:
        raise InputError(f"{recipe}: got no [out] folder; allowed: one in the recipe, or --out FOLDER; add either")
    folder = out or Path(wanted.out.folder if wanted.out else "")
    with progress() as report:
        facts = nexus_run.train_nexus(wanted, folder, progress=report)
    if not Processes().first:
        return
    if json_:
        print_json(facts)
    else:
        print_table(f"{recipe.stem}: after each stage", *nexus_run.table(facts))
    for place, told in facts["lists"].items():
        if told["left_out"]:
            why = ", ".join(f"{count} {reason}" for reason, count in told["left_out"].items())
            note(f"{place}: {sum(told['left_out'].values())} of {told['read']} lists left out ({why})")
    note(f"model: {folder}; what each stage did: {folder / nexus_run.REPORT}")
