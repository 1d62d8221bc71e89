"""Opening a campaign: its materials read, its plan made, its log begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wholepage.annotation.events import Opened
from wholepage.annotation.moments import stamp, utc_now
from wholepage.annotation.settings import Settings
from wholepage.annotation.store import Store
from wholepage.apps.campaigns import (
    GUIDELINE,
    Orders,
    hmm_of,
    make_plan,
    pairs_within,
    read_page_orders,
    read_pilot,
    read_selection,
)
from wholepage.apps.documents import check_pictures
from wholepage.apps.places import file_there
from wholepage.apps.to_annotate import orders_by_model, orders_from_files, pages_of
from wholepage.pages.errors import InputError
from wholepage.pages.model import Page

WHO = "command line"
Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Materials:
    """What a campaign is made from; the commands' options say what each is."""

    pages: str
    split: str | None = None
    root: Path | None = None
    rankings: Sequence[Path] = field(default_factory=list)
    model: Path | None = None
    selection: Path | None = None
    pilot: Path | None = None
    pairs: int = 0
    compare: Sequence[Path] = field(default_factory=list)


def open_campaign(
    store: str, campaign_id: str, settings: Settings, materials: Materials, *, guideline: Path | None, report: Report
) -> dict[str, Any]:
    """Make the plan, and begin the log; nothing is written unless all of it can be used.

    Returns:
        What was made, under the names that ``--json`` prints.
    Raises:
        NotFound: something named is not there.
        InputError: the materials do not fit the settings or each other, or the id is taken.
        ImageError: a picture that annotators would have to see cannot be opened.
    """
    if materials.pilot is not None and settings.engine != "hmm":
        raise InputError(
            f"campaign: got a pilot for the engine {settings.engine!r}; allowed: for hmm, which learns from it; leave "
            "it out"
        )
    if materials.selection is not None and settings.engine != "selected":
        raise InputError(
            f"campaign: got a selection for the engine {settings.engine!r}, which chooses what to ask; allowed: for "
            "'selected'; leave it out"
        )
    text = GUIDELINE if guideline is None else file_there(guideline, "guideline").read_text(encoding="utf-8")
    pages = pages_of(materials.pages, materials.split, materials.root)
    orders = _orders(pages, settings, materials, report)
    hmm = None
    if materials.pilot is not None:
        all_pages = pages
        hmm, pages = hmm_of(pages, orders, read_pilot(materials.pilot), settings.levels)
        orders = [of for page, of in zip(all_pages, orders, strict=True) if page in pages]
        if not pages:
            raise InputError("campaign: got a pilot of all pages; allowed: some left to ask about; bring more pages")
    for done, page in enumerate(pages, start=1):
        check_pictures(page)
        report(done, len(pages), "pictures opened")
    plan = make_plan(
        pages,
        orders,
        settings,
        selected=None if materials.selection is None else read_selection(materials.selection, pages),
        pairs=pairs_within(pages, orders, materials.pairs) if materials.pairs else (),
        page_orders=read_page_orders(materials.compare, pages) if materials.compare else None,
        hmm=hmm,
    )
    with Store.open(store) as opened:
        entry = opened.create_campaign(campaign_id, plan, Opened(WHO, stamp(utc_now()), settings, plan.sha256, text))
    return {
        "campaign": campaign_id,
        "store": store,
        "engine": settings.engine,
        "pages": len(plan.pages),
        "results": plan.results,
        "comparisons": sum(1 for _ in plan.comparisons()),
        "budget_questions": settings.budget_questions,
        "plan": plan.sha256,
        "head": entry.hash,
    }


def _orders(pages: Sequence[Page], settings: Settings, materials: Materials, report: Report) -> list[Orders]:
    """The orders of all lists, where anything reads them."""
    if materials.rankings:
        return [dict(of) for of in orders_from_files(pages, list(materials.rankings))[0]]
    if settings.engine == "selected" and not materials.pairs:
        return [{} for _ in pages]
    return [dict(of) for of in orders_by_model(pages, materials.model, materials.root, report)]
