"""Image search pages and people's preferences: made-up files in the true format, refusals, the data itself."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from wholepage.collections import open_collection
from wholepage.collections.image_preferences import ImagePreferences, PageOpinion, PairOpinion
from wholepage.collections.image_satisfaction import JudgedSearch, read_judged_searches, read_tasks
from wholepage.pages import Choice, Collection, ImageError, InputError, Modality, RecordError
from wholepage.pages.images import open_image

RELEVANCE = "Query\tImage(Search engine/query_imageID.jpg)\tAverage_Relevance_Score\n"
PAIRS = (
    "Query\tImage_pair(Search engine/query_imageID.jpg)\t"
    "three preference_tags(-2: Definitely left, -1:left, 0:Tie, 1: Right, 2: Definitely Right)\n"
)
PAGES = "Query\tWinner(0: Sogou, 1: Tie, 2: Baidu)\n"
# 红_1 holds the mark that parts a query from a number. Baidu shows 2 + 1 pictures, Sogou 1.
GRIDS = {
    "红_1": {"0": {"0": [0, 0, 1]}, "1": {"0": [0, 0, 2], "1": [0, 1, 2], "2": [1, 0, 1]}},
    "b": {"0": {"0": [0, 0, 1]}, "1": {"0": [0, 0, 1]}},
}
GRADED = {"baidu/红_1_1": 10, "baidu/红_1_0": 99.5, "baidu/红_1_2": 0, "sogou/红_1_0": 33.25}
FILES = {
    "relevance_data.tsv": RELEVANCE
    + "".join(f"红_1\t{name}.jpg\t{grade}\n" for name, grade in GRADED.items())
    + "b\tsogou/b_0.jpg\t50\nb\tbaidu/b_0.jpg\t100\n",
    "image_position.json": json.dumps(GRIDS),
    "image_pairs_annotation.tsv": PAIRS
    + "红_1\tbaidu/红_1_0.jpg,baidu/红_1_2.jpg\t-2\t-1.0\t0\n红_1\tsogou/红_1_0.jpg,baidu/红_1_1.jpg\t1\t2\t-1\n",
    "SERP_level_preference.tsv": PAGES + "b\t1\n红_1\t2\n",
    "tois_query_satisfaction.csv": 'user_id,task_id,query_id,query,satisfaction\n4,0,1,红花,5\n4,2,0,"a, b",1\n',
    "tois_row_judgments.csv": "user,task_id,query_id,row_id,relevance\n4,2,0,0,3\n4,0,1,0,1\n4,2,0,1,0\n",
    "tois_page_judgments.csv": "user,task_id,query_id,page_id,relevance\n4,2,0,1,3\n4,0,1,1,2\n4,0,1,2,0\n",
    "tois_task.txt": '# kinds of task\n0: "Learn to tie."\n2: "Find 3: flowers."\n',
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The data set as files; every second one packed."""
    for n, (name, text) in enumerate(FILES.items()):
        put(tmp_path, name, text, packed=n % 2 == 0)
    return tmp_path


def put(root: Path, name: str, text: str, *, packed: bool = False) -> None:
    folder = root / "image_search_preferences"
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"{name}*"):
        old.unlink()
    (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(text.encode()) if packed else text.encode())


# ------------------------------------------------------------------ pages of two engines


def test_pages_are_what_each_engine_showed(root: Path) -> None:
    collection = open_collection("image_preferences", root)
    assert isinstance(collection, Collection)
    assert isinstance(collection, ImagePreferences)
    assert collection.splits() == ("baidu", "sogou", "both")
    red, other = collection.pages("baidu")
    assert (red.query_id, red.query.text, other.query_id) == ("红_1", "红_1", "b")
    assert red.result_ids == ("baidu/红_1_0.jpg", "baidu/红_1_1.jpg", "baidu/红_1_2.jpg")
    assert [(r.features["row"], r.features["column"]) for r in red.results] == [(0, 0), (0, 1), (1, 0)]
    assert red.modalities == (Modality.IMAGE,)
    assert next(collection.pages("sogou")).result_ids == ("sogou/红_1_0.jpg",)
    assert next(collection.pages("both")).result_ids == (*red.result_ids, "sogou/红_1_0.jpg")
    assert list(collection.pages("baidu")) == [red, other]
    assert [(p.number, p.row, p.column, p.columns, p.relevance) for p in collection.shown("红_1", "baidu")] == [
        (0, 0, 0, 2, 99.5), (1, 0, 1, 2, 10.0), (2, 1, 0, 1, 0.0),
    ]  # fmt: skip


