"""The list of decisions: number, what was decided, and the question it answers, read from the records themselves."""

from __future__ import annotations

import re
from pathlib import Path

from reference_docstrings import in_a_cell

PATH = "decisions/index.md"
_TITLE = re.compile(r"^# (\d{4}):\s*(.+)$", re.MULTILINE)
_QUESTION = re.compile(r"^## Question\n+(.*?)(?=\n## |\Z)", re.MULTILINE | re.DOTALL)


def decision_pages(folder: Path) -> dict[str, str]:
    """The one page, by its path below ``docs``; raises ``ValueError`` at a record without title or question."""
    rows = []
    for path in sorted(folder.glob("[0-9]*.md")):
        text = path.read_text(encoding="utf-8")
        title, question = _TITLE.search(text), _QUESTION.search(text)
        if not title or not question:
            raise ValueError(f"{path.name}: got no '# 0000: title' or no '## Question'; allowed: both; add them")
        rows.append(f"| [{title[1]}]({path.name}) | **{in_a_cell(title[2])}**<br>{in_a_cell(question[1])} |")
    parts = [
        "# Decisions",
        "Choices that others could question, each a short record: the question, what was decided, why, and what it "
        "costs. What was measured, and what did not work, is in the [log](../log.md).",
        "\n".join(["| | the decision and its question |", "|---|---|", *rows]),
    ]
    return {PATH: "\n\n".join(parts) + "\n"}
