"""A job: what it writes, that it is the same however it is done, how it goes on, and what it refuses."""

from __future__ import annotations

import errno
import shutil
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from wholepage.apps.batch import processes, work
from wholepage.apps.batch import shards as shards_module
from wholepage.apps.batch.messages import Told
from wholepage.apps.batch.outputs import Hashed
from wholepage.apps.batch.places import place_of
from wholepage.apps.batch.plan import Opened, Settings, Shard, planned
from wholepage.apps.batch.processes import InProcess, Processes
from wholepage.apps.batch.shards import Order, ShardWork
from wholepage.apps.batch.work import EncodePages, OneModality, RankPages, Record
from wholepage.apps.places import NotFound
from wholepage.pages.errors import DecodingError, InputError, PageError, RecordError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.pages.protocols import by_score
from wholepage.rankers.bm25 import BM25Scorer
from wholepage.rankers.matching import ResultVectors

from .made import files, job, pages, records, settings, write_jsonl, write_parquet


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_jsonl(tmp_path / "pages.jsonl", pages(70))


def test_ranks_as_the_ranker_itself_does(source: str, tmp_path: Path) -> None:
    run = job(source, tmp_path / "out")
    direct = by_score(BM25Scorer()).rank(pages(70))
    assert [msgspec.json.decode(line, type=Ranking) for line in records(tmp_path / "out")] == direct
    assert (run.summary.rows, run.summary.written, run.summary.rejected, run.summary.shards) == (70, 70, 0, 4)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "_SUCCESS", "_done", "_manifest.json", *(f"part-{i:06d}.jsonl" for i in range(4))
    ]  # fmt: skip


def test_every_kind_of_file_holds_the_same_pages(source: str, tmp_path: Path) -> None:
    listed = pages(70)
    job(source, tmp_path / "plain")
    others = [
        write_jsonl(tmp_path / "a.jsonl.gz", listed),
        write_parquet(tmp_path / "b.parquet", listed, rows_of_a_group=33),
        write_parquet(tmp_path / "c.parquet", listed, rows_of_a_group=7, nested=False),
        write_parquet(tmp_path / "d.parquet", listed, rows_of_a_group=70),
    ]
    for other in others:
        job(other, tmp_path / f"of-{Path(other).name}")
        assert records(tmp_path / f"of-{Path(other).name}") == records(tmp_path / "plain")


def test_output_does_not_depend_on_who_does_it(source: str, tmp_path: Path) -> None:
    inside = job(source, tmp_path / "inside")
    alone = job(source, tmp_path / "alone", Processes(1))
    three = job(source, tmp_path / "three", Processes(3))
    assert inside.summary == alone.summary == three.summary
    assert files(tmp_path / "inside") == files(tmp_path / "alone") == files(tmp_path / "three")
    assert len(three.peak_bytes) > 1


