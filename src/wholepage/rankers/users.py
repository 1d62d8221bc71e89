"""What is known of who asks (``Query.user``) as columns for the page head.

Numbers are squeezed by a signed log and scaled; a string field has one column for each of its values. Which fields and
values there are is learned from training pages: a field that is the same on all of them is not read, and fields or
values that they do not have say nothing (a profile may hold more than the model was taught).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import PageError, WeightsError
from wholepage.pages.model import Page
from wholepage.rankers.matching import NumberScale, squeeze

MOST_VALUES = 64
"""Values of one string field that get columns: the most frequent ones, those of equal frequency by the alphabet."""


class UserField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One field of ``Query.user`` and its columns.

    Attributes:
        name: of the field.
        values: of a string field, a column each; empty for a number.
        optional: of a number, that training pages lack it at times: one more column says whether it is known.
    """

    name: str
    values: tuple[str, ...] = ()
    optional: bool = False

    @property
    def columns(self) -> int:
        """How many columns it has."""
        return len(self.values) or 1 + self.optional


class UserColumns:
    """Reads who asks.

    Args:
        fields: in the order of their columns.
        scale: of the number fields, one column each, fitted on the training pages that have them.
    """

    def __init__(self, fields: Sequence[UserField] = (), scale: NumberScale | None = None) -> None:
        self.fields = tuple(fields)
        names = [field.name for field in self.fields if not field.values]
        self.scale = scale or NumberScale(names, np.zeros(len(names), np.float32), np.ones(len(names), np.float32))

    @property
    def dim(self) -> int:
        """How many columns ``read`` returns; 0 when training pages say nothing of who asks."""
        return sum(field.columns for field in self.fields)

    @classmethod
    def fit(cls, pages: Sequence[Page]) -> UserColumns:
        """Learn fields and values from training pages.

        Raises:
            PageError: a field is a number on one page and a string on another.
        """
        fields, centres, spreads = [], [], []
        for name in sorted({name for page in pages for name in page.query.user}):
            given = [page.query.user[name] for page in pages if name in page.query.user]
            is_text = isinstance(given[0], str)
            for page in pages:
                _check_kind(page, name, is_text=is_text)
            missing = len(given) < len(pages)
            if len(set(given)) == 1 and not missing:
                continue
            if is_text:
                often = sorted(Counter(map(str, given)).items(), key=lambda pair: (-pair[1], pair[0]))
                fields.append(UserField(name, tuple(sorted(value for value, _ in often[:MOST_VALUES]))))
                continue
            column = squeeze(np.array(given, np.float64))
            fitted = NumberScale.fit((name,), column[:, None])
            fields.append(UserField(name, optional=missing))
            centres.append(fitted.centre[0])
            spreads.append(fitted.spread[0])
        numbers = [field.name for field in fields if not field.values]
        return cls(fields, NumberScale(numbers, np.array(centres, np.float32), np.array(spreads, np.float32)))

    def read(self, page: Page) -> NDArray[np.float32]:
        """Columns about who asks, ``[dim]``; a missing field or an unknown value reads as zeros (a number's middle).

        Raises:
            PageError: a number field that holds a string, or a string field that holds a number.
        """
        user, parts, number = page.query.user, [], 0
        for field in self.fields:
            _check_kind(page, field.name, is_text=bool(field.values))
            columns = np.zeros(field.columns, np.float32)
            given = user.get(field.name)
            if isinstance(given, str):
                columns[:] = [value == given for value in field.values]
            elif given is not None:
                middle, spread = self.scale.centre[number], self.scale.spread[number]
                columns[0] = np.clip((squeeze(np.array([given], np.float64))[0] - middle) / spread, -5.0, 5.0)
                columns[1:] = 1.0
            number += not field.values
            parts.append(columns)
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def settings(self) -> list[dict[str, Any]]:
        """The fields as JSON values, for a model folder."""
        return [dict(msgspec.to_builtins(field)) for field in self.fields]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Tensors for a model folder; none without number fields."""
        if not self.scale.names:
            return {}
        return {"users.centre": self.scale.centre, "users.spread": self.scale.spread}

    @classmethod
    def from_settings(cls, settings: Sequence[Any], arrays: Mapping[str, NDArray[np.float32]]) -> UserColumns:
        """What ``settings`` and ``arrays`` wrote.

        Raises:
            WeightsError: settings that describe no fields, or scalings that are not those of the number fields.
        """
        try:
            fields = msgspec.convert(settings, list[UserField])
        except msgspec.ValidationError as error:
            raise WeightsError(
                f"user columns: got {error}; allowed: the fields that save wrote; save the model again"
            ) from error
        names = [field.name for field in fields if not field.values]
        blank = np.zeros(0, np.float32)
        centre, spread = arrays.get("users.centre", blank), arrays.get("users.spread", blank)
        if centre.shape != (len(names),) or spread.shape != (len(names),):
            raise WeightsError(
                f"user columns: got scalings {centre.shape} and {spread.shape} for the numbers {names}; allowed: "
                "one each; save the model again"
            )
        return cls(fields, NumberScale(names, centre, spread))


def _check_kind(page: Page, name: str, *, is_text: bool) -> None:
    given = page.query.user.get(name)
    if given is not None and isinstance(given, str) != is_text:
        raise PageError(
            f"query {page.query_id!r}: user[{name!r}]: got {given!r}; allowed: a {'string' if is_text else 'number'}, "
            "as on the training pages; give one kind under one name, or leave the field out"
        )
