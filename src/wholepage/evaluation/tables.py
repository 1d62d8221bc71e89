"""Tables of results as text: Markdown for a README, LaTeX (booktabs) for a paper; ``report`` shows the same as HTML.

A table is columns and rows of cells. A cell is a text, a number, a ``Marked`` number (with its interval and a mark of
significance), or None where there is nothing to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from wholepage.pages.errors import InputError, ShapeError

NOTHING = "–"  # noqa: RUF001  an en dash: what stands in a cell without a value
_MINUS = "\u2212"


class Marked(msgspec.Struct, frozen=True):
    """A number with what is known of its certainty.

    Attributes:
        value: the number; NaN = undefined, shown as nothing.
        mark: of significance, such as ``"†"``; the table's note should explain it.
        low, high: of its interval; both or neither.
    Raises:
        InputError: only one end of the interval.
    """

    value: float
    mark: str = ""
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise InputError(f"Marked: got low={self.low}, high={self.high}; allowed: both or neither; give both ends")


Cell: TypeAlias = str | int | float | Marked | None


class Column(msgspec.Struct, frozen=True):
    """One column: its heading, how its numbers are written, and which of them is the best.

    Attributes:
        name: the heading.
        digits: after the point, for numbers that are not whole by type.
        best: what to print bold; all that look the same as the best at these digits. None = nothing.
    """

    name: str
    digits: int = 3
    best: Literal["highest", "lowest"] | None = None


class ShownCell(msgspec.Struct, frozen=True):
    """A cell as written, before any markup: the text, its mark, its interval, and whether it is the column's best."""

    text: str
    mark: str = ""
    interval: tuple[str, str] | None = None
    best: bool = False


class ShownTable(msgspec.Struct, frozen=True):
    """A table as written: headings, which columns hold numbers, and the rows of shown cells."""

    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[ShownCell, ...], ...]


def show_table(rows: Sequence[Sequence[Cell]], columns: Sequence[str | Column]) -> ShownTable:
    """Round and align the cells, and find the best of each column.

    Raises:
        InputError: no column.
        ShapeError: a row with more or fewer cells than columns.
    """
    if not columns:
        raise InputError("table: got no columns; allowed: one or more; name the columns")
    for index, row in enumerate(rows):
        if len(row) != len(columns):
            raise ShapeError(
                f"table: rows[{index}]: got {len(row)} cells for {len(columns)} columns; allowed: one cell a column; "
                "put None where there is nothing to say"
            )
    asked = [Column(column) if isinstance(column, str) else column for column in columns]
    shown = [_show_column([row[i] for row in rows], column) for i, column in enumerate(asked)]
    numeric = [_is_numeric([row[i] for row in rows]) for i in range(len(asked))]
    return ShownTable(
        tuple(column.name for column in asked),
        tuple(numeric),
        tuple(tuple(column[i] for column in shown) for i in range(len(rows))),
    )


def write_table(rows: Sequence[Sequence[Cell]], columns: Sequence[str | Column]) -> str:
    """The table in Markdown (GitHub's); the best of a column is bold.

    Returns:
        Lines, each ended; numbers stand to the right.
    Raises:
        InputError: no column.
        ShapeError: a row with more or fewer cells than columns.
    """
    table = show_table(rows, columns)
    head = [markdown_text(name) for name in table.headings]
    body = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    widths = [max(3, *(len(line[i]) for line in [head, *body])) for i in range(len(head))]
    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, table.numeric, strict=True)]
    lines = [
        "| "
        + " | ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, table.numeric, strict=True)
        )
        + " |"
        for line in (head, rule, *body)
    ]
    return "\n".join(lines) + "\n"


def write_latex(
    rows: Sequence[Sequence[Cell]], columns: Sequence[str | Column], *, caption: str = "", label: str = ""
) -> str:
    """The table in LaTeX with the rules of booktabs; the best of a column is bold.

    Args:
        rows, columns: the table.
        caption: a plain text; with it the tabular stands in a ``table``.
        label: for ``\\ref``; needs a caption.
    Returns:
        Lines, each ended; wants ``\\usepackage{booktabs}`` and UTF-8.
    Raises:
        InputError: no column, or a label without a caption.
        ShapeError: a row with more or fewer cells than columns.
    """
    if label and not caption:
        raise InputError(f"write_latex: got label={label!r} without a caption; allowed: both; LaTeX numbers captions")
    table = show_table(rows, columns)
    tabular = [
        rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in table.numeric)}}}",
        r"\toprule",
        " & ".join(map(_latex, table.headings)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_latex_cell, row)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if caption:
        named = [rf"\label{{{label}}}"] if label else []
        tabular = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(caption)}}}", *named, *tabular, r"\end{table}"]
    return "\n".join(tabular) + "\n"


def _is_numeric(cells: Sequence[Cell]) -> bool:
    told = [cell for cell in cells if cell is not None]
    return bool(told) and not any(isinstance(cell, str) for cell in told)


def _show_column(cells: Sequence[Cell], column: Column) -> list[ShownCell]:
    values = [None if isinstance(cell, str) else _value(cell) for cell in cells]
    known = [value for value in values if value is not None]
    choose = {"highest": max, "lowest": min}.get(column.best or "")
    winner = choose(known) if choose and known else None
    texts = [cell if isinstance(cell, str) else _number(_plain(cell), column.digits) for cell in cells]
    best = None if winner is None else texts[values.index(winner)]
    return [
        ShownCell(
            text,
            cell.mark if isinstance(cell, Marked) else "",
            _interval(cell, column.digits),
            value is not None and text == best,
        )
        for cell, value, text in zip(cells, values, texts, strict=True)
    ]


def _plain(cell: int | float | Marked | None) -> int | float | None:
    return cell.value if isinstance(cell, Marked) else cell


def _value(cell: int | float | Marked | None) -> float | None:
    number = _plain(cell)
    return None if number is None or math.isnan(number) else float(number)


def _interval(cell: Cell, digits: int) -> tuple[str, str] | None:
    if not isinstance(cell, Marked) or cell.low is None or cell.high is None:
        return None
    return _number(cell.low, digits), _number(cell.high, digits)


def _number(number: int | float | None, digits: int) -> str:
    if number is None or math.isnan(number):
        return NOTHING
    if math.isinf(number):
        return "∞" if number > 0 else f"{_MINUS}∞"
    written = f"{number:,d}" if isinstance(number, int) else f"{number:,.{digits}f}"
    negative = written.startswith("-") and written.strip("-0.,") != ""  # no minus on what rounds to zero
    return (_MINUS if negative else "") + written.lstrip("-")


def markdown_text(text: str) -> str:
    """The text as it may stand in Markdown, in one line."""
    return re.sub(r"([\\|*_`<\[\]~])", r"\\\1", " ".join(text.split()))


def _markdown_cell(cell: ShownCell) -> str:
    text = markdown_text(cell.text)
    interval = f" \\[{cell.interval[0]}, {cell.interval[1]}\\]" if cell.interval else ""
    return (f"**{text}**" if cell.best else text) + markdown_text(cell.mark) + interval


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    NOTHING: "--",
    _MINUS: "$-$",
    "∞": r"$\infty$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _latex_cell(cell: ShownCell) -> str:
    text = _latex(cell.text)
    mark = rf"\textsuperscript{{{_latex(cell.mark)}}}" if cell.mark else ""
    interval = f" {{\\small[{_latex(cell.interval[0])}, {_latex(cell.interval[1])}]}}" if cell.interval else ""
    return (rf"\textbf{{{text}}}" if cell.best else text) + mark + interval
