"""``wholepage batch``: the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wholepage.apps.batch import job as batch_job
from wholepage.apps.batch.plan import Settings
from wholepage.apps.cli import app
from wholepage.pages.errors import InputError

from .made import pages, write_jsonl
from .object_store import object_store

RUN = CliRunner()


def test_the_command_ranks_and_tells(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(30))
    out = tmp_path / "out"
    said = RUN.invoke(app, ["batch", "rank", source, "-m", "bm25", "-o", str(out), "-w", "0", "--json"])
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert (told["rows"], told["written"], told["shards_done"], told["workers_lost"]) == (30, 30, 1, 0)
    assert told["output_sha256"] == json.loads((out / "_SUCCESS").read_text())["output_sha256"]
    assert "a second, by bm25" in said.stderr
    again = RUN.invoke(app, ["batch", "rank", source, "-m", "bm25", "-o", str(out), "-w", "0"])
    assert "nothing was left to do" in again.stderr
    assert again.stdout == ""


def test_vectors_come_as_parquet_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Settings] = []

    def refused(inputs: list[str], out: str, settings: Settings, engine: object, **more: object) -> None:
        asked.append(settings)
        raise InputError("enough")

    monkeypatch.setattr(batch_job, "run_batch", refused)
    for task, extra in (("rank", []), ("score", []), ("encode", []), ("encode", ["--format", "jsonl"])):
        RUN.invoke(app, ["batch", task, "x.jsonl", "-o", "out", *extra])
    assert [one.format for one in asked] == ["jsonl", "jsonl", "parquet", "jsonl"]


def test_keys_in_an_address_are_not_printed(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(5))
    with object_store() as store:
        address = store.address("lake/out")
        said = RUN.invoke(app, ["batch", "rank", source, "-m", "bm25", "-o", address, "-w", "0", "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["output"] == "s3://lake/out"
    assert "secret" in address
    assert "secret" not in said.output


def test_rows_left_out_are_loud(tmp_path: Path) -> None:
    source = Path(write_jsonl(tmp_path / "pages.jsonl", pages(3)))
    source.write_bytes(source.read_bytes() + b"{}\n")
    asked = ["batch", "score", str(source), "-m", "bm25", "-w", "0", "-o"]
    skipped = RUN.invoke(app, [*asked, str(tmp_path / "a"), "--on-error", "skip"])
    assert skipped.exit_code == 0
    assert "WARNING: 1 of 4 rows could not be used" in skipped.stderr
    stopped = RUN.invoke(app, [*asked, str(tmp_path / "b")])
    assert stopped.exit_code == 5
    assert "pages.jsonl:4" in stopped.stderr


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(3))
    asked = ["batch", "rank", source, "-m", "bm25", "-o", str(tmp_path / "out")]
    for extra, code in ((["--gpus", "1"], 5), (["--ray", "local", "-w", "0"], 5), (["-m", "no/model", "-w", "0"], 4)):
        assert RUN.invoke(app, [*asked, *extra]).exit_code == code
    assert RUN.invoke(app, ["batch", "rank", str(tmp_path / "none.jsonl"), "-o", "x"]).exit_code == 4
