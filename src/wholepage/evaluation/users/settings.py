"""How simulated users behave, as numbers that print, and where the numbers come from.

What is taken from the literature is the *shape* of behaviour; most of its sizes depend on the site and are chosen here,
not measured:

- A user reads down the page until the patience is spent, and what is tall costs more of it: position bias as in
  Craswell et al., WSDM 2008, by height instead of rank.
- A vertical draws the eye: what stands near it is looked at more, and reading may begin at it. Chen et al., Beyond ten
  blue links, WSDM 2012, found the first; Wang et al., Incorporating vertical results into search click models, SIGIR
  2013, the second.
- The chance of a click, and of being satisfied by it, rise with the grade. The default numbers of both are the
  "navigational" instantiation of Hofmann, Whiteson and de Rijke (2013), widely used to simulate clicks on five grades,
  with satisfaction lowered at the bottom; ``informational_users`` has their other one.
- Answers, pictures and snippets may satisfy without a click: good abandonment, Li et al., SIGIR 2009, and Williams et
  al., Detecting good abandonment in mobile search, WWW 2016, who name such page elements.
- Satisfied visits are long, others short; about 30 seconds divide them (Fox et al., TOIS 2005).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.evaluation.page.heights import Heights
from wholepage.evaluation.users.impressions import MODALITIES
from wholepage.pages.errors import InputError


class ByModality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number for each modality."""

    text: float
    image: float
    video: float
    answer: float

    def table(self) -> NDArray[np.float64]:
        """The numbers by modality code, that is in the order of ``Modality``."""
        return np.array([getattr(self, modality.value) for modality in MODALITIES], dtype=np.float64)


class UserSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How users look, click, are satisfied and leave. Chances are 0 to 1, heights in heights of one text result.

    Attributes:
        heights: of the elements, by modality.
        patience: height read before giving up, on average over visits of the middle user; ``inf`` = the whole page.
            After height y the user is still reading with chance exp(-y / patience).
        patience_spread: standard deviation of the logarithm of patience between users.
        taste_spread: standard deviation between users, for each modality, of the log-odds of a click on it.
        notice: chance that an element read past is looked at.
        pull: chance that the first element of a vertical block draws the eye when the page appears. Text draws nothing
            by default. At most one block of a page does, an upper one before a lower one.
        screen: only blocks that begin above this height can draw the eye.
        begin_at_pull: chance that a drawn eye also begins reading there, and goes to the top of the page afterwards.
        near_gain: share of the overlooked chance that is made good right beside the block that draws the eye.
        near_reach: the height over which that gain falls to 1/e.
        clicks: chance of a click on what is looked at, at evenly spaced grades from the worst to the best.
        satisfies: chance that a click satisfies, likewise.
        sight_satisfies: by modality, the share of that chance which the page itself has, before any click.
        click_effort: height of reading that a click costs in patience.
        reformulates: chance that a user who leaves unsatisfied asks again in other words.
        dwell_satisfied_s, dwell_other_s: median seconds spent after a click, when it satisfies and when not.
        dwell_spread: standard deviation of the logarithm of these seconds.
        read_s: seconds to read past one height.
    Raises:
        InputError: a number out of its range.
    """

    heights: Heights = Heights()
    patience: float = 12.0
    patience_spread: float = 0.5
    taste_spread: float = 0.5
    notice: ByModality = ByModality(text=0.85, image=0.9, video=0.9, answer=0.95)
    pull: ByModality = ByModality(text=0.0, image=0.3, video=0.3, answer=0.4)
    screen: float = 12.0
    begin_at_pull: float = 0.5
    near_gain: float = 0.5
    near_reach: float = 2.0
    clicks: tuple[float, ...] = (0.05, 0.3, 0.5, 0.7, 0.95)
    satisfies: tuple[float, ...] = (0.05, 0.3, 0.5, 0.7, 0.9)
    sight_satisfies: ByModality = ByModality(text=0.05, image=0.25, video=0.05, answer=0.6)
    click_effort: float = 1.0
    reformulates: float = 0.4
    dwell_satisfied_s: float = 75.0
    dwell_other_s: float = 12.0
    dwell_spread: float = 0.9
    read_s: float = 1.5

    def __post_init__(self) -> None:
        chances = {
            "begin_at_pull": (self.begin_at_pull,), "near_gain": (self.near_gain,), "clicks": self.clicks,
            "satisfies": self.satisfies, "reformulates": (self.reformulates,),
        }  # fmt: skip
        for name in ("notice", "pull", "sight_satisfies"):
            chances[name] = tuple(getattr(self, name).table().tolist())
        for name, values in chances.items():
            if not values or not all(0.0 <= value <= 1.0 for value in values):
                raise InputError(f"UserSettings.{name}: got {values}; allowed: chances from 0 to 1; mend the setting")
        for name in ("patience_spread", "taste_spread", "click_effort", "dwell_spread", "read_s", "screen"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"UserSettings.{name}: got {getattr(self, name)}; allowed: finite numbers from 0 up; 0 = none"
                )
        for name in ("patience", "near_reach", "dwell_satisfied_s", "dwell_other_s"):
            if not 0.0 < getattr(self, name) <= (math.inf if name == "patience" else 1e9):
                raise InputError(f"UserSettings.{name}: got {getattr(self, name)}; allowed: above 0; mend the setting")

    def chance(self, curve: tuple[float, ...], relevance: NDArray[np.float64]) -> NDArray[np.float64]:
        """A curve such as ``clicks`` at relevance 0 (the worst grade) to 1 (the best), straight between its points."""
        if len(curve) == 1:
            return np.full(relevance.shape, curve[0])
        return np.interp(relevance, np.linspace(0.0, 1.0, len(curve)), curve)


_NEVER = ByModality(text=0.0, image=0.0, video=0.0, answer=0.0)
_ALWAYS = ByModality(text=1.0, image=1.0, video=1.0, answer=1.0)
_ALIKE = UserSettings(
    patience=math.inf, patience_spread=0.0, taste_spread=0.0, notice=_ALWAYS, pull=_NEVER, near_gain=0.0,
    satisfies=(0.0,), sight_satisfies=_NEVER, click_effort=0.0,
)  # fmt: skip


def informational_users() -> UserSettings:
    """Users who want several results: they click much and are seldom content with one.

    Source: the informational instantiation of Hofmann, Whiteson and de Rijke (2013).
    """
    return UserSettings(clicks=(0.4, 0.6, 0.7, 0.8, 0.9), satisfies=(0.1, 0.2, 0.3, 0.4, 0.5))


def random_users(click: float = 0.5) -> UserSettings:
    """Users who see everything and click anything with the same chance, whatever it is and wherever it stands.

    For tests of what must not find a difference.
    """
    return msgspec.structs.replace(_ALIKE, clicks=(click,))


def position_biased_users(click: float = 0.5, patience: float = 4.0) -> UserSettings:
    """Users whose clicks depend on how far down a result stands and on nothing else.

    For tests of what must not find a difference.
    """
    return msgspec.structs.replace(_ALIKE, clicks=(click,), patience=patience)
