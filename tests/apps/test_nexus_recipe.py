"""Recipes of listwise trainings are read strictly, and every one that ships can be read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from wholepage.apps.nexus_recipe import PretrainedStudent, SmallStudent, read_nexus_recipe
from wholepage.apps.nexus_sources import (
    FromCaptions,
    FromCollection,
    FromFile,
    FromRuns,
    Generated,
    Lookup,
    ServedCaptioner,
    ServedTeacher,
    Several,
)
from wholepage.apps.places import NotFound
from wholepage.pages.errors import RecordError
from wholepage.pages.model import Modality
from wholepage.training.listwise_trainer import ListwiseTraining
from wholepage.training.nexus import NexusConfig, Stage
from wholepage.training.small_vlm import SmallVlm
from wholepage.training.taught import ListKind

SHIPPED = sorted((Path(__file__).parents[2] / "recipes").glob("nexus_*.toml"))
TEXT = '[lists.text]\nfrom = "generated"\nmodalities = ["text"]\n'
ONE = '[[stages]]\nname = "text"\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_there_are_recipes() -> None:
    assert {"nexus_synthetic_cpu", "nexus_qwen2_vl_2b", "nexus_qwen3_vl_2b"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    recipe = read_nexus_recipe(path)
    assert recipe.out is not None
    assert recipe.out.folder == str(path.parents[1] / "runs" / path.stem)
    assert set(recipe.held_out) == set(ListKind)
    assert f"wholepage train nexus recipes/{path.name}" in path.read_text(encoding="utf-8")
    assert recipe.config.stages[-1].shares is not None
    assert str(path.parents[1]) not in str(recipe.facts())


@pytest.mark.parametrize("name", ["qwen2_vl_2b", "qwen3_vl_2b"])
def test_recipes_for_full_hardware_train_adapters_in_bfloat16_with_little_memory(name: str) -> None:
    recipe = read_nexus_recipe(next(path for path in SHIPPED if name in path.stem))
    assert isinstance(recipe.student, PretrainedStudent)
    assert {stage.training.weights for stage in recipe.stages} == {"lora"}
    assert {stage.training.loop.precision for stage in recipe.stages} == {"bf16"}
    assert all(stage.training.checkpointing for stage in recipe.stages)
    sources = list(recipe.lists.values())
    assert {one.name for one in sources if isinstance(one, FromCollection)} >= {"rank_lists", "mmdocir_train"}
    assert any(isinstance(one, FromCaptions) for one in sources)


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    recipe = read_nexus_recipe(written(tmp_path, TEXT + ONE))
    assert recipe.student == SmallStudent()
    assert recipe.stages == (Stage("text"),)
    assert recipe.config == NexusConfig(stages=(Stage("text"),))
    assert recipe.lists == {"text": Generated(modalities=(Modality.TEXT,))}
    assert (recipe.held_out, recipe.out) == ({}, None)
    lists = "".join(
        TEXT.replace("text", name, 1) + f"seed = {i}\n" for i, name in enumerate(("text", "image", "joint"))
    )
    assert read_nexus_recipe(written(tmp_path, lists)).config == NexusConfig()


EVERY = """
[student]
kind = "pretrained"
model = "./vlm"
[lists.words]
from = "lookup"
count = 5
[lists.own]
from = "collection"
name = "jsonl"
root = "own"
modalities = ["text", "answer"]
limit = 9
teacher = "models/text"
rendered = true
[lists.orders]
from = "collection"
name = "rank_lists"
root = "~/zephyr"
options = { broken = "leave-out", requests = "asked.jsonl" }
teacher = "given"
[lists.runs]
from = "runs"
year = "dl19"
teachers = ["gpt.0"]
consensus = "borda"
[lists.photos]
from = "captions"
root = "coco"
options = { near = 0 }
captioner = { url = "http://127.0.0.1:1/v1", model = "vlm", key_variable = "KEY", length = { least = 3, most = 9 } }
teacher = { url = "http://127.0.0.1:1/v1", model = "llm", settings = { tries = 2 }, patience = { tries = 1 } }
distillation = { min_tau = 0.2, nearness = { bits = 2 } }
[lists.kept]
from = "file"
path = "kept.jsonl"
[lists.image]
from = "several"
lists = ["photos", "kept"]
[held_out.mixed]
from = "collection"
name = "emoji"
options = { kinds = ["mixed"] }
[[stages]]
name = "words"
[[stages]]
name = "own"
coreset = { budget = 3 }
[[stages]]
name = "orders"
[[stages]]
name = "runs"
[[stages]]
name = "image"
[stages.training]
tower = "frozen"
objective = { form = "ranknet_lm" }
[stages.training.loop]
learning_rate = 1e-4
[schedule]
on_fall = "stop"
encoder = "./encoder"
[out]
folder = "model"
lists = "../shared"
checkpoints = "remove"
"""


def test_every_table_is_read_and_paths_lie_beside_the_recipe(tmp_path: Path) -> None:
    recipe = read_nexus_recipe(written(tmp_path, EVERY))
    here = str(tmp_path)
    assert recipe.student == PretrainedStudent(f"{here}/vlm")
    lists = recipe.lists
    assert lists["words"] == Lookup(count=5)
    own, photos = lists["own"], lists["photos"]
    assert isinstance(own, FromCollection)
    assert (own.root, own.teacher, own.limit) == (f"{here}/own", f"{here}/models/text", 9)
    assert own.modalities == (Modality.TEXT, Modality.ANSWER)
    orders = lists["orders"]
    assert isinstance(orders, FromCollection)
    assert orders.root == str(Path("~/zephyr").expanduser())
    assert orders.options == {"broken": "leave-out", "requests": f"{here}/asked.jsonl"}
    assert lists["runs"] == FromRuns("dl19", teachers=("gpt.0",), consensus="borda")
    assert isinstance(photos, FromCaptions)
    assert isinstance(photos.captioner, ServedCaptioner)
    assert isinstance(photos.teacher, ServedTeacher)
    assert (photos.root, photos.captioner.length.most, photos.teacher.settings.tries) == (f"{here}/coco", 9, 2)
    assert photos.distillation.nearness is not None
    assert (photos.distillation.min_tau, photos.distillation.nearness.bits) == (0.2, 2)
    assert lists["kept"] == FromFile(f"{here}/kept.jsonl")
    assert lists["image"] == Several(("photos", "kept"))
    last = recipe.stages[-1].training
    # A part of a loop changes that part of the stage's own loop.
    assert last.loop == msgspec.structs.replace(ListwiseTraining().loop, learning_rate=1e-4)
    assert (last.tower, last.objective.form) == ("frozen", "ranknet_lm")
    assert recipe.config.on_fall == "stop"
    assert recipe.schedule.encoder == f"{here}/encoder"
    assert recipe.out is not None
    assert (recipe.out.folder, recipe.out.lists) == (f"{here}/model", f"{tmp_path.parent}/shared")
    facts = recipe.facts()
    for private in (here, "127.0.0.1", "KEY", "zephyr", "asked.jsonl"):
        assert private not in str(facts)
    assert facts["lists"]["own"]["teacher"] == "text"
    assert facts["lists"]["photos"]["captioner"]["model"] == "vlm"
    assert facts["student"] == {"kind": "pretrained", "model": "vlm", "local_files_only": True, "dtype": "float32"}


@pytest.mark.parametrize(
    ("text", "field", "allowed"),
    [
        ("lists = 3", "lists", "allowed: object"),
        ('[[stages]]\nname = "text"', "lists", "add it"),
        (TEXT + ONE + "[nope]", "nope", "allowed: lists, student, held_out, stages, schedule, out"),
        ("[lists.text]\nqueries = 3\n" + ONE, "lists.text.from", "allowed: lookup, generated, collection, runs"),
        ('[lists.text]\nfrom = "made"\n' + ONE, "lists.text.from", "got 'made'"),
        ('[lists.text]\nfrom = "generated"\nmodalitys = []\n' + ONE, "lists.text.modalitys", "allowed: queries, seed"),
        ('[lists.text]\nfrom = "generated"\nmodalities = ["txt"]\n' + ONE, "lists.text.modalities[0]", "'image'"),
        ('[lists.text]\nfrom = "generated"\nmodalities = []\n' + ONE, "lists.text", "one or more"),
        ('[lists.text]\nfrom = "generated"\nresults = [3, 2]\n' + ONE, "lists.text", "got results [3, 2]"),
        ('[lists.text]\nfrom = "lookup"\nresults = 1\n' + ONE, "lists.text", "got 1 (results); allowed: 2 or more"),
        ('[lists.text]\nfrom = "collection"\nname = "emojis"\n' + ONE, "lists.text", "got 'emojis' (name)"),
        (
            '[lists.text]\nfrom = "collection"\nname = "emoji"\noptions = { style = 1 }\n' + ONE,
            "lists.text",
            "got ['style'] for 'emoji' (options); allowed: styles_train, styles_test, kinds",
        ),
        (
            '[lists.text]\nfrom = "captions"\nroot = "a"\noptions = { layout = "coco" }\n' + ONE,
            "lists.text",
            "allowed: queries_each, results, near, seed",
        ),
        ('[lists.text]\nfrom = "captions"\nroot = "a"\nteacher = "grades"\n' + ONE, "lists.text", "it is captions"),
        ('[lists.text]\nfrom = "runs"\n' + ONE, "lists.text.year", "add it"),
        ('[lists.text]\nfrom = "runs"\nyear = "dl19"\nconsensus = "mean"\n' + ONE, "lists.text.consensus", "'borda'"),
        (TEXT + '[student]\nkind = "large"\n' + ONE, "student.kind", "allowed: small, pretrained"),
        (TEXT + "[student]\nseed = -1\n" + ONE, "student", "0 or more"),
        (TEXT + "[student.sizes]\ndim = 100\n" + ONE, "student.sizes", "heads of 32"),
        (TEXT + '[student]\nkind = "pretrained"\n' + ONE, "student.model", "add it"),
        (TEXT + '[held_out.video]\nfrom = "lookup"\n' + ONE, "held_out", "'mixed'"),
        (TEXT + ONE + "replays = 0.1", "stages[0].replays", "allowed: name, training, coreset, replay, shares"),
        (TEXT + ONE + "replay = 1.5", "stages[0]", "got replay 1.5"),
        (TEXT + ONE + "[stages.training.loop]\nepochs = 0", "stages[0].training.loop", "above 0"),
        (TEXT + ONE + "[stages.coreset]\nstrategy = 'central'", "stages[0].coreset.budget", "add it"),
        (TEXT + ONE + "[stages.shares]\ntexts = 1.0", "stages[0].shares", "'text'"),
        (TEXT + '[[stages]]\nname = "../text"', "stages[0].name", "letters, digits"),
        (TEXT + '[[stages]]\nname = "words"', "stages[0].name", "lists there are: text"),
        (TEXT + ONE + ONE, "schedule", "different names"),
        (TEXT + ONE + "[schedule]\nk = 0", "schedule", "1 or more"),
        (TEXT + ONE + "[schedule]\non_fall = 'go'", "schedule.on_fall", "'stop'"),
        (TEXT + TEXT.replace("lists.text", "lists.more") + ONE, "lists.more", "no stage uses"),
        (TEXT + TEXT.replace("lists.text", "held_out.text") + ONE, "held_out.text", "another split or seed"),
        (TEXT + '[held_out.text]\nfrom = "runs"\nyear = "dl19"\n' + ONE, "held_out.text", "without grades"),
        (
            TEXT + '[held_out.text]\nfrom = "collection"\nname = "emoji"\nteacher = "bm25"\n' + ONE,
            "held_out.text",
            "is no measure",
        ),
        ('[lists.text]\nfrom = "several"\nlists = ["text"]\n' + ONE, "lists.text.lists", "other sources"),
        (
            TEXT + '[student]\nkind = "pretrained"\nmodel = "a/b"\ndtype = "bfloat16"\n' + ONE,
            "stages[0].training",
            'weights = "lora"',
        ),
        ("lists = { text = { from = 2020-01-01 } }", "lists.text.from", "write one of them"),
        ("[lists", "file", "TOML in UTF-8"),
    ],
)
def test_errors_name_file_table_and_field(tmp_path: Path, text: str, field: str, allowed: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecordError) as caught:
        read_nexus_recipe(path)
    assert str(caught.value).startswith(f"{path}: {field}: got ")
    assert allowed in str(caught.value)
    assert caught.value.field == field


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="which is no file"):
        read_nexus_recipe(tmp_path / "none.toml")


def test_adapters_may_be_trained_on_weights_in_bfloat16(tmp_path: Path) -> None:
    student = '[student]\nkind = "pretrained"\nmodel = "a/b"\ndtype = "bfloat16"\n'
    recipe = read_nexus_recipe(
        written(tmp_path, TEXT + student + ONE + 'training = { weights = "lora", tower = "frozen" }')
    )
    assert recipe.stages[0].training.weights == "lora"


def test_one_seed_is_of_all_training_and_of_no_data(tmp_path: Path) -> None:
    recipe = read_nexus_recipe(written(tmp_path, TEXT + ONE + "coreset = { budget = 3, seed = 5 }\n"))
    seeded = recipe.seeded(9)
    assert seeded.lists == recipe.lists
    assert seeded.student == SmallStudent(seed=9)
    assert seeded.student.sizes == SmallVlm()
    (stage,) = seeded.stages
    assert stage.coreset is not None
    assert (stage.training.loop.seed, stage.coreset.seed) == (9, 9)
    assert msgspec.structs.replace(stage.training.loop, seed=0) == recipe.stages[0].training.loop
    student = '[student]\nkind = "pretrained"\nmodel = "a/b"\n'
    pretrained = read_nexus_recipe(written(tmp_path, TEXT + student + ONE))
    assert pretrained.seeded(9).student == pretrained.student
