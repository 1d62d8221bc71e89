"""``wholepage annotate``: campaigns of annotation, from the plan over the desk to labels that training reads."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wholepage.apps import command_campaigns

if TYPE_CHECKING:
    from wholepage.annotation.settings import Settings

annotate = typer.Typer(
    name="annotate",
    help="Ask people: plan a campaign, serve its desk, see what it cost, and train on its labels.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


class _RankedBy(StrEnum):
    TOWERS = "towers"
    OFFLINE = "offline"


@annotate.callback()
def _annotate() -> None:
    pass


annotate.command("create")(command_campaigns.create)
annotate.command("serve")(command_campaigns.serve)
annotate.command("invite")(command_campaigns.invite)
annotate.command("status")(command_campaigns.status)
annotate.command("judge")(command_campaigns.judge)
annotate.command("export")(command_campaigns.export)
annotate.command("import")(command_campaigns.import_)
annotate.command("verify")(command_campaigns.verify)


@annotate.command("simulate")
def simulate(
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="A collection by name, or a file or folder of judged pages.")
    ] = "synthetic",
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FOLDER", help="The data folder (else WHOLEPAGE_DATA).")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Which pages are annotated.")] = "train",
    pages: Annotated[
        int | None, typer.Option("--pages", min=1, help="So many of them, drawn by the seed; else all.")
    ] = 200,
    queries: Annotated[int | None, typer.Option("--queries", min=2, help="Size of the generated collection.")] = None,
    engine: Annotated[
        command_campaigns.Engine, typer.Option("--engine", help="How results to grade are chosen.")
    ] = command_campaigns.Engine.HMM,
    annotator_error: Annotated[
        float, typer.Option("--annotator-error", min=0.0, max=0.49, help="Chance that somebody misreads a result.")
    ] = 0.1,
    people: Annotated[int, typer.Option("--people", min=1, help="People in the crowd.")] = 3,
    overlap: Annotated[int, typer.Option("--overlap", min=1, help="Answers a question, of different people.")] = 1,
    levels: Annotated[int, typer.Option("--levels", min=2, max=10, help="Grades: 0 to one less.")] = 4,
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="Questions at most; else to the end.")] = None,
    tau: Annotated[
        float, typer.Option("--tau", min=0.001, max=0.5, help="Lists are done at this mean posterior error.")
    ] = 0.05,
    pilot: Annotated[
        int | None, typer.Option("--pilot", min=0, help="Pages graded whole first, to teach hmm; else a tenth.")
    ] = None,
    gold: Annotated[int, typer.Option("--gold", min=0, help="Results whose grade is known, to test people.")] = 40,
    ranked_by: Annotated[
        _RankedBy, typer.Option("--ranked-by", help="towers: trained within modalities; offline: trained on nothing.")
    ] = _RankedBy.TOWERS,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")] = False,
) -> None:
    """Play a campaign through before paying for it: perfect, noisy, spamming and model annotators, the truth at hand.

    What stands at the top of the JSON is the noisy crowd's campaign; all of them are under "campaigns".

    Example: wholepage annotate simulate --collection fashion --root data --engine hmm --annotator-error .1 --json
    """
    from wholepage.annotation.settings import Settings
    from wholepage.apps.console import print_json, progress
    from wholepage.pages.errors import require

    if ranked_by is _RankedBy.TOWERS:
        require("torch", "train")
    from wholepage.apps import annotation_ground, crowds, simulation

    settings = Settings(
        name=f"simulated on {collection}", engine=engine.value, levels=levels, overlap=overlap, tau=tau, seed=seed,
        budget_questions=budget,
    )  # fmt: skip
    with progress() as report:
        ground = annotation_ground.ground(
            collection, split=split, root=root, queries=queries, ranked_by=ranked_by.value, levels=levels, report=report
        ).first(pages, seed)
        first = _pilot_pages(pilot, len(ground.pages), settings)
        found: dict[str, dict[str, Any]] = {}
        for kind in crowds.KINDS:
            told = crowds.settings_for(kind, settings, annotator_error)
            crowd = crowds.crowd_of(kind, ground.truth, told, people=people, error=annotator_error)
            found[kind] = simulation.simulate(ground, told, crowd, pilot_pages=first, gold_items=gold, report=report)
    facts = {"collection": collection, "split": split, "annotator_error": annotator_error, "seed": seed}
    facts |= {**found["noisy"], "campaigns": found}
    if json_:
        print_json(facts)
        return
    _show(found, f"{collection}, {len(ground.pages)} pages, engine {engine.value}")


@annotate.command("rehearse")
def rehearse(
    recipe: Annotated[Path, typer.Argument(help="A rehearsal (.toml).")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="A new folder for all that comes of it.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")] = False,
) -> None:
    """From the desk to the model: stand-ins answer a real desk over HTTP, SMAR trains on what they said.

    Example: wholepage annotate rehearse recipes/desk_synthetic_cpu.toml --out runs/rehearsal
    """
    from wholepage.apps.console import note, print_json, print_table, progress
    from wholepage.pages.errors import require

    for library, extra in (("torch", "train"), ("fastapi", "annotate"), ("sqlalchemy", "annotate")):
        require(library, extra)
    from wholepage.apps import campaign_status, rehearsal
    from wholepage.apps.command_train import show

    with progress() as report:
        found = rehearsal.rehearse(rehearsal.read_rehearsal(recipe), out, report=report)
    if json_:
        print_json({"campaign": found.facts, "rows": [row.to_json() for row in found.outcome.rows]})
    else:
        for title, columns, rows in campaign_status.tables(found.facts):
            print_table(title, columns, rows)
        show(found.outcome, f"{recipe.stem}: trained on what was answered at the desk", json_=False)
    note(f"labels: {found.labels}; model: {out / 'model'}; report: {out / 'report.html'}")


def _pilot_pages(given: int | None, pages: int, settings: Settings) -> int:
    """How many pages are graded whole first; a campaign has to be left when they are."""
    if settings.engine != "hmm":
        return given or 0
    return min(max(1, pages // 10) if given is None else given, pages - 1)


def _show(found: dict[str, dict[str, Any]], title: str) -> None:
    from wholepage.apps.console import number, print_table

    def row(what: str, of: dict[str, Any]) -> list[str]:
        return [
            what,
            f"{of['questions']:,} of {of['full_annotation']:,}",
            f"{of['saving']:.0%}",
            number(of["claimed_error"]),
            number(of["real_error"]),
            number(of["cross_pair_accuracy"]),
            number(of["inferred_error_bound"]),
            ", ".join(of["paused"]) or "-",
        ]

    columns = [
        "who answers",
        "questions",
        "saved",
        "error claimed",
        "error real",
        "cross-modal pairs right",
        "audit: inferred wrong at most",
        "paused",
    ]
    accuracy = next(iter(found.values()))["ranker_pair_accuracy"]
    print_table(
        f"{title} (single-modal orders have {accuracy:.1%} of pairs right)",
        columns,
        [row(kind, of) for kind, of in found.items()],
    )
