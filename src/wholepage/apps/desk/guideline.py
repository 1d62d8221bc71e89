"""Guidelines written in Markdown, as blocks that templates show: a small part of it, and never any HTML.

Headings, paragraphs, lists, quotes, fenced code, rules; in lines strong, emphasised and code. Everything else, links
and tags included, stays the text that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from wholepage.apps.desk.views import Block, Span

_HEADING = re.compile(r"(#{1,4})\s+(\S.*)")
_RULE = re.compile(r"([-*_])(\s*\1){2,}")
_LIST = re.compile(r"[-*+]\s+(.*)")
_NUMBERS = re.compile(r"\d{1,9}[.)]\s+(.*)")
_QUOTE = re.compile(r">\s?(.*)")
_SPAN = re.compile(r"`([^`]+)`|\*\*(\S(?:[^*]*\S)?)\*\*|(?<!\w)[*_](\S(?:[^*_]*\S)?)[*_](?!\w)")
_STARTS = (("list", _LIST), ("numbers", _NUMBERS), ("quote", _QUOTE))


@lru_cache(maxsize=64)
def blocks(text: str) -> tuple[Block, ...]:
    """The blocks of a guideline, in order."""
    return tuple(_blocks(text.replace("\r\n", "\n").split("\n")))


def _blocks(lines: list[str]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if line.startswith("```"):
            end = next((i for i in range(at, len(lines)) if lines[i].strip() == "```"), len(lines))
            yield Block("code", 0, ((Span("text", "\n".join(lines[at:end])),),))
            at = end + 1
        elif heading := _HEADING.fullmatch(line):
            yield Block("heading", len(heading[1]), (_spans(heading[2].rstrip("#").rstrip()),))
        elif _RULE.fullmatch(line):
            yield Block("rule", 0, ())
        elif line:
            kind, items, at = _run(lines, at - 1)
            yield Block(kind, 0, tuple(map(_spans, items)))


def _run(lines: list[str], at: int) -> tuple[str, list[str], int]:
    """Kind and items of a list, quote or paragraph that begins at a line, and where it ends."""
    kind = _kind(lines[at].strip())
    items: list[str] = []
    while at < len(lines):
        line = lines[at].strip()
        if not line or line.startswith("```") or _HEADING.fullmatch(line) or _RULE.fullmatch(line):
            break
        now = _kind(line)
        if now not in ("paragraph", kind) or (now == "paragraph" and kind == "quote"):
            break
        body = _body(line, now)
        if items and (kind in ("paragraph", "quote") or now == "paragraph"):
            items[-1] += f"\n{body}"
        else:
            items.append(body)
        at += 1
    return kind, items, at


def _kind(line: str) -> str:
    return next((kind for kind, start in _STARTS if start.fullmatch(line)), "paragraph")


def _body(line: str, kind: str) -> str:
    found = next((start.fullmatch(line) for name, start in _STARTS if name == kind), None)
    return found[1] if found else line


def _spans(text: str) -> tuple[Span, ...]:
    spans, end = [], 0
    for found in _SPAN.finditer(text):
        if found.start() > end:
            spans.append(Span("text", text[end : found.start()]))
        kind, inside = next((k, g) for k, g in zip(("code", "strong", "em"), found.groups(), strict=True) if g)
        spans.append(Span(kind, inside))
        end = found.end()
    if end < len(text):
        spans.append(Span("text", text[end:]))
    return tuple(spans)
