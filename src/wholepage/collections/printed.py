"""Lists and records as Python and numpy print them, which is how some data sets put them into cells of a table.

    [1184038 1615342]
    [array([6.3249600e+05, 3.3502201e+01])
     array([1.3495990e+06, 3.2804199e+01])]
    [{'click': 1, 'page_time': nan, 'note_id': '6741'}
     {'click': 0, 'page_time': -1.0, 'note_id': '66f2'}]

Nothing is evaluated. Members are parted by commas, white space or both; ``nan`` and ``inf`` are numbers here;
``array(...)`` is its list, a ``dtype=`` in it is not looked at; ``...``, with which numpy cuts long arrays, is refused.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from wholepage.pages import InputError

_TOKEN = re.compile(
    r"(?P<blank>[\s,]+)"
    r"|(?P<number>[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)(?![\w.]))"
    r"""|(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"|(?P<dtype>dtype\s*=\s*[\w.<>|']+)"
    r"|(?P<word>None|True|False)(?!\w)"
    r"|(?P<open>\[|\{|\(|array\()"
    r"|(?P<close>[\]})])"
    r"|(?P<colon>:)",
    re.DOTALL,
)
_WORDS = {"None": None, "True": True, "False": False}
_ENDS = {"[": "]", "{": "}", "(": ")", "array(": ")"}
_DEEPEST = 16


def parse_printed(text: str) -> Any:
    """The value that was printed: number, text, list, or record.

    Returns:
        int, float, str, bool, None, list, or dict with texts as keys.
    Raises:
        InputError: the text is cut, or not of this form.
    """
    tokens = _tokens(text)
    value, after = _value(text, tokens, 0, 0)
    if after != len(tokens):
        raise _wrong(text, tokens[after][2], "more after the end")
    return value


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Kind, characters and place of every token, blanks left out."""
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            cut = text.startswith("...", at)
            raise _wrong(text, at, "a list that was cut when it was printed" if cut else "something else")
        if match.lastgroup != "blank":
            found.append((str(match.lastgroup), match[0], at))
        at = match.end()
    return found


def _value(text: str, tokens: list[tuple[str, str, int]], at: int, depth: int) -> tuple[Any, int]:
    """One value and the token after it."""
    if at >= len(tokens) or depth > _DEEPEST:
        raise _wrong(text, len(text), "no end" if at >= len(tokens) else "lists nested too deeply")
    kind, said, place = tokens[at]
    if kind == "number":
        return (int(said) if re.fullmatch(r"[-+]?\d+", said) else float(said)), at + 1
    if kind == "text":
        return _unquoted(text, said, place), at + 1
    if kind == "word":
        return _WORDS[said], at + 1
    if kind != "open":
        raise _wrong(text, place, said)
    if said == "{":
        return _record(text, tokens, at + 1, depth)
    members, after = _members(text, tokens, at + 1, _ENDS[said], depth)
    if said != "array(":
        return members, after
    if len(members) != 1 or not isinstance(members[0], list):
        raise _wrong(text, place, "array(...) of no list")
    return members[0], after


def _members(text: str, tokens: list[tuple[str, str, int]], at: int, end: str, depth: int) -> tuple[list[Any], int]:
    members: list[Any] = []
    while at < len(tokens):
        kind, said, _ = tokens[at]
        if kind == "close" and said == end:
            return members, at + 1
        if kind == "dtype" and end == ")":
            at += 1
            continue
        value, at = _value(text, tokens, at, depth + 1)
        members.append(value)
    raise _wrong(text, len(text), "no end")


def _record(text: str, tokens: list[tuple[str, str, int]], at: int, depth: int) -> tuple[dict[str, Any], int]:
    record: dict[str, Any] = {}
    while at < len(tokens):
        kind, said, place = tokens[at]
        if kind == "close" and said == "}":
            return record, at + 1
        if kind != "text" or at + 1 >= len(tokens) or tokens[at + 1][0] != "colon":
            raise _wrong(text, place, f"{said} in place of a name and a colon")
        name = _unquoted(text, said, place)
        if name in record:
            raise _wrong(text, place, f"{said} again")
        record[name], at = _value(text, tokens, at + 2, depth + 1)
    raise _wrong(text, len(text), "no end")


def _unquoted(text: str, said: str, place: int) -> str:
    try:
        return str(ast.literal_eval(said))
    except (SyntaxError, ValueError) as error:
        raise _wrong(text, place, "a text with a broken escape or line end") from error


def _wrong(text: str, at: int, what: str) -> InputError:
    near = text[max(0, at - 15) : at + 25]
    return InputError(
        f"printed value: got {what} at character {at}, near {near!r}; allowed: numbers, quoted texts, lists, records "
        "and array(...); export the table again, whole"
    )
