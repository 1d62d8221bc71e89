"""``wholepage collection``: list, info, get and sample, with the licence always beside the data."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Said

from wholepage.apps.cli import app
from wholepage.collections import NAMES, open_collection
from wholepage.pages import Modality, Page, Query, Result
from wholepage.pages.protocols import by_score
from wholepage.pages.records import read_judgments, read_pages, write_pages, write_rankings
from wholepage.rankers.bm25 import BM25Scorer

LTR = "2 qid:1 1:3\n0 qid:1 1:0.5\n1 qid:2 2:7\n"


def run(*args: object, **env: str) -> Said:
    # Rich cuts nothing at this width.
    return CliRunner().invoke(app, ["collection", *map(str, args)], env={"COLUMNS": "200", "WHOLEPAGE_DATA": "", **env})


@pytest.fixture
def ltr(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.txt").write_text(LTR)
    return tmp_path / "data"


@pytest.mark.parametrize("command", ["list", "info", "get", "sample"])
def test_every_command_teaches_with_an_example(command: str) -> None:
    said = run(command, "--help")
    assert said.exit_code == 0
    assert f"Example: wholepage collection {command}" in said.stdout


def test_list_names_every_collection() -> None:
    told = json.loads(run("list", "--json").stdout)
    assert [one["name"] for one in told] == list(NAMES)
    assert all(one["licence"] and one["cite"] for one in told)
    assert all(name in run("list").stdout for name in NAMES)


def test_info_says_whose_it_is_and_what_is_here(ltr: Path) -> None:
    told = json.loads(run("info", "libsvm", "--root", ltr, "--json").stdout)
    assert (told["splits"], told["absent"]) == (["train"], None)
    assert told["state"]["rank.train"] == "not here"
    (ltr / "rank.train").write_text("not the true file")
    told = json.loads(run("info", "libsvm", "--root", ltr, "--check", "--json").stdout)
    assert told["state"]["rank.train"].startswith("differs: ")
    shown = run("info", "libsvm", "--root", ltr).stdout
    assert "MIT" in shown
    assert "arXiv 1306.2597" in shown
    assert "not here" in run("info", "qilin").stdout
    assert run("info", "nope").exit_code == 4
    assert run("info", "libsvm", "--root", ltr / "none").exit_code in (4, 5)


def test_info_and_sample_of_the_true_toy_rows(data_root: Path) -> None:
    if not (data_root / "qilin_toy").is_dir():
        pytest.skip(f"no qilin_toy in {data_root}: set WHOLEPAGE_DATA to a folder that holds it")
    told = json.loads(run("info", "qilin", "--json", WHOLEPAGE_DATA=str(data_root)).stdout)
    assert told["splits"] == ["search_train", "search_test", "recommendation_train", "recommendation_test", "dqa"]
    assert "2503.00501" in told["cite"]
    how = ("--option", "missing=name", "--option", "pool=simulated", "--option", "most=[2, 0, 1]", "--split", "dqa")
    said = run("sample", "qilin", "-n", 5, *how, "--json", WHOLEPAGE_DATA=str(data_root))
    pages = json.loads(said.stdout)["pages"]
    # Read off the rows by hand: the two longest dwells, and the first note that was passed over.
    assert [(page["query"]["query_id"], page["grades"]) for page in pages] == [
        ("4638", {"32410": 0.0, "1961579": 2.0, "1953914": 2.0}),
        ("2278", {"1955857": 2.0, "30073": 0.0, "1964623": 2.0}),
    ]


def test_sample_shows_pages_grades_and_licence(ltr: Path) -> None:
    said = run("sample", "libsvm", "-n", 1, "--root", ltr)
    assert said.exit_code == 0
    assert "result 1" in said.stdout
    assert "licence: " in said.stderr
    assert "cite: " in said.stderr
    told = json.loads(run("sample", "libsvm", "-n", 5, "--root", ltr, "--json").stdout)
    assert [page["grades"] for page in told["pages"]] == [{"1": 2.0, "2": 0.0}, {"3": 1.0}]
    assert told["licence"]
    (ltr / "train.txt").write_text(LTR + "x qid:3 1:1\n")
    assert run("sample", "libsvm", "-n", 1, "--root", ltr).exit_code == 0, "only what is shown is read"
    broken = run("sample", "libsvm", "-n", 9, "--root", ltr)
    assert (broken.exit_code, "train.txt:4: label" in broken.stderr) == (5, True)
    assert run("sample", "libsvm", "--root", ltr, "--option", "broken").exit_code == 5
    assert run("sample", "synthetic", "-n", 1, "--option", "queries=3", "--json").exit_code == 0


def test_info_checks_packed_files_by_what_is_in_them(data_root: Path) -> None:
    if not (data_root / "ltr_lightgbm").is_dir():
        pytest.skip(f"no ltr_lightgbm in {data_root}: set WHOLEPAGE_DATA to a folder that holds it")
    told = json.loads(run("info", "libsvm", "--check", "--json", WHOLEPAGE_DATA=str(data_root)).stdout)
    assert set(told["state"].values()) == {"packed here, checksum right"}


def test_a_sample_is_files_that_the_other_commands_read(tmp_path: Path) -> None:
    how = ("--option", "queries=6", "--option", 'modalities=["text", "answer"]')
    said = run("sample", "synthetic", "-n", 3, *how, "--out", tmp_path / "kept")
    assert said.exit_code == 0, said.stderr
    assert "3 pages" in said.stdout
    pages = list(read_pages(tmp_path / "kept/pages.jsonl"))
    whole = list(open_collection("synthetic", queries=6, modalities=("text", "answer")).pages("train"))
    assert pages == whole[:3]
    judged = read_judgments(tmp_path / "kept/judgments.jsonl")
    assert set(judged.query_ids) == {page.query_id for page in pages}
    about = json.loads((tmp_path / "kept/about.json").read_text())
    assert about["licence"]
    assert about["cite"]
    assert about["split"] == "train"
    orders = tmp_path / "orders.jsonl"
    write_rankings(orders, by_score(BM25Scorer()).rank(pages))
    command = ["evaluate", str(orders), str(tmp_path / "kept/judgments.jsonl"), "--json"]
    assert CliRunner().invoke(app, command).exit_code == 0
    told = json.loads(run("sample", "synthetic", "-n", 3, *how, "--out", tmp_path / "kept", "--json").stdout)
    assert told["written"] == {"pages": 3, "judgments": len(judged)}
    assert run("sample", "synthetic", "-n", 1, "--out", orders).exit_code == 5
    wrong = run("sample", "synthetic", "--split", "test")
    assert (wrong.exit_code, wrong.stderr.count("got split 'test'; allowed: train, dev")) == (5, 1)


def test_a_sample_keeps_judgments_of_results_that_are_on_no_page(data_root: Path, tmp_path: Path) -> None:
    said = run("sample", "trec_dl", "-n", 1, "--out", tmp_path, WHOLEPAGE_DATA=str(data_root))
    if said.exit_code == 4:
        pytest.skip(f"no trec_dl in {data_root}: set WHOLEPAGE_DATA to a folder that holds it")
    (page,) = read_pages(tmp_path / "pages.jsonl")
    judged = read_judgments(tmp_path / "judgments.jsonl")
    assert judged.query_ids == (page.query_id,)
    assert not set(judged.by_result(page.query_id)) <= set(page.result_ids)
    assert {one.who for one in judged.grades(page.query_id)} == {"nist"}


def test_texts_are_shown_as_they_are(tmp_path: Path) -> None:
    text = "see [/b] and [red]this[/red] \x1b[31mhere"
    pages = tmp_path / "pages.jsonl"
    write_pages(pages, [Page(Query("q", text), (Result("a", Modality.TEXT, text),))])
    said = run("sample", "jsonl", "--root", pages, "--split", "all")
    assert said.exit_code == 0, said.output
    assert said.stdout.count("see [/b] and [red]this[/red]  [31mhere".replace("  ", " ")) == 2
    assert "\x1b" not in said.stdout


def test_info_finds_files_where_the_collection_lies(tmp_path: Path) -> None:
    (tmp_path / "libsvm").mkdir()
    (tmp_path / "libsvm/train.txt").write_text(LTR)
    (tmp_path / "libsvm/rank.test").write_text("not the true file")
    (tmp_path / "libsvm/rank.train.gz").write_bytes(b"packed")
    told = json.loads(run("info", "libsvm", "--check", "--json", WHOLEPAGE_DATA=str(tmp_path)).stdout)
    assert told["state"]["rank.test"].startswith("differs: ")
    assert "broken gzip" in told["state"]["rank.train"]
    assert told["state"]["rank.test.query"] == "not here"
    assert "--option dataset=..." in run("info", "ir_datasets").stdout


def test_get_fetches_what_the_licence_allows(tmp_path: Path) -> None:
    source = tmp_path / "train.txt"
    source.write_text(LTR)
    digest = hashlib.sha256(LTR.encode()).hexdigest()
    manifest = tmp_path / "files.json"
    manifest.write_text(json.dumps([{"path": "in/train.txt", "url": source.as_uri(), "sha256": digest}]))
    said = run("get", "libsvm", "--to", tmp_path / "to", "--manifest", manifest)
    assert said.exit_code == 0, said.stderr
    assert "fetched" in said.stdout
    assert "licence: " in said.stderr
    assert (tmp_path / "to/in/train.txt").read_text() == LTR
    again = json.loads(run("get", "libsvm", "--to", tmp_path / "to", "--manifest", manifest, "--json").stdout)
    assert again["got"] == [{"path": "in/train.txt", "state": "there already", "sha256": digest}]
    (tmp_path / "to/in/train.txt").write_text("changed")
    assert run("get", "libsvm", "--to", tmp_path / "to", "--manifest", manifest).exit_code == 5


def test_get_refuses_what_the_licence_does_not_allow(tmp_path: Path) -> None:
    manifest = tmp_path / "files.json"
    manifest.write_text("[]")
    asked = run("get", "baidu_ultr", "--to", tmp_path, "--accept-licence", "--manifest", manifest)
    assert (asked.exit_code, "by hand" in asked.stderr) == (5, True)
    unread = run("get", "inquire", "--to", tmp_path, "--manifest", manifest)
    assert (unread.exit_code, "--accept-licence" in unread.stderr) == (5, True)
    unknown = run("get", "inquire", "--to", tmp_path, "--accept-licence")
    assert (unknown.exit_code, "hf download" in unknown.stderr) == (5, True)
    assert run("get", "synthetic", "--to", tmp_path).exit_code == 5
    assert [path.name for path in tmp_path.iterdir()] == ["files.json"]


def test_the_guide_names_every_collection() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/collections.md").read_text(encoding="utf-8")
    rows = " ".join(line.split("|")[1] for line in guide.splitlines() if line.startswith("| `"))
    assert sorted(set(re.findall(r"`(\w+)`", rows))) == list(NAMES)
