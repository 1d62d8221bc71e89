"""``wholepage study``: run a recipe's cells side by side, keep each as soon as it is done, tell what came of it all.

A study's folder holds ``grounds/`` (pages as read), ``cells/`` (one JSON file each), and what they add up to:
``measured.parquet``, ``report.html``, ``tables.tex``, ``tables.md``. A study that was killed goes on where it was, and
ends with the same parquet file, byte for byte. A cell whose data or settings changed is done anew.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import wholepage
from wholepage.apps import experiments
from wholepage.apps.experiments import Judged
from wholepage.apps.folder_lock import alone_at
from wholepage.apps.places import open_collection
from wholepage.apps.resolve import result_vectors
from wholepage.apps.study_cells import Done, run_cell
from wholepage.apps.study_ground import content_of, prepare
from wholepage.apps.study_recipe import Cell, Data, Recipe, cells
from wholepage.evaluation.study import Draw, curves, half, needed
from wholepage.evaluation.study_report import study_latex, study_markdown, write_study_report
from wholepage.evaluation.study_table import Measured, write_parquet
from wholepage.pages.errors import InputError
from wholepage.pages.lines import atomic_write
from wholepage.pages.model import Modality
from wholepage.rankers.encoders import Progress
from wholepage.rankers.matching import ResultVectors
from wholepage.training.workers import Workers

FORMAT = 1
"""Changed when equal settings would give other numbers, so that kept cells are done anew."""

REFERENCES = {"alignment": "align=none", "budget": "concentrated", "teacher": "shuffled=0"}
"""What the arms of an experiment are compared with, where it was measured."""


@dataclass(frozen=True)
class Fold:
    """What one fold learns from and is measured on."""

    train: Judged
    test: Judged


@dataclass(frozen=True)
class Outcome:
    """What a study found.

    Attributes:
        markdown: its statements and tables.  summary: its curves and comparisons, as ``--json`` prints them.
    """

    rows: list[Measured]
    markdown: str
    summary: dict[str, Any]


@dataclass(frozen=True)
class Work:
    """A cell to do.

    Attributes:
        key: names its file; a hash of the cell, of all it is made from, and of how it is trained.
    """

    cell: Cell
    ground: Path
    key: str


def study(
    recipe: Recipe,
    out: Path,
    *,
    root: Path | None = None,
    made_by: str = "",
    workers: int | None = None,
    progress: Progress,
) -> Outcome:
    """Run a recipe, or the rest of it, and write its tables and its report.

    Args:
        out: the study's folder; cells found there that fit the recipe are not done again.
        made_by: command, version and machine, for the report.
        workers: processes; None = one a core.
    Raises:
        NotFound: a collection is not there.
        InputError: the recipe asks for what the data cannot give, or another process runs a study in this folder.
        WorkerLost: a process was killed; what was done is kept.
    """
    folds = _folds(recipe.data, root)
    wanted = cells(recipe, len(folds))
    ratios = sorted({cell.ratio for cell in wanted})
    grounds = [{ratio: out / "grounds" / _ground_name(recipe, fold, ratio) for ratio in ratios} for fold in folds]
    with _held(out):
        made = all(place.exists() for places in grounds for place in places.values())
        vectors = None if made else _encoded(recipe.data, folds, root, progress)
        with experiments.side_by_side(workers) as pool:
            for fold, places in zip(folds, grounds, strict=True):
                if vectors is not None:
                    _prepare(recipe, fold, places, vectors, pool, progress)
            works = [_work(recipe, cell, grounds[cell.fold][cell.ratio]) for cell in wanted]
            _run(works, out / "cells", recipe, pool, progress)
        rows = [row for work in works for row in _rows(recipe, work, out / "cells")]
        return _write(rows, recipe, out, made_by)


def machine() -> str:
    """What this runs on, in words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def version() -> str:
    """The package's version."""
    return f"wholepage {wholepage.__version__}"


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Keep other processes out of the study's folder: two would trip over each other's checkpoints.

    The lock is the system's: it ends with the process, however that ends.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = out / ".lock"
    lock.touch()
    refusal = (
        f"{out}: got a second process running a study in this folder; allowed: one at a time; wait for the other, or "
        "name another folder with --out"
    )
    with alone_at(lock, refusal):
        yield


def _encoded(data: Data, folds: Sequence[Fold], root: Path | None, progress: Progress) -> ResultVectors:
    """The frozen encoders, with all pages encoded: outside of the pool, where they may use every thread."""
    picture = experiments.picture_encoder(data.image, data.collection)
    vectors = result_vectors(data.text, picture, root=root, progress=progress)
    vectors.encode([page for fold in folds for part in (fold.train, fold.test) for page in part.pages])
    return vectors


def _prepare(
    recipe: Recipe, fold: Fold, places: dict[int, Path], vectors: ResultVectors, pool: Workers, progress: Progress
) -> None:
    """Make the grounds of a fold that are not there yet."""
    missing = {ratio: place for ratio, place in places.items() if not place.exists()}
    if missing:
        # Named by all grounds, not by those missing: a run killed between two of them finds its checkpoints.
        first = min(places.values())
        kept = first.with_name(f"{first.name}.checkpoints")
        prepare(missing, fold.train, fold.test, vectors, recipe.towers, recipe.smar,
                folder=kept, workers=pool, progress=progress)  # fmt: skip
        shutil.rmtree(kept, ignore_errors=True)  # they resume a killed run; these are done


