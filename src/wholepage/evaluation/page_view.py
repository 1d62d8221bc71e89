"""A result page in the orders of several rankers, side by side: what a person looks at to see what a reranker did."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from wholepage.evaluation.markup import html_text
from wholepage.pages.errors import InputError, shorten
from wholepage.pages.model import ImageRef, Modality, Page, Ranking

_PICTURE = re.compile(r"data:image/(png|jpeg|webp|gif|avif);base64,[A-Za-z0-9+/]+=*")
_LONG_TEXT = 90


class NoPicture(msgspec.Struct, frozen=True):
    """In place of a small picture: why there is none, in words that the reader of the report sees."""

    why: str


class ResultCard(msgspec.Struct, frozen=True):
    """One result of a page as somebody placed it.

    Attributes:
        rank: its place, 1 = first.
        modality: its badge.
        text: its words; of a picture what is known of it.
        image_data_uri: a small picture, ``data:image/...;base64,...``.
        grade: how good people found it; None = not graded.
        moved: places it rose (+) or fell (-); None = not told.
        bought: its grade was bought for training.
        no_picture: why a picture that belongs here is not shown; empty = nothing to tell.
    Raises:
        InputError: a rank below 1, or a picture that is not a base64 data URI of a PNG, JPEG, WebP, GIF or AVIF.
    """

    rank: int
    modality: Modality
    text: str
    image_data_uri: str | None = None
    grade: float | None = None
    moved: int | None = None
    bought: bool = False
    no_picture: str = ""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"ResultCard: got rank={self.rank}; allowed: 1 or more; the first place is 1")
        if self.image_data_uri is not None and not _PICTURE.fullmatch(self.image_data_uri):
            raise InputError(
                f"ResultCard {self.rank}: got the picture {shorten(self.image_data_uri)!r}; allowed: "
                "data:image/(png|jpeg|webp|gif|avif);base64,...; a report loads nothing, so put the bytes into it"
            )


class RankedColumn(msgspec.Struct, frozen=True):
    """One ranker's order of a page: its name, its results from the top, and a note such as the measure reached."""

    name: str
    cards: tuple[ResultCard, ...]
    note: str = ""


class PageView(msgspec.Struct, frozen=True):
    """A result page in the orders of several rankers, side by side.

    Attributes:
        title: of this view.  query: the words asked.  columns: one a ranker.
        top_grade: the best grade there is, which gets the strongest colour.
    """

    title: str
    query: str
    columns: tuple[RankedColumn, ...]
    top_grade: float = 3.0


def view_page(
    page: Page,
    rankings: Sequence[Ranking],
    *,
    title: str,
    grades: Mapping[str, float] | None = None,
    bought: Collection[str] = (),
    notes: Sequence[str] = (),
    thumbnail: Callable[[ImageRef], str | NoPicture | None] | None = None,
    depth: int = 10,
    top_grade: float = 3.0,
) -> PageView:
    """The heads of several rankings of one page, with how far each result moved against the first ranking.

    Args:
        page: what was ranked.
        rankings: of the whole page; the first is the one compared with.
        title: of the view.
        grades: of the page's results by id, where known.
        bought: ids whose grade was bought for training.
        notes: one a ranking, such as the measure reached.
        thumbnail: makes a ``data:`` URI of a picture, or says why it cannot; it is asked once for each picture, in the
            order of the page. Without it no pictures are shown.
        depth: how many results to show.
        top_grade: the best grade there is.
    Raises:
        InputError: notes are not one a ranking.
        DecodingError: a ranking is not a permutation of the page.
    """
    if notes and len(notes) != len(rankings):
        raise InputError(f"view_page: got {len(notes)} notes for {len(rankings)} rankings; allowed: one each, or none")
    results = {result.result_id: result for result in page.results}
    started = rankings[0].check(page).positions() if rankings else {}
    heads = {result_id for ranking in rankings for result_id in ranking.check(page).result_ids[:depth]}
    # In the page's order, not a set's: what is left out when a budget is spent must not change from run to run.
    covers = dict.fromkeys(r.images[0] for r in page.results if r.images and r.result_id in heads)
    pictures = {} if thumbnail is None else {ref: thumbnail(ref) for ref in covers}
    columns = []
    for index, ranking in enumerate(rankings):
        cards = []
        for rank, result_id in enumerate(ranking.result_ids[:depth]):
            result = results[result_id]
            picture = pictures.get(result.images[0]) if result.images else None
            cards.append(
                ResultCard(
                    rank=rank + 1,
                    modality=result.modality,
                    text=result.text,
                    image_data_uri=picture if isinstance(picture, str) else None,
                    grade=(grades or {}).get(result_id),
                    moved=started[result_id] - rank if index else None,
                    bought=result_id in bought,
                    no_picture=picture.why if isinstance(picture, NoPicture) else "",
                )
            )
        columns.append(RankedColumn(ranking.by, tuple(cards), notes[index] if notes else ""))
    return PageView(title, page.query.text, tuple(columns), top_grade)


