"""What the guides show: commands parse, recipes are read, code runs or at least names what there is."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import typer.main
from tests.docs.shown import parse
from typer.testing import CliRunner

from wholepage.apps import campaigns, nexus_recipe, recipes, study_recipe
from wholepage.apps.cli import app
from wholepage.apps.places import open_collection
from wholepage.apps.serving.setup import read_setup
from wholepage.pages.errors import WholepageError
from wholepage.pages.model import Modality, Ranking
from wholepage.pages.records import write_judgments, write_pages, write_rankings

ROOT = Path(__file__).parents[2]
GUIDES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "guides").glob("*.md"))}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"\b(?:recipes|benchmarks|examples)/\w+\.\w+")


def blocks(language: str) -> list[tuple[str, str]]:
    """The guide and the text of each block."""
    return [(name, body) for name, text in GUIDES.items() for found, body in _BLOCK.findall(text) if found == language]


LINES = [(guide, line) for guide, block in blocks("bash") for line in block.splitlines() if line.strip()]
RUNNABLE = [name for name, text in GUIDES.items() if "```python\n" in text]


def imported(tree: ast.Module) -> dict[str, Any]:
    """What a block imports, by the name it goes by there; fails on what there is not."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {one.asname or one.name: importlib.import_module(one.name) for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            found |= {one.asname or one.name: getattr(module, one.name) for one in node.names}
    return found


def check_calls(tree: ast.Module, known: dict[str, Any]) -> int:
    """Hold calls of what was imported against its signatures; how many calls there were."""
    checked = 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(isinstance(arg, ast.Starred) for arg in node.args):
            continue
        target: Any = None
        if isinstance(node.func, ast.Name):
            target = known.get(node.func.id)
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            owner = known.get(node.func.value.id)
            target = None if owner is None else getattr(owner, node.func.attr)
        if target is not None:
            inspect.signature(target).bind(*node.args, **{word.arg: word.value for word in node.keywords if word.arg})
            checked += 1
    return checked


@pytest.fixture
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHOLEPAGE_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_there_are_guides_with_blocks_of_every_kind() -> None:
    assert {
        "annotation",
        "choosing-labels",
        "interchange",
        "listwise",
        "measuring",
        "nexus",
        "online",
        "serving",
        "training",
        "studies",
        "vlm",
    } <= set(GUIDES)
    languages = {found for text in GUIDES.values() for found, _ in _BLOCK.findall(text)}
    assert languages == {"bash", "python", "py", "sh", "text", "toml"}  # `sh` lines are those of test_serving_guide
    assert len(LINES) >= 10
    assert len(RUNNABLE) >= 2


@pytest.mark.parametrize("line", [line for _, line in LINES])
def test_command_line_parses(line: str) -> None:
    assert shlex.split(line)[0] == "wholepage"
    parse(line)


@pytest.mark.parametrize(
    "line", ["wholepage select", "wholepage train words pages.jsonl", "wholepage study a.toml --nope", "wholepage nope"]
)
def test_a_wrong_command_line_would_be_noticed(line: str) -> None:
    with pytest.raises((AssertionError, typer.BadParameter.__mro__[1])):  # the second is UsageError
        parse(line)


def test_files_that_are_named_exist() -> None:
    named = {place for text in GUIDES.values() for place in _PLACE.findall(text)}
    assert len(named) >= 4
    assert [place for place in sorted(named) if not (ROOT / place).is_file()] == []


@pytest.mark.parametrize(("guide", "text"), blocks("toml"), ids=lambda given: given.splitlines()[0])
def test_recipe_is_read(guide: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    if guide == "annotation":
        assert campaigns.read_settings(path, {}).engine == "hmm"
    elif guide == "nexus":
        assert nexus_recipe.read_nexus_recipe(path).out is not None
    elif guide == "serving":
        assert read_setup(path, {}).engine.workers == 4
    elif "experiments" in tomllib.loads(text):
        assert study_recipe.cells(study_recipe.read_recipe(path), 1)
    else:
        assert recipes.read_recipe(path).out is not None
    path.write_text(f"nope = 1\n{text}", encoding="utf-8")
    reader = {
        "studies": study_recipe.read_recipe,
        "annotation": lambda p: campaigns.read_settings(p, {}),
        "nexus": nexus_recipe.read_nexus_recipe,
        "serving": lambda p: read_setup(p, {}),
    }
    with pytest.raises(WholepageError, match="nope"):
        reader.get(guide, recipes.read_recipe)(path)


@pytest.mark.parametrize(("guide", "text"), blocks("py"), ids=lambda given: given.splitlines()[0])
def test_code_that_is_only_shown_names_what_there_is(guide: str, text: str) -> None:
    """It needs a GPU or real data; its imports and the arguments of its calls are looked up."""
    before = "".join(body for name, body in blocks("py") if name == guide)
    known = imported(ast.parse(before))
    assert check_calls(ast.parse(text), known) >= 1


def test_a_wrong_name_or_argument_would_be_noticed() -> None:
    with pytest.raises(AttributeError):
        imported(ast.parse("from wholepage.annotation import buyy"))
    tree = ast.parse("from wholepage.annotation import buy\nbuy(1, 2, 3, 4, seed=0, seeds=0)")
    with pytest.raises(TypeError, match="seeds"):
        check_calls(tree, imported(tree))


@pytest.mark.usefixtures("_in_a_folder_of_its_own")
@pytest.mark.parametrize("guide", RUNNABLE)
def test_code_runs_from_top_to_bottom(guide: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks of a guide are one program; then its commands run on what it wrote."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for of, block in blocks("python"):
        if of == guide:
            exec(compile(block, f"{guide}.md", "exec"), names)
    if guide == "choosing-labels":
        assert names["found"].audited > 0
        assert "inferred grades checked" in capsys.readouterr().out
    for of, line in LINES:
        if of == guide and line.startswith("wholepage select") and "orders.jsonl" in line:
            said = CliRunner().invoke(app, shlex.split(line)[1:])
            assert said.exit_code == 0, f"{line}: {said.output}"
            assert (Path(shlex.split(line)[-1]) / "selection.json").is_file()


@pytest.mark.usefixtures("_in_a_folder_of_its_own")
def test_a_campaign_as_the_guide_has_it() -> None:
    """Its commands, in their order, but for the server and for what trains or needs a model or real data."""
    world = open_collection("synthetic", queries=4, seed=3, modalities=(Modality.TEXT, Modality.ANSWER))
    pages, known = list(world.pages("train")), world.judgments("train")
    write_pages("pages.jsonl", pages)
    write_rankings("orders.jsonl", [Ranking(p.query_id, p.result_ids, by="as received") for p in pages])
    write_judgments("pilot.jsonl", known.restrict({pages[0].query_id: pages[0].result_ids}))
    ran = []
    for of, line in LINES:
        words = shlex.split(line)
        if of != "annotation" or words[2] in ("serve", "smar", "simulate", "rehearse", "judge"):
            continue
        said = CliRunner().invoke(app, words[1:])
        assert said.exit_code == 0, f"{line}: {said.output}"
        ran.append(words[2])
    assert ran == ["create", "invite", "status", "export", "verify", "import"]
