"""Logs drawn from click models as their papers tell them, one user and one place at a time or column by column.

They know nothing of the fits that they test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wholepage.evaluation.users.impressions import Click, Impression, ImpressionTable, table_of
from wholepage.pages import Modality

QUERIES, RESULTS = 6, 12


def log_of(
    shown: np.ndarray, clicked: np.ndarray, query: np.ndarray, modality: np.ndarray | None = None
) -> ImpressionTable:
    """Columns from result numbers ``[n, depth]`` (-1 = padding), clicks, queries ``[n]``; modality by result."""
    modality = np.zeros(RESULTS, dtype=int) if modality is None else modality
    there, n, depth = shown >= 0, *shown.shape
    queries, results = int(query.max()) + 1, max(int(shown.max()) + 1, len(modality))
    nowhere = np.full((n, depth), np.nan)
    padded = np.where(there, 0, -1)
    return ImpressionTable(
        query=query, user=np.zeros(n, dtype=int), arm=np.zeros(n, dtype=int), length=there.sum(axis=1),
        item=np.where(there, query[:, None] * results + shown, -1), modality=np.where(there, modality[shown], -1),
        clicked=clicked & there, click_at_s=nowhere, dwell_s=nowhere, block=padded, team=padded, at_s=np.zeros(n),
        reformulated=np.zeros(n, dtype=bool), satisfied_without_click=np.full(n, -1),
        item_query=np.repeat(np.arange(queries), results), query_ids=tuple(f"q{q}" for q in range(queries)),
        users=("u",), arms=("",), teams=("",),
        result_ids=tuple(f"r{i}" for _ in range(queries) for i in range(results)),
    )  # fmt: skip


def orders(n: int, depth: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random pages of random queries: results ``[n, depth]`` and queries ``[n]``."""
    shown = np.argsort(rng.random((n, RESULTS)), axis=1)[:, :depth]
    return shown, rng.integers(QUERIES, size=n)


def pbm_clicks(attraction: np.ndarray, examination: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clicks of independent attraction and examination, ``[n, depth]`` each."""
    return (rng.random(attraction.shape) < attraction) & (rng.random(attraction.shape) < examination)


def ubm_clicks(attraction: np.ndarray, examination: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clicks with examination ``[depth, depth]`` by place and last click above."""
    n, depth = attraction.shape
    clicked, last = np.zeros((n, depth), dtype=bool), np.zeros(n, dtype=int)
    for place in range(depth):
        looked = rng.random(n) < examination[place, last]
        clicked[:, place] = looked & (rng.random(n) < attraction[:, place])
        last[clicked[:, place]] = place + 1
    return clicked


def dbn_clicks(
    attraction: np.ndarray, satisfaction: np.ndarray, continuation: float, rng: np.random.Generator
) -> np.ndarray:
    """Clicks of users who leave satisfied or tired, ``[n, depth]``."""
    n, depth = attraction.shape
    clicked, looks = np.zeros((n, depth), dtype=bool), np.ones(n, dtype=bool)
    for place in range(depth):
        clicked[:, place] = looks & (rng.random(n) < attraction[:, place])
        satisfied = clicked[:, place] & (rng.random(n) < satisfaction[:, place])
        looks = looks & ~satisfied & (rng.random(n) < continuation)
    return clicked


def small_log(pages: Sequence[tuple[str, str, str]]) -> ImpressionTable:
    """A log by hand: (query, results as letters, clicked letters); capital letters are pictures."""
    records = []
    for number, (query, shown, clicked) in enumerate(pages):
        kinds = tuple(Modality.IMAGE if letter.isupper() else Modality.TEXT for letter in shown)
        clicks = tuple(Click(shown.index(letter)) for letter in clicked)
        records.append(Impression(f"i{number}", "u", query, tuple(shown), kinds, clicks))
    return table_of(records)


TINY = [
    ("q", "abC", "a"), ("q", "bCa", "Ca"), ("q", "Cab", ""), ("q", "ab", "b"), ("p", "aB", "B"), ("p", "Ba", ""),
    ("p", "aBc", "ac"), ("q", "abC", ""), ("q", "aCb", "aCb"), ("p", "cBa", "a"), ("q", "b", "b"),
]  # fmt: skip
"""A few pages of different lengths, with everything that can happen on them."""


def by_name(items: Sequence[tuple[str, str]], values: np.ndarray) -> np.ndarray:
    """What was learned about the items of ``orders``, as ``[queries, results]``."""
    found = np.full((QUERIES, RESULTS), np.nan)
    for (query, result), value in zip(items, values, strict=True):
        found[int(query[1:]), int(result[1:])] = value
    return found
