"""What ``demo`` and ``compare`` do: find the pages, learn, keep what came out. Needs torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from wholepage.apps import comparison, contenders
from wholepage.apps.bought import read_bought
from wholepage.apps.outcome_report import write_outcome_report
from wholepage.apps.places import NotFound, open_collection
from wholepage.apps.resolve import result_vectors
from wholepage.collections import NAMES
from wholepage.collections.jsonl import WHOLE
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Grade, Judgments, Preference
from wholepage.pages.model import Page
from wholepage.pages.protocols import Collection
from wholepage.pages.records import write_judgments, write_pages
from wholepage.rankers.encoders import Progress
from wholepage.training.single_modal import fold_of
from wholepage.training.workers import Workers, on_one_thread

DEFAULT_TEST_SPLIT = "dev"
MOST_WORKERS = 8
DEMO_QUERIES, QUICK_QUERIES = 400, 80

IMAGE_ENCODERS = {
    "fashion": "mobilenet",
    "grocery": "mobilenet",
    "opencqa": None,
    "mmdocir": None,
    "financebench": None,
}
"""The picture encoder that suits a collection; None where pictures are charts and sheets, read by their words."""

FOLDS = {"grocery": 5}
"""Collections without a split to measure on: how many folds of queries to cross-validate over."""

TRANSFER = {"financebench": ("opencqa", "mmdocir")}
"""Collections without a split to learn from: which others to learn from."""


class Judged(NamedTuple):
    """Pages with what people said of them."""

    pages: list[Page]
    judgments: Judgments


def judged(
    name: str, split: str | None, *, root: Path | None = None, judgments: Path | None = None, prefix: str = ""
) -> Judged:
    """The pages of one split, in memory.

    Args:
        name: a collection by name, or a file or folder of pages.
        split: None = ``train`` where there is one, else ``all`` (a single file).
        root: the data folder, for a name.  judgments: beside a single file of pages.
        prefix: put before every query id, where several collections come together.
    Raises:
        NotFound: neither a collection nor a path that exists.
        InputError: there is no such split, or it is empty.
    """
    found = _collection(name, root, judgments)
    if split is None:
        split = WHOLE if name not in NAMES and Path(name).is_file() else "train"
    pages, said = list(found.pages(split)), found.judgments(split)
    if not pages:
        raise InputError(
            f"collection {name!r}, split {split!r}: got no pages; allowed: one at least; name another split"
        )
    return (
        Judged([_renamed(page, prefix) for page in pages], _renamed_judgments(said, prefix))
        if prefix
        else Judged(pages, said)
    )


def demo(out: Path, *, quick: bool, seed: int, progress: Progress) -> comparison.Outcome:
    """The experiment on generated pages; ``out`` then holds the model, the dev pages, their judgments and a report."""
    world = open_collection("synthetic", queries=QUICK_QUERIES if quick else DEMO_QUERIES, seed=seed)
    taught = Judged(list(world.pages("train")), world.judgments("train"))
    measured = Judged(list(world.pages("dev")), world.judgments("dev"))
    vectors = result_vectors(progress=progress)
    vectors.encode([*taught.pages, *measured.pages])
    with side_by_side() as workers:
        settings = contenders.Settings(seed=seed)
        outcome = comparison.compare(*taught, *measured, vectors, settings, workers=workers, progress=progress)
    _keep(outcome, out)
    write_pages(out / "pages.jsonl", measured.pages)
    write_judgments(out / "judgments.jsonl", measured.judgments)
    return outcome


def compare_on(
    name: str,
    *,
    root: Path | None,
    judgments: Path | None,
    train_split: str,
    test_split: str,
    folds: int | None,
    transfer_from: Sequence[str],
    strategy: str,
    labels: Path | None,
    text: str,
    image: str,
    out: Path | None,
    seed: int,
    progress: Progress,
) -> comparison.Outcome:
    """The experiment on a collection.

    Args:
        folds: cross-validate on ``train_split`` over so many folds of queries; ``test_split`` is not touched.
        transfer_from: collections whose ``train_split`` is learned from instead; the query ids get their names.
        labels: a folder of page labels that were bought before (``bought``), instead of a strategy.
        out: keeps the model and the report, and checkpoints while it runs; None = nothing is kept.
    Raises:
        NotFound: a collection, or the folder of labels, is not there.
        InputError: a split is unknown, both folds and other collections or labels are asked for, or nothing teaches.
    """
    brought = None if labels is None else read_bought(labels)
    if folds is not None and transfer_from:
        raise InputError("compare: got folds and other collections to learn from; allowed: one of them; drop either")
    if not transfer_from and folds is None:
        transfer_from = TRANSFER.get(name, ())
        folds = FOLDS.get(name) if test_split == DEFAULT_TEST_SPLIT else None
    if brought is not None and (folds is not None or transfer_from):
        raise InputError(
            "compare: got labels for folds or other collections; allowed: labels of the one training split; drop either"
        )
    encoder = picture_encoder(image, name)
    settings = contenders.Settings(strategy=strategy, seed=seed)
    kept = None if out is None else out / "checkpoints"
    if folds is not None:
        where = f"{folds} folds of {train_split}"
        whole = judged(name, train_split, root=root, judgments=judgments)
        parts = query_folds(whole.pages, folds)
        vectors = result_vectors(text, encoder, root=root, progress=progress)
        vectors.encode(whole.pages)
        with side_by_side() as workers:
            outcome = comparison.cross_validate(
                parts, whole.judgments, vectors, settings, folder=kept, workers=workers, progress=progress
            )
    else:
        where = f"{test_split}, learned from {' and '.join(transfer_from) if transfer_from else train_split}"
        measured = judged(name, test_split, root=root, judgments=judgments)
        taught = (
            together(transfer_from, train_split, root)
            if transfer_from
            else judged(name, train_split, root=root, judgments=judgments)
        )
        vectors = result_vectors(text, encoder, root=root, progress=progress)
        vectors.encode([*taught.pages, *measured.pages])
        with side_by_side() as workers:
            outcome = comparison.compare(
                *taught, *measured, vectors, settings,
                brought=brought, folder=kept, workers=workers, progress=progress,
            )  # fmt: skip
    outcome = replace(outcome, measured_on=where)
    if out is not None:
        _keep(outcome, out)
    return outcome


def picture_encoder(image: str, collection: str) -> str | None:
    """The name of the picture encoder: ``auto`` = what suits the collection, ``none`` = None."""
    if image == "auto":
        return IMAGE_ENCODERS.get(collection, "pixels")
    return None if image == "none" else image


def together(names: Sequence[str], split: str, root: Path | None) -> Judged:
    """One split of several collections; the query ids get their collections' names."""
    parts = [judged(name, split, root=root, prefix=f"{name}/") for name in dict.fromkeys(names)]
    said = Judgments()
    for part in parts:
        said = said.merge(part.judgments)
    return Judged([page for part in parts for page in part.pages], said)


