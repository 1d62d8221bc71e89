"""Blocks of a page: the results of one modality that stand together, as a reader sees a row of pictures.

A block is a longest run of results of one modality. Two rows of pictures with a text between them are two blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.model import Page, Ranking


def blocks_of(ranking: Ranking, page: Page) -> tuple[int, ...]:
    """The number of the block (from 0, from the top) in which each ranked result stands.

    Raises:
        DecodingError: the ranking is not a permutation of the page.
    """
    kinds = {result.result_id: result.modality for result in page.results}
    numbers: list[int] = []
    before = None
    for result_id in ranking.check(page).result_ids:
        kind = kinds[result_id]
        numbers.append((numbers[-1] + (kind is not before)) if numbers else 0)
        before = kind
    return tuple(numbers)


def block_numbers(modality: NDArray[np.int8]) -> NDArray[np.int64]:
    """``blocks_of`` for many pages at once.

    Shapes:
        modality: [n, depth] modality code in ranked order, -1 = padding (only at the end of a row)
    Returns:
        [n, depth] block number from 0; -1 where there is padding.
    """
    new = np.zeros(modality.shape, dtype=np.int64)
    new[:, 1:] = modality[:, 1:] != modality[:, :-1]
    return np.where(modality >= 0, np.cumsum(new, axis=1), -1)
