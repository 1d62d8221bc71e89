"""What ``wholepage train nexus`` does: from a recipe to a listwise ranker, its report beside it. Needs torch.

Beside the model folder lie ``<out>.checkpoints``, from which a killed training goes on, and ``<out>.lists`` (unless
the recipe names another folder): pictures that were made, and what teachers answered. In the model folder
``nexus.json`` and ``nexus.md`` say what each stage did. Under ``torchrun`` or ``accelerate launch`` the first process
alone asks teachers and writes; the others wait for its lists, however long that takes, and read them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from wholepage.apps.nexus_lists import ListsReport, NexusLists, gather, texts_of
from wholepage.apps.nexus_names import named_pictures
from wholepage.apps.nexus_recipe import NexusRecipe, SmallStudent
from wholepage.apps.nexus_sources import Lookup
from wholepage.apps.resolve import text_encoder
from wholepage.pages.errors import WeightsError
from wholepage.pages.lines import atomic_write, decode
from wholepage.rankers.encoders import Progress
from wholepage.rankers.listwise_loading import Pretrained, load_pretrained
from wholepage.rankers.text import MINILM
from wholepage.rankers.weights import MANIFEST
from wholepage.training.loop_processes import Processes
from wholepage.training.naming import teach_names
from wholepage.training.nexus import NexusOutcome, StageReport, fit_nexus
from wholepage.training.small_vlm import make_small_vlm
from wholepage.training.taught import ListKind, read_taught, write_taught

REPORT, TABLE = "nexus.json", "nexus.md"
_HANDED, _NAMES, _READY = ".handed-on", ".names", "ready.json"  # no stage has such a name
_POLL_S = 0.2
_REPORTS = msgspec.json.Decoder(dict[str, ListsReport])


def train_nexus(recipe: NexusRecipe, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train a listwise ranker stage by stage, and keep it in ``out``; resumes a training that was killed.

    Args:
        out: the model folder.
        progress: told of lists and of steps, in the first process.
    Returns:
        What ``nexus.json`` holds: ``untrained`` and each of ``stages`` with nDCG by kind and falls, ``lists`` with what
        became of every source, ``seconds``, ``recipe`` without paths; and ``model``, the folder.
    Raises:
        NotFound: a collection, file or model is not there.
        InputError: a source without lists, or a loss that is not finite.
        Halted: a kind of lists lost more than is allowed, and the schedule shall stop then.
        WeightsError: ``out`` holds something else, or the checkpoints of another training lie beside it.
    """
    who = Processes()
    report = progress if who.first else None
    _check_place(out)
    began = time.perf_counter()
    kept = out.with_name(f"{out.name}.checkpoints")
    lists = _lists(recipe, out, kept / _HANDED, who, report)
    gathered = time.perf_counter()
    wanted = any(stage.coreset is not None for stage in recipe.stages)
    outcome = fit_nexus(
        _student(recipe, lists, who, kept / _NAMES, report),
        lists.stages,
        lists.held_out,
        recipe.config,
        encoder=text_encoder(recipe.schedule.encoder) if wanted else None,
        folder=kept,
        progress=report,
    )
    seconds = {"lists": gathered - began, "training": time.perf_counter() - gathered}
    facts = _facts(recipe, outcome, lists.reports, seconds, who.count)
    if who.first:
        _keep(outcome, facts, out)
        if recipe.out is not None and recipe.out.checkpoints == "remove":
            shutil.rmtree(kept)
    return {"model": str(out), **facts}


