"""Managing a campaign: guideline, budget, pauses, the end, gold, and downloads."""

from __future__ import annotations

from fastapi.responses import Response

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import Kind, Task
from wholepage.apps.desk import exports
from wholepage.apps.desk.access import NotThere
from wholepage.apps.desk.board_present import quality_rows, said_of
from wholepage.apps.desk.board_views import (
    ExportView,
    Fact,
    GoldListView,
    GoldPageRow,
    GoldPageView,
    GoldRow,
    GoldTask,
    ManageView,
)
from wholepage.apps.desk.present import Presenter, campaign_view, grades, guideline
from wholepage.apps.desk.table import Table
from wholepage.apps.desk.urls import campaign_url, with_query
from wholepage.apps.desk.views import ReasonView
from wholepage.apps.desk.visits import Guest, Visit
from wholepage.pages.errors import InputError, shorten
from wholepage.pages.judgments import Choice

LONGEST_GUIDELINE = 100_000
ROWS = 50


def show_settings(visit: Guest, campaign: str) -> Response:
    """Everything that can be changed."""
    state, table = visit.desk.live(campaign).read(), visit.desk.table(campaign)
    view = ManageView(
        campaign=campaign_view(campaign, state, visit.who),
        settings=_facts(state, table),
        guideline=guideline(state, visit.who.person_id),
        guideline_text=state.guideline,
        budget_questions=state.budget_questions,
        budget_money=state.budget_money,
        gold=tuple(_gold_row(campaign, table, task, said_of(value)) for task, value in state.gold.items()),
        exports=tuple(
            ExportView(name, words, campaign_url(campaign, "export", name)) for name, words in exports.FILES.items()
        ),
        annotators=quality_rows(state, _names(visit)),
        guideline_url=campaign_url(campaign, "guideline"),
        budget_url=campaign_url(campaign, "budget"),
        gold_post_url=campaign_url(campaign, "gold"),
        pause_url=campaign_url(campaign, "pause"),
        resume_url=campaign_url(campaign, "resume"),
        close_url=campaign_url(campaign, "close"),
    )
    return visit.page("manage.html", f"{state.settings.name}: settings", view)


def change_guideline(visit: Guest, campaign: str) -> Response:
    """Take a new version of the guideline; the same text is no new version."""
    live, text = visit.desk.live(campaign), visit.fields.text("text", longest=LONGEST_GUIDELINE)
    if text != live.read().guideline.strip():
        live.change_guideline(visit.who.person_id, text)
    return visit.done(campaign_url(campaign, "manage"), "saved")


def change_budget(visit: Guest, campaign: str) -> Response:
    """Take a new budget; an empty field = no limit."""
    questions, money = visit.fields.whole("questions"), visit.fields.amount("money")
    visit.desk.live(campaign).change_budget(visit.who.person_id, questions=questions, money=money)
    return visit.done(campaign_url(campaign, "manage"), "saved")


def pause(visit: Guest, campaign: str) -> Response:
    """Stop an annotator, or everybody."""
    live, person = visit.desk.live(campaign), _annotator(visit, campaign)
    live.pause(visit.who.person_id, person, visit.fields.text("reason"))
    return visit.done(campaign_url(campaign, "board"), "paused")


def resume(visit: Guest, campaign: str) -> Response:
    """Let an annotator, or everybody, go on."""
    live, person = visit.desk.live(campaign), _annotator(visit, campaign)
    live.resume(visit.who.person_id, person)
    return visit.done(campaign_url(campaign, "board"), "resumed")


def close(visit: Guest, campaign: str) -> Response:
    """End the campaign, for somebody who has typed its id."""
    live = visit.desk.live(campaign)
    typed = visit.fields.text("confirm")
    if typed != campaign:
        raise InputError(f"confirm: got {shorten(typed)!r}; allowed: {campaign!r}; type it to close the campaign")
    live.close(visit.who.person_id)
    return visit.done(campaign_url(campaign, "manage"), "closed")


def show_gold(visit: Guest, campaign: str) -> Response:
    """The pages on which gold can be set."""
    state, table = visit.desk.live(campaign).read(), visit.desk.table(campaign)
    search, first = visit.asked("search").strip(), _first(visit.asked("first"))
    wanted = search.casefold()
    places = [
        i for i, p in enumerate(table.pages) if wanted in p.query.text.casefold() or wanted in p.query_id.casefold()
    ]
    set_on: dict[str, int] = {}
    for task in state.gold:
        set_on[task.query_id] = set_on.get(task.query_id, 0) + 1
    rows = tuple(
        GoldPageRow(
            shorten(page.query.text or page.query_id, 120),
            len(page),
            set_on.get(page.query_id, 0),
            campaign_url(campaign, "gold", str(place)),
        )
        for place in places[first : first + ROWS]
        for page in [table.pages[place]]
    )
    url = campaign_url(campaign, "gold")
    view = GoldListView(
        campaign_view(campaign, state, visit.who), rows, search, len(places), first,
        earlier_url=with_query(url, search=search, first=max(first - ROWS, 0)) if first else "",
        later_url=with_query(url, search=search, first=first + ROWS) if first + ROWS < len(places) else "",
    )  # fmt: skip
    return visit.page("gold_list.html", "Gold", view)


