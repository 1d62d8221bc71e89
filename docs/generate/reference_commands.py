"""The reference of the command line, read from the command itself: every command, argument and option."""

from __future__ import annotations

import re
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main
from reference_docstrings import code_in_a_cell, first_line, in_a_cell, plain

from wholepage.apps.cli import app
from wholepage.apps.exits import MEANINGS

FOLDER = "reference/commands"
_MARKUP = re.compile(r"\[/?(?:bold|italic|dim|cyan|green|red|yellow)\]")
_KINDS = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}
_VARIABLES = (
    ("WHOLEPAGE_DATA", "The folder of real collections, where `--root` is not given."),
    ("WHOLEPAGE_CACHE", "Where vectors are kept; else `~/.cache/wholepage`."),
    ("WHOLEPAGE_DEBUG", "`1` shows where an error came from."),
)


def commands() -> dict[str, Any]:
    """The commands of the first level, as ``wholepage --help`` lists them."""
    return dict(_root().commands)


def command_pages() -> dict[str, str]:
    """Every page by its path below ``docs``."""
    return {
        f"{FOLDER}/index.md": _front(),
        **{f"{FOLDER}/{name}.md": _page(name, command) for name, command in commands().items()},
    }


def command_nav() -> list[object]:
    """What stands in the navigation: a page a command."""
    return [f"{FOLDER}/index.md", *({name: f"{FOLDER}/{name}.md"} for name in commands())]


def _root() -> Any:
    return typer.main.get_command(app)


def _front() -> str:
    rows = [f"| [`wholepage {name}`]({name}.md) | {first_line(_help(one))} |" for name, one in commands().items()]
    parts = [
        "# Command line",
        "Written from the command itself when this site is built; `--help` says the same. Results go to stdout, "
        "progress and notes to stderr; an error is one line on stderr that says what was got, what is allowed and "
        "what to do.",
        "\n".join(["| command | does |", "|---|---|", *rows]),
        _parameters("Options", _root()),
        "## Exit codes",
        "\n".join(
            ["| code | means |", "|---|---|", *(f"| {code} | {in_a_cell(plain(m))} |" for code, m in MEANINGS.items())]
        ),
        "## Environment",
        "\n".join(["| variable | is |", "|---|---|", *(f"| `{name}` | {meaning} |" for name, meaning in _VARIABLES)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _page(name: str, command: Any) -> str:
    return "\n\n".join([f"# wholepage {name}", *_told(f"wholepage {name}", command, "##")]) + "\n"


def _told(line: str, command: Any, marks: str) -> list[str]:
    """What a command says of itself, and then each of those below it."""
    below = dict(getattr(command, "commands", {}))
    parts = [] if below else [f"```text\n{' '.join([line, '[OPTIONS]', *_words(command)])}\n```"]
    parts.append(_prose(_help(command)))
    if below:
        rows = [f"| [`{line} {name}`](#{_anchor(line, name)}) | {first_line(_help(c))} |" for name, c in below.items()]
        parts.append("\n".join(["| command | does |", "|---|---|", *rows]))
    parts += [_parameters("Arguments", command), _parameters("Options", command)]
    for name, one in below.items():
        parts.append(f"{marks} {line} {name} {{ #{_anchor(line, name)} data-toc-label='{name}' }}")
        parts += _told(f"{line} {name}", one, f"{marks}#")
    return [part for part in parts if part]


def _anchor(line: str, name: str) -> str:
    return "-".join([*line.split()[1:], name])


def _help(command: Any) -> str:
    return _MARKUP.sub("", command.help or "")


def _prose(text: str) -> str:
    """Paragraphs; the line that begins with Example becomes a block of code."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        found = re.match(r"(Examples?|Start with): *(wholepage .*)", " ".join(paragraph.split()))
        parts.append(f"{found[1]}:\n\n```text\n{found[2]}\n```" if found else plain(paragraph))
    return "\n\n".join(parts)


def _is_argument(parameter: Any) -> bool:
    return not parameter.opts[0].startswith("-")


def _words(command: Any) -> list[str]:
    told = []
    for one in command.params:
        if _is_argument(one):
            word = one.metavar or one.name.upper()
            word += "" if one.nargs == 1 or word.endswith("...") else "..."
            told.append(word if one.required else f"[{word}]")
    return told


def _parameters(title: str, command: Any) -> str:
    """A table of the arguments or of the options of one command; nothing where it has none."""
    wanted = [one for one in command.params if _is_argument(one) == (title == "Arguments") and not one.hidden]
    if not wanted:
        return ""
    hints = typing.get_type_hints(command.callback) if command.callback else {}
    rows = [f"| {_named(one, hints.get(one.name))} | {_meaning(one)} |" for one in wanted]
    head = "argument" if title == "Arguments" else "option"
    return "\n".join([f"**{title}**", "", f"| {head} | means |", "|---|---|", *rows])


def _named(one: Any, hint: Any) -> str:
    """What is written: the argument's word; an option's names and what follows them."""
    if _is_argument(one):
        return code_in_a_cell(one.metavar or one.name.upper())
    names = "<br>".join(code_in_a_cell(name) for name in (*one.opts, *one.secondary_opts))
    return " ".join(part for part in (names, _takes(one, _inner(hint))) if part)


def _takes(one: Any, kind: Any) -> str:
    """What follows an option: its own word, the values it allows, or its kind."""
    if kind is bool:
        return ""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(code_in_a_cell(str(value.value)) for value in kind)
    return in_a_cell(plain(one.metavar or _KINDS.get(kind, "TEXT")))


def _inner(hint: Any) -> Any:
    """The type of one value: without None, and of a list its element."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.get_args(hint)[0] if typing.get_origin(hint) in (list, tuple) else hint


def _meaning(one: Any) -> str:
    told = in_a_cell(plain(_MARKUP.sub("", one.help or "")))
    shown = one.show_default if isinstance(one.show_default, str) else one.default
    notes = []
    low, high = getattr(one, "min", None), getattr(one, "max", None)
    if low is not None and high is not None:
        notes.append(f"{low} to {high}")
    elif low is not None or high is not None:
        notes.append(f"at least {low}" if low is not None else f"at most {high}")
    if one.required:
        notes.append("required")
    elif shown not in (None, False, "", ()) and not callable(shown) and one.show_default is not False:
        notes.append(f"default {code_in_a_cell(str(shown.value if isinstance(shown, Enum) else shown))}")
    variables = [one.envvar] if isinstance(one.envvar, str) else list(one.envvar or ())
    notes += [f"or the variable `{name}`" for name in variables]
    return " ".join([told, *([f"({'; '.join(notes)})"] if notes else [])])