def table(facts: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of what the stages did, from what ``train_nexus`` returns.

    A kind that a stage lowered has an arrow and how much; ``!`` marks a fall of a kind learned before that is further
    than is allowed.
    """
    kinds = [kind.value for kind in ListKind if kind.value in facts["untrained"]]
    columns = ["stage", "lists", "kept", "replayed", "shown", *(f"{kind} nDCG@{facts['k']}" for kind in kinds)]
    before = facts["untrained"]
    rows = [["untrained", "", "", "", "", *(f"{before[kind]:.4f}" for kind in kinds)]]
    for stage in facts["stages"]:
        far = {fall["kind"] for fall in stage["falls"] if fall["too_far"]}
        numbers = [_moved(before[kind], stage["quality"][kind], kind in far) for kind in kinds]
        rows.append([stage["name"], *(str(stage[name]) for name in ("lists", "kept", "replayed", "shown")), *numbers])
        before = stage["quality"]
    return columns, rows


def markdown(facts: Mapping[str, Any]) -> str:
    """The same as a table in Markdown."""
    columns, rows = table(facts)
    lines = [columns, ["---", *("---:" for _ in columns[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _moved(before: float, after: float, too_far: bool) -> str:
    if after >= before:
        return f"{after:.4f}"
    return f"{after:.4f} ↓{before - after:.4f}{' !' if too_far else ''}"


def _check_place(out: Path) -> None:
    """Refuse a folder that the model could not go to, before anything is trained."""
    if out.exists() and not (out / MANIFEST).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise WeightsError(
            f"{out}: got something that is not a model folder; allowed: a new name, an empty folder, or a model folder "
            "to replace; name another one"
        )


def _lists(recipe: NexusRecipe, out: Path, handed: Path, who: Processes, progress: Progress | None) -> NexusLists:
    """The lists, in every process the same."""
    named = None if recipe.out is None else recipe.out.lists
    place = (out.with_name(f"{out.name}.lists") if named is None else Path(named)).absolute()
    if who.count == 1:
        return gather(recipe, place, progress=progress)
    if who.first:
        shutil.rmtree(handed, ignore_errors=True)
    who.wait()  # from now on what is there is of this run
    if who.first:
        _hand_on(gather(recipe, place, progress=progress), handed)
    # Not a barrier: those give up after some minutes, and a teacher may take hours. Who waits in vain is ended by the
    # launcher.
    while not (handed / _READY).is_file():
        time.sleep(_POLL_S)
    return _handed(recipe, handed)


def _hand_on(lists: NexusLists, handed: Path) -> None:
    handed.mkdir(parents=True)
    for i, of_stage in enumerate(lists.stages.values()):
        write_taught(handed / f"lists.{i}.jsonl", of_stage)
    for kind, held_out in lists.held_out.items():
        write_taught(handed / f"held_out.{kind.value}.jsonl", held_out)
    with atomic_write(handed / _READY, "wb") as file:
        file.write(msgspec.json.encode(lists.reports))


def _handed(recipe: NexusRecipe, handed: Path) -> NexusLists:
    stages = {stage.name: list(read_taught(handed / f"lists.{i}.jsonl")) for i, stage in enumerate(recipe.stages)}
    held_out = {kind: list(read_taught(handed / f"held_out.{kind.value}.jsonl")) for kind in recipe.held_out}
    reports = decode(_REPORTS, handed / _READY, 1, (handed / _READY).read_bytes())
    return NexusLists(stages, held_out, reports)


def _student(
    recipe: NexusRecipe, lists: NexusLists, who: Processes, kept: Path, progress: Progress | None
) -> Pretrained:
    """What is trained; a small model has the words of all lists that a stage trains on."""
    student = recipe.student
    if not isinstance(student, SmallStudent):
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[student.dtype]
        return load_pretrained(student.model, local_files_only=student.local_files_only, dtype=dtype, device=who.device)
    own = (stage.name for stage in recipe.stages if not isinstance(recipe.lists[stage.name], Lookup))
    texts = [text for name in own for text in texts_of(lists.stages[name])]
    meaning = text_encoder(MINILM).encode_texts if student.words == "minilm" else None
    made = make_small_vlm(texts, student.sizes, meaning=meaning, seed=student.seed)
    if student.names is None:
        return made
    return teach_names(made, named_pictures(student.names), student.names.naming, folder=kept, progress=progress)


def _facts(
    recipe: NexusRecipe,
    outcome: NexusOutcome,
    reports: Mapping[str, ListsReport],
    seconds: Mapping[str, float],
    processes: int,
) -> dict[str, Any]:
    return {
        "k": recipe.schedule.k,
        "untrained": {kind.value: value for kind, value in outcome.untrained.items()},
        "stages": [_stage(stage) for stage in outcome.stages],
        "lists": msgspec.to_builtins(dict(reports)),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "processes": processes,
        "model_fingerprint": outcome.ranker.pretrained.fingerprint,
        "recipe": recipe.facts(),
    }


def _stage(stage: StageReport) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(stage)
    return facts | {"falls": [{**msgspec.to_builtins(fall), "too_far": fall.too_far} for fall in stage.falls]}


def _keep(outcome: NexusOutcome, facts: Mapping[str, Any], out: Path) -> None:
    outcome.ranker.save(out)
    with atomic_write(out / REPORT, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n")
    with atomic_write(out / TABLE) as text:
        text.write(markdown(facts))
