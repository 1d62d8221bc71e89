"""Training lists of listwise rerankers in their true formats: conversations with numbers or letters, and requests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from wholepage.collections import open_collection
from wholepage.collections.rank_lists import RankLists
from wholepage.pages import Collection, InputError, Modality, Page, Query, Ranking, RecordError, Result
from wholepage.pages.rank_llm import write_rank_llm

TEXTS = ["Ink is made of soot.", "Cats [2] sleep > dogs.", "Ink was made in China (2500 BC)."]


def prompt(query: str, texts: list[str], *, letters: bool = False) -> str:
    """The words of castorini/rank_llm's prompt."""
    kind, names = (
        ("a alphabetical", "ABCDEFGHIJKLMNOPQRST") if letters else ("a numerical", [str(i + 1) for i in range(20)])
    )
    example = "[D] > [B]" if letters else "[4] > [2]"
    listed = "".join(f"[{name}] {text}\n" for name, text in zip(names, texts, strict=False))
    return (
        f"I will provide you with {len(texts)} passages, each indicated by {kind} identifier []. Rank the passages "
        f"based on their relevance to the search query: {query}.\n\n{listed}\nSearch Query: {query}.\nRank the "
        f"{len(texts)} passages above based on their relevance to the search query. All the passages should be "
        f"included and listed using identifiers, in descending order of relevance. The output format should be "
        f"[] > [], e.g., {example}, Only respond with the ranking results, do not say any word or explain."
    )


