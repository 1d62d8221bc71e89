"""``wholepage study`` from the recipe to the report: killed, resumed, repeated, on one process and on two."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from wholepage.apps import studies
from wholepage.apps.cli import app
from wholepage.apps.study_recipe import Recipe, read_recipe
from wholepage.collections.synthetic import Synthetic
from wholepage.evaluation.study_table import read_parquet
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality
from wholepage.pages.records import write_judgments, write_pages

RECIPE = """
name = "small"
seeds = [0]
[data]
collection = "synthetic"
queries = 20
image = "none"
[towers]
folds = 2
[towers.loop]
epochs = 1
[towers.teacher_loop]
epochs = 1
[smar]
members = 1
keep = 8
[smar.loop]
epochs = 1
[experiments.cost]
methods = ["smar", "sft", "lambdamart", "zscore"]
shares = [0.1, 0.2, 1.0]
[experiments.alignment]
methods = ["smar"]
forms = ["listwise", "kl"]
[experiments.imbalance]
methods = ["smar"]
ratios = [0, 4]
"""
LIMIT_S = 1200  # for a machine that has much else to do


def quiet(done: int, total: int, what: str) -> None:
    del done, total, what


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHOLEPAGE_CACHE", str(cache))


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def recipe(recipe_path: Path) -> Recipe:
    return read_recipe(recipe_path)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that ran through, in this process."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHOLEPAGE_CACHE", str(cache))
        studies.study(recipe, out, made_by="a test", workers=1, progress=quiet)
    return out


def test_a_study_leaves_its_rows_its_report_and_its_tables(whole: Path) -> None:
    rows = read_parquet(whole / "measured.parquet")
    assert {row.experiment for row in rows} == {"cost", "alignment", "imbalance"}
    assert {row.method for row in rows if row.experiment == "cost"} == {"smar", "sft", "lambdamart", "zscore"}
    assert len({row.query_id for row in rows}) == 5
    report = (whole / "report.html").read_text()
    assert "a test" in report
    assert "<svg" in report
    assert "src=" not in report.replace('src="data:', "")
    assert r"\toprule" in (whole / "tables.tex").read_text()
    assert "SMAR" in (whole / "tables.md").read_text()
    assert not list((whole / "grounds").glob("*.checkpoints"))


def test_equal_work_is_done_once(whole: Path) -> None:
    rows = read_parquet(whole / "measured.parquet")
    asked = {(r.experiment, r.method, r.variant, r.share) for r in rows}
    assert len(asked) == 10 + 2 + 2
    assert len(list((whole / "cells").glob("*.json"))) == 10 + 1 + 1


def test_a_killed_study_ends_with_the_same_bytes(recipe_path: Path, whole: Path, cache: Path, tmp_path: Path) -> None:
    """Killed without warning once some cells are done, it goes on; two processes give what one gave."""
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "wholepage", "study", str(recipe_path), "--out", str(out), "--workers", "2"]
    env = os.environ | {"WHOLEPAGE_CACHE": str(cache)}
    running = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends = time.monotonic() + LIMIT_S
    while not list((out / "cells").glob("*.json")):
        assert running.poll() is None, "it ended before a cell was done"
        assert time.monotonic() < ends, f"no cell was done in {LIMIT_S} s"
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (out / "measured.parquet").exists()
    done = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}
    assert 0 < len(done) < 12
    finished = subprocess.run(
        [*command, "--json"], env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["study"] == "small"
    assert (out / "measured.parquet").read_bytes() == (whole / "measured.parquet").read_bytes()
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())


def test_a_finished_study_does_nothing_again(recipe: Recipe, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "cells").glob("*.json")}
    bytes_before = (whole / "measured.parquet").read_bytes()
    studies.study(recipe, whole, made_by="a test", workers=1, progress=quiet)
    assert {path: path.stat().st_mtime_ns for path in (whole / "cells").glob("*.json")} == before
    assert (whole / "measured.parquet").read_bytes() == bytes_before


def test_a_finished_study_needs_no_encoder(recipe: Recipe, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: object, **named: object) -> None:
        pytest.fail("an encoder was loaded")

    monkeypatch.setattr(studies, "result_vectors", refused)
    studies.study(recipe, whole, made_by="a test", workers=1, progress=quiet)


def test_a_second_process_is_kept_out(recipe: Recipe, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="no locks of this kind on this system")
    out = tmp_path / "held"
    out.mkdir()
    with (out / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"held: got a second process .*--out"):
            studies.study(recipe, out, workers=1, progress=quiet)
    assert [path.name for path in out.iterdir()] == [".lock"]


def test_a_run_killed_between_two_grounds_finds_its_checkpoints(
    recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    told: list[Path] = []

    def stopped(places: dict[int, Path], *given: object, folder: Path, **named: object) -> None:
        told.append(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "prepare", stopped)
    for ground in sorted((copy / "grounds").iterdir()):
        shutil.rmtree(ground)
        with pytest.raises(KeyboardInterrupt):
            studies.study(recipe, copy, workers=1, progress=quiet)
    assert len(told) == 2
    assert len(set(told)) == 1


def test_changed_settings_are_done_anew(recipe: Recipe, whole: Path) -> None:
    """Cells of other settings stay, and are not mistaken for these."""
    only = msgspec.structs.replace(recipe.experiments["cost"], methods=("sft",), shares=(1.0,))
    smar = msgspec.structs.replace(recipe.smar, width=32)
    one = msgspec.structs.replace(recipe, experiments={"cost": only})
    other = msgspec.structs.replace(one, smar=smar)
    out = whole.parent / "changed"
    numbers = []
    for asked in (one, other, one):
        numbers.append(studies.study(asked, out, workers=1, progress=quiet).rows)
    assert numbers[0] == numbers[2] != numbers[1]
    assert len(list((out / "cells").glob("*.json"))) == 2
    assert len(list((out / "grounds").iterdir())) == 1


def test_a_damaged_cell_is_named(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    cell = sorted((copy / "cells").glob("*.json"))[0]
    cell.write_bytes(cell.read_bytes()[:-5])
    with pytest.raises(InputError, match=cell.name):
        studies.study(recipe, copy, workers=1, progress=quiet)


def test_modalities_can_be_left_out(recipe: Recipe, tmp_path: Path) -> None:
    data = msgspec.structs.replace(recipe.data, without=(Modality.ANSWER, Modality.VIDEO))
    only = msgspec.structs.replace(recipe.experiments["cost"], methods=("lambdamart",), shares=(1.0,))
    one = msgspec.structs.replace(recipe, data=data, experiments={"cost": only})
    found = studies.study(one, tmp_path, workers=1, progress=quiet)
    world = Synthetic(20, seed=7)
    kept = sum(r.modality not in data.without for page in world.pages("train") for r in page.results)
    assert {row.labels for row in found.rows} == {row.full_labels for row in found.rows} == {kept}


def test_pages_and_judgments_of_ones_own_are_read(tmp_path: Path) -> None:
    world = Synthetic(20, seed=7)
    write_pages(tmp_path / "pages.jsonl", world.pages("train"))
    write_judgments(tmp_path / "said.jsonl", world.judgments("train"))
    data = f"""
        name = "own"
        [data]
        collection = "{tmp_path / "pages.jsonl"}"
        judgments = "{tmp_path / "said.jsonl"}"
        train_split = "all"
        folds = 3
        [experiments.cost]
        methods = ["zscore"]
    """
    (tmp_path / "own.toml").write_text(data)
    found = studies._folds(read_recipe(tmp_path / "own.toml").data, None)
    ids = [{page.query_id for page in fold.test.pages} for fold in found]
    assert len(ids) == 3
    assert set().union(*ids) == {page.query_id for page in world.pages("train")}
    for fold in found:
        assert not {page.query_id for page in fold.train.pages} & {page.query_id for page in fold.test.pages}
        assert fold.test.judgments.by_result(fold.test.pages[0].query_id)


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.toml"
    recipe.write_text("name = 'x'\n")
    said = CliRunner().invoke(app, ["study", str(recipe)])
    assert said.exit_code == 5
    missing = CliRunner().invoke(app, ["study", str(tmp_path / "none.toml")])
    assert missing.exit_code == 5
