"""``wholepage ab``: logs of simulated users, read again; what is there is found, and what is not there is not."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from wholepage.apps import ab_simulation
from wholepage.apps.ab_analysis import Plan, contestants, read_arms, read_merged
from wholepage.apps.cli import app
from wholepage.evaluation.online.interleaving.team_draft import TeamDraft
from wholepage.evaluation.online.power import power_of_means, users_for_shares
from wholepage.evaluation.users.impressions import (
    Impression,
    read_impressions,
    records_of,
    table_of,
    write_impressions,
)
from wholepage.evaluation.users.settings import UserSettings
from wholepage.evaluation.users.simulator import Traffic
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking
from wholepage.pages.model import Result as Shown
from wholepage.pages.records import write_judgments, write_pages, write_rankings

_KINDS = (Modality.TEXT, Modality.TEXT, Modality.IMAGE, Modality.VIDEO, Modality.ANSWER)
_QUERIES, _RESULTS = 12, 15
_FILES = ("pages.jsonl", "judgments.jsonl", "old.jsonl", "new.jsonl")


def _pages() -> list[Page]:
    def one(query: str, place: int) -> Shown:
        kind = _KINDS[place % len(_KINDS)]
        seen = (ImageRef("x.png"),) if kind in (Modality.IMAGE, Modality.VIDEO) else ()
        return Shown(f"{query}-r{place}", kind, "words", seen)

    return [Page(Query(f"q{q}", "x"), tuple(one(f"q{q}", i) for i in range(_RESULTS))) for q in range(_QUERIES)]


def _world(noise: float = 0.2) -> ab_simulation.Contest:
    """An order with much noise against one with little, of grades 0 to 3, most of them 0."""
    rng = np.random.default_rng(0)
    pages, grades = _pages(), []
    runs: dict[str, list[Ranking]] = {"old": [], "new": []}
    for page in pages:
        truth = rng.choice(4, size=len(page), p=(0.7, 0.1, 0.1, 0.1))
        grades += [Grade(page.query.query_id, i, float(g)) for i, g in zip(page.result_ids, truth, strict=True)]
        for name, spread in (("old", 5.0), ("new", noise)):
            order = np.argsort(-(truth + spread * rng.standard_normal(len(page))))
            ids = tuple(page.result_ids[k] for k in order)
            runs[name].append(Ranking(page.query.query_id, ids, tuple(-float(k) for k in range(len(ids)))))
    return ab_simulation.contest(pages, Judgments(grades), runs["old"], runs["new"], ("old", "new"))


WORLD = _world()
SAME = WORLD._replace(treatment=[msgspec.structs.replace(one, by="new") for one in WORLD.control])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a small world, and the logs of one test and one interleaving."""
    place = tmp_path_factory.mktemp("ab")
    write_pages(place / "pages.jsonl", WORLD.pages)
    write_judgments(place / "judgments.jsonl", WORLD.judgments)
    write_rankings(place / "old.jsonl", WORLD.control)
    write_rankings(place / "new.jsonl", WORLD.treatment)
    done = ab("simulate", *(place / name for name in _FILES), "--users", 400, "--before", place / "before.jsonl",
              "-o", place / "log.jsonl")  # fmt: skip
    assert done.exit_code == 0, done.output
    merged = ab("simulate", *(place / name for name in _FILES), "--users", 150, "--interleaving",
                "block-aware-team-draft", "-o", place / "merged.jsonl")  # fmt: skip
    assert merged.exit_code == 0, merged.output
    return place


def ab(*args: object) -> Result:
    return CliRunner().invoke(app, ["ab", *map(str, args)], env={"COLUMNS": "200"})