def show_gold_page(visit: Guest, campaign: str, page: int) -> Response:
    """A page with a form for the right answer to each of its tasks."""
    state, table = visit.desk.live(campaign).read(), visit.desk.table(campaign)
    presenter = Presenter(campaign, table, visit.desk.pictures)
    gold, tasks = state.gold, []
    for task in table.tasks(table.page(page)):
        results = presenter.pair(page, task, True) if task.kind is Kind.PREFERENCE else ()
        tasks.append(
            GoldTask(
                task.key,
                task.kind.value,
                (presenter.result(page, task.left_id),) if task.kind is Kind.GRADE else results,
                _answers(state, task.kind),
                _value(gold.get(task)),
                presenter.columns(page, task, True) if task.kind is Kind.PAGES else (),
            )
        )
    view = GoldPageView(
        campaign_view(campaign, state, visit.who), presenter.query(page), tuple(tasks), campaign_url(campaign, "gold"),
        campaign_url(campaign, "gold"), page,
    )  # fmt: skip
    return visit.page("gold_page.html", "Gold", view)


def set_gold(visit: Guest, campaign: str) -> Response:
    """Take the right answer to a task; an empty one takes it away."""
    live, table = visit.desk.live(campaign), visit.desk.table(campaign)
    task, who = table.check(Task.from_key(visit.fields.needed("task"))), visit.who.person_id
    if not visit.fields.text("answer"):
        if task in live.read().gold:
            live.set_gold(who, task)
    elif task.kind is Kind.GRADE:
        live.set_gold(who, task, grade=visit.fields.whole("answer"))
    else:
        live.set_gold(who, task, choice=visit.fields.word("answer", Choice))
    page = visit.fields.whole("page")
    back = campaign_url(campaign, "gold", str(page)) if page is not None else campaign_url(campaign, "manage")
    return visit.done(back, "saved")


def download(visit: Guest, campaign: str, name: str) -> Response:
    """A file of what the campaign knows."""
    if name not in exports.FILES:
        raise NotThere(f"export: got {shorten(name)!r}; allowed: {', '.join(exports.FILES)}; see the settings")
    body = exports.made(visit.desk.store, campaign, name, visit.desk.pictures)
    headers = {"content-disposition": f'attachment; filename="{campaign}-{name}"'}
    return Response(body, media_type=exports.media_type(name), headers=headers)


def _annotator(visit: Visit, campaign: str) -> str:
    """Somebody of the desk or the campaign, by the id in a form; empty = everybody."""
    person = visit.fields.text("person")
    known = {p.person_id for p in visit.desk.store.people()} | set(visit.desk.live(campaign).read().people)
    if person and person not in known:
        raise NotThere(f"person: got {shorten(person)!r}; allowed: somebody of this desk; see the list of people")
    return person


def _names(visit: Visit) -> dict[str, str]:
    return {person.person_id: person.name for person in visit.desk.store.people()}


def _facts(campaign: Campaign, table: Table) -> tuple[Fact, ...]:
    settings, costs = campaign.settings, campaign.settings.costs
    comparisons = sum(len(table.comparisons(page)) for page in table.pages)
    facts = {
        "Pages": f"{len(table.pages):,}",
        "Results": f"{table.plan.results:,}",
        "Comparisons": f"{comparisons:,}",
        "Engine": settings.engine,
        "Grades": f"0 to {settings.levels - 1}",
        "Answers to a question": str(settings.overlap),
        "Lists are done at a posterior error of": f"{settings.tau:g}",
        "Expected error of annotators": f"{settings.annotator_error:g}",
        "Share of gold": f"{settings.gold_share:g}",
        "Least share right on gold": f"{settings.gold_floor:g}",
        "Share audited": f"{settings.audit_share:g}",
        "Grades that differ so much go to a reviewer": str(settings.escalate_spread),
        "A card is kept for": f"{settings.lease_s:g} s",
        "Cost": f"{costs.hourly:g} an hour, {costs.per_answer:g} an answer, {costs.per_model_answer:g} of a model",
        "Seed": str(settings.seed),
    }
    return tuple(Fact(name, value) for name, value in facts.items())


def _gold_row(campaign_id: str, table: Table, task: Task, said: str) -> GoldRow:
    place = table.place(task.query_id)
    query = shorten(table.pages[place].query.text or task.query_id, 120)
    if task.kind is Kind.GRADE:
        about = shorten(table.result(task.query_id, task.left_id).text or task.left_id, 120)
    else:
        about = shorten(f"{task.left_id} / {task.right_id}", 120)
    return GoldRow(task.key, task.kind.value, query, about, said, campaign_url(campaign_id, "gold", str(place)))


def _answers(campaign: Campaign, kind: Kind) -> tuple[ReasonView, ...]:
    if kind is Kind.GRADE:
        found = grades(campaign)
        return tuple(ReasonView(str(g.value), f"{g.value} {g.word}".strip()) for g in found)
    return (
        ReasonView("left", "left is better"),
        ReasonView("same", "the same"),
        ReasonView("right", "right is better"),
    )


def _value(value: int | Choice | None) -> str:
    return "" if value is None else value.value if isinstance(value, Choice) else str(value)


def _first(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
