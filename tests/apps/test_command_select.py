"""``wholepage select``: the folder it writes, the cost it tells, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner
from typer.testing import Result as Said

from wholepage.annotation.selection import Selection, parse_strategy, select
from wholepage.apps import to_annotate
from wholepage.apps.cli import app
from wholepage.apps.places import open_collection
from wholepage.apps.resolve import ranker_from
from wholepage.pages import InputError, Judgments, Modality, Page, Query, Ranking, Result
from wholepage.pages.records import read_pages, read_rankings, write_pages, write_rankings, write_run
from wholepage.rankers.fusion import SingleModal

QUERIES = 20
FULL = 20 * (9 + 6)


def page(query_id: str) -> Page:
    texts = [Result(f"t{i}", Modality.TEXT, f"{'red ' * i}shoes and {i} other words") for i in range(9)]
    answers = [Result(f"a{i}", Modality.ANSWER, f"{'shoes ' * i}are not all there is") for i in range(6)]
    return Page(Query(query_id, "red shoes"), (*texts, *answers))


PAGES = [page(f"q{i}") for i in range(QUERIES)]


def falling(p: Page, modality: Modality) -> Ranking:
    return Ranking(p.query_id, p.only(modality).result_ids[::-1], by="falling")


ORDERS = [{m: falling(p, m) for m in p.modalities} for p in PAGES]


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHOLEPAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WHOLEPAGE_DATA", "")
    monkeypatch.chdir(tmp_path)
    write_pages("pages.jsonl", PAGES)
    for modality in (Modality.TEXT, Modality.ANSWER):
        write_run(f"{modality}.trec", [falling(p, modality) for p in PAGES])


def run(*args: object) -> Said:
    return CliRunner().invoke(app, ["select", *map(str, args)], env={"COLUMNS": "200"})


def facts(*args: object, ranked: Sequence[str] = ("text.trec", "answer.trec")) -> dict[str, Any]:
    said = run("pages.jsonl", *(word for name in ranked for word in ("--rankings", name)), "-o", "out", "--json", *args)
    assert said.exit_code == 0, said.output
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def refused(code: int, *args: object) -> str:
    said = run(*args)
    assert said.exit_code == code, said.output
    assert said.stdout == ""
    assert "Traceback" not in said.stderr
    return said.stderr


def chosen(folder: str = "out") -> Selection:
    return Selection.from_json(Path(folder, "selection.json").read_bytes())


# ------------------------------------------------------------------ what is written


@pytest.mark.parametrize("spec", ["concentrated(p=0.1)", "top(p=0.2)", "window(lo=0.2, hi=0.4)", "whole_pages(p=0.3)"])
def test_the_folder_holds_what_the_strategy_chooses(spec: str) -> None:
    told = facts("--strategy", spec, "--seed", "3")
    assert chosen() == select(PAGES, ORDERS, parse_strategy(spec), seed=3)
    asked = [p for p in PAGES if chosen().bought[p.query_id]]
    assert list(read_pages("out/to_annotate.jsonl")) == asked  # whole, and none besides
    assert told["strategy"] == spec
    assert (told["labels"], told["of"], told["share"]) == (chosen().labels, FULL, chosen().labels / FULL)
    assert (told["pages"], told["of_pages"]) == (len(asked), QUERIES)
    by_letter = {"text": "t", "answer": "a"}
    for name, letter in by_letter.items():
        count = sum(i[0] == letter for ids in chosen().bought.values() for i in ids)
        assert told["modalities"][name] == {"labels": count, "of": QUERIES * {"t": 9, "a": 6}[letter]}
    assert set(told["modalities"]) == set(by_letter)
    assert (told["hours"], told["price"], told["at_most"]) == (None, None, told["labels"])


def test_the_orders_written_choose_the_same_again() -> None:
    facts("--strategy", "top", "--share", "0.3")
    first = {p.name: p.read_bytes() for p in Path("out").iterdir()}
    assert set(first) == {"to_annotate.jsonl", "selection.json", "rankings.jsonl"}
    kept = list(read_rankings("out/rankings.jsonl"))
    assert [r.result_ids for r in kept[:2]] == [
        ORDERS[0][Modality.TEXT].result_ids,
        ORDERS[0][Modality.ANSWER].result_ids,
    ]
    facts("--strategy", "top", "--share", "0.3", ranked=["out/rankings.jsonl"])
    assert {p.name: p.read_bytes() for p in Path("out").iterdir()} == first


def test_rankings_of_whole_pages_are_taken_apart() -> None:
    mixed = []
    for p, of in zip(PAGES, ORDERS, strict=True):
        texts, answers = of[Modality.TEXT].result_ids, of[Modality.ANSWER].result_ids
        mixed.append(Ranking(p.query_id, (*texts[:3], *answers, *texts[3:]), tuple(range(15, 0, -1))))
    write_rankings("mixed.jsonl", mixed)
    facts("--strategy", "top", "--share", "0.3", ranked=["mixed.jsonl"])
    assert chosen() == select(PAGES, ORDERS, parse_strategy("top(p=0.3)"), seed=0)


def test_without_rankings_the_offline_ranker_orders_every_list() -> None:
    said = run("pages.jsonl", "--strategy", "top", "--share", "0.34", "-o", "out")
    assert said.exit_code == 0, said.output
    assert "ordered by the offline default" in said.stderr
    assert "no opinion" not in said.stderr
    assert "102 of 300 (34.00 %)" in said.stdout
    orders, strange = to_annotate.orders_from_files(PAGES, [Path("out/rankings.jsonl")])
    assert strange == 0
    assert chosen() == select(PAGES, orders, parse_strategy("top(p=0.34)"), seed=0)
    ranker = ranker_from(None)
    merged = ranker.rank(PAGES[:1])[0]
    for modality, ranking in orders[0].items():
        alone = ranker.rank([PAGES[0].only(modality)])[0]  # a list does not depend on the others
        assert ranking.result_ids == alone.result_ids
        assert [i for i in merged.result_ids if i in ranking.result_ids] == list(ranking.result_ids)


def test_strategies_that_read_no_order_ask_for_none() -> None:
    said = run("pages.jsonl", "--strategy", "random", "-o", "out", "--rankings", "text.trec")
    assert said.exit_code == 0, said.output
    assert "random looks at no order" in said.stderr
    assert {p.name for p in Path("out").iterdir()} == {"to_annotate.jsonl", "selection.json"}
    assert chosen().labels == 30


def test_pages_that_were_judged_are_left_out() -> None:
    facts("--strategy", "top", "--share", "0.3")
    judged = sorted(q for q, ids in chosen().bought.items() if ids)[:12]
    Path("so_far.qrels").write_text("".join(f"{q} 0 t0 1\n" for q in [*judged, "elsewhere"]))
    told = facts("--strategy", "top", "--share", "0.3", "--judgments", "so_far.qrels")
    assert (told["of_pages"], told["labels"]) == (8, math.floor(0.3 * 8 * 15))
    assert set(chosen().bought) == {p.query_id for p in PAGES} - set(judged)
    Path("all.qrels").write_text("".join(f"{p.query_id} 0 t0 1\n" for p in PAGES))
    assert "all judged already" in refused(5, "pages.jsonl", "-o", "out", "--judgments", "all.qrels")


# ------------------------------------------------------------------ what it costs


def test_hours_and_price() -> None:
    told = facts("--strategy", "top", "--share", "0.5", "--seconds-per-label", "8", "--price-per-hour", "20")
    assert told["hours"] == pytest.approx(150 * 8 / 3600)
    assert told["price"] == pytest.approx(150 * 8 / 3600 * 20)
    assert facts("--strategy", "top", "--share", "0.5", "--seconds-per-label", "8")["price"] is None
    said = run("pages.jsonl", "--strategy", "random", "--share", "0.5", "-o", "out", "--seconds-per-label", "36",
               "--price-per-hour", "10")  # fmt: skip
    for part in ("random(p=0.5)", "150 of 300 (50.00 %)", "hours", "1.50", "price", "15.00"):
        assert part in said.stdout


def test_the_questions_of_anchors_depend_on_answers_so_the_bound_is_told() -> None:
    told = facts("--strategy", "anchors", "--share", "0.3", "--seconds-per-label", "3600")
    assert told["strategy"] == "anchors(p=0.3, audit=0.1)"
    assert told["at_most"] == told["hours"] == 90
    assert told["labels"] == 2 * told["pages"]  # the first question of both lists
    assert told["labels"] < told["worst_case"] <= 90
    more = facts("--strategy", "anchors", "--share", "0.3", "--levels", "2")
    assert more["pages"] > told["pages"]  # two grades take fewer questions a list
    said = run(
        "pages.jsonl", "--rankings", "text.trec", "--rankings", "answer.trec", "--strategy", "anchors", "-o", "out"
    )
    assert "at most, with what follows" in said.stdout


def test_active_begins_with_its_first_round() -> None:
    told = facts("--strategy", "active(p=0.4, floor=0.2, rounds=4)")
    assert told["at_most"] == 120
    assert told["labels"] == told["worst_case"] == 45  # .2 + .8 / 4 of 120, nine pages of 3 + 2


# ------------------------------------------------------------------ refusals


def test_what_is_not_there_is_4() -> None:
    refused(4, "gone.jsonl", "-o", "out")
    refused(4, "fashion", "-o", "out")
    refused(4, "pages.jsonl", "-o", "out", "--rankings", "gone.trec")
    refused(4, "pages.jsonl", "-o", "out", "--model", "gone")
    refused(4, "pages.jsonl", "-o", "out", "--judgments", "gone.qrels")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--strategy", "best"], "concentrated(p=0.1)"),
        (["--strategy", "window"], "window(lo=0.2, hi=0.4)"),
        (["--strategy", "top(p=0.1)", "--share", "0.2"], "drop --share"),
        (["--share", "0"], "above 0"),
        (["--price-per-hour", "20"], "--seconds-per-label"),
        (["--seconds-per-label", "inf"], "finite"),
        (["--rankings", "text.trec", "--model", "x"], "drop one"),
        (["--rankings", "text.trec"], "no ranking of ['answer']"),
        (["--rankings", "text.trec", "--rankings", "text.trec"], "second order of its text results"),
        (["--strategy", "anchors", "--counts", "at-least-one"], "within-budget"),
        (["--strategy", "random", "--share", "0.003"], "buys no label"),
        (["--split", "train"], "split 'train'"),
    ],
)
def test_bad_input_is_5_and_writes_nothing(args: list[str], named: str) -> None:
    assert named in refused(5, "pages.jsonl", "-o", "out", *args)
    assert not Path("out").exists()


def test_rankings_that_are_not_of_these_pages_are_refused() -> None:
    write_rankings("strange.jsonl", [Ranking("q3", ("t0", "zz"))])
    assert "'zz'" in refused(5, "pages.jsonl", "-o", "out", "--rankings", "strange.jsonl")
    write_rankings("part.jsonl", [Ranking("q3", ("t0", "t1"))])
    assert "lost" in refused(6, "pages.jsonl", "-o", "out", "--rankings", "part.jsonl")
    write_rankings("more.jsonl", [Ranking("elsewhere", ("x",))])
    said = run(
        "pages.jsonl", "-o", "out", "--rankings", "more.jsonl", "--rankings", "text.trec", "--rankings", "answer.trec"
    )
    assert said.exit_code == 0
    assert "not used: 1 rankings" in said.stderr


def test_wrong_command_line_is_2() -> None:
    refused(2, "pages.jsonl")
    refused(2, "pages.jsonl", "-o", "out", "--share", "1.5")
    refused(2, "pages.jsonl", "-o", "out", "--counts", "most")


def test_a_broken_picture_of_a_page_to_annotate_writes_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save("there.png")
    shown = [{"uri": "there.png"}], [{"uri": "gone.png"}]
    results = [
        {"result_id": f"i{n}", "modality": "image", "text": "shoe", "images": refs} for n, refs in enumerate(shown)
    ]
    Path("one.jsonl").write_text(json.dumps({"query": {"query_id": "q", "text": "shoes"}, "results": results}) + "\n")
    assert "gone.png" in refused(5, "one.jsonl", "-o", "out", "--strategy", "whole_pages", "--share", "1")
    assert not Path("out").exists()
    Image.new("RGB", (9, 9)).save("gone.png")
    assert run("one.jsonl", "-o", "out", "--strategy", "whole_pages", "--share", "1").exit_code == 0
    (written,) = read_pages("out/to_annotate.jsonl")
    assert written.results[1].images[0].uri == str(tmp_path / "gone.png")  # not beside the new file


def test_no_pages_is_an_error() -> None:
    Path("none.jsonl").write_text("")
    assert "got none" in refused(5, "none.jsonl", "-o", "out")


def test_a_collection_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_annotate, "open_collection", lambda name, root: open_collection(name, root, queries=12))
    said = run("synthetic", "-o", "out", "--strategy", "whole_pages", "--share", "0.3", "--json")
    assert said.exit_code == 0, said.output
    world = list(open_collection("synthetic", queries=12).pages("train"))
    assert json.loads(said.stdout)["of"] == sum(map(len, world))
    assert set(chosen().bought) == {p.query_id for p in world}


def test_a_folder_of_splits() -> None:
    Path("folder").mkdir()
    write_pages("folder/train.pages.jsonl", PAGES[:4])
    write_pages("folder/dev.pages.jsonl", PAGES[4:])
    for split, count in ((None, 4), ("dev", 16)):
        assert len(to_annotate.pages_of("folder", split, None)) == count


class _ByNumber:
    """A Scorer: the number of a result, no opinion on the first."""

    name = "by-number"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        return [np.array([int(i[1:]) or math.nan for i in p.result_ids], np.float32) for p in pages]


def test_the_single_modal_rankers_of_a_model_order_the_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SimpleNamespace(featurizer=SimpleNamespace(upstream=SingleModal(dict.fromkeys(Modality, _ByNumber()))))
    monkeypatch.setattr(to_annotate, "page_ranker", lambda folder, **_: model)
    said = run("pages.jsonl", "-o", "out", "--model", "model", "--strategy", "top", "--share", "0.5")
    assert said.exit_code == 0, said.output
    assert "no opinion on 40 of 300 results" in said.stderr
    assert "offline" not in said.stderr
    kept = list(read_rankings("out/rankings.jsonl"))
    assert kept[0].result_ids == ("t8", "t7", "t6", "t5", "t4", "t3", "t2", "t1", "t0")
    assert kept[1].result_ids == ("a5", "a4", "a3", "a2", "a1", "a0")
    assert [r.by.split(":")[0] for r in kept[:2]] == ["text", "answer"]


def test_lists_without_any_words_are_told() -> None:
    orders = [{Modality.TEXT: Ranking("q", ("a", "b", "c"), (1.0, None, None))}]
    assert to_annotate.without_opinion(orders) == 2
    with pytest.raises(InputError, match="all judged"):
        to_annotate.unjudged([], Judgments())
    assert math.isclose(to_annotate.strategy_of("top", None).p, to_annotate.DEFAULT_SHARE)
