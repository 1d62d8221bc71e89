"""What the cells of a study stand on: pages read once, by single-modal rankers trained once, kept in a folder.

Every cell trains on the same reading of the same pages. A ground holds that reading and no text or picture, so that
each process of a study can open it at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.pages.protocols import ranking_of
from wholepage.rankers.features import Featurizer, PageItems
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.weights import load_model, save_model
from wholepage.training.folds import labels_of
from wholepage.training.loop import Progress
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_featurizer
from wholepage.training.workers import Workers

KIND = "study-ground"
_MODALITIES = list(Modality)


@dataclass(frozen=True)
class Side:
    """Pages of one side, training or test, as the rankers read them.

    Attributes:
        pages: ids and modalities only.
        single: raw single-modal scores, NaN = no opinion; out of fold on the training side.
        taught: the teachers' scores, NaN = no opinion.
        known: the modalities that have a teacher; none on the test side.
    Shapes:
        single, taught: [len(page)] each
    """

    pages: list[Page]
    judgments: Judgments
    items: list[PageItems]
    single: list[NDArray[np.float32]]
    taught: list[NDArray[np.float32]]
    known: tuple[Modality, ...]

    def teachers(self) -> list[dict[Modality, Ranking]]:
        """How each page's modalities are ordered by their teachers."""
        return [teachers_of(page, scores, self.known) for page, scores in zip(self.pages, self.taught, strict=True)]


@dataclass(frozen=True)
class Ground:
    """Training and test side of one fold.

    Attributes:
        read_as: modalities that training does not hold -> the known ones they are read as.
    """

    train: Side
    test: Side
    read_as: dict[Modality, Modality]


def teachers_of(page: Page, scores: NDArray[np.float32], known: Sequence[Modality]) -> dict[Modality, Ranking]:
    """The order of each modality that has a teacher."""
    found = {}
    for modality in page.modalities:
        if modality in known:
            mine = scores[[result.modality is modality for result in page.results]]
            found[modality] = ranking_of(page.only(modality), mine, f"{modality.value}-teacher")
    return found


def content_of(pages: Iterable[Page], judgments: Judgments) -> str:
    """A hash of pages and of what is said of them."""
    digest = hashlib.sha256()
    for page in pages:
        digest.update(msgspec.json.encode(page, order="deterministic"))
        digest.update(msgspec.json.encode(sorted(judgments.by_result(page.query_id).items())))
    return digest.hexdigest()


