"""What was said in Label Studio, read back from its JSON of annotated tasks.

The tasks are those that ``label_studio`` exports: ``data.task`` says what each is. Answers are found by the names of
the controls of ``labelling_config``, so that a project may have others besides, which are passed over. A project that
grades with stars is read too: there a ``Rating`` called ``grade`` of n stars is the grade n - 1, since no star is no
answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from wholepage.annotation.answers import MODEL, is_model
from wholepage.annotation.events import Adjudicated, Answered, GoldSet, Kind, Skipped, SkipReason, Task
from wholepage.annotation.label_studio import BETTER, GRADE, OURS, SAME, SKIP, TURNED, Said
from wholepage.annotation.moments import moment_of, stamp
from wholepage.pages.errors import InputError, RecordError, shorten
from wholepage.pages.judgments import Choice
from wholepage.pages.lines import decode

_Source = Literal["import", "model"]
_NOBODY: Mapping[str, int | str] = {}
_EVENTS: dict[str, type[Said]] = {
    "answered": Answered, "skipped": Skipped, "adjudicated": Adjudicated, "gold-set": GoldSet,
}  # fmt: skip


class _Result(msgspec.Struct):
    type: str = ""
    from_name: str = ""
    value: dict[str, Any] = {}
    meta: dict[str, Any] = {}


class _Annotation(msgspec.Struct):
    result: list[_Result] = []
    completed_by: int | dict[str, Any] | None = None
    was_cancelled: bool | None = False
    created_at: str = ""
    lead_time: float | None = None


class _Prediction(msgspec.Struct):
    result: list[_Result] = []
    model_version: str | None = None
    created_at: str = ""


class _Data(msgspec.Struct):
    task: str
    turned: bool = False


class _Task(msgspec.Struct):
    data: _Data
    annotations: list[_Annotation] = []
    predictions: list[_Prediction] = []


_TASK = msgspec.json.Decoder(_Task)


def from_label_studio(
    raw: bytes, path: str | Path = "label-studio.json", *, people: Mapping[str, int | str] = _NOBODY
) -> list[Said]:
    """The answers, skips, decisions and gold of a file of annotated tasks.

    What was exported from a log comes first, in the order of the log, as the same events; but where somebody has since
    changed the answer in Label Studio, the new answer counts. Then what was said there, by time: by the name that
    ``people`` has for the user, else by their email, else ``label-studio:<number>``; ``source`` is ``import``.

    Args:
        raw: the bytes of the file (the format that Label Studio calls JSON).
        path: what the file is called in errors.
        people: as for ``to_label_studio``.
    Raises:
        RecordError: it is not such JSON, a task is none of ours, or an annotation is no answer to its task, or two of
            the same person are; ``line`` is where the task begins, ``field`` where in it.
    """
    names = {user: who for who, user in people.items()}
    kept: list[tuple[int, Said]] = []
    new: list[tuple[str, Said]] = []
    first: dict[tuple[str, Task, type], str] = {}
    for index, line, element in _elements(raw, path):
        record = decode(_TASK, path, line, element, place=f"[{index}].")
        try:
            task = Task.from_key(record.data.task)
        except InputError as error:
            raise RecordError(
                path, line, f"[{index}].data.task", repr(shorten(record.data.task)), "a task as it was exported",
                "export the tasks first, and annotate those",
            ) from error  # fmt: skip
        for place, said in _said(record, f"[{index}].", names, task, path, line):
            key = (said.event.who, task, type(said.event))
            if key in first:
                raise RecordError(
                    path,
                    line,
                    place,
                    f"a second one by {said.event.who!r}, after {first[key]}",
                    "one each",
                    "remove one",
                )
            first[key] = place
            if said.seq is None:
                new.append((said.event.at, said.event))
            else:
                kept.append((said.seq, said.event))
    kept.sort(key=lambda one: one[0])
    new.sort(key=lambda one: one[0])
    return [event for _, event in kept] + [event for _, event in new]


class _Found(msgspec.Struct):
    """An event, and its place in the log it was exported from."""

    event: Said
    seq: int | None


class _Reader:
    """Reads one annotation or prediction; errors name its place."""

    def __init__(self, path: str | Path, line: int, place: str, task: Task, turned: bool) -> None:
        self._at = (path, line)
        self.place, self._task, self._turned = place, task, turned

    def wrong(self, field: str, got: str, allowed: str, do: str = "mend it, or remove the annotation") -> RecordError:
        return RecordError(*self._at, f"{self.place}{field}", got, allowed, do)

    def answer(self, results: list[_Result]) -> int | Choice | SkipReason | None:
        """What was said; None = nothing."""
        found: dict[str, int | Choice | SkipReason] = {}
        for number, result in enumerate(results):
            value = self._value(f"result[{number}]", result)
            if value is not None:
                found[result.from_name] = value
        if len(found) > 1:
            raise self.wrong("result", f"answers in {' and '.join(sorted(found))}", "one answer")
        return next(iter(found.values()), None)

    def _value(self, at: str, result: _Result) -> int | Choice | SkipReason | None:
        allowed = {Kind.GRADE: (GRADE, SKIP)}.get(self._task.kind, (BETTER, SAME, SKIP))
        if result.from_name not in allowed:
            return None
        if result.type == "rating" and result.from_name == GRADE:
            stars = result.value.get("rating")
            if not isinstance(stars, int) or isinstance(stars, bool) or stars < 1:
                raise self.wrong(f"{at}.value.rating", repr(stars), "a whole number of stars from 1")
            return stars - 1
        if result.type == "pairwise" and result.from_name == BETTER:
            return self._side(f"{at}.value.selected", result.value.get("selected"))
        chosen = result.value.get("choices")
        if result.type != "choices" or not isinstance(chosen, list) or len(chosen) != 1:
            raise self.wrong(f"{at}.value", shorten(repr(result.value)), "one choice")
        if result.from_name == GRADE:
            return self._grade(f"{at}.value.choices", chosen[0])
        if result.from_name == SKIP:
            return self._reason(f"{at}.value.choices", chosen[0])
        return self._side(f"{at}.value.choices", chosen[0])

    def _grade(self, at: str, text: object) -> int:
        if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 2:
            raise self.wrong(at, shorten(repr(text)), "a grade, such as '2'")
        return int(text)

    def _reason(self, at: str, text: object) -> SkipReason:
        try:
            return SkipReason(text)  # type: ignore[arg-type]
        except ValueError as error:
            raise self.wrong(at, shorten(repr(text)), ", ".join(reason.value for reason in SkipReason)) from error

    def _side(self, at: str, text: object) -> Choice:
        try:
            choice = Choice(text)  # type: ignore[arg-type]
        except ValueError as error:
            raise self.wrong(at, shorten(repr(text)), "left, right or same") from error
        return TURNED[choice] if self._turned else choice

    def when(self, text: str) -> str:
        try:
            return stamp(moment_of(text))
        except InputError as error:
            raise self.wrong("created_at", repr(shorten(text)), "a time with its zone, ISO 8601") from error

    def exported(self, results: list[_Result], answer: int | Choice | SkipReason) -> _Found | None:
        """The event that was exported, with the answer as it is now; None = it was said in Label Studio."""
        kept = next((ours for result in results if (ours := result.meta.get(OURS)) is not None), None)
        if kept is None:
            return None
        field = f"result[0].meta.{OURS}"
        if not isinstance(kept, dict) or not isinstance(kept.get("seq"), int) or kept.get("event") not in _EVENTS:
            raise self.wrong(field, shorten(repr(kept)), "what was exported", "export anew, and leave meta as it is")
        told = {name: value for name, value in kept.items() if name != "seq"}
        skipped = isinstance(answer, SkipReason)
        if skipped != (told["event"] == "skipped"):  # changed since it was exported
            told = {name: told[name] for name in ("who", "at", "seconds") if name in told}
            told["event"] = "skipped" if skipped else "answered"
        told |= {"reason": answer} if isinstance(answer, SkipReason) else _fields(answer)
        kind = _EVENTS[told["event"]]
        try:
            event = msgspec.convert({**told, "task": msgspec.to_builtins(self._task)}, kind)
        except msgspec.ValidationError as error:
            raise self.wrong(field, f"{error}", "what was exported", "export anew, and leave meta as it is") from error
        return _Found(event, kept["seq"])


def _said(
    record: _Task, place: str, names: Mapping[int | str, str], task: Task, path: str | Path, line: int
) -> Iterator[tuple[str, _Found]]:
    """Every event of one task, with its place in the file."""
    for number, annotation in enumerate(record.annotations):
        reader = _Reader(path, line, f"{place}annotations[{number}].", task, record.data.turned)
        answer = reader.answer(annotation.result)
        if annotation.was_cancelled and not isinstance(answer, SkipReason):
            answer = SkipReason.OTHER
        if answer is None:
            raise reader.wrong("result", "no answer", f"one of the controls of the {task.kind.value} interface")
        found = reader.exported(annotation.result, answer)
        if found is None:
            who, at = _user(reader, annotation.completed_by, names), reader.when(annotation.created_at)
            found = _Found(_event(reader, task, who, at, answer, annotation.lead_time or 0.0, "import"), None)
        yield reader.place, found
    for number, prediction in enumerate(record.predictions):
        reader = _Reader(path, line, f"{place}predictions[{number}].", task, record.data.turned)
        answer = reader.answer(prediction.result)
        if answer is None:
            raise reader.wrong("result", "no answer", f"one of the controls of the {task.kind.value} interface")
        found = reader.exported(prediction.result, answer)
        if found is None:
            named = prediction.model_version or ""
            if not named.removeprefix(MODEL).strip():
                raise reader.wrong("model_version", repr(named), "the name of the model")
            who = named if is_model(named) else MODEL + named
            found = _Found(_event(reader, task, who, reader.when(prediction.created_at), answer, 0.0, "model"), None)
        yield reader.place, found


def _event(
    reader: _Reader, task: Task, who: str, at: str, answer: int | Choice | SkipReason, seconds: float, source: _Source
) -> Said:
    if isinstance(answer, SkipReason):
        return Skipped(who, at, task, answer, seconds=seconds)
    if not seconds >= 0.0:
        raise reader.wrong("lead_time", str(seconds), "seconds, 0 or more")
    grade, choice = (None, answer) if isinstance(answer, Choice) else (answer, None)
    return Answered(who, at, task, grade=grade, choice=choice, seconds=seconds, source=source)


def _user(reader: _Reader, user: int | dict[str, Any] | None, names: Mapping[int | str, str]) -> str:
    email = user.get("email") if isinstance(user, dict) else None
    number = user.get("id") if isinstance(user, dict) else user
    if isinstance(email, str) and email:
        return names.get(email, email)
    if isinstance(number, int):
        return names.get(number, f"label-studio:{number}")
    raise reader.wrong("completed_by", repr(user), "a user's number, or an object with their email")


def _fields(answer: int | Choice) -> dict[str, Any]:
    return {"choice": answer} if isinstance(answer, Choice) else {"grade": answer}


def _elements(raw: bytes, path: str | Path) -> Iterator[tuple[int, int, bytes]]:
    """Index, first line and bytes of each element of a JSON array."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordError(path, 0, "file", f"byte {error.start} is not UTF-8", "UTF-8", "recode the file") from error
    reader, at, index, line, counted = json.JSONDecoder(), _blank(text, 0), 0, 1, 0
    if text[at : at + 1] != "[":
        raise RecordError(
            path, 1, "file", repr(text[:20]), "a JSON array of tasks", "export as JSON, not JSON-MIN or CSV"
        )
    at = _blank(text, at + 1)
    while text[at : at + 1] != "]" or index:
        line, counted = line + text.count("\n", counted, at), at
        try:
            _, end = reader.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            where = error.lineno if isinstance(error, json.JSONDecodeError) else line
            raise RecordError(
                path, where, f"[{index}]", f"broken JSON ({error})", "whole JSON", "export anew"
            ) from error
        yield index, line, text[at:end].encode("utf-8", "surrogatepass")
        index, at = index + 1, _blank(text, end)
        if text[at : at + 1] == "]":
            break
        if text[at : at + 1] != ",":
            raise RecordError(path, line, f"[{index - 1}]", "no comma after it", "a JSON array of tasks", "export anew")
        at = _blank(text, at + 1)
    if text[_blank(text, at + 1) :]:
        raise RecordError(path, line, "file", "something after the array", "one JSON array", "export anew")


def _blank(text: str, at: int) -> int:
    """Where the next character is that is no white space of JSON."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
