"""Every block that a text shows is run, read or looked up by some test, or is named here with the reason."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from .shown import ROOT, Block, blocks, parse

COVERED = (
    # language, texts, what becomes of its blocks, and where
    ("bash", "*", "parsed; run, or named with the reason", "tests/docs/test_commands.py"),
    ("python", "README.md", "run", "tests/apps/test_readme.py"),
    ("python", "docs/tutorial.md", "run", "tests/apps/test_tutorial.py"),
    ("python", "docs/guides/*", "run, guide by guide, as one program", "tests/apps/test_guides.py"),
    ("python", "docs/index.md", "run", "tests/docs/test_blocks.py"),
    ("py", "docs/guides/*", "imports and calls looked up; the reasons stand in SHOWN", "tests/apps/test_guides.py"),
    ("toml", "docs/guides/*", "read by the command it is for", "tests/apps/test_guides.py"),
    ("json", "README.md", "read, and ranked", "tests/apps/test_readme.py"),
    ("json", "docs/tutorial.md", "read", "tests/apps/test_tutorial.py"),
    ("sh", "docs/tutorial.md", "run, but for what installs", "tests/apps/test_tutorial.py"),
    ("sh", "docs/guides/serving.md", "requests sent, the rest looked up", "tests/apps/test_serving_guide.py"),
    ("sh", "docs/guides/distributed.md", "files, options and commands looked up", "tests/docs/test_blocks.py"),
    ("sh", "docs/index.md", "make's targets and extras looked up", "tests/docs/test_blocks.py"),
    ("sh", "CONTRIBUTING.md", "make's targets and programs looked up", "tests/docs/test_blocks.py"),
    ("text", "CONTRIBUTING.md", "the floors, held against the law", "tests/docs/test_blocks.py"),
    ("text", "docs/guides/batch.md", "what a job leaves, held against one", "tests/docs/test_commands.py"),
)
SHOWN = {
    ("choosing-labels.md", "from wholepage.annotation import buy"): "minutes of training, asked round by round",
    (
        "collections.md",
        "from wholepage.collections.qilin",
    ): "Qilin's files; tests/collections/test_qilin.py has its toy rows",
    ("listwise.md", "from wholepage.rankers.listwise"): "a model of 2 billion parameters",
    ("measuring.md", "from pathlib"): "runs below, on files of runs",
    ("serving.md", "import cohere"): "runs in tests/apps/test_serving_guide.py",
    ("serving.md", "from wholepage.apps.serving.served_models"): "runs in tests/apps/test_serving_guide.py",
    ("studies.md", "from wholepage.evaluation.study"): "a finished study of real pages, which takes minutes",
    ("vlm.md", "from pathlib"): "a GPU",
    ("vlm.md", "from wholepage.rankers.vlm_ranker"): "a GPU",
}
"""Code that is shown and not run in ``test_guides.py``: by the guide and how it begins, why."""


def rows(block: Block) -> list[tuple[str, str, str, str]]:
    return [row for row in COVERED if row[0] == block.language and fnmatch(block.text, row[1])]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.name)
def test_somebody_looks_after_it(block: Block) -> None:
    assert len(rows(block)) == 1, f"got a {block.language!r} block that {len(rows(block))} rows of COVERED name"


def test_rows_are_of_blocks_that_there_are_and_of_tests_that_read_them() -> None:
    used = {row for block in blocks() for row in rows(block)}
    assert [row for row in COVERED if row not in used] == []
    for language, texts, _, test in COVERED:
        source = (ROOT / test).read_text(encoding="utf-8")
        assert (ROOT / test).is_file()
        name = Path(texts).name if "*" not in texts else {"*": "command_lines"}.get(texts, "guides")
        assert name in source, f"{test} does not read {texts}"
        assert f'"{language}"' in source or "command_lines" in source, f"{test} reads no {language} block of {texts}"


def test_code_that_is_only_shown_has_its_reason() -> None:
    unnamed, used = [], set()
    for block in blocks("py"):
        found = [key for key in SHOWN if block.text.endswith(f"/{key[0]}") and block.body.startswith(key[1])]
        unnamed += [] if len(found) == 1 else [block.name]
        used.update(found)
    assert unnamed == []
    assert used == set(SHOWN)


def test_a_block_in_another_language_would_be_noticed() -> None:
    assert rows(Block("docs/tutorial.md", "ruby", "puts 1\n")) == []
    assert rows(Block("docs/log.md", "python", "print(1)\n")) == []


@pytest.mark.parametrize("block", blocks("python") + blocks("py"), ids=lambda block: block.name)
def test_python_compiles_and_imports_what_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.body)):
        if isinstance(node, ast.Import):
            names = [(one.name, "") for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "", one.name) for one in node.names]
        else:
            continue
        for module, name in names:
            if module.startswith("wholepage"):
                assert not name or hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize(
    "block", [one for one in blocks("python") if one.text == "docs/index.md"], ids=lambda block: block.name
)
def test_the_first_page_runs(block: Block) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block.body, block.text, "exec"), names)
    assert names["ranking"].check(names["page"]) is names["ranking"]


def test_code_on_runs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from wholepage.pages.model import Modality

    from .test_commands import fill  # with all that the commands import

    (block,) = [one for one in blocks("py") if one.text.endswith("measuring.md")]
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, Modality.TEXT, Modality.ANSWER)
    exec(compile(block.body, block.text, "exec"), {"__name__": "__main__"})
    assert 0 <= float(capsys.readouterr().out) <= 1
    assert "SMAR against z-score" in (tmp_path / "report.html").read_text(encoding="utf-8")


SHELL = [
    (block.text, line)
    for block in blocks("sh")
    if block.text in ("docs/index.md", "CONTRIBUTING.md", "docs/guides/distributed.md")
    for line in block.body.splitlines()
]


@pytest.mark.parametrize("line", [line for _, line in SHELL])
def test_what_a_shell_line_names_is_there(line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if not re.match(r"^[A-Z_]+=", word)]
    named = [word for word in words if re.match(r"(?:\./)?(?:recipes|deploy|benchmarks|examples)/", word)]
    assert [place for place in named if not (ROOT / place).is_file()] == []
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif "install" in words[:3]:
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        wanted = [word for word in words if word.startswith((".[", "torch"))]
        for extra in re.findall(r"\.\[(\w+)\]", " ".join(wanted)):
            assert re.search(rf"^{extra} = ", text, re.MULTILINE)
        assert [word for word in wanted if word.startswith("torch") and f'"{word}"' not in text] == []
    elif words[0] == "wholepage":
        assert words[1:] == ["--help"] or parse(shlex.join(words)) is None
    elif "-m" in words and words[words.index("-m") + 1] == "wholepage":
        parse(shlex.join(words[words.index("-m") + 1 :]))
    elif named[:1] == ["deploy/ray_train.py"]:
        source = (ROOT / named[0]).read_text(encoding="utf-8")
        assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == []
    else:
        assert words[0] in named or words[:3] == ["python3", "-m", "venv"] or words[0].startswith(".venv/bin/"), line


def test_the_floors_are_those_of_the_law() -> None:
    (block,) = [one for one in blocks("text") if one.text == "CONTRIBUTING.md"]
    law = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (layers,) = re.findall(r"^layers = \[(.*?)^\]", law, re.MULTILINE | re.DOTALL)
    floors = [re.findall(r"\w+", floor.replace("wholepage.", "")) for floor in re.findall(r'"([^"]+)"', layers)]
    told = [re.findall(r"\w+", re.split(r" {3,}", line)[0]) for line in block.body.splitlines()]
    assert [sorted(floor) for floor in told] == [sorted(floor) for floor in floors]
