"""Every source of lists: what it yields, what it leaves out, and who is asked how often."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wholepage.apps.nexus_lists import OTHER_KIND, NexusLists, gather, texts_of
from wholepage.apps.nexus_recipe import read_nexus_recipe
from wholepage.apps.places import NotFound
from wholepage.pages.errors import InputError
from wholepage.pages.images import open_image
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.pages.protocols import by_score
from wholepage.pages.records import write_judgments, write_pages
from wholepage.rankers.bm25 import BM25Scorer
from wholepage.rankers.listwise import ListwiseRanker
from wholepage.training.small_vlm import SmallVlm, make_small_vlm
from wholepage.training.taught import ListKind, TaughtList, read_taught, write_taught

TINY = SmallVlm(vocabulary=300, dim=64, heads=2, mlp=32, sight_dim=32, sight_layers=1, sight_heads=2)


def gathered(folder: Path, table: str, *more: str, kept: str = "kept") -> NexusLists:
    """The lists of a recipe whose only stage is ``one``."""
    path = folder / "recipe.toml"
    path.write_text("\n".join([f"[lists.one]\n{table}", '[[stages]]\nname = "one"', *more]), encoding="utf-8")
    return gather(read_nexus_recipe(path), folder / kept)


def text_page(name: str, *texts: str) -> Page:
    return Page(Query(name, f"red {name}"), tuple(Result(f"r{i}", Modality.TEXT, t) for i, t in enumerate(texts)))


# --- generated, lookup, several, held out -----------------------------------------------------------------------------

WORLD = 'from = "generated"\nqueries = 6\nresults = [3, 4]\n'


def test_generated_lists_have_the_world_s_grades_and_their_pictures_on_disk(tmp_path: Path) -> None:
    found = gathered(tmp_path, WORLD + 'modalities = ["text", "image"]')
    lists, report = found.stages["one"], found.reports["lists.one"]
    assert report.lists == {ListKind.MIXED: len(lists)}
    assert len(lists) + sum(report.left_out.values()) == report.read == 4  # a quarter is of dev
    pictures = [ref for one in lists for result in one.page.results for ref in result.images]
    assert pictures
    assert all(Path(ref.uri).is_relative_to(tmp_path / "kept/pictures") for ref in pictures)
    assert {target for one in lists for target in one.targets} <= {0.0, 1.0, 2.0, 3.0}
    assert gathered(tmp_path, WORLD + 'modalities = ["text", "image"]').stages == found.stages


def test_rendered_texts_are_pictures_after_they_were_judged(tmp_path: Path) -> None:
    plain = gathered(tmp_path, WORLD + 'modalities = ["text"]').stages["one"]
    drawn = gathered(tmp_path, WORLD + 'modalities = ["text"]\nrendered = true').stages["one"]
    assert {one.kind for one in plain} == {ListKind.TEXT}
    assert {one.kind for one in drawn} == {ListKind.IMAGE}
    assert [one.targets for one in plain] == [one.targets for one in drawn]
    assert open_image(drawn[0].page.results[0].images[0]).size == (224, 224)


def test_lookup_lists_use_words_of_the_stages_texts_alone(tmp_path: Path) -> None:
    own = [TaughtList(text_page(f"q{i}", f"stageword{chr(97 + i)} here", "other"), (1.0, 0.0), "x") for i in range(26)]
    held = [TaughtList(text_page("q", "heldword", "other"), (1.0, 0.0), "x")]
    write_taught(tmp_path / "own.jsonl", own)
    write_taught(tmp_path / "held.jsonl", held)
    found = gathered(
        tmp_path,
        'from = "file"\npath = "own.jsonl"',
        '[lists.words]\nfrom = "lookup"\ncount = 30\nresults = 3\n[[stages]]\nname = "words"',
        '[held_out.text]\nfrom = "file"\npath = "held.jsonl"',
    )
    words = {word for text in texts_of(found.stages["words"]) for word in text.split()}
    assert {"stageworda", "here"} <= words
    assert "heldword" not in words
    assert found.reports["lists.words"].lists == {ListKind.TEXT: 30}
    assert found.held_out[ListKind.TEXT] == held
    assert list(texts_of(own))[:3] == ["red q0", "stageworda here", "other"]


def test_several_sources_are_one(tmp_path: Path) -> None:
    for name in "ab":
        write_taught(tmp_path / f"{name}.jsonl", [TaughtList(text_page(name, "x", "y"), (1.0, 0.0), name)])
    found = gathered(
        tmp_path,
        'from = "several"\nlists = ["b", "a"]',
        *(f'[lists.{name}]\nfrom = "file"\npath = "{name}.jsonl"' for name in "ab"),
    )
    assert [one.teacher for one in found.stages["one"]] == ["b", "a"]
    assert found.reports["lists.one"].lists == {ListKind.TEXT: 2}
    assert list(found.stages) == ["one"]


def test_held_out_lists_of_another_kind_are_left_out_and_counted(tmp_path: Path) -> None:
    picture = Page(
        Query("p", "red"), (Result("a", Modality.IMAGE, images=(ImageRef("a.png"),)), Result("b", Modality.TEXT, "x"))
    )
    lists = [TaughtList(text_page("q", "x", "y"), (1.0, 0.0), "x"), TaughtList(picture, (1.0, 0.0), "x")]
    write_taught(tmp_path / "both.jsonl", lists)
    held = '[held_out.text]\nfrom = "file"\npath = "both.jsonl"'
    found = gathered(tmp_path, 'from = "file"\npath = "both.jsonl"\nlimit = 1', held)
    assert found.reports["held_out.text"].left_out == {OTHER_KIND: 1}
    assert len(found.held_out[ListKind.TEXT]) == len(found.stages["one"]) == 1
    with pytest.raises(InputError, match=r"\[held_out.image\]: got no list of 2 read \(left out: {'other_kind': 2}\)"):
        gathered(tmp_path, 'from = "file"\npath = "both.jsonl"\nlimit = 1', held.replace("out.text", "out.image"))


# --- collections ------------------------------------------------------------------------------------------------------

OWN = 'from = "collection"\nname = "jsonl"\nroot = "own"\n'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Pages of which one has equal grades, one a single graded result, and all a picture."""
    (tmp_path / "own").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "own/p.png")
    photo = Result("p", Modality.IMAGE, images=(ImageRef("p.png"),))
    pages = [
        text_page(name, f"red {name} and more", "blue sky", "green tree") for name in ("shoe", "hat", "bag", "tie")
    ]
    write_pages(tmp_path / "own/train.pages.jsonl", [Page(page.query, (*page.results, photo)) for page in pages])
    grades = {
        "shoe": {"r0": 2.0, "r1": 0.0, "p": 1.0},
        "hat": {"r0": 1.0, "r1": 1.0},
        "bag": {"r0": 1.0},
        "tie": {"r2": 1.0, "p": 0.0},
    }
    write_judgments(tmp_path / "own/train.judgments.jsonl", Judgments.from_mapping(grades, who="me"))
    return tmp_path


