"""``wholepage batch rank|score|encode INPUT... -o OUT``: files of pages of any size, shard by shard."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from wholepage.apps.command_rank import OneModality

if TYPE_CHECKING:
    from wholepage.apps.batch.job import Run
    from wholepage.apps.batch.messages import Engine


class BatchTask(StrEnum):
    """What is done with each page."""

    RANK = "rank"
    SCORE = "score"
    ENCODE = "encode"


class RecordsFormat(StrEnum):
    """How records are written."""

    JSONL = "jsonl"
    PARQUET = "parquet"


class BadRows(StrEnum):
    """What becomes of a row that cannot be used."""

    STOP = "stop"
    SKIP = "skip"


def batch(
    task: Annotated[
        BatchTask,
        typer.Argument(
            help="rank: orders; score: numbers in the page's own order; encode: vectors of query and results."
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders or patterns of pages (.jsonl, .jsonl.gz, .parquet); paths, s3:// or gs://."
        ),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="A folder, new or of the same job.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="A model folder, offline or bm25; of encode a model folder or encoders, as minilm+pixels. "
            "Default offline, and minilm.",
        ),
    ] = None,
    format_: Annotated[
        RecordsFormat | None,
        typer.Option("--format", help="Of the files written. Default jsonl, and parquet for vectors."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=0, help="Processes (or Ray actors) that hold the model; 0 = this one.")
    ] = 1,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of each worker, for numerics.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Work on Ray: local, auto (the running cluster) or an address."),
    ] = None,
    gpus: Annotated[float, typer.Option("--gpus", min=0.0, help="With --ray: GPUs of each worker.")] = 0.0,
    shard_rows: Annotated[
        int, typer.Option("--shard-rows", min=1, help="Pages of a file that is written, and that a kill can cost.")
    ] = 2000,
    batch_pages: Annotated[int, typer.Option("--batch-pages", min=1, help="Pages the model is given at once.")] = 32,
    on_error: Annotated[
        BadRows, typer.Option("--on-error", help="A row that cannot be used: stop, or skip it into _rejects/.")
    ] = BadRows.STOP,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", min=1, metavar="K", help="With rank: keep the first K of each page.")
    ] = None,
    only: Annotated[
        OneModality | None, typer.Option("--only", help="Look at the results of one modality, leave the others out.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON document on stdout at the end.")] = False,
) -> None:
    """Rank, score or encode pages of any number, in constant memory, on one machine or many.

    The folder gets one file a shard and _SUCCESS at the end. Killed in the middle, the same command goes on where it
    stopped. What is written does not depend on the number of workers, nor on whether Ray did it.

    Example: wholepage batch rank pages.parquet --model runs/demo/model -o ranked --workers 4
    """
    from wholepage.apps.console import note, print_json, progress
    from wholepage.pages.errors import require

    require("pyarrow", "batch")
    from wholepage.apps.batch.job import run_batch
    from wholepage.apps.batch.plan import Settings

    named = model or ("minilm" if task is BatchTask.ENCODE else "offline")
    vectors = task is BatchTask.ENCODE
    settings = Settings(
        task=task.value,
        model=named,
        format=(format_ or (RecordsFormat.PARQUET if vectors else RecordsFormat.JSONL)).value,
        shard_rows=shard_rows,
        batch_pages=batch_pages,
        on_error=on_error.value,
        top_k=top_k,
        only=None if only is None else only.value,
    )
    engine = _engine(workers, threads, ray, gpus)
    try:
        with progress() as report:
            run = run_batch(inputs, output, settings, engine, report=report, note=note)
    except KeyboardInterrupt:
        note("stopped; the same command goes on with the shards that are not done")
        raise
    _tell(run)
    if json_:
        print_json(
            {
                "output": run.out,
                **{name: getattr(run.summary, name) for name in run.summary.__struct_fields__},
                "shards_done": run.shards_done,
                "rows_done": run.rows_done,
                "seconds": run.seconds,
                "pages_a_second": run.pages_a_second,
                "workers_lost": run.workers_lost,
                "peak_bytes": run.peak_bytes,
            }
        )


def _engine(workers: int, threads: int, ray: str | None, gpus: float) -> Engine:
    """Who does the work.

    Raises:
        InputError: options that do not go together.
    """
    from wholepage.pages.errors import InputError

    if ray is not None:
        from wholepage.apps.batch.ray_actors import RayActors

        return RayActors(ray, workers, threads=threads, gpus=gpus)
    from wholepage.apps.batch.processes import InProcess, Processes

    if gpus:
        raise InputError(f"batch: got --gpus {gpus:g} without --ray; allowed: with --ray; leave it out")
    return Processes(workers, threads=threads) if workers else InProcess()


def _tell(run: Run) -> None:
    from wholepage.apps.console import note

    found = run.summary
    if run.rows_done:
        note(f"{run.rows_done} pages in {run.seconds:.1f} s, {run.pages_a_second:.1f} a second, by {found.by}")
    else:
        note("nothing was left to do")
    if found.silent:
        note(f"no opinion on {found.silent} results (nothing to read)")
    if found.rejected:
        note(
            f"WARNING: {found.rejected} of {found.rows} rows could not be used and are left out; see {run.out}/_rejects"
        )
    note(f"{found.written} records in {found.shards} shards in {run.out}, digest {found.output_sha256[:16]}")
