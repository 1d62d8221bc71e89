"""The command lines of README and guides, run as they stand; those that are not, by name and with the reason.

Pages are few and training is short; the lines are the texts' own. The tutorial's are run by ``test_tutorial.py``.
"""

from __future__ import annotations

import gzip
import re
import shlex
import shutil
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from wholepage.apps import contenders, experiments, learning, recipes
from wholepage.apps.cli import app
from wholepage.apps.places import open_collection
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.records import write_judgments, write_pages, write_qrels, write_rankings
from wholepage.rankers.shipped import shipped
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import TowerConfig
from wholepage.training.smar import SmarConfig

from .shown import ROOT, blocks, command_lines, parse

NOT_RUN = {
    r"wholepage (annotate )?serve\b": (
        "it listens until it is ended",
        ("tests/apps/test_command_serve.py", "tests/apps/test_serving_guide.py", "tests/apps/desk"),
    ),
    r"--endpoint http": (
        "it needs a server with a model",
        ("tests/apps/test_chat_endpoint.py", "tests/apps/test_command_annotate.py"),
    ),
    r"--root data\b": (
        "it needs real collections, and takes minutes",
        ("tests/apps/test_cli_training.py", "tests/apps/test_simulation.py", "tests/apps/test_study_recipe.py"),
    ),
    r"recipes/\w+_synthetic(_cpu)?\.toml": (
        "the whole recipe takes minutes; it is read, and run with less",
        ("tests/apps/test_cli_recipes.py", "tests/apps/test_nexus_run.py", "tests/apps/test_rehearsal.py",
         "tests/apps/test_studies.py"),
    ),
    r"collection get ": ("it fetches", ("tests/apps/test_command_collection.py", "tests/collections")),
    r"\bdl19\b|collection sample qilin": (
        "it needs real collections",
        ("tests/apps/test_command_collection.py", "tests/collections"),
    ),
    r"\bs3://": ("it needs a store of objects", ("tests/apps/batch/test_places.py",)),
    r"--ray\b": ("starting Ray takes longer than the job", ("tests/apps/batch/test_ray_actors.py",)),
    r"--kind cross-encoder": ("it tunes a whole transformer, for minutes", ("tests/apps/test_cli_recipes.py",)),
    r"train smar .* --labels ": ("it needs what people answered", ("tests/apps/test_bought.py",)),
}  # fmt: skip
"""What is in a line that is only parsed: why, and who tries the command instead."""
ELSEWHERE = {"docs/tutorial.md": "tests/apps/test_tutorial.py"}
TOWERS = TowerConfig(folds=2, loop=LoopConfig(epochs=2))
SMAR = SmarConfig(members=1, keep=16, loop=LoopConfig(epochs=2))
SINGLE = dict.fromkeys(Modality, TOWERS)

LINES = command_lines()
TOLD = {text: [line for of, line in LINES if of == text] for text in dict.fromkeys(of for of, _ in LINES)}


def reason(line: str) -> str | None:
    """Why a line is only parsed; None = it is run."""
    return next((why for pattern, (why, _) in NOT_RUN.items() if re.search(pattern, line)), None)


RUN = {text: [line for line in lines if reason(line) is None] for text, lines in TOLD.items() if text not in ELSEWHERE}


@pytest.mark.parametrize("line", sorted({line for _, line in LINES}))
def test_every_line_is_parsed_by_the_command_itself(line: str) -> None:
    parse(line)


