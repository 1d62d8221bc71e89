"""``wholepage evaluate``: page measures beside those of lists, reports in three formats, names and costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from wholepage.apps.cli import app
from wholepage.apps.evaluation_costs import read_costs
from wholepage.apps.evaluation_outputs import ranker_names
from wholepage.apps.places import NotFound
from wholepage.evaluation.page.registry import evaluate_page_measures
from wholepage.evaluation.report_cost import LabelCost
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.records import read_judgments, read_pages, read_rankings

GRADES = {f"q{q}": {"a": q % 4, "b": 0, "c": (q + 1) % 4, "d": (q * q) % 3} for q in range(6)}


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    """Pages with pictures, judgments, and two runs: by grade, and the other way round."""
    Image.new("RGB", (30, 30), "green").save(tmp_path / "green.png")
    pages, said, good, bad = [], [], [], []
    for query, grades in GRADES.items():
        shown = [{"result_id": i, "modality": "text", "text": f"text {i}"} for i in "ab"]
        shown += [{"result_id": "c", "modality": "image", "images": [{"uri": "green.png"}]}]
        shown += [{"result_id": "d", "modality": "image", "images": [{"uri": "gone.png"}]}]
        pages.append({"query": {"query_id": query, "text": f"asked {query}"}, "results": shown})
        said += [{"query_id": query, "result_id": i, "grade": g} for i, g in grades.items()]
        order = sorted(grades, key=lambda i, of=grades: (-of[i], i))  # type: ignore[misc]
        good.append({"query_id": query, "result_ids": order, "scores": [4.0, 3.0, 2.0, 1.0]})
        bad.append({"query_id": query, "result_ids": order[::-1], "scores": [4.0, 3.0, 2.0, 1.0]})
    for name, rows in (("pages", pages), ("said", said), ("good", good), ("bad", bad)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def run(folder: Path, *more: object) -> Result:
    given = ["bad.jsonl", "said.jsonl", "good.jsonl", "--pages", "pages.jsonl"]
    args = [str(folder / one) if one.endswith(".jsonl") else one for one in given] + [str(one) for one in more]
    return CliRunner().invoke(app, ["evaluate", *args], env={"COLUMNS": "200"})


def test_page_measures_stand_beside_those_of_lists(ground: Path) -> None:
    done = run(ground, "-m", "nDCG@10", "-m", "BlockNDCG(gain=mean)@10", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["runs"]
    assert [Path(row["run"]).name for row in rows] == ["bad.jsonl", "good.jsonl"]
    assert list(rows[0]["measures"])[:2] == ["nDCG@10", "BlockNDCG(gain=mean)@10"]
    assert set(rows[0]) == {"run", "measures", "against_first"}
    alone = evaluate_page_measures(
        read_rankings(ground / "good.jsonl"),
        read_pages(ground / "pages.jsonl"),
        read_judgments(ground / "said.jsonl"),
        ["BlockNDCG(gain=mean)@10"],
    )
    assert rows[1]["measures"]["BlockNDCG(gain=mean)@10"]["mean"] == pytest.approx(alone.means().popitem()[1])
    assert rows[1]["measures"]["PairAccuracy"]["mean"] == 1.0


def test_a_page_measure_needs_pages(ground: Path) -> None:
    args = ["evaluate", str(ground / "good.jsonl"), str(ground / "said.jsonl"), "-m", "BlockNDCG@10"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 5
    assert "--pages" in done.stderr


def test_the_report_is_written_in_three_formats_and_the_same_twice(ground: Path) -> None:
    files = {"--report": "r.html", "--latex": "t.tex", "--markdown": "t.md"}
    made = []
    for seed in ("1", "2"):
        given = [part for option, name in files.items() for part in (option, name)]
        command = ["evaluate", "bad.jsonl", "said.jsonl", "good.jsonl", "--pages", "pages.jsonl", *given]
        done = subprocess.run(
            [sys.executable, "-m", "wholepage", *command, "--cost", "good=12", "--remark", "in May"],
            cwd=ground,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.returncode == 0, done.stderr
        made.append([(ground / name).read_bytes() for name in files.values()])
    assert made[0] == made[1]
    written = made[0][0].decode()
    for said in ("data:image/webp;base64,", "its file is missing", "in May", "sha256", "wholepage evaluate bad.jsonl"):
        assert said in written
    assert str(ground) not in written
    assert made[0][1].decode().startswith("\\begin{table}")
    assert made[0][2].decode().startswith("# Evaluation")


def test_rankers_are_called_after_their_files() -> None:
    assert ranker_names([Path("a/smar.jsonl.gz"), Path("b/z.v2.run")]) == ["smar", "z.v2"]
    assert ranker_names([Path("a/run.jsonl"), Path("b/run.jsonl")]) == ["a/run", "b/run"]
    assert ranker_names([Path("x/a/run.jsonl"), Path("y/a/run.jsonl")]) == ["x/a/run", "y/a/run"]
    assert ranker_names([Path("run.jsonl"), Path("run.trec")]) == ["run.jsonl", "run.trec"]
    with pytest.raises(InputError, match="each file once"):
        ranker_names([Path("a.jsonl"), Path("a.jsonl")])


def test_costs_come_from_numbers_and_ledgers(tmp_path: Path) -> None:
    ledger = {"questions": 120, "seconds": 7200.0, "money": 40.0, "saving": {"full": 600, "share": 0.8}, "more": 1}
    (tmp_path / "status.json").write_text(json.dumps({"campaign": "c", "ledger": ledger}))
    (tmp_path / "bought.json").write_text(json.dumps({"labels": 7, "strategy": "top(p=0.1)", "weights": {}}))
    told = read_costs([f"a={tmp_path}", f"b={tmp_path / 'bought.json'}", "c=d=1,200"], ["a", "b", "c", "c=d"])
    assert told["a"] == LabelCost(120, 2.0, 40.0, 600, "campaign's ledger")
    assert told["b"] == LabelCost(7, source="top(p=0.1)")
    assert told["c=d"].labels == 1200
    (tmp_path / "status.json").write_text("[]")
    with pytest.raises(RecordError, match=r"status\.json"):
        read_costs([f"a={tmp_path}"], ["a"])
    with pytest.raises(NotFound, match="neither"):
        read_costs(["a=-3"], ["a"])
    with pytest.raises(InputError, match="twice"):
        read_costs(["a=3", "a=4"], ["a"])
    with pytest.raises(InputError, match="one of a"):
        read_costs(["b=3"], ["a"])
