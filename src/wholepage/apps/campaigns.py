"""Campaigns of annotation made from files: settings, guideline, pages, orders, pilot labels, things to compare."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wholepage.annotation.events import Kind, Task
from wholepage.annotation.hmm import HmmParameters
from wholepage.annotation.hmm_fit import fit_hmm
from wholepage.annotation.plan import Plan
from wholepage.annotation.selection import Selection
from wholepage.annotation.settings import Settings
from wholepage.apps.command_evaluate import read_any_rankings
from wholepage.apps.places import file_there
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.records import read_judgments

Orders = Mapping[Modality, Ranking]

GUIDELINE = """\
# How to grade

Grade each result **for this query, on this page**: how well would it serve somebody who asked this?

- **3** answers it fully: nothing better could stand here.
- **2** helps well, but something is missing or beside the point.
- **1** has to do with the query, but hardly helps.
- **0** does not help at all, is wrong, or misleads.

A picture, a text, a video and an answer are measured with the same rule: what they give to whoever asked. Do not grade
the kind of result, its length or its place on the page.

What you cannot judge, skip with a reason. When two grades seem equally right, take the lower one.
"""
"""What annotators are told where the campaign has no guideline of its own; written for four grades."""


def read_settings(path: Path | None, changes: Mapping[str, Any]) -> Settings:
    """Settings from a TOML file and from options given beside it, which go before what the file says.

    Args:
        path: None = defaults.
        changes: None values leave a setting as it is.
    Raises:
        NotFound: there is no such file.
        RecordError: it is not TOML, or a setting is unknown, missing or out of range; it is named.
    """
    tables: dict[str, Any] = {}
    if path is not None:
        try:
            tables = tomllib.loads(file_there(path, "campaign settings").read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecordError(path, 0, "file", str(error), "TOML in UTF-8", "mend the file") from error
    tables |= {name: value for name, value in changes.items() if value is not None}
    try:
        return msgspec.convert(tables, Settings)
    except msgspec.ValidationError as error:
        place = "options" if path is None else path
        raise RecordError(place, 0, "settings", str(error), "the settings of a campaign", "mend it") from error


def read_selection(path: Path, pages: Sequence[Page]) -> dict[str, tuple[str, ...]]:
    """What ``wholepage select`` chose.

    Raises:
        NotFound: there is no such file.
        InputError: it is no selection, or of queries that have no page here.
    """
    bought = Selection.from_json(file_there(path, "selection").read_bytes()).bought
    chosen = {query_id: ids for query_id, ids in bought.items() if ids}
    strange = sorted(set(chosen).difference(page.query_id for page in pages))
    if strange:
        raise InputError(
            f"{path}: got a selection on queries {strange[:5]} that have no page here; allowed: the {len(pages)} "
            "queries given; name the pages that were selected from"
        )
    return chosen


def read_page_orders(paths: Sequence[Path], pages: Sequence[Page]) -> dict[str, dict[str, Ranking]]:
    """Orders of whole pages to compare, one file a ranker, by query and by the file's name.

    Raises:
        NotFound: a file is not there.
        RecordError: a line cannot be read.
        InputError: fewer than two files, two of one name, or a ranking that is no order of its page.
    """
    if len(paths) == 1 or len({path.stem for path in paths}) != len(paths):
        raise InputError(
            f"orders to compare: got {[path.name for path in paths]}; allowed: two files or more, of different names; "
            "name another"
        )
    by_query = {page.query_id: page for page in pages}
    found: dict[str, dict[str, Ranking]] = {}
    for path in paths:
        for ranking in read_any_rankings(path):
            page = by_query.get(ranking.query_id)
            if page is not None:
                found.setdefault(page.query_id, {})[path.stem] = ranking.check(page)
    return found


def pairs_within(pages: Sequence[Page], orders: Sequence[Orders], each: int) -> tuple[Task, ...]:
    """Preference tasks: of each page the first results of its lists against each other, across modalities.

    The pairs that tell most about mixing a page: the best of one list against the best of another, then the next ones.

    Args:
        each: pairs a page, at most.
    """
    tasks: list[Task] = []
    for page, of in zip(pages, orders, strict=True):
        lists = [of[modality].result_ids for modality in page.modalities if modality in of]
        pairs = [
            (first + second, one[first], other[second])
            for place, one in enumerate(lists)
            for other in lists[place + 1 :]
            for first in range(min(each, len(one)))
            for second in range(min(each, len(other)))
        ]
        chosen = sorted(pairs)[:each]
        tasks += [Task.pair(Kind.PREFERENCE, page.query_id, one, other) for _, one, other in chosen]
    return tuple(tasks)


def hmm_of(
    pages: Sequence[Page], orders: Sequence[Orders], said: Judgments, levels: int, *, error: float = 0.0
) -> tuple[HmmParameters, list[Page]]:
    """What the engine ``hmm`` believes, learned from pages whose lists are all graded.

    Args:
        error: chance that a pilot label is wrong.
    Returns:
        The parameters, and the pages that are not graded, which are left to ask about.
    Raises:
        InputError: no page is graded whole, or a grade is none of the levels.
    """
    lists: list[list[int]] = []
    left: list[Page] = []
    for page, of in zip(pages, orders, strict=True):
        grades = said.by_result(page.query_id)
        if set(page.result_ids) <= set(grades):
            lists += [[_whole(page, i, grades[i], levels) for i in ranking.result_ids] for ranking in of.values()]
        else:
            left.append(page)
    if not lists:
        raise InputError(
            f"pilot: got no page of {len(pages)} whose results are all graded; allowed: one at least, better 20; grade "
            "some pages whole, or leave the pilot out"
        )
    return fit_hmm(lists, levels, error=error), left


def read_pilot(path: Path) -> Judgments:
    """The labels of a pilot.

    Raises:
        NotFound: there is no such file.
        RecordError: a line cannot be read.
    """
    return read_judgments(file_there(path, "pilot labels"))


def make_plan(
    pages: Sequence[Page],
    orders: Sequence[Orders],
    settings: Settings,
    *,
    selected: Mapping[str, tuple[str, ...]] | None = None,
    pairs: Sequence[Task] = (),
    page_orders: Mapping[str, Mapping[str, Ranking]] | None = None,
    hmm: HmmParameters | None = None,
) -> Plan:
    """The plan of a campaign.

    Args:
        orders: of each page's lists; read by the searching engines alone.
        selected: what to ask of which query, for the engine ``selected``; None = everything.
    Raises:
        InputError: a list that a searching engine needs has no order, or the parts do not fit the pages.
    """
    kept: dict[str, dict[Modality, Ranking]] = {}
    if settings.engine != "selected":
        for page, of in zip(pages, orders, strict=True):
            missing = [m.value for m in page.modalities if m not in of]
            if missing:
                raise InputError(
                    f"plan: query {page.query_id!r}: got no order of its {', '.join(missing)} results; allowed: one "
                    f"for every list, as the engine {settings.engine!r} searches them; bring rankings or a model"
                )
            kept[page.query_id] = dict(of)
    return Plan(
        tuple(pages),
        kept,
        dict(selected or {}),
        tuple(pairs),
        {query_id: dict(of) for query_id, of in (page_orders or {}).items()},
        hmm,
    )


def _whole(page: Page, result_id: str, grade: float, levels: int) -> int:
    if grade not in range(levels):
        raise InputError(
            f"pilot: query {page.query_id!r}: result {result_id!r}: got grade {grade:g}; allowed: whole numbers from 0 "
            f"to {levels - 1}; raise levels, or let one person grade the pilot"
        )
    return int(grade)
