"""``wholepage annotate``: a campaign from files to labels, by its commands; what they say, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Said

from wholepage.annotation.campaign import Campaign
from wholepage.annotation.formats import Format
from wholepage.annotation.live import LiveCampaign
from wholepage.annotation.store import Store
from wholepage.apps.bought import read_bought
from wholepage.apps.cli import app
from wholepage.apps.judging import answer_all
from wholepage.pages import Judgments, Modality, Page, Query, Ranking, Result
from wholepage.pages.errors import SignInRefused
from wholepage.pages.judgments import Choice, Grade, Question, Verdict
from wholepage.pages.model import ImageRef
from wholepage.pages.records import read_pages, write_judgments, write_pages, write_rankings, write_run

QUERIES = 6


def page(query_id: str) -> Page:
    texts = [Result(f"t{i}", Modality.TEXT, f"{'red ' * i}shoes and {i} other words") for i in range(9)]
    answers = [Result(f"a{i}", Modality.ANSWER, f"{'shoes ' * i}are not all there is") for i in range(6)]
    return Page(Query(query_id, f"red shoes {query_id}"), (*texts, *answers))


PAGES = [page(f"q{i}") for i in range(QUERIES)]
TRUE = {f"t{i}": min(3, i // 2) for i in range(9)} | {f"a{i}": i // 2 for i in range(6)}


def falling(p: Page, modality: Modality) -> Ranking:
    return Ranking(p.query_id, p.only(modality).result_ids[::-1], by="falling")


class Knows:
    """Grades by a table; of two the better one."""

    def __init__(self, name: str = "model:knows") -> None:
        self.name = name

    def answer(self, question: Question) -> Verdict:
        left = TRUE[question.left_id]
        if question.right_id is None:
            return Verdict(grade=float(left))
        right = TRUE[question.right_id]
        return Verdict(choice=Choice.SAME if left == right else Choice.LEFT if left > right else Choice.RIGHT)


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHOLEPAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WHOLEPAGE_DATA", "")
    monkeypatch.delenv("WHOLEPAGE_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    write_pages("pages.jsonl", PAGES)
    for modality in (Modality.TEXT, Modality.ANSWER):
        write_run(f"{modality}.trec", [falling(p, modality) for p in PAGES])


def run(*args: object) -> Said:
    return CliRunner().invoke(app, ["annotate", *map(str, args)], env={"COLUMNS": "200"})


def facts(*args: object) -> dict[str, Any]:
    said = run(*args, "--json")
    assert said.exit_code == 0, said.output
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def refused(code: int, *args: object) -> str:
    said = run(*args)
    assert said.exit_code == code, said.output
    assert said.stdout == ""
    assert "Traceback" not in said.stderr
    return said.stderr


ORDERS = ("--rankings", "text.trec", "--rankings", "answer.trec")


def by_people(campaign_id: str, *names: str, store: str = "annotation.db") -> Campaign:
    """Let people answer a campaign to its end."""
    with Store.open(store) as opened:
        live = LiveCampaign(opened, campaign_id)
        for name in names:
            answer_all(live, Knows(name))
        return live.read()


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_campaign_from_the_plan_to_labels() -> None:
    made = facts("create", "shoes", "pages.jsonl", "--engine", "bisect", *ORDERS, "--budget", 60, "--name", "Shoes")
    assert (made["pages"], made["results"], made["engine"], made["budget_questions"]) == (6, 90, "bisect", 60)
    done = by_people("shoes", "ann")
    told = facts("status", "shoes")
    assert told["ledger"]["questions"] == done.questions <= 60
    assert told["progress"]["questions_left"] == 60 - done.questions
    assert told["annotators"]["ann"]["answers"] == done.questions
    assert told["ledger"]["saving"]["certificate"]["audited"] > 0
    out = facts("export", "shoes", "--out", "labels")
    bought = read_bought(Path("labels"))
    assert bought.labels == out["questions"] == done.questions
    assert bought.judgments == done.labels().judgments
    assert {g.grade == TRUE[g.result_id] for g in bought.judgments if isinstance(g, Grade)} == {True}
    assert list(read_pages("labels/pages.jsonl")) == PAGES
    assert facts("verify", "shoes") == {
        "campaign": "shoes",
        "entries": done.seq,
        "head": facts("verify", "shoes")["head"],
    }


def test_a_saving_is_told_when_there_is_one() -> None:
    facts("create", "shoes", "pages.jsonl", "--engine", "bisect", *ORDERS)
    assert "known when lists are done" in run("status", "shoes").stdout
    by_people("shoes", "ann")
    said = run("status", "shoes").stdout
    assert "known when" not in said
    assert "audit of inferred labels" in said
    assert "at most" in said  # the certificate stands beside the saving


def test_a_log_comes_back_as_the_same_campaign_and_the_same_files() -> None:
    facts("create", "shoes", "pages.jsonl", "--engine", "bisect", *ORDERS)
    done = by_people("shoes", "ann")
    facts("export", "shoes", "--out", "first")
    again = facts("import", "copy", "first/events.jsonl", "--store", "other.db")
    assert again["entries"] == done.seq
    facts("export", "copy", "--store", "other.db", "--out", "second")
    for file in (
        "judgments.jsonl",
        "bought.json",
        "events.jsonl",
        "plan.json",
        "pages.jsonl",
        "page_preferences.jsonl",
    ):
        assert Path("first", file).read_bytes() == Path("second", file).read_bytes(), file
    raw = Path("first/events.jsonl").read_bytes()
    Path("first/events.jsonl").write_bytes(raw.replace(b'"grade":3', b'"grade":2', 1))
    assert "hash" in refused(5, "import", "forged", "first/events.jsonl", "--store", "other.db")
    assert "NotFound" not in refused(4, "import", "lost", "nowhere.jsonl")


def test_a_selection_is_asked_and_nothing_else() -> None:
    said = CliRunner().invoke(app, ["select", "pages.jsonl", *ORDERS, "--share", "0.2", "-o", "chosen"])
    assert said.exit_code == 0, said.output
    made = facts("create", "few", "chosen/to_annotate.jsonl", "--selection", "chosen/selection.json")
    done = by_people("few", "ann", "bea")
    labels = sum(len(ids) for ids in json.loads(Path("chosen/selection.json").read_text())["bought"].values())
    assert made["engine"] == "selected"
    assert done.questions == labels


def test_a_pilot_teaches_the_engine_and_is_not_asked_again() -> None:
    whole = {p.query_id: {i: float(TRUE[i]) for i in p.result_ids} for p in PAGES[:3]}
    write_judgments("pilot.jsonl", Judgments.from_mapping(whole, "pilot"))
    made = facts("create", "rest", "pages.jsonl", "--engine", "hmm", *ORDERS, "--pilot", "pilot.jsonl")
    assert made["pages"] == 3
    with Store.open("annotation.db") as store:
        plan = store.plan("rest")
    assert plan.hmm is not None
    assert {p.query_id for p in plan.pages} == {p.query_id for p in PAGES[3:]}


def test_pairs_and_whole_pages_to_compare() -> None:
    write_rankings("ours.jsonl", [Ranking(p.query_id, p.result_ids, by="ours") for p in PAGES])
    write_rankings("theirs.jsonl", [Ranking(p.query_id, p.result_ids[::-1], by="theirs") for p in PAGES])
    made = facts(
        "create", "both", "pages.jsonl", *ORDERS, "--engine", "bisect", "--pairs", 2,
        "--compare", "ours.jsonl", "--compare", "theirs.jsonl",
    )  # fmt: skip
    assert made["comparisons"] == QUERIES * 3
    with Store.open("annotation.db") as store:
        plan = store.plan("both")
    kinds = {r.result_id: r.modality for r in PAGES[0].results}
    assert all(kinds[task.left_id] is not kinds[task.right_id] for task in plan.pairs)


def test_settings_come_from_a_file_and_options_go_before_it() -> None:
    Path("settings.toml").write_text('name = "From a file"\noverlap = 2\nlevels = 5\n[costs]\nhourly = 30.0\n')
    facts("create", "s", "pages.jsonl", "--settings", "settings.toml", "--levels", 3)
    with Store.open("annotation.db") as store:
        settings = LiveCampaign(store, "s").read().settings
    assert (settings.name, settings.overlap, settings.levels, settings.costs.hourly) == ("From a file", 2, 3, 30.0)
    Path("settings.toml").write_text("name = 'x'\noverlap = 0\n")
    assert "overlap" in refused(5, "create", "t", "pages.jsonl", "--settings", "settings.toml")
    Path("settings.toml").write_text("name = 'x'\nsurprise = 0\n")
    assert "surprise" in refused(5, "create", "t", "pages.jsonl", "--settings", "settings.toml")


@pytest.mark.parametrize(
    ("code", "args", "named"),
    [
        (4, ("nowhere.jsonl",), "nowhere.jsonl"),
        (5, ("pages.jsonl", "--selection", "x.json", "--engine", "bisect"), "selection"),
        (5, ("pages.jsonl", "--pilot", "x.jsonl"), "pilot"),
        (5, ("pages.jsonl", "--engine", "bisect", "--rankings", "text.trec"), "answer"),
        (4, ("pages.jsonl", "--guideline", "none.md"), "guideline"),
        (5, ("pages.jsonl", "--levels", "1"), "levels"),
        (5, ("pages.jsonl", "--compare", "text.trec"), "two files"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_begun(code: int, args: tuple[str, ...], named: str) -> None:
    assert named in refused(code, "create", "wrong", *args)
    with Store.open("annotation.db") as store:
        assert store.campaign_ids() == []


def test_an_id_is_taken_once_and_a_picture_must_be_there() -> None:
    facts("create", "one", "pages.jsonl")
    assert "taken" in refused(5, "create", "one", "pages.jsonl")
    seen = Page(Query("p"), (Result("i", Modality.IMAGE, "", (ImageRef("gone.png"),)),))
    write_pages("pictures.jsonl", [seen])
    assert "gone.png" in refused(5, "create", "pictures", "pictures.jsonl")


# --- people and models ------------------------------------------------------------------------------------------------


def test_an_invitation_is_a_link_that_works_once() -> None:
    told = facts("invite", "--role", "manager", "--address", "https://desk.example/")
    token = told["link"].removeprefix("https://desk.example/invite/")
    with Store.open("annotation.db") as store:
        person = store.accept(token, "Mia", "a long password")
        assert person.role.value == "manager"
        with pytest.raises(SignInRefused):
            store.accept(token, "Max", "a long password")


def test_models_are_kept_apart() -> None:
    facts("create", "shoes", "pages.jsonl")
    done = by_people("shoes", "model:knows")
    assert done.questions == 90 == done.ledger().of_models
    assert len(done.labels().judgments) == 0
    assert len(done.labels(models=True).judgments) == 90
    assert facts("export", "shoes", "--out", "labels")["labels"] == 0


def test_a_judge_needs_an_address_that_answers() -> None:
    facts("create", "shoes", "pages.jsonl")
    said = run("judge", "shoes", "--endpoint", "http://127.0.0.1:9/v1", "--model", "none")
    assert said.exit_code == 6, said.output
    assert "127.0.0.1:9" in said.stderr


# --- other tools ------------------------------------------------------------------------------------------------------


def test_another_format_is_refused() -> None:
    said = run("export", "shoes", "--format", "spreadsheet", "--out", "x")
    assert said.exit_code == 2
    assert all(one.value in said.stderr.replace("\n", "") for one in (Format.EVENTS, Format.QRELS, Format.QUEPID))


@pytest.mark.parametrize("to", [one.value for one in Format if one is not Format.EVENTS])
def test_every_format_is_written_and_says_what_it_loses(to: str) -> None:
    facts("create", "shoes", "pages.jsonl", "--engine", "bisect", *ORDERS)
    by_people("shoes", "ann")
    told = facts("export", "shoes", "--format", to, "--out", f"out/{to}.file")
    assert told["loses"]
    assert Path("out", f"{to}.file").stat().st_size >= 0
    assert ("labelling_config" in told) == to.startswith("label-studio")


def test_answers_given_elsewhere_are_taken_in() -> None:
    facts("create", "here", "pages.jsonl")
    by_people("here", "ann")
    facts("export", "here", "--format", "grades", "--out", "grades.jsonl")
    facts("create", "there", "pages.jsonl")
    told = facts("import", "there", "grades.jsonl", "--format", "grades")
    assert told == {"campaign": "there", "format": "grades", "answers": 90, "left": 0}
    with Store.open("annotation.db") as store:
        one, other = (LiveCampaign(store, name).read().labels().judgments for name in ("here", "there"))
    assert {(g.query_id, g.result_id, g.grade) for g in one if isinstance(g, Grade)} == {
        (g.query_id, g.result_id, g.grade) for g in other if isinstance(g, Grade)
    }
    assert "nobody said" in refused(5, "import", "there", "grades.jsonl", "--format", "labels")
