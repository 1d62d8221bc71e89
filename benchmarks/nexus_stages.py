"""What each stage of progressive training gives: nDCG@10 on lists of texts, of pictures, and of both.

    python benchmarks/nexus_stages.py --json                    # measures the models that ship, trains nothing
    python benchmarks/nexus_stages.py --train runs/stages --seed 0     # trains every schedule of one seed
    python benchmarks/nexus_stages.py --models runs/stages      # measures what was trained, all seeds together

Lists are of the generated world: 12 results a list, graded 0 to 3 by the world's own law; held-out lists come from
another seed of that world. nDCG has gains 2^grade - 1; intervals are bootstrapped over lists, differences tested by
sign flips of paired lists (of the means over seeds, where there are several).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from conditions import command, commit, machine
from wholepage.apps.resolve import text_encoder
from wholepage.collections.synthetic import Synthetic
from wholepage.evaluation.significance import bca_interval, permutation_test
from wholepage.pages import ImageRef, Modality
from wholepage.rankers.encoders import CachedTextEncoder, VectorCache
from wholepage.rankers.listwise import ListwiseConfig, ListwiseRanker
from wholepage.rankers.listwise_loading import Pretrained, load_pretrained
from wholepage.training.coreset import CoresetConfig
from wholepage.training.list_mixing import JOINT_SHARES
from wholepage.training.listwise_objective import ListwiseObjective
from wholepage.training.listwise_trainer import ListwiseTraining, train_listwise
from wholepage.training.lookup_lists import lookup_lists, words_of
from wholepage.training.loop import LoopConfig
from wholepage.training.naming import Naming, teach_names
from wholepage.training.nexus import NexusConfig, Stage, fit_nexus, ndcg_by_list
from wholepage.training.small_vlm import SmallVlm, make_small_vlm
from wholepage.training.taught import ListKind, TaughtList

SHIPPED = Path(__file__).parents[1] / "src" / "wholepage" / "rankers" / "release" / "listwise-small"
KINDS = {
    ListKind.TEXT: ((Modality.TEXT,), (12, 12)),
    ListKind.IMAGE: ((Modality.IMAGE,), (12, 12)),
    ListKind.MIXED: ((Modality.TEXT, Modality.IMAGE), (6, 6)),
}
NOISE, HELD_OUT, POOL, STAGE = 0.5, 300, 2400, 1600
LOOKUPS, NAMED = 2400, 8000
SIZES = SmallVlm(vocabulary=1024)
WINDOW = {"visual_tokens": 600, "most_per_picture": 16, "least_per_picture": 16}
TEXT, IMAGE, JOINT, REPLAY = 1e-4, 1e-4, 1e-4, 0.25
ORDER = ("untrained", "start", "text", "text-image", "full", "joint-only", "no-replay", "no-coreset")
STARTED = time.perf_counter()

Values = dict[ListKind, NDArray[np.float64]]
Done = tuple[Pretrained, Sequence[TaughtList]]


def lists_of(kind: ListKind, count: int, seed: int, folder: Path) -> list[TaughtList]:
    """Graded lists of one kind; those whose grades are all equal are left out."""
    modalities, results = KINDS[kind]
    world = Synthetic(
        count, seed, dev_share=0.0, results_per_modality=results, modalities=modalities, noise=NOISE, folder=folder
    )
    judged = world.judgments("train")
    found = []
    for page in world.pages("train"):
        grades = {grade.result_id: grade.grade for grade in judged.grades(page.query_id)}
        if len(set(grades.values())) > 1:
            found.append(TaughtList.graded(page, grades, "world"))
    return found


def captions(count: int, seed: int, folder: Path) -> Iterator[tuple[ImageRef, str]]:
    """Pictures with the words for what they show."""
    modalities, results = KINDS[ListKind.IMAGE]
    world = Synthetic(
        count // 12 + 1, seed, dev_share=0.0, results_per_modality=results, modalities=modalities, noise=NOISE,
        folder=folder,
    )  # fmt: skip
    for page, shown in world.truth("train"):
        for result in page.results:
            yield result.images[0], " ".join(shown[result.result_id].thing.values())


def training(seed: int, rate: float, *, temperature: float = 1.0, tower_rate: float = 3.0) -> ListwiseTraining:
    """How every stage is trained."""
    return ListwiseTraining(
        loop=LoopConfig(epochs=1, batch_size=12, learning_rate=rate, weight_decay=0.01, seed=seed),
        objective=ListwiseObjective(temperature=temperature, guide=1.0),
        results=10,
        tower_rate=tower_rate,
        **WINDOW,
    )


def save(student: Pretrained, folder: Path) -> None:
    """A model folder that every command reads."""
    config = ListwiseConfig(window=12, stride=6, limits=training(0, 1e-4).limits)
    ListwiseRanker(student, config, name=f"listwise-small-{folder.name}").save(folder)


def copied(student: Pretrained) -> Pretrained:
    """Another model with the same weights: training changes the one it is given."""
    with tempfile.TemporaryDirectory() as scratch:
        student.write(Path(scratch))
        return replace(load_pretrained(scratch), name=student.name)


def train(folder: Path, seed: int, pool: Mapping[ListKind, list[TaughtList]]) -> None:
    """Every schedule from one start; a model folder each."""
    encoder = CachedTextEncoder(text_encoder(), VectorCache(folder.parent / "vectors.sqlite"))
    texts = [text for one in pool[ListKind.TEXT] for text in (one.page.query.text, *(r.text for r in one.page.results))]
    student = make_small_vlm(texts, SIZES, meaning=text_encoder().encode_texts, seed=seed)
    save(student, folder / "untrained")
    pictures = list(islice(captions(NAMED, 7_000 + seed, folder / "pictures"), NAMED))
    naming = LoopConfig(epochs=1, batch_size=32, learning_rate=1e-3, weight_decay=0.01, seed=seed)
    student = teach_names(student, pictures, Naming(naming, visual_tokens=16))
    told(f"seed {seed}: named")
    lookups = lookup_lists(words_of(texts), LOOKUPS, seed=seed + 1)
    student = train_listwise(student, lookups, training(seed, 2e-4, temperature=0.35))
    save(student, folder / "start")
    told("start")

    kept, drawn = CoresetConfig(STAGE, seed=seed), CoresetConfig(STAGE, strategy="random", seed=seed)
    text, image, joint = pool[ListKind.TEXT], pool[ListKind.IMAGE], pool[ListKind.MIXED]

    def fit(start: Pretrained, before: Sequence[TaughtList], name: str, stage: Stage, given: list[TaughtList]) -> Done:
        done = fit_nexus(copied(start), {stage.name: given}, {}, NexusConfig((stage,)), earlier=before, encoder=encoder)
        save(done.ranker.pretrained, folder / name)
        told(name)
        return done.ranker.pretrained, done.trained_on

    def schedule(coreset: CoresetConfig, names: tuple[str, str, str]) -> tuple[Done, Done]:
        first = fit(student, lookups, names[0], Stage("text", training(seed, TEXT), coreset, REPLAY), text)
        second = fit(*first, names[1], Stage("image", training(seed, IMAGE), coreset, REPLAY), image)
        fit(*second, names[2], Stage("joint", training(seed, JOINT), coreset, shares=dict(JOINT_SHARES)), joint)
        return first, second

    first, _ = schedule(kept, ("text", "text-image", "full"))
    schedule(drawn, ("text-drawn", "text-image-drawn", "no-coreset"))
    # Without replay: a stage sees its own lists alone, the joint stage mixed ones alone.
    alone = fit(first[0], (), "image-alone", Stage("image", training(seed, IMAGE), kept), image)
    fit(alone[0], (), "no-replay", Stage("joint", training(seed, JOINT), kept), joint)
    # Joint from the start, with as many lists as the three stages and their replay showed.
    everything = CoresetConfig(3 * STAGE + 2 * round(STAGE * REPLAY / (1 - REPLAY)), seed=seed)
    whole = Stage("joint", training(seed, JOINT), shares=dict(JOINT_SHARES))
    count = everything.budget
    repeated = [joint[i % len(joint)] for i in range(count)]
    fit(student, [*text, *image], "joint-only", whole, repeated)


def told(what: str) -> None:
    """Progress, with the time since the start."""
    print(f"{time.perf_counter() - STARTED:7.0f} s  {what}", file=sys.stderr, flush=True)


def measured(folders: Mapping[str, list[Path]], held_out: Mapping[ListKind, list[TaughtList]]) -> dict[str, Values]:
    """nDCG@10 of each list, by schedule and kind, the mean over seeds.

    Shapes:
        values: [lists]
    """
    found: dict[str, Values] = {}
    for name, models in folders.items():
        rankers = [ListwiseRanker.load(model) for model in models]
        found[name] = {
            kind: np.mean([ndcg_by_list(ranker, lists) for ranker in rankers], axis=0)
            for kind, lists in held_out.items()
        }
        told(f"measured {name}")
    return found


def table(values: Mapping[str, Values], against: str) -> list[dict[str, object]]:
    """One object a schedule: mean and interval of each kind, and the difference to one of them on mixed lists."""
    rows: list[dict[str, object]] = []
    for name, by_kind in values.items():
        row: dict[str, object] = {"stage": name}
        for kind, numbers in by_kind.items():
            interval = bca_interval(numbers, seed=0)
            row[kind.value] = {"ndcg@10": round(float(numbers.mean()), 4), "interval": [round(x, 4) for x in interval]}
        if against in values and name != against:
            ours, other = values[against][ListKind.MIXED], by_kind[ListKind.MIXED]
            p = permutation_test(ours, other, seed=0)
            row["mixed_behind"] = {"by": round(float((ours - other).mean()), 4), "p": round(p, 4)}
        rows.append(row)
    return rows


def main() -> None:
    """Train, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--train", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=HELD_OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if given.train:
            folder = given.train / f"seed-{given.seed}"
            pool = {kind: lists_of(kind, POOL, 100 + i, folder / "pictures") for i, kind in enumerate(KINDS)}
            told(f"lists: {', '.join(f'{len(lists)} {kind.value}' for kind, lists in pool.items())}")
            train(folder, given.seed, pool)
            return
        root = given.models or SHIPPED
        seeds = sorted(root.glob("seed-*")) or [root]
        known = [name for name in ORDER if all((seed / name).is_dir() for seed in seeds)]
        held_out = {kind: lists_of(kind, given.held_out, 900 + i, Path(scratch)) for i, kind in enumerate(KINDS)}
        rows = table(measured({name: [s / name for s in seeds] for name in known}, held_out), "full")
    told_of = {
        "command": command(),
        "commit": commit(),
        "machine": machine(1),
        "lists": given.held_out,
        "seeds": len(seeds),
        "stages": rows,
    }
    print(json.dumps(told_of, indent=1) if given.json else markdown(rows))


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """A table for people."""
    lines = ["| stage | text | image | mixed | behind full on mixed |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [str(row["stage"])]
        for kind in KINDS:
            told_of = row[kind.value]
            cells.append(f"{told_of['ndcg@10']:.3f} [{told_of['interval'][0]:.3f}, {told_of['interval'][1]:.3f}]")
        behind = row.get("mixed_behind")
        cells.append("" if behind is None else f"{behind['by']:+.3f} (p {behind['p']:.3f})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