def thinned(page: Page, ratio: int) -> Page:
    """The page with its commonest modality whole, and of each other one result for every ``ratio`` of those.

    Which are kept is a hash of query and result; at least one is. A ratio of 0 keeps the page as it is.
    """
    sizes = {modality: len(page.only(modality)) for modality in page.modalities}
    if ratio == 0 or len(sizes) < 2:
        return page
    most = max(sizes, key=lambda modality: sizes[modality])
    kept = set(page.only(most).result_ids)
    for modality in sizes:
        if modality is not most:
            ids = sorted(page.only(modality).result_ids, key=lambda i: _hash(page.query_id, i))
            kept.update(ids[: max(1, sizes[most] // ratio)])
    return page.keep(kept)


def prepare(
    places: dict[int, Path],
    train: tuple[Sequence[Page], Judgments],
    test: tuple[Sequence[Page], Judgments],
    vectors: ResultVectors,
    towers: TowerConfig,
    smar: SmarConfig,
    *,
    folder: Path,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> None:
    """Train the single-modal rankers, read the pages, and write one ground a ratio.

    Args:
        places: ratio (see ``thinned``) -> the folder to write; all share the single-modal rankers.
        folder: keeps checkpoints while they are trained.
    """
    pages, said = list(train[0]), train[1]
    fit = fit_single_modal(pages, said, vectors, towers, folder=folder, workers=workers, progress=progress)
    taught = [_teacher_scores(page, by) for page, by in zip(pages, fit.teachers, strict=True)]
    known = [modality for modality in Modality if any(modality in by for by in fit.teachers)]
    for done, (ratio, place) in enumerate(sorted(places.items())):
        learned = [thinned(page, ratio) for page in pages]
        rows = [_kept(page, part) for page, part in zip(pages, learned, strict=True)]
        part_fit = SingleModalFit(
            fit.upstream,
            [scores[keep] for scores, keep in zip(fit.out_of_fold, rows, strict=True)],
            [teachers_of(part, s[keep], known) for part, s, keep in zip(learned, taught, rows, strict=True)],
            fit.labels,
        )
        featurizer = fit_featurizer(learned, part_fit, vectors, smar)
        measured = [thinned(page, ratio) for page in test[0]]
        sides = {
            "train": (
                learned,
                said,
                featurizer.read(learned, part_fit.out_of_fold),
                part_fit.out_of_fold,
                [scores[keep] for scores, keep in zip(taught, rows, strict=True)],
            ),
            "test": _test_side(measured, test[1], featurizer),
        }
        _save(place, sides, featurizer, known)
        if progress:
            progress(done + 1, len(places), "reading pages")


def load(folder: Path) -> Ground:
    """Read a ground.

    Raises:
        WeightsError: it is none, or damaged.
    """
    config, arrays = load_model(folder, KIND)
    read_as = {Modality(a): Modality(b) for a, b in config["read_as"].items()}
    known = tuple(Modality(name) for name in config["known"])
    return Ground(_side(config["train"], arrays, "train", known), _side(config["test"], arrays, "test", ()), read_as)


_Contents = tuple[
    Sequence[Page], Judgments, Sequence[PageItems], Sequence[NDArray[np.float32]], Sequence[NDArray[np.float32]]
]


def _test_side(pages: Sequence[Page], judgments: Judgments, featurizer: Featurizer) -> _Contents:
    scores = featurizer.upstream.score(pages)
    return pages, judgments, featurizer.read(pages, scores), scores, [np.full_like(s, np.nan) for s in scores]


def _save(place: Path, sides: dict[str, _Contents], featurizer: Featurizer, known: Sequence[Modality]) -> None:
    config: dict[str, Any] = {
        "read_as": {a.value: b.value for a, b in featurizer.read_as.items()},
        "known": [modality.value for modality in known],
    }
    arrays: dict[str, NDArray[Any]] = {}
    for name, (pages, judgments, items, single, taught) in sides.items():
        config[name] = [
            {
                "query": page.query_id,
                "results": list(page.result_ids),
                "modalities": [_MODALITIES.index(result.modality) for result in page.results],
            }
            for page in pages
        ]
        grades = [labels_of(page, judgments) for page in pages]
        arrays |= {
            f"{name}.query": np.stack([of.query for of in items]),
            f"{name}.user": np.stack([of.user for of in items]),
            f"{name}.item": np.concatenate([of.item for of in items]),
            f"{name}.numbers": np.concatenate([of.numbers for of in items]),
            f"{name}.group": np.concatenate([of.group for of in items]),
        }
        for what, lists in (("single", single), ("taught", taught), ("grades", grades)):
            values = np.concatenate(list(lists)).astype(np.float32)
            arrays[f"{name}.{what}"] = np.nan_to_num(values)  # files of numbers hold finite ones only
            arrays[f"{name}.{what}.known"] = ~np.isnan(values)
    save_model(place, KIND, config, arrays)


def _side(
    pages_told: list[dict[str, Any]], arrays: dict[str, NDArray[Any]], name: str, taught: tuple[Modality, ...]
) -> Side:
    pages = [_light(told) for told in pages_told]
    stops = np.cumsum([len(page) for page in pages])[:-1]

    def cut(what: str) -> list[NDArray[Any]]:
        return [np.array(part) for part in np.split(arrays[f"{name}.{what}"], stops)]

    def known(what: str) -> list[NDArray[np.float32]]:
        return [
            np.where(seen, values, np.nan).astype(np.float32)
            for values, seen in zip(cut(what), cut(f"{what}.known"), strict=True)
        ]

    items = [
        PageItems(query=query, item=item, numbers=numbers, group=group, user=user)
        for query, item, numbers, group, user in zip(
            arrays[f"{name}.query"], cut("item"), cut("numbers"), cut("group"), arrays[f"{name}.user"], strict=True
        )
    ]
    grades = [
        Grade(page.query_id, result_id, float(grade))
        for page, of in zip(pages, known("grades"), strict=True)
        for result_id, grade in zip(page.result_ids, of, strict=True)
        if not np.isnan(grade)
    ]
    return Side(pages, Judgments(grades), items, known("single"), known("taught"), taught)


def _light(told: dict[str, Any]) -> Page:
    """A page of ids and modalities; its contents stayed where they were."""
    results = []
    for result_id, code in zip(told["results"], told["modalities"], strict=True):
        modality = _MODALITIES[code]
        seen = modality in (Modality.IMAGE, Modality.VIDEO)
        results.append(Result(result_id, modality, "" if seen else "-", (ImageRef("left-out"),) if seen else ()))
    return Page(Query(told["query"]), tuple(results))


def _teacher_scores(page: Page, teachers: dict[Modality, Ranking]) -> NDArray[np.float32]:
    by_id: dict[str, float | None] = {}
    for ranking in teachers.values():
        by_id |= dict(zip(ranking.result_ids, ranking.scores or (), strict=True))
    found = [by_id.get(result_id) for result_id in page.result_ids]
    return np.array([np.nan if score is None else score for score in found], np.float32)


def _kept(page: Page, part: Page) -> NDArray[np.intp]:
    ids = set(part.result_ids)
    return np.array([i for i, result in enumerate(page.results) if result.result_id in ids], np.intp)


def _hash(*parts: str) -> bytes:
    return hashlib.sha256(msgspec.json.encode(parts)).digest()
