"""A teacher that asks for whole permutations: what is a valid answer, what is asked again, what is given up."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from wholepage.pages.errors import DecodingError, EndpointError, InputError
from wholepage.pages.model import Modality, Page, Query, Ranking, Result
from wholepage.pages.protocols import Ranker
from wholepage.rankers.permutation import Order
from wholepage.rankers.permutation_teacher import Declined, PermutationSettings, PermutationTeacher
from wholepage.rankers.windows import Asked, drive, sliding

ENTRY = re.compile(r"^\[([A-Z])\] worth (\d+)", re.MULTILINE)
SETTINGS = PermutationSettings(window=5, stride=2, tries=3, workers=2)


def page_of(count: int, name: str = "q") -> Page:
    numbers = np.random.default_rng(count).permutation(count)
    return Page(
        Query(name, f"about {name}"), tuple(Result(f"r{n}", Modality.TEXT, f"worth {n} coins") for n in numbers)
    )


def truth(page: Page) -> tuple[str, ...]:
    """What sliding windows make of the page when every window is ordered rightly."""
    worth = [int(result_id[1:]) for result_id in page.result_ids]

    def right(asked: Sequence[Asked]) -> list[Order]:
        return [tuple(np.argsort([-worth[item] for item in window]).tolist()) for _, window in asked]

    (driven,) = drive([sliding(len(page), 5, 2)], right)
    return tuple(page.result_ids[item] for item in driven.order)


def letters(messages: Sequence[dict[str, Any]]) -> list[str]:
    """The letters of the results shown, the most worth first."""
    words = "".join(part["text"] for part in messages[1]["content"])
    return [name for name, worth in sorted(ENTRY.findall(words), key=lambda one: -int(one[1]))]


def said(text: str | None, finish: str = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text, **more}, "finish_reason": finish}]}


def joined(names: Sequence[str]) -> str:
    return " > ".join(f"[{name}]" for name in names)


def right(best: list[str]) -> Any:
    return said(joined(best))


class Script:
    """Answers each request by the next of its replies, then rightly; keeps what it was asked."""

    def __init__(self, *replies: Callable[[list[str]], Any]) -> None:
        self.replies, self.asked = list(replies), list[dict[str, Any]]()
        self.lock = threading.Lock()

    def __call__(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        with self.lock:
            self.asked.append({"messages": messages, **options})
            reply = self.replies.pop(0) if self.replies else right
        return reply(letters(messages))


def unreachable(_: list[str]) -> Any:
    raise EndpointError("nobody there", reason="timeout")


INVALID: list[tuple[str, Callable[[list[str]], Any]]] = [
    ("malformed", lambda best: said("I would say the first one is best.")),
    ("malformed", lambda best: said("")),
    ("malformed", lambda best: said(None)),
    ("malformed", lambda best: said("[" + "] > [".join([*best[:-1], "ZZ"]) + "]")),
    ("malformed", lambda best: said(", ".join(f"[{name}]" for name in best))),
    ("malformed", lambda best: said(joined(best) + "\n[" + best[-1] + "] is the worst.")),
    ("malformed", lambda best: said(joined(best[::-1]) + "\nNo: " + joined(best))),
    ("malformed", lambda best: {"choices": []}),
    ("malformed", lambda best: {"error": "in a 200"}),
    ("malformed", lambda best: {"choices": [{"message": {"content": 3}}]}),
    ("malformed", lambda best: said("thinking", "length")),
    ("duplicated", lambda best: said(joined([*best, best[0]]))),
    ("duplicated", lambda best: said(joined([best[0], *best[:-1]]))),
    ("duplicated", lambda best: said(joined([best[0]] * 9), "length")),
    ("partial", lambda best: said(joined(best[:-1]))),
    ("partial", lambda best: said(joined(best[:2]) + " > [", "length")),
    ("partial", lambda best: said(joined(best[:3]) + " and the others", "length")),
    ("refused", lambda best: said(None, refusal="I cannot help with that.")),
    ("refused", lambda best: said(joined(best), "content_filter")),
]


def test_whole_orders_of_short_and_long_lists() -> None:
    script = Script()
    teacher = PermutationTeacher(script, "m", SETTINGS)
    assert isinstance(teacher, Ranker)
    pages = [page_of(count, f"q{count}") for count in (0, 1, 2, 5, 12)]
    rankings = teacher.rank(pages)
    assert [ranking.check(page).result_ids for ranking, page in zip(rankings, pages, strict=True)] == [
        truth(page) for page in pages
    ]
    assert {ranking.by for ranking in rankings} == {teacher.name}
    assert teacher.counts.requests == teacher.counts.windows == len(script.asked) == 0 + 0 + 1 + 1 + 5
    assert (dict(teacher.counts.faults), dict(teacher.counts.declined)) == ({}, {})
    assert {asked["max_tokens"] for asked in script.asked} == {8 * 3, 8 * 6}


@pytest.mark.parametrize(("fault", "reply"), INVALID)
def test_what_is_no_permutation_is_asked_again_and_counted(fault: str, reply: Callable[[list[str]], Any]) -> None:
    page, script = page_of(5), Script(reply, reply)
    teacher = PermutationTeacher(script, "m", SETTINGS)
    (ranking,) = teacher.rank([page])
    assert ranking.result_ids == truth(page)
    assert (teacher.counts.requests, teacher.counts.windows) == (3, 1)
    assert (dict(teacher.counts.faults), dict(teacher.counts.declined)) == ({fault: 2}, {})


@pytest.mark.parametrize(("fault", "reply"), INVALID)
def test_what_never_becomes_one_is_given_up(fault: str, reply: Callable[[list[str]], Any]) -> None:
    script = Script(*[reply] * 3)
    teacher = PermutationTeacher(script, "m", SETTINGS)
    (answer,) = teacher.answers([page_of(5)])
    assert isinstance(answer, Declined)
    assert (answer.query_id, answer.reason, answer.lasting) == ("q", fault, True)
    assert answer.detail
    assert (dict(teacher.counts.faults), dict(teacher.counts.declined)) == ({fault: 3}, {fault: 1})
    with pytest.raises(DecodingError, match=rf"no permutation for 1 of 2 pages, first for query 'q' \({fault}"):
        PermutationTeacher(Script(*[reply] * 3), "m", PermutationSettings(workers=1)).rank([page_of(5), page_of(5)])


def test_each_try_shows_another_order_under_other_letters() -> None:
    page = page_of(5)
    script = Script(*[lambda best: said("?")] * 3)
    PermutationTeacher(script, "m", SETTINGS).answers([page])
    shown = [re.findall(r"^\[([A-Z])\] (worth \d+)", asked["messages"][1]["content"][0]["text"], re.M)
             for asked in script.asked]  # fmt: skip
    assert [worth for _, worth in shown[0]] == [result.text.removesuffix(" coins") for result in page.results]
    assert len({tuple(worth for _, worth in one) for one in shown}) == 3
    assert len({tuple(name for name, _ in one) for one in shown}) == 3
    assert len({json.dumps(asked) for asked in script.asked}) == 3


def test_a_window_in_the_middle_that_fails_gives_up_the_whole_list() -> None:
    broken = [lambda best: said(joined(best[:1]))] * 3
    script = Script(right, right, *broken)
    (answer,) = PermutationTeacher(script, "m", PermutationSettings(window=5, stride=2, workers=1)).answers(
        [page_of(12)]
    )
    assert isinstance(answer, Declined)
    assert answer.reason == "partial"
    assert len(script.asked) == 5  # the windows behind it are not asked about


def test_one_list_does_not_spoil_the_others() -> None:
    pages = [page_of(5, f"q{i}") for i in range(4)]
    script = Script(right, *[lambda best: said("no")] * 3)
    teacher = PermutationTeacher(script, "m", PermutationSettings(window=5, stride=2, workers=1))
    answers = teacher.answers(pages)
    assert [type(answer) for answer in answers] == [Ranking, Declined, Ranking, Ranking]
    assert [answer.result_ids for answer in answers if isinstance(answer, Ranking)] == [truth(pages[0])] * 3


def test_a_server_that_fails_once_costs_a_list_for_now() -> None:
    pages = [page_of(5, f"q{i}") for i in range(3)]
    settings = PermutationSettings(window=5, stride=2, workers=1, most_failures=2)
    teacher = PermutationTeacher(Script(unreachable, right, unreachable, right), "m", settings)
    first, second, third = teacher.answers(pages)
    assert isinstance(first, Declined)
    assert (first.reason, first.lasting) == ("timeout", False)
    assert isinstance(second, Ranking)
    assert isinstance(third, Declined)  # not in a row: one in between was answered
    assert dict(teacher.counts.declined) == {"timeout": 2}


@pytest.mark.parametrize("workers", [1, 4])
def test_a_server_that_is_gone_ends_the_work(workers: int) -> None:
    script = Script(*[unreachable] * 99)
    settings = PermutationSettings(window=5, stride=2, workers=workers, most_failures=3)
    with pytest.raises(EndpointError, match="nobody there"):
        PermutationTeacher(script, "m", settings).answers([page_of(5, f"q{i}") for i in range(40)])
    assert len(script.asked) <= 3 + 2 * workers


def test_a_reply_that_the_endpoint_cannot_read_is_asked_for_again() -> None:
    def html(_: list[str]) -> Any:
        raise EndpointError("got <html>", reason="malformed")

    teacher = PermutationTeacher(Script(html, html), "m", PermutationSettings(most_failures=1))
    assert teacher.rank([page_of(5)])[0].result_ids == truth(page_of(5))
    assert dict(teacher.counts.faults) == {"malformed": 2}


def test_any_other_error_ends_the_work_at_once() -> None:
    def broken(_: list[str]) -> Any:
        raise InputError("no key")

    script = Script(broken)
    with pytest.raises(InputError, match="no key"):
        PermutationTeacher(script, "m", PermutationSettings(workers=1)).answers(
            [page_of(5, f"q{i}") for i in range(30)]
        )
    assert len(script.asked) < 30


def test_options_go_with_each_request() -> None:
    script = Script()
    options = {"max_tokens": None, "max_completion_tokens": 900, "seed": 4}
    PermutationTeacher(script, "m", PermutationSettings(options=options)).rank([page_of(3)])
    assert {key: value for key, value in script.asked[0].items() if key != "messages"} == {
        "max_completion_tokens": 900,
        "seed": 4,
    }


def test_the_name_says_under_which_settings_others_would_answer() -> None:
    def name(**settings: Any) -> str:
        return PermutationTeacher(Script(), "m", PermutationSettings(**settings)).name

    assert name() == name(workers=3) == name(most_failures=9)
    others = [name(window=10), name(stride=5), name(passes=2), name(tries=4), name(seed=1), name(delimiting="fenced"),
              name(options={"temperature": 1.0})]  # fmt: skip
    assert len({name(), *others}) == 8


@pytest.mark.parametrize("wrong", [
    {"window": 27}, {"window": 1}, {"stride": 21}, {"passes": 0}, {"tries": 0}, {"workers": 0}, {"most_failures": 0},
    {"delimiting": "?"}, {"options": {"messages": []}}, {"options": {"stream": True}},
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        PermutationSettings(**wrong)
