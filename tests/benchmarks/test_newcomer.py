"""The newcomer's path: its steps are the tutorial's, and a step that fails ends it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
Script = Callable[[str], ModuleType]
SMALL = "Four words are read.\n\n```python\nprint('these are not')\n```\n"
SERVER = """
import http.server, sys
address = ("127.0.0.1", int(sys.argv[2]))
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_steps_are_the_tutorials(script: Script) -> None:
    steps = script("newcomer").steps_of(TUTORIAL)
    assert [step.name for step in steps] == [
        "python3 -m venv",
        ".venv/bin/pip install .[all]",
        "write pages",
        "wholepage rank",
        "wholepage evaluate",
        "wholepage train smar",
        "wholepage rank",
        "wholepage evaluate",
        "wholepage serve model",
        "ask with curl",
        "ask from Python",
        "load it",
    ]
    assert [step.name for step in steps if step.installs] == [step.name for step in steps[:2]]
    assert [step.name for step in steps if step.serves] == ["wholepage serve model"]


def test_a_text_without_such_blocks_is_refused(script: Script) -> None:
    with pytest.raises(SystemExit, match="mend the tutorial"):
        script("newcomer").steps_of("# Nothing\n")


def test_words_of_code_are_not_read(script: Script) -> None:
    assert script("newcomer").reading_minutes(SMALL, 2.0) == 2.0


def test_steps_are_taken_in_a_folder_and_its_servers_end(script: Script, tmp_path: Path) -> None:
    newcomer = script("newcomer")
    step = newcomer.Step
    environment = newcomer.environment_in(tmp_path, skip_install=True)
    steps = [
        step("make", "false", installs=True),
        step("write", "echo here > written"),
        step("serve", f"{sys.executable} serve.py --port 8000", serves=True),
        step("ask", python="import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/written').read())"),
    ]
    (tmp_path / "serve.py").write_text(SERVER)
    done = newcomer.walk(steps, tmp_path, environment=environment, skip_install=True)
    assert list(done.seconds) == ["write", "serve", "ask"]
    assert done.answer == r"b'here\n'"
    assert all(took >= 0 for took in done.seconds.values())


def test_a_step_that_fails_ends_it(script: Script, tmp_path: Path) -> None:
    newcomer = script("newcomer")
    environment = newcomer.environment_in(tmp_path, skip_install=True)
    with pytest.raises(subprocess.CalledProcessError):
        newcomer.walk([newcomer.Step("fail", "false")], tmp_path, environment=environment, skip_install=True)
    gone = newcomer.Step("gone", f"{sys.executable} -c pass", serves=True)
    with pytest.raises(SystemExit, match="exit code 0"):
        newcomer.walk([gone], tmp_path, environment=environment, skip_install=True)
