"""The command line: every command, its exit codes, and help that teaches."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from typer.testing import CliRunner, Result

import wholepage
from wholepage.apps import exits
from wholepage.apps.cli import app
from wholepage.apps.places import NotFound
from wholepage.pages import errors
from wholepage.pages.records import read_pages, read_rankings, read_run

ROOT = Path(__file__).parents[2]
COMMANDS = (
    ["ab"], ["ab", "analyse"], ["ab", "power"], ["ab", "simulate"], ["batch"], ["collection"],
    ["collection", "get"], ["collection", "info"], ["collection", "list"], ["collection", "sample"], ["compare"],
    ["demo"], ["evaluate"], ["plan"], ["rank"], ["select"], ["serve"], ["study"], ["train"], ["train", "smar"],
)  # fmt: skip
PAGES = [
    ("q1", "red shoes", {"a": "light red shoes", "b": "a pot of soup", "c": "blue boots", "d": "shoes in red"}),
    ("q2", "lentil soup", {"e": "football results", "f": "soup of red lentils", "g": "lentils grow here"}),
    ("q3", "tax law", {"h": "the law of taxes", "i": "a dog sleeps"}),
]
GRADES = {"q1": {"a": 3, "b": 0, "c": 1, "d": 3}, "q2": {"e": 0, "f": 3, "g": 1}, "q3": {"h": 2, "i": 0}}


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", "WHOLEPAGE_DATA": ""})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHOLEPAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    def page(query_id: str, text: str, results: dict[str, str]) -> dict[str, Any]:
        shown = [{"result_id": i, "modality": "answer" if i == "d" else "text", "text": t} for i, t in results.items()]
        return {"query": {"query_id": query_id, "text": text}, "results": shown}

    (tmp_path / "pages.jsonl").write_text("".join(json.dumps(page(*one)) + "\n" for one in PAGES))
    return tmp_path / "pages.jsonl"


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    (tmp_path / "qrels.txt").write_text("".join(f"{q} 0 {r} {g}\n" for q, of in GRADES.items() for r, g in of.items()))
    return tmp_path / "qrels.txt"


# --- help, version, exit codes ----------------------------------------------------------------------------------------


def test_help_names_every_command_and_exit_code() -> None:
    said = run("--help")
    assert said.exit_code == 0
    for command in ("demo", "rank", "train", "evaluate", "compare"):
        assert re.search(rf"\b{command}\b", said.stdout)
    for code, meaning in exits.MEANINGS.items():
        assert f"{code}  {meaning}" in said.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_teaches_with_an_example(command: list[str]) -> None:
    said = run(*command, "--help")
    assert said.exit_code == 0
    if command not in (["ab"], ["collection"], ["train"]):
        assert f"Example: wholepage {' '.join(command)} " in said.stdout
    assert all(len(line) <= 200 for line in said.stdout.splitlines())


def test_version_and_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wholepage", "--version"],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"wholepage {wholepage.__version__}\n"), done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.MissingExtra("x"), 3),
        (NotFound("x"), 4),
        (FileNotFoundError("x"), 4),
        (errors.InputError("x"), 5),
        (errors.RecordError("f", 1, "x", "a", "b", "c"), 5),
        (errors.PageError("x"), 5),
        (errors.ShapeError("x"), 5),
        (errors.NoRanker("x"), 5),
        (errors.ImageError("u", "missing", "x"), 5),
        (errors.WeightsError("x"), 6),
        (errors.DecodingError("x"), 6),
        (errors.WorkerLost("x"), 6),
        (errors.EndpointError("x", reason="busy"), 6),
        (errors.BudgetSpent("x"), 7),
        (errors.StoreError("x"), 8),
        (errors.ChainBroken(3, "hash", "x"), 8),
        (errors.SignInRefused("x"), 5),
        (PermissionError("x"), 1),
    ],
)
def test_every_error_has_its_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exits.exit_code(error) == code
    assert code in exits.MEANINGS
    with pytest.raises(SystemExit) as ended, exits.reported():
        raise error
    assert ended.value.code == code
    assert capsys.readouterr().err == f"error: {error}\n"
    monkeypatch.setenv("WHOLEPAGE_DEBUG", "1")
    with pytest.raises(type(error)), exits.reported():
        raise error


def test_every_named_error_is_mapped() -> None:
    named = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    for kind in named:
        if kind is not errors.WholepageError:
            assert exits.exit_code(kind.__new__(kind)) > 2, kind


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "wholepage", "collection", "list", "--json"],
        stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), exits.reported():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "args", [["rerank"], ["rank"], ["rank", "--nope", "x"], ["rank", "x", "-k", "0"], ["train", "x"]]
)
def test_wrong_command_line_is_2(args: list[str]) -> None:
    assert run(*args).exit_code == 2


@pytest.mark.parametrize(
    "args",
    [
        ["rank", "gone.jsonl"],
        ["evaluate", "gone.jsonl", "gone.qrels"],
        ["compare", "opencqa"],
        ["compare", "no-such-collection"],
        ["train", "smar", "gone.jsonl", "--out", "model"],
    ],
)
def test_what_is_not_there_is_4(args: list[str]) -> None:
    said = run(*args)
    assert said.exit_code == 4, said.output
    assert said.stderr.startswith("error: ")
    assert said.stdout == ""


# --- rank -------------------------------------------------------------------------------------------------------------


def test_rank_writes_rankings_on_stdout_and_says_who_ranked(pages: Path, tmp_path: Path) -> None:
    said = run("rank", pages)
    assert said.exit_code == 0, said.output
    assert "no --model given; ranked by the offline default: single-modal rankers merged by z-score" in said.stderr
    (tmp_path / "read.jsonl").write_text(said.stdout)
    rankings = list(read_rankings(tmp_path / "read.jsonl"))
    assert [r.query_id for r in rankings] == ["q1", "q2", "q3"]
    for page, ranking in zip(read_pages(pages), rankings, strict=True):
        ranking.check(page)
    assert rankings[1].result_ids[0] == "f"
    found = wholepage.rerank("lentil soup", [{"id": i, "text": t} for i, t in PAGES[1][2].items()])
    assert [one["id"] for one in found] == list(rankings[1].result_ids)  # both doors, one answer
    assert [one["score"] for one in found] == pytest.approx(list(rankings[1].scores or ()), abs=1e-5)


def test_rank_to_a_file_whole_or_not_at_all(pages: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run.trec"
    said = run("rank", pages, "-o", out, "--format", "trec", "--top-k", "2")
    assert said.exit_code == 0, said.output
    assert said.stdout == ""
    found = read_run(out)
    assert [len(ranking) for ranking in found] == [2, 2, 2]
    assert found[0].by == "wholepage-offline"
    before = out.read_bytes()
    with pages.open("a") as more:
        more.write("{}\n")
    assert run("rank", pages, "-o", out).exit_code == 5
    assert out.read_bytes() == before
    assert [p.name for p in out.parent.iterdir()] == ["run.trec"]


# --- evaluate ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[Path, Path]:
    """One in the order of the grades, one in the opposite order."""
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.run"
    ordered = {q: sorted(of, key=lambda r, of=of: (-of[r], r)) for q, of in GRADES.items()}
    good.write_text("".join(json.dumps({"query_id": q, "result_ids": ids}) + "\n" for q, ids in ordered.items()))
    lines = [f"{q} Q0 {r} {n} {-n} bad" for q, ids in ordered.items() for n, r in enumerate(reversed(ids), start=1)]
    bad.write_text("\n".join(lines) + "\n")
    return good, bad


def test_evaluate_says_what_ir_measures_says(two_runs: tuple[Path, Path], qrels: Path, pages: Path) -> None:
    good, bad = two_runs
    said = run("evaluate", good, qrels, bad, "-m", "nDCG@10", "-m", "RR@10", "--pages", pages, "--json")
    assert said.exit_code == 0, said.output
    found = {Path(row["run"]).name: row for row in json.loads(said.stdout)["runs"]}
    measures = [ir_measures.nDCG @ 10, ir_measures.RR @ 10]
    # the two results of grade 3 in q1 are alike, so their tie in the made-up scores cannot matter
    reversed_run = [ir_measures.ScoredDoc(q, r, float(-GRADES[q][r])) for q in GRADES for r in GRADES[q]]
    expected = ir_measures.calc_aggregate(measures, list(ir_measures.read_trec_qrels(str(qrels))), reversed_run)
    for measure in measures:
        assert found["good.jsonl"]["measures"][str(measure)]["mean"] == pytest.approx(1.0)
        cell = found["bad.run"]["measures"][str(measure)]
        assert cell["mean"] == pytest.approx(expected[measure], abs=1e-6)
        assert cell["low"] <= cell["mean"] <= cell["high"]
        assert cell["queries"] == 3
        against = found["bad.run"]["against_first"][str(measure)]
        assert against["difference"] == pytest.approx(expected[measure] - 1.0, abs=1e-6)
        assert against["p_holm"] == pytest.approx(0.25)  # 3 queries, all lower: 2 of the 8 ways are as far from 0
    assert found["good.jsonl"]["measures"]["PairAccuracy"]["mean"] == 1.0
    assert found["bad.run"]["measures"]["PairAccuracy"]["mean"] == 0.0
    cross = found["bad.run"]["measures"]["PairAccuracy(cross)"]
    assert (cross["mean"], cross["low"], cross["queries"]) == (0.0, None, 1)  # one query: no interval
    assert found["good.jsonl"]["against_first"] == {}


def test_evaluate_prints_a_table_for_each_measure(two_runs: tuple[Path, Path], qrels: Path) -> None:
    said = run("evaluate", two_runs[0], qrels, two_runs[1], "-m", "nDCG@10", "-m", "P@1")
    assert said.exit_code == 0, said.output
    for part in ("nDCG@10", "P@1", "good.jsonl", "bad.run", "1.0000", "95 %", "p (Holm)", "0.2500"):
        assert part in said.stdout


def test_evaluate_refuses(two_runs: tuple[Path, Path], qrels: Path, tmp_path: Path) -> None:
    good, _ = two_runs
    assert run("evaluate", good, qrels, "-m", "nDCG@0").exit_code == 5
    assert run("evaluate", good, qrels, good).exit_code == 5
    with good.open("a") as more:
        more.write('{"query_id": "q9", "result_ids": ["z"]}\n')
    said = run("evaluate", good, qrels)
    assert said.exit_code == 5
    assert "q9" in said.stderr
    kept = run("evaluate", good, qrels, "--skip-unjudged", "--json")
    assert json.loads(kept.stdout)["runs"][0]["measures"]["nDCG@10"]["queries"] == 3


def test_one_query_has_no_interval(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"query_id": "q1", "result_ids": ["b", "a"]}\n')
    (tmp_path / "j.jsonl").write_text('{"query_id": "q1", "result_id": "a", "grade": 1}\n')
    said = run("evaluate", tmp_path / "r.jsonl", tmp_path / "j.jsonl", "--json")
    cell = json.loads(said.stdout)["runs"][0]["measures"]["nDCG@10"]
    assert cell == {"mean": pytest.approx(1 / math.log2(3), abs=1e-6), "low": None, "high": None, "queries": 1}
