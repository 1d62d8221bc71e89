"""A worker process whose rankers do what their spec says: ``python odd_worker.py FD``, in place of the real one.

The spec's source is JSON: ``seconds`` (of a result), ``log`` (a file that gets the query texts of each batch, as one
line of JSON before it is ranked), ``unloadable``, ``slow_load_s``, ``slow_after`` (a file: while it is there, the
model is not read). The words of the query say the rest: ``die``, ``die-once <file>``, ``until <file>`` (it takes until
the file is there), ``freeze``, ``hang``, ``image``, ``noranker``, ``bug``, ``lose``. A result's score is its text as a
number; a text that is none has no score.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wholepage.apps.serving.served_models import LoadedModel, ModelSpec
from wholepage.apps.serving.worker import main
from wholepage.pages.errors import ImageError, NoRanker, WeightsError
from wholepage.pages.model import Page, Ranking
from wholepage.pages.protocols import ranking_of


class OddRanker:
    """Orders by the number that each text is, unless the query asks for something else."""

    name = "odd"

    def __init__(self, told: dict[str, object]) -> None:
        self._seconds, self._log = float(told.get("seconds", 0.0)), told.get("log")

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        if self._log:
            with open(str(self._log), "a", encoding="utf-8") as log:
                log.write(json.dumps([page.query.text for page in pages]) + "\n")
        return [self._rank(page) for page in pages]

    def _rank(self, page: Page) -> Ranking:
        deed, _, rest = page.query.text.partition(" ")
        if deed == "die" or (deed == "die-once" and not Path(rest).exists()):
            if deed == "die-once":
                Path(rest).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        while deed == "until" and not Path(rest).exists():
            time.sleep(0.005)
        if deed == "hang":
            time.sleep(3600)
        if deed == "image":
            raise ImageError("data:image/png;base64,AAAA", "unreadable", "got 3 bytes; allowed: more; mend it", at="r0")
        if deed == "noranker":
            raise NoRanker("page: got a video; allowed: text; leave it out")
        if deed == "bug":
            raise TypeError("a secret path")
        time.sleep(self._seconds * len(page))
        if deed == "lose":
            return Ranking(page.query_id, page.result_ids[1:])
        if deed == "order":
            return Ranking(page.query_id, tuple(reversed(page.result_ids)))
        numbers = [float(r.text) if r.text.lstrip("-").isdigit() else math.nan for r in page.results]
        return ranking_of(page, np.array(numbers), self.name)


def load(spec: ModelSpec) -> LoadedModel:
    """The odd ranker that a source describes."""
    told = json.loads(spec.source)
    time.sleep(told.get("slow_load_s", 0.0))
    while Path(told.get("slow_after", "/nowhere")).exists():
        time.sleep(0.005)
    if told.get("unloadable"):
        raise WeightsError("folder: got nothing; allowed: weights; save them again")
    return LoadedModel(OddRanker(told), "odd", ("image",) if not told.get("warm") else ("text",))


if __name__ == "__main__":
    main(sys.argv[1:], load)