def test_a_picture_that_is_not_there_is_an_error_when_opened(root: Path) -> None:
    [shown] = next(ImagePreferences(root).pages("sogou")).results
    with pytest.raises(ImageError) as caught:
        open_image(shown.images[0])
    assert caught.value.reason == "missing"


def test_judgments_hold_grades_and_each_assessor(root: Path) -> None:
    collection = ImagePreferences(root)
    both = collection.judgments("both")
    assert both.by_result("红_1") == {f"{name}.jpg": grade for name, grade in GRADED.items()}
    assert Counter(p.choice for p in both.preferences("红_1")) == {Choice.LEFT: 3, Choice.SAME: 1, Choice.RIGHT: 2}
    assert {p.who for p in both.preferences("红_1")} == {"assessor 1", "assessor 2", "assessor 3"}
    only = collection.judgments("baidu")
    assert len(only.preferences("红_1")) == 3
    assert set(only.by_result("红_1")) == set(both.by_result("红_1")) - {"sogou/红_1_0.jpg"}
    assert not collection.judgments("sogou").preferences("红_1")


def test_opinions_keep_what_the_files_say(root: Path) -> None:
    collection = ImagePreferences(root)
    assert list(collection.pair_opinions()) == [
        PairOpinion("红_1", "baidu/红_1_0.jpg", "baidu/红_1_2.jpg", (-2, -1, 0)),
        PairOpinion("红_1", "sogou/红_1_0.jpg", "baidu/红_1_1.jpg", (1, 2, -1)),
    ]
    assert next(collection.pair_opinions()).choices == (Choice.LEFT, Choice.LEFT, Choice.SAME)
    assert collection.page_opinions() == (PageOpinion("b", None), PageOpinion("红_1", "baidu"))


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("relevance_data.tsv", "Average_Relevance_Score", "Score", r"relevance_data.tsv:1: header: got .*'Score'"),
        ("relevance_data.tsv", "_1_1.jpg\t10\n", "_1_1.jpg\t101\n", r":2: relevance: got '101'; allowed: numbers"),
        ("relevance_data.tsv", "_1_1.jpg\t10\n", "_1_1.jpg\tnan\n", r":2: relevance: got 'nan'; allowed: a finite"),
        ("relevance_data.tsv", "_1_1.jpg\t10\n", "_1_1.jpg\tten\n", r":2: relevance: got 'ten'; allowed: a number"),
        ("relevance_data.tsv", "_1_1.jpg\t10\n", "_1_1.jpg\n", r":2: line: got 2 values; allowed: 3"),
        ("relevance_data.tsv", "baidu/红_1_1", "bing/红_1_1", r":2: image: got 'bing/红_1_1.jpg'; allowed: baidu/ or"),
        ("relevance_data.tsv", "baidu/红_1_1", "baidu/b_1", r":2: image: got 'baidu/b_1.jpg'"),
        ("relevance_data.tsv", "baidu/红_1_1", "baidu/红_1_01", r":2: image"),
        ("relevance_data.tsv", "baidu/红_1_0", "baidu/红_1_1", r":3: image: got 'baidu/红_1_1.jpg' again"),
        ("relevance_data.tsv", "baidu/红_1_1", "baidu/红_1_7", r"json:1: 红_1.1: got pictures \['0', '1'"),
        ("relevance_data.tsv", "b\tbaidu/b_0.jpg\t100\n", "", r":1: b.1: got pictures \['0'\]; relevance of \[\]"),
        ("relevance_data.tsv", "b\tsogou/b_0.jpg\t50\nb\tbaidu/b_0.jpg\t100\n", "", r"position.json: queries: got"),
        ("image_position.json", '"0": [0, 0, 2]', '"0": [0, 0, 3]', r"红_1.1.0: got 3 columns; allowed: 2, the"),
        ("image_position.json", '"2": [1, 0, 1]', '"2": [2, 0, 1]', r"红_1.1.2: got row 2, column 0; allowed: the"),
        ("image_position.json", '"2": [1, 0, 1]', '"2": [1, 1, 1]', r"红_1.1.2: got row 1, column 1"),
        ("image_position.json", "[1, 0, 1]", '[1, "0", 1]', r"image_position.json:1: .*got str; allowed: int"),
        ("image_position.json", "[1, 0, 1]", "[1, 0, 1", r"image_position.json:1: line"),
    ],
)  # fmt: skip
def test_pages_with_errors_are_refused_with_their_place(root: Path, name: str, old: str, new: str, words: str) -> None:
    text = FILES[name].replace("\\u7ea2", "红").replace(old, new, 1)
    assert text != FILES[name].replace("\\u7ea2", "红")
    put(root, name, text)
    with pytest.raises(RecordError, match=words):
        list(ImagePreferences(root).pages("both"))


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("image_pairs_annotation.tsv", "\t-2\t", "\t-3\t", r":2: tag 1: got '-3'; allowed: whole numbers from -2 to 2"),
        ("image_pairs_annotation.tsv", "\t-1.0\t", "\t-1.5\t", r":2: tag 2: got '-1.5'"),
        (
            "image_pairs_annotation.tsv",
            ",baidu/红_1_2",
            ",baidu/红_1_3",
            r":2: pair: got .*two pictures with relevance",
        ),
        ("image_pairs_annotation.tsv", "_0.jpg,baidu/红_1_2", "_0.jpg;baidu/红_1_2", r":2: pair"),
        ("image_pairs_annotation.tsv", ",baidu/红_1_2", ",baidu/红_1_0", r":2: pair: got .*two different pictures"),
        ("image_pairs_annotation.tsv", "\t0\n", "\n", r":2: line: got 4 values; allowed: 5"),
        ("SERP_level_preference.tsv", "b\t1", "b\t3", r":2: winner: got '3'; allowed: whole numbers from 0 to 2"),
        ("SERP_level_preference.tsv", "b\t1", "红_1\t1", r":3: query: got '红_1' again"),
        ("SERP_level_preference.tsv", "b\t1", "c\t1", r":2: query: got 'c'"),
        ("SERP_level_preference.tsv", "b\t1", " \t1", r":2: query: got ' '; allowed: some text"),
    ],
)
def test_opinions_with_errors_are_refused_with_their_place(
    root: Path, name: str, old: str, new: str, words: str
) -> None:
    put(root, name, FILES[name].replace(old, new, 1))
    collection = ImagePreferences(root)
    with pytest.raises(RecordError, match=words):
        list(collection.pair_opinions() if "pairs" in name else collection.page_opinions())


