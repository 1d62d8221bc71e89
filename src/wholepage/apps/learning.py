"""What ``wholepage train`` does: from a recipe to a model folder. Needs torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.annotation.buying import Purchase, buy
from wholepage.annotation.oracles import PerfectAnnotator
from wholepage.annotation.selection import Active, Anchors, parse_strategy, select
from wholepage.apps.bought import Bought, check_brought, read_bought
from wholepage.apps.experiments import Judged, judged, picture_encoder, side_by_side
from wholepage.apps.places import open_collection
from wholepage.apps.recipes import Data, ModelFolder, Recipe
from wholepage.apps.resolve import result_vectors, single_modal
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page
from wholepage.pages.protocols import Scorer
from wholepage.rankers.encoders import Progress
from wholepage.rankers.features import Featurizer
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.page_head import head_spread
from wholepage.rankers.whole_page import WholePageRanker
from wholepage.training.calibrate import fit_calibration
from wholepage.training.cross_encoder import CrossEncoderConfig
from wholepage.training.distill import distill
from wholepage.training.loop_processes import Processes
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_ranker, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_featurizer, fit_smar
from wholepage.training.workers import Workers

SMALL = "-small"
"""What the folder of the distilled model is called after."""


def train_smar(recipe: Recipe, out: Path, *, progress: Progress) -> dict[str, Any]:
    """Train the page reranker from raw labels, and keep it in ``out``; a small copy beside it where one is asked for.

    Returns:
        What the model was made of: labels, pages, strategy, settings.
    Raises:
        NotFound: the collection, or a model folder named, is not there.
        InputError: the strategy is unknown or cannot be bought, nothing teaches, or several processes were launched.
        WeightsError: a model folder named is of another kind, or damaged.
    """
    _check_alone("smar")
    pages, said = _pages(recipe.data)
    encoder = picture_encoder(recipe.encoders.image, recipe.data.name)
    vectors = result_vectors(recipe.encoders.text, encoder, root=recipe.data.root, progress=progress)
    vectors.encode(pages)
    rankers = {modality: _kind(kind, vectors) for modality, kind in recipe.single.items()}
    kept = out.with_name(f"{out.name}.checkpoints")
    facts: dict[str, Any] = {"text": recipe.encoders.text, "image": encoder, "seed": recipe.select.seed}
    facts |= {"single": recipe.single_facts()} if recipe.single else {}
    with side_by_side() as workers:
        fit = fit_single_modal(
            pages, said, vectors, rankers=rankers, folder=kept / "single", workers=workers, progress=progress
        )
        run = _Run(pages, said, fit, vectors, recipe.smar, kept, workers, progress)
        bought = run.buy(recipe)
        facts |= {"strategy": bought.strategy, "selected": bought.labels}
        if fit.truncated:
            facts["truncated"] = {modality.value: count for modality, count in fit.truncated.items()}
        ranker = run.train(bought, recipe, facts)
        ranker.save(out)
        if recipe.distill is not None:
            small = distill(
                ranker, pages, recipe.distill, single_modal=fit.out_of_fold, folder=kept / "small", progress=progress
            )
            small.save(out.with_name(out.name + SMALL))
    shutil.rmtree(kept)  # they resume a killed run; this one is done
    return {"model": str(out), "collection": recipe.data.name, **ranker.made_of}


def train_single(modality: Modality, recipe: Recipe, out: Path, *, progress: Progress) -> dict[str, Any]:
    """Train the ranker of one modality from that modality's labels alone, and keep it in ``out``.

    Returns:
        What it was made of.
    Raises:
        NotFound: the collection is not there.
        InputError: too few pages teach, the recipe names a model instead of how to train one, or several processes
            were launched.
    """
    _check_alone(modality.value)
    kind = recipe.single.get(modality, TowerConfig())
    if isinstance(kind, ModelFolder):
        raise InputError(
            f"train {modality.value}: got kind 'model' in [single.{modality.value}], which is trained already; "
            "allowed: 'tower' or 'cross-encoder'; change the recipe"
        )
    pages, said = _pages(recipe.data)
    encoder = picture_encoder(recipe.encoders.image, recipe.data.name)
    vectors = None
    if isinstance(kind, TowerConfig):
        vectors = result_vectors(recipe.encoders.text, encoder, root=recipe.data.root, progress=progress)
        vectors.encode([page.only(modality) for page in pages])
    kept = out.with_name(f"{out.name}.checkpoints")
    with side_by_side() as workers:
        trained = fit_ranker(modality, pages, said, kind, vectors, folder=kept, workers=workers, progress=progress)
    trained.scorer.save(out)
    shutil.rmtree(kept)
    return {
        "model": str(out),
        "collection": recipe.data.name,
        "kind": trained.scorer.kind,
        "modality": modality.value,
        "labels": trained.labels,
        "truncated": trained.truncated,
        "config": msgspec.to_builtins(kind),
    }


def _check_alone(what: str) -> None:
    """Refuse launchers: each of their processes would buy labels, start workers of its own and write the same files."""
    count = Processes().count
    if count > 1:
        raise InputError(
            f"train {what}: got {count} processes; allowed: one, which trains its networks side by side by itself; "
            "start it without a launcher (`train nexus` takes one)"
        )


def _pages(data: Data) -> Judged:
    if data.queries is None and data.seed is None:
        root = None if data.root is None else Path(data.root)
        return judged(
            data.name, data.split, root=root, judgments=None if data.judgments is None else Path(data.judgments)
        )
    given: dict[str, Any] = {"queries": data.queries, "seed": data.seed}
    world = open_collection(data.name, **{name: value for name, value in given.items() if value is not None})
    split = data.split or "train"
    return Judged(list(world.pages(split)), world.judgments(split))


def _kind(
    kind: TowerConfig | CrossEncoderConfig | ModelFolder, vectors: ResultVectors
) -> TowerConfig | CrossEncoderConfig | Scorer:
    return single_modal(kind.folder, vectors=vectors) if isinstance(kind, ModelFolder) else kind


class _Run:
    """The part of a training in which page labels are bought and learned from."""

    def __init__(
        self,
        pages: Sequence[Page],
        said: Judgments,
        fit: SingleModalFit,
        vectors: ResultVectors,
        smar: SmarConfig,
        kept: Path,
        workers: Workers,
        progress: Progress,
    ) -> None:
        self.pages, self.said, self.fit, self.vectors, self.smar = pages, said, fit, vectors, smar
        self.kept, self.workers, self.progress = kept, workers, progress
        self.featurizer: Featurizer = fit_featurizer(pages, fit, vectors, smar)

    def buy(self, recipe: Recipe) -> Bought:
        """The page labels that the strategy buys of those there are, or that were bought in a campaign."""
        if recipe.select.labels is not None:
            brought = read_bought(Path(recipe.select.labels))
            check_brought(self.pages, brought)
            return brought
        return Bought.of(self._purchase(recipe))

    def _purchase(self, recipe: Recipe) -> Purchase:
        strategy, seed = parse_strategy(recipe.select.spec), recipe.select.seed
        if isinstance(strategy, Active | Anchors):
            doubts = self._doubts(strategy) if isinstance(strategy, Active) else None
            return buy(self.pages, self.fit.teachers, strategy, PerfectAnnotator(self.said), seed=seed, doubts=doubts)
        # What to ask does not hang on answers: results that nobody judged are left out, and cost nothing.
        selection = select(self.pages, self.fit.teachers, strategy, seed=seed)
        return Purchase(selection, self.said.restrict(selection.bought))

    def train(self, bought: Bought, recipe: Recipe, facts: dict[str, Any]) -> WholePageRanker:
        """The page reranker, calibrated where the recipe says so."""
        ranker = self._fit(bought.judgments, "page", bought.weights, facts)
        if recipe.calibrate is None:
            return ranker
        calibration = fit_calibration(
            self.pages,
            bought.judgments,
            self.fit,
            self.vectors,
            self.smar,
            recipe.calibrate,
            weights=bought.weights or None,
            featurizer=self.featurizer,
            folder=self.kept / "calibrate",
            workers=self.workers,
            progress=self.progress,
        )
        return ranker.calibrated(calibration)

    def _fit(
        self, given: Judgments, place: str, weights: Mapping[str, Mapping[str, float]], facts: dict[str, Any]
    ) -> WholePageRanker:
        return fit_smar(
            self.pages,
            given,
            self.fit,
            self.vectors,
            self.smar,
            featurizer=self.featurizer,
            weights=weights or None,
            folder=self.kept / place,
            workers=self.workers,
            made_of=facts,
            progress=self.progress,
        )

    def _doubts(self, strategy: Active) -> Callable[[Judgments], Sequence[NDArray[np.floating]]]:
        if strategy.by != "committee":
            raise InputError(
                f"[select] strategy: got {strategy.spec}; allowed: by=committee, for the ranker is not calibrated "
                "while labels are bought; change it"
            )
        items = self.featurizer.read(self.pages, self.fit.out_of_fold)

        def doubts(so_far: Judgments) -> Sequence[NDArray[np.floating]]:
            return head_spread(self._fit(so_far, f"round-{len(so_far)}", {}, {}).heads, items)[1]

        return doubts
