"""One page with grades, on which the reference computes every measure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from reference_docstrings import plain

from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page.registry import evaluate_page_measures
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result

GRADES = {"text 1": 3, "text 2": 0, "text 3": 1, "image 1": 2, "image 2": 1, "answer": 2}
"""Nobody judged the video."""
ORDER = ("text 2", "image 1", "answer", "text 1", "image 2", "text 3", "video")
SINGLE = (("text 1", "text 2", "text 3"), ("image 2", "image 1"), ("answer",), ("video",))


def on_the_page(names: Iterable[str]) -> dict[str, str]:
    """The value of each page measure, as it is shown."""
    asked = list(names)
    found = evaluate_page_measures(
        [_ranking(ORDER)], [_page()], _said(), asked, single=[_ranking(ids) for ids in SINGLE]
    ).means()
    return {name: shown(found[name]) for name in asked}


def as_a_list(names: Iterable[str]) -> dict[str, str]:
    """The value of each measure of ir_measures, asked one by one, as it is shown."""
    return {name: shown(next(iter(evaluate([_ranking(ORDER)], _said(), [name]).means().values()))) for name in names}


def example_table() -> str:
    """The page, as it is told."""
    rows = [
        f"| {place} | {name} | {GRADES.get(name, 'nobody judged it')} | {_alone(name)} |"
        for place, name in enumerate(ORDER, 1)
    ]
    return "\n".join(["| place | result | grade | place by its own ranker |", "|---|---|---|---|", *rows])


def shown(value: float) -> str:
    """A value in three digits, or what NaN says."""
    return "nothing to measure" if math.isnan(value) else plain(f"{value:.3f}")


def _alone(name: str) -> str:
    (order,) = [ids for ids in SINGLE if name in ids]
    return f"{order.index(name) + 1} of {len(order)}"


def _page() -> Page:
    def one(name: str) -> Result:
        kind = Modality(name.split()[0])
        seen = (ImageRef("x.png"),) if kind in (Modality.IMAGE, Modality.VIDEO) else ()
        return Result(name, kind, name, seen)

    return Page(Query("q", "example"), tuple(one(name) for name in sorted(ORDER)))


def _ranking(ids: tuple[str, ...]) -> Ranking:
    return Ranking("q", ids, by="example")


def _said() -> Judgments:
    return Judgments.from_mapping({"q": GRADES})
