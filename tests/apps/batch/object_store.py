"""An object store of S3's kind on the loopback: objects in memory, the calls that pyarrow makes, signatures unread."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


class Store(ThreadingHTTPServer):
    """Objects by ``bucket/key``; an object is there when all of its bytes have come.

    Attributes:
        objects: what is there, with the time it came.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.clock = 1_700_000_000.0
        self.lock = threading.Lock()

    def put(self, key: str, content: bytes) -> None:
        """Store an object; every one has a time of its own."""
        with self.lock:
            self.clock += 1
            self.objects[key] = (content, self.clock)

    def address(self, path: str) -> str:
        """The address of a bucket or key, as pyarrow reads it."""
        return f"s3://key:secret@{path}?region=us-east-1&scheme=http&endpoint_override=127.0.0.1%3A{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: two wait for each other on the loopback
    disable_nagle_algorithm = True
    server: Store

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_expect_100(self) -> bool:
        going_on = super().handle_expect_100()
        self.wfile.flush()  # the sender waits a second for it
        return going_on

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return unquote(parts.path).lstrip("/"), parse_qs(parts.query, keep_blank_values=True)

    def _answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {"Content-Length": str(len(content)), **(headers or {})}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        raw = self._sent()
        if "aws-chunked" not in (self.headers.get("Content-Encoding") or ""):
            return raw
        content, at = b"", 0
        while True:
            end = raw.index(b"\r\n", at)
            size = int(raw[at:end].split(b";")[0], 16)
            if size == 0:
                return content
            content += raw[end + 2 : end + 2 + size]
            at = end + 2 + size + 2

    def _sent(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        key, query = self._asked()
        if "/" not in key.rstrip("/"):
            if "list-type" in query:
                return self._list(key.rstrip("/"), query)
            return self._answer(200, headers={"x-amz-bucket-region": "us-east-1"})
        found = self.server.objects.get(key)
        if found is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        content, when = found
        headers = {
            "Last-Modified": formatdate(when, usegmt=True),
            "ETag": f'"{hashlib.md5(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers.get("Range")
        if wanted and self.command == "GET":
            low, _, high = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(low), min(int(high or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{stop}/{len(content)}"
            return self._answer(206, content[start : stop + 1], headers)
        return self._answer(200, content, headers | {"Content-Length": str(len(content))})

    def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        keys: list[tuple[str, int]] = []
        folders: set[str] = set()
        for name, (content, _) in sorted(self.server.objects.items()):
            held, _, key = name.partition("/")
            if held != bucket or not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
            else:
                keys.append((key, len(content)))
        body = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>"
            f"<LastModified>2023-11-14T22:13:20.000Z</LastModified><ETag>x</ETag></Contents>"
            for key, size in keys
        )
        body += "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders))
        count = len(keys) + len(folders)
        self._answer(
            200,
            f'<?xml version="1.0"?><ListBucketResult {_XMLNS}><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>'
            f"<KeyCount>{count}</KeyCount><IsTruncated>false</IsTruncated>{body}</ListBucketResult>".encode(),
            {"Content-Type": "application/xml"},
        )

    def do_PUT(self) -> None:
        key, query = self._asked()
        content = self._body()
        if "uploadId" in query:
            self.server.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = content
        elif "/" in key:
            self.server.put(key, content)
        self._answer(200, headers={"ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    def do_POST(self) -> None:
        key, query = self._asked()
        self._body()
        if "uploads" in query:
            number = secrets.token_hex(8)
            self.server.uploads[number] = {}
            body = (
                f"<InitiateMultipartUploadResult {_XMLNS}><UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
            )
        else:
            parts = self.server.uploads.pop(query["uploadId"][0])
            self.server.put(key, b"".join(parts[number] for number in sorted(parts)))
            body = f"<CompleteMultipartUploadResult {_XMLNS}><ETag>x</ETag></CompleteMultipartUploadResult>"
        self._answer(200, f'<?xml version="1.0"?>{body}'.encode(), {"Content-Type": "application/xml"})

    def do_DELETE(self) -> None:
        key, query = self._asked()
        if "uploadId" in query:
            self.server.uploads.pop(query["uploadId"][0], None)
        else:
            self.server.objects.pop(key, None)
        self._answer(204)


@contextmanager
def object_store() -> Iterator[Store]:
    """A store that runs for the length of the block."""
    store = Store()
    serves = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serves.start()
    try:
        yield store
    finally:
        store.shutdown()
        store.server_close()
        serves.join()
