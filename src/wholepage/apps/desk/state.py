"""What the running desk holds: the store, the campaigns it has opened, pictures, templates, a clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import NamedTuple

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.events import Task
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.store import Store
from wholepage.apps.desk.access import NotThere
from wholepage.apps.desk.board_present import share_of
from wholepage.apps.desk.pictures import Pictures
from wholepage.apps.desk.rendering import Templates
from wholepage.apps.desk.security import Cookies
from wholepage.apps.desk.table import Table
from wholepage.pages.errors import shorten

_MOST_SHOWN = 20_000
_LONGEST_COUNT_S = 30.0
_COUNTS_APART = 100.0  # times what counting takes


class _Share(NamedTuple):
    share: float
    seq: int
    good_until: float


class Desk:
    """Everything that requests share. All that must last is in the store; the rest may be lost at any time.

    Args:
        store: of people and campaigns.
        clock: tells the time, in UTC.
        cookies: how they are sent.
        pictures: opens those of the campaigns.
        templates: of all pages.
        address: where people reach the desk, such as ``https://desk.example.org``; None = as they ask for it.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime],
        cookies: Cookies,
        pictures: Pictures,
        templates: Templates,
        address: str | None = None,
    ) -> None:
        self.store, self.clock, self.cookies = store, clock, cookies
        self.pictures, self.templates, self.address = pictures, templates, address
        self._lock = Lock()
        self._open: dict[str, tuple[LiveCampaign, Table]] = {}
        self._shares: dict[str, _Share] = {}
        self._joined: set[tuple[str, str]] = set()
        self._shown: OrderedDict[tuple[str, str, Task], int] = OrderedDict()

    def live(self, campaign_id: str) -> LiveCampaign:
        """A campaign, opened once.

        Raises:
            NotThere: no such campaign.
        """
        return self._opened(campaign_id)[0]

    def table(self, campaign_id: str) -> Table:
        """What a campaign works on.

        Raises:
            NotThere: no such campaign.
        """
        return self._opened(campaign_id)[1]

    def now_ms(self) -> int:
        """The time in milliseconds of Unix time."""
        return round(self.clock().timestamp() * 1000)

    def first_shown(self, campaign_id: str, who: str, task: Task) -> int:
        """When somebody was first shown a task that they have not answered yet: a page loaded anew stops no clock."""
        key = (campaign_id, who, task)
        with self._lock:
            while len(self._shown) >= _MOST_SHOWN:
                self._shown.popitem(last=False)
            return self._shown.setdefault(key, self.now_ms())

    def answered(self, campaign_id: str, who: str, task: Task) -> None:
        """Forget when somebody was shown a task: if they see it again, its clock begins anew."""
        with self._lock:
            self._shown.pop((campaign_id, who, task), None)

    def share(self, campaign_id: str, campaign: Campaign) -> float:
        """How much of a campaign is done, 0 to 1.

        Counting takes long in large campaigns, so it is done again only when a small part of the time goes into it;
        until then it is as it was.
        """
        known = self._shares.get(campaign_id)
        if known is not None and (known.seq == campaign.seq or monotonic() < known.good_until):
            return known.share
        if known is not None:  # others take the old one meanwhile
            self._shares[campaign_id] = known._replace(good_until=monotonic() + _LONGEST_COUNT_S)
        began = monotonic()
        share = share_of(campaign.progress())
        ended = monotonic()
        self._shares[campaign_id] = _Share(share, campaign.seq, ended + _COUNTS_APART * (ended - began))
        return share

    def join(self, campaign_id: str, who: str) -> None:
        """Remember that somebody was given a task of a campaign."""
        with self._lock:
            self._joined.add((campaign_id, who))

    def has_part(self, campaign_id: str, who: str) -> bool:
        """Whether somebody was given a task of a campaign, or has done anything in it."""
        if (campaign_id, who) in self._joined or who in self.live(campaign_id).read().people:
            return True
        # Given before this process began, and nothing said since.
        with self.store.transaction(campaign_id, durable=False) as transaction:
            held = {lease.who for lease in transaction.leases()}
        if who in held:
            self.join(campaign_id, who)
        return who in held

    def _opened(self, campaign_id: str) -> tuple[LiveCampaign, Table]:
        found = self._open.get(campaign_id)
        if found is None:
            if campaign_id not in self.store.campaign_ids():
                raise NotThere(
                    f"campaign: got {shorten(campaign_id)!r}; allowed: a campaign of this desk; see the list"
                )
            live = LiveCampaign(self.store, campaign_id, self.clock)
            campaign = live.read()
            made = (live, Table(campaign.plan, campaign.settings.levels))
            with self._lock:
                found = self._open.setdefault(campaign_id, made)
        return found
