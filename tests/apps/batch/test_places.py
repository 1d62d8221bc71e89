"""Input and output that are no paths: an object store on the loopback, and what fsspec opens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec
import msgspec
import pytest
from pyarrow import fs as pyarrow_fs

from wholepage.apps.batch.messages import Told
from wholepage.apps.batch.places import place_of
from wholepage.apps.batch.plan import Shard
from wholepage.apps.batch.processes import InProcess, Processes
from wholepage.apps.batch.shards import Order
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result

from .made import job, pages, records, write_jsonl, write_parquet
from .object_store import Store, object_store


@pytest.fixture
def store() -> Iterator[Store]:
    with object_store() as running:
        yield running


def test_a_job_from_store_to_store(store: Store, tmp_path: Path) -> None:
    listed = pages(70)
    local = tmp_path / "local"
    local.mkdir()
    write_jsonl(local / "a.jsonl", listed[:40])
    write_parquet(local / "b.parquet", listed[40:], rows_of_a_group=12)
    for path in local.iterdir():
        store.put(f"lake/in/{path.name}", path.read_bytes())
    whole = job(str(local), tmp_path / "out")
    far = job(store.address("lake/in"), store.address("lake/out"), Processes(2))
    assert far.summary.output_sha256 == whole.summary.output_sha256
    there = {name.removeprefix("lake/out/"): content for name, (content, _) in store.objects.items() if "/out/" in name}
    parts = [line for name in sorted(there) if name.startswith("part-") for line in there[name].splitlines()]
    assert parts == records(tmp_path / "out")
    assert json.loads(there["_SUCCESS"])["written"] == 70
    assert not any(b"secret" in content for content in there.values())
    assert json.loads(there["_manifest.json"])["sources"][0]["file"] == "s3://lake/in/a.jsonl"

    del store.objects["lake/out/part-000001.jsonl"]
    store.put("lake/out/part-000002.jsonl", there["part-000002.jsonl"][:-9])  # an upload that broke off
    again = job(store.address("lake/in"), store.address("lake/out"))
    assert (again.shards_done, again.summary) == (2, far.summary)
    assert store.objects["lake/out/part-000002.jsonl"][0] == there["part-000002.jsonl"]
    pattern = job(store.address("lake/in/*.parquet"), tmp_path / "pattern")
    assert pattern.summary.rows == 30


def test_relative_pictures_of_a_remote_file_are_refused(store: Store, tmp_path: Path) -> None:
    page = Page(Query("q", "lamp"), (Result("a", Modality.IMAGE, "lamp", (ImageRef("a.png"),)),))
    store.put("lake/p.jsonl", msgspec.json.encode(page) + b"\n")
    with pytest.raises(RecordError, match=r"s3://lake/p\.jsonl:1: images: got the relative address 'a\.png'"):
        job(store.address("lake/p.jsonl"), tmp_path / "out")


def test_what_fsspec_opens(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(50))
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/in/pages.jsonl", Path(source).read_bytes())
    try:
        far = job("memory://in/pages.jsonl", "memory://out")
        assert far.summary.output_sha256 == job(source, tmp_path / "out").summary.output_sha256
        assert memory.cat_file("/out/part-000000.jsonl").splitlines() == records(tmp_path / "out")[:20]
        assert job("memory://in/pages.jsonl", "memory://out").shards_done == 0
    finally:
        memory.rm("/in", recursive=True)
        memory.rm("/out", recursive=True)


def test_addresses_of_stores() -> None:
    google = place_of("gs://anonymous@lake/in?scheme=http&endpoint_override=127.0.0.1%3A1")
    assert isinstance(google.files, pyarrow_fs.GcsFileSystem)
    assert (google.path, google.shown, google.local) == ("lake/in", "gs://lake/in", False)
    with pytest.raises(InputError, match="'nowhere://x'"):
        place_of("nowhere://key:secret@x")
    with pytest.raises(InputError, match="got ArrowInvalid"):
        place_of("s3://lake/in?colour=red")
    for leaks in ("s3://key:se/cret@lake/in", "s3://key:se@cret@lake/in?colour=red"):
        with pytest.raises(InputError) as told:
            place_of(leaks)
        assert "cret" not in str(told.value)


@pytest.mark.parametrize("name", ["a b.jsonl", "50%20off.jsonl", "caf\u00e9 #1.jsonl", "what?.jsonl", "[1]*.jsonl"])
def test_names_with_any_letters(name: str, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in [x]?"
    folder.mkdir()
    write_jsonl(folder / name, pages(10))
    write_jsonl(folder / "whatX.jsonl", pages(20)[10:])
    store.put(f"lake/in/{name}", (folder / name).read_bytes())
    one = job(str(folder / name), tmp_path / "one")
    assert one.summary.rows == 10
    assert job(str(folder), tmp_path / "both").summary.rows == 20
    far = job(store.address("lake/in"), tmp_path / "out", Processes(1))
    assert far.summary.output_sha256 == one.summary.output_sha256
    if not set("%?*[") & set(name):
        assert job(store.address(f"lake/in/{name}"), tmp_path / "named").summary.rows == 10


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pages.jsonl", pages(3))
    with pytest.raises(InputError, match=r"pages\.jsonl: got File exists; allowed: a folder"):
        job(source, source)


def test_a_job_goes_on_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What workers are told holds wherever they run; a file that is called otherwise is another input."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_jsonl(tmp_path / "here" / "pages.jsonl", pages(30))

    class Elsewhere(InProcess):
        def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
            monkeypatch.chdir(tmp_path)
            super().run(order, shards, told)
            monkeypatch.chdir(tmp_path / "here")

    assert job("pages.jsonl", "out", Elsewhere()).summary.written == 30
    assert (tmp_path / "here" / "out" / "part-000001.jsonl").is_file()
    with pytest.raises(InputError, match=r"input pages\.jsonl, now \./pages\.jsonl"):
        job("./pages.jsonl", "out")
