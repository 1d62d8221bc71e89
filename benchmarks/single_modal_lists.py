"""Real lists in the order of real single-modal rankers: what annotation engines are measured on.

    .venv/bin/python benchmarks/single_modal_lists.py --root DATA --out runs/lists

Writes one JSON file a collection. Rankers are small towers trained on the labels of the training split's modality alone
(as ``wholepage compare`` trains them), or the sentence encoder, trained on nothing, where every result has words. Lists
of the training split are in the order of towers that have not seen them, as new lists will be. ``chorus`` is a list of
products a query, with the ratings of three people beside the final one.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from wholepage.apps.experiments import FOLDS, TRANSFER, judged, picture_encoder, query_folds, side_by_side, together
from wholepage.apps.resolve import result_vectors
from wholepage.apps.study_ground import teachers_of
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Query, Result
from wholepage.pages.protocols import by_score
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.text import BiEncoderScorer
from wholepage.training.single_modal import TowerConfig, fit_single_modal
from wholepage.training.workers import Workers

COLLECTIONS = ("fashion", "opencqa", "mmdocir", "grocery", "financebench")
CHORUS = "chorus"
_RATERS = ("agent1", "agent2", "agent3")


class List(msgspec.Struct, frozen=True):
    """One list: the results of one modality of one page.

    Attributes:
        side: ``train`` or ``test``, as the collection was split for the rankers.
        ranker: ``towers`` or ``words``.
        grades: as the collection has them, in the ranker's order, best first.
        ratings: of ``chorus``, each rater's grades in the same order.
    """

    collection: str
    side: str
    ranker: str
    query: str
    modality: str
    grades: tuple[int, ...]
    ratings: tuple[tuple[int, ...], ...] = ()


def read_lists(path: Path) -> list[List]:
    """The lists of one collection."""
    return msgspec.json.decode(path.read_bytes(), type=list[List])


def write_lists(name: str, root: Path, out: Path) -> None:
    """Order the lists of one collection and write their file."""
    out.mkdir(parents=True, exist_ok=True)
    found = rated_lists(root) if name == CHORUS else lists_of(name, root)
    (out / f"{name}.json").write_bytes(msgspec.json.encode(found))


def lists_of(name: str, root: Path) -> list[List]:
    """Train rankers for a collection, and order its lists."""
    picture = picture_encoder("auto", name)
    vectors = result_vectors(image=picture, root=root)
    with side_by_side(1) as workers:
        if name in FOLDS:
            whole = judged(name, "train", root=root)
            vectors.encode(whole.pages)
            found = []
            for _, (train, test) in zip(range(FOLDS[name]), query_folds(whole.pages, FOLDS[name]), strict=True):
                both = _by_towers(name, train, test, whole.judgments, vectors, workers)
                found += [one for one in both if one.side == "test"]
            train, test, said = [], whole.pages, whole.judgments
        else:
            measured = judged(name, "dev", root=root)
            taught = together(TRANSFER[name], "train", root) if name in TRANSFER else judged(name, "train", root=root)
            vectors.encode([*taught.pages, *measured.pages])
            said = taught.judgments.merge(measured.judgments)
            found = _by_towers(name, taught.pages, measured.pages, said, vectors, workers)
            train, test = taught.pages, measured.pages
    return found + _by_words(name, train, test, said, vectors)


def rated_lists(root: Path) -> list[List]:
    """The products of each query that three people rated, by the likeness of their titles to the query."""
    folder = root / "chorus_products"
    with gzip.open(folder / "products.jsonl.gz", "rt", encoding="utf-8") as lines:
        titles = {product["id"]: product.get("title") or product["name"] for product in map(json.loads, lines)}
    rated: dict[str, list[dict[str, str]]] = defaultdict(list)
    with gzip.open(folder / "ratings_3agents.tsv.gz", "rt", encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows, delimiter="\t"):
            if titles.get(row["docid"], "").strip():
                rated[row["query"]].append(row)
    ranker = by_score(BiEncoderScorer(result_vectors(image=None).text))
    found = []
    for query, of in sorted(rated.items()):
        results = tuple(Result(row["docid"], Modality.TEXT, titles[row["docid"]]) for row in of)
        (ranking,) = ranker.rank([Page(Query(query, query), results)])
        by_id = {row["docid"]: row for row in of}
        said = [tuple(int(by_id[i][who]) for i in ranking.result_ids) for who in ("final", *_RATERS)]
        found.append(List(CHORUS, "test", "words", query, "text", said[0], tuple(said[1:])))
    return found


def _by_towers(
    name: str, train: Sequence[Page], test: Sequence[Page], said: Judgments, vectors: ResultVectors, workers: Workers
) -> list[List]:
    fit = fit_single_modal(train, said, vectors, TowerConfig(), workers=workers)
    sides = (("train", train, fit.out_of_fold), ("test", test, fit.upstream.score(test)))
    found = []
    for side, pages, scores in sides:
        for page, values in zip(pages, scores, strict=True):
            for modality, ranking in teachers_of(page, values, list(Modality)).items():
                mine = values[[result.modality is modality for result in page.results]]
                if not np.isnan(mine).all():
                    found.append(_list(name, side, "towers", modality, page, ranking.result_ids, said))
    return found


def _by_words(
    name: str, train: Sequence[Page], test: Sequence[Page], said: Judgments, vectors: ResultVectors
) -> list[List]:
    ranker = by_score(BiEncoderScorer(vectors.text))
    found = []
    for side, pages in (("train", train), ("test", test)):
        for modality in Modality:
            parts = [page.only(modality) for page in pages if modality in page.modalities]
            worded = [part for part in parts if all(result.text.strip() for result in part.results)]
            found += [
                _list(name, side, "words", modality, page, ranking.result_ids, said)
                for page, ranking in zip(worded, ranker.rank(worded), strict=True)
            ]
    return found


def _list(
    name: str, side: str, ranker: str, modality: Modality, page: Page, ids: Sequence[str], said: Judgments
) -> List:
    grades = said.by_result(page.query_id)
    return List(name, side, ranker, page.query_id, modality.value, tuple(round(grades[i]) for i in ids))


def main() -> None:
    """Order the lists of every collection named, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the data folder")
    parser.add_argument("--out", type=Path, default=Path("runs/lists"))
    parser.add_argument("--only", nargs="*", choices=(*COLLECTIONS, CHORUS), default=[*COLLECTIONS, CHORUS])
    asked = parser.parse_args()
    for name in asked.only:
        write_lists(name, asked.root, asked.out)


if __name__ == "__main__":
    main()
