"""From lists with a teacher's order to prompts that teach: which results are shown, in what order, by which letters.

Every showing of a list is another one: another order, other letters, and of a long list other results. All of it
follows from the seed, the list and the number of the showing, so that a run that was killed goes on with the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wholepage.pages.errors import ImageError, InputError
from wholepage.pages.model import ImageRef
from wholepage.rankers.listwise_pictures import Cut, PictureMemory, Seen
from wholepage.rankers.listwise_prompt import Passage, Request, WindowPrompter
from wholepage.rankers.permutation import Identifiers
from wholepage.rankers.vlm_prompt import Picture
from wholepage.rankers.windows import WindowPlan
from wholepage.training.taught import TaughtList

PATCH_BYTES = 2 << 30
"""Of pictures that are held ready to be shown; the others are opened again when their turn comes."""

_DRAWS = 8  # of some results of a long list, until two differ in what the teacher holds of them


@dataclass(frozen=True)
class Showing:
    """One list as the student reads it.

    Attributes:
        passage: the whole prompt.  letters: token of each result's letter.  targets: of each result, as shown.
        again: where the query is said again behind the results, from and up to.
    """

    passage: Passage
    letters: tuple[int, ...]
    targets: tuple[float, ...]
    again: tuple[int, int]


class Lessons:
    """Prepares lists once and shows them as often as asked.

    Args:
        prompter: writes the prompts.
        pictures: opens pictures; None = a model without eyes.
        most: results shown at a time; of a longer list some are drawn.
        seed: of what is drawn.
        patch_bytes: of cut pictures held in memory.
    Raises:
        InputError: a list that cannot be shown: fewer than two results fit.
        ImageError: a picture cannot be read; names the query, and the result's index and id.
    """

    def __init__(
        self,
        lists: Sequence[TaughtList],
        prompter: WindowPrompter,
        pictures: PictureMemory | None,
        *,
        most: int,
        seed: int,
        patch_bytes: int = PATCH_BYTES,
    ) -> None:
        if not 2 <= most <= prompter.window_limit:
            raise InputError(
                f"lessons: got {most} results shown at a time; allowed: 2 to {prompter.window_limit}, the letters "
                "there are; change it"
            )
        self._lists, self._prompter, self._most, self._seed = lists, prompter, most, seed
        self._cuts = _Cuts(pictures, patch_bytes)
        self._requests = [self._prepared(one) for one in lists]

    def __len__(self) -> int:
        return len(self._lists)

    @property
    def picture_bytes(self) -> int:
        """Of the cut pictures held in memory now."""
        return self._cuts.bytes

    def pictures(self, keys: Sequence[str]) -> dict[str, Picture]:
        """Shown pictures by key: how many visual tokens they have, and where."""
        return {key: self._cuts.picture(key) for key in keys}

    def cuts(self, keys: Sequence[str]) -> list[Cut]:
        """Shown pictures in patches, as the tower takes them in.

        Raises:
            ImageError: a picture that was there cannot be read any more, or is another one.
        """
        return [self._cuts.cut(key) for key in keys]

    def _prepared(self, one: TaughtList) -> Request:
        prompter, page = self._prompter, one.page
        fit = prompter.fit(page, WindowPlan("sliding", window=self._most, stride=max(1, self._most // 2)))
        wanted: dict[ImageRef, str] = dict.fromkeys(prompter.asked(page.query), f"query {page.query_id!r}: its image")
        for i, result in enumerate(page.results):
            for ref in prompter.shown(result):
                wanted.setdefault(ref, f"query {page.query_id!r}: results[{i}] {result.result_id!r}")
        shown = self._cuts.take_in(wanted, fit.per_picture)
        return prompter.request(page, fit, shown)

    def show(self, index: int, showing: int) -> Showing:
        """One list, for the ``showing``-th time."""
        one, request = self._lists[index], self._requests[index]
        rng = np.random.default_rng([self._seed, index, showing])
        items = self._drawn(np.array(one.targets), request.fit.plan.window, rng)
        pool = self._prompter.words.pool
        chosen = rng.permutation(len(pool))[: len(items)]
        letters = Identifiers(tuple(pool.texts[i] for i in chosen), tuple(pool.tokens[i] for i in chosen))
        body = self._prompter.window(request, [int(i) for i in items], letters).body
        head = request.head
        whole = Passage(
            np.concatenate([head.tokens, body.tokens]),
            np.concatenate([head.places, body.places]),
            np.concatenate([head.positions, body.positions], axis=1),
            (*head.pictures, *body.pictures),
            body.reach,
        )
        start = len(whole) - len(request.task)
        again = start + request.again[0], start + request.again[1]
        return Showing(whole, letters.tokens, tuple(one.targets[i] for i in items), again)

    @staticmethod
    def _drawn(targets: NDArray[np.float64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Results to show, in the order to show them; of a long list some, not all equally good."""
        for _ in range(_DRAWS):
            items = rng.permutation(len(targets))[:most]
            if len(set(targets[items])) > 1:
                return items
        best, worst = int(targets.argmax()), int(targets.argmin())
        rest = [i for i in items if i not in (best, worst)]
        return rng.permutation([best, worst, *rest][: len(items)])


class _Cuts:
    """Pictures in patches: as many as fit are held, the least recently used dropped first and cut again when asked for.

    Every picture is opened once before training begins, so that one that is missing is told then.
    """

    def __init__(self, memory: PictureMemory | None, most_bytes: int) -> None:
        self._memory, self._most = memory, most_bytes
        self._from: dict[str, tuple[ImageRef, int, str]] = {}
        self._pictures: dict[str, Picture] = {}
        self._held: OrderedDict[str, Cut] = OrderedDict()
        self.bytes = 0

    def take_in(self, wanted: Mapping[ImageRef, str], size: int) -> dict[ImageRef, Picture]:
        """Open pictures; ``wanted``: whose each is, for messages; ``size``: visual tokens at most."""
        memory, found = self._memory, dict[ImageRef, Picture]()
        if memory is None:
            return found
        for ref, at in wanted.items():
            key = memory.key(ref, size, at=at)
            if key not in self._pictures:
                cut = memory.cut(ref, size, at=at)
                self._from[key], self._pictures[key] = (ref, size, at), Picture(key, cut.rows, cut.columns)
                self._hold(key, cut)
            found[ref] = self._pictures[key]
        return found

    def picture(self, key: str) -> Picture:
        return self._pictures[key]

    def cut(self, key: str) -> Cut:
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
            return held
        ref, size, at = self._from[key]
        if self._memory is None or self._memory.key(ref, size, at=at) != key:
            raise ImageError(ref.uri, "unreadable", "it is another picture than when training began", at=at)
        cut = self._memory.cut(ref, size, at=at)
        self._hold(key, cut)
        return cut

    def _hold(self, key: str, cut: Cut) -> None:
        self._held[key] = cut
        self.bytes += cut.patches.nbytes
        while self.bytes > self._most and len(self._held) > 1:
            self.bytes -= self._held.popitem(last=False)[1].patches.nbytes


def seen_of(pictures: Mapping[str, Picture], layers: Sequence[Tensor]) -> dict[str, Seen]:
    """What the tower made of some pictures, as the engine takes it."""
    return {key: Seen(picture, one) for (key, picture), one in zip(pictures.items(), layers, strict=True)}
