"""Grocery: phone photos, catalogue pictures and descriptions of 81 groceries; queries are names, groups and facts.

Photos and catalogue pictures are both IMAGE without words; the features ``kind:photo``, ``kind:iconic`` and
``kind:text`` tell them apart. Grades come from class labels: 3 = same class, 1 = same group.

The file has one split, ``train``. For measuring there are five folds of it: ``fold0-train``, ``fold0-dev``, ...,
``fold4-dev``. A query is in the dev part of exactly one fold, chosen by the SHA-256 of its id, so folds never change
when queries are added. Folds are over queries, not classes: a class that is asked for by name and by description can
be on both sides.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar, Literal

from wholepage.collections.judged_pages import (
    JudgedItem,
    JudgedPages,
    JudgedQuery,
    Place,
    Written,
    kind_features,
)
from wholepage.pages import Modality, Result

FOLDS = 5
_KINDS = ("iconic", "photo", "text")


class _Photo(JudgedItem, frozen=True, tag="photo"):
    image: Written


class _Iconic(JudgedItem, frozen=True, tag="iconic"):
    image: Written


class _Description(JudgedItem, frozen=True, tag="text"):
    text: Written


_Item = _Photo | _Iconic | _Description


class _Query(JudgedQuery, frozen=True):
    kind: Literal["fine", "coarse", "desc"]
    items: tuple[_Item, ...]


class Grocery(JudgedPages[_Item]):
    """Photos and catalogue pictures (IMAGE) and descriptions (TEXT) of groceries.

    Splits: those of the file (``train``), and ``fold<k>-train`` / ``fold<k>-dev`` of ``train`` for k in 0 to 4.

    Args:
        root: the data folder, with ``pages/grocery_pages.jsonl.gz`` and ``grocery_images.zip``.
        pages_path: another file of the same format.
    Raises:
        InputError: a file is missing.
    """

    name: ClassVar[str] = "grocery"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "Grocery Store Dataset, marcusklasson/GroceryStoreDataset, Marcus Klasson, 2019"
    _pages_file = "pages/grocery_pages.jsonl.gz"
    _archives = ("grocery_images.zip",)
    _query_type = _Query
    _item_type = _Item

    def _result(self, item: _Item, place: Place) -> Result:
        if isinstance(item, _Description):
            return Result(item.id, Modality.TEXT, item.text, features=kind_features("text", _KINDS))
        features = kind_features("photo" if isinstance(item, _Photo) else "iconic", _KINDS)
        return Result(item.id, Modality.IMAGE, images=(self._pictures.ref(item.image, place),), features=features)

    def _splits_of(self, query: JudgedQuery) -> tuple[str, ...]:
        if query.split != "train":
            return (query.split,)
        own = fold_of(query.qid)
        return ("train", *(f"fold{fold}-{'dev' if fold == own else 'train'}" for fold in range(FOLDS)))


def fold_of(query_id: str) -> int:
    """The one fold (0 to 4) in whose dev part a query is; the same everywhere and always."""
    return int.from_bytes(hashlib.sha256(query_id.encode()).digest(), "big") % FOLDS