def query_folds(pages: Sequence[Page], folds: int) -> list[tuple[list[Page], list[Page]]]:
    """Pairs of training and test pages; a query's fold depends on its id alone."""
    # salted: single-modal training splits by the plain hash, and would find one of its own folds empty
    at = [fold_of(f"outer fold of {page.query_id}", folds) for page in pages]
    found = []
    for fold in range(folds):
        test = [page for page, one in zip(pages, at, strict=True) if one == fold]
        if not test:
            raise InputError(
                f"folds: got {folds} for {len(pages)} queries, which leaves one empty; allowed: fewer; lower it"
            )
        found.append(([page for page, one in zip(pages, at, strict=True) if one != fold], test))
    return found


@contextmanager
def side_by_side(count: int | None = None) -> Iterator[Workers]:
    """Train one network a core, each on one thread, so that the numbers are the same on any count of cores.

    The networks are so small that threads mostly wait for each other. Frozen encoders are big; whoever uses this
    encodes its pages before.

    Args:
        count: of networks at a time; None = one a core, up to ``MOST_WORKERS``.
    """
    with on_one_thread(), Workers(count or min(MOST_WORKERS, os.cpu_count() or 1)) as workers:
        yield workers


def _keep(outcome: comparison.Outcome, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    outcome.model.save(out / "model")
    write_outcome_report(outcome, out / "report.html")
    shutil.rmtree(out / "checkpoints", ignore_errors=True)  # they resume a killed run; this one is done


def _collection(name: str, root: Path | None, judgments: Path | None) -> Collection:
    if name in NAMES and name != "jsonl":
        return open_collection(name, root)
    if not Path(name).exists():
        raise NotFound(
            f"collection: got {name!r}; allowed: {', '.join(n for n in NAMES if n != 'jsonl')}, or a file or folder of "
            "pages that exists; check the name or path"
        )
    return open_collection("jsonl", Path(name), **({} if judgments is None else {"judgments_path": judgments}))


def _renamed(page: Page, prefix: str) -> Page:
    query = msgspec.structs.replace(page.query, query_id=f"{prefix}{page.query_id}")
    return msgspec.structs.replace(page, query=query)


def _renamed_judgments(said: Judgments, prefix: str) -> Judgments:
    grades: list[Grade] = []
    preferences: list[Preference] = []
    for answer in said:
        renamed = msgspec.structs.replace(answer, query_id=f"{prefix}{answer.query_id}")
        if isinstance(renamed, Grade):
            grades.append(renamed)
        else:
            preferences.append(renamed)
    return Judgments(grades, preferences)
