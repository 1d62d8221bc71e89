"""The report: one HTML file that needs nothing else, to read, print and send.

It holds tables, plots, and result pages side by side, so that one sees what a reranker did. No script, no address of
anything outside (a content security policy in the file forbids both), light or dark as the reader's system is, and
everything that came from data is escaped. The same sections give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from wholepage.evaluation.markup import clean_svg, html_text
from wholepage.evaluation.page_view import PageView, page_html
from wholepage.evaluation.tables import Cell, Column, ShownCell, show_table
from wholepage.pages.records import atomic_write

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Heading(msgspec.Struct, frozen=True):
    """The title of a part of the report; three or more of level 2 make a table of contents.

    Attributes:
        level: 2, or 3 for a part of a part.
    """

    text: str
    level: Literal[2, 3] = 2


class Prose(msgspec.Struct, frozen=True):
    """Plain text; an empty line begins a paragraph."""

    text: str


class Table(msgspec.Struct, frozen=True):
    """A table of results; see ``evaluation.tables`` for columns and cells.

    Attributes:
        columns, rows: the first column names the rows.
        caption: what it shows.  note: below it, where the marks are explained.
    """

    columns: tuple[str | Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    note: str = ""


class Figure(msgspec.Struct, frozen=True):
    """A picture drawn in SVG.

    Attributes:
        svg: an ``<svg>`` element or document.  caption: what to see in it.  alt: the same for who cannot see it.
    """

    svg: str
    caption: str
    alt: str


Section: TypeAlias = Heading | Prose | Table | Figure | PageView


def render_report(title: str, sections: Sequence[Section], *, subtitle: str = "", language: str = "en") -> str:
    """The report as one HTML document.

    Raises:
        InputError: a figure that is not plain SVG, or a table without columns.
        ShapeError: a table's row with more or fewer cells than columns.
    """
    headings = [
        (i, section.text) for i, section in enumerate(sections) if isinstance(section, Heading) and section.level == 2
    ]
    links = "".join(f'<li><a href="#s{i}">{html_text(text)}</a></li>' for i, text in headings)
    contents = f'<nav aria-label="Contents"><ol>{links}</ol></nav>' if len(headings) > 2 else ""
    body = "\n".join(_section(section, f"s{i}") for i, section in enumerate(sections))
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    below = f'<p class="subtitle" dir="auto">{html_text(subtitle)}</p>' if subtitle else ""
    return f"""<!DOCTYPE html>
<html lang="{html_text(language)}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html_text(title)}</title>
<style>
{style}</style>
</head>
<body>
<header><h1 dir="auto">{html_text(title)}</h1>{below}{contents}</header>
<main>
{body}
</main>
<footer>Made with wholepage.</footer>
</body>
</html>
"""


def write_report(
    path: Path, title: str, sections: Sequence[Section], *, subtitle: str = "", language: str = "en"
) -> None:
    """Write the report to a file, whole or not at all; a report that was there is replaced.

    Raises:
        InputError: a figure that is not plain SVG, or a table without columns.
        ShapeError: a table's row with more or fewer cells than columns.
        RecordError: the folder is missing, or may not be written to.
    """
    document = render_report(title, sections, subtitle=subtitle, language=language)
    with atomic_write(path, "wb") as file:
        file.write(document.encode())


def _section(section: Section, anchor: str) -> str:
    match section:
        case Heading():
            level = section.level
            return f'<h{level} id="{anchor}" dir="auto">{html_text(section.text)}</h{level}>'
        case Prose():
            paragraphs = [part for part in re.split(r"\n\s*\n", section.text.strip()) if part]
            inner = "".join(f'<p dir="auto">{html_text(part)}</p>' for part in paragraphs)
            return f'<div class="prose">{inner}</div>'
        case Table():
            return _table(section)
        case Figure():
            return (
                '<figure><div class="plot scroll" tabindex="0" role="group" aria-label="Figure">'
                f'<div role="img" aria-label="{html_text(section.alt)}">{clean_svg(section.svg, anchor)}</div></div>'
                f"<figcaption>{html_text(section.caption)}</figcaption></figure>"
            )
        case PageView():
            return page_html(section)


def _table(section: Table) -> str:
    table = show_table(section.rows, section.columns)
    kinds = [' class="number"' if numeric else "" for numeric in table.numeric]
    head = "".join(f'<th scope="col"{kind}>{html_text(n)}</th>' for n, kind in zip(table.headings, kinds, strict=True))
    rooms = [max((len(row[i].mark) for row in table.rows), default=0) for i in range(len(kinds))]
    rows = []
    for row in table.rows:
        first, *others = (_cell(cell, room) for cell, room in zip(row, rooms, strict=True))
        cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(others, kinds[1:], strict=True))
        rows.append(f'<tr><th scope="row"{kinds[0]}>{first}</th>{cells}</tr>')
    caption = f"<figcaption>{html_text(section.caption)}</figcaption>" if section.caption else ""
    note = f'<p class="note">{html_text(section.note)}</p>' if section.note else ""
    region = html_text(section.caption or "Table")
    return (
        f'<figure>{caption}<div class="scroll" tabindex="0" role="region" aria-label="{region}">'
        f'<table aria-label="{region}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f"{note}</figure>"
    )


def _cell(cell: ShownCell, mark_room: int) -> str:
    text = f"<strong>{html_text(cell.text)}</strong>" if cell.best else html_text(cell.text)
    # Every cell of a column leaves room for its longest mark, so that the digits stand in line.
    mark = f'<sup style="min-width:{mark_room}ch">{html_text(cell.mark)}</sup>' if mark_room else ""
    interval = f'<span class="interval">[{cell.interval[0]}, {cell.interval[1]}]</span>' if cell.interval else ""
    return text + mark + interval
