"""The two rankers of ``ab_smar``: SMAR with a tenth of the page labels and the z-score merge, on pages kept on disk.

They are trained once, as ``wholepage compare`` trains them; what they rank is kept as files, so that a second run
starts there. Kept pages hold ids and modalities, which is all that simulated users look at.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from wholepage.annotation.buying import buy
from wholepage.annotation.oracles import PerfectAnnotator
from wholepage.annotation.selection import parse_strategy
from wholepage.apps.bought import Bought
from wholepage.apps.contenders import Settings
from wholepage.apps.experiments import DEMO_QUERIES, Judged, judged, picture_encoder, side_by_side
from wholepage.apps.places import open_collection
from wholepage.apps.resolve import result_vectors
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Page, Query, Ranking, Result
from wholepage.pages.records import (
    read_judgments,
    read_pages,
    read_rankings,
    write_judgments,
    write_pages,
    write_rankings,
)
from wholepage.rankers.fusion import ZScoreMerge
from wholepage.training.single_modal import fit_single_modal
from wholepage.training.smar import fit_featurizer, fit_smar

SMAR, ZSCORE = "smar_10", "zscore"
SHARE = 0.1
_WORDS, _PICTURE = "(not kept)", "not-kept.png"


class World(NamedTuple):
    """Pages that nobody trained on, what is known of them, and how the two rank them."""

    pages: list[Page]
    judgments: Judgments
    rankings: dict[str, list[Ranking]]


def world(collection: str, folder: Path, *, root: Path | None, queries: int = DEMO_QUERIES, seed: int = 0) -> World:
    """The dev pages of a collection, ranked by both; from the folder where they are kept, else trained for now."""
    place = folder / f"{collection}-{queries}-{seed}" if collection == "synthetic" else folder / f"{collection}-{seed}"
    files = [place / "pages.jsonl", place / "judgments.jsonl", *(place / f"{name}.jsonl" for name in (SMAR, ZSCORE))]
    if not all(file.is_file() for file in files):
        place.mkdir(parents=True, exist_ok=True)
        made = _made(collection, root, queries, seed)
        write_pages(files[0], map(_bare, made.pages))
        write_judgments(files[1], made.judgments)
        for file, name in zip(files[2:], (SMAR, ZSCORE), strict=True):
            write_rankings(file, made.rankings[name])
    rankings = {name: list(read_rankings(place / f"{name}.jsonl")) for name in (SMAR, ZSCORE)}
    return World(list(read_pages(files[0])), read_judgments(files[1]), rankings)


def _made(collection: str, root: Path | None, queries: int, seed: int) -> World:
    taught, measured = (_side(collection, split, root, queries, seed) for split in ("train", "dev"))
    vectors = result_vectors("minilm", picture_encoder("auto", collection), root=root)
    vectors.encode([*taught.pages, *measured.pages])
    settings = Settings(seed=seed)
    towers, smar = (
        msgspec.structs.replace(one, loop=msgspec.structs.replace(one.loop, seed=seed))
        for one in (settings.towers, settings.smar)
    )
    with side_by_side(1) as workers:
        fit = fit_single_modal(taught.pages, taught.judgments, vectors, towers, workers=workers)
        featurizer = fit_featurizer(taught.pages, fit, vectors, smar)
        strategy = parse_strategy(f"{settings.strategy}(p={SHARE})")
        bought = Bought.of(buy(taught.pages, fit.teachers, strategy, PerfectAnnotator(taught.judgments), seed=seed))
        head = fit_smar(
            taught.pages, bought.judgments, fit, vectors, smar,
            featurizer=featurizer, weights=bought.weights, workers=workers, name=SMAR,
        )  # fmt: skip
    rankings = {
        name: [Ranking(r.query_id, r.result_ids, r.scores, name) for r in ranker.rank(measured.pages)]
        for name, ranker in ((SMAR, head), (ZSCORE, ZScoreMerge(fit.upstream)))
    }
    return World(measured.pages, measured.judgments, rankings)


def _side(collection: str, split: str, root: Path | None, queries: int, seed: int) -> Judged:
    if collection != "synthetic":
        return judged(collection, split, root=root)
    found = open_collection("synthetic", queries=queries, seed=seed)
    return Judged(list(found.pages(split)), found.judgments(split))


def _bare(page: Page) -> Page:
    results = tuple(
        Result(result.result_id, result.modality, _WORDS, tuple(ImageRef(_PICTURE) for _ in result.images[:1]))
        for result in page.results
    )
    return Page(Query(page.query.query_id, page.query.text), results)