def _folds(data: Data, root: Path | None) -> list[Fold]:
    return [Fold(_left(fold.train, data.without), _left(fold.test, data.without)) for fold in _whole_folds(data, root)]


def _left(part: Judged, without: Sequence[Modality]) -> Judged:
    """Pages without the results of some modalities; pages of which nothing is left are left out."""
    if not without:
        return part
    pages = [page.keep([r.result_id for r in page.results if r.modality not in without]) for page in part.pages]
    pages = [page for page in pages if len(page)]
    return Judged(pages, part.judgments.restrict({page.query_id: page.result_ids for page in pages}))


def _whole_folds(data: Data, root: Path | None) -> list[Fold]:
    if data.collection == "synthetic":
        world = open_collection("synthetic", queries=data.queries, seed=data.seed)
        taught, measured = (
            Judged(list(world.pages(split)), world.judgments(split)) for split in (data.train_split, data.test_split)
        )
        return [Fold(taught, measured)]
    said = None if data.judgments is None else Path(data.judgments)
    if data.folds:
        whole = experiments.judged(data.collection, data.train_split, root=root, judgments=said)
        return [
            Fold(Judged(train, whole.judgments), Judged(test, whole.judgments))
            for train, test in experiments.query_folds(whole.pages, data.folds)
        ]
    measured = experiments.judged(data.collection, data.test_split, root=root, judgments=said)
    taught = (
        experiments.together(data.transfer_from, data.train_split, root)
        if data.transfer_from
        else experiments.judged(data.collection, data.train_split, root=root, judgments=said)
    )
    shared = {page.query_id for page in taught.pages} & {page.query_id for page in measured.pages}
    if shared:
        raise InputError(
            f"study {data.collection!r}: got queries {sorted(shared)[:3]} on both sides; allowed: none shared; choose "
            "other splits"
        )
    return [Fold(taught, measured)]


def _ground_name(recipe: Recipe, fold: Fold, ratio: int) -> str:
    made = [
        FORMAT,
        content_of(*fold.train),
        content_of(*fold.test),
        recipe.data.text,
        experiments.picture_encoder(recipe.data.image, recipe.data.collection),
        msgspec.to_builtins(recipe.towers),
        recipe.smar.keep,
        msgspec.to_builtins(recipe.smar.read_as),
        ratio,
    ]
    return _digest(made)


def _work(recipe: Recipe, cell: Cell, ground: Path) -> Work:
    made = [FORMAT, ground.name, msgspec.to_builtins(cell.work), msgspec.to_builtins(recipe.config_of(cell.method))]
    return Work(cell, ground, _digest(made))


def _run(works: Sequence[Work], folder: Path, recipe: Recipe, pool: Workers, progress: Progress) -> None:
    """Do every cell that has no file yet; cells of one ground after each other, as a process keeps the last it read."""
    missing = {work.key: work for work in works if not (folder / f"{work.key}.json").exists()}
    ordered = sorted(missing.values(), key=lambda work: (work.ground.name, -work.cell.share, work.key))
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        (work.ground, work.cell.work, recipe.config_of(work.cell.method), folder / f"{work.key}.json")
        for work in ordered
    ]
    pool.each(run_cell, tasks, progress=progress, what=f"{recipe.name}, cells")


def _rows(recipe: Recipe, work: Work, folder: Path) -> Iterable[Measured]:
    path = folder / f"{work.key}.json"
    try:
        done = msgspec.json.decode(path.read_bytes(), type=Done)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: got {error}; allowed: a finished cell; remove the file, and run again") from error
    cell = work.cell
    for query_id, found in done.queries.items():
        yield Measured(
            study=recipe.name,
            experiment=cell.experiment,
            collection=recipe.data.collection,
            method=cell.method,
            variant=cell.variant,
            strategy=cell.strategy,
            share=cell.share,
            seed=cell.seed,
            fold=cell.fold,
            labels=done.labels,
            full_labels=done.full_labels,
            query_id=query_id,
            ndcg=found.ndcg,
            cross_right=found.cross_right,
            cross_pairs=found.cross_pairs,
        )


def _write(rows: Sequence[Measured], recipe: Recipe, out: Path, made_by: str) -> Outcome:
    write_parquet(rows, out / "measured.parquet")
    found = {(row.experiment, row.variant) for row in rows}
    references = {kind: variant for kind, variant in REFERENCES.items() if (kind, variant) in found}
    margin = recipe.margin
    write_study_report(
        rows, out / "report.html", title=recipe.name, margin=margin, made_by=made_by, references=references
    )
    tables = study_markdown(rows, margin=margin, references=references)
    latex = study_latex(rows, margin=margin, references=references)
    for name, text in (("tables.tex", latex), ("tables.md", tables)):
        with atomic_write(out / name) as file:
            file.write(text)
    draw = Draw(margin=recipe.margin)
    summary = {
        "study": recipe.name,
        "collection": recipe.data.collection,
        "margin": recipe.margin,
        "curves": msgspec.to_builtins(curves(rows, "cost", draw=draw)),
        "needed": msgspec.to_builtins(needed(rows, draw=draw)),
        "half": msgspec.to_builtins(half(rows, draw=draw)),
    }
    return Outcome(list(rows), tables, summary)


def _digest(made: object) -> str:
    return hashlib.sha256(msgspec.json.encode(made, order="deterministic")).hexdigest()[:32]
