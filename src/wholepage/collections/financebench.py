"""FinanceBench: passages and sheets of company reports, and 16 language models' answers, for an analyst's question.

People marked the evidence (passages and sheets 3, passages on the same sheet 1) and judged every answer (correct 3,
wrong or refusal 0). A sheet is an IMAGE whose text is its text layer. The file has one split, ``dev``: a set
to transfer to.

The line's ``company``, ``doc`` and ``type`` are checked and left out of the page: the question names the company
itself, the document's name is where the answer is, and the type of question says how it was made.
"""

from __future__ import annotations

from typing import ClassVar

from wholepage.collections.judged_pages import (
    Identifier,
    JudgedItem,
    JudgedPages,
    JudgedQuery,
    Place,
    Written,
)
from wholepage.pages import Modality, Result


class _Passage(JudgedItem, frozen=True, tag="text"):
    text: Written


class _Sheet(JudgedItem, frozen=True, tag="image"):
    image: Written
    ocr: str


class _Answer(JudgedItem, frozen=True, tag="answer"):
    text: Written


_Item = _Passage | _Sheet | _Answer


class _Query(JudgedQuery, frozen=True):
    company: Identifier
    doc: Identifier
    type: Identifier
    items: tuple[_Item, ...]


class FinanceBench(JudgedPages[_Item]):
    """Passages (TEXT), report sheets with their text layer (IMAGE) and models' answers (ANSWER).

    Args:
        root: the data folder, with ``pages/financebench_pages.jsonl.gz`` and ``financebench_page_thumbs.zip``.
        pages_path: another file of the same format.
    Raises:
        InputError: a file is missing.
    """

    name: ClassVar[str] = "financebench"
    licence: ClassVar[str] = "non-commercial: no licence file in the repository, CC BY-NC 4.0 said on its data card"
    source: ClassVar[str] = "FinanceBench, patronus-ai/financebench; the reports are public filings of US companies"
    _pages_file = "pages/financebench_pages.jsonl.gz"
    _archives = ("financebench_page_thumbs.zip",)
    _query_type = _Query
    _item_type = _Item

    def _result(self, item: _Item, place: Place) -> Result:
        if isinstance(item, _Sheet):
            return Result(item.id, Modality.IMAGE, item.ocr, (self._pictures.ref(item.image, place),))
        return Result(item.id, Modality.ANSWER if isinstance(item, _Answer) else Modality.TEXT, item.text)
