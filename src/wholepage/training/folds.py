"""Single-modal labels, and the folds of queries that cross-fitting deals them into."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page


def fold_of(query_id: str, folds: int) -> int:
    """The fold a query belongs to: a hash of its id, so that it never depends on the other queries.

    The hash is salted, so that these folds cut across the folds of a cross-validation around them.
    """
    return int.from_bytes(hashlib.sha256(f"single-modal:{query_id}".encode()).digest()[:8], "big") % folds


def labels_of(part: Page, judgments: Judgments) -> NDArray[np.float32]:
    """The labels of a page's results, NaN = nobody looked; shape ``[len(part)]``."""
    given = judgments.by_result(part.query_id)
    return np.array([given.get(result_id, np.nan) for result_id in part.result_ids], np.float32)


def teaches(grades: NDArray[np.float32]) -> bool:
    """Whether a list has labels that differ."""
    known = grades[~np.isnan(grades)]
    return len(known) > 1 and bool(known.min() < known.max())


def enough(parts: Sequence[Page], grades: Sequence[NDArray[np.float32]], folds: int) -> bool:
    """Whether a modality can be trained: as many pages that teach as folds, some of them outside of any one fold."""
    teaching = [part.query_id for part, given in zip(parts, grades, strict=True) if teaches(given)]
    return len(teaching) >= folds and len({fold_of(query_id, folds) for query_id in teaching}) > 1
