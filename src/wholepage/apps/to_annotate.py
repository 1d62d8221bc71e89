"""What ``wholepage select`` does: find the order of each list, choose within the budget, write what annotators need.

The folder then holds:

- ``to_annotate.jsonl``: the pages of which something is asked, whole, since a grade is for a result on its page: who
  gives it must see what it stands beside. Picture addresses are absolute.
- ``selection.json``: which of their results to ask about (``Selection``), and of how much that is.
- ``rankings.jsonl``: the order of each list of every page, where the strategy reads orders. What is chosen can be found
  again from it alone (``--rankings``), and strategies that go on asking need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from wholepage.annotation.buying import Opening, opening
from wholepage.annotation.selection import Counts
from wholepage.annotation.strategies import Strategy, parse_strategy
from wholepage.apps.command_evaluate import read_any_rankings
from wholepage.apps.documents import check_pictures
from wholepage.apps.places import NotFound, cache_folder, open_collection
from wholepage.apps.resolve import page_ranker, ranker_from
from wholepage.collections import NAMES
from wholepage.collections.jsonl import WHOLE
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Scorer, ranking_of
from wholepage.pages.records import atomic_write, write_pages, write_rankings

Orders = dict[Modality, Ranking]
Report = Callable[[int, int, str], None]
DEFAULT_SHARE = 0.1
_PAGES_A_STEP = 32


def strategy_of(named: str, share: float | None) -> Strategy:
    """A strategy from its whole spec, or from its name with the share beside it.

    Raises:
        InputError: there is no such strategy, or both a spec and a share are given.
    """
    if "(" not in named:
        return parse_strategy(f"{named}(p={DEFAULT_SHARE if share is None else share!r})")
    if share is not None:
        raise InputError(
            f"--share: got {share} beside the strategy {named!r}, which has its own; allowed: one of them; drop --share"
        )
    return parse_strategy(named)


def pages_of(name: str, split: str | None, root: Path | None) -> list[Page]:
    """The pages of one split; nobody need have judged them.

    Args:
        name: a collection by name, or a file or folder of pages.
        split: None = ``train`` where there is one, else ``all`` (a single file).
    Raises:
        NotFound: neither a collection nor a path that exists.
        InputError: there is no such split, or it is empty.
    """
    own = name not in NAMES or name == "jsonl"
    if own and not Path(name).exists():
        raise NotFound(
            f"pages: got {name!r}; allowed: {', '.join(n for n in NAMES if n != 'jsonl')}, or a file or folder of "
            "pages that exists; check the name or path"
        )
    collection = open_collection("jsonl", Path(name)) if own else open_collection(name, root)
    usual = WHOLE if own and Path(name).is_file() else "train"
    pages = list(collection.pages(split or usual))
    if not pages:
        raise InputError(f"pages: got none in {name!r}, split {split or usual!r}; allowed: one at least; name another")
    return pages


def unjudged(pages: Sequence[Page], said: Judgments) -> list[Page]:
    """The pages of whose results nobody has said anything.

    Raises:
        InputError: none is left.
    """
    judged = set(said.query_ids)
    left = [page for page in pages if page.query_id not in judged]
    if not left:
        raise InputError(f"pages: got {len(pages)}, all judged already; allowed: one that is not; bring more pages")
    return left


def orders_from_files(pages: Sequence[Page], paths: Sequence[Path]) -> tuple[list[Orders], int]:
    """The order of each list from rankings, each of one modality or more.

    Returns:
        One mapping a page, and how many rankings were of queries that have no page.
    Raises:
        NotFound: a file is not there.
        RecordError: a line cannot be read.
        InputError: a ranking names what is not on its page, or two order the same list.
        DecodingError: a ranking holds only a part of a list.
    """
    rows = {page.query_id: row for row, page in enumerate(pages)}
    orders: list[Orders] = [{} for _ in pages]
    strange = 0
    for path in paths:
        for ranking in read_any_rankings(path):
            row = rows.get(ranking.query_id)
            if row is None:
                strange += 1
                continue
            unknown = sorted(set(ranking.result_ids).difference(pages[row].result_ids))
            if unknown:
                raise InputError(
                    f"{path}: query {ranking.query_id!r}: got {unknown[:5]}, which are not on its page; allowed: the "
                    f"page's {len(pages[row])} ids; rank these pages"
                )
            for modality, part in by_modality(pages[row], ranking).items():
                if modality in orders[row]:
                    raise InputError(
                        f"{path}: query {ranking.query_id!r}: got a second order of its {modality.value} results, by "
                        f"{part.by!r} after {orders[row][modality].by!r}; allowed: one a list; leave one of them out"
                    )
                orders[row][modality] = part.check(pages[row].only(modality))
    return orders, strange


def by_modality(page: Page, ranking: Ranking) -> Orders:
    """The order of each list inside a ranking of results of several modalities."""
    kinds = {result.result_id: result.modality for result in page.results}
    scores = dict(zip(ranking.result_ids, ranking.scores or (), strict=False))
    found: Orders = {}
    for modality in page.modalities:
        ids = tuple(result_id for result_id in ranking.result_ids if kinds[result_id] is modality)
        if ids:
            of = tuple(scores[result_id] for result_id in ids) if ranking.scores is not None else None
            found[modality] = Ranking(page.query_id, ids, of, ranking.by)
    return found


def orders_by_model(pages: Sequence[Page], model: Path | None, root: Path | None, report: Report) -> list[Orders]:
    """The order of each list by the single-modal rankers of a model folder, or by the offline ones.

    Raises:
        NotFound: there is no such folder.
        WeightsError: the folder is not a page reranker, or damaged.
        ImageError: a picture that has to be read cannot be.
    """
    if model is not None:
        upstream = page_ranker(model, root=root, cache=cache_folder(), progress=report).featurizer.upstream
        return _in_steps(pages, lambda part: _scored(part, upstream), report)
    ranker = ranker_from(None, cache=cache_folder())
    # Merging by z-score leaves each modality in the order of its own ranker.
    return _in_steps(
        pages, lambda part: [by_modality(p, r) for p, r in zip(part, ranker.rank(part), strict=True)], report
    )


def _in_steps(pages: Sequence[Page], rank: Callable[[Sequence[Page]], list[Orders]], report: Report) -> list[Orders]:
    found: list[Orders] = []
    for start in range(0, len(pages), _PAGES_A_STEP):
        found += rank(pages[start : start + _PAGES_A_STEP])
        report(len(found), len(pages), "pages ranked")
    return found


def _scored(pages: Sequence[Page], scorer: Scorer) -> list[Orders]:
    found: list[Orders] = []
    for page, scores in zip(pages, scorer.score(pages), strict=True):
        kinds = np.array([result.modality.value for result in page.results])
        found.append({m: ranking_of(page.only(m), scores[kinds == m.value], scorer.name) for m in page.modalities})
    return found


def without_opinion(orders: Sequence[Mapping[Modality, Ranking]]) -> int:
    """How many results stand at the end of their list because nothing could be read in them."""
    return sum(score is None for of in orders for ranking in of.values() for score in ranking.scores or ())


@dataclass(frozen=True)
class Plan:
    """What will be asked, and of which pages.

    Attributes:
        pages, orders: all that was chosen from.  strategy: how.  opening: what to ask first.
    """

    pages: Sequence[Page]
    orders: Sequence[Orders]
    strategy: Strategy
    opening: Opening

    @property
    def touched(self) -> list[Page]:
        """The pages of which something is asked."""
        return [page for page in self.pages if self.opening.selection.bought[page.query_id]]

    def write(self, out: Path, report: Report) -> None:
        """Write the folder; every picture of the pages to annotate is opened before.

        Raises:
            ImageError: a picture is missing or broken; nothing is written then.
        """
        for done, page in enumerate(self.touched, start=1):
            check_pictures(page)
            report(done, len(self.touched), "pictures opened")
        out.mkdir(parents=True, exist_ok=True)
        write_pages(out / "to_annotate.jsonl", self.touched)
        if self.strategy.reads_ranks:
            write_rankings(out / "rankings.jsonl", (_named(m, r) for of in self.orders for m, r in of.items()))
        with atomic_write(out / "selection.json", "wb") as file:
            file.write(self.opening.selection.to_json() + b"\n")

    def facts(self, seconds_per_label: float | None = None, price_per_hour: float | None = None) -> dict[str, Any]:
        """What it costs, under the names that ``--json`` prints; hours and price are those of ``at_most`` labels."""
        selection = self.opening.selection
        kinds = {(p.query_id, r.result_id): r.modality.value for p in self.pages for r in p.results}
        asked = [kinds[query_id, result_id] for query_id, ids in selection.bought.items() for result_id in ids]
        everything = list(kinds.values())
        hours = None if seconds_per_label is None else self.opening.budget * seconds_per_label / 3600
        return {
            "strategy": selection.strategy,
            "counts": selection.counts,
            "seed": selection.seed,
            "labels": selection.labels,
            "of": selection.full,
            "share": selection.share,
            "at_most": self.opening.budget,
            "worst_case": self.opening.worst_case,
            "pages": len(self.touched),
            "of_pages": len(self.pages),
            "modalities": {
                m.value: {"labels": asked.count(m.value), "of": everything.count(m.value)}
                for m in Modality
                if m.value in everything
            },
            "hours": hours,
            "price": None if hours is None or price_per_hour is None else hours * price_per_hour,
        }


def plan(
    pages: Sequence[Page],
    orders: Sequence[Orders],
    strategy: Strategy,
    *,
    seed: int,
    counts: Counts = "within-budget",
    levels: int = 4,
) -> Plan:
    """Choose within the budget.

    Raises:
        InputError, NoRanker, DecodingError: as ``annotation.buying.opening``.
    """
    found = opening(pages, orders, strategy, seed=seed, counts=counts, levels=levels)
    return Plan(pages, orders, strategy, found)


def _named(modality: Modality, ranking: Ranking) -> Ranking:
    """Named by its modality too: the lists of a page often share a ranker, and names in a file are unique."""
    begins = f"{modality.value}: "
    return ranking if ranking.by.startswith(begins) else msgspec.structs.replace(ranking, by=begins + ranking.by)
