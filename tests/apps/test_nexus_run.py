"""``wholepage train nexus`` from end to end with tiny settings: reports, seeds, kills, processes, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from typer.testing import CliRunner, Result

import wholepage
from wholepage.apps import nexus_run
from wholepage.apps.cli import app
from wholepage.apps.nexus_lists import gather
from wholepage.apps.nexus_recipe import read_nexus_recipe
from wholepage.rankers.listwise import ListwiseRanker
from wholepage.training import nexus
from wholepage.training.nexus import quality
from wholepage.training.small_vlm import SmallVlm, make_small_vlm
from wholepage.training.taught import ListKind

SRC = Path(__file__).parents[2] / "src"
WORLD = 'from = "generated"\nqueries = 12\nresults = [3, 4]\nnoise = 0.5\n'
LOOP = "training = { results = 4, text_tokens = 64, loop = { batch_size = 4 } }\n"
SMALL = """[student]
words = "random"
[student.sizes]
vocabulary = 300
dim = 64
heads = 2
mlp = 32
sight_dim = 32
sight_layers = 1
sight_heads = 2
most_pixels = 576
"""
LISTS = f"""[lists.text]
{WORLD}modalities = ["text"]
[lists.image]
{WORLD}modalities = ["image"]
[held_out.text]
{WORLD}modalities = ["text"]
split = "test"
[held_out.image]
{WORLD}modalities = ["image"]
split = "test"
"""
STAGES = f"""[[stages]]
name = "text"
{LOOP}[[stages]]
name = "image"
replay = 0.2
{LOOP}"""
TINY = SMALL + LISTS + STAGES


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(*args: object) -> Result:
    return CliRunner().invoke(app, ["train", "nexus", *map(str, args)], env={"COLUMNS": "200", "WHOLEPAGE_DATA": ""})


def written(folder: Path, text: str = TINY) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def weights(out: Path) -> bytes:
    return (out / "pretrained/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """The recipe, the model's folder and what the command said."""
    folder = tmp_path_factory.mktemp("nexus")
    recipe, out = written(folder), folder / "model"
    said = run(recipe, "--out", out, "--json")
    assert said.exit_code == 0, said.output
    return recipe, out, json.loads(said.stdout)