def test_reasons_are_of_lines_that_there_are_and_name_who_tries_them() -> None:
    for pattern, (why, tests) in NOT_RUN.items():
        assert any(re.search(pattern, line) for _, line in LINES), f"no line has {pattern}: {why}"
        assert [test for test in tests if not (ROOT / test).exists()] == []
    for text, test in ELSEWHERE.items():
        assert Path(text).name in (ROOT / test).read_text(encoding="utf-8")
    assert sum(map(len, RUN.values())) >= 0.4 * len(LINES), "most lines are only parsed"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Short training, in place of what the commands do by themselves."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHOLEPAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COLUMNS", "200")
        patch.setattr(contenders, "Settings", partial(contenders.Settings, towers=TOWERS, smar=SMAR))
        patch.setattr(experiments, "QUICK_QUERIES", 16)
        patch.setattr(learning, "fit_single_modal", partial(learning.fit_single_modal, config=TOWERS))
        patch.setattr(recipes, "Recipe", partial(recipes.Recipe, smar=SMAR, single=SINGLE))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def ground(small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the lines name, as somebody has them who comes to that place of a text."""
    folder = tmp_path_factory.mktemp("ground")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fill(folder, Modality.TEXT, Modality.ANSWER)  # pictures would be read by OCR, for minutes
        said = CliRunner().invoke(app, ["demo", "--quick"])
        assert said.exit_code == 0, said.output
    shutil.copytree(folder / "runs/demo/model", folder / "runs/model")
    shutil.copytree(shipped("listwise-small"), folder / "runs/listwise")
    return folder


def fill(folder: Path, *kinds: Modality) -> None:
    """Pages of these kinds, judgments and orders, under every name that the texts give them."""
    world = open_collection("synthetic", queries=28, seed=3, modalities=kinds)
    pages, said = list(world.pages("train")), world.judgments("train")
    for name in ("pages.jsonl", "train.jsonl"):
        write_pages(folder / name, pages)
    write_judgments(folder / "judgments.jsonl", said)
    for name in ("train.qrels", "pages.qrels", "dev.qrels"):
        write_qrels(folder / name, said)
    few = {page.query_id: page.result_ids for page in pages[:3]}
    for name in ("pilot.jsonl", "judged.jsonl"):
        write_judgments(folder / name, said.restrict(few))
    (folder / "lake").mkdir(exist_ok=True)
    (folder / "lake" / "a.jsonl.gz").write_bytes(gzip.compress((folder / "pages.jsonl").read_bytes()))
    rows = (folder / "pages.jsonl").read_text(encoding="utf-8").splitlines()
    for name, part in (("day-1.parquet", rows[:9]), ("day-2.parquet", rows[9:])):
        pq.write_table(pa.table({"page": part}), folder / name)
    rng = np.random.default_rng(0)
    for name, noise in (("orders.jsonl", 1.0), ("zscore.jsonl", 2.0), ("smar.jsonl", 0.5)):
        write_rankings(folder / name, [ordered(page, said, noise, rng, Path(name).stem) for page in pages])


def ordered(page: Page, said: Judgments, noise: float, rng: np.random.Generator, by: str) -> Ranking:
    """The page in the order of its grades, with noise."""
    grades = said.by_result(page.query_id)
    worth = {one: grades.get(one, 0.0) + noise * rng.standard_normal() for one in page.result_ids}
    return Ranking(page.query_id, tuple(sorted(worth, key=lambda one: -worth[one])), by=by)


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text, lines in RUN.items() if lines])
def test_the_lines_run_in_their_order(text: str, ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    shutil.copytree(ground, here)
    monkeypatch.chdir(here)
    if any(line.startswith("wholepage train image") for line in RUN[text]):
        fill(here, Modality.TEXT, Modality.IMAGE)
    for line in RUN[text]:
        if line == "wholepage demo --quick":
            continue  # it made the ground
        words = shlex.split(line)[1:]
        if words[0] == "batch":
            shutil.rmtree("ranked", ignore_errors=True)  # a folder holds one job
        said = CliRunner().invoke(app, words)
        assert said.exit_code == 0, f"{line}: {said.output}"
        for flag, written in pairwise(words):
            if flag in ("-o", "--out", "--report", "--keep", "--latex", "--markdown", "--output"):
                assert Path(written).exists(), line
    if text.endswith("batch.md"):
        (tree,) = [block.body for block in blocks("text") if block.text == text]
        told = re.findall(r"^  (_\w+[\w./-]*|part-000000\S*)", tree, re.MULTILINE)
        assert len(told) >= 4
        assert [name for name in told if "_rejects" not in name and not Path("ranked", name).is_file()] == []