def test_goes_on_with_what_is_not_whole(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = job(source, out)
    before = files(out)
    assert job(source, out).shards_done == 0
    (out / "part-000001.jsonl").write_bytes(before["part-000001.jsonl"][:-1])  # cut off
    (out / "_done" / "part-000002.json").unlink()
    (out / "part-000003.jsonl").unlink()
    times = (out / "part-000000.jsonl").stat().st_mtime_ns
    again = job(source, out)
    assert (again.shards_done, again.rows_done, again.summary) == (3, 50, whole.summary)
    assert files(out) == before
    assert (out / "part-000000.jsonl").stat().st_mtime_ns == times


def test_no_success_before_everything_is_there(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"

    class StopsAfterOne(InProcess):
        def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
            super().run(order, shards[:1], told)

    job(source, out)
    (out / "part-000001.jsonl").unlink()
    (out / "part-000002.jsonl").unlink()
    with pytest.raises(InputError, match="no word of part-000002"):
        job(source, out, StopsAfterOne())
    assert not (out / "_SUCCESS").exists()
    assert (out / "part-000001.jsonl").exists()
    assert job(source, out).shards_done == 1


def test_a_folder_holds_one_job(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job(source, out)
    with pytest.raises(InputError, match="top_k None, now 2"):
        job(source, out, top_k=2)
    with open(source, "ab") as file:
        file.write(b'{"query": {"query_id": "new", "text": "x"}, "results": []}\n')
    with pytest.raises(InputError, match=r"the input has changed, first in .*pages\.jsonl"):
        job(source, out)
    with pytest.raises(InputError, match=r"holds 'pages\.jsonl' and no _manifest"):
        job(source, tmp_path)


def test_drafts_of_killed_writers_are_cleared(source: str, tmp_path: Path) -> None:
    draft = tmp_path / "out" / ".0123456789abcdef.tmp"
    draft.parent.mkdir()
    draft.write_bytes(b"half")
    job(source, tmp_path / "out")
    assert not draft.exists()


# --- rows that cannot be used -----------------------------------------------------------------------------------------


def bad_lines() -> list[bytes]:
    good = [msgspec.json.encode(page) for page in pages(6)]
    return [good[0], b"{no json}", good[1], b"", good[2], good[0], good[3], b'{"query": {"query_id": ""}}', good[4]]


def once(lines: Sequence[bytes]) -> list[bytes]:
    return list(dict.fromkeys(lines))


def test_a_bad_row_stops_and_is_named(tmp_path: Path) -> None:
    source = tmp_path / "bad.jsonl"
    source.write_bytes(b"\n".join(once(bad_lines())) + b"\n\n\n")
    with pytest.raises(RecordError, match=r"bad\.jsonl:2: line"):
        job(str(source), tmp_path / "out")
    assert not list((tmp_path / "out").glob("part-*"))
    with pytest.raises(InputError, match=r"bad\.jsonl:2: line"):
        job(str(source), tmp_path / "out", Processes(2))


def test_bad_rows_are_left_out_and_listed(tmp_path: Path) -> None:
    source = tmp_path / "bad.jsonl"
    source.write_bytes(b"\n".join(bad_lines()) + b"\n\n\n")
    run = job(str(source), tmp_path / "out", on_error="skip", shard_rows=100)
    assert (run.summary.rows, run.summary.written, run.summary.rejected) == (9, 5, 4)
    rejects = (tmp_path / "out" / "_rejects" / "part-000000.jsonl").read_bytes().splitlines()
    told = [msgspec.json.decode(line) for line in rejects]
    assert [one["row"] for one in told] == [2, 4, 6, 8]
    assert {one["error"] for one in told} == {"RecordError"}
    assert "already in row 1" in told[2]["message"]
    rejects_file = tmp_path / "out" / "_rejects" / "part-000000.jsonl"
    before = files(tmp_path / "out")
    rejects_file.unlink()
    assert job(str(source), tmp_path / "out", on_error="skip", shard_rows=100).shards_done == 1
    assert files(tmp_path / "out") == before


def test_nothing_usable_is_no_success(tmp_path: Path) -> None:
    source = tmp_path / "bad.jsonl"
    source.write_bytes(b"{}\n[]\n")
    with pytest.raises(InputError, match="no row of 2"):
        job(str(source), tmp_path / "out", on_error="skip")
    assert not (tmp_path / "out" / "_SUCCESS").exists()


class Picky:
    """Refuses whole batches that hold q3 or q5."""

    name = "picky"

    def rank(self, listed: Sequence[Page]) -> list[Ranking]:
        if {"q3", "q5"} & {page.query_id for page in listed}:
            raise PageError("picky: got q3 or q5; allowed: others; drop them")
        return [Ranking(page.query_id, page.result_ids) for page in listed]


def shard_work(source: str, out: Path, given: Settings, does: work.Work) -> tuple[ShardWork, tuple[Shard, ...]]:
    manifest, opened = planned([source], given, "x", lambda done, total, what: None)
    return ShardWork(Order(given, opened, str(out)), does), manifest.shards


def test_only_the_pages_to_blame_are_left_out(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    works, shards = shard_work(source, out, settings(on_error="skip"), RankPages(Picky()))
    seen: list[int] = []
    done = works.do(shards[0], seen.append)
    assert (done.written, done.rejected, seen) == (18, 2, [8, 8, 4])
    rejects = (out / "_rejects" / "part-000000.jsonl").read_bytes().splitlines()
    told = [msgspec.json.decode(line) for line in rejects]
    assert [(one["query_id"], one["row"], one["error"]) for one in told] == [
        ("q3", 4, "PageError"),
        ("q5", 6, "PageError"),
    ]
    stops, shards = shard_work(source, out, settings(), RankPages(Picky()))
    with pytest.raises(RecordError, match=r"pages\.jsonl:4: page: got PageError"):
        stops.do(shards[0], seen.append)


def test_a_picture_that_is_missing_is_an_error_of_its_row(tmp_path: Path) -> None:
    shown = Page(Query("q"), (Result("a", Modality.IMAGE, "a lamp", images=({"uri": "no.png"},)),))  # type: ignore[arg-type]
    (tmp_path / "p.jsonl").write_bytes(msgspec.json.encode(shown) + b"\n")
    with pytest.raises(RecordError, match=r"p\.jsonl:1: page: got ImageError .*missing"):
        job(str(tmp_path / "p.jsonl"), tmp_path / "out")


def test_rejects_of_a_run_that_was_cut_off_do_not_stay(source: str, tmp_path: Path) -> None:
    """What was wrong with a row may be mended before the shard is done again, as when a picture is put in its place."""
    out = tmp_path / "out"
    works, shards = shard_work(source, out, settings(on_error="skip"), RankPages(Picky()))
    works.do(shards[0], lambda rows: None)
    assert (out / "_rejects" / "part-000000.jsonl").exists()
    (out / "_done" / "part-000000.json").unlink()
    works, _ = shard_work(source, out, settings(on_error="skip"), RankPages(OnlyOrders()))
    assert works.do(shards[0], lambda rows: None).rejected == 0
    assert not (out / "_rejects" / "part-000000.jsonl").exists()


def test_a_full_disk_is_told_and_the_job_goes_on_later(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Hashed.write

    def full(self: Hashed, content: bytes) -> int:
        if self.bytes > 2000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, content)

    monkeypatch.setattr(Hashed, "write", full)
    for kind in ("jsonl", "parquet"):
        with pytest.raises(InputError, match=r"part-00000\d in .*: got No space left on device; .*goes on where"):
            job(source, tmp_path / kind, format=kind, shard_rows=70)
        assert not list((tmp_path / kind).glob("*part*"))
        assert not list((tmp_path / kind).glob(".*tmp"))
    monkeypatch.undo()
    assert job(source, tmp_path / "jsonl", format="jsonl", shard_rows=70).summary.written == 70


def test_a_file_that_grows_shorter_while_it_is_read_is_noticed(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, shards = shard_work(source, tmp_path / "out", settings(), RankPages(Picky()))
    monkeypatch.setattr(shards_module, "rows_of", lambda *given: iter(()))
    with pytest.raises(InputError, match="changed while the job ran"):
        works.do(shards[0], lambda rows: None)
    assert not list((tmp_path / "out").glob("*part*"))


def test_a_manifest_of_another_format_is_told(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job(source, out)
    kept = (out / "_manifest.json").read_text()
    (out / "_manifest.json").write_text(kept.replace('"format_version": 1', '"format_version": 0'))
    with pytest.raises(InputError, match="its manifest is of format 0, this wholepage writes 1"):
        job(source, out)
    (out / "_manifest.json").write_text(kept[:90])
    with pytest.raises(InputError, match="its manifest cannot be read"):
        job(source, out)
    (out / "_manifest.json").write_text(kept)
    assert job(source, out).shards_done == 0


# --- score, encode, options -------------------------------------------------------------------------------------------


def test_scores_stand_in_the_order_of_the_page(source: str, tmp_path: Path) -> None:
    job(source, tmp_path / "out", task="score", format="parquet")
    table = parquet.read_table(sorted((tmp_path / "out").glob("part-*.parquet"))).to_pylist()
    direct = BM25Scorer().score(pages(70))
    assert [row["query_id"] for row in table] == [f"q{i}" for i in range(70)]
    for row, scores in zip(table, direct, strict=True):
        assert row["result_ids"] == ["r0", "r1", "r2"]
        assert np.array_equal(np.array(row["scores"], np.float32), scores)


class OnlyOrders(Picky):
    """Ranks the last first and gives no scores."""

    def rank(self, listed: Sequence[Page]) -> list[Ranking]:
        return [Ranking(page.query_id, page.result_ids[::-1]) for page in listed]


def test_scores_of_a_mere_order_are_negated_ranks() -> None:
    found = work.ScorePages(OnlyOrders()).records(pages(1))
    assert found == [work.PageScores("q0", ("r0", "r1", "r2"), (-2.0, -1.0, 0.0), "picky")]


def test_vectors_of_query_and_results(source: str, tmp_path: Path, hashed_words: object) -> None:
    vectors = ResultVectors(hashed_words)  # type: ignore[arg-type]
    given = settings(task="encode", format="parquet", shard_rows=300)
    works, shards = shard_work(source, tmp_path / "out", given, EncodePages(vectors))
    assert works.do(shards[0], lambda rows: None).silent == 0
    table = parquet.read_table(tmp_path / "out" / "part-000000.parquet").to_pylist()
    direct = vectors.encode(pages(70))
    for row, encoded in zip(table, direct, strict=True):
        assert np.array_equal(np.array(row["query"], np.float32), encoded.query)
        assert np.array_equal(np.array(row["text"], np.float32), encoded.text)
        assert row["image"] == [None, None, None]


def test_a_vector_that_is_not_finite_is_an_error_of_its_row() -> None:
    class Breaks:
        name, dim = "breaks", 2

        def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.full((len(texts), 2), np.nan, np.float32)

    with pytest.raises(DecodingError, match="not finite, of page 'q0'"):
        EncodePages(ResultVectors(Breaks())).records(pages(1))


def test_one_modality_and_the_first_k(source: str, tmp_path: Path) -> None:
    job(source, tmp_path / "out", top_k=2, only="text")
    assert all(len(msgspec.json.decode(line, type=Ranking)) == 2 for line in records(tmp_path / "out"))
    mixed = Page(Query("q", "red"), (Result("a", Modality.TEXT, "red"), Result("b", Modality.ANSWER, "red")))
    found = OneModality(RankPages(by_score(BM25Scorer())), Modality.ANSWER).records([mixed])
    assert isinstance(found[0], Ranking)
    assert found[0].result_ids == ("b",)
    with pytest.raises(InputError, match="top_k 2; allowed: with 'rank' only"):
        settings(task="encode", top_k=2)
    with pytest.raises(InputError, match="shard_rows 0"):
        settings(shard_rows=0)


def test_pictures_lie_beside_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "pictures").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "pictures" / "a b.png")
    shown = Page(Query("q"), (Result("a", Modality.IMAGE, "a lamp", (ImageRef("pictures/a b.png"),)),))
    monkeypatch.chdir(tmp_path)
    for source in (
        write_jsonl(tmp_path / "in" / "a.jsonl", [shown]),
        write_jsonl(tmp_path / "in" / "a.jsonl.gz", [shown]),
        write_parquet(tmp_path / "in" / "a.parquet", [shown], rows_of_a_group=1, nested=False),
    ):
        out = tmp_path / f"of-{Path(source).name}"
        works, shards = shard_work(f"in/{Path(source).name}", out, settings(), RankPages(OnlyOrders()))
        assert works.do(shards[0], lambda rows: None).written == 1


# --- queries that stand twice -----------------------------------------------------------------------------------------


def two_files(folder: Path) -> list[str]:
    """Twelve rows in two files of two kinds, of which two of the second file repeat."""
    listed = pages(10)
    first = write_jsonl(folder / "a.jsonl", listed[:6])
    second = write_parquet(folder / "b.parquet", [listed[0], *listed[6:9], listed[7], listed[9]], rows_of_a_group=2)
    return [first, second]


def test_a_query_that_stands_twice_stops_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"b\.parquet:1: query\.query_id: .*already in row 1 of .*a\.jsonl \(2 such"):
        job(two_files(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_repeats_is_left_out_wherever_shards_are_cut(tmp_path: Path) -> None:
    named = two_files(tmp_path)
    for rows in (1, 2, 100):
        out = tmp_path / f"out-{rows}"
        run = job(named, out, on_error="skip", shard_rows=rows)
        assert (run.summary.rows, run.summary.written, run.summary.rejected) == (12, 10, 2)
        assert [msgspec.json.decode(line)["query_id"] for line in records(out)] == [f"q{i}" for i in range(10)]
        lines = [line for path in sorted((out / "_rejects").iterdir()) for line in path.read_bytes().splitlines()]
        rejects = list(map(msgspec.json.decode, lines))
        assert [one["row"] for one in rejects] == [1, 5]
        assert f"got 'q0', already in row 1 of {named[0]}" in rejects[0]["message"]
        assert "got 'q7', already in row 3;" in rejects[1]["message"]


# --- input ------------------------------------------------------------------------------------------------------------


def test_files_of_folders_and_patterns_come_by_name(tmp_path: Path) -> None:
    listed = pages(30)
    (tmp_path / "in").mkdir()
    for part in (2, 0, 1):
        write_jsonl(tmp_path / "in" / f"p{part}.jsonl", listed[10 * part : 10 * part + 10])
    (tmp_path / "in" / "_notes.jsonl").write_text("x")
    (tmp_path / "in" / "readme.md").write_text("x")
    job(str(tmp_path / "in"), tmp_path / "a", shard_rows=4)
    job(f"{tmp_path}/in/p*.jsonl", tmp_path / "b", shard_rows=4)
    assert records(tmp_path / "a") == records(tmp_path / "b")
    assert [msgspec.json.decode(line)["query_id"] for line in records(tmp_path / "a")] == [f"q{i}" for i in range(30)]
    with pytest.raises(NotFound, match="nothing can be read"):
        job(f"{tmp_path}/in/z*", tmp_path / "c")
    with pytest.raises(InputError, match="twice"):
        job([str(tmp_path / "in"), str(tmp_path / "in" / "p1.jsonl")], tmp_path / "c")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"\xef\xbb\xbf{}\n", "byte order mark"),
        ("a.jsonl", b"\n\n", "no rows"),
        ("a.jsonl.gz", b"no gzip", "broken gzip"),
        ("a.jsonl.gz", b"", "no rows"),
        ("a.parquet", b"no parquet", "no whole Parquet file"),
        ("a.txt", b"{}\n", r"allowed: files that end in \.jsonl, "),
        ("a.csv.gz", b"x", r"allowed: files that end in \.jsonl, "),
    ],
)
def test_files_that_cannot_be_read_are_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        job(str(tmp_path / name), tmp_path / "out", on_error="skip")
    assert not (tmp_path / "out").exists()


def test_a_table_without_pages_is_refused(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", pages(2), rows_of_a_group=2)
    table = parquet.read_table(source).rename_columns(["ask", "answers"])
    parquet.write_table(table, source)
    with pytest.raises(RecordError, match="columns: got ask, answers; allowed: 'page'"):
        job(source, tmp_path / "out")


def test_input_that_changes_is_noticed(source: str, tmp_path: Path) -> None:
    works, shards = shard_work(source, tmp_path / "out", settings(), RankPages(Picky()))
    shutil.copy(source, tmp_path / "other")
    with open(source, "ab") as file:
        file.write(b"\n")
    with pytest.raises(InputError, match="changed while the job ran"):
        works.do(shards[0], lambda rows: None)


class Nothing:
    """Work that takes no memory."""

    name = "nothing"

    def records(self, listed: Sequence[Page]) -> list[Record]:
        return [Ranking(page.query_id, page.result_ids) for page in listed]


def test_memory_does_not_grow_with_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "work_for", lambda settings: Nothing())

    def peak(count: int) -> int:
        source = write_jsonl(tmp_path / f"{count}.jsonl", pages(count, words=40))
        tracemalloc.start()
        job(source, tmp_path / f"out-{count}", shard_rows=100)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)  # what is made once
    small, large = peak(200), peak(3000)
    assert (tmp_path / "3000.jsonl").stat().st_size > 2_000_000
    assert large < 1.5 * small + 200_000


def test_opened_says_where_it_is(source: str) -> None:
    _, opened = planned([source], settings(), "x", lambda done, total, what: None)
    stamp = place_of(source).stamp()
    assert stamp is not None
    assert opened == (Opened(source, source, stamp.bytes, stamp.modified_ns),)
