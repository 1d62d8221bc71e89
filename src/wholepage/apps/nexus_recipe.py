"""Recipes of a listwise ranker that is trained stage by stage, in one TOML file.

``[student]`` says what is trained, ``[lists.<name>]`` where the lists of a stage come from, ``[held_out.text]``,
``.image`` and ``.mixed`` what is measured after each stage, ``[[stages]]`` what is done in order, each with the lists
of its name, ``[schedule]`` what holds for all of them, ``[out]`` where the model goes. What is left out has its
default. A relative path is relative to the recipe.

Run one: wholepage train nexus recipes/nexus_synthetic_cpu.toml
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec

from wholepage.apps.nexus_names import Names
from wholepage.apps.nexus_sources import SOURCES, Lookup, Several, Source, graded, placed, told
from wholepage.apps.recipe_tables import as_json, filled, named, read_tables, whole
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.lines import decode
from wholepage.rankers.text import MINILM
from wholepage.training.nexus import NexusConfig, OnFall, Stage
from wholepage.training.small_vlm import SmallVlm
from wholepage.training.taught import ListKind

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class SmallStudent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A small model that is made here.

    Attributes:
        seed: of its first weights.
        words: where its words begin: as the packaged text encoder has them, or at random.
        sizes: of the model.
        names: what its tower learns to name before any list; None = nothing, for a model that sees no pictures.
    """

    seed: int = 0
    words: Literal["minilm", "random"] = "minilm"
    sizes: SmallVlm = SmallVlm()
    names: Names | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed: got {self.seed}; allowed: 0 or more; choose another")


class PretrainedStudent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model that others trained.

    Attributes:
        model: a folder or hub id.  local_files_only: the network is not asked.
        dtype: of its weights. Those that learn are to be float32; ``bf16`` of a stage's loop only computes in bfloat16.
    """

    model: str
    local_files_only: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"


Student: TypeAlias = SmallStudent | PretrainedStudent
STUDENTS: Mapping[str, type[Student]] = MappingProxyType({"small": SmallStudent, "pretrained": PretrainedStudent})
"""What ``kind`` may be in ``[student]``, and the settings of each."""


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for all stages.

    Attributes:
        window, stride, most_fall, on_fall, k: as for ``NexusConfig``.
        encoder: of texts, for coresets, as on the command line.
    """

    window: int = 20
    stride: int = 10
    most_fall: float = 0.03
    on_fall: OnFall = "report"
    k: int = 10
    encoder: str = MINILM


class NexusOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where things go.

    Attributes:
        folder: of the model.
        lists: of what lists are made from: pictures, and teachers' answers, which cost; recipes may share it. None =
            beside the model.
        checkpoints: whether those of the stages stay beside the model when it is done: the same training then ends at
            once, and another one needs another folder.
    """

    folder: str
    lists: str | None = None
    checkpoints: Literal["keep", "remove"] = "keep"


class NexusRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training.

    Attributes:
        student, lists, held_out, stages, schedule, out: see the module; without stages those of ``NexusConfig``.
    """

    lists: dict[str, Source]
    student: Student = SmallStudent()
    held_out: dict[ListKind, Source] = {}
    stages: tuple[Stage, ...] = NexusConfig().stages
    schedule: Schedule = Schedule()
    out: NexusOut | None = None

    @property
    def config(self) -> NexusConfig:
        """The schedule as it is trained.

        Raises:
            InputError: stages of one name, or a number out of range.
        """
        settings = msgspec.structs.asdict(self.schedule)
        del settings["encoder"]
        return NexusConfig(stages=self.stages, **settings)

    def seeded(self, seed: int) -> NexusRecipe:
        """The same recipe with one seed for the student, every stage's training and coreset; lists stay as they are."""
        replace = msgspec.structs.replace
        stages = tuple(
            replace(
                stage,
                training=replace(stage.training, loop=replace(stage.training.loop, seed=seed)),
                coreset=None if stage.coreset is None else replace(stage.coreset, seed=seed),
            )
            for stage in self.stages
        )
        student = self.student
        if isinstance(student, SmallStudent):
            names = student.names
            if names is not None:
                loop = replace(names.naming.loop, seed=seed)
                names = replace(names, naming=replace(names.naming, loop=loop))
            student = replace(student, seed=seed, names=names)
        return replace(self, student=student, stages=stages)

    def facts(self) -> dict[str, Any]:
        """The recipe for the record, without paths and addresses."""
        student = msgspec.to_builtins(self.student)
        if "model" in student:
            student["model"] = Path(student["model"]).name
        kind = next(name for name, of in STUDENTS.items() if isinstance(self.student, of))
        return {
            "student": {"kind": kind, **student},
            "lists": {name: told(source) for name, source in self.lists.items()},
            "held_out": {kind.value: told(source) for kind, source in self.held_out.items()},
            "stages": msgspec.to_builtins(self.stages),
            "schedule": {**msgspec.to_builtins(self.schedule), "encoder": Path(self.schedule.encoder).name},
        }


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tables of a recipe as they are written; some are read once their kind is known."""

    lists: dict[str, dict[str, Any]]
    student: dict[str, Any] = {}
    held_out: dict[ListKind, dict[str, Any]] = {}
    stages: list[dict[str, Any]] | None = None
    schedule: Schedule = Schedule()
    out: NexusOut | None = None


def read_nexus_recipe(path: str | Path) -> NexusRecipe:
    """Read a recipe strictly.

    Raises:
        NotFound: there is no such file.
        RecordError: it is not TOML, or a field is unknown, missing, of another type or out of range, or two fields do
            not go together; says which.
    """
    path, tables = read_tables(path)
    file = decode(msgspec.json.Decoder(_File), path, 0, as_json(path, tables))
    folder = path.parent
    written = filled(SmallStudent(names=Names()), file.student)
    student: Student = _one(path, "student", {"kind": "small", **written}, "kind", STUDENTS)
    if isinstance(student, PretrainedStudent):
        student = msgspec.structs.replace(student, model=named(folder, student.model))
    lists = {name: _source(path, f"lists.{name}", table) for name, table in file.lists.items()}
    held_out = {kind: _source(path, f"held_out.{kind.value}", table) for kind, table in file.held_out.items()}
    schedule = msgspec.structs.replace(file.schedule, encoder=named(folder, file.schedule.encoder))
    out = file.out
    if out is not None:
        out = msgspec.structs.replace(out, folder=str(whole(folder, out.folder)), lists=whole(folder, out.lists))
    recipe = NexusRecipe(lists, student, held_out, schedule=schedule, out=out)
    if file.stages is not None:
        stages = tuple(_stage(path, place, table) for place, table in enumerate(file.stages))
        recipe = msgspec.structs.replace(recipe, stages=stages)
    _check(path, recipe)
    return recipe


def _one(path: Path, place: str, table: Mapping[str, Any], key: str, kinds: Mapping[str, type[Any]]) -> Any:
    """A table whose settings depend on what one of its fields says."""
    kind = table.get(key)
    if not isinstance(kind, str) or kind not in kinds:
        got = "no such field" if kind is None else repr(kind)
        raise RecordError(path, 0, f"{place}.{key}", got, ", ".join(kinds), "write one of them")
    settings = {name: value for name, value in table.items() if name != key}
    return decode(msgspec.json.Decoder(kinds[kind]), path, 0, as_json(path, settings), place=f"{place}.")


def _source(path: Path, place: str, table: Mapping[str, Any]) -> Source:
    source: Source = _one(path, place, table, "from", SOURCES)
    return placed(path.parent, source)


def _stage(path: Path, place: int, table: Mapping[str, Any]) -> Stage:
    settings = filled(Stage("any"), dict(table))
    return decode(msgspec.json.Decoder(Stage), path, 0, as_json(path, settings), place=f"stages[{place}].")


def _check(path: Path, recipe: NexusRecipe) -> None:
    """Refuse what does not go together, before anything is opened."""
    try:
        _ = recipe.config
    except InputError as error:
        got, _, allowed = str(error).removeprefix("schedule: got ").partition("; allowed: ")
        raise RecordError(path, 0, "schedule", got, *allowed.rsplit("; ", 1)) from error
    _check_lists(path, recipe)
    for kind, source in recipe.held_out.items():
        place = f"held_out.{kind.value}"
        if not graded(source):
            allowed = "lookup, generated, file, or collection with teacher 'grades': a teacher's order is no measure"
            raise RecordError(path, 0, place, f"{told(source)['from']} without grades", allowed, "take another source")
        if source in recipe.lists.values():
            raise RecordError(
                path, 0, place, "the very lists of a stage", "others than are trained on", "take another split or seed"
            )
    if isinstance(recipe.student, PretrainedStudent) and recipe.student.dtype == "bfloat16":
        for i, stage in enumerate(recipe.stages):
            if stage.training.weights != "lora" or stage.training.tower != "frozen":
                raise RecordError(
                    path, 0, f"stages[{i}].training", "weights in bfloat16 to be trained, which small steps leave as "
                    "they are", 'dtype = "float32"; or weights = "lora" and tower = "frozen"', "change one",
                )  # fmt: skip


def _check_lists(path: Path, recipe: NexusRecipe) -> None:
    used = {stage.name for stage in recipe.stages}
    for i, stage in enumerate(recipe.stages):
        if not _NAME.fullmatch(stage.name):
            raise RecordError(
                path, 0, f"stages[{i}].name", repr(stage.name), "letters, digits, - and _: a folder is called so",
                "rename it",
            )  # fmt: skip
        if stage.name not in recipe.lists:
            there = ", ".join(recipe.lists) or "none"
            raise RecordError(path, 0, f"stages[{i}].name", repr(stage.name), f"lists there are: {there}", "add them")
    for name, source in recipe.lists.items():
        if not isinstance(source, Several):
            continue
        allowed = [other for other, one in recipe.lists.items() if not isinstance(one, Several | Lookup)]
        wrong = [other for other in source.lists if other not in allowed]
        if wrong:
            raise RecordError(
                path, 0, f"lists.{name}.lists", str(wrong), ", ".join(allowed) or "none", "name lists of other sources"
            )
        used |= set(source.lists) if name in used else set()
    idle = [name for name in recipe.lists if name not in used]
    if idle:
        there = "the lists of a stage: " + ", ".join(stage.name for stage in recipe.stages)
        raise RecordError(path, 0, f"lists.{idle[0]}", "lists that no stage uses", there, "add a stage or remove it")