def test_the_report_says_what_each_stage_did(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    recipe, out, facts = trained
    written_facts = json.loads((out / "nexus.json").read_text())
    assert {"model": str(out), **written_facts} == facts
    assert set(facts["untrained"]) == {"text", "image"}
    text, image = facts["stages"]
    assert (text["name"], image["name"]) == ("text", "image")
    assert (text["lists"], text["kept"], text["replayed"]) == (text["shown"], text["shown"], 0)
    assert image["shown"] == image["lists"] + image["replayed"]
    assert image["replayed"] >= 1
    assert [fall["kind"] for fall in image["falls"]] == ["text"]
    assert image["falls"][0]["before"] == text["quality"]["text"]
    assert facts["lists"]["lists.text"]["lists"] == {"text": text["lists"]}
    assert facts["processes"] == 1
    assert facts["seconds"]["training"] > 0
    assert facts["recipe"] == json.loads(json.dumps(read_nexus_recipe(recipe).facts()))
    assert str(out.parent) not in json.dumps(written_facts)
    assert {path.name for path in out.with_name("model.checkpoints").iterdir()} == {"text", "image"}
    assert out.with_name("model.lists").is_dir()


def test_the_last_row_is_the_quality_of_the_model_that_was_saved(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    recipe, out, facts = trained
    ranker = wholepage.load(out)
    assert isinstance(ranker, ListwiseRanker)
    assert ranker.pretrained.fingerprint == facts["model_fingerprint"]
    held_out = gather(read_nexus_recipe(recipe), out.with_name("model.lists")).held_out
    measured = {kind.value: value for kind, value in quality(ranker, held_out).items()}
    assert measured == pytest.approx(facts["stages"][-1]["quality"], abs=1e-9)


def test_the_table_has_an_arrow_for_what_fell(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    _, out, facts = trained
    columns, rows = nexus_run.table(facts)
    assert columns == ["stage", "lists", "kept", "replayed", "shown", "text nDCG@10", "image nDCG@10"]
    assert [row[0] for row in rows] == ["untrained", "text", "image"]
    assert (out / "nexus.md").read_text().splitlines() == [
        f"| {' | '.join(row)} |" for row in (columns, ["---", *["---:"] * 6], *rows)
    ]
    made = {
        "k": 5,
        "untrained": {"text": 0.25, "mixed": 0.5},
        "stages": [
            {"name": "a", "lists": 3, "kept": 2, "replayed": 1, "shown": 3, "quality": {"text": 0.5, "mixed": 0.375},
             "falls": []},
            {"name": "b", "lists": 3, "kept": 3, "replayed": 0, "shown": 3, "quality": {"text": 0.25, "mixed": 0.375},
             "falls": [{"kind": "text", "too_far": True}]},
        ],
    }  # fmt: skip
    columns, rows = nexus_run.table(made)
    assert columns[5:] == ["text nDCG@5", "mixed nDCG@5"]
    assert [row[5:] for row in rows] == [
        ["0.2500", "0.5000"],
        ["0.5000", "0.3750 ↓0.1250"],
        ["0.2500 ↓0.2500 !", "0.3750"],
    ]


class Killed(BaseException):
    """The process was killed."""


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bytes_and_a_seed_to_others(
    trained: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    recipe, out, _ = trained

    def killed(done: int, total: int, what: str) -> None:
        if what == "stage image" and done == 2:
            raise Killed

    again = tmp_path / "again"
    wanted = read_nexus_recipe(recipe)
    often = tuple(msgspec.structs.replace(s, training=_every_step(s.training)) for s in wanted.stages)
    often_kept = msgspec.structs.replace(wanted, stages=often)
    with pytest.raises(Killed):
        nexus_run.train_nexus(often_kept, again, progress=killed)
    assert not again.exists()
    seen: list[tuple[str, int]] = []
    nexus_run.train_nexus(often_kept, again, progress=lambda done, total, what: seen.append((what, done)))
    assert [done for what, done in seen if what == "stage text"] == []
    assert min(done for what, done in seen if what == "stage image") in (2, 3)
    assert weights(again) == weights(out)
    other = run(recipe, "--out", tmp_path / "other", "--seed", 1)
    assert other.exit_code == 0, other.output
    assert weights(tmp_path / "other") != weights(out)
    assert "after each stage" in other.stdout
    assert "nDCG@10" in other.stdout


def _every_step(training: Any) -> Any:
    replace = msgspec.structs.replace
    return replace(training, loop=replace(training.loop, checkpoint_steps=1))


def test_the_same_training_ends_at_once_and_another_is_refused(
    trained: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    recipe, out, _ = trained
    copied = tmp_path / "model"
    for name in ("model.checkpoints", "model.lists"):
        shutil.copytree(out.with_name(name), tmp_path / name)
    other = written(tmp_path, TINY.replace("noise = 0.5", "noise = 0.25", 1))
    said = run(other, "--out", copied)
    assert said.exit_code == 6
    assert "the checkpoint of another run" in said.stderr
    seen: list[str] = []
    before = weights(out)
    nexus_run.train_nexus(read_nexus_recipe(recipe), out, progress=lambda done, total, what: seen.append(what))
    assert [what for what in seen if what.startswith("stage")] == []
    assert weights(out) == before


def test_exit_codes_and_places(tmp_path: Path) -> None:
    recipe = written(tmp_path)
    assert run(tmp_path / "none.toml").exit_code == 4
    assert "got no [out] folder" in (none := run(recipe)).stderr
    assert none.exit_code == 5
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    full = run(recipe, "--out", tmp_path / "full")
    assert full.exit_code == 6
    assert "not a model folder" in full.stderr
    assert not (tmp_path / "full.lists").exists()
    assert run(written(tmp_path, TINY + "nope = 1"), "--out", tmp_path / "a").exit_code == 5
    assert run(recipe, "--seed", -1).exit_code == 2


def test_a_fall_stops_the_schedule_and_checkpoints_go_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measure stands in: each time it is asked, everything is worse."""
    worse = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])

    def falling(*_: object) -> dict[ListKind, float]:
        return dict.fromkeys((ListKind.TEXT, ListKind.IMAGE), next(worse))

    monkeypatch.setattr(nexus, "quality", falling)
    out = '[out]\nfolder = "model"\nlists = "kept"\ncheckpoints = "remove"\n'
    said = run(written(tmp_path, TINY + '[schedule]\non_fall = "stop"\n' + out))
    assert said.exit_code == 5
    assert "stage 'image': got text lists from 0.800 to 0.700 nDCG" in said.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.toml", "kept", "model.checkpoints"}
    told = run(written(tmp_path, TINY + out))
    assert told.exit_code == 0, told.output
    assert "0.4000 ↓0.1000 !" in told.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.toml", "kept", "model"}


@pytest.mark.slow
def test_a_pretrained_student_learns_adapters_in_bfloat16(tmp_path: Path) -> None:
    sizes = SmallVlm(vocabulary=300, dim=64, heads=2, mlp=32, sight_dim=32, sight_layers=1, sight_heads=2)
    make_small_vlm(["a red star on a sheet", "what is blue"], sizes).write(tmp_path / "vlm")
    student = '[student]\nkind = "pretrained"\nmodel = "./vlm"\ndtype = "bfloat16"\n'
    stages = STAGES.replace(
        "results = 4,", 'results = 4, weights = "lora", rank = 2, tower = "frozen", checkpointing = true,'
    ).replace("batch_size = 4", 'batch_size = 4, precision = "bf16"')
    said = run(written(tmp_path, student + LISTS + stages), "--out", tmp_path / "model", "--json")
    assert said.exit_code == 0, said.output
    facts = json.loads(said.stdout)
    assert facts["recipe"]["student"]["model"] == "vlm"
    ranker = wholepage.load(tmp_path / "model")
    assert isinstance(ranker, ListwiseRanker)
    assert ranker.pretrained.embed.weight.dtype is torch.bfloat16
    assert weights(tmp_path / "model") != (tmp_path / "vlm/model.safetensors").read_bytes()


@pytest.mark.slow
def test_two_processes_train_one_model_and_only_the_first_speaks(
    trained: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    recipe, _, facts = trained
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", "-m", "wholepage", "train", "nexus"]
    env = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    two = tmp_path / "two"
    done = subprocess.run(
        [*command, str(recipe), "--out", str(two), "--json"], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["processes"] == 2
    assert told["lists"] == facts["lists"]
    # Sums of gradients in another order: measured, nDCG is the same.
    for mine, theirs in zip(told["stages"], facts["stages"], strict=True):
        assert mine["quality"] == pytest.approx(theirs["quality"], abs=0.05)
    assert isinstance(wholepage.load(two), ListwiseRanker)
