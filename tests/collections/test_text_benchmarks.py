"""BEIR folders and ir_datasets: the same small set in both, through the library itself where it is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from wholepage.collections import open_collection
from wholepage.collections.beir_folder import BeirFolder
from wholepage.collections.ir_datasets_lists import IrDatasetsLists
from wholepage.pages import Collection, InputError, MissingExtra, RecordError
from wholepage.pages.beir import read_beir

TEXTS = {"d1": "ink and paper", "d2": "cats", "d3": "more ink"}
ASKED = {"q1": "what is ink", "q2": "cats", "q3": "nothing"}
GRADES = [("q1", "d1", 2), ("q1", "d3", 1), ("q2", "d2", 1)]


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir/small"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": i, "text": t, "title": "", "metadata": {}} for i, t in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in ASKED.items()))
    table = "".join(f"{q}\t{d}\t{g}\n" for q, d, g in GRADES)
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + table)
    return tmp_path


def test_a_beir_folder(beir: Path) -> None:
    collection = open_collection("beir", beir, dataset="small")
    assert isinstance(collection, Collection)
    assert collection.splits() == ("test",)  # type: ignore[attr-defined]
    assert [(p.query_id, p.result_ids) for p in collection.pages("test")] == [("q1", ("d1", "d3")), ("q2", ("d2",))]
    assert collection.judgments("test").by_result("q1") == {"d1": 2.0, "d3": 1.0}
    (beir / "run.txt").write_text("q1 Q0 d2 1 2.0 x\nq1 Q0 d1 2 1.0 x\n")
    (page,) = BeirFolder(beir / "beir/small", run=beir / "run.txt", depth=1).pages("test")
    assert page.result_ids == ("d2",)
    for run in (None, beir / "run.txt"):
        of = BeirFolder(beir / "beir/small", run=run)
        assert (list(of.pages("test")), of.judgments("test")) == read_beir(beir / "beir/small", "test", run)
    (beir / "run.txt").write_text("q1 Q0 d9 1 2.0 x\n")
    with pytest.raises(RecordError, match=r"corpus.jsonl: _id: got no \['d9'\]"):
        list(BeirFolder(beir / "beir/small", run=beir / "run.txt").pages("test"))
    for wrong in ({"dataset": "large"}, {}):
        with pytest.raises(InputError, match="does not hold it"):
            BeirFolder(beir, **wrong)
    with pytest.raises(InputError, match="got split 'train'"):
        list(BeirFolder(beir / "beir/small").pages("train"))
    (beir / "beir/small/corpus.jsonl").write_text('{"_id": "d1"}\n')
    with pytest.raises(RecordError, match=r"corpus.jsonl:1: text"):
        list(BeirFolder(beir / "beir/small").pages("test"))


class Doc(NamedTuple):
    doc_id: str
    text: str


class Asked(NamedTuple):
    query_id: str
    text: str


class Qrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int
    iteration: str = "0"


class Scored(NamedTuple):
    query_id: str
    doc_id: str
    score: float


class Double:
    """A set as the library shows it."""

    def __init__(self, path: Path, scored: list[Scored] | None = None, grades: list[Any] | None = None) -> None:
        self.path, self.scored, self.grades = path, scored, grades if grades is not None else GRADES

    def has_docs(self) -> bool:
        return True

    has_queries = has_docs

    def has_qrels(self) -> bool:
        return bool(self.grades)

    def has_scoreddocs(self) -> bool:
        return self.scored is not None

    def docs_path(self, force: bool = True) -> str:
        assert not force, "asking for a path must not fetch"
        return str(self.path)

    def docs_store(self) -> Any:
        return SimpleNamespace(get_many=lambda ids: {i: Doc(i, TEXTS[i]) for i in ids if i in TEXTS})

    def queries_iter(self) -> Iterator[Asked]:
        return (Asked(i, t) for i, t in ASKED.items())

    def qrels_iter(self) -> Iterator[Qrel]:
        return (Qrel(*one) for one in self.grades)

    def scoreddocs_iter(self) -> Iterator[Scored]:
        return iter(self.scored or ())


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Double]:
    """What the double of the library knows."""
    known: dict[str, Double] = {}
    library = ModuleType("ir_datasets")
    library.load = lambda name: known[name]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ir_datasets", library)
    return known


def test_ir_datasets_without_a_first_stage(sets: dict[str, Double], tmp_path: Path) -> None:
    sets["small"] = Double(tmp_path)
    collection = open_collection("ir_datasets", dataset="small")
    assert isinstance(collection, Collection)
    pages = list(collection.pages("all"))
    assert [(p.query_id, p.query.text, p.result_ids) for p in pages] == [
        ("q1", "what is ink", ("d1", "d3")), ("q2", "cats", ("d2",)),
    ]  # fmt: skip
    assert pages[0].results[0].text == "ink and paper"
    assert collection.judgments("all").by_result("q1") == {"d1": 2.0, "d3": 1.0}
    with pytest.raises(InputError, match="name the part in dataset"):
        list(collection.pages("test"))


def test_ir_datasets_with_a_first_stage_or_a_run(sets: dict[str, Double], tmp_path: Path) -> None:
    rows = [Scored("q2", "d1", 1.0), Scored("q1", "d3", 0.5), Scored("q2", "d2", 7.0), Scored("q2", "d3", 4.0)]
    sets["small"] = Double(tmp_path, rows)
    pages = list(IrDatasetsLists(dataset="small", depth=2).pages())
    assert [(p.query_id, p.result_ids) for p in pages] == [("q1", ("d3",)), ("q2", ("d2", "d3"))]
    (tmp_path / "run.txt").write_text("q3 Q0 d2 1 2.0 x\n")
    assert [p.result_ids for p in IrDatasetsLists(dataset="small", run=tmp_path / "run.txt").pages()] == [("d2",)]
    (tmp_path / "run.txt").write_text("q3 Q0 d9 1 2.0 x\n")
    with pytest.raises(RecordError, match=r"doc_id: got \['d9'\]"):
        list(IrDatasetsLists(dataset="small", run=tmp_path / "run.txt").pages())


def test_ir_datasets_fetches_only_when_it_may(sets: dict[str, Double], tmp_path: Path) -> None:
    sets["away"] = Double(tmp_path / "not there")
    with pytest.raises(InputError, match='pass download="allow"'):
        IrDatasetsLists(dataset="away")
    assert len(list(IrDatasetsLists(dataset="away", download="allow").pages())) == 2
    with pytest.raises(InputError, match="got 'nope'"):
        IrDatasetsLists(dataset="nope")
    sets["junk"] = Double(tmp_path, grades=[("q1", "d1", -2)])
    with pytest.raises(RecordError, match="relevance: got -2"):
        IrDatasetsLists(dataset="junk").judgments()
    assert IrDatasetsLists(dataset="junk", negative="zero").judgments().by_result("q1") == {"d1": 0.0}


def test_ir_datasets_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingExtra, match="collections"):
        IrDatasetsLists(dataset="beir/scifact/test")


def test_the_library_itself_on_files_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    library = pytest.importorskip("ir_datasets", reason="the library ir_datasets is not installed")
    (tmp_path / "docs.tsv").write_text("".join(f"{i}\t{t}\n" for i, t in TEXTS.items()))
    (tmp_path / "queries.tsv").write_text("".join(f"{i}\t{t}\n" for i, t in ASKED.items()))
    (tmp_path / "qrels.txt").write_text("".join(f"{q} 0 {d} {g}\n" for q, d, g in GRADES))
    made = library.create_dataset(
        str(tmp_path / "docs.tsv"), str(tmp_path / "queries.tsv"), str(tmp_path / "qrels.txt")
    )
    monkeypatch.setattr(library, "load", lambda name: made)
    collection = IrDatasetsLists(dataset="mine")
    assert [(p.query_id, p.result_ids) for p in collection.pages()] == [("q1", ("d1", "d3")), ("q2", ("d2",))]
    assert collection.judgments().by_result("q1") == {"d1": 2.0, "d3": 1.0}
