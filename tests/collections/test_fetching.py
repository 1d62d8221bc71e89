"""Fetching from this machine: files and a small HTTP server that breaks off, ignores ranges, redirects and lies."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from wholepage.collections.fetching import RemoteFile, check, check_address, fetch, read_manifest
from wholepage.pages import InputError, RecordError
from wholepage.pages.errors import EndpointError

DATA = bytes(range(256)) * 4000
SHA = hashlib.sha256(DATA).hexdigest()


class Server(BaseHTTPRequestHandler):
    """``/file``, ``/broken`` (half, once), ``/rangeless``, ``/endless``, ``/away``, ``/gone``."""

    ranges: ClassVar[list[str]] = []
    broken: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.ranges.append(asked)
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://example.org/file")
            self.end_headers()
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.path != "/rangeless" else 0
        if begin >= len(DATA):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}")
        self.send_header("Content-Length", str(len(DATA) - begin))
        self.end_headers()
        body = DATA[begin:]
        if self.path == "/broken" and "/broken" not in self.broken:
            self.broken.add("/broken")
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Server.ranges.clear()
    Server.broken.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def remote(url: str, sha256: str = SHA, size_bytes: int | None = None) -> RemoteFile:
    return RemoteFile("sub/data.bin", url, sha256, size_bytes)


def test_a_file_arrives_whole_and_once(tmp_path: Path, address: str) -> None:
    told: list[int] = []
    file = remote(f"{address}/file", size_bytes=len(DATA))
    assert fetch(file, tmp_path, progress=lambda done, of, what: told.append(done))
    assert (tmp_path / "sub/data.bin").read_bytes() == DATA
    assert told == sorted(told)
    assert told[-1] == len(DATA)
    assert not fetch(file, tmp_path)
    assert Server.ranges == [""]
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["data.bin"]


@pytest.mark.parametrize("size_bytes", [None, len(DATA)])
def test_what_broke_off_is_gone_on_with(tmp_path: Path, address: str, size_bytes: int | None) -> None:
    file = remote(f"{address}/broken", size_bytes=size_bytes)
    with pytest.raises(EndpointError, match="what came is kept"):
        fetch(file, tmp_path)
    part = tmp_path / "sub/data.bin.part"
    half = part.stat().st_size
    assert 0 < half < len(DATA)
    assert fetch(file, tmp_path)
    assert Server.ranges == ["", f"bytes={half}-"]
    assert (tmp_path / "sub/data.bin").read_bytes() == DATA
    assert not part.exists()


@pytest.mark.parametrize("path", ["/rangeless", "/file"])
def test_a_part_of_another_file_does_no_harm(tmp_path: Path, address: str, path: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/data.bin.part").write_bytes(b"something else")
    if path == "/rangeless":  # it begins anew, so all is well
        assert fetch(remote(address + path), tmp_path)
        return
    with pytest.raises(RecordError, match="nothing was kept"):
        fetch(remote(address + path), tmp_path)
    assert list((tmp_path / "sub").iterdir()) == []
    assert fetch(remote(address + path), tmp_path)


def test_a_part_that_was_whole_already_is_taken(tmp_path: Path, address: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/data.bin.part").write_bytes(DATA)
    assert fetch(remote(f"{address}/file"), tmp_path)
    assert (tmp_path / "sub/data.bin").read_bytes() == DATA


def test_what_is_not_as_it_should_be_is_not_kept(tmp_path: Path, address: str) -> None:
    with pytest.raises(RecordError, match=SHA):
        fetch(remote(f"{address}/file", "0" * 64), tmp_path)
    assert list((tmp_path / "sub").iterdir()) == []
    with pytest.raises(RecordError, match="nothing was kept"):
        fetch(remote(f"{address}/file", "1" * 64, size_bytes=1000), tmp_path)
    (tmp_path / "sub/data.bin").write_bytes(b"changed")
    with pytest.raises(RecordError, match="move the file away"):
        fetch(remote(f"{address}/file"), tmp_path)
    assert (tmp_path / "sub/data.bin").read_bytes() == b"changed"


def test_files_of_this_machine(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(DATA)
    to = tmp_path / "to"
    (to / "sub").mkdir(parents=True)
    (to / "sub/data.bin.part").write_bytes(DATA[:500])
    assert fetch(remote(source.as_uri()), to)
    check(remote(source.as_uri()), to)
    with pytest.raises(EndpointError, match="no such file"):
        fetch(remote((tmp_path / "none").as_uri()), tmp_path / "other")
    with pytest.raises(RecordError, match="got none"):
        check(remote(source.as_uri()), tmp_path / "other")


def test_servers_that_refuse(tmp_path: Path, address: str) -> None:
    with pytest.raises(EndpointError, match="HTTP 404"):
        fetch(remote(f"{address}/gone"), tmp_path)
    with pytest.raises(InputError, match=r"address: got 'http://example.org/file'"):
        fetch(remote(f"{address}/away"), tmp_path)
    with pytest.raises(EndpointError, match="ask again later"):
        fetch(remote("http://127.0.0.1:1/file"), tmp_path)


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "ftp://a/b", "data:,a", "/etc/passwd", "file://host/a", "https://"]
)
def test_addresses_that_are_not_allowed(url: str) -> None:
    with pytest.raises(InputError, match="address: got"):
        check_address(url)


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "a\\b", "c:x"])
def test_paths_that_lead_away(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="stays in its folder"):
        fetch(RemoteFile(path, "https://example.org/a", SHA), tmp_path)


def test_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "files.json"
    path.write_text(json.dumps([{"path": "a", "url": "https://example.org/a", "sha256": SHA}]))
    assert read_manifest(path) == (RemoteFile("a", "https://example.org/a", SHA),)
    for wrong in ('[{"path": "a"}]', "{}", "[", '[{"path": "a", "url": "x", "sha256": "12"}]'):
        path.write_text(wrong)
        with pytest.raises(RecordError, match="manifest: got"):
            read_manifest(path)
    with pytest.raises(RecordError, match="check the path"):
        read_manifest(tmp_path / "none.json")
