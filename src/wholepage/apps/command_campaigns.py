"""The commands of ``wholepage annotate`` that work on a store: create, serve, invite, status, judge, export, import."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from wholepage.annotation.formats import Format

STORE = "annotation.db"

_Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="WHOLEPAGE_STORE",
        metavar="PATH_OR_ADDRESS",
        help="Where campaigns are kept: a SQLite file, or postgresql://...",
    ),
]
_Campaign = Annotated[str, typer.Argument(help="The campaign's id.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]


class Engine(StrEnum):
    """How results to grade are chosen."""

    SELECTED = "selected"
    BISECT = "bisect"
    BAYES = "bayes"
    HMM = "hmm"


class _Role(StrEnum):
    ADMIN = "admin"
    MANAGER = "manager"
    REVIEWER = "reviewer"
    ANNOTATOR = "annotator"


def create(
    campaign: _Campaign,
    pages: Annotated[str, typer.Argument(help="A collection by name, or a file or folder of pages.")],
    store: _Store = STORE,
    engine: Annotated[
        Engine | None,
        typer.Option("--engine", help="selected asks everything listed; the others search lists and infer the rest."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Shown to people; else the id.")] = None,
    levels: Annotated[int | None, typer.Option("--levels", help="Grades: 0 to one less.")] = None,
    overlap: Annotated[int | None, typer.Option("--overlap", help="Answers a question, of different people.")] = None,
    budget: Annotated[int | None, typer.Option("--budget", help="Questions that may be asked in all.")] = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="Any setting, as TOML; options go before it.")
    ] = None,
    guideline: Annotated[Path | None, typer.Option("--guideline", help="What annotators are told (Markdown).")] = None,
    selection: Annotated[
        Path | None, typer.Option("--selection", help="selection.json of `wholepage select`: what to grade.")
    ] = None,
    rankings: Annotated[
        list[Path] | None, typer.Option("--rankings", help="Orders of the lists (.jsonl or TREC run); again for more.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", metavar="FOLDER", help="Its single-modal rankers order the lists.")
    ] = None,
    pilot: Annotated[
        Path | None,
        typer.Option("--pilot", help="Judgments (.jsonl) of some pages graded whole: teaches the engine hmm."),
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=0, help="Pairs across modalities to compare, a page.")] = 0,
    compare: Annotated[
        list[Path] | None,
        typer.Option("--compare", help="Orders of whole pages to compare side by side; two or more."),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Default train, or all (a single file).")] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FOLDER", help="The data folder (else WHOLEPAGE_DATA).")
    ] = None,
    json_: _Json = False,
) -> None:
    """Begin a campaign: what is asked, of which pages, within which budget.

    Example: wholepage annotate create shoes pages.jsonl --engine hmm --rankings orders.jsonl --budget 2000
    """
    from wholepage.apps import campaigns, opening
    from wholepage.apps.console import note, print_json, progress

    told = campaigns.read_settings(
        settings,
        {
            "name": name or (None if settings else campaign),
            "engine": None if engine is None else engine.value,
            "levels": levels,
            "overlap": overlap,
            "budget_questions": budget,
        },
    )
    with progress() as report:
        facts = opening.open_campaign(
            store,
            campaign,
            told,
            opening.Materials(pages, split, root, rankings or [], model, selection, pilot, pairs, compare or []),
            guideline=guideline,
            report=report,
        )
    if json_:
        print_json(facts)
    note(
        f"campaign {campaign!r}: {facts['pages']} pages, {facts['results']} results, engine {facts['engine']}; next: "
        f"wholepage annotate invite --role admin --store {store}, then wholepage annotate serve --store {store}"
    )


def serve(
    store: _Store = STORE,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 8765,
    address: Annotated[
        str | None, typer.Option("--address", help="Where people reach the desk, for links in invitations.")
    ] = None,
    secure: Annotated[
        bool, typer.Option("--secure", help="Behind https: cookies travel on encrypted connections alone.")
    ] = False,
) -> None:
    """Serve the desk of all campaigns of a store: sign-in, cards, review, the manager's board.

    Example: wholepage annotate serve --store annotation.db --port 8765
    """
    from wholepage.pages.errors import require

    for library in ("fastapi", "uvicorn", "sqlalchemy"):
        require(library, "annotate")
    from wholepage.annotation.store import Store
    from wholepage.apps.console import note
    from wholepage.apps.desk import server

    with Store.open(store) as opened:
        note(f"the desk is at http{'s' if secure else ''}://{host}:{port}/ ; Ctrl-C ends it")
        server.serve(opened, host, port, secure_cookies=secure, address=address)


def invite(
    store: _Store = STORE,
    role: Annotated[_Role, typer.Option("--role", help="What the person may do.")] = _Role.ANNOTATOR,
    address: Annotated[str, typer.Option("--address", help="Where people reach the desk.")] = "http://127.0.0.1:8765",
    days: Annotated[float, typer.Option("--days", min=0.01, max=365, help="How long the link is good.")] = 7.0,
    person: Annotated[
        str | None, typer.Option("--person", help="Id of somebody who has lost their password: a new one for them.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Print a link by which one person joins the desk, or gets back in.

    Example: wholepage annotate invite --role admin --store annotation.db
    """
    from datetime import timedelta

    from wholepage.annotation.moments import utc_now
    from wholepage.annotation.people import Role
    from wholepage.annotation.store import Store
    from wholepage.apps.console import print_json

    with Store.open(store) as opened:
        token = opened.invite(Role(role.value), "command line", utc_now() + timedelta(days=days), person_id=person)
    link = f"{address.rstrip('/')}/invite/{token}"
    if json_:
        print_json({"link": link, "role": role.value, "days": days})
    else:
        typer.echo(link)