def test_what_is_not_there_is_said(root: Path) -> None:
    collection = ImagePreferences(root)
    with pytest.raises(InputError, match="got split 'dev'; allowed: baidu, sogou, both"):
        list(collection.pages("dev"))
    with pytest.raises(InputError, match="got query 'c', engine 'baidu'; allowed: one of 2 queries"):
        collection.shown("c", "baidu")
    (root / "image_search_preferences/SERP_level_preference.tsv").unlink()
    with pytest.raises(InputError, match=r"no SERP_level_preference.tsv.*set WHOLEPAGE_DATA"):
        ImagePreferences(root)


# ------------------------------------------------------------------ searches and satisfaction


def test_searches_join_the_three_files(root: Path) -> None:
    assert read_judged_searches(root) == (
        JudgedSearch(4, 0, 1, "红花", 5, rows=(1,), screens=(2, 0)),
        JudgedSearch(4, 2, 0, "a, b", 1, rows=(3, 0), screens=(3,)),
    )
    assert read_tasks(root) == {0: "Learn to tie.", 2: "Find 3: flowers."}


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            "tois_query_satisfaction.csv",
            "红花,5",
            "红花,6",
            r":2: satisfaction: got '6'; allowed: whole numbers from 1",
        ),
        ("tois_query_satisfaction.csv", "user_id", "user", r"tois_query_satisfaction.csv:1: header"),
        ("tois_query_satisfaction.csv", "4,2,0", "4,0,1", r":3: user, task, number: got \(4, 0, 1\) again"),
        ("tois_query_satisfaction.csv", "4,2,0", "5,2,0", r":3: .*got \(5, 2, 0\); allowed: a search of tois_row"),
        ("tois_query_satisfaction.csv", '"a, b"', '"a, b', r":3: line"),
        ("tois_query_satisfaction.csv", '4,2,0,"a, b",1\n', "", r"tois_row_judgments.csv: .*got \[\(4, 2, 0\)\]"),
        ("tois_row_judgments.csv", "4,2,0,1,0", "4,2,0,2,0", r":4: row_id: got 2; allowed: 1, the next of \(4, 2, 0\)"),
        ("tois_row_judgments.csv", "4,2,0,1,0", "4,2,0,0,0", r":4: row_id: got 0"),
        ("tois_row_judgments.csv", "4,2,0,1,0", "4,2,0,1,4", r":4: relevance: got '4'; allowed: whole numbers from 0"),
        ("tois_page_judgments.csv", "4,2,0,1,3", "4,2,0,0,3", r":2: page_id: got '0'"),
        ("tois_page_judgments.csv", "4,2,0,1,3\n", "", r"allowed: a search of tois_page_judgments.csv"),
    ],
)
def test_searches_with_errors_are_refused_with_their_place(
    root: Path, name: str, old: str, new: str, words: str
) -> None:
    assert old in FILES[name]
    put(root, name, FILES[name].replace(old, new, 1))
    with pytest.raises(RecordError, match=words):
        read_judged_searches(root)


