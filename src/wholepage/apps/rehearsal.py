"""What ``wholepage annotate rehearse`` does: from the desk to the model by one recipe, everything real but the people.

A campaign is opened in a store, its desk is served on this machine, stand-ins for people are invited, sign in over HTTP
and answer cards until the budget is spent. What they said is exported, SMAR and its baselines are trained on it, and
the table of ``compare`` is made.
"""

from __future__ import annotations

import math
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from wholepage.annotation.buying import opening
from wholepage.annotation.draws import as_written
from wholepage.annotation.events import Opened, Task
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.moments import stamp, utc_now
from wholepage.annotation.oracles import NoisyAnnotator
from wholepage.annotation.people import Role
from wholepage.annotation.settings import Settings
from wholepage.annotation.store import Store
from wholepage.annotation.strategies import parse_strategy
from wholepage.apps import comparison, contenders
from wholepage.apps.annotation_ground import RankedBy, ground
from wholepage.apps.bought import read_bought
from wholepage.apps.campaign_status import facts_of
from wholepage.apps.campaigns import GUIDELINE, make_plan
from wholepage.apps.desk.app import create_app
from wholepage.apps.desk_people import DeskPerson
from wholepage.apps.experiments import Judged, judged, picture_encoder, side_by_side
from wholepage.apps.labels_out import export_campaign
from wholepage.apps.outcome_report import write_outcome_report
from wholepage.apps.places import file_there, open_collection
from wholepage.apps.recipes import Data
from wholepage.apps.resolve import result_vectors
from wholepage.apps.simulation import Ground, some_gold
from wholepage.pages.errors import EndpointError, InputError, RecordError

CAMPAIGN = "rehearsal"
_START_S = 30.0
Report = Callable[[int, int, str], None]


class Crowd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who answers: ``people`` of them, each misreading results with chance ``error``; ``gold`` results test them."""

    people: int = 4
    error: float = 0.1
    gold: int = 20


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked: a share of all results as the budget, and for the engine ``selected`` a strategy by name."""

    share: float = 0.1
    strategy: str = "concentrated"


class Rehearsal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe.

    Attributes:
        data: the pages, as in a recipe of training; their own judgments are the truth that people answer by.
        campaign: its settings; the budget is set from ``[select]``.
        ranked_by: who orders the lists: ``towers`` or ``offline``.
        test_split: what the rankers are measured on.
    """

    data: Data
    campaign: Settings
    crowd: Crowd = Crowd()
    select: Asked = Asked()
    ranked_by: RankedBy = "towers"
    test_split: str = "dev"


@dataclass(frozen=True)
class Rehearsed:
    """What came of it: the campaign's facts, and the table."""

    facts: dict[str, Any]
    outcome: comparison.Outcome
    labels: Path


def read_rehearsal(path: Path) -> Rehearsal:
    """Read a recipe strictly.

    Raises:
        NotFound: there is no such file.
        RecordError: it is not TOML, or a field is unknown, missing or out of range; it is named.
    """
    try:
        tables = tomllib.loads(file_there(path, "recipe").read_text(encoding="utf-8"))
        return msgspec.convert(tables, Rehearsal)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RecordError(path, 0, "recipe", str(error), "a rehearsal in TOML", "mend the file") from error


def rehearse(
    recipe: Rehearsal,
    out: Path,
    *,
    report: Report,
    training: contenders.Settings = contenders.Settings(),  # noqa: B008 - frozen
) -> Rehearsed:
    """Play it through; ``out`` then holds the store, the labels, the model and the report.

    Args:
        training: how rankers are trained on the labels.
    Raises:
        InputError: the folder holds a rehearsal already, or the recipe's parts do not go together.
        EndpointError: the desk does not answer.
    """
    place = out / "annotation.db"
    if place.exists():
        raise InputError(f"rehearsal: got {str(out)!r}, which holds one; allowed: a new folder; name another")
    out.mkdir(parents=True, exist_ok=True)
    on = ground(
        recipe.data.name, split=recipe.data.split or "train", root=_root(recipe.data), queries=recipe.data.queries,
        ranked_by=recipe.ranked_by, levels=recipe.campaign.levels, report=report,
    )  # fmt: skip
    with Store.open(place) as store:
        live = _open(store, recipe, on)
        with served(store) as address:
            _answer(store, live, recipe, on, address, report)
        campaign = live.read()
        labels = out / "labels"
        export_campaign(store, CAMPAIGN, labels)
        facts = facts_of(CAMPAIGN, campaign, {person.person_id: person.name for person in store.people()})
    outcome = _compare(recipe, labels, training, report)
    outcome.model.save(out / "model")
    write_outcome_report(outcome, out / "report.html")
    return Rehearsed(facts, outcome, labels)


