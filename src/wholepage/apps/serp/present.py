"""From pages and orders to what templates show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wholepage.apps.desk.pictures import Pictures
from wholepage.apps.desk.views import PictureView
from wholepage.apps.serp.moves import Kinds, Move, moves
from wholepage.apps.serp.orders import RECEIVED, Ordered
from wholepage.apps.serp.shelf import Found, Place, Shelf
from wholepage.apps.serp.views import (
    ColumnView,
    CountView,
    ExampleView,
    FactView,
    JudgeView,
    MoveView,
    ResultView,
    WhyView,
)
from wholepage.pages.errors import shorten
from wholepage.pages.model import ImageRef, Modality, Result

WORDS = {
    Modality.TEXT: ("text", "texts"),
    Modality.IMAGE: ("picture", "pictures"),
    Modality.VIDEO: ("video", "videos"),
    Modality.ANSWER: ("answer", "answers"),
}
"""What people call a result of a kind, and several."""

AS_RECEIVED = "As received"

_ALT_LENGTH = 120
_KINDS_SHOWN = 14
_PICTURES_SHOWN = 4


class Presenter:
    """Makes views of the pages of one shelf.

    Args:
        shelf: knows pages by number.
        pictures: knows which of them cannot be shown.
    """

    def __init__(self, shelf: Shelf, pictures: Pictures) -> None:
        self._shelf, self._pictures = shelf, pictures

    def example(self, number: int, url: str) -> ExampleView:
        """A page to begin with."""
        page = self._shelf.pages[number]
        first = [(i, result) for i, result in enumerate(page.results) if result.images]
        chosen = [(i, result) for i, result in first[: 2 * _PICTURES_SHOWN]]
        shown = [self._picture(result.images[0], Place(number, i), 0, result) for i, result in chosen]
        return ExampleView(
            url,
            page.query.text or "A picture, without words",
            len(page),
            tuple(result.modality.value for result in page.results[:_KINDS_SHOWN]),
            tuple(picture for picture in shown if not picture.problem)[:_PICTURES_SHOWN],
        )

    def query_picture(self, found: Found) -> PictureView | None:
        """The picture that a query asks with."""
        image = found.page.query.image
        if image is None or found.number is None:
            return None
        src = f"/serp/pictures/{found.number}/query"
        return PictureView(src, f"{src}?size=large", "the picture of the query", self._pictures.problem(image))

    def column(
        self,
        found: Found,
        ordered: Ordered,
        before: Ordered | None,
        *,
        prefix: str,
        most: int,
        tiles: bool,
        judges: Mapping[str, JudgeView] | None = None,
    ) -> ColumnView:
        """A page in one order.

        Args:
            found: the page.
            ordered: its order.
            before: what it is compared with; None = nothing.
            prefix: of the anchors.
            most: results that are shown.
            tiles: pictures that follow each other stand in rows.
            judges: grades by result id.
        """
        index = {result_id: i for i, result_id in enumerate(found.page.result_ids)}
        ways = moves(found.page, before.ids, ordered.ids) if before is not None else {}
        ids = ordered.ids[:most]
        results = [found.page.results[index[result_id]] for result_id in ids]
        shown = []
        for n, result in enumerate(results):
            i, way = index[result.result_id], ways.get(result.result_id)
            shown.append(
                ResultView(
                    anchor=f"{prefix}{i}",
                    key=f"k{i}",
                    place=n + 1,
                    modality=result.modality.value,
                    text=result.text,
                    pictures=tuple(
                        self._picture(ref, found.places[i], k, result) for k, ref in enumerate(result.images)
                    ),
                    tile=tiles and _in_row(results, n),
                    move=move_view(way) if way is not None else None,
                    why=why(result, way, ordered, before, len(found.page)) if way is not None and before else None,
                    judge=(judges or {}).get(result.result_id),
                )
            )
        return ColumnView(
            order_name(ordered.name),
            ordered.by,
            took(ordered.took_s),
            tuple(shown),
            ordered.problem,
            len(ordered.ids) - len(ids),
        )

    def _picture(self, ref: ImageRef, place: Place, number: int, result: Result) -> PictureView:
        src = f"/serp/pictures/{place.page}/{place.result}/{number}"
        return PictureView(src, f"{src}?size=large", _alt(result, number), self._pictures.problem(ref))


def order_name(name: str) -> str:
    """What people call an order."""
    return AS_RECEIVED if name == RECEIVED else name


def counts(kinds: Mapping[Modality, int]) -> tuple[CountView, ...]:
    """How many results there are of each kind, those there are none of left out."""
    return tuple(CountView(m.value, kinds[m], WORDS[m][kinds[m] != 1]) for m in Modality if kinds.get(m))


def move_view(way: Move) -> MoveView:
    """How far a result moved, in words."""
    if way.rise == 0:
        return MoveView("same", 0, "did not move")
    direction = "up" if way.rise > 0 else "down"
    return MoveView(direction, abs(way.rise), f"{direction} {abs(way.rise)}, from {ordinal(way.was)}")


def why(result: Result, way: Move, ordered: Ordered, before: Ordered, total: int) -> WhyView:
    """Why a result is where it is: its place alone, before and now, what it passed, its score and chance."""
    one, many = WORDS[result.modality]
    kind = one if way.of == 1 else many
    facts = []
    alone = ordered.alone.get(result.result_id)
    if alone is not None:
        facts.append(FactView(f"Among {kind} alone", f"{ordinal(alone)} of {way.of}"))
    facts.append(FactView(order_name(before.name), f"{ordinal(way.was)} of {total}"))
    facts.append(FactView("Now", f"{ordinal(way.place)} of {total}", f"{ordinal(way.own)} {one} from the top"))
    if ordered.scores:
        score = ordered.scores.get(result.result_id)
        facts.append(FactView("Score", "no opinion" if score is None else f"{score:.3g}"))
    chance = ordered.chances.get(result.result_id)
    if chance is not None:
        facts.append(
            FactView("Calibrated", f"{100 * chance:.0f} %", f"chance of grade {ordered.threshold:g} or better")
        )
    words = []
    if way.passed:
        words.append(f"It passed {listed(way.passed)}.")
    if way.passed_by:
        words.append(f"{listed(way.passed_by).capitalize()} passed it.")
    if not words:
        words.append("It passed nothing, and nothing passed it.")
    return WhyView(tuple(facts), tuple(words), chance)


def moved(ways: Sequence[Move]) -> str:
    """What moved, in a sentence."""
    going = [way for way in ways if way.rise]
    if not going:
        return "Nothing moved: both orders are the same."
    up = max(going, key=lambda way: (way.rise, -way.place))
    down = min(going, key=lambda way: (way.rise, way.place))
    return (
        f"{len(going)} of {len(ways)} results moved. Furthest up: {ordinal(up.was)} to {ordinal(up.place)}. "
        f"Furthest down: {ordinal(down.was)} to {ordinal(down.place)}."
    )


def listed(kinds: Kinds) -> str:
    """Numbers of results of several kinds, as people list them."""
    parts = [f"{n} {WORDS[modality][n != 1]}" for modality, n in kinds]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def ordinal(place: int) -> str:
    """A place as people say it: 1st, 2nd, 13th."""
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place:,}{ending}"


def took(seconds: float) -> str:
    """A time as people read it; empty for none."""
    if seconds <= 0:
        return ""
    return f"{1000 * seconds:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def _in_row(results: Sequence[Result], n: int) -> bool:
    """Whether a picture has another beside it."""
    around = results[max(n - 1, 0) : n + 2]
    return results[n].modality is Modality.IMAGE and sum(r.modality is Modality.IMAGE for r in around) > 1


def _alt(result: Result, number: int) -> str:
    what = f"{WORDS[result.modality][0]} without words"
    words = shorten(" ".join(result.text.split()), _ALT_LENGTH) if result.text.strip() else what
    return f"{words}, frame {number + 1}" if len(result.images) > 1 else words
