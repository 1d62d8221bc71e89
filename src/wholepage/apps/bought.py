"""Page labels that were bought, wherever they come from, and the folder in which a campaign of annotation gives them.

The folder (``wholepage annotate export``) holds ``judgments.jsonl``, the labels asked for and inferred, and
``bought.json``: what they cost and how far inferred ones are to be believed. ``wholepage train smar`` and
``wholepage compare`` learn from it (``--labels FOLDER``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from wholepage.annotation.buying import Purchase
from wholepage.apps.places import NotFound
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import Page
from wholepage.pages.records import atomic_write, read_judgments, write_judgments

JUDGMENTS, FACTS = "judgments.jsonl", "bought.json"


class Bought(msgspec.Struct, frozen=True):
    """Page labels, and what they cost.

    Attributes:
        judgments: labels asked for, and inferred ones.
        labels: questions asked: of gold, audits, second opinions and decisions too.
        strategy: how it was chosen what to ask, in words or as a spec.
        weights: of inferred labels: how far they are to be believed, above 0 to 1, by query and result.
    """

    judgments: Judgments
    labels: int
    strategy: str
    weights: Mapping[str, Mapping[str, float]] = {}

    @classmethod
    def of(cls, purchase: Purchase) -> Bought:
        """What a strategy bought."""
        return cls(purchase.judgments, purchase.labels, purchase.selection.strategy, purchase.weights)

    def share(self, full: int) -> float:
        """Its cost over that of one label for each of ``full`` results, to whole percents, one at least.

        Raises:
            InputError: there is nothing to label.
        """
        if full <= 0:
            raise InputError(f"labels: got {self.labels} for {full} results; allowed: one result at least; name pages")
        return min(1.0, max(0.01, round(self.labels / full, 2)))


class _Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    labels: int
    strategy: str
    weights: dict[str, dict[str, float]]

    def __post_init__(self) -> None:
        wrong = [w for of in self.weights.values() for w in of.values() if not 0 < w <= 1]
        if wrong or self.labels < 0:
            raise InputError(
                f"got labels={self.labels}, weights {wrong[:3]}; allowed: 0 labels or more, weights above 0 to 1"
            )


def check_brought(pages: Sequence[Page], brought: Bought) -> None:
    """Refuse labels that are not about these pages.

    Raises:
        InputError: a query or result is not among the pages.
    """
    known = {page.query_id: set(page.result_ids) for page in pages}
    for said in brought.judgments:
        ids = {said.result_id} if isinstance(said, Grade) else {said.left_id, said.right_id}
        if not ids <= known.get(said.query_id, set()):
            raise InputError(
                f"labels: query {said.query_id!r}: got a label of {sorted(ids)}, which are not all among the "
                f"{len(pages)} pages; allowed: labels of the pages learned from; name the pages of the campaign"
            )


def write_bought(folder: Path, bought: Bought) -> None:
    """Write the folder; each file is whole or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    write_judgments(folder / JUDGMENTS, bought.judgments)
    weights = {query_id: dict(of) for query_id, of in bought.weights.items()}
    with atomic_write(folder / FACTS, "wb") as file:
        facts = _Facts(bought.labels, bought.strategy, weights)
        file.write(msgspec.json.format(msgspec.json.encode(facts, order="deterministic")) + b"\n")


def read_bought(folder: Path) -> Bought:
    """Read what ``write_bought`` wrote.

    Raises:
        NotFound: the folder, or one of its files, is not there.
        RecordError: a file cannot be read.
        InputError: a weight is of a result without a label.
    """
    for name in (JUDGMENTS, FACTS):
        if not (folder / name).is_file():
            raise NotFound(
                f"labels: got {str(folder)!r}, which holds no {name}; allowed: a folder that `wholepage annotate "
                "export` wrote; export the campaign"
            )
    judgments = read_judgments(folder / JUDGMENTS)
    try:
        facts = msgspec.json.decode((folder / FACTS).read_bytes(), type=_Facts)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(
            folder / FACTS, 0, "file", str(error), "the JSON that the export writes", "export the campaign again"
        ) from error
    for query_id, of in facts.weights.items():
        strange = sorted(set(of).difference(judgments.by_result(query_id)))
        if strange:
            raise InputError(
                f"{folder / FACTS}: query {query_id!r}: got weights of {strange[:5]}, which have no label in "
                f"{JUDGMENTS}; allowed: results that have one; export the campaign again"
            )
    return Bought(judgments, facts.labels, facts.strategy, facts.weights)
