"""What ``wholepage ab simulate`` does: the log of an A/B test, or of an interleaving, by users who do not exist."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from wholepage.apps.places import file_there
from wholepage.evaluation.online.indicators import indicators
from wholepage.evaluation.online.interleaving.block_draft import BlockAwareTeamDraft
from wholepage.evaluation.online.interleaving.optimized import Optimized
from wholepage.evaluation.online.interleaving.pairwise import PairwisePreferences
from wholepage.evaluation.online.interleaving.probabilistic import Probabilistic
from wholepage.evaluation.online.interleaving.shown import Interleaving
from wholepage.evaluation.online.interleaving.team_draft import TeamDraft
from wholepage.evaluation.users.impressions import ImpressionTable
from wholepage.evaluation.users.settings import UserSettings
from wholepage.evaluation.users.simulator import MadePage, Traffic, simulate, simulate_made
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking

METHODS: dict[str, Interleaving] = {
    method.name: method
    for method in (BlockAwareTeamDraft(), TeamDraft(), Probabilistic(), Optimized(), PairwisePreferences())
}
"""Ways to interleave two rankings, by name, with their usual settings."""

_DAY_S = 86_400.0
_PERCENTS = 100


class Contest(NamedTuple):
    """Two rankers of the same pages; the names are what the log calls them."""

    pages: list[Page]
    judgments: Judgments
    control: list[Ranking]
    treatment: list[Ranking]
    names: tuple[str, str]


def contest(
    pages: Sequence[Page],
    judgments: Judgments,
    control: Sequence[Ranking],
    treatment: Sequence[Ranking],
    names: tuple[str, str],
) -> Contest:
    """Two rankers under their names.

    Raises:
        InputError: nobody graded a result of these pages, so that users would click at random.
    """
    if not any(judgments.by_result(page.query_id) for page in pages):
        raise InputError(
            f"judgments: got no grade on any of {len(pages)} pages; allowed: grades of these pages; simulated users "
            "click by them"
        )
    first, second = (
        [Ranking(one.query_id, one.result_ids, one.scores, name) for one in given]
        for given, name in zip((control, treatment), names, strict=True)
    )
    return Contest(list(pages), judgments, first, second, names)


def read_users(path: Path | None) -> UserSettings:
    """How simulated users behave, from a TOML file with the fields of ``UserSettings``; None = the defaults.

    Raises:
        NotFound: there is no such file.
        RecordError: it is not TOML, or a setting is unknown or out of range; it is named.
    """
    if path is None:
        return UserSettings()
    try:
        tables: dict[str, Any] = tomllib.loads(file_there(path, "user settings").read_text(encoding="utf-8"))
        return msgspec.convert(tables, UserSettings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RecordError(path, 0, "settings", str(error), "user settings in TOML", "mend the file") from error


def ab_log(
    given: Contest, traffic: Traffic, users: UserSettings, *, seed: int, split: float = 0.5, before_days: float = 0.0
) -> tuple[ImpressionTable, ImpressionTable | None]:
    """The log of an A/B test, in the order of time, and that of a time before it when everybody saw control.

    Args:
        traffic: of both times together; the test takes its days less ``before_days``.
        split: the share of users who see treatment, in whole hundredths.
        before_days: how long the time before the test is; 0 = none.
    Returns:
        The test, and the time before it or None. The same people come to both.
    Raises:
        InputError: a split that is not in whole hundredths from 0.01 to 0.99, days that do not leave a test, or
            rankings that do not fit the pages.
    """
    part = _hundredths(split)
    if not 0.0 <= before_days < traffic.days:
        raise InputError(
            f"before_days: got {before_days:g} of {traffic.days:g} days; allowed: 0 or more, and less than all; leave "
            "days for the test"
        )
    whole = _split_log(given, traffic, users, seed, part, treated=True)
    if before_days == 0.0:
        return _dated(whole), None
    starts_s = traffic.start_s + before_days * _DAY_S
    # With one seed the same people come at the same moments, whatever they are shown.
    untreated = _split_log(given, traffic, users, seed, part, treated=False)
    return _dated(whole.rows(whole.at_s >= starts_s)), _dated(untreated.rows(untreated.at_s < starts_s))


def interleaved_log(
    given: Contest, method: Interleaving, traffic: Traffic, users: UserSettings, *, seed: int
) -> ImpressionTable:
    """The log of users who are all shown pages merged of both rankings, in the order of time.

    Raises:
        InputError: a page that one of them does not rank, or two rankings that cannot be merged.
    """
    ranked = [{one.query_id: one for one in rankings} for rankings in (given.control, given.treatment)]
    for name, by_query in zip(given.names, ranked, strict=True):
        missing = [page.query_id for page in given.pages if page.query_id not in by_query]
        if missing:
            raise InputError(f"{name}: got no ranking of queries {missing[:3]}; allowed: one each; rank all pages")

    def merged(page: Page, rng: np.random.Generator) -> MadePage:
        pair = [by_query[page.query_id] for by_query in ranked]
        shown = method.interleave(pair, rng=rng, page=page).top(traffic.depth)
        return MadePage(shown.order, shown.team_names)

    made = simulate_made(given.pages, given.judgments, merged, seed=seed, settings=users, traffic=traffic)
    return _dated(made.log)


def facts_of(log: ImpressionTable) -> dict[str, Any]:
    """What was simulated: how many of each, and what they did, by arm."""
    rows = {}
    for number, arm in enumerate(log.arms):
        own = log.rows(log.arm == number)
        if len(own):
            rows[arm or "interleaved"] = {
                "users": len(np.unique(own.user)),
                "impressions": len(own),
                **{name: one.value for name, one in indicators(own).items() if name in ("CTR", "sat-CTR")},
            }
    return {"impressions": len(log), "users": len(np.unique(log.user)), "arms": dict(sorted(rows.items()))}


def _hundredths(split: float) -> int:
    part = round(split * _PERCENTS) if np.isfinite(split) else 0
    if not 0 < part < _PERCENTS or abs(part / _PERCENTS - split) > 1e-9:
        raise InputError(f"split: got {split}; allowed: 0.01 to 0.99 in whole hundredths; 0.5 is usual")
    return part


def _split_log(
    given: Contest, traffic: Traffic, users: UserSettings, seed: int, part: int, *, treated: bool
) -> ImpressionTable:
    """The simulator gives every arm as many users; so a split of 3 to 7 is ten arms of which three are one."""
    common = int(np.gcd(part, _PERCENTS))
    seats, ours = _PERCENTS // common, part // common
    names = [f"{number}" for number in range(seats)]
    shown = {
        name: given.treatment if treated and number >= seats - ours else given.control
        for number, name in enumerate(names)
    }
    log = simulate(given.pages, given.judgments, shown, seed=seed, settings=users, traffic=traffic)
    return msgspec.structs.replace(log, arm=(log.arm >= seats - ours).astype(np.int64), arms=given.names)


def _dated(log: ImpressionTable) -> ImpressionTable:
    """In the order of time, under ids that say what kind of log it is."""
    ordered = log.rows(np.argsort(log.at_s, kind="stable"))
    return msgspec.structs.replace(
        ordered, impression_ids=tuple(f"simulated-{number:07d}" for number in range(1, len(ordered) + 1))
    )