def test_grades_that_do_not_differ_make_no_list(own: Path) -> None:
    found = gathered(own, OWN)
    shoe, tie = found.stages["one"]
    assert (shoe.page.result_ids, shoe.targets, shoe.teacher) == (("r0", "r1", "p"), (2.0, 0.0, 1.0), "jsonl")
    assert tie.page.result_ids == ("r2", "p")
    assert found.reports["lists.one"].left_out == {"level": 1, "short": 1}
    assert found.reports["lists.one"].read == 4
    only = gathered(own, OWN + 'modalities = ["text"]\nlimit = 2')
    assert [one.page.result_ids for one in only.stages["one"]] == [("r0", "r1")]
    assert only.reports["lists.one"].read == 2


def test_nothing_left_is_an_error(own: Path) -> None:
    with pytest.raises(InputError, match=r"\[lists.one\]: got no list of 4 read .*'short': 4"):
        gathered(own, OWN + 'modalities = ["image"]')


def test_words_in_common_teach_no_order_of_what_has_none(own: Path) -> None:
    found = gathered(own, OWN + 'teacher = "bm25"')
    assert len(found.stages["one"]) == 4
    first = found.stages["one"][0]
    assert first.page.result_ids == ("r0", "r1", "r2")  # a photo has no words
    assert first.targets == (3.0, 1.5, 1.5)
    taught = found.reports["lists.one"].teaching
    assert taught is not None
    assert (taught.asked, taught.remembered) == (4, 0)
    again = gathered(own, OWN + 'teacher = "bm25"').reports["lists.one"].teaching
    assert again is not None
    assert (again.asked, again.remembered) == (0, 4)


def test_a_trained_ranker_teaches_and_another_one_of_its_name_is_asked_anew(own: Path) -> None:
    pages = [one.page for one in gathered(own, OWN + 'modalities = ["text"]\nteacher = "bm25"').stages["one"]]
    rankers = [ListwiseRanker(make_small_vlm(["red shoe", "blue sky"], TINY, seed=seed)) for seed in (0, 1)]
    for ranker in rankers:
        ranker.save(own / "model")
        found = gathered(own, OWN + 'modalities = ["text"]\nteacher = "model"')
        taught = found.reports["lists.one"].teaching
        assert taught is not None
        assert taught.asked == 4
        wanted = [TaughtList.ranked(page, ranking) for page, ranking in zip(pages, ranker.rank(pages), strict=True)]
        assert [one.targets for one in found.stages["one"]] == [one.targets for one in wanted]
    with pytest.raises(NotFound):
        gathered(own, OWN + 'teacher = "nowhere"')


