"""The branches of the navigation that other pages already hold: guides as their front page groups them, decisions."""

from __future__ import annotations

import re
from pathlib import Path

_GROUP = re.compile(r"^## (.+)$")
_LINE = re.compile(r"^- \[([^\]]+)\]\(([\w-]+\.md)\)")
_TITLE = re.compile(r"^# (\d{4}: .+)$", re.MULTILINE)


def guides_nav(front: str) -> list[object]:
    """The groups of ``guides/index.md`` and the guides in them, in its order.

    Args:
        front: its text.
    Raises:
        ValueError: it lists no guide, or one before the first group.
    """
    groups: list[tuple[str, list[object]]] = []
    for line in front.splitlines():
        if group := _GROUP.match(line):
            groups.append((group[1], []))
        elif guide := _LINE.match(line):
            if not groups:
                raise ValueError(f"guides/index.md: got {line!r} in no group; allowed: below a '## '; move it")
            groups[-1][1].append({guide[1]: f"guides/{guide[2]}"})
    if not any(guides for _, guides in groups):
        raise ValueError("guides/index.md: got no line '- [Title](file.md)'; allowed: one a guide; add them")
    return ["guides/index.md", *({name: guides} for name, guides in groups if guides)]


def decisions_nav(folder: Path) -> list[object]:
    """A line for each record, by its own title."""
    found: list[object] = ["decisions/index.md"]
    for path in sorted(folder.glob("[0-9]*.md")):
        title = _TITLE.search(path.read_text(encoding="utf-8"))
        if title is None:
            raise ValueError(f"{path.name}: got no '# 0000: title'; allowed: one; add it")
        found.append({title[1].replace(":", "", 1): f"decisions/{path.name}"})
    return found
