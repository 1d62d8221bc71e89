"""Stand-ins for people at a desk: each signs in over HTTP, reads the cards as a browser does, and sends the forms.

They know of the desk what a person sees: which card is before them, and which result on it is marked. What they answer
is an ``Annotator``'s; nothing else of the campaign is open to them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx

from wholepage.pages.errors import EndpointError, InputError
from wholepage.pages.judgments import Question
from wholepage.pages.model import Page
from wholepage.pages.protocols import Annotator

_PATIENCE_S, _PAUSE_S = 5.0, 0.25
_TIMEOUT_S = 60.0


@dataclass
class Card:
    """What a page of the desk holds for whoever answers it.

    Attributes:
        fields: hidden fields of the form of answers; none = there is no card.
        action: where the form goes.
        asked: positions of the marked results on the page, from 1.
        at_rest: nothing to do: the page says so.
    """

    fields: dict[str, str] = field(default_factory=dict)
    action: str = ""
    asked: list[int] = field(default_factory=list)
    at_rest: bool = False


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.card = Card()
        self._form: str | None = None
        self._in_asked = self._in_position = False
        self.csrf = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attrs}
        classes = of.get("class", "").split()
        if tag == "meta" and of.get("name") == "csrf":
            self.csrf = of.get("content", "")
        elif tag == "form":
            self._form = of.get("action") if "data-answer" in of else None
            self.card.action = self._form or self.card.action
        elif tag == "input" and self._form is not None and of.get("type") == "hidden":
            self.card.fields[of["name"]] = of.get("value", "")
        elif tag == "li" and "result" in classes:
            self._in_asked = "asked" in classes
        self._in_position = self._in_asked and "position" in classes

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        self._in_position = False

    def handle_data(self, data: str) -> None:
        if self._in_position and data.strip():
            self.card.asked.append(int(data))


def read_card(html: str) -> Card:
    """The card of a page of the desk; without one the person is at rest."""
    reader = _Reader()
    reader.feed(html)
    reader.card.at_rest = not reader.card.action
    return reader.card


class DeskPerson:
    """Somebody with an invitation, who answers cards until none is left.

    Args:
        address: of the desk, without a path.  token: of the invitation.  name: to sign in with.
        annotator: what they answer.  pages: of the campaign, in the order of its plan.
    """

    def __init__(self, address: str, token: str, name: str, annotator: Annotator, pages: Sequence[Page]) -> None:
        self.name, self.annotator, self.answered = name, annotator, 0
        self._pages, self._token = pages, token
        self._client = httpx.Client(base_url=address, timeout=_TIMEOUT_S, follow_redirects=True)

    def join(self) -> None:
        """Accept the invitation.

        Raises:
            EndpointError: the desk refuses.
        """
        path = f"/invite/{self._token}"
        reader = _Reader()
        reader.feed(self._ok(self._client.get(path)).text)
        password = f"{self.name} has a password"
        self._ok(
            self._client.post(
                path, data={"csrf": reader.csrf, "name": self.name, "password": password, "again": password}
            )
        )

    def work(self, campaign_id: str, *, patience_s: float = _PATIENCE_S) -> int:
        """Answer cards until there is none for a while; returns how many were answered.

        Args:
            patience_s: how long to look again while others may still leave something to do.
        Raises:
            EndpointError: the desk refuses an answer.
        """
        path, waited = f"/campaigns/{campaign_id}/work", 0.0
        while True:
            page = self._ok(self._client.get(path)).text
            card = read_card(page)
            if card.at_rest:
                if waited >= patience_s:
                    return self.answered
                time.sleep(_PAUSE_S)
                waited += _PAUSE_S
                continue
            waited = 0.0
            reply = self._client.post(
                card.action, data={**card.fields, **self._answer(card)}, headers={"Accept": "application/json"}
            )
            if reply.status_code not in (409, 410):  # else others have settled it in the meantime
                self._ok(reply)
                self.answered += 1

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def _answer(self, card: Card) -> Mapping[str, str]:
        page = self._pages[int(card.fields["ticket"].split(".")[0])]
        if len(card.asked) != 1:
            raise InputError(
                f"person {self.name!r}: got a card that marks {len(card.asked)} results; allowed: cards to grade one; "
                "leave comparisons out of the campaign"
            )
        verdict = self.annotator.answer(Question(page, page.result_ids[card.asked[0] - 1]))
        return {"grade": f"{verdict.grade:g}", "active_ms": ""}

    def _ok(self, reply: httpx.Response) -> httpx.Response:
        if reply.status_code != 200:
            raise EndpointError(
                f"person {self.name!r}: {reply.request.method} {reply.request.url.path}: got status "
                f"{reply.status_code}; allowed: 200; look at the desk's log"
            )
        return reply
