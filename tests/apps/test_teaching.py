"""Served teachers over real HTTP, against a server that does everything wrong: retried, counted, never a wrong list."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wholepage.apps.teaching import Patience, endpoint_captioner, permutation_teacher
from wholepage.pages import EndpointError, ImageRef, InputError, Modality, Page, Query, Result
from wholepage.pages.errors import RecordError
from wholepage.pages.images import to_data_uri
from wholepage.pages.records import write_pages
from wholepage.rankers.permutation import Order
from wholepage.rankers.permutation_teacher import PermutationSettings
from wholepage.rankers.windows import Asked, drive, sliding
from wholepage.training.caption_lists import distil_captions
from wholepage.training.list_teachers import TeachingCost, teach
from wholepage.training.taught import TaughtList

ENTRY = re.compile(r"^\[([A-Z])\] worth (\d+)", re.MULTILINE)
SETTINGS = PermutationSettings(window=6, stride=3, tries=3, workers=4)
PATIENCE = Patience(timeout_s=20.0, tries=3, longest_wait_s=0.05, prompt_price=2.0, completion_price=10.0)
SHORT = Patience(timeout_s=2.0, tries=3, longest_wait_s=0.05, prompt_price=2.0, completion_price=10.0)
TOKENS = (100, 7)


def page_of(name: str, count: int = 5) -> Page:
    numbers = np.random.default_rng(count).permutation(count)
    results = tuple(Result(f"r{n}", Modality.TEXT, f"worth {n} coins") for n in numbers)
    return Page(Query(name, f"about {name}"), results)


def truth(page: Page) -> TaughtList:
    """What sliding windows make of a page when every window is ordered rightly."""
    worth = [int(result_id[1:]) for result_id in page.result_ids]

    def right(asked: Sequence[Asked]) -> list[Order]:
        return [tuple(np.argsort([-worth[item] for item in window]).tolist()) for _, window in asked]

    (driven,) = drive([sliding(len(page), 6, 3)], right)
    targets = [0.0] * len(page)
    for place, item in enumerate(driven.order):
        targets[item] = float(len(page) - place)
    return TaughtList(page, tuple(targets), "")


class Server:
    """Orders by worth, but for the faults planned for a query, which come first; keeps what it was asked."""

    def __init__(self) -> None:
        self.faults: dict[str, list[str]] = {}
        self.asked: list[dict[str, Any]] = []
        self.answered: Counter[str] = Counter()
        self.lock, self.over = threading.Lock(), threading.Event()
        self.before: Callable[[int], None] = lambda count: None
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(raw)
                with server.lock:
                    server.asked.append(body)
                    count = len(server.asked)
                    words = "".join(part.get("text", "") for part in body["messages"][1]["content"])
                    found = re.search(r"Query: about (\S+)", words)
                    planned = server.faults.get(found[1] if found else "", [])
                    fault = planned.pop(0) if planned else ""
                server.before(count)
                try:
                    self.answer(fault, [name for name, _ in sorted(ENTRY.findall(words), key=lambda o: -int(o[1]))])
                    server.answered[raw.decode()] += 1
                except OSError:
                    return  # who asked is gone

            def answer(self, fault: str, best: list[str]) -> None:
                if fault == "slow":
                    server.over.wait(120)  # longer than anybody's patience
                    return
                if fault == "hang up":
                    self.close_connection = True
                    return
                status, headers, payload = told(fault, best)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(payload)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def stop(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def told(fault: str, best: list[str]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer that has this fault."""
    if fault in ("429", "503"):
        return int(fault), {"Retry-After": "0.01"}, b'{"error": {"message": "slow down"}}'
    if fault == "html":
        return 200, {}, b"<html>gateway</html>"
    joined = " > ".join(f"[{name}]" for name in best)
    content, finish, refusal = {
        "": (joined, "stop", None),
        "words": ("They are all good, I would say.", "stop", None),
        "numbers": (" > ".join(f"[{i}]" for i in range(len(best))), "stop", None),
        "empty": (None, "stop", None),
        "partial": (" > ".join(f"[{name}]" for name in best[:-1]), "stop", None),
        "cut": (joined[: len(joined) // 2], "length", None),
        "duplicate": (joined + f" > [{best[0] if best else ''}]", "stop", None),
        "swapped": (" > ".join(f"[{name}]" for name in [best[-1], *best[1:]]) if best else "", "stop", None),
        "refusal": (None, "stop", "I cannot rank these."),
        "filter": (joined, "content_filter", None),
    }[fault]
    message = {"role": "assistant", "content": content, **({"refusal": refusal} if refusal else {})}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    usage = {"prompt_tokens": TOKENS[0], "completion_tokens": TOKENS[1], "total_tokens": sum(TOKENS)}
    return 200, {}, json.dumps({"choices": [choice], "usage": usage}).encode()


CONTENT = {
    "words": "malformed", "numbers": "malformed", "empty": "malformed", "html": "malformed", "partial": "partial",
    "cut": "partial", "duplicate": "duplicated", "swapped": "duplicated", "refusal": "refused", "filter": "refused",
}  # fmt: skip
WIRE = ("slow", "429", "503", "hang up")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    one = Server()
    yield one
    one.stop()


def same(given: Sequence[TaughtList], expected: Sequence[TaughtList]) -> bool:
    return [(one.page, one.targets) for one in given] == [(one.page, one.targets) for one in expected]


# ------------------------------------------------------------------ one fault at a time


@pytest.mark.parametrize("fault", [*CONTENT, *WIRE])
def test_every_fault_is_retried_and_counted(fault: str, server: Server) -> None:
    page = page_of("q")
    server.faults = {"q": [fault]}
    patience = SHORT if fault == "slow" else PATIENCE
    with permutation_teacher(server.url, "m", kept=None, settings=SETTINGS, patience=patience) as served:
        taught = teach(served.who, [page], kept=None)
        usage, counts = served.usage, served.who.counts
    assert same(taught.lists, [truth(page)])
    assert len(server.asked) == 2
    if fault in CONTENT:
        assert (dict(counts.faults), counts.requests, usage.repeated) == ({CONTENT[fault]: 1}, 2, 0)
        bodies = [json.dumps(body) for body in server.asked]
        assert bodies[0] != bodies[1]  # shown otherwise
    else:
        assert (dict(counts.faults), counts.requests, usage.repeated) == ({}, 1, 1)
        assert server.asked[0] == server.asked[1]
    assert usage.requests == 2
    answers = 1 + (fault in CONTENT and fault != "html")
    assert (usage.answers, usage.prompt_tokens, usage.completion_tokens) == (answers, 100 * answers, 7 * answers)
    assert usage.cost == pytest.approx(answers * (100 * 2 + 7 * 10) / 1e6)


@pytest.mark.parametrize("fault", CONTENT)
def test_a_fault_that_stays_drops_the_list_for_good(fault: str, server: Server, tmp_path: Path) -> None:
    pages = [page_of("bad"), page_of("good", 4)]
    server.faults = {"bad": [fault] * 3}
    with permutation_teacher(server.url, "m", kept=None, settings=SETTINGS, patience=PATIENCE) as served:
        taught = teach(served.who, pages, kept=tmp_path)
        assert same(taught.lists, [truth(pages[1])])
        assert taught.cost.refused == {CONTENT[fault]: 1}
        assert (served.usage.requests, dict(served.who.counts.declined)) == (4, {CONTENT[fault]: 1})
        again = teach(served.who, pages, kept=tmp_path)
        assert (again.lists, again.cost.refused, served.usage.requests) == (taught.lists, taught.cost.refused, 4)


@pytest.mark.parametrize(("fault", "reason"), [("slow", "timeout"), ("429", "busy"), ("hang up", "unreachable")])
def test_a_server_that_fails_drops_the_list_for_now(fault: str, reason: str, server: Server, tmp_path: Path) -> None:
    pages = [page_of("bad"), page_of("good", 4)]
    server.faults = {"bad": [fault] * 3}
    patience = SHORT if fault == "slow" else PATIENCE
    with permutation_teacher(server.url, "m", kept=None, settings=SETTINGS, patience=patience) as served:
        taught = teach(served.who, pages, kept=tmp_path)
        assert (same(taught.lists, [truth(pages[1])]), taught.cost.refused) == (True, {reason: 1})
        assert (served.usage.requests, served.usage.repeated) == (4, 2)
        again = teach(served.who, pages, kept=tmp_path)
    assert (same(again.lists, list(map(truth, pages))), again.cost.refused) == (True, {})


def test_a_server_that_is_gone_ends_the_work(server: Server) -> None:
    pages = [page_of(f"q{i}") for i in range(40)]
    with (
        permutation_teacher("http://127.0.0.1:9/v1", "m", kept=None, settings=SETTINGS, patience=PATIENCE) as served,
        pytest.raises(EndpointError, match="unreachable"),
    ):
        teach(served.who, pages, kept=None)
    assert served.usage.requests <= 3 * (5 + 2 * 4)


# ------------------------------------------------------------------ all at once


def test_under_all_faults_together_no_list_is_wrong(server: Server, tmp_path: Path) -> None:
    """Forty lists, most of several windows; what is planned says exactly what must be counted."""
    draw = np.random.default_rng(6)
    pages = [page_of(f"q{i}", int(draw.integers(2, 14))) for i in range(40)]
    for page in pages:
        kinds = [*CONTENT] if draw.random() < 0.7 else [*CONTENT, "429", "503"]
        server.faults[page.query_id] = [str(draw.choice(kinds)) for _ in range(int(draw.integers(0, 5)))]
    planned = {query_id: list(faults) for query_id, faults in server.faults.items()}
    faults: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    expected, requests = [], 0
    for page in pages:
        windows = 1 + max(0, -(-(len(page) - 6) // 3))
        left = planned[page.query_id]
        lost = ""
        for _ in range(windows):
            tries = wire = 0
            while tries < 3 and not lost:
                requests += 1
                fault = left.pop(0) if left else ""
                if fault in WIRE:
                    wire += 1
                    if wire == 3:
                        lost = "busy"
                    continue
                wire = 0
                if not fault:
                    break
                faults[CONTENT[fault]] += 1
                tries += 1
                if tries == 3:
                    lost = CONTENT[fault]
        if lost:
            refused[lost] += 1
        else:
            expected.append(truth(page))
    with permutation_teacher(server.url, "m", kept=tmp_path, settings=SETTINGS, patience=PATIENCE) as served:
        taught = teach(served.who, pages, kept=tmp_path, pages_per_chunk=16)
        usage, counts = served.usage, served.who.counts
    assert same(taught.lists, expected)
    assert taught.cost.refused == dict(refused)
    assert (dict(counts.faults), dict(counts.declined)) == (dict(faults), dict(refused))
    assert (usage.requests, len(server.asked)) == (requests, requests)
    assert usage.requests == counts.requests + usage.repeated
    assert min(len(expected), sum(refused.values()), usage.repeated, *faults.values()) >= 2


def test_how_many_ask_at_a_time_changes_nothing(server: Server) -> None:
    pages = [page_of(f"q{i}", 3 + i) for i in range(10)]
    found = []
    for workers in (1, 7):
        server.faults = {"q3": ["words"], "q7": ["partial", "duplicate"], "q9": ["refusal"] * 3}
        settings = PermutationSettings(window=6, stride=3, workers=workers)
        with permutation_teacher(server.url, "m", kept=None, settings=settings, patience=PATIENCE) as served:
            taught = teach(served.who, pages, kept=None)
            found.append((taught.lists, taught.cost.refused, served.who.counts))
    assert found[0] == found[1]


# ------------------------------------------------------------------ killed


CHILD = """
import sys
from pathlib import Path
from wholepage.apps.teaching import permutation_teacher
from wholepage.pages.records import read_pages
from wholepage.rankers.permutation_teacher import PermutationSettings
from wholepage.training.list_teachers import teach

url, kept = sys.argv[1], Path(sys.argv[2])
settings = PermutationSettings(window=6, stride=3, workers=1)
with permutation_teacher(url, "m", kept=kept, settings=settings) as served:
    teach(served.who, list(read_pages(kept / "pages.jsonl")), kept=kept, pages_per_chunk=2)
"""


def test_a_killed_run_pays_for_nothing_twice(server: Server, tmp_path: Path) -> None:
    pages = [page_of(f"q{i}", 9) for i in range(6)]  # two windows each
    write_pages(tmp_path / "pages.jsonl", pages)
    plan = {"q1": ["words"], "q4": ["partial", "refusal"], "q2": ["duplicate"] * 3}
    server.faults = {query_id: list(faults) for query_id, faults in plan.items()}
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    kills = 0
    for after in (4, 10, None):
        child = subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(tmp_path)], env=env)

        def strike(count: int, after: int | None = after, child: subprocess.Popen[bytes] = child) -> None:
            if after is not None and count == after:
                child.send_signal(signal.SIGKILL)
                child.wait()  # so that it never gets this answer

        server.before = strike
        code = child.wait(timeout=300)
        kills += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL)
    assert kills == 2
    bodies = Counter(json.dumps(body, sort_keys=True) for body in server.asked)
    # What was in the air when the run was killed is asked for again, and nothing else.
    assert sum(bodies.values()) - len(bodies) == kills
    with permutation_teacher(
        server.url, "m", kept=tmp_path, settings=PermutationSettings(window=6, stride=3)
    ) as served:
        taught = teach(served.who, pages, kept=tmp_path)
        assert served.usage.requests == 0
    assert taught.cost.remembered == 6


def test_replies_on_disk_are_enough_to_teach_again(server: Server, tmp_path: Path) -> None:
    pages = [page_of(f"q{i}", 9) for i in range(3)]
    server.faults = {"q1": ["words", "partial"], "q2": ["refusal"] * 3}
    kept: dict[str, Any] = {"kept": tmp_path, "settings": SETTINGS, "patience": PATIENCE}
    with permutation_teacher(server.url, "m", **kept) as served:
        first = teach(served.who, pages, kept=None)
        asked = served.usage.requests
    with permutation_teacher(server.url, "m", **kept) as served:
        again = teach(served.who, pages, kept=None)
        usage = served.usage
    assert (again.lists, again.cost.refused) == (first.lists, first.cost.refused)
    assert (usage.requests, usage.remembered, usage.cost) == (0, asked, 0.0)
    place = next(iter((tmp_path / "replies").rglob("*.json")))
    with permutation_teacher(server.url, "other", **kept) as served:
        teach(served.who, pages, kept=None)
        assert served.usage.remembered == 0
    place.write_bytes(place.read_bytes()[:-5])
    with (
        permutation_teacher(server.url, "m", **kept) as served,
        pytest.raises(RecordError, match=re.escape(place.name)),
    ):
        teach(served.who, pages, kept=None)


def test_the_key_is_not_kept(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-very-secret")
    with permutation_teacher(server.url, "m", kept=tmp_path, key_variable="TEST_KEY", settings=SETTINGS) as served:
        teach(served.who, [page_of("q")], kept=tmp_path)
        assert "secret" not in served.who.name
    assert not any(b"sk-very" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    monkeypatch.delenv("TEST_KEY")
    with (
        permutation_teacher(server.url, "m", kept=None, key_variable="TEST_KEY") as served,
        pytest.raises(InputError, match="TEST_KEY"),
    ):
        teach(served.who, [page_of("q")], kept=None)


# ------------------------------------------------------------------ captions


def test_captions_and_orders_both_over_the_wire(server: Server, tmp_path: Path) -> None:
    """A served captioner says what a picture is worth, a served teacher ranks the captions."""

    rng = np.random.default_rng(0)
    refs = {n: ImageRef(to_data_uri(Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64))))
            for n in (3, 14, 15, 92, 65)}  # fmt: skip
    page = Page(Query("q", "about q"), tuple(Result(f"r{n}", Modality.IMAGE, images=(ref,)) for n, ref in refs.items()))

    class Names:
        name = "names"

        def caption(self, images: Sequence[ImageRef]) -> list[str]:
            return [f"worth {next(n for n, ref in refs.items() if ref == image)} coins" for image in images]

    server.faults = {"q": ["429", "words"]}
    with permutation_teacher(server.url, "m", kept=tmp_path, settings=SETTINGS, patience=PATIENCE) as served:
        (one,), report = distil_captions([page], {"q": {"r65"}}, Names(), served.who, kept=tmp_path)
        assert served.usage.requests == 4
    assert dict(zip(one.page.result_ids, one.targets, strict=True)) == {
        "r3": 1.0, "r14": 2.0, "r15": 3.0, "r92": 4.0, "r65": 5.0,
    }  # fmt: skip
    assert (report.kept, report.forced, report.mean_tau) == (1, 1, 1.0)
    assert report.teaching == TeachingCost(2, 0, {}, 0, report.teaching.seconds)


def test_a_served_captioner(server: Server, tmp_path: Path) -> None:
    refs = [ImageRef(to_data_uri(Image.new("RGB", (8, 8), colour))) for colour in ("red", "blue")]
    with endpoint_captioner(server.url, "m", kept=tmp_path, patience=PATIENCE, options={"seed": 3}) as served:
        assert served.who.caption(refs) == ["", ""]  # this server knows no pictures, and says nothing
        assert served.who.declined == 2
    assert {(body["max_tokens"], body["seed"]) for body in server.asked} == {(360, 3)}
