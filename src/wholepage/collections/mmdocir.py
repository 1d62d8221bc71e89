"""MMDocIR: passages, tables, figures and whole sheets of one long document, for an expert's question about it.

(The benchmark says "page" for a sheet of a document; here a page is a result page.) Experts marked evidence: an
evidence element 3, an evidence sheet 2, an element on the same sheet 1.

- ``text`` is TEXT; ``table`` is TEXT with the picture of the table beside it;
- ``figure`` and ``page`` (a sheet) are IMAGE, their text is the text layer and may be empty (scans);
- features ``kind:figure``, ``kind:page``, ``kind:table``, ``kind:text`` are 0/1.

Two traps of the data, both because evidence that the first stage had missed was added to the pools by its box alone:

- The boxes (``bbox``) and sheet numbers (``page``) are not made features: added boxes have whole numbers, so a box
  gives the grade away.
- An added passage or table of a scan has no text, and every passage or table without text is evidence (grade 3), so
  the lack of text gives the grade away. A table without text is nothing but a picture, and is read as a ``figure``,
  of which most have no text. A passage without text has no picture of its own either; see ``textless``.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from wholepage.collections.judged_pages import (
    Identifier,
    JudgedItem,
    JudgedPages,
    JudgedQuery,
    Place,
    Written,
    kind_features,
)
from wholepage.pages import InputError, Modality, Result

_KINDS = ("figure", "page", "table", "text")
_Box = tuple[float, float, float, float]


class _Passage(JudgedItem, frozen=True, tag="text"):
    page: Identifier
    bbox: _Box
    text: str


class _Table(JudgedItem, frozen=True, tag="table"):
    page: Identifier
    bbox: _Box
    text: str
    image: Written


class _Figure(JudgedItem, frozen=True, tag="figure"):
    page: Identifier
    bbox: _Box
    ocr: str
    image: Written


class _Sheet(JudgedItem, frozen=True, tag="page"):
    ocr: str
    image: Written


_Item = _Passage | _Table | _Figure | _Sheet


class _Query(JudgedQuery, frozen=True):
    doc: Identifier
    evidence_types: str
    items: tuple[_Item, ...]


class MMDocIR(JudgedPages[_Item]):
    """Passages and tables (TEXT), figures and sheets (IMAGE) of the document that a question is about.

    Args:
        root: the data folder, with ``pages/mmdocir_pages.jsonl.gz``, ``mmdocir_crops.zip`` and
            ``mmdocir_page_thumbs.zip``.
        pages_path: another file of the same format.
        textless: what becomes of a passage without text. ``"leave-out"``: neither on the page nor in the judgments,
            named by ``left_out(split)``. ``"sheet"``: a TEXT result without text that shows the picture of its sheet;
            all items of the file are there, but whoever sees that the text is empty knows the grade.
    Raises:
        InputError: a file is missing, or ``textless`` is neither of the two.
    """

    name: ClassVar[str] = "mmdocir"
    licence: ClassVar[str] = "non-commercial: labels CC BY-SA 4.0 (web page), documents CC BY-NC 4.0, for research"
    source: ClassVar[str] = "MMDocIR, MMDocRAG/MMDocIR; documents of MMLongBench-Doc, mayubo2333/MMLongBench-Doc"
    _pages_file = "pages/mmdocir_pages.jsonl.gz"
    _archives = ("mmdocir_crops.zip", "mmdocir_page_thumbs.zip")
    _query_type = _Query
    _item_type = _Item

    def __init__(
        self,
        root: str | Path,
        *,
        pages_path: str | Path | None = None,
        textless: Literal["leave-out", "sheet"] = "leave-out",
    ) -> None:
        if textless not in ("leave-out", "sheet"):
            raise InputError(f"textless: got {textless!r}; allowed: 'leave-out', 'sheet'; choose one of them")
        super().__init__(root, pages_path=pages_path)
        self.textless = textless

    def _why_left_out(self, item: _Item) -> str | None:
        if self.textless == "leave-out" and isinstance(item, _Passage) and not item.text.strip():
            return "a passage without text"
        return None

    def _result(self, item: _Item, place: Place) -> Result:
        if isinstance(item, _Passage):
            features = kind_features("text", _KINDS)
            if item.text.strip():
                return Result(item.id, Modality.TEXT, item.text, features=features)
            sheet = self._pictures.ref(_sheet_picture(item.page), place, "page")
            return Result(item.id, Modality.TEXT, "", (sheet,), features)
        picture = (self._pictures.ref(item.image, place),)
        if isinstance(item, _Table) and item.text.strip():
            return Result(item.id, Modality.TEXT, item.text, picture, kind_features("table", _KINDS))
        if isinstance(item, _Sheet):
            return Result(item.id, Modality.IMAGE, item.ocr, picture, kind_features("page", _KINDS))
        text = item.ocr if isinstance(item, _Figure) else ""
        return Result(item.id, Modality.IMAGE, text, picture, kind_features("figure", _KINDS))


def _sheet_picture(sheet: str) -> str:
    return f"mmdocir_subset/pages/{sheet}.webp"