@pytest.mark.parametrize("line", ['2: "Again."', "3: no marks", '3: ""'])
def test_tasks_with_errors_are_refused(root: Path, line: str) -> None:
    put(root, "tois_task.txt", FILES["tois_task.txt"] + line + "\n")
    with pytest.raises(RecordError, match=r"tois_task.txt:4: line"):
        read_tasks(root)


# ------------------------------------------------------------------ the data itself


@pytest.fixture
def shared(data_root: Path) -> Path:
    if not (data_root / "image_search_preferences").is_dir():
        pytest.skip(f"no image_search_preferences in {data_root}")
    return data_root


def test_shared_pages_are_what_they_are_said_to_be(shared: Path) -> None:
    collection = ImagePreferences(shared)
    sizes = {split: [len(page) for page in collection.pages(split)] for split in collection.splits()}
    assert {split: (len(of), sum(of)) for split, of in sizes.items()} == {
        "baidu": (102, 1502), "sogou": (102, 1417), "both": (102, 2919),
    }  # fmt: skip
    assert Counter(one.winner for one in collection.page_opinions()) == {None: 46, "baidu": 28, "sogou": 28}
    tags = Counter(tag for one in collection.pair_opinions() for tag in one.tags)
    assert (sum(tags.values()), tags[0], tags[2]) == (3 * 41538, 44260, 3549)
    assert {max(p.row for p in collection.shown(o.query, "sogou")) for o in collection.page_opinions()} == {2}


def test_shared_searches_are_what_they_are_said_to_be(shared: Path) -> None:
    searches = read_judged_searches(shared)
    assert (len(searches), len({one.user for one in searches})) == (1119, 36)
    assert {(len(one.rows), len(one.screens)) for one in searches} == {(10, 2)}
    assert Counter(one.satisfaction for one in searches) == {5: 323, 4: 274, 3: 197, 2: 140, 1: 185}
    assert sorted(read_tasks(shared)) == list(range(13))
