"""Tasks and answers as Label Studio has them: its JSON of annotated tasks, and the interface that belongs to them.

A Label Studio project has one labelling interface, so one export is of one kind of task: grades, pairs or whole pages.
What people said are ``annotations``, what models said are ``predictions``. Words of results are escaped into markup
made here, never markup themselves.

What the format has no place for lies in each result's ``meta``, which Label Studio keeps, and in ``data.task``. Read
back (``label_studio_answers``), the answers, skips, decisions and gold that stand are the same events again. **Lost**
are what was taken back (and the time it took), postponements, escalations, pauses, and changes of guideline and budget.

Grades are ``Choices``, not ``Rating``: its stars cannot say 0. Of two sides the better one is a ``Pairwise``, which
cannot say that they are equal, so that is a ``Choices`` beside it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

import msgspec

from wholepage.annotation.answers import is_model
from wholepage.annotation.draws import drawn_share
from wholepage.annotation.events import Adjudicated, Answered, Entry, GoldSet, Kind, Skipped, SkipReason, Task, Undone
from wholepage.annotation.plan import Plan
from wholepage.pages.addresses import scheme_of
from wholepage.pages.errors import InputError, shorten
from wholepage.pages.image_bytes import read_image_bytes
from wholepage.pages.images import to_data_uri
from wholepage.pages.judgments import Choice
from wholepage.pages.model import ImageRef, Page, Result

GRADE, BETTER, SAME, SKIP = "grade", "better", "same", "skip"
"""Names of the controls of the interface; answers are found by them."""

OURS = "wholepage"
"""Under which key of ``meta`` an event lies."""

TURNED: Mapping[Choice, Choice] = {Choice.LEFT: Choice.RIGHT, Choice.RIGHT: Choice.LEFT, Choice.SAME: Choice.SAME}
"""A choice when the sides are exchanged."""

Said = Answered | Skipped | Adjudicated | GoldSet
"""What the format can carry."""

Address = Callable[[ImageRef], str]
_WEB = ("http", "https", "data")
_NOBODY: Mapping[str, int | str] = {}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def labelling_config(kind: Kind, levels: int) -> str:
    """The labelling interface (XML) of a project that such tasks are brought into.

    Args:
        levels: grades run from 0 to ``levels - 1``; each is also a key.
    Raises:
        InputError: not 2 to 10 levels.
    """
    if not 2 <= levels <= 10:
        raise InputError(f"labelling_config: got levels={levels}; allowed: 2 to 10; 4 means the grades 0 to 3")
    skips = "".join(f"    <Choice value={quoteattr(reason.value)}/>\n" for reason in SkipReason)
    if kind is Kind.GRADE:
        shown, first = '  <HyperText name="result" value="$result" inline="true"/>\n', "result"
        grades = "".join(f'    <Choice value="{grade}" hotkey="{grade}"/>\n' for grade in range(levels))
        asked = f'  <Choices name="{GRADE}" toName="result" choice="single" showInline="true">\n{grades}  </Choices>\n'
    else:
        first = "left"
        sides = "".join(
            f'    <View style="flex: 1"><HyperText name="{side}" value="${side}" inline="true"/></View>\n'
            for side in ("left", "right")
        )
        shown = f'  <View style="display: flex; gap: 2em">\n{sides}  </View>\n'
        asked = (
            f'  <Pairwise name="{BETTER}" toName="left,right"/>\n'
            f'  <Choices name="{SAME}" toName="left" choice="single">\n'
            '    <Choice value="same" hotkey="s"/>\n  </Choices>\n'
        )
    return (
        '<View>\n  <HyperText name="query" value="$query" inline="true"/>\n'
        f"{shown}{asked}"
        f'  <Choices name="{SKIP}" toName="{first}" choice="single" showInline="true">\n{skips}  </Choices>\n'
        "</View>\n"
    )


def to_label_studio(
    kind: Kind,
    plan: Plan,
    entries: Iterable[Entry] = (),
    *,
    tasks: Iterable[Task] | None = None,
    people: Mapping[str, int | str] = _NOBODY,
    address: Address | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Tasks of one kind with what was said to them, in the form that Label Studio exports and imports.

    Args:
        plan: of the campaign.
        entries: its log.
        tasks: what to export; None = what something was said to. Tasks nobody has answered are there to be answered.
        people: by ``who``, their user number or email in Label Studio, which takes in no annotation of users that it
            does not know. Who is not named gets no ``completed_by``: what they said goes to whoever imports the file,
            and is theirs again when read back here.
        address: where Label Studio finds a picture; None = as ``inlined``, which makes large files of large pictures.
        seed: which pairs are shown with their sides exchanged, so that no side gains by its place.
    Returns:
        One record a task, in the order of the tasks.
    Raises:
        InputError: a task of another kind, or of a page or result that the plan has not; a picture without an address.
        ImageError: a picture to be put into the file cannot be read.
    """
    said = standing(entries, kind)
    wanted = sorted({*said} if tasks is None else {*tasks})
    show = _Shown(plan, address or inlined)
    records = []
    for number, task in enumerate(wanted, start=1):
        if task.kind is not kind:
            raise InputError(
                f"label studio: got {task.key}; allowed: tasks of the kind {kind.value!r}; export it apart"
            )
        turned = kind is not Kind.GRADE and drawn_share(seed, "sides", task.key) < 0.5
        record: dict[str, Any] = {"id": number, "data": show.data(task, turned), "annotations": [], "predictions": []}
        for seq, event in said.get(task, ()):
            if is_model(event.who):
                record["predictions"].append(_prediction(seq, event, number, turned))
            else:
                record["annotations"].append(_annotation(seq, event, number, turned, people))
        records.append(record)
    return records