def test_orders_that_come_with_the_lists(own: Path) -> None:
    said = "I will provide you with 2 passages, each indicated by a numerical identifier []. Rank the passages based on their relevance to the search query: ink.\n\n[1] cats\n[2] ink\n\nSearch Query: ink.\nRank the 2 passages above based on their relevance."  # noqa: E501
    turns = [{"from": "human", "value": said}, {"from": "gpt", "value": "[2] > [1]"}]
    (own / "zephyr").mkdir()
    (own / "zephyr/train.jsonl").write_text(json.dumps({"id": "z", "conversations": turns}))
    table = 'from = "collection"\nname = "rank_lists"\nroot = "zephyr"\nteacher = "given"\noptions = { by = "gpt" }\n'
    (one,) = gathered(own, table).stages["one"]
    assert ([r.text for r in one.page.results], one.targets, one.teacher) == (["cats", "ink"], (1.0, 2.0), "gpt")
    with pytest.raises(InputError, match="for collections whose lists come with an order"):
        gathered(own, OWN + 'teacher = "given"')


# --- saved runs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def trec(tmp_path: Path) -> Path:
    """Two queries with three passages each; two models ordered them, one of them only the first query's."""
    root = tmp_path / "data/trec_dl"
    (root / "teacher_runs").mkdir(parents=True)
    (root / "dl19.queries.tsv").write_text("1\twhat is ink\n2\twhat is tea\n")
    passages = [{"id": name, "text": f"text of {name}"} for name in ("a", "b", "c")]
    (root / "dl19.passages.jsonl").write_text("".join(json.dumps(one) + "\n" for one in passages))
    run = "".join(f"{q} Q0 {p} {i} {9 - i}.0 BM25\n" for q in "12" for i, p in enumerate("abc", 1))
    (root / "dl19.BM25.run.tsv").write_text(run)
    orders = {"gpt.0": {"1": "cab", "2": "bac"}, "gpt.1": {"1": "cba"}}
    for name, of in orders.items():
        lines = "".join(f"{q} Q0 {p} {i} {9 - i}.0 x\n" for q, order in of.items() for i, p in enumerate(order, 1))
        with gzip.open(root / f"teacher_runs/dl19.BM25.{name}.txt.gz", "wt") as file:
            file.write(lines)
    return tmp_path


RUNS = 'from = "runs"\nyear = "dl19"\nroot = "data"\n'


def test_saved_runs_are_lists_of_their_own_or_agree(trec: Path) -> None:
    both = gathered(trec, RUNS)
    assert [(one.page.query_id, one.targets) for one in both.stages["one"]] == [
        ("1", (2.0, 1.0, 3.0)),
        ("2", (2.0, 3.0, 1.0)),
        ("1", (1.0, 2.0, 3.0)),
    ]
    one = gathered(trec, RUNS + 'teachers = ["gpt.1"]').stages["one"]
    assert [(each.teacher, each.targets) for each in one] == [("gpt.1", (1.0, 2.0, 3.0))]
    agreed = gathered(trec, RUNS + 'consensus = "borda"')
    assert [(each.page.query_id, each.targets) for each in agreed.stages["one"]] == [
        ("1", (1.5, 1.5, 3.0)),
        ("2", (2.0, 3.0, 1.0)),
    ]
    drawn = gathered(trec, RUNS + "limit = 1\nrendered = true").stages["one"]
    assert [(each.kind, each.targets) for each in drawn] == [(ListKind.IMAGE, (2.0, 1.0, 3.0))]
    with pytest.raises(InputError, match=r"teachers: got \['bert'\]; allowed: gpt.0, gpt.1"):
        gathered(trec, RUNS + 'teachers = ["bert"]')


# --- captions and servers ---------------------------------------------------------------------------------------------

COLOURS = ("red", "green", "blue", "black", "white", "yellow")


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A photo of each colour; the first caption asks, the others are the teacher's."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").mkdir()
    images: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (12, 12), colour).save(root / f"train2017/{number:012}.png")
        images.append({"file_name": f"{number:012}.png", "height": 12, "width": 12, "id": number})
        for text in (f"something {colour}", f"a {colour} square", f"{colour} all over"):
            said.append({"image_id": number, "id": len(said), "caption": text})
    whole = {"info": {}, "licenses": [], "images": images, "annotations": said}
    (root / "annotations/captions_train2017.json").write_text(json.dumps(whole))
    return tmp_path


PHOTOS = 'from = "captions"\nroot = "coco"\noptions = { results = 4, near = 0 }\n'
LAX = "distillation = { min_tau = -1.0, worst_gold_rank = 4 }\n"