def row(said: str, answer: str, *, system: bool = True, **fields: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": said}, {"from": "gpt", "value": answer}]
    first = {"from": "system", "value": "You are RankLLM, an intelligent assistant that can rank passages."}
    return {**fields, "conversations": [first, *turns] if system else turns}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    raw = "".join(json.dumps(one) + "\n" for one in rows).encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


GOOD = [
    row(prompt("what is ink?", TEXTS), "[3] > [1] > [2]", id="rankzephyr_1"),
    row(prompt("ink", TEXTS[:2], letters=True), "[B] > [A]", system=False, docids=["d9", 4], scores=[2.0, 1.0]),
    row(prompt("what is ink?", TEXTS[::-1]), "[2]>[1] >[3]\n", id="rankzephyr_1"),
]


def test_conversations_become_pages_in_the_prompt_s_order_with_the_teacher_s(tmp_path: Path) -> None:
    collection = open_collection("rank_lists", write(tmp_path / "lists.jsonl.gz", GOOD), by="gpt-4")
    assert isinstance(collection, Collection)
    assert isinstance(collection, RankLists)
    assert collection.splits() == ("all",)
    numbers, letters, again = collection.lists("all")
    page, ranking = numbers
    assert (page.query_id, page.query.text) == ("rankzephyr_1", "what is ink?")
    assert [(r.result_id, r.text, r.modality) for r in page.results] == [
        (str(i + 1), text, Modality.TEXT) for i, text in enumerate(TEXTS)
    ]
    assert ranking == Ranking("rankzephyr_1", ("3", "1", "2"), None, "gpt-4")
    page, ranking = letters
    assert (page.query_id, page.result_ids, ranking.result_ids) == ("lists:2", ("d9", "4"), ("4", "d9"))
    assert again[0].query_id == again[1].query_id == "rankzephyr_1/2"
    assert [r.text for r in again[0].results] == TEXTS[::-1]
    assert all(ranking.check(page) for page, ranking in collection.lists("all"))
    assert list(collection.pages("all")) == [page for page, _ in collection.lists("all")]
    assert collection.left_out("all") == ()
    with pytest.raises(InputError, match=r"got no judgments; .*lists"):
        collection.judgments("all")


def test_passages_keep_their_lines_and_their_brackets(tmp_path: Path) -> None:
    texts = ["First line.\n[9] is no passage.\nSearch Query: this neither.", "[1] Second.", "Third [4]"]
    collection = RankLists(write(tmp_path / "a.jsonl", [row(prompt("x", texts), "[2] > [3] > [1]")]))
    ((page, _),) = collection.lists("all")
    assert [result.text for result in page.results] == texts


def test_twenty_passages_and_two_digit_names(tmp_path: Path) -> None:
    texts = [f"passage number {i}" for i in range(20)]
    order = [*range(20, 10, -1), *range(1, 11)]
    answer = " > ".join(f"[{i}]" for i in order)
    for letters in (False, True):
        said = " > ".join(f"[{chr(64 + i)}]" for i in order) if letters else answer
        path = write(tmp_path / f"{letters}.jsonl", [row(prompt("q", texts, letters=letters), said)])
        ((page, ranking),) = RankLists(path).lists("all")
        assert [result.text for result in page.results] == texts
        assert ranking.result_ids == tuple(map(str, order))


def test_a_json_list_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(json.dumps(GOOD, indent=1))
    write(tmp_path / "train.jsonl.gz", GOOD[:1])
    (tmp_path / "README.md").write_text("no split")
    collection = RankLists(tmp_path)
    assert collection.splits() == ("dev", "train")
    assert [page.query_id for page in collection.pages("dev")] == ["rankzephyr_1", "dev:1", "rankzephyr_1/2"]
    assert [r.result_ids for _, r in collection.lists("dev")] == [("3", "1", "2"), ("4", "d9"), ("2", "1", "3")]
    with pytest.raises(InputError, match="got split 'test'; allowed: dev, train"):
        collection.lists("test")
    write(tmp_path / "dev.jsonl", GOOD)
    with pytest.raises(InputError, match=r"got both dev.json and dev.jsonl"):
        RankLists(tmp_path)
    (tmp_path / "none").mkdir()
    for empty in (tmp_path / "none", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="allowed: a file, or a folder"):
            RankLists(empty)


BAD = [
    (row(prompt("q", TEXTS), "[1] > [2]"), r"loses \['3'\], invents \[\], repeats \[\]"),
    (row(prompt("q", TEXTS), "[1] > [2] > [2] > [3]"), r"repeats \['2'\]"),
    (row(prompt("q", TEXTS), "[1] > [2] > [3] > [4]"), r"invents \['4'\]"),
    (row(prompt("q", TEXTS), "I considered all 3 passages: [1] > [2] > [3]"), "no list of identifiers: 'I considered"),
    (row(prompt("q", TEXTS), "[A] > [B] > [C]"), "loses"),
    (row(prompt("q", TEXTS), ""), "no list of identifiers: ''"),
    (row(prompt("q", TEXTS).replace("with 3 passages", "with 4 passages"), "[1] > [2] > [3]"), "got 3 passages"),
    (row(prompt("q", TEXTS).replace("[2]", "(2)"), "[1] > [2] > [3]"), "got 1 passages"),
    (row(prompt("q", TEXTS[:1]), "[1]"), "got 1 passages"),
    (row(prompt("q", TEXTS).replace("query: q.", "query: other."), "[1] > [2] > [3]"), "two queries, 'other' and 'q'"),
    (row(prompt("", TEXTS), "[1] > [2] > [3]"), "two queries"),
    (row("Rank these!", "[1] > [2]"), "got no closing question"),
    (row("Rank!\n[1] a\n[2] b\n\nSearch Query: q.\nRank the 2 passages above now", "[1] > [2]"), "no opening sentence"),
    (row(prompt("q", TEXTS), "[1] > [2] > [3]", docids=["a", "b"]), r"docids: got 2; allowed: 3"),
    (row(prompt("q", TEXTS), "[1] > [2] > [3]", docids=["a", "b", "a"]), r"share the id 'a'"),
    (
        {"conversations": [{"from": "human", "value": "x"}]},
        r"conversations: got human; allowed: \(system,\) human, gpt",
    ),
    ({"conversations": []}, "conversations: got no turn"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=[message[:25] for _, message in BAD])
def test_a_row_that_is_no_list_is_refused_with_its_place_or_left_out(
    tmp_path: Path, bad: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "lists.jsonl", [GOOD[0], bad, GOOD[1]])
    with pytest.raises(RecordError, match=message) as caught:
        list(RankLists(path).lists("all"))
    assert (caught.value.path, caught.value.line) == (str(path), 2)
    assert "conversations" in caught.value.field or "docids" in caught.value.field
    lenient = RankLists(path, broken="leave-out")
    assert [page.query.text for page in lenient.pages("all")] == ["what is ink?", "ink"]
    ((_, line, why),) = lenient.left_out("all")
    assert line == 2
    assert str(caught.value) == why


@pytest.mark.parametrize(
    "bad", ['{"conversations": 3}', '{"id": "x"}', "not json", '{"conversations": [{"from": "me", "value": ""}]}']
)
def test_what_is_no_row_is_refused_always(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps(GOOD[0]) + "\n" + bad + "\n")
    for broken in ("refuse", "leave-out"):
        with pytest.raises(RecordError, match=r"lists.jsonl:2: "):
            list(RankLists(path, broken=broken).lists("all"))  # type: ignore[arg-type]


def ranked(query_id: str, order: list[str]) -> tuple[Page, Ranking]:
    page = Page(Query(query_id, "ink"), tuple(Result(one, Modality.TEXT, f"text {one}") for one in sorted(order)))
    return page, Ranking(query_id, tuple(order))


def write_requests(path: Path, lists: list[tuple[Page, Ranking]]) -> Path:
    write_rank_llm(path, [page for page, _ in lists], [ranking for _, ranking in lists])
    return path


def test_requests_of_rank_llm_never_show_the_answer_by_their_order(tmp_path: Path) -> None:
    ids = [f"d{i}" for i in range(12)]
    lists = [ranked(f"q{n}", ids[n:] + ids[:n]) for n in range(12)]
    results = write_requests(tmp_path / "results.jsonl", lists)
    collection = RankLists(results, layout="rank_llm", by="rank-zephyr")
    found = list(collection.lists("all"))
    for (page, ranking), (given, order) in zip(found, lists, strict=True):
        assert ranking == Ranking(given.query_id, order.result_ids, None, "rank-zephyr")
        assert set(page.result_ids) == set(ids)
        assert {r.result_id: r.text for r in page.results} == {r.result_id: r.text for r in given.results}
        assert page.result_ids not in (order.result_ids, given.result_ids)
    assert len({page.result_ids for page, _ in found}) == 12, "each query has a shuffle of its own"
    assert [p.result_ids for p, _ in found] == [p.result_ids for p in collection.pages("all")]
    other = RankLists(results, layout="rank_llm", seed=1)
    assert [p.result_ids for p in other.pages("all")] != [p.result_ids for p, _ in found]
    # The shuffle does not look at the order: the same candidates in another order give the same page.
    turned = write_requests(tmp_path / "turned.jsonl", [ranked(p.query_id, list(r.result_ids[::-1])) for p, r in lists])
    assert [p.result_ids for p in RankLists(turned, layout="rank_llm").pages("all")] == [p.result_ids for p, _ in found]


def test_requests_give_the_order_that_was_ranked(tmp_path: Path) -> None:
    asked = write_requests(tmp_path / "asked.jsonl", [ranked("q1", ["c", "a", "b"]), ranked("q2", ["x", "y"])])
    results = write_requests(tmp_path / "results.jsonl", [ranked("q1", ["b", "c"])])
    ((page, ranking),) = RankLists(results, layout="rank_llm", requests=asked).lists("all")
    assert page.result_ids == ("c", "b")
    assert ranking.check(page).result_ids == ("b", "c")
    strange = write_requests(tmp_path / "strange.jsonl", [ranked("q1", ["b", "z"])])
    with pytest.raises(RecordError, match="results that its request does not hold"):
        list(RankLists(strange, layout="rank_llm", requests=asked).lists("all"))


def test_options_are_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "lists.jsonl", GOOD)
    with pytest.raises(InputError, match="layout: got 'chat'; allowed: conversations, rank_llm"):
        RankLists(path, layout="chat")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="broken: got 'skip'"):
        RankLists(path, broken="skip")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"requests: got .* with layout 'conversations'"):
        RankLists(path, requests=path)
