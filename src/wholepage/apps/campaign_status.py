"""How a campaign stands, as ``wholepage annotate status`` says it: never a saving without its error beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from wholepage.annotation.agreement import Agreement
from wholepage.annotation.campaign import Campaign
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.store import Store
from wholepage.apps.console import number

_NOBODY: Mapping[str, str] = {}
Table = tuple[str, list[str], list[list[str]]]


def status(store: str, campaign_id: str) -> dict[str, Any]:
    """Everything that a manager asks for, under the names that ``--json`` prints.

    Raises:
        InputError: no such campaign.  ChainBroken: its log is damaged.
    """
    with Store.open(store) as opened:
        names = {person.person_id: person.name for person in opened.people()}
        return facts_of(campaign_id, LiveCampaign(opened, campaign_id).read(), names)


def facts_of(campaign_id: str, campaign: Campaign, names: Mapping[str, str] = _NOBODY) -> dict[str, Any]:
    """The facts of a campaign.

    Args:
        names: of people, by their ids.
    """
    facts = {
        "campaign": campaign_id,
        "name": campaign.settings.name,
        "engine": campaign.settings.engine,
        "closed": campaign.closed,
        "guideline_version": campaign.guideline_version,
        "entries": campaign.seq,
        "progress": campaign.progress(),
        "ledger": campaign.ledger(),
        "agreement": campaign.agreement(),
        "annotators": campaign.quality(),
        "names": {who: names[who] for who in campaign.people if who in names},
    }
    plain: dict[str, Any] = msgspec.to_builtins(facts)
    return plain


def tables(facts: dict[str, Any]) -> list[Table]:
    """The facts as tables for a terminal."""
    return [_overview(facts), _modalities(facts), _annotators(facts)]


def _overview(facts: dict[str, Any]) -> Table:
    progress, ledger = facts["progress"], facts["ledger"]
    saving, certificate = ledger["saving"], ledger["saving"]["certificate"]
    left = progress["questions_left"]
    rows = [
        ["lists done", f"{progress['all']['lists_done']:,} of {progress['all']['lists']:,}"],
        ["questions asked", f"{ledger['questions']:,}" + ("" if left is None else f" ({left:,} left)")],
        ["hours", f"{ledger['seconds'] / 3600:.2f}"],
        ["money", f"{ledger['money']:.2f}"],
        ["waiting for a reviewer", f"{progress['waiting']:,}"],
        ["labelled by people / inferred", f"{ledger['labelled']:,} / {ledger['inferred']:,}"],
        [
            "saved against one grade a result",
            f"{saving['share']:.0%}" if saving["finished"] else "known when lists are done",
        ],
        ["error that the engine claims", number(saving["claimed_error"])],
        ["audit of inferred labels", "-" if certificate is None else certificate["statement"]],
        ["agreement beyond chance (alpha)", _alpha(facts["agreement"]["grades"])],
    ]
    return f"{facts['name']} ({facts['campaign']}, {facts['engine']})", ["", "so far"], rows


def _modalities(facts: dict[str, Any]) -> Table:
    rows = [
        [
            modality,
            f"{part['lists_done']:,} of {part['lists']:,}",
            f"{part['answered']:,}",
            f"{part['inferred']:,}",
            number(part["claimed_error"]),
            _alpha(facts["agreement"]["by_modality"].get(modality)),
        ]
        for modality, part in facts["progress"]["by_modality"].items()
    ]
    return "By modality", ["", "lists done", "graded", "inferred", "error claimed", "alpha"], rows


def _annotators(facts: dict[str, Any]) -> Table:
    rows = [
        [
            facts["names"].get(who, who),
            f"{of['answers']:,}",
            f"{of['gold_right']} of {of['gold_asked']}",
            f"{of['gold_low']:.2f} .. {of['gold_high']:.2f}",
            number(of["error"]),
            number(of["median_s"]),
            of["paused"] or "",
        ]
        for who, of in facts["annotators"].items()
    ]
    columns = ["who", "answers", "gold right", "95 % (Wilson)", "error", "seconds (median)", "paused"]
    return "Annotators", columns, rows


def _alpha(given: dict[str, Any] | Agreement | None) -> str:
    if given is None:
        return "-"
    of = given if isinstance(given, dict) else msgspec.to_builtins(given)
    return f"{of['alpha']:.3f} [{of['low']:.3f}, {of['high']:.3f}]"
