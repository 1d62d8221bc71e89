"""What the README and the examples show, run."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer.main
from tests.docs.shown import parse
from typer.testing import CliRunner

from wholepage.apps import exits
from wholepage.apps.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(language: str) -> list[str]:
    return [body for found, body in _BLOCK.findall(README) if found == language]


COMMAND_LINES = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
OWN_LINES = [line for line in COMMAND_LINES if line.startswith("wholepage ")]
_CHEAP = ("rank pages.jsonl -o", "evaluate", "select pages.jsonl", "annotate create", "annotate invite")
CHEAP = [line for line in OWN_LINES if line.removeprefix("wholepage ").startswith(_CHEAP)]


@pytest.fixture
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHOLEPAGE_CACHE", str(tmp_path / "cache"))


def test_there_are_blocks() -> None:
    assert len(blocks("python")) >= 1
    assert len(OWN_LINES) >= 6
    assert len(CHEAP) >= 2
    commands = {one.name or one.callback.__name__ for one in app.registered_commands}
    assert {line.split()[1] for line in OWN_LINES} == commands | {one.name for one in app.registered_groups}


@pytest.mark.usefixtures("_in_a_folder_of_its_own")
@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.splitlines()[0])
def test_python_block_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    *scores, ranker = capsys.readouterr().out.splitlines()
    assert [int(line.split()[0]) for line in scores][-1] == 2  # the soup
    assert ranker.startswith("offline default")


@pytest.mark.parametrize("line", OWN_LINES)
def test_command_line_parses(line: str) -> None:
    parse(line)


@pytest.mark.parametrize(
    "line", ["wholepage rank", "wholepage nope", "wholepage demo --nope", "wholepage train smar x"]
)
def test_wrong_command_line_would_be_noticed(line: str) -> None:
    with pytest.raises((AssertionError, typer.BadParameter.__mro__[1])):  # the second is UsageError
        parse(line)


@pytest.mark.usefixtures("_in_a_folder_of_its_own")
def test_cheap_command_lines_run(tmp_path: Path) -> None:
    pages, judgments = blocks("json")
    (tmp_path / "pages.jsonl").write_text(pages)
    (tmp_path / "judgments.jsonl").write_text(judgments)
    for line in CHEAP:
        said = CliRunner().invoke(app, shlex.split(line)[1:])
        assert said.exit_code == 0, f"{line}: {said.output}"
        assert "PairAccuracy" in said.stdout or not line.startswith("wholepage evaluate")
    assert (tmp_path / "rankings.jsonl").is_file()


def test_make_targets_and_extras_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in COMMAND_LINES:
        words = shlex.split(line)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE)
        elif words[0] == "pip":
            extra = re.fullmatch(r"\.\[(\w+)\]", words[2])
            assert extra is not None
            assert re.search(rf"^{extra[1]} = ", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
        else:
            assert words[0] == "wholepage", line


def test_exit_codes_are_those_of_the_command() -> None:
    told = re.search(r"^Exit codes: (.*?)\n`", README, re.MULTILINE | re.DOTALL)
    assert told is not None
    assert [int(code) for code in re.findall(r"(?:^|· )(\d+)\b", told[1].replace("\n", " "))] == list(exits.MEANINGS)


def test_files_it_points_to_exist() -> None:
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.usefixtures("_in_a_folder_of_its_own")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") < 60
    assert f"examples/{path.name}" in source.split('"""')[1]
    runpy.run_path(str(path), run_name="__main__")  # in this process: the encoders are loaded once
    assert len(capsys.readouterr().out.splitlines()) >= 2
