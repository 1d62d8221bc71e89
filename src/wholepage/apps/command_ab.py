"""``wholepage ab``: plan an online test, rehearse it with simulated users, and read its log."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from wholepage.apps.ab_analysis import ArmsFound, MergedFound, Plan
    from wholepage.evaluation.users.impressions import Impression

ab = typer.Typer(
    name="ab",
    help="Online tests: A/B and interleaving, from plan to verdict.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
SIMULATED = "simulated-"
"""How the impression ids of a simulated log begin."""


class Method(StrEnum):
    """Ways to interleave two rankings."""

    BLOCK_AWARE = "block-aware-team-draft"
    TEAM_DRAFT = "team-draft"
    PROBABILISTIC = "probabilistic"
    OPTIMIZED = "optimized"
    PAIRWISE = "pairwise-preferences"


_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout in place of tables.")]
_Split = Annotated[float, typer.Option("--split", help="The share of users who see RUN_B, the treatment.")]
_Alpha = Annotated[float, typer.Option("--alpha", help="False alarms allowed; intervals have level 1 - alpha.")]


@ab.callback()
def _ab() -> None:
    pass


@ab.command("simulate")
def simulate(
    pages: Annotated[Path, typer.Argument(help="The pages (.jsonl).")],
    judgments: Annotated[Path, typer.Argument(help="What people said: judgments (.jsonl) or TREC qrels.")],
    run_a: Annotated[Path, typer.Argument(help="Control: rankings (.jsonl) or a TREC run.")],
    run_b: Annotated[Path, typer.Argument(help="Treatment: rankings (.jsonl) or a TREC run.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The log to write (.jsonl, .jsonl.gz).")],
    users: Annotated[int, typer.Option("--users", min=2, help="People who may come.")] = 1000,
    impressions: Annotated[
        int | None, typer.Option("--impressions", min=1, help="Pages shown; default 10 for each user.")
    ] = None,
    days: Annotated[float, typer.Option("--days", help="How long the test runs.")] = 14.0,
    depth: Annotated[int, typer.Option("--depth", min=1, help="Results shown on a page.")] = 10,
    split: _Split = 0.5,
    interleaving: Annotated[
        Method | None, typer.Option("--interleaving", help="Show everybody pages merged of both, in place of arms.")
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option("--before", metavar="FILE", help="Also write a time before the test, when all saw control."),
    ] = None,
    before_days: Annotated[
        float, typer.Option("--before-days", help="How long that was; its pages come on top.")
    ] = 7.0,
    settings: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE", help="How users behave (.toml); else the defaults.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random; the same seed, the same log.")] = 0,
    json_: _Json = False,
) -> None:
    """Let SIMULATED users see pages by arms, or interleaved, and write what they do as a log.

    Nobody real is asked: users look, click and leave by the grades and by the settings. It shows what a test could find
    and how many users it takes, before there is any; it is no evidence for a ranker.

    Example: wholepage ab simulate pages.jsonl dev.qrels zscore.jsonl smar.jsonl --users 2000 -o log.jsonl
    """
    from wholepage.apps import ab_simulation
    from wholepage.apps.command_evaluate import read_any_judgments, read_any_rankings
    from wholepage.apps.console import note
    from wholepage.apps.evaluation_outputs import ranker_names
    from wholepage.apps.places import file_there
    from wholepage.evaluation.users.impressions import records_of, write_impressions
    from wholepage.evaluation.users.simulator import Traffic
    from wholepage.pages.errors import InputError
    from wholepage.pages.records import read_pages

    if before is not None and (interleaving is not None or not 0.0 < before_days < math.inf):
        raise InputError(
            f"--before: got interleaving {interleaving}, {before_days:g} days; allowed: an A/B test, finite days above "
            "0; it is for CUPED"
        )
    control, treatment = ranker_names([run_a, run_b])
    behaviour = ab_simulation.read_users(settings)
    given = ab_simulation.contest(
        list(read_pages(file_there(pages, "pages"))),
        read_any_judgments(judgments),
        read_any_rankings(run_a),
        read_any_rankings(run_b),
        (control, treatment),
    )
    earlier = before_days if before is not None else 0.0
    # As many pages a day before the test as in it.
    shown = round((10 * users if impressions is None else impressions) * (1.0 + earlier / days)) if days > 0 else 0
    traffic = Traffic(impressions=shown, users=users, depth=depth, days=days + earlier)
    past = None
    if interleaving is None:
        log, past = ab_simulation.ab_log(given, traffic, behaviour, seed=seed, split=split, before_days=earlier)
    else:
        method = ab_simulation.METHODS[interleaving.value]
        log = ab_simulation.interleaved_log(given, method, traffic, behaviour, seed=seed)
    for place, table in ((out, log), (before, past)):
        if place is not None and table is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_impressions(place, records_of(table))
    facts = {"simulated": True, "control": control, "treatment": treatment, "seed": seed, "days": days, "depth": depth}
    facts |= {"interleaving": None if interleaving is None else interleaving.value, **ab_simulation.facts_of(log)}
    _show_facts(facts, json_)
    note(f"these users are SIMULATED: they click by the grades and the settings; log: {out}")


@ab.command("analyse")
def analyse(
    log: Annotated[Path, typer.Argument(help="The log: impressions (.jsonl), of arms or of interleaved pages.")],
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="An indicator to test, as sat-CTR; again for more. Default: five."),
    ] = None,
    control: Annotated[
        str | None, typer.Option("--control", help="The arm compared with; default the first of two by name.")
    ] = None,
    treatment: Annotated[str | None, typer.Option("--treatment", help="The arm that is tested.")] = None,
    split: _Split = 0.5,
    before: Annotated[
        Path | None, typer.Option("--before", metavar="FILE", help="A log of the same users before the test: CUPED.")
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Also what holds however often it is looked at.")
    ] = False,
    planned_users: Annotated[
        int | None, typer.Option("--planned-users", min=1, help="With --sequential: how many were planned.")
    ] = None,
    effect: Annotated[
        float, typer.Option("--effect", help="A change worth having, as a share of control: for sizes.")
    ] = 0.05,
    alpha: _Alpha = 0.05,
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", help="Interleaving without teams in the log: what was merged; twice, as named there."),
    ] = None,
    interleaving: Annotated[
        Method | None, typer.Option("--interleaving", help="With --run: the method that gives credit.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write all of it as one HTML page.")
    ] = None,
    remark: Annotated[str, typer.Option("--remark", help="A line in the report, such as a date.")] = "",
    json_: _Json = False,
) -> None:
    """Read the log of an A/B test, or of interleaved pages: is the split right, what changed, is it more than luck.

    The split of users comes first. If it is not as planned (sample ratio mismatch, p below 0.001), what was found is
    still shown, and the command ends with exit code 5: such a log is bad input.

    Example: wholepage ab analyse log.jsonl --metric sat-CTR --before before.jsonl --sequential --report ab.html
    """
    from wholepage.apps.ab_analysis import Plan
    from wholepage.apps.ab_outputs import Written, deliver_arms, deliver_merged
    from wholepage.apps.console import note
    from wholepage.apps.places import file_there
    from wholepage.evaluation.users.impressions import read_impressions
    from wholepage.pages.errors import InputError

    plan = Plan(
        names=tuple(metric or ()), alpha=alpha, split=split, effect=effect, sequential=sequential,
        planned_users=planned_users,
    )  # fmt: skip
    impressions = list(read_impressions(file_there(log, "log")))
    if not impressions:
        raise InputError(f"{log}: got no impression; allowed: one or more; log some pages first")
    if all(one.impression_id.startswith(SIMULATED) for one in impressions):
        note("the users of this log are SIMULATED")
    files = [("log", log), *([("before", before)] if before is not None else [])]
    written = Written(report, (*files, *(("ranker", path) for path in run or [])), remark)
    if any(one.teams for one in impressions) or run:
        if metric or before is not None:
            raise InputError(
                "analyse: got --metric or --before for interleaved pages; allowed: for arms; an interleaving has its "
                "own measure, the credit"
            )
        merged = _merged(impressions, (control, treatment), run or [], interleaving, plan)
        deliver_merged(merged, plan, log, written, json_=json_)
        return
    arms = _arms(impressions, before, (control, treatment), plan)
    deliver_arms(arms, plan, log, written, json_=json_)
    if arms.split.mismatch:
        raise InputError(
            f"{log}: SAMPLE RATIO MISMATCH: got {arms.split.counts[0]} and {arms.split.counts[1]} users (p = "
            f"{arms.split.p:.2g}); allowed: a split of {1 - split:g} to {split:g}, by chance; find out where users "
            "were lost before believing any number of this test"
        )


@ab.command("power")
def power(
    rate: Annotated[
        float | None, typer.Option("--rate", help="A/B: the share of users with a yes in control, 0 to 1.")
    ] = None,
    change: Annotated[
        float | None, typer.Option("--change", help="A/B: the change to find, such as 0.01 from 0.30 to 0.31.")
    ] = None,
    deviation: Annotated[
        float | None, typer.Option("--deviation", help="A/B, in place of --rate: standard deviation between users.")
    ] = None,
    wins: Annotated[float | None, typer.Option("--wins", help="Interleaving: share of users who prefer B.")] = None,
    losses: Annotated[float | None, typer.Option("--losses", help="Interleaving: share who prefer A.")] = None,
    wanted: Annotated[float, typer.Option("--power", help="The chance to find it.")] = 0.8,
    alpha: _Alpha = 0.05,
    json_: _Json = False,
) -> None:
    """How many users a test takes: of each arm of an A/B test, or in all of an interleaving.

    Example: wholepage ab power --rate 0.30 --change 0.01
    """
    from wholepage.apps.console import print_json, print_table
    from wholepage.evaluation.online.power import users_for_means, users_for_shares, users_for_sign_test
    from wholepage.pages.errors import InputError

    options = {"power": wanted, "alpha": alpha}
    if wins is not None and losses is not None and rate is None and change is None and deviation is None:
        kind, users = "interleaving, users in all", users_for_sign_test(wins, losses, **options)
    elif change is None or (rate is None) == (deviation is None) or wins is not None or losses is not None:
        raise InputError(
            "power: got another set of options; allowed: --rate and --change, --deviation and --change, or --wins and "
            "--losses; say what you hope for"
        )
    elif rate is not None:
        kind, users = "A/B, users of each arm", users_for_shares(rate, rate + change, **options)
    else:
        kind, users = "A/B, users of each arm", users_for_means(change, deviation or 0.0, **options)
    if json_:
        print_json({"test": kind, "users": users, **options})
    else:
        print_table(f"power {wanted:g}, alpha {alpha:g}", ["test", "users"], [[kind, f"{users:,}"]])


_Named = tuple[str | None, str | None]


def _arms(impressions: list[Impression], before: Path | None, named: _Named, plan: Plan) -> ArmsFound:
    from wholepage.apps.ab_analysis import contestants, read_arms
    from wholepage.apps.places import file_there
    from wholepage.evaluation.users.impressions import read_impressions, table_of

    table = table_of(impressions)
    past = None if before is None else table_of(read_impressions(file_there(before, "before")))
    return read_arms(table, past, contestants(table.arms, *named), plan)


def _merged(
    impressions: list[Impression], named: _Named, runs: list[Path], method: Method | None, plan: Plan
) -> MergedFound:
    from wholepage.apps.ab_analysis import contestants, read_merged
    from wholepage.apps.ab_simulation import METHODS
    from wholepage.apps.command_evaluate import read_any_rankings
    from wholepage.apps.evaluation_outputs import ranker_names
    from wholepage.pages.errors import InputError
    from wholepage.pages.model import Ranking

    if bool(runs) != (method is not None) or len(runs) not in (0, 2):
        raise InputError(
            f"analyse: got {len(runs)} --run and --interleaving {method}; allowed: two runs with the method, or neither"
            " where the log has teams; name all three"
        )
    teams = sorted({team for one in impressions for team in one.teams if team})
    if method is None:
        pair = named == (None, None) and len(teams) != 2
        return read_merged(impressions, tuple(teams) if pair else contestants(teams, *named)[::-1], plan)
    names = ranker_names(runs)
    chosen = contestants(names, *named)[::-1]
    by_name = {
        name: {one.query_id: Ranking(one.query_id, one.result_ids, one.scores, name) for one in read_any_rankings(path)}
        for name, path in zip(names, runs, strict=True)
    }
    shared = set(by_name[chosen[0]]).intersection(by_name[chosen[1]])
    rankings = {query: [by_name[name][query] for name in chosen] for query in sorted(shared)}
    return read_merged(impressions, chosen, plan, rankings=rankings, method=METHODS[method.value])


def _show_facts(facts: dict[str, Any], json_: bool) -> None:
    from wholepage.apps.console import number, print_json, print_table

    if json_:
        print_json(facts)
        return
    rows = [
        [arm, str(of["users"]), str(of["impressions"]), number(of.get("CTR")), number(of.get("sat-CTR"))]
        for arm, of in facts["arms"].items()
    ]
    print_table("SIMULATED users", ["arm", "users", "impressions", "CTR", "sat-CTR"], rows)
