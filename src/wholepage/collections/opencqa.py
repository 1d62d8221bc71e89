"""OpenCQA: charts and paragraphs of Pew Research reports, and (dev) the answers of 18 systems, for an open question.

Question, chart and paragraph were matched by people: the own chart or paragraph 3, one of the same report 2, neighbours
by BM25 0; answers 0 to 3 by their word overlap with the human answer (automatic, not human).

A chart is an IMAGE whose text is its OCR, the words of ``opencqa/charts.jsonl.gz`` in reading order; a chart in which
no word was found has empty text. A chart that the OCR file does not know is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

import msgspec

from wholepage.collections.judged_pages import (
    Identifier,
    JudgedItem,
    JudgedPages,
    JudgedQuery,
    Place,
    Written,
    decode_line,
)
from wholepage.pages import Modality, RecordError, Result
from wholepage.pages.lines import read_lines

Word = tuple[str, float, float, float, float]
"""Text, then left, top, right and bottom in pixels."""


class _Paragraph(JudgedItem, frozen=True, tag="text"):
    text: Written


class _Chart(JudgedItem, frozen=True, tag="image"):
    image: Written


class _Answer(JudgedItem, frozen=True, tag="answer"):
    text: Written


_Item = _Paragraph | _Chart | _Answer


class _Query(JudgedQuery, frozen=True):
    items: tuple[_Item, ...]


class _Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Identifier
    ocr: tuple[Word, ...]


class OpenCQA(JudgedPages[_Item]):
    """Paragraphs (TEXT), charts with their OCR (IMAGE) and, in some splits, systems' answers (ANSWER).

    Args:
        root: the data folder, with ``pages/opencqa_pages.jsonl.gz``, ``opencqa_charts.zip`` and
            ``opencqa/charts.jsonl.gz``.
        pages_path: another file of the same format.
    Raises:
        InputError: a file is missing.
    """

    name: ClassVar[str] = "opencqa"
    licence: ClassVar[str] = (
        "GPL-3.0 repository; Pew Research Center charts and prose; weights trained on it are not for commerce"
    )
    source: ClassVar[str] = "OpenCQA, vis-nlp/OpenCQA; charts and texts from pewresearch.org"
    _pages_file = "pages/opencqa_pages.jsonl.gz"
    _archives = ("opencqa_charts.zip",)
    _query_type = _Query
    _item_type = _Item

    def __init__(self, root: str | Path, *, pages_path: str | Path | None = None) -> None:
        super().__init__(root, pages_path=pages_path)
        self._ocr_path = self._file("opencqa/charts.jsonl.gz")
        self._ocr: dict[str, str] | None = None

    def _result(self, item: _Item, place: Place) -> Result:
        if isinstance(item, _Chart):
            return Result(
                item.id, Modality.IMAGE, self._chart_text(item, place), (self._pictures.ref(item.image, place),)
            )
        return Result(item.id, Modality.ANSWER if isinstance(item, _Answer) else Modality.TEXT, item.text)

    def _chart_text(self, item: _Chart, place: Place) -> str:
        if self._ocr is None:
            self._ocr = _read_ocr(self._ocr_path)
        chart_id = PurePosixPath(item.image).stem
        if chart_id not in self._ocr:
            raise place.error(
                "image", f"{item.image!r}, chart {chart_id!r}", f"a chart of {self._ocr_path}", "add its OCR words"
            )
        return self._ocr[chart_id]


def reading_order(words: Sequence[Word]) -> str:
    """Words of a picture as text, top to bottom, left to right.

    A word belongs to a line when its middle is above the bottom of the line's topmost word. Words of a line are joined
    by a space, lines by a line break.
    """
    lines: list[list[Word]] = []
    for word in sorted(words, key=lambda word: (word[2], word[1])):
        if lines and (word[2] + word[4]) / 2 < lines[-1][0][4]:
            lines[-1].append(word)
        else:
            lines.append([word])
    return "\n".join(" ".join(word[0] for word in sorted(line, key=lambda word: word[1])) for line in lines)


def _read_ocr(path: Path) -> dict[str, str]:
    decoder: msgspec.json.Decoder[_Words] = msgspec.json.Decoder(_Words)
    texts: dict[str, str] = {}
    for line, raw in read_lines(path):
        chart: _Words = decode_line(decoder, path, line, raw)
        if chart.id in texts:
            raise RecordError(path, line, "id", f"{chart.id!r} again", "each chart once", "drop one")
        texts[chart.id] = reading_order(chart.ocr)
    return texts