@contextmanager
def served(store: Store) -> Iterator[str]:
    """The desk of a store on a free port of this machine; its address, while the block lasts.

    Raises:
        EndpointError: it does not start.
    """
    config = uvicorn.Config(create_app(store), host="127.0.0.1", port=0, log_level="warning", server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="desk", daemon=True)
    thread.start()
    try:
        end = time.monotonic() + _START_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                raise EndpointError("desk: got no server; allowed: one that starts; look at its log on stderr")
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(_START_S)


def _root(data: Data) -> Path | None:
    return None if data.root is None else Path(data.root)


def _open(store: Store, recipe: Rehearsal, on: Ground) -> LiveCampaign:
    """The campaign, with its gold."""
    full = sum(map(len, on.pages))
    budget = math.floor(as_written(recipe.select.share) * full)
    settings = msgspec.structs.replace(recipe.campaign, budget_questions=budget)
    selected = None
    if settings.engine == "selected":
        strategy = parse_strategy(f"{recipe.select.strategy}(p={recipe.select.share!r})")
        bought = opening(on.pages, on.orders, strategy, seed=settings.seed).selection.bought
        selected = {query_id: ids for query_id, ids in bought.items() if ids}
    plan = make_plan(on.pages, on.orders, settings, selected=selected)
    store.create_campaign(CAMPAIGN, plan, Opened("rehearsal", stamp(utc_now()), settings, plan.sha256, GUIDELINE))
    live = LiveCampaign(store, CAMPAIGN)
    for query_id, of in some_gold(on, recipe.crowd.gold, settings.seed).items():
        for result_id, grade in of.items():
            live.set_gold("rehearsal", Task.grade(query_id, result_id), grade=int(grade))
    return live


def _answer(store: Store, live: LiveCampaign, recipe: Rehearsal, on: Ground, address: str, report: Report) -> None:
    """Invite everybody, and let them answer side by side until nothing is left or the budget is spent."""
    levels, seed = recipe.campaign.levels, recipe.campaign.seed
    people = []
    for number in range(1, recipe.crowd.people + 1):
        token = store.invite(Role.ANNOTATOR, "rehearsal", utc_now() + timedelta(hours=1))
        annotator = NoisyAnnotator(on.truth, recipe.crowd.error, levels, seed + number)
        people.append(DeskPerson(address, token, f"stand-in {number}", annotator, on.pages))
    budget = live.read().budget_questions or 0
    try:
        with ThreadPoolExecutor(len(people)) as pool:
            for person in people:
                person.join()
            working = [pool.submit(person.work, CAMPAIGN) for person in people]
            while not all(one.done() for one in working):
                report(min(live.read().questions, budget), budget, "answers over HTTP")
                time.sleep(0.5)
            for one in working:
                one.result()
    finally:
        for person in people:
            person.close()


def _compare(recipe: Rehearsal, labels: Path, training: contenders.Settings, report: Report) -> comparison.Outcome:
    data = recipe.data
    if data.queries is not None:
        world = open_collection(data.name, queries=data.queries)
        taught = Judged(list(world.pages("train")), world.judgments("train"))
        measured = Judged(list(world.pages(recipe.test_split)), world.judgments(recipe.test_split))
    else:
        taught = judged(data.name, data.split, root=_root(data))
        measured = judged(data.name, recipe.test_split, root=_root(data))
    vectors = result_vectors(image=picture_encoder("auto", data.name), root=_root(data), progress=report)
    vectors.encode([*taught.pages, *measured.pages])
    with side_by_side() as workers:
        outcome = comparison.compare(
            *taught, *measured, vectors, msgspec.structs.replace(training, seed=recipe.campaign.seed),
            brought=read_bought(labels), workers=workers, progress=report,
        )  # fmt: skip
    return outcome
