"""``wholepage plan PAGES --model M``: what ranking a corpus will cost, from timings on sample pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wholepage.apps.plan.measurement import Measurement
    from wholepage.apps.plan.planning import Plan, Range, Wish


def plan(
    pages: Annotated[
        str | None, typer.Argument(help="Sample pages: a collection by name, or a file or folder of pages.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="FOLDER", help="A model folder, offline (the default) or bm25."),
    ] = None,
    measured: Annotated[
        Path | None, typer.Option("--measured", metavar="FILE", help="A measurement kept before, in place of pages.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FILE", help="Keep the measurement here (.json).")
    ] = None,
    corpus_pages: Annotated[
        int | None, typer.Option("--corpus-pages", min=1, help="How many pages shall be ranked.")
    ] = None,
    items_per_page: Annotated[
        float | None, typer.Option("--items-per-page", help="Results a page; default: as in the sample.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Rankers at work at once.")] = 1,
    efficiency: Annotated[
        float, typer.Option("--efficiency", help="What a worker does beside the others, as a share of one alone.")
    ] = 1.0,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option("--gpus-per-worker", help="Of a worker; default: 1 where a GPU was measured, else 0."),
    ] = None,
    price_per_worker_hour: Annotated[
        float | None, typer.Option("--price-per-worker-hour", help="Of what a worker runs on, GPU included.")
    ] = None,
    budget: Annotated[float | None, typer.Option("--budget", help="Money, in the currency of the price.")] = None,
    hours_a_day: Annotated[float, typer.Option("--hours-a-day", help="That the workers work.")] = 24.0,
    days: Annotated[
        float | None, typer.Option("--days", help="Until the corpus must be done: tells how many workers that takes.")
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=20, help="Pages to time, drawn from those given.")] = 120,
    batch_pages: Annotated[int, typer.Option("--batch-pages", min=1, help="Pages a call, at most.")] = 4,
    split: Annotated[
        str | None, typer.Option("--split", help="Of the collection; default train, or all for a single file.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FOLDER", help="The data folder (else WHOLEPAGE_DATA).")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sample and of the ranges.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="One JSON document on stdout in place of a table.")] = False,
) -> None:
    """Tell pages a day, worker hours, GPU hours and money for a corpus, with ranges.

    The model ranks a sample, each page once and nothing remembered from before, and two runs of other sizes check what
    was found. The ranges hold for machines like this one, while they do as much else as now; reading and writing files
    is not in them.

    Example: wholepage plan pages.jsonl --model runs/demo/model --corpus-pages 1000000 --price-per-worker-hour 0.4
    """
    from wholepage.apps.console import note, print_json
    from wholepage.pages.errors import InputError, require

    require("scipy", "eval")
    from wholepage.apps.plan.measurement import read_measurement, write_measurement
    from wholepage.apps.plan.planning import Wish
    from wholepage.apps.plan.planning import plan as carried_on

    if (pages is None) == (measured is None):
        raise InputError("plan: got pages and --measured, or neither; allowed: one of them; say what to time")
    if measured is not None and (model is not None or keep is not None):
        raise InputError(
            "plan: got --measured with --model or --keep; allowed: a measurement is of its own model, and kept; drop it"
        )
    wish = Wish(
        corpus_pages=corpus_pages,
        items_per_page=items_per_page,
        workers=workers,
        efficiency=efficiency,
        gpus_per_worker=gpus_per_worker or 0.0,
        price_per_worker_hour=price_per_worker_hour,
        budget=budget,
        hours_a_day=hours_a_day,
        days=days,
    )  # before anything is timed
    if measured is not None:
        found = read_measurement(measured)
    else:
        found = _measured(str(pages), model or "offline", split, root, sample, batch_pages, seed)
    if keep is not None:
        write_measurement(keep, found)
        note(f"measurement: {keep}")
    wish = _with_gpus(wish, gpus_per_worker, found)
    told = carried_on(found, wish, seed=seed)
    if json_:
        print_json(_facts(found, wish, told))
    else:
        _print(found, wish, told)


def _with_gpus(wish: Wish, given: float | None, found: Measurement) -> Wish:
    import msgspec

    return wish if given is not None else msgspec.structs.replace(wish, gpus_per_worker=1.0 if found.gpu else 0.0)


def _measured(
    pages: str, model: str, split: str | None, root: Path | None, sample: int, batch_pages: int, seed: int
) -> Measurement:
    import tempfile

    from wholepage.apps.console import progress
    from wholepage.apps.plan.measurement import measure
    from wholepage.apps.plan.sampling import cold_ranker, drawn
    from wholepage.apps.to_annotate import pages_of

    shown = drawn(pages_of(pages, split, root), sample, seed)
    with progress() as report, tempfile.TemporaryDirectory() as cache:
        make = cold_ranker(model, root=root, cache=Path(cache))
        return measure(make, shown, model=model, batch_pages=batch_pages, seed=seed, progress=report)


def _facts(found: Measurement, wish: Wish, told: Plan) -> dict[str, object]:
    import msgspec

    about = {name: getattr(found, name) for name in ("model", "ranker", "machine", "gpu", "load_s", "batch_pages")}
    return {**about, "wish": msgspec.to_builtins(wish), **msgspec.to_builtins(told)}


def _print(found: Measurement, wish: Wish, told: Plan) -> None:
    from wholepage.apps.console import note, print_table

    rows = [["seconds a page", *_cells(told.seconds_per_page)], ["pages a day", *_cells(told.pages_per_day)]]
    for name, one in (
        ("worker hours", told.worker_hours),
        ("GPU hours", told.gpu_hours if wish.gpus_per_worker else None),
        ("days", told.days),
        ("money", told.money),
        ("pages that the budget pays for", told.affordable_pages),
        (f"workers for {wish.days} days", told.workers_for_days),
    ):
        if one is not None:
            rows.append([name, *_cells(one)])
    of = "no corpus" if wish.corpus_pages is None else f"{wish.corpus_pages} pages"
    print_table(
        f"{found.ranker}: {of}, {told.items_per_page:.1f} results a page, workers: {wish.workers}",
        ["", "low", "likely", "high"],
        rows,
    )
    if told.suffices is not None:
        note(f"does the budget suffice: {told.suffices}")
    for check in told.checks:
        note(
            f"checked on {check.pages} pages, {check.items} results: predicted {check.predicted_s:.3f} s, measured "
            f"{check.measured_s:.3f} s, ratio {check.ratio:.3f}"
        )
    note(f"measured on: {found.machine}{f'; {found.gpu}' if found.gpu else ''}")


def _cells(one: Range) -> list[str]:
    return [f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" for value in (one.low, one.likely, one.high)]
