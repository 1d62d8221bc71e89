"""What the texts show: every fenced block, where it stands, and the command lines in it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import typer.main

from wholepage.apps.cli import app

ROOT = Path(__file__).parents[2]
TEXTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<marks>```+|~~~+)(?P<language>[^\n]*)\n(?P<body>.*?)^ *(?P=marks) *$", re.M | re.S
)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        text: the path below the repository.  language: what stands after the fence.
    """

    text: str
    language: str
    body: str

    @property
    def name(self) -> str:
        """For people: where it is, and how it begins."""
        return f"{self.text}: {self.body.strip().splitlines()[0][:60]}"


def blocks(language: str | None = None) -> list[Block]:
    """Every block of the texts, or those in one language."""
    found = [
        Block(path.relative_to(ROOT).as_posix(), fence["language"].strip(), fence["body"])
        for path in TEXTS
        for fence in _FENCE.finditer(path.read_text(encoding="utf-8"))
    ]
    return [block for block in found if language in (None, block.language)]


def command_lines() -> list[tuple[str, str]]:
    """Each line of a ``bash`` block, and the text it stands in."""
    return [
        (block.text, line)
        for block in blocks("bash")
        for line in block.body.splitlines()
        if line.startswith("wholepage")
    ]


def parse(line: str) -> None:
    """Parse a command line as the command would, without running it."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        name = words.pop(0)
        assert name in command.commands, f"no command {name!r} in: {line}"
        command = command.commands[name]
    with command.make_context(name, words):
        pass
