"""Looking: the start, and a query with its page in one order or in two side by side."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from wholepage.apps.desk.views import GradeView
from wholepage.apps.serp.look import Look
from wholepage.apps.serp.moves import moves
from wholepage.apps.serp.orders import RECEIVED, Ordered
from wholepage.apps.serp.present import Presenter, counts, moved, order_name
from wholepage.apps.serp.shelf import Found, Shelf, kinds_of
from wholepage.apps.serp.slopes import Slopes, slopes
from wholepage.apps.serp.views import ColumnView, ExampleView, HomeView, JudgeView, LinkView, ResultsView
from wholepage.apps.serp.visits import Visit

_EXAMPLES = 12
_FEW_EXAMPLES = 3
_ALL = 10**9
_WIDE, _NARROW = 264.0, 116.0  # of the drawing: beside one order, between two


def asks(request: Request) -> bool:
    """Whether a request asks for a page, which may have to be ordered first."""
    return bool(request.query_params.get("q", "").strip() or request.query_params.get("page"))


def show(visit: Visit) -> Response:
    """The start, or what the address asks for."""
    look = Look.read(visit.request.query_params)
    return _home(visit, look) if look.page is None and not look.q else _results(visit, look)


def _home(visit: Visit, look: Look) -> Response:
    serp, first = visit.serp, _whole(visit.asked("from"))
    shelf = serp.shelf
    following = first + _EXAMPLES
    view = HomeView(
        pages=len(shelf),
        results=sum(shelf.kinds.values()),
        more=shelf.more,
        counts=counts(shelf.kinds),
        orders=tuple(map(order_name, serp.orders.names)),
        examples=_examples(visit, look, first, _EXAMPLES),
        more_url=f"/?from={following}#examples" if following < len(shelf) else "",
    )
    return visit.page("home.html", f"Search {shelf.name}", view, look=look)


def _results(visit: Visit, look: Look) -> Response:
    serp = visit.serp
    found = serp.shelf.ask(look.q) if look.page is None else serp.shelf.page(look.page)
    order = look.order or serp.orders.usual
    now = serp.orders.of(order, found.key, found.page)
    before = serp.orders.of(look.beside or RECEIVED, found.key, found.page)
    compared = before if look.beside or order != RECEIVED else None
    judging = _Judging(visit, look, found)
    view = ResultsView(
        query=found.page.query.text or "A picture, without words",
        picture=Presenter(serp.shelf, serp.pictures).query_picture(found),
        how=_how(serp.shelf, found),
        search=found.number is None,
        counts=counts(kinds_of(found.page.results)),
        orders=_orders(visit, look, order),
        besides=_besides(visit, look, order),
        columns=_columns(visit, look, found, now, compared, judging),
        slopes=_slopes(found, now, compared, narrow=bool(look.beside)) if found.page.results else None,
        moved=moved(list(moves(found.page, compared.ids, now.ids).values())) if compared and len(found.page) else "",
        compared=(order_name(before.name), order_name(now.name)),
        all_url=look.url(all="1"),
        examples=() if found.page.results else _examples(visit, look, 0, _FEW_EXAMPLES),
        grades=judging.grades,
        judge_fields=judging.fields,
        not_judged=judging.why_not,
    )
    asked = found.page.query.text
    return visit.page("results.html", asked or "A picture", view, look=look, q=asked)


def _columns(
    visit: Visit, look: Look, found: Found, now: Ordered, compared: Ordered | None, judging: _Judging
) -> tuple[ColumnView, ...]:
    presenter, most = Presenter(visit.serp.shelf, visit.serp.pictures), _ALL if look.all else visit.serp.shown
    right = presenter.column(
        found, now, compared, prefix="r", most=most, tiles=not look.beside, judges=judging.of_results()
    )
    if not look.beside or compared is None:
        return (right,)
    return (presenter.column(found, compared, None, prefix="l", most=most, tiles=False), right)


def _slopes(found: Found, now: Ordered, compared: Ordered | None, *, narrow: bool) -> Slopes | None:
    if compared is None:
        return None
    kinds = {result.result_id: result.modality for result in found.page.results}
    keys = {result_id: f"k{i}" for i, result_id in enumerate(found.page.result_ids)}
    return slopes(compared.ids, now.ids, kinds, keys, _NARROW if narrow else _WIDE)


class _Judging:
    """What whoever looks may grade on a page; nothing, where nobody grades."""

    def __init__(self, visit: Visit, look: Look, found: Found) -> None:
        self._found = found
        self._known = None
        self.why_not = ""
        self.fields: tuple[tuple[str, str], ...] = ()
        judge = visit.serp.judge_into
        if judge is None or not found.page.results:
            return
        if found.number is None:
            self.why_not = "Results of a free search cannot be graded: the campaign has no such page."
        elif visit.person is not None:
            self._known = judge.judging(found.page, visit.person)
            self.why_not = self._known.why_not
            again = msgspec.structs.replace(look, page=found.number)
            self.fields = tuple((name, str(value)) for name, value in msgspec.to_builtins(again).items() if value != "")

    @property
    def grades(self) -> tuple[GradeView, ...]:
        return self._known.grades if self._known is not None else ()

    def of_results(self) -> dict[str, JudgeView]:
        known = self._known
        if known is None or known.why_not:
            return {}
        return {
            result_id: JudgeView(i, known.mine.get(result_id), result_id not in known.closed,
                                 known.closed.get(result_id, ""))
            for i, result_id in enumerate(self._found.page.result_ids)
        }  # fmt: skip


def _orders(visit: Visit, look: Look, order: str) -> tuple[LinkView, ...]:
    return tuple(LinkView(order_name(n), look.url(order=n), n == order) for n in visit.serp.orders.names)


def _besides(visit: Visit, look: Look, order: str) -> tuple[LinkView, ...]:
    names = [name for name in visit.serp.orders.names if name != order]
    others = tuple(LinkView(order_name(n), look.url(beside=n), n == look.beside) for n in names)
    return (LinkView("Nothing", look.url(beside=""), not look.beside), *others) if names else ()


def _examples(visit: Visit, look: Look, first: int, most: int) -> tuple[ExampleView, ...]:
    shelf, kept = visit.serp.shelf, Look(order=look.order, beside=look.beside)
    presenter = Presenter(shelf, visit.serp.pictures)
    return tuple(presenter.example(number, kept.url(page=number)) for number in shelf.examples(first, most))


def _how(shelf: Shelf, found: Found) -> str:
    """Where a page comes from."""
    if found.number is not None:
        results = f"{len(found.page):,} {'result' if len(found.page) == 1 else 'results'}"
        return f"A query of {shelf.name}, with its own page: {results}."
    if not found.page.results:
        return f"Free search in all of {shelf.name}: no result holds any of these words."
    held = f"{found.matched:,} {'result holds' if found.matched == 1 else 'results hold'} a word of it"
    shown = "" if found.matched == len(found.page) else f", the best {len(found.page)} by BM25 are here"
    unseen = f" Results without words ({shelf.wordless:,}) cannot be found so." if shelf.wordless else ""
    return f"Free search in all of {shelf.name}, as no query there is just this: {held}{shown}.{unseen}"


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
