"""What leaves a campaign and what comes into one: a folder to train from, files of other tools, whole logs back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.event_lines import read_entries, write_entries
from wholepage.annotation.events import Answered
from wholepage.annotation.formats import Format
from wholepage.annotation.interchange import LOSSES, STUDIO_KINDS, import_events
from wholepage.annotation.interchange import export_campaign as export_file
from wholepage.annotation.label_studio import labelling_config
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.moments import stamp, utc_now
from wholepage.annotation.plan import Plan
from wholepage.annotation.store import Store
from wholepage.apps.bought import Bought, write_bought
from wholepage.apps.campaign_status import facts_of
from wholepage.apps.places import file_there
from wholepage.pages.records import atomic_write, write_pages

EVENTS, PLAN, PAGES, STATUS, PAGE_PREFERENCES = (
    "events.jsonl",
    "plan.json",
    "pages.jsonl",
    "status.json",
    "page_preferences.jsonl",
)


def export_campaign(store: Store, campaign_id: str, folder: Path) -> dict[str, Any]:
    """Write everything that a campaign has come to into a folder; equal campaigns give equal files.

    ``judgments.jsonl`` and ``bought.json`` are what training reads (``--labels``), ``pages.jsonl`` the pages they are
    about; ``events.jsonl`` with ``plan.json`` is the whole log, from which it can be imported again; ``status.json``
    says what it cost and what it is worth, ``page_preferences.jsonl`` which whole pages were preferred.

    Returns:
        What was written.
    Raises:
        InputError: no such campaign.  ChainBroken: its log is damaged; nothing is written then.
    """
    entries = list(store.entries(campaign_id))
    plan = store.plan(campaign_id)
    campaign = Campaign.replay(plan, entries)
    labels, ledger = campaign.labels(), campaign.ledger()
    strategy = f"campaign: {campaign.settings.engine}"
    write_bought(folder, Bought(labels.judgments, ledger.questions, strategy, labels.weights))
    write_pages(folder / PAGES, plan.pages)
    write_entries(folder / EVENTS, entries)
    _write(folder / PLAN, plan.to_json())
    _write(folder / STATUS, msgspec.json.format(msgspec.json.encode(facts_of(campaign_id, campaign))) + b"\n")
    _write(folder / PAGE_PREFERENCES, b"".join(msgspec.json.encode(said) + b"\n" for said in labels.pages))
    return {
        "campaign": campaign_id,
        "folder": str(folder),
        "entries": len(entries),
        "labels": len(labels.judgments),
        "inferred": labels.inferred,
        "questions": ledger.questions,
        "page_preferences": len(labels.pages),
    }


def export_format(store: Store, campaign_id: str, to: Format, path: Path) -> dict[str, Any]:
    """Write one file in the format of another tool; a labelling set-up beside it, where the tool needs one.

    Raises:
        InputError: no such campaign, or it holds what the format cannot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    plan, entries = store.plan(campaign_id), list(store.entries(campaign_id))
    records = export_file(path, to, plan, entries)
    facts = {"campaign": campaign_id, "file": str(path), "format": to.value, "records": records, "loses": LOSSES[to]}
    kind = STUDIO_KINDS.get(to)
    if kind is not None:
        config = path.with_suffix(".xml")
        settings = Campaign.replay(plan, entries).settings
        _write(config, labelling_config(kind, settings.levels).encode())
        facts["labelling_config"] = str(config)
    return facts


def import_log(store: Store, campaign_id: str, path: Path, plan: Path) -> dict[str, Any]:
    """Bring a whole log back, as a campaign that is exactly what it was.

    Raises:
        NotFound: a file is not there.
        RecordError: a line of the log is not as it was written.
        InputError: the id is taken, or the log is not of this plan, or holds what may not happen.
    """
    entries = list(read_entries(file_there(path, "log")))
    made = Plan.from_json(file_there(plan, "plan").read_bytes())
    campaign = Campaign.replay(made, entries)
    store.restore_campaign(campaign_id, made, entries)
    return {"campaign": campaign_id, "entries": campaign.seq, "head": entries[-1].hash}


def import_answers(store: Store, campaign_id: str, path: Path, of: Format) -> dict[str, Any]:
    """Take what was said elsewhere into a campaign that is open.

    Answers alone are taken; a file may hold skips, decisions or gold too, which are counted and left.

    Returns:
        How many answers were taken, and how many other records were left.
    Raises:
        NotFound: the file is not there.  RecordError: it cannot be read; file, line and field are named.
        InputError: no such campaign, or an answer that may not be given in it; those before it are taken.
        BudgetSpent: more answers than the budget pays for; those that it does are taken.
    """
    live = LiveCampaign(store, campaign_id)
    campaign = live.read()
    events = import_events(file_there(path, of.value), of, campaign.plan, at=stamp(utc_now()))
    taken = left = 0
    for event in events:
        if not isinstance(event, Answered):
            left += 1
            continue
        live.answer(
            event.who, event.task, grade=event.grade, choice=event.choice, seconds=event.seconds,
            guideline=min(event.guideline, campaign.guideline_version), source="import",
        )  # fmt: skip
        taken += 1
    return {"campaign": campaign_id, "format": of.value, "answers": taken, "left": left}


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path, "wb") as file:
        file.write(content)
