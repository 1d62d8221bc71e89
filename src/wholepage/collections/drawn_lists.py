"""Whom a page holds where a benchmark only has a corpus: what a retriever found, or a draw.

Benchmarks of retrieval judge a few documents a query and leave the rest to whoever searches. To rerank, either take a
run, or draw: the relevant ones and others of the corpus, shuffled by the seed and the query alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wholepage.pages import InputError
from wholepage.pages.trec import read_run


def read_candidates(run: str | Path | None, depth: int) -> dict[str, tuple[str, ...]] | None:
    """The lists of a TREC run by query, cut at ``depth``; None without one.

    Raises:
        InputError: depth is below 2.
        RecordError: a line of the run cannot be read.
    """
    if depth < 2:
        raise InputError(f"results: got {depth}; allowed: 2 and up; say how many results a page holds")
    return None if run is None else {one.query_id: one.top(depth).result_ids for one in read_run(run)}


def drawn(query_id: str, grades: Mapping[str, float], corpus: Sequence[str], results: int, seed: int) -> list[str]:
    """The ids of one page: all that are judged above 0, then others drawn at random, in an order that tells nothing.

    Args:
        corpus: all ids, in a fixed order, each once.
        results: how many, at most; more where more are relevant.
    Returns:
        Ids, each once, the same for the same arguments on every machine.
    """
    digest = hashlib.sha256(f"{seed}:{query_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    chosen = sorted(result_id for result_id, grade in grades.items() if grade > 0)
    met = set(chosen)
    wanted = max(0, min(results, len(corpus)) - len(chosen))
    # Among len(met) + wanted draws without repeats at least wanted are new.
    for place in rng.choice(len(corpus), size=min(len(corpus), len(met) + wanted), replace=False):
        if wanted and corpus[place] not in met:
            chosen.append(corpus[place])
            met.add(corpus[place])
            wanted -= 1
    return [chosen[place] for place in rng.permutation(len(chosen))]
