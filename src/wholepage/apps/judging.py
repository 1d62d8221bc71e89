"""Letting a model behind an address answer the questions of a campaign."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from wholepage.annotation.answers import MODEL
from wholepage.annotation.events import Kind, SkipReason
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.model_judge import ModelAnnotator
from wholepage.annotation.store import Store
from wholepage.apps.chat_endpoint import ChatEndpoint
from wholepage.pages.errors import BudgetSpent, ImageError
from wholepage.pages.judgments import Question
from wholepage.pages.protocols import Annotator

Report = Callable[[int, int, str], None]


def judge(
    store: str,
    campaign_id: str,
    *,
    endpoint: str,
    model: str,
    key_variable: str | None,
    most: int | None,
    kept: Path | None,
    report: Report,
) -> dict[str, Any]:
    """Ask a model until it has answered all, ``most`` questions, or what the budget pays for.

    Returns:
        What it answered and what that took, under the names that ``--json`` prints.
    Raises:
        InputError: no such campaign.  Halted: it is closed or paused.
        EndpointError: the address does not answer, or not in the form asked for; answers so far are kept.
    """
    with Store.open(store) as opened, ChatEndpoint(endpoint, model, api_key_env=key_variable, cache=kept) as asked:
        live = LiveCampaign(opened, campaign_id)
        campaign = live.read()
        annotator = ModelAnnotator(asked, model, levels=campaign.settings.levels, guideline=campaign.guideline)
        answered, skipped = answer_all(live, annotator, most=most, report=report)
        usage = msgspec.to_builtins(asked.usage)
    return {"who": annotator.name, "answered": answered, "skipped": skipped, "turned": annotator.turned, **usage}


def answer_all(
    live: LiveCampaign, annotator: Annotator, *, most: int | None = None, report: Report | None = None
) -> tuple[int, int]:
    """Let an annotator answer what a live campaign asks of them.

    Pictures that cannot be opened are skipped as broken, comparisons of whole pages too: those need eyes.

    Returns:
        Answers, and skips.
    Raises:
        Halted: the campaign is closed or paused, or the annotator is.
    """
    who, answered, skipped = annotator.name, 0, 0
    pages = {page.query_id: page for page in live.read().plan.pages}
    full = live.read().plan.results
    while most is None or answered + skipped < most:
        try:
            given = live.next(who)
        except BudgetSpent:
            break
        if given is None:
            break
        task, began = given.task, time.monotonic()
        if task.kind is Kind.PAGES:
            live.skip(who, task, SkipReason.OTHER, "whole pages are compared by people alone")
            skipped += 1
            continue
        try:
            verdict = annotator.answer(Question(pages[task.query_id], task.left_id, task.right_id or None))
        except ImageError as error:
            live.skip(who, task, SkipReason.BROKEN, str(error)[:500], seconds=time.monotonic() - began)
            skipped += 1
            continue
        live.answer(
            who,
            task,
            grade=None if verdict.grade is None else int(verdict.grade),
            choice=verdict.choice,
            seconds=time.monotonic() - began,
            guideline=live.read().guideline_version,
            source="model" if who.startswith(MODEL) else "person",
        )
        answered += 1
        if report is not None:
            report(answered, full if most is None else most, "judged")
    return answered, skipped
