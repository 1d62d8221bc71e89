"""A listwise ranker trained on a Ray cluster: Ray Train starts the processes, recipe and loop are the usual ones.

    pip install '.[train,cli,annotate]' 'ray[train]>=2.60'
    python deploy/ray_train.py recipes/nexus_qwen3_vl_2b.toml --workers 8 --gpus 1 --storage /shared/ray
    python deploy/ray_train.py recipes/nexus_synthetic_cpu.toml --workers 2 --storage /tmp/ray   # no GPU

Each worker does what a process of ``torchrun ... -m wholepage train nexus`` does: Ray tells it rank and address, the
loop sums the gradients; with ``--share`` they share the student's layers. The folder of the model, with its checkpoints
beside it, must lie where all workers see it; a run that lost a worker is started again from there, as often as
``--failures`` says.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from wholepage.apps.nexus_recipe import read_nexus_recipe
from wholepage.apps.nexus_run import TABLE, train_nexus
from wholepage.pages.errors import InputError, WholepageError
from wholepage.training.loop_processes import SHARED


def train_here(told: dict[str, Any]) -> None:
    """What each worker does; the first writes the model folder, which says what the stages did.

    Args:
        told: ``recipe`` and ``out`` as absolute paths, ``seed`` or None, and whether to ``share`` layers.
    Raises:
        Whatever training raises.
    """
    if told["share"]:
        os.environ[SHARED] = "true"
    recipe = read_nexus_recipe(Path(told["recipe"]))
    train_nexus(recipe if told["seed"] is None else recipe.seeded(told["seed"]), Path(told["out"]))


def trainer(
    recipe: Path,
    out: Path | None,
    *,
    storage: str,
    workers: int = 1,
    gpus: float = 0.0,
    cpus: float = 1.0,
    failures: int = 0,
    seed: int | None = None,
    timeout_s: int = 24 * 3600,
    share: bool = False,
) -> TorchTrainer:
    """The training, ready to be started with ``fit()``.

    Args:
        recipe: of ``wholepage train nexus``.
        out: the model folder; None = the recipe's.
        storage: a folder or address that all nodes reach, for what Ray itself keeps.
        workers: processes.  gpus, cpus: that each reserves.
        failures: how often the run is started again after a worker was lost.
        seed: in place of the recipe's; None = its own.
        timeout_s: for which a process waits for the others.
        share: whether each keeps only a part of the student's layers.
    Raises:
        InputError: no worker, no folder for the model, or a recipe that cannot be read.
    """
    if workers < 1 or gpus < 0 or cpus < 0 or failures < 0:
        raise InputError(
            f"ray_train: got {workers} workers, {gpus} GPUs, {cpus} CPUs, {failures} failures; allowed: from 1, and "
            "from 0; mend it"
        )
    place = model_place(recipe, out)
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    return TorchTrainer(
        train_here,
        train_loop_config={"recipe": str(recipe.resolve()), "out": str(place), "seed": seed, "share": share},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=timeout_s),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(gpus), resources_per_worker=resources),
        run_config=RunConfig(storage_path=storage, failure_config=FailureConfig(max_failures=failures)),
    )


def model_place(recipe: Path, out: Path | None) -> Path:
    """Where the model goes, as an absolute path.

    Raises:
        InputError: neither was a folder given, nor does the recipe name one, or it cannot be read.
    """
    wanted = read_nexus_recipe(recipe)
    if out is None and wanted.out is None:
        raise InputError(f"{recipe}: got no [out] folder; allowed: one in the recipe, or --out FOLDER; add either")
    return (out or Path(wanted.out.folder if wanted.out else "")).resolve()


def main(arguments: list[str] | None = None) -> int:
    """Train on the cluster that ``RAY_ADDRESS`` names, else on this machine; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train a listwise ranker on a Ray cluster.")
    parser.add_argument("recipe", type=Path, help="of `wholepage train nexus` (.toml)")
    parser.add_argument("--out", type=Path, help="the model folder, in place of the recipe's; all workers see it")
    parser.add_argument("--storage", required=True, help="for what Ray keeps; all nodes reach it")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gpus", type=float, default=0.0, help="of each worker")
    parser.add_argument("--cpus", type=float, default=1.0, help="of each worker")
    parser.add_argument("--failures", type=int, default=0, help="times that the run is started again")
    parser.add_argument("--seed", type=int, help="in place of the recipe's")
    parser.add_argument("--share", action="store_true", help="the student's layers, of which each keeps a part")
    told = parser.parse_args(arguments)
    try:
        trainer(
            told.recipe,
            told.out,
            storage=told.storage,
            workers=told.workers,
            gpus=told.gpus,
            cpus=told.cpus,
            failures=told.failures,
            seed=told.seed,
            share=told.share,
        ).fit()
        place = model_place(told.recipe, told.out)
    except WholepageError as error:
        print(error, file=sys.stderr)
        return 2
    print((place / TABLE).read_text(encoding="utf-8"), end="")
    print(f"model: {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
