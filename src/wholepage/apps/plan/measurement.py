"""Times a ranker on sample pages, and keeps what was found as a file.

Every page is shown once: a ranker that remembers vectors would answer a page seen before for nothing. So the pages
are parted: some warm up, some are timed in small batches of several kinds (whole pages, halves of pages, one modality),
from which the costs are told apart; and on two runs of other sizes the costs are checked.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from wholepage.apps.places import file_there
from wholepage.pages.errors import InputError
from wholepage.pages.lines import atomic_write, decode
from wholepage.pages.model import Page
from wholepage.pages.protocols import Ranker

LEAST_PAGES = 20
_FIT_BATCHES = 8  # at least so many, before batches become large
_SMALL, _LARGE = 0.1, 0.4  # shares of the sample that the two checks take

Clock = Callable[[], float]
"""Seconds from anywhere, never backwards."""

Report = Callable[[int, int, str], None]
"""``report(done, total, what)``."""


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long some pages took.

    Attributes:
        pages: how many.  items: their results by modality.  seconds: by the clock on the wall.
    Raises:
        InputError: no page, a negative number of results, or no time.
    """

    pages: int
    items: dict[str, int]
    seconds: float

    def __post_init__(self) -> None:
        if self.pages < 1 or min(self.items.values(), default=0) < 0 or not 0 < self.seconds < math.inf:
            raise InputError(
                f"timing: got {self.pages} pages, {self.items} results, {self.seconds} s; allowed: a page or more, "
                "results from 0, finite seconds above 0; measure again"
            )


class Makeup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What pages are made of: so many have these results by modality."""

    pages: int
    items: dict[str, int]


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was timed, and on what.

    Attributes:
        model: as it was named.  ranker: what it calls itself.
        machine: processor, cores and software.  gpu: its name; empty = none was there.
        load_s: from nothing to a ranker that has ranked its first pages.
        batch_pages: pages a call.
        timings: from which the costs are told.  checks: runs of two other sizes, on pages of their own.
        makeup: what the sample is made of.
    Raises:
        InputError: too few timings to tell anything, or no check.
    """

    format: Literal[1] = 1
    model: str
    ranker: str
    machine: str
    gpu: str
    load_s: float
    batch_pages: int
    timings: tuple[Timing, ...]
    checks: tuple[Timing, ...]
    makeup: tuple[Makeup, ...]

    def __post_init__(self) -> None:
        if len(self.timings) < 2 or not self.checks or not sum(one.pages for one in self.makeup):
            raise InputError(
                f"measurement: got {len(self.timings)} timings, {len(self.checks)} checks, {len(self.makeup)} kinds of "
                "pages; allowed: 2, 1 and 1 at least; measure again"
            )
        if not 0 <= self.load_s < math.inf or self.batch_pages < 1:
            raise InputError(
                f"measurement: got load_s {self.load_s}, batch_pages {self.batch_pages}; allowed: from 0, from 1; "
                "measure again"
            )


