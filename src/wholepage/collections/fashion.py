"""Fashion: product photos, catalogue rows and product names for queries such as "women black earrings".

Each page holds twelve of each kind. A photo is an IMAGE without words, so it needs pixels. Row and name are both TEXT;
the features ``kind:image``, ``kind:row`` and ``kind:text`` tell them apart. Grades come from the catalogue's
attributes: 3 = all attributes of the query match, 0 = none.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from wholepage.collections.judged_pages import (
    JudgedItem,
    JudgedPages,
    JudgedQuery,
    Place,
    Written,
    kind_features,
)
from wholepage.pages import Modality, Result

_KINDS = ("image", "row", "text")
_NOT_GIVEN = ("", "NA")


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    gender: str
    masterCategory: str  # noqa: N815 (the field's name in the file)
    subCategory: str  # noqa: N815
    articleType: str  # noqa: N815
    baseColour: str  # noqa: N815
    season: str
    year: str
    usage: str


class _Photo(JudgedItem, frozen=True, tag="image"):
    image: Written


class _Attributes(JudgedItem, frozen=True, tag="row"):
    row: _Row


class _Name(JudgedItem, frozen=True, tag="text"):
    text: Written


_Item = _Photo | _Attributes | _Name


class _Query(JudgedQuery, frozen=True):
    items: tuple[_Item, ...]


class Fashion(JudgedPages[_Item]):
    """Photos (IMAGE), attribute rows and names (TEXT) of a public fashion catalogue.

    Args:
        root: the data folder, with ``pages/fashion_pages.jsonl.gz`` and ``fashion_images.zip``.
        pages_path: another file of the same format.
    Raises:
        InputError: a file is missing.
    """

    name: ClassVar[str] = "fashion"
    licence: ClassVar[str] = "unclear: both sources carry no licence file; do not ship weights trained on it"
    source: ClassVar[str] = (
        "Fashion Product Images (a copy of the Myntra catalogue): photos from GaneshNeupane01/"
        "Fashion-Recommendation-System, attributes and names from animmala3942/FashionProductRecommendationSystem"
    )
    _pages_file = "pages/fashion_pages.jsonl.gz"
    _archives = ("fashion_images.zip",)
    _query_type = _Query
    _item_type = _Item

    def _result(self, item: _Item, place: Place) -> Result:
        if isinstance(item, _Photo):
            features = kind_features("image", _KINDS)
            return Result(item.id, Modality.IMAGE, images=(self._pictures.ref(item.image, place),), features=features)
        if isinstance(item, _Attributes):
            text = row_text(item.row)
            if not text:
                raise place.error("row", "no attribute", "at least one attribute", "drop the item")
            return Result(item.id, Modality.TEXT, text, features=kind_features("row", _KINDS))
        return Result(item.id, Modality.TEXT, item.text, features=kind_features("text", _KINDS))


def row_text(row: _Row) -> str:
    """A catalogue row in words, such as ``Gender: Women; Category: Apparel / Topwear / Shirts; Colour: Navy Blue``.

    Attributes that the catalogue leaves empty or calls NA are not said.
    """
    parts = {
        "Gender": (row.gender,),
        "Category": (row.masterCategory, row.subCategory, row.articleType),
        "Colour": (row.baseColour,),
        "Season": (row.season, row.year),
        "Usage": (row.usage,),
    }
    said = []
    for label, values in parts.items():
        given = [value for value in values if value not in _NOT_GIVEN]
        if given:
            said.append(f"{label}: {(' / ' if label == 'Category' else ' ').join(given)}")
    return "; ".join(said)