def label_studio_json(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Records as the file that Label Studio reads: a JSON array, one task a line."""
    lines = b",\n".join(msgspec.json.encode(record) for record in records)
    return b"[\n" + lines + b"\n]\n"


def standing(entries: Iterable[Entry], kind: Kind) -> dict[Task, list[tuple[int, Said]]]:
    """What was said to tasks of a kind and not taken back, with its place in the log, in that order.

    Gold stands where it was first set, with the answer last set; gold that was taken away does not stand.
    """
    found: dict[int, Said] = {}
    gold: dict[Task, int] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, Undone):
            found.pop(event.seq, None)
        elif isinstance(event, GoldSet):
            place = gold.setdefault(event.task, entry.seq)
            found[place] = event
            if event.grade is None and event.choice is None:
                del found[place], gold[event.task]
        elif isinstance(event, Answered | Skipped | Adjudicated):
            found[entry.seq] = event
    by_task: dict[Task, list[tuple[int, Said]]] = {}
    for seq, event in sorted(found.items()):
        if event.task.kind is kind:
            by_task.setdefault(event.task, []).append((seq, event))
    return by_task


def web_address(ref: ImageRef) -> str:
    """A picture's own address, where a browser can open it.

    Raises:
        InputError: it lies in a file.
    """
    if scheme_of(ref.uri) not in _WEB:
        raise InputError(
            f"label studio: got the picture {shorten(ref.uri)!r}; allowed: http(s): and data: addresses; put it into "
            "the file (address=inlined), or pass a function that says where Label Studio finds it"
        )
    return ref.uri


def inlined(ref: ImageRef) -> str:
    """A picture's own address, where a browser can open it; else the picture itself, as a ``data:`` address.

    Raises:
        ImageError: it cannot be read.
    """
    return ref.uri if scheme_of(ref.uri) in _WEB else to_data_uri(read_image_bytes(ref))


class _Shown:
    """What an annotator sees of a task."""

    def __init__(self, plan: Plan, address: Address) -> None:
        self._plan, self._address = plan, address
        self._pages = {page.query_id: page for page in plan.pages}

    def data(self, task: Task, turned: bool) -> dict[str, Any]:
        page = self._pages.get(task.query_id)
        if page is None:
            raise InputError(f"label studio: got {task.key}; allowed: the {len(self._pages)} queries of the plan")
        query = page.query
        shown: dict[str, Any] = {
            "task": task.key,
            "query": _paragraph(query.text) + (self._picture(query.image) if query.image is not None else ""),
        }
        if task.kind is Kind.GRADE:
            return shown | {"result": self._side(page, task, task.left_id)}
        left, right = (task.right_id, task.left_id) if turned else (task.left_id, task.right_id)
        sides = {"left": self._side(page, task, left), "right": self._side(page, task, right)}
        return shown | sides | {"turned": turned}

    def _side(self, page: Page, task: Task, named: str) -> str:
        results = {result.result_id: result for result in page.results}
        orders = self._plan.page_orders.get(page.query_id, {})
        if task.kind is Kind.PAGES and named in orders:
            items = "".join(f"<li>{self._result(results[result_id])}</li>" for result_id in orders[named].result_ids)
            return f"<ol>{items}</ol>"
        if task.kind is Kind.PAGES or named not in results:
            raise InputError(f"label studio: {task.key}: got {named!r}; allowed: what the plan has for this query")
        return self._result(results[named])

    def _result(self, result: Result) -> str:
        return _paragraph(result.text) + "".join(map(self._picture, result.images))

    def _picture(self, ref: ImageRef) -> str:
        return f'<p><img src="{html.escape(self._address(ref))}" alt="" style="max-width: 100%"></p>'


def _paragraph(text: str) -> str:
    """Words as markup that shows them and nothing else."""
    plain = html.escape(_CONTROL.sub("\ufffd", text)).replace("\r\n", "\n").replace("\n", "<br>")
    return f"<p>{plain}</p>" if text else ""


def _annotation(seq: int, event: Said, task: int, turned: bool, people: Mapping[str, int | str]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": seq,
        "task": task,
        "result": [_result(seq, event, turned)],
        "was_cancelled": isinstance(event, Skipped),
        "ground_truth": isinstance(event, Adjudicated | GoldSet),
        "created_at": event.at,
        "updated_at": event.at,
        "lead_time": 0.0 if isinstance(event, GoldSet) else event.seconds,
    }
    user = people.get(event.who)
    if user is not None:
        record["completed_by"] = user if isinstance(user, int) else {"email": user}
    return record


def _prediction(seq: int, event: Said, task: int, turned: bool) -> dict[str, Any]:
    result = [_result(seq, event, turned)]
    return {"id": seq, "task": task, "model_version": event.who, "created_at": event.at, "result": result}


def _result(seq: int, event: Said, turned: bool) -> dict[str, Any]:
    first = "result" if event.task.kind is Kind.GRADE else "left"
    if isinstance(event, Skipped):
        return _item(seq, event, SKIP, first, "choices", {"choices": [event.reason.value]})
    if event.grade is not None:
        return _item(seq, event, GRADE, first, "choices", {"choices": [str(event.grade)]})
    choice = event.choice or Choice.SAME
    choice = TURNED[choice] if turned else choice
    if choice is Choice.SAME:
        return _item(seq, event, SAME, first, "choices", {"choices": ["same"]})
    # Of a Pairwise, Label Studio itself writes the control where other results have what they are about; but what it
    # checks in predictions is that a side stands there.
    about = first if is_model(event.who) else BETTER
    return _item(seq, event, BETTER, about, "pairwise", {"selected": choice.value})


def _item(seq: int, event: Said, name: str, to: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in msgspec.to_builtins(event).items() if k not in ("task", "grade", "choice")}
    return {
        "id": f"e{seq}",
        "from_name": name,
        "to_name": to,
        "type": kind,
        "origin": "manual",
        "value": value,
        "meta": {OURS: {"seq": seq, **kept}},
    }
