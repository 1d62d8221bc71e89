"""Docstrings as Markdown: sections become lists, examples become code, and no word of theirs can become HTML."""

from __future__ import annotations

import ast
import re
import textwrap

SECTIONS = ("Args", "Attributes", "Shapes", "Returns", "Yields", "Raises", "Source")
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):(?:[ ]+(.*))?$")
_ENTRY = re.compile(r"^((?:\*{0,2}[\w.]+)(?:,[ ]\*{0,2}[\w.]+)*):[ ](.*)$")
_SEVERAL = re.compile(r"(?<=[.;])[ ]{2,}(?=\w+(?:,[ ]\w+)*:[ ])")  # entries that share a line
_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_SURE = (ast.Import, ast.ImportFrom, ast.Assign)  # words in brackets may be a call, these are no prose
_ITEM = re.compile(r"^([-*]|\d+\.) ")


def as_markdown(docstring: str) -> str:
    """The whole docstring: prose as it stands, each section as a titled list.

    Args:
        docstring: as ``inspect.cleandoc`` gives it.
    """
    parts: list[str] = []
    prose: list[str] = []
    lines = docstring.splitlines()
    at = 0
    while at < len(lines):
        found = _SECTION.match(lines[at])
        if not found:
            prose.append(lines[at])
            at += 1
            continue
        parts.append(_prose(prose))
        prose = []
        body = [found[2]] if found[2] else []
        at += 1
        while at < len(lines) and (not lines[at] or lines[at].startswith(" ")):
            body.append(lines[at])
            at += 1
        parts.append(_section(found[1], body))
    parts.append(_prose(prose))
    return "\n\n".join(part for part in parts if part)


def first_line(docstring: str) -> str:
    """What the thing means, in one line that can stand in a table."""
    paragraph = re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0]
    return in_a_cell(plain(" ".join(paragraph.split()).removesuffix("::")))


def plain(text: str) -> str:
    """Text outside code spans, with what Markdown or HTML would take for markup made harmless."""
    pieces = _CODE.split(text)
    return "".join(piece if index % 2 else _harmless(piece) for index, piece in enumerate(pieces))


def in_a_cell(markdown: str) -> str:
    """Markdown on one line, with no bar that would end the cell of a table."""
    return " ".join(markdown.split()).replace("|", "&#124;")


def code_in_a_cell(text: str) -> str:
    """A code span for the cell of a table; entities are not read inside backticks, so a bar needs HTML."""
    if "|" not in text:
        return f"`{text}`"
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    return f"<code>{escaped}</code>"


def _harmless(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("[", "\\[")
    text = re.sub(r"(?<=\w)\*(?=\w)", r"\\*", text)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def _prose(lines: list[str]) -> str:
    """Paragraphs and lists; an example (deeper lines alone, or plainly Python) becomes a block of code."""
    written: list[str] = []
    code: list[str] = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if not block.strip():
            continue
        if all(line.startswith("    ") for line in block.splitlines()) or _does(block, _SURE):
            code.append(textwrap.dedent(block))
            continue
        written += _fenced(code)
        code = []
        body = plain(block)
        written.append(_with_room_before_lists(body[:-1] if body.endswith("::") else body))
    return "\n\n".join([*written, *_fenced(code)])


def _fenced(code: list[str]) -> list[str]:
    """One block of code of what stood together; none of nothing."""
    if not code:
        return []
    return [
        f"```{'python' if all(_does(one, (*_SURE, ast.Call)) for one in code) else 'text'}\n"
        + "\n\n".join(code)
        + "\n```"
    ]


def _does(text: str, what: tuple[type[ast.AST], ...]) -> bool:
    """Whether it reads as Python with something of that kind in it."""
    for form in (textwrap.dedent(text), " ".join(text.split())):  # a formula may go on in a deeper line
        try:
            tree = ast.parse(form)
        except SyntaxError:
            continue
        return any(isinstance(node, what) for node in ast.walk(tree))
    return False


def _with_room_before_lists(text: str) -> str:
    """Markdown begins a list only after an empty line."""
    lines: list[str] = []
    for line in text.splitlines():
        if _ITEM.match(line) and lines and lines[-1] and not _ITEM.match(lines[-1]) and not lines[-1].startswith(" "):
            lines.append("")
        lines.append(re.sub(r"^ {1,3}(?=\S)", "    ", line))
    return "\n".join(lines)


def _section(title: str, body: list[str]) -> str:
    text = textwrap.dedent("\n".join(body)).strip("\n")
    entries: list[list[str]] = []
    for line in [part for whole in text.splitlines() for part in _SEVERAL.split(whole)]:
        found = _ENTRY.match(line)
        if found and title not in ("Returns", "Yields", "Source"):
            names = ", ".join(f"`{name}`" for name in found[1].split(", "))
            entries.append([f"- {names}: {plain(found[2])}"])
        elif entries and line.startswith(" "):
            entries[-1].append(plain(line.strip()))
        elif line.strip():
            entries.append([plain(line.strip())])
    named = any(entry[0].startswith("- ") for entry in entries)
    if not named:
        return f"**{title}:** {' '.join(' '.join(entry) for entry in entries)}"
    told = "\n".join(("" if entry[0].startswith("- ") else "- ") + " ".join(entry) for entry in entries)
    return f"**{title}:**\n\n{told}"
