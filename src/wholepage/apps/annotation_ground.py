"""Pages of a collection with the order of each list, as campaigns are simulated on them. Needs torch for ``towers``.

``towers`` are the single-modal rankers that ``compare`` trains, from labels inside one modality; each list of the
training split is ordered by towers that have not seen it, as new lists will be. ``offline`` trains nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wholepage.apps.campaigns import Orders
from wholepage.apps.experiments import judged, picture_encoder, side_by_side
from wholepage.apps.places import open_collection
from wholepage.apps.resolve import result_vectors
from wholepage.apps.simulation import Ground, Report
from wholepage.apps.to_annotate import orders_by_model
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import Page
from wholepage.pages.protocols import ranking_of
from wholepage.training.single_modal import TowerConfig, fit_single_modal

RankedBy = Literal["towers", "offline"]


def ground(
    name: str,
    *,
    split: str = "train",
    root: Path | None = None,
    queries: int | None = None,
    ranked_by: RankedBy = "towers",
    levels: int = 4,
    report: Report,
) -> Ground:
    """The pages of a split, their lists in order, and the truth about them.

    Args:
        name: a collection, or a file or folder of pages with judgments.
        queries: size of the generated collection, ``synthetic`` alone.
        ranked_by: who orders the lists.
    Raises:
        NotFound: the collection is not there.
        InputError: nothing teaches the rankers, or the collection has no grades to simulate people by.
    """
    if queries is not None and name != "synthetic":
        raise InputError(
            f"simulate: got queries={queries} for {name!r}; allowed: for 'synthetic' alone, which is generated; use "
            "--pages to take a part"
        )
    if queries is not None:
        world = open_collection(name, queries=queries)
        pages, said = list(world.pages(split)), world.judgments(split)
    else:
        pages, said = judged(name, split, root=root)
    pages = [part for page in pages if len(part := page.keep(said.by_result(page.query_id)))]
    truth = _truth(pages, said, levels)
    if ranked_by == "offline":
        return Ground(pages, [dict(of) for of in orders_by_model(pages, None, root, report)], truth)
    vectors = result_vectors(image=picture_encoder("auto", name), root=root, progress=report)
    vectors.encode(pages)
    with side_by_side() as workers:
        fit = fit_single_modal(pages, said, vectors, TowerConfig(), workers=workers, progress=report)
    return Ground(pages, _complete(pages, fit.out_of_fold), truth)


def _complete(pages: Sequence[Page], scores: Sequence[NDArray[np.float32]]) -> list[Orders]:
    """The order of every list by its scores; a list without any is in an order that tells nothing.

    Results without an opinion come last, in the order of a hash: that in which a page was received may tell grades.
    """
    orders: list[Orders] = []
    for page, given in zip(pages, scores, strict=True):
        kinds = np.array([result.modality.value for result in page.results])
        of = {}
        for modality in page.modalities:
            mine = given[kinds == modality.value]
            part = page.only(modality)
            shuffled = _shuffled(part)
            turned = Page(part.query, tuple(part.results[i] for i in shuffled))
            of[modality] = ranking_of(turned, mine[shuffled], f"{modality.value}-tower")
        orders.append(of)
    return orders


def _shuffled(page: Page) -> list[int]:
    def place(index: int) -> bytes:
        return hashlib.sha256(f"{page.query_id}\x00{page.result_ids[index]}".encode()).digest()

    return sorted(range(len(page)), key=place)


def _truth(pages: Sequence[Page], said: Judgments, levels: int) -> Judgments:
    grades = []
    for page in pages:
        for result_id, grade in said.by_result(page.query_id).items():
            if result_id not in page.result_ids:
                continue
            if grade not in range(levels):
                raise InputError(
                    f"simulate: query {page.query_id!r}: result {result_id!r} has grade {grade:g}; allowed: whole "
                    f"numbers from 0 to {levels - 1}; set --levels, or round the grades"
                )
            grades.append(Grade(page.query_id, result_id, grade))
    if not grades:
        raise InputError("simulate: got pages without grades; allowed: judged ones; bring judgments")
    return Judgments(grades)
