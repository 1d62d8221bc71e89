"""A vector for each list: what is asked, and what the teacher puts on top, in words and in pictures.

Lists lie near each other that ask alike and are answered alike; the rest of a list, which a ranker has only to push
down, does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError
from wholepage.pages.model import ImageRef, Result
from wholepage.rankers.encoders import ImageEncoder, TextEncoder
from wholepage.rankers.matching import PageVectors, VectorScale
from wholepage.rankers.text import unit_rows
from wholepage.training.taught import TaughtList

TOP = 3
"""How many results stand for a list."""

_Item = TypeVar("_Item", str, ImageRef)
_Parts = tuple[list[_Item], list[list[_Item]]]  # of the query; of each of the best results


def list_vectors(
    lists: Sequence[TaughtList], text_encoder: TextEncoder, image_encoder: ImageEncoder | None = None
) -> NDArray[np.float32]:
    """What each list is about: its query plus the mean of its three best results by the teacher.

    The text part adds the query's vector and the mean of the best results' text vectors; the picture part does the same
    with pictures, a video being the mean of its frames. Vectors have length 1 before they are added, and what is absent
    adds nothing. Each part is then centred over the distinct lists that have it and brought to the same root mean
    square length, so that neither outweighs the other; a list that lacks a part has zeros there, the middle.

    Args:
        text_encoder, image_encoder: best cached ones. Each distinct text and picture is encoded once, in an order that
            depends on nothing else: a list's row does not depend on the order of the lists. Without an
            ``image_encoder`` pictures are not looked at.
    Shapes:
        return: [len(lists), text_encoder.dim + image_encoder.dim], float32
    Raises:
        InputError: no list, or one with nothing that the encoders can read.
        ShapeError: an encoder returns another shape, or numbers that are not finite.
        ImageError: a picture cannot be read.
    Source: ours.
    """
    if not lists:
        raise InputError("list_vectors: got no list; allowed: one or more; see what the teacher left")
    texts = [_texts(one) for one in lists]
    pictures = [_pictures(one) if image_encoder else ([], []) for one in lists]
    for row, (one, words, shown) in enumerate(zip(lists, texts, pictures, strict=True)):
        if not (any(words) or any(shown)):
            raise InputError(
                f"lists[{row}] of query {one.page.query_id!r}: got nothing to encode in its query and its {TOP} best "
                "results; allowed: text, or pictures and an image_encoder; pass one, or leave the list out"
            )
    text_part = _part(texts, text_encoder.encode_texts, text_encoder.dim, text_encoder.name)
    if image_encoder is None:
        image_part = np.zeros((len(lists), 0), np.float32)
    else:
        image_part = _part(pictures, image_encoder.encode_images, image_encoder.dim, image_encoder.name)
    both = PageVectors(np.zeros(0, np.float32), text_part, image_part)
    return VectorScale.fit([both]).apply(both)


def top_results(taught: TaughtList, count: int = TOP) -> list[Result]:
    """The best results by the teacher, best first; of equal targets the one first on the page.

    Raises:
        InputError: ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"top_results: got count={count}; allowed: 1 or more; leave it out for {TOP}")
    order = sorted(range(len(taught.targets)), key=lambda i: (-taught.targets[i], i))
    return [taught.page.results[i] for i in order[:count]]


def _texts(taught: TaughtList) -> _Parts[str]:
    query = taught.page.query.text
    return [query] if query.strip() else [], [[r.text] for r in top_results(taught) if r.text.strip()]


def _pictures(taught: TaughtList) -> _Parts[ImageRef]:
    query = taught.page.query.image
    return [query] if query is not None else [], [list(r.images) for r in top_results(taught) if r.images]


def _part(
    parts: Sequence[_Parts[_Item]], encode: Callable[[Sequence[_Item]], NDArray[np.float32]], dim: int, name: str
) -> NDArray[np.float32]:
    """Rows [len(parts), dim]: the query's vector plus the mean of the results' vectors, zeros where there is none."""
    groups = [asked for asked, _ in parts] + [group for _, best in parts for group in best]
    items = sorted({item for group in groups for item in group}, key=_order)
    found = np.zeros((len(parts), dim), np.float32)
    if not items:
        return found
    rows = encode(items)
    if rows.shape != (len(items), dim) or not np.isfinite(rows).all():
        raise ShapeError(
            f"encoder {name!r}: got {rows.shape}, {int(np.sum(~np.isfinite(rows)))} numbers not finite; "
            f"allowed: ({len(items)}, {dim}), all finite; mend the encoder"
        )
    vectors = dict(zip(items, unit_rows(rows), strict=True))
    for row, (asked, best) in enumerate(parts):
        of_results = [unit_rows(np.mean([vectors[item] for item in group], axis=0)) for group in best]
        of_query = [vectors[item] for item in asked]
        found[row] = sum(of_query, np.mean(of_results, axis=0) if of_results else np.zeros(dim))
    return found


def _order(item: str | ImageRef) -> tuple[str, str]:
    return (item, "") if isinstance(item, str) else (item.uri, item.sha256 or "")