def status(campaign: _Campaign, store: _Store = STORE, json_: _Json = False) -> None:
    """Say how far a campaign is, what it cost, how far people agree, and what its labels are worth.

    Example: wholepage annotate status shoes --store annotation.db
    """
    from wholepage.apps import campaign_status
    from wholepage.apps.console import print_json, print_table

    facts = campaign_status.status(store, campaign)
    if json_:
        print_json(facts)
        return
    for title, columns, rows in campaign_status.tables(facts):
        print_table(title, columns, rows)


def judge(
    campaign: _Campaign,
    endpoint: Annotated[str, typer.Option("--endpoint", help="Base address of an OpenAI-compatible server.")],
    model: Annotated[str, typer.Option("--model", help="Name of the model there.")],
    store: _Store = STORE,
    key: Annotated[
        str | None, typer.Option("--key-variable", help="Environment variable that holds the key; none = no key.")
    ] = None,
    most: Annotated[int | None, typer.Option("--most", min=1, help="Questions to ask it at most.")] = None,
    kept: Annotated[
        Path | None, typer.Option("--kept", metavar="FOLDER", help="Keep its answers here, never asked twice.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Let a model answer a campaign's questions: kept apart from people's answers, and never reported alone.

    Example: wholepage annotate judge shoes --endpoint http://127.0.0.1:8000/v1 --model some-model --most 500
    """
    from wholepage.apps import judging
    from wholepage.apps.console import note, print_json, progress

    with progress() as report:
        facts: dict[str, Any] = judging.judge(
            store, campaign, endpoint=endpoint, model=model, key_variable=key, most=most, kept=kept, report=report
        )
    if json_:
        print_json(facts)
    note(f"{facts['answered']} answers by {facts['who']}; skipped {facts['skipped']}")


def export(
    campaign: _Campaign,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write; with --format the file.")],
    store: _Store = STORE,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="One file for another tool, in place of the folder that training reads."),
    ] = None,
    json_: _Json = False,
) -> None:
    """Write a campaign's labels, cost and log as a folder that train and compare read, or one file for another tool.

    Example: wholepage annotate export shoes --store annotation.db --out runs/shoes-labels
    """
    from wholepage.annotation.store import Store
    from wholepage.apps import labels_out
    from wholepage.apps.console import note, print_json

    with Store.open(store) as opened:
        if format_ is None:
            facts = labels_out.export_campaign(opened, campaign, out)
            told = f"{facts['labels']} labels for {facts['questions']} questions: {out}"
        else:
            facts = labels_out.export_format(opened, campaign, format_, out)
            told = f"{facts['records']} records: {out}; the format does not carry: {facts['loses']}"
    if json_:
        print_json(facts)
    note(told)


def import_(
    campaign: _Campaign,
    path: Annotated[Path, typer.Argument(help="The file: a whole log (events.jsonl), or answers in another format.")],
    store: _Store = STORE,
    format_: Annotated[
        Format, typer.Option("--format", help="events makes a new campaign; the others add answers to an open one.")
    ] = Format.EVENTS,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="With events: the plan; else plan.json beside the file.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Bring a whole log back, or take answers in that were given elsewhere.

    Example: wholepage annotate import shoes-again runs/shoes-labels/events.jsonl --store other.db
    """
    from wholepage.annotation.store import Store
    from wholepage.apps import labels_out
    from wholepage.apps.console import note, print_json

    with Store.open(store) as opened:
        if format_ is Format.EVENTS:
            facts = labels_out.import_log(opened, campaign, path, plan or path.parent / labels_out.PLAN)
            told = f"{facts['entries']} entries; the last hash is {facts['head']}"
        else:
            facts = labels_out.import_answers(opened, campaign, path, format_)
            told = f"{facts['answers']} answers taken, {facts['left']} other records left"
    if json_:
        print_json(facts)
    note(told)


def verify(campaign: _Campaign, store: _Store = STORE, json_: _Json = False) -> None:
    """Read a campaign's whole log and check every byte of it against its chain of hashes.

    Example: wholepage annotate verify shoes --store annotation.db
    """
    from wholepage.annotation.store import Store
    from wholepage.apps.console import note, print_json

    with Store.open(store) as opened:
        entries = opened.verify(campaign)
        head = opened.head(campaign)
    if json_:
        print_json({"campaign": campaign, "entries": entries, "head": head.hash})
    note(f"{entries} entries, all as they were written; the last hash is {head.hash}")
