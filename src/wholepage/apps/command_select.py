"""``wholepage select PAGES``: which results to ask people about within a budget, and what that costs."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from wholepage.annotation.strategies import Strategy
    from wholepage.apps.console import Report
    from wholepage.apps.to_annotate import Orders
    from wholepage.pages.model import Page


class Counting(StrEnum):
    """How a share of a list becomes a whole number."""

    WITHIN_BUDGET = "within-budget"
    AT_LEAST_ONE = "at-least-one"


def select(
    pages: Annotated[str, typer.Argument(help="A collection by name, or a file or folder of pages.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to write.")],
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            help="concentrated, spread, random, top, bottom, whole_pages, anchors or active, with --share; or a whole "
            "spec, such as 'window(lo=0.2, hi=0.4)' or 'active(p=0.1, rounds=4)'.",
        ),
    ] = "concentrated",
    share: Annotated[
        float | None,
        typer.Option("--share", min=0.0, max=1.0, help="Share of all results that may be asked about; default 0.1."),
    ] = None,
    rankings: Annotated[
        list[Path] | None,
        typer.Option(
            "--rankings",
            help="Orders of the lists: rankings (.jsonl) or a TREC run, of one modality or of whole pages; again for "
            "more.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", metavar="FOLDER", help="Its single-modal rankers order the lists."),
    ] = None,
    judgments: Annotated[
        Path | None,
        typer.Option("--judgments", help="Judgments (.jsonl) or qrels so far: pages that they speak of are left out."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Of the collection; default train, or all for a single file.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FOLDER", help="The data folder (else WHOLEPAGE_DATA).")
    ] = None,
    counts: Annotated[
        Counting, typer.Option("--counts", help="at-least-one: of every list one label at least, which costs more.")
    ] = Counting.WITHIN_BUDGET,
    levels: Annotated[int, typer.Option("--levels", min=2, help="How many grades there are; for anchors.")] = 4,
    seconds_per_label: Annotated[
        float | None, typer.Option("--seconds-per-label", min=0.0, help="How long a label takes: tells the hours.")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option("--price-per-hour", min=0.0, help="Of an annotator: tells the price.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws; the same seed, the same choice.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="One JSON document on stdout in place of a table.")] = False,
) -> None:
    """Choose the results to ask people about, and say what that costs.

    The folder then holds to_annotate.jsonl (the pages of which something is asked, whole, for a grade is given on its
    page), selection.json (which results to ask about) and rankings.jsonl (the order of each list). Without --rankings
    or --model the offline default orders the lists.

    The questions of two strategies depend on answers: here is what comes first. active: its first round; the later ones
    follow the doubts of the ranker trained on it. anchors: the first question of every list, on as many pages as the
    budget pays for in the worst case. Both never ask more than the labels under "at most".

    Example: wholepage select pages.jsonl --strategy concentrated --share 0.1 --seconds-per-label 8 -o runs/round1
    """
    from wholepage.apps import to_annotate
    from wholepage.apps.command_evaluate import read_any_judgments
    from wholepage.apps.console import note, print_json, progress
    from wholepage.pages.errors import InputError

    if rankings and model is not None:
        raise InputError("select: got both --rankings and --model; allowed: one of them orders the lists; drop one")
    for name, rate in (("--seconds-per-label", seconds_per_label), ("--price-per-hour", price_per_hour)):
        if rate is not None and not math.isfinite(rate):
            raise InputError(f"{name}: got {rate}; allowed: a finite number from 0 up; mend it")
    if price_per_hour is not None and seconds_per_label is None:
        raise InputError(
            "--price-per-hour: got it alone; allowed: with --seconds-per-label; say how long a label takes"
        )
    chosen = to_annotate.strategy_of(strategy, share)
    shown = to_annotate.pages_of(pages, split, root)
    if judgments is not None:
        before, shown = len(shown), to_annotate.unjudged(shown, read_any_judgments(judgments))
        note(f"left out: {before - len(shown)} of {before} pages, judged already")
    with progress() as report:
        orders = _orders(shown, chosen, rankings or [], model, root, report)
        plan = to_annotate.plan(shown, orders, chosen, seed=seed, counts=counts.value, levels=levels)
        facts = plan.facts(seconds_per_label, price_per_hour)
        plan.write(out, report)
    if json_:
        print_json(facts)
    else:
        _print(facts)
    note(f"pages to annotate: {out / 'to_annotate.jsonl'}; what to ask: {out / 'selection.json'}")


def _orders(
    pages: list[Page], strategy: Strategy, rankings: list[Path], model: Path | None, root: Path | None, report: Report
) -> list[Orders]:
    from wholepage.apps import to_annotate
    from wholepage.apps.console import note

    if not strategy.reads_ranks:
        if rankings or model is not None:
            note(f"{strategy.name} looks at no order of the lists: --rankings and --model are not used")
        return [{} for _ in pages]
    if rankings:
        orders, strange = to_annotate.orders_from_files(pages, rankings)
        if strange:
            note(f"not used: {strange} rankings of queries that have no page here")
        return orders
    orders = to_annotate.orders_by_model(pages, model, root, report)
    if model is None:
        note("no --rankings or --model given; lists ordered by the offline default")
    silent = to_annotate.without_opinion(orders)
    if silent:
        note(f"no opinion on {silent} of {sum(map(len, pages))} results: last in their lists, in the order received")
    return orders


def _print(facts: dict[str, Any]) -> None:
    from wholepage.apps.console import print_table

    rows = [
        ["labels", f"{facts['labels']} of {facts['of']} ({100 * facts['share']:.2f} %)"],
        ["pages", f"{facts['pages']} of {facts['of_pages']}"],
        *([f"  {name}", f"{of['labels']} of {of['of']}"] for name, of in facts["modalities"].items()),
    ]
    if facts["at_most"] != facts["labels"]:
        rows.append(["in the worst case, these pages", f"{facts['worst_case']} labels"])
        rows.append(["at most, with what follows", f"{facts['at_most']} labels"])
    if facts["hours"] is not None:
        rows.append(["hours", f"{facts['hours']:.2f}"])
    if facts["price"] is not None:
        rows.append(["price", f"{facts['price']:.2f}"])
    print_table(facts["strategy"], ["", "to ask"], rows)
