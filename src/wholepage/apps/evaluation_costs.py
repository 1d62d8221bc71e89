"""``wholepage evaluate --cost RANKER=...``: what its labels cost, from a number or a campaign's own ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from wholepage.apps.bought import FACTS
from wholepage.apps.labels_out import STATUS
from wholepage.apps.places import NotFound
from wholepage.evaluation.report_cost import LabelCost
from wholepage.pages.errors import InputError, RecordError

_ALLOWED = (
    "RANKER=NUMBER, or RANKER=PATH of what `wholepage annotate export` wrote (its folder, its status.json or its "
    "bought.json)"
)


class _Saving(msgspec.Struct):
    full: int


class _Spent(msgspec.Struct):
    questions: int
    seconds: float
    money: float
    saving: _Saving


class _Status(msgspec.Struct):
    ledger: _Spent


class _Facts(msgspec.Struct):
    labels: int
    strategy: str = ""


def read_costs(given: Sequence[str], rankers: Sequence[str]) -> dict[str, LabelCost]:
    """Costs by ranker, from the values of ``--cost``.

    Args:
        given: ``RANKER=NUMBER`` or ``RANKER=PATH``.
        rankers: the names there are; one that holds a ``=`` is found too.
    Raises:
        InputError: not of that form, a ranker that is not there or comes twice, or a number below 0.
        NotFound: there is no such file or folder.
        RecordError: a file is no ledger.
    """
    costs: dict[str, LabelCost] = {}
    for one in given:
        fits = [name for name in rankers if one.startswith(f"{name}=")]
        if not fits:
            raise InputError(
                f"--cost: got {one!r}; allowed: {_ALLOWED}, with RANKER one of {', '.join(rankers)}; correct it"
            )
        name = max(fits, key=len)
        if name in costs:
            raise InputError(f"--cost: got {name!r} twice; allowed: once a ranker; add its costs up")
        costs[name] = _cost(one.removeprefix(f"{name}="))
    return costs


def _cost(value: str) -> LabelCost:
    digits = value.replace(",", "").replace("_", "")
    if digits.isascii() and digits.isdigit():
        return LabelCost(int(digits), source="the command line")
    path = Path(value).expanduser()
    if path.is_dir():
        path = path / STATUS if (path / STATUS).is_file() else path / FACTS
    if not path.is_file():
        raise NotFound(f"--cost: got {value!r}, which is neither a whole number nor there; allowed: {_ALLOWED}")
    raw = path.read_bytes()
    try:
        if path.name == FACTS:
            facts = msgspec.json.decode(raw, type=_Facts)
            return LabelCost(facts.labels, source=facts.strategy or path.name)
        spent = msgspec.json.decode(raw, type=_Status).ledger
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # msgspec's ValidationError is one of them
        raise RecordError(path, 0, "ledger", str(error), _ALLOWED, "name another file") from error
    return LabelCost(
        spent.questions, spent.seconds / 3600.0, spent.money, spent.saving.full or None, source="campaign's ledger"
    )
