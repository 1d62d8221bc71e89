"""A PyTerrier transformer.

from wholepage.apps.adapters.pyterrier import WholepageReranker

pipeline = bm25 % 100 >> index.text_loader(["text"]) >> WholepageReranker("models/page")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from wholepage.apps.adapters.placed import Asked, Item, Placed, modality_of, pictures_of, placed
from wholepage.apps.resolve import ranker_from
from wholepage.pages.errors import InputError, shorten
from wholepage.pages.protocols import Ranker


class WholepageReranker(pt.Transformer):
    """Orders the rows of each query; every row comes back once, with ``score`` and ``rank``, best first.

    Scores fall as ranks rise, so that sorting by either is the same: rows that the ranker could not judge are one below
    the last score of their query, and where the ranker's scores do not follow its order, or it has none, they are the
    negated ranks.

    Args:
        model: a Ranker, a model folder, or None for the offline default.
        text_field, image_field: columns with the words, and with a picture's path or address or a list of them (the
            frames of a video); one of the two must be there.
        modality_field: a column where text, image, video or answer may stand.
    Raises:
        InputError, NotFound, WeightsError: the model cannot be.
    """

    def __init__(
        self,
        model: str | Path | Ranker | None = None,
        *,
        text_field: str = "text",
        image_field: str = "image",
        modality_field: str = "modality",
    ) -> None:
        super().__init__()
        self.text_field, self.image_field, self.modality_field = text_field, image_field, modality_field
        self._ranker = ranker_from(model)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The rows of each query together, in the order in which queries come, best first.

        Raises:
            pyterrier.validate.InputValidationError: a column is missing.
            InputError: a query without words, or with two texts; a cell that is no text, picture or modality.
            ImageError: a picture is missing or cannot be read; names the query, and the row's place in it.
        """
        with pt.validate.any(inp) as seen:
            seen.result_frame(["query", self.text_field])
            seen.result_frame(["query", self.image_field])
        groups = [rows for _, rows in inp.groupby("qid", sort=False, dropna=False)]
        found = placed(self._ranker, [self._asked(rows) for rows in groups]) if groups else []
        made = [_ranked(rows, places) for rows, places in zip(groups, found, strict=True)]
        kept = inp.drop(columns=["score", "rank"], errors="ignore")
        empty = kept.iloc[:0].assign(score=pd.Series(dtype="float64"), rank=pd.Series(dtype="int64"))
        return pd.concat(made).reset_index(drop=True) if made else empty

    def __repr__(self) -> str:
        return f"WholepageReranker({self._ranker.name!r})"

    def _asked(self, rows: pd.DataFrame) -> Asked:
        qid, words = rows["qid"].iloc[0], rows["query"].unique()
        if len(words) != 1 or not isinstance(words[0], str):
            raise InputError(
                f"query {qid!r}: got {shorten(repr(list(words)))}; allowed: one text in all its rows; mend the frame"
            )
        records = rows.to_dict(orient="records")
        items = [self._item(row, f"query {qid!r}: documents[{i}]") for i, row in enumerate(records)]
        return Asked(words[0], items, name=str(qid))

    def _item(self, row: dict[str, Any], at: str) -> Item:
        cells = {name: row.get(name) for name in (self.text_field, self.image_field, self.modality_field)}
        text, image, modality = (None if _missing(cell) else cell for cell in cells.values())
        if text is not None and not isinstance(text, str):
            raise InputError(f"{at}: got the text {shorten(repr(text))}; allowed: a str; convert it")
        return Item(text or "", pictures_of(image, at), modality_of(modality, at))


def _missing(cell: Any) -> bool:
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell)) or cell == ""


def _ranked(rows: pd.DataFrame, places: list[Placed]) -> pd.DataFrame:
    ordered = rows.iloc[[index for index, _ in places]].drop(columns=["score", "rank"], errors="ignore")
    return ordered.assign(score=_falling([score for _, score in places]), rank=range(len(places)))


def _falling(scores: list[float | None]) -> list[float]:
    """Scores that agree with the order: the ranker's where they do."""
    judged = [score for score in scores if score is not None]
    if scores[: len(judged)] != judged or judged != sorted(judged, reverse=True):
        return [-float(rank) for rank in range(len(scores))]
    return judged + [judged[-1] - 1 if judged else 0.0] * (len(scores) - len(judged))
