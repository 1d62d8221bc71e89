"""What templates of the result page get: one struct a page.

Strings are text as it came; templates escape them. Addresses are ready made.
"""

from __future__ import annotations

import msgspec

from wholepage.apps.desk.views import GradeView, PictureView
from wholepage.apps.serp.slopes import Slopes


class Shell(msgspec.Struct, frozen=True):
    """What every page has around its content.

    Attributes:
        title: of the page.
        shelf: the name of the collection.
        csrf: the hidden field ``csrf`` of every form that changes something; empty = there are none.
        q: what the search box holds.
        fields: what the search form carries along.
        judging: grades can be given here.
        person: who is signed in; empty = nobody.
        sign_in_url: where to sign in to come back here.
    """

    title: str
    shelf: str
    csrf: str = ""
    q: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    judging: bool = False
    person: str = ""
    sign_in_url: str = ""


class CountView(msgspec.Struct, frozen=True):
    """How many results of a kind there are; ``word`` as people call so many of them."""

    modality: str
    count: int
    word: str


class ExampleView(msgspec.Struct, frozen=True):
    """A page to begin with: its query, the kinds of its first results in their order, a few of its pictures."""

    url: str
    text: str
    count: int
    kinds: tuple[str, ...]
    pictures: tuple[PictureView, ...]


class HomeView(msgspec.Struct, frozen=True):
    """The start: what is here, and pages to begin with.

    Attributes:
        pages, results, more: how many there are; ``more`` = the collection has more pages than were taken.
        orders: names of the rankers.
        more_url: further examples; empty = there are none.
    """

    pages: int
    results: int
    more: bool
    counts: tuple[CountView, ...]
    orders: tuple[str, ...]
    examples: tuple[ExampleView, ...]
    more_url: str = ""


class LinkView(msgspec.Struct, frozen=True):
    """A choice in a row of choices."""

    word: str
    url: str
    chosen: bool


class MoveView(msgspec.Struct, frozen=True):
    """How far a result moved: ``way`` is up, down or same; ``words`` say it whole."""

    way: str
    places: int
    words: str


class FactView(msgspec.Struct, frozen=True):
    """A number that explains, with what it is."""

    name: str
    value: str
    note: str = ""


class WhyView(msgspec.Struct, frozen=True):
    """Why a result is where it is.

    Attributes:
        facts: its places and scores.
        words: sentences of what it passed and what passed it.
        chance: 0 to 1, where the ranker is calibrated.
    """

    facts: tuple[FactView, ...]
    words: tuple[str, ...]
    chance: float | None = None


class JudgeView(msgspec.Struct, frozen=True):
    """The grade of a result by who looks.

    Attributes:
        mine: what they gave; None = nothing yet.
        open: they may give one now.
        closed: why not, else.
    """

    result: int
    mine: int | None
    open: bool
    closed: str = ""


class ResultView(msgspec.Struct, frozen=True):
    """One result.

    Attributes:
        anchor: an id for the element, unique on the page.
        key: the same for the same result in both columns.
        place: 1 = first.
        tile: it stands in a row with pictures beside it.
    """

    anchor: str
    key: str
    place: int
    modality: str
    text: str
    pictures: tuple[PictureView, ...] = ()
    tile: bool = False
    move: MoveView | None = None
    why: WhyView | None = None
    judge: JudgeView | None = None


class ColumnView(msgspec.Struct, frozen=True):
    """A page in one order.

    Attributes:
        name: of the order.  by: who ordered it, in their own words.  note: how long it took.
        problem: why it is not in that order after all.
        hidden: results that are not shown yet.
    """

    name: str
    by: str
    note: str
    results: tuple[ResultView, ...]
    problem: str = ""
    hidden: int = 0


class ResultsView(msgspec.Struct, frozen=True):
    """A query and its page.

    Attributes:
        query: what was asked.  picture: asked with.
        how: where the page comes from, in words.
        search: it was put together for the query.
        counts: by kind.
        orders, besides: the rows of choices.
        columns: one, or two side by side; the second is compared with the first.
        slopes: what moved; None = there is nothing to compare.
        moved: a sentence of it.
        compared: the names of what the drawing compares.
        all_url: where all results are shown.
        grades: that can be given; empty = none can.
        judge_fields: what forms that grade carry along.
        not_judged: why grades cannot be given here; empty = they can, or nobody asked.
    """

    query: str
    picture: PictureView | None
    how: str
    search: bool
    counts: tuple[CountView, ...]
    orders: tuple[LinkView, ...]
    besides: tuple[LinkView, ...]
    columns: tuple[ColumnView, ...]
    slopes: Slopes | None
    moved: str
    compared: tuple[str, str]
    all_url: str
    examples: tuple[ExampleView, ...] = ()
    grades: tuple[GradeView, ...] = ()
    judge_fields: tuple[tuple[str, str], ...] = ()
    not_judged: str = ""


class SignInView(msgspec.Struct, frozen=True):
    """The form to sign in; ``name`` as typed before, ``next_url`` where to go then, ``problem`` what went wrong."""

    campaign: str
    next_url: str = "/"
    name: str = ""
    problem: str = ""


class ProblemView(msgspec.Struct, frozen=True):
    """Something that could not be done: the status, what it means, what to do, and where to go on."""

    status: int
    title: str
    message: str
    back_url: str = "/"
    back_word: str = "To the search"