def measure(
    make: Callable[[], Ranker],
    pages: Sequence[Page],
    *,
    model: str,
    batch_pages: int = 4,
    seed: int = 0,
    clock: Clock = time.perf_counter,
    progress: Report | None = None,
) -> Measurement:
    """Time a ranker on pages, each of which it sees once.

    Args:
        make: reads the ranker; its time counts as loading, with that of the first pages.
        pages: a sample of those that will be ranked; which page does what is drawn.
        model: what to call the ranker in the record.
        batch_pages: at most so many a call; fewer where the sample is small.
        seed: of the draw.
        clock: tells the time.
    Raises:
        InputError: fewer than ``LEAST_PAGES`` pages, or pages without results.
        DecodingError: the ranker gave something that is no order of a page.
    """
    if len(pages) < LEAST_PAGES or batch_pages < 1:
        raise InputError(
            f"plan: got {len(pages)} sample pages, {batch_pages} a call; allowed: {LEAST_PAGES} or more, 1 or more; "
            "give more pages of the same kind"
        )
    if not all(map(len, pages)):
        raise InputError("plan: got sample pages without results; allowed: one or more a page; leave them out")
    drawn = [pages[i] for i in np.random.default_rng(seed).permutation(len(pages))]
    small, large = max(1, round(_SMALL * len(drawn))), round(_LARGE * len(drawn))
    fit = len(drawn) - small - large
    size = max(1, min(batch_pages, fit // (_FIT_BATCHES + 1)))
    warm, taught = drawn[:size], drawn[size:fit]
    began = clock()
    ranker = make()
    _rank(ranker, warm)
    load_s = clock() - began

    def timed(of: Sequence[Page]) -> Timing:
        begin = clock()
        for batch in _batches(of, size):
            _rank(ranker, batch)
        return Timing(len(of), _items(of), clock() - begin)

    timings = []
    parts = [part for part in _varied(_batches(taught, size)) if part]
    for done, part in enumerate(parts, start=1):
        timings.append(timed(part))
        if progress:
            progress(done, len(parts), "batches timed")
    checks = (timed(drawn[fit : fit + small]), timed(drawn[fit + small :]))
    return Measurement(
        model=model,
        ranker=ranker.name,
        machine=_machine(),
        gpu=_gpu(),
        load_s=load_s,
        batch_pages=size,
        timings=tuple(timings),
        checks=checks,
        makeup=_makeup(pages),
    )


def read_measurement(path: str | Path) -> Measurement:
    """What ``write_measurement`` wrote.

    Raises:
        NotFound: there is no such file.
        RecordError: it holds something else.
    """
    file = file_there(path, "measurement")
    return decode(msgspec.json.Decoder(Measurement), file, 1, file.read_bytes())


def write_measurement(path: str | Path, found: Measurement) -> None:
    """Keep a measurement, whole or not at all.

    Raises:
        RecordError: the folder is missing, or may not be written to.
    """
    with atomic_write(path, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def _rank(ranker: Ranker, pages: Sequence[Page]) -> None:
    for ranking, page in zip(ranker.rank(pages), pages, strict=True):
        ranking.check(page)


def _batches(pages: Sequence[Page], size: int) -> list[Sequence[Page]]:
    return [pages[start : start + size] for start in range(0, len(pages), size)]


def _varied(batches: Sequence[Sequence[Page]]) -> list[list[Page]]:
    """Batches in turn whole, halved, and of one modality: pages that are all alike would not tell cost from cost."""
    modalities = sorted({modality for batch in batches for page in batch for modality in page.modalities})
    kinds: list[Callable[[Page], Page]] = [lambda page: page, lambda page: page.keep(page.result_ids[::2])]
    if len(modalities) > 1:
        kinds += [lambda page, one=one: page.only(one) for one in modalities]  # type: ignore[misc]
    varied = [[kinds[i % len(kinds)](page) for page in batch] for i, batch in enumerate(batches)]
    return [[page for page in batch if len(page)] for batch in varied]


def _items(pages: Sequence[Page]) -> dict[str, int]:
    counts = Counter(result.modality.value for page in pages for result in page.results)
    return dict(sorted(counts.items()))


def _makeup(pages: Sequence[Page]) -> tuple[Makeup, ...]:
    kinds: Mapping[tuple[tuple[str, int], ...], int] = Counter(tuple(_items([page]).items()) for page in pages)
    return tuple(Makeup(count, dict(items)) for items, count in sorted(kinds.items()))


def _machine() -> str:
    model = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    torch = _loaded_torch()
    threads = "" if torch is None else f", torch {torch.__version__} on {torch.get_num_threads()} threads"
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}{threads}"


def _gpu() -> str:
    torch = _loaded_torch()
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else ""


def _loaded_torch() -> Any:
    """torch where the ranker brought it; a ranker without it needs none here either."""
    return sys.modules.get("torch")