def page_html(section: PageView) -> str:
    """The view as an element of the report."""
    columns = "".join(_column(column, section.top_grade) for column in section.columns)
    ranks = max((len(column.cards) for column in section.columns), default=0)
    return (
        f'<section class="page"><h3 dir="auto">{html_text(section.title)}</h3>'
        f'<p class="query" dir="auto"><span>Query</span>{html_text(section.query)}</p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html_text(section.title)}">'
        f'<div class="columns" style="--ranks:{ranks}">{columns}</div></div>{_legend(section)}</section>'
    )


def _column(column: RankedColumn, top_grade: float) -> str:
    name = html_text(column.name)
    note = f"<p>{html_text(column.note)}</p>" if column.note else ""
    return (
        f'<section class="column" aria-label="{name}"><header><h4 dir="auto">{name}</h4>{note}</header>'
        f'<ol class="cards">{"".join(_card(card, top_grade) for card in column.cards)}</ol></section>'
    )


def _card(card: ResultCard, top_grade: float) -> str:
    facts = [f'<span class="chip {card.modality.value}">{card.modality.value}</span>']
    if card.moved is not None:
        facts.append(_moved(card.moved))
    if card.bought:
        facts.append('<span class="chip bought">bought</span>')
    if card.grade is not None:
        facts.append(_grade(card.grade, top_grade))
    picture = ""
    if card.image_data_uri is not None:
        alt = shorten(card.text, 120) if card.text else f"{card.modality.value} without words"
        alone = "" if card.text else ' class="alone"'
        picture = f'<img{alone} src="{card.image_data_uri}" alt="{html_text(alt)}">'
    elif card.no_picture:
        picture = f'<p class="nopicture">No picture: {html_text(card.no_picture)}.</p>'
    words = "" if picture else '<p class="wordless">no words</p>'
    if len(card.text) > _LONG_TEXT:
        words = f'<details><summary dir="auto">{html_text(card.text)}</summary></details>'
    elif card.text:
        words = f'<p dir="auto">{html_text(card.text)}</p>'
    return (
        f'<li class="card"><span class="rank">{card.rank}</span><div class="facts">{"".join(facts)}</div>'
        f'<div class="content">{picture}{words}</div></li>'
    )


def _moved(places: int) -> str:
    if places == 0:
        return '<span class="chip moved" title="not moved">=<span class="hidden"> not moved</span></span>'
    way, arrow = ("up", "▲") if places > 0 else ("down", "▼")
    return (
        f'<span class="chip moved {way}" title="{way} {abs(places)}"><span aria-hidden="true">{arrow}</span>'
        f'<span class="hidden">{way} </span>{abs(places)}</span>'
    )


def _grade(grade: float, top_grade: float) -> str:
    share = min(max(grade / top_grade, 0.0), 1.0) if top_grade > 0 else 0.0
    strength = 0 if share == 0 else max(1, round(4 * share))
    return f'<span class="chip grade g{strength}" title="grade"><span class="hidden">grade </span>{grade:g}</span>'


def _legend(section: PageView) -> str:
    cards = [card for column in section.columns for card in column.cards]
    entries = []
    if any(card.grade is not None for card in cards):
        entries.append(
            f"{_grade(0, section.top_grade)} to {_grade(section.top_grade, section.top_grade)} people's grade"
        )
    if any(card.moved is not None for card in cards):
        first = html_text(section.columns[0].name)
        entries.append(f"{_moved(2)}{_moved(-2)} places moved against {first}")
    if any(card.bought for card in cards):
        entries.append('<span class="chip bought">bought</span> its grade was bought for training')
    return f'<ul class="legend">{"".join(f"<li>{entry}</li>" for entry in entries)}</ul>' if entries else ""