def test_captions_of_people_teach_pixels(coco: Path) -> None:
    found = gathered(coco, PHOTOS + LAX + "limit = 5")
    lists, report = found.stages["one"], found.reports["lists.one"]
    told = report.distillation
    assert told is not None
    assert (report.read, told.pages, told.kept) == (5, 5, len(lists))
    assert len(lists) + sum(report.left_out.values()) == 5
    assert report.teaching == told.teaching
    for one in lists:
        colour = COLOURS[int(one.page.query_id.split("#")[0].rsplit(":", 1)[-1])]
        best = one.page.results[one.targets.index(max(one.targets))]
        assert open_image(best.images[0]).convert("RGB").getpixel((1, 1)) == Image.new("RGB", (1, 1), colour).getpixel(
            (0, 0)
        )
        assert all(not result.text for result in one.page.results)
    assert lists
    again = gathered(coco, PHOTOS + LAX + "limit = 5").reports["lists.one"].distillation
    assert again is not None
    assert (again.described, again.teaching.asked) == (0, 0)


class Server:
    """Says that every picture is red, and orders results as BM25 does."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body)
                message = {"content": server.said(body["messages"][-1]["content"])}
                usage = {"prompt_tokens": 1000, "completion_tokens": 10}
                data = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def said(self, parts: Any) -> str:
        words = parts if isinstance(parts, str) else "\n".join(part.get("text", "") for part in parts)
        if not isinstance(parts, str) and any(part["type"] == "image_url" for part in parts):
            return "A red square."
        entries = re.findall(r"^\[([A-Z])\] (.*)", words, re.MULTILINE)
        best = sorted(entries, key=lambda entry: "red" not in entry[1])
        return " > ".join(f"[{letter}]" for letter, _ in best)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.http.shutdown()
    running.thread.join()
    running.http.server_close()


def test_a_served_teacher_is_paid_once(own: Path, server: Server) -> None:
    at = f'url = "http://127.0.0.1:{server.http.server_port}/v1"'
    who = f'{{ {at}, model = "llm", patience = {{ prompt_price = 2.0 }} }}'
    table = OWN + f'modalities = ["text"]\nteacher = {who}'
    found = gathered(own, table)
    assert [max(zip(one.targets, one.page.result_ids, strict=True))[1] for one in found.stages["one"]] == ["r0"] * 4
    usage = found.reports["lists.one"].usage["teacher"]
    assert usage.requests == len(server.asked) == 4
    assert usage.cost == pytest.approx(4 * 1000 * 2.0 / 1e6)
    assert gathered(own, table).stages == found.stages
    assert len(server.asked) == 4


def test_a_served_captioner_and_teacher(coco: Path, server: Server) -> None:
    at = f'url = "http://127.0.0.1:{server.http.server_port}/v1"'
    who = f'captioner = {{ {at}, model = "vlm", length = {{ least = 1, most = 9 }} }}\n'
    who += f'teacher = {{ {at}, model = "llm" }}\n'
    found = gathered(coco, PHOTOS + LAX + who)
    report = found.reports["lists.one"]
    assert report.distillation is not None
    assert report.usage["captioner"].answers == report.distillation.described == len(COLOURS)
    assert report.usage["teacher"].answers > 0
    assert {one.teacher.split(" > ")[0] for one in found.stages["one"]} == {"caption(vlm, 1 to 9 words, 589824 pixels)"}
    before = len(server.asked)
    assert gathered(coco, PHOTOS + LAX + who).stages == found.stages
    assert len(server.asked) == before


def test_lists_of_a_file_come_back(tmp_path: Path) -> None:
    pages = [text_page(name, f"red {name}", "blue") for name in ("shoe", "hat")]
    lists = [TaughtList.ranked(p, r) for p, r in zip(pages, by_score(BM25Scorer()).rank(pages), strict=True)]
    write_taught(tmp_path / "kept.jsonl", lists)
    found = gathered(tmp_path, 'from = "file"\npath = "kept.jsonl"')
    assert found.stages["one"] == lists == list(read_taught(tmp_path / "kept.jsonl"))
    with pytest.raises(NotFound, match="lists: got"):
        gathered(tmp_path, 'from = "file"\npath = "none.jsonl"')


def test_real_drawings_of_emojis(data_root: Path, tmp_path: Path) -> None:
    if not (data_root / "emoji").is_dir():
        pytest.skip(f"no emoji in {data_root}")
    table = f'from = "collection"\nname = "emoji"\nroot = "{data_root}"\nlimit = 6\noptions = {{ kinds = ["mixed"] }}'
    found = gathered(tmp_path, table)
    assert found.reports["lists.one"].lists == {ListKind.MIXED: 6}