def said(*args: object) -> dict[str, Any]:
    done = ab(*args, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- an A/B test ------------------------------------------------------------------------------------------------------


def test_a_planted_better_ranking_wins(folder: Path) -> None:
    found = said("analyse", folder / "log.jsonl", "--control", "old", "-m", "sat-CTR", "-m", "bad-abandonment")
    assert (found["control"], found["treatment"]) == ("old", "new")
    assert not found["split"]["mismatch"]
    better, worse = found["rows"]
    assert better["change"]["change"]["low"] > 0.05
    assert worse["change"]["change"]["high"] < -0.05
    assert max(row["change"]["p_holm"] for row in found["rows"]) < 0.001
    assert better["change"]["p_holm"] >= better["change"]["change"]["p"]


def test_values_are_those_counted_by_hand(folder: Path) -> None:
    log = list(read_impressions(folder / "log.jsonl"))
    found = said("analyse", folder / "log.jsonl", "--control", "old", "-m", "CTR", "-m", "sat-CTR")
    for arm, at in (("old", 0), ("new", 1)):
        own = [one for one in log if one.arm == arm]
        clicked = sum(bool(one.clicks) for one in own) / len(own)
        satisfied = sum(any(click.dwell_s >= 30 for click in one.clicks) for one in own) / len(own)
        values = [row["arms"][at]["value"] for row in found["rows"]]
        assert values == pytest.approx([clicked, satisfied], abs=1e-12)
        assert found["split"]["counts"][at] == len({one.user for one in own})
    assert found["impressions"] == len(log)


def test_simulated_is_said_and_everywhere(folder: Path, tmp_path: Path) -> None:
    done = ab("simulate", *(folder / name for name in _FILES), "--users", 20, "-o", tmp_path / "log.jsonl")
    assert "SIMULATED" in done.stdout
    assert "SIMULATED" in done.stderr
    assert all(one.impression_id.startswith("simulated-") for one in read_impressions(tmp_path / "log.jsonl"))
    assert "SIMULATED" in ab("analyse", folder / "log.jsonl").stderr


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    def bytes_of(name: str, *options: object) -> bytes:
        done = ab("simulate", *(folder / file for file in _FILES), "--users", 40, "-o", tmp_path / name, *options)
        assert done.exit_code == 0, done.output
        return (tmp_path / name).read_bytes()

    assert bytes_of("a.jsonl") == bytes_of("b.jsonl") != bytes_of("c.jsonl", "--seed", 1)
    merged = ("--interleaving", "team-draft")
    assert bytes_of("d.jsonl", *merged) == bytes_of("e.jsonl", *merged) != bytes_of("a.jsonl")
    pages = []
    for name in ("r.html", "s.html"):
        command = ["analyse", folder / "log.jsonl", "--sequential", "--report", tmp_path / "r.html"]
        assert ab(*command).exit_code == 0
        pages.append((tmp_path / "r.html").rename(tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".")) == []


def test_the_report_stands_alone(folder: Path, tmp_path: Path) -> None:
    for log, word in (("log.jsonl", "Was the split right"), ("merged.jsonl", "Who is preferred")):
        assert ab("analyse", folder / log, "--sequential", "--report", tmp_path / "r.html").exit_code == 0
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert word in text
        assert "Look by look" in text or "look by look" in text
        assert "<script" not in text
        assert "http://" not in text.replace("http://www.w3.org/", "")
        assert "sha256" in text


def test_a_log_is_in_the_order_of_time_and_each_user_in_one_arm(folder: Path) -> None:
    log = list(read_impressions(folder / "log.jsonl"))
    assert [one.at_s for one in log] == sorted(one.at_s for one in log)
    assert len({(one.user, one.arm) for one in log}) == len({one.user for one in log})


def test_an_even_split_is_not_the_only_one() -> None:
    traffic = Traffic(impressions=20_000, users=4000, days=2)
    log, _ = ab_simulation.ab_log(WORLD, traffic, UserSettings(), seed=0, split=0.3)
    counts = [len(np.unique(log.user[log.arm == arm])) for arm in (0, 1)]
    share = counts[1] / sum(counts)
    assert abs(share - 0.3) < 4 * math.sqrt(0.21 / sum(counts))
    found = read_arms(log, None, ("old", "new"), Plan(split=0.3, names=("CTR",)))
    assert not found.split.mismatch
    assert read_arms(log, None, ("old", "new"), Plan(names=("CTR",))).split.mismatch
    for bad in (0.0, 1.0, 0.505, math.nan):
        with pytest.raises(InputError, match="hundredths"):
            ab_simulation.ab_log(WORLD, traffic, UserSettings(), seed=0, split=bad)


def test_the_time_before_is_of_the_same_people_and_shortens_intervals(folder: Path) -> None:
    before, log = (list(read_impressions(folder / name)) for name in ("before.jsonl", "log.jsonl"))
    assert max(one.at_s for one in before) < min(one.at_s for one in log)
    assert 0.4 < len(before) / len(log) < 0.6  # 7 days before, 14 days of test
    known = said(
        "analyse", folder / "log.jsonl", "--control", "old", "-m", "clicks", "--before", folder / "before.jsonl"
    )
    assert known["rows"][0]["change"]["variance_saved"] > 0.0
    control = {ranking.query_id: ranking.result_ids for ranking in WORLD.control}
    assert all(one.shown == control[one.query_id][:10] for one in before)


def test_what_people_did_before_shortens_intervals() -> None:
    users = UserSettings(patience_spread=1.5, taste_spread=2.0)
    traffic = Traffic(impressions=9000, users=300, days=21, activity_spread=0.0)
    log, before = ab_simulation.ab_log(WORLD, traffic, users, seed=0, before_days=7.0)
    plain, known = (read_arms(log, past, ("old", "new"), Plan(names=("clicks",))).rows[0] for past in (None, before))
    saved = known.change.variance_saved
    assert saved > 0.2
    errors = [row.change.change.standard_error for row in (plain, known)]
    assert errors[1] / errors[0] == pytest.approx(math.sqrt(1 - saved), rel=0.02)
    assert known.sizes.for_effect is not None
    assert plain.sizes.for_effect is not None
    assert known.sizes.for_effect < plain.sizes.for_effect


def test_people_before_the_test_are_as_in_it() -> None:
    """A time before that is cut off leaves the very log that one simulation of both times gives."""
    traffic = Traffic(impressions=400, users=50, days=4)
    log, before = ab_simulation.ab_log(WORLD, traffic, UserSettings(), seed=3, before_days=1.0)
    whole, nothing = ab_simulation.ab_log(WORLD, traffic, UserSettings(), seed=3)
    assert nothing is None
    assert before is not None
    assert len(log) + len(before) == len(whole)
    kept = [msgspec.structs.replace(one, impression_id="x") for one in records_of(log)]
    assert kept == [msgspec.structs.replace(one, impression_id="x") for one in records_of(whole)][len(before) :]
    with pytest.raises(InputError, match="before_days"):
        ab_simulation.ab_log(WORLD, traffic, UserSettings(), seed=3, before_days=4.0)


def test_a_ranking_against_itself_is_seldom_found_different() -> None:
    """200 tests at 5 %: more than 22 alarms, or none at all, would come by chance once in 2,000 times."""
    alarms, broken = 0, 0
    for seed in range(200):
        log, _ = ab_simulation.ab_log(SAME, Traffic(impressions=240, users=60), UserSettings(), seed=seed)
        found = read_arms(log, None, ("old", "new"), Plan(names=("CTR",)))
        alarms += found.rows[0].change.p_holm < 0.05
        broken += found.split.mismatch
    assert 1 <= alarms <= 22
    assert broken <= 2


def test_a_skewed_split_is_an_alarm(folder: Path, tmp_path: Path) -> None:
    log = list(read_impressions(folder / "log.jsonl"))
    treated = sorted({one.user for one in log if one.arm == "new"})
    lost = set(treated[: len(treated) // 3])
    write_impressions(tmp_path / "skewed.jsonl", (one for one in log if one.user not in lost))
    done = ab("analyse", tmp_path / "skewed.jsonl", "--control", "old", "--json", "--report", tmp_path / "r.html")
    assert done.exit_code == 5
    assert done.stderr.count("SAMPLE RATIO MISMATCH") == 2  # the note, and the error at the end
    found = json.loads(done.stdout)
    assert found["split"]["mismatch"]
    assert "SAMPLE RATIO MISMATCH" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_looks_end_where_the_whole_log_does(folder: Path) -> None:
    found = said("analyse", folder / "log.jsonl", "--control", "old", "-m", "sat-CTR", "--sequential")
    row = found["rows"][0]
    looks = row["looks"]
    users = [look["users"] for look in looks]
    assert users == sorted(set(users))
    assert users[0] >= 100
    assert users[-1] == sum(found["split"]["counts"])
    last, change = looks[-1], row["change"]["change"]
    assert last["value"] == pytest.approx(change["difference"], abs=1e-12)
    assert last["low"] < change["low"] < change["high"] < last["high"]  # to look again and again has its price
    assert [look["p"] for look in looks] == sorted((look["p"] for look in looks), reverse=True)
    assert [users for users, _ in found["split_looks"]] == users


def test_sizes_keep_what_they_promise(folder: Path) -> None:
    row = said("analyse", folder / "log.jsonl", "--control", "old", "-m", "sat-CTR")["rows"][0]
    change, needed = row["change"]["change"], row["sizes"]
    spread = change["standard_error"] / math.sqrt(sum(1 / n for n in change["users"]))
    users = round(2 / sum(1 / n for n in change["users"]))
    assert power_of_means(needed["smallest"], spread, users) == pytest.approx(0.8, abs=1e-6)
    for difference, count in (
        (change["difference"], needed["for_seen"]),
        (0.05 * change["control"], needed["for_effect"]),
    ):
        powers = [power_of_means(difference, spread, n) for n in (count - 1, count)]
        assert powers[0] < 0.8 <= powers[1]


def test_users_who_come_back_are_an_indicator(folder: Path) -> None:
    found = said("analyse", folder / "log.jsonl", "--control", "old", "-m", "retention(3d)")
    row = found["rows"][0]
    assert 0.1 < row["arms"][0]["value"] < 1.0
    log = [one for one in read_impressions(folder / "log.jsonl") if one.arm == "old"]
    days = {user: sorted({one.at_s // 86_400 for one in log if one.user == user}) for user in {one.user for one in log}}
    end = max(one.at_s for one in read_impressions(folder / "log.jsonl")) // 86_400
    watched = [of for of in days.values() if of[0] + 3 < end]
    back = sum(any(of[0] < day <= of[0] + 3 for day in of) for of in watched)
    assert row["arms"][0]["value"] == pytest.approx(back / len(watched))


def test_looks_follow_the_log_where_moments_are_not_known(folder: Path) -> None:
    log = [msgspec.structs.replace(one, at_s=0.0) for one in read_impressions(folder / "log.jsonl")]
    plan = Plan(names=("CTR",), sequential=True)
    dated = read_arms(table_of(read_impressions(folder / "log.jsonl")), None, ("old", "new"), plan)
    assert read_arms(table_of(log), None, ("old", "new"), plan).rows == dated.rows


# --- interleaving -----------------------------------------------------------------------------------------------------


def test_interleaving_prefers_the_better_ranking(folder: Path) -> None:
    found = said("analyse", folder / "merged.jsonl", "--control", "old", "--sequential")
    one = found["verdicts"][0]
    assert (one["first"], one["second"]) == ("new", "old")
    assert one["low"] > 0
    assert one["p_sign"] < 0.001
    assert found["credits"]["new"] > found["credits"]["old"]
    assert found["looks"][-1]["low"] > 0.5
    log = list(read_impressions(folder / "merged.jsonl"))
    credit = Counter(one.teams[place] for one in log for place in {click.place for click in one.clicks})
    assert found["credits"] == pytest.approx({name: credit[name] / len(log) for name in ("new", "old")})


def test_credit_by_teams_is_that_of_the_method() -> None:
    traffic = Traffic(impressions=300, users=60)
    log = list(records_of(ab_simulation.interleaved_log(WORLD, TeamDraft(), traffic, UserSettings(), seed=1)))
    rankings = {new.query_id: [new, old] for new, old in zip(WORLD.treatment, WORLD.control, strict=True)}
    by_teams = read_merged(log, ("new", "old"), Plan())
    by_method = read_merged(log, ("new", "old"), Plan(), rankings=rankings, method=TeamDraft())
    assert by_teams == by_method
    assert by_teams.needed[0] is not None


@pytest.mark.parametrize("method", ["optimized", "probabilistic", "pairwise-preferences"])
def test_methods_without_teams_need_the_rankings(folder: Path, tmp_path: Path, method: str) -> None:
    log = tmp_path / "log.jsonl"
    made = ab("simulate", *(folder / name for name in _FILES), "--users", 60, "--interleaving", method, "-o", log)
    assert made.exit_code == 0, made.output
    assert ab("analyse", log).exit_code == 5
    runs = ["--run", folder / "old.jsonl", "--run", folder / "new.jsonl"]
    found = said("analyse", log, *runs, "--interleaving", method, "--control", "old")
    assert found["verdicts"][0]["delta"] > 0
    assert ab("analyse", log, *runs).exit_code == 5


def test_interleaving_a_ranking_with_itself_finds_nothing() -> None:
    """40 tests at 5 %, exact and so below it: 8 alarms or more would come by chance once in 2,000 times."""
    alarms = 0
    for seed in range(40):
        traffic = Traffic(impressions=120, users=40)
        log = ab_simulation.interleaved_log(SAME, TeamDraft(), traffic, UserSettings(), seed=seed)
        alarms += read_merged(list(records_of(log)), ("new", "old"), Plan()).verdicts[0].p_sign < 0.05
    assert alarms <= 7


# --- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["{not json", '{"impression_id": "i", "user": "u", "query_id": "q"}'])
def test_a_malformed_log_names_file_and_line(folder: Path, tmp_path: Path, line: str) -> None:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()[:5]
    (tmp_path / "bad.jsonl").write_text("\n".join([*lines[:2], line, *lines[2:]]) + "\n", encoding="utf-8")
    done = ab("analyse", tmp_path / "bad.jsonl")
    assert done.exit_code == 5
    assert "bad.jsonl:3" in done.stderr
    past = ab("analyse", folder / "log.jsonl", "--before", tmp_path / "bad.jsonl")
    assert past.exit_code == 5
    assert "bad.jsonl:3" in past.stderr


def test_wrong_questions_are_refused(folder: Path, tmp_path: Path) -> None:
    log, merged = folder / "log.jsonl", folder / "merged.jsonl"
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "users.toml").write_text("patience = 3.0\npatients = 4.0\n", encoding="utf-8")
    (tmp_path / "other.qrels").write_text("z 0 z 1\n", encoding="utf-8")
    files = [folder / name for name in _FILES]
    nowhere = tmp_path / "out.jsonl"
    for args, code, word in (
        (["analyse", tmp_path / "none.jsonl"], 4, "none.jsonl"),
        (["analyse", tmp_path / "empty.jsonl"], 5, "no impression"),
        (["analyse", log, "--control", "nobody"], 5, "nobody"),
        (["analyse", log, "-m", "joy"], 5, "joy"),
        (["analyse", log, "--alpha", "0"], 5, "alpha"),
        (["analyse", log, "--effect", "nan"], 5, "effect"),
        (["analyse", merged, "-m", "CTR"], 5, "credit"),
        (["simulate", *files, "--settings", tmp_path / "users.toml", "-o", nowhere], 5, "patients"),
        (["simulate", files[0], tmp_path / "other.qrels", *files[2:], "-o", nowhere], 5, "no grade"),
        (["simulate", *files, "--days", "nan", "-o", nowhere], 5, "days"),
        (["simulate", *files, "--before", nowhere, "--interleaving", "team-draft", "-o", nowhere], 5, "--before"),
        (["simulate", *files, "--users", "1", "-o", nowhere], 2, "users"),
    ):
        done = ab(*args)
        assert (done.exit_code, word in done.stderr) == (code, True), (args, done.output)
    assert not nowhere.exists()


def test_settings_say_how_users_behave(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "users.toml").write_text("patience = inf\nclicks = [0.0]\n", encoding="utf-8")
    users = ab_simulation.read_users(tmp_path / "users.toml")
    assert (users.patience, users.clicks) == (math.inf, (0.0,))
    files = [folder / name for name in _FILES]
    log = tmp_path / "log.jsonl"
    assert ab("simulate", *files, "--settings", tmp_path / "users.toml", "--users", 20, "-o", log).exit_code == 0
    assert not any(one.clicks for one in read_impressions(log))
    (tmp_path / "users.toml").write_text("patience = -1.0\n", encoding="utf-8")
    with pytest.raises(RecordError, match=r"users\.toml"):
        ab_simulation.read_users(tmp_path / "users.toml")


def test_arms_are_chosen_by_name() -> None:
    assert contestants(("b", "a", ""), None, None) == ("a", "b")
    assert contestants(("b", "a"), "b", None) == ("b", "a")
    assert contestants(("b", "a"), None, "a") == ("b", "a")
    assert contestants(("c", "b", "a"), "c", "a") == ("c", "a")
    for names, control in ((("a", "b", "c"), None), (("a",), None), (("",), None), (("a", "b"), "z")):
        with pytest.raises(InputError, match="arm"):
            contestants(names, control, None)
    with pytest.raises(InputError, match="both"):
        contestants(("a", "b"), "a", "a")


def test_users_who_all_do_the_same_tell_nothing() -> None:
    """No spread, so no size can be named; nothing is found, nothing breaks."""
    one = WORLD.pages[0]
    kinds = tuple(result.modality for result in one.results)
    log = [Impression(f"i{k}", f"u{k}", one.query.query_id, one.result_ids, kinds, arm="ab"[k % 2]) for k in range(8)]
    found = read_arms(table_of(log), None, ("a", "b"), Plan(names=("CTR",), sequential=True))
    assert found.rows[0].change.p_holm == 1.0
    assert msgspec.structs.astuple(found.rows[0].sizes) == (None, None, None, None)


# --- how many users ---------------------------------------------------------------------------------------------------


def test_power_tells_the_users_it_takes() -> None:
    assert said("power", "--rate", 0.3, "--change", 0.01)["users"] == users_for_shares(0.3, 0.31)
    by_hand = 2 * ((1.959964 + 0.841621) * 4.0) ** 2
    assert said("power", "--deviation", 4.0, "--change", 1.0)["users"] == pytest.approx(by_hand, abs=2)
    assert said("power", "--wins", 0.3, "--losses", 0.2)["users"] == pytest.approx(7.85 * 0.5 / 0.01, rel=0.05)
    more = said("power", "--rate", 0.3, "--change", 0.01, "--power", 0.9)
    assert more["users"] > users_for_shares(0.3, 0.31)
    for bad in ((), ("--rate", 0.3), ("--rate", 0.3, "--change", 0.1, "--wins", 0.2), ("--wins", 0.2)):
        assert ab("power", *bad).exit_code == 5


@pytest.mark.parametrize("command", ["simulate", "analyse", "power"])
def test_each_command_teaches_with_an_example(command: str) -> None:
    done = ab(command, "--help")
    assert done.exit_code == 0
    assert f"Example: wholepage ab {command} " in done.stdout
