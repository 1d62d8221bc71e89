"""The page reranker from few page judgments, step by step: python examples/train_on_few_judgments.py

Small on purpose, so that it ends in seconds: it shows the steps, not how good the method is (that is `wholepage demo`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

import wholepage
from wholepage.annotation.selection import Random, select
from wholepage.apps.resolve import result_vectors
from wholepage.evaluation.measures import evaluate
from wholepage.rankers.fusion import ZScoreMerge
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_smar

torch.set_num_threads(1)  # the networks are tiny
world = wholepage.open_collection("synthetic", queries=24, seed=3)
pages, judgments = list(world.pages("train")), world.judgments("train")

with tempfile.TemporaryDirectory() as folder:
    vectors = result_vectors("minilm", "pixels", cache=folder)  # frozen encoders; each thing is encoded once

    # 1. One ranker a modality, from the order of labels inside that modality alone.
    single = fit_single_modal(pages, judgments, vectors, TowerConfig(folds=2, loop=LoopConfig(epochs=5)))

    # 2. A tenth of the page judgments is bought; the others are never looked at.
    selection = select(pages, single.teachers, Random(0.1), seed=0)
    bought = judgments.restrict(selection.bought)
    print(f"bought {len(bought)} of {selection.full} page judgments")

    # 3. The page reranker learns from them, kept consistent with the single-modal rankers.
    ranker = fit_smar(pages, bought, single, vectors, SmarConfig(members=1, loop=LoopConfig(epochs=5)))

    # 4. A model folder: tensors and a manifest, nothing that runs code when read.
    ranker.save(Path(folder) / "model")
    again = wholepage.load(Path(folder) / "model", cache=folder)

    test = list(world.pages("dev"))
    for name, one in {"z-score merge": ZScoreMerge(single.upstream), "page reranker": again}.items():
        measured = evaluate(one.rank(test), world.judgments("dev"), ["nDCG@10"])
        print(f"{name}: nDCG@10 {measured.mean('nDCG@10'):.3f}")
