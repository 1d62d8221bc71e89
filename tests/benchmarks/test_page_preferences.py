"""Measures beside people's preferences, on made-up pages with known answers; and judges that save work."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from wholepage.collections.image_preferences import ImagePreferences
from wholepage.collections.image_satisfaction import read_judged_searches

Script = Callable[[str], ModuleType]
QUERIES, ROWS, COLUMNS = 10, 3, 4
PLACES = ROWS * COLUMNS


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten queries; the page that is better by every grade is preferred, but for two ties between equal pages."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    relevance = ["Query\tImage(Search engine/query_imageID.jpg)\tAverage_Relevance_Score"]
    pairs = [
        "Query\tImage_pair(Search engine/query_imageID.jpg)\t"
        "three preference_tags(-2: Definitely left, -1:left, 0:Tie, 1: Right, 2: Definitely Right)"
    ]
    pages, positions = ["Query\tWinner(0: Sogou, 1: Tie, 2: Baidu)"], {}
    grid = {str(n): [n // COLUMNS, n % COLUMNS, COLUMNS] for n in range(PLACES)}
    for number in range(QUERIES):
        query, better = f"q{number}", ("sogou", None, "baidu")[0 if number < 4 else 2 if number < 8 else 1]
        positions[query] = {"0": grid, "1": grid}
        low = rng.uniform(5, 45, PLACES)
        grades = {engine: low + (50 if engine == better else 0) for engine in ("baidu", "sogou")}
        relevance += [f"{query}\t{e}/{query}_{n}.jpg\t{g}" for e, of in grades.items() for n, g in enumerate(of)]
        tag = {"baidu": -1, "sogou": 2, None: 0}[better]
        pairs += [f"{query}\tbaidu/{query}_{n}.jpg,sogou/{query}_{n}.jpg\t{tag}\t{tag}\t0" for n in range(PLACES)]
        pages.append(f"{query}\t{('sogou', None, 'baidu').index(better)}")
    rows, screens = ([f"user,task_id,query_id,{name},relevance"] for name in ("row_id", "page_id"))
    said = ["user_id,task_id,query_id,query,satisfaction"]
    for user, number in np.ndindex(4, 5):
        said.append(f"{user},1,{number},red shoes,{number + 1}")
        rows += [f"{user},1,{number},{row},{min(3, number)}" for row in range(10)]
        screens += [f"{user},1,{number},{screen},{3 - min(3, number)}" for screen in (1, 2)]
    for name, lines in {
        "relevance_data.tsv": relevance, "image_pairs_annotation.tsv": pairs, "SERP_level_preference.tsv": pages,
        "image_position.json": [json.dumps(positions)], "tois_query_satisfaction.csv": said,
        "tois_row_judgments.csv": rows, "tois_page_judgments.csv": screens,
    }.items():  # fmt: skip
        path = root / "image_search_preferences" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_measures_that_see_the_better_page_always_agree(script: Script, root: Path) -> None:
    bench, values = script("page_preferences"), script("preference_values")
    collection = ImagePreferences(root)
    people = {f"q{n}": -1 if n < 4 else 1 if n < 8 else 0 for n in range(QUERIES)}
    of = values.page_values(collection)
    assert len(of) == len(values.ITEMS) + 2 * len(values.ROWS) + len(values.BY_PAIRS) + 1
    for name in ("nDCG@10", "RBP(p=0.8, top=4)", "nDCG@3 of rows, max", "nDCG by pairs", "P(rel=2)@10", "ERR@10"):
        told = bench.page_told(of[name], people, 100, 0)
        assert set(told.agree) == {f"q{n}" for n in range(8)}
        assert set(told.agree.values()) == {1.0}
        assert told.ties == pytest.approx(0.2)
        assert told.order > 0.8
        assert told.low <= told.order + 1e-9
        assert told.order <= told.high + 1e-9
    blind = bench.page_told({"baidu": dict.fromkeys(people, 0.5), "sogou": dict.fromkeys(people, 0.5)}, people, 100, 0)
    assert (set(blind.agree.values()), blind.ties, blind.order, blind.low, blind.high) == ({0.5}, 1.0, 0.0, 0.0, 0.0)


def test_gains_by_rows_and_by_pairs_are_what_they_are_said_to_be(script: Script, root: Path) -> None:
    values = script("preference_values")
    collection = ImagePreferences(root)
    graded = values.scaled(collection.judgments("both"))
    first = [one.relevance / 25 for one in collection.shown("q0", "baidu")]
    assert [graded.by_result("q0")[f"baidu/q0_{n}.jpg"] for n in range(PLACES)] == pytest.approx(first)
    pages, rows = values.rows_of({"baidu": list(collection.pages("baidu"))}, graded, "mean")
    assert pages["baidu"][0].result_ids == ("baidu row 0", "baidu row 1", "baidu row 2")
    assert len(pages["baidu"][0].results[1].images) == COLUMNS
    assert rows.by_result("q0")["baidu row 1"] == pytest.approx(np.mean(first[COLUMNS : 2 * COLUMNS]))
    won = values.win_shares(collection)
    assert won.by_result("q5")["baidu/q5_0.jpg"] == pytest.approx(4 * (1 + 1 + 0.5) / 3)  # tags -1, -1, 0
    assert won.by_result("q5")["sogou/q5_0.jpg"] == pytest.approx(4 * (0 + 0 + 0.5) / 3)
    assert won.by_result("q9")["sogou/q9_0.jpg"] == 2.0


def test_ties_of_a_measure_count_a_half(script: Script) -> None:
    shared = script("page_preferences").shared
    assert [shared(d, s) for d, s in ((0.1, 1), (0.1, -1), (-2, -1), (0.0, 1), (1e-12, -1))] == [1, 0, 1, 0.5, 0.5]


def test_satisfaction_is_compared_within_a_user(script: Script, root: Path) -> None:
    bench, searches = script("page_preferences"), read_judged_searches(root)
    told = bench.search_told(searches, [one.satisfaction for one in searches], upper=4)
    rows = told["mean of 10 rows"]  # grades 0, 1, 2, 3, 3 for satisfaction 1 to 5: one tie of ten pairs
    assert set(rows.agree) == {f"user {n}" for n in range(4)}
    assert list(rows.agree.values()) == pytest.approx([0.95] * 4)
    assert (rows.ties, rows.auc) == (pytest.approx(0.1), 1.0)
    assert list(told["grade of the first screen"].agree.values()) == pytest.approx([0.05] * 4)
    assert math.isnan(rows.low)
    left = bench.search_told(searches, [one.screens[0] for one in searches], upper=2, without=["first row"])
    assert "first row" not in left


def test_the_whole_report(script: Script, root: Path) -> None:
    text = script("page_preferences").report(ImagePreferences(root), read_judged_searches(root), 50, 0)
    assert "10 queries, the first three rows" in text
    assert "people preferred one for 8 and neither for 2" in text
    assert "Judged@10 is 1.000" in text
    assert "nDCG@10 (reference)" in text
    assert "20 searches of 4 users" in text


def test_a_judge_who_is_right_saves_work(script: Script, tmp_path: Path) -> None:
    bench, rng = script("model_judge"), np.random.default_rng(5)
    folder = tmp_path / "chorus_products"
    folder.mkdir()
    words = ["red", "blue", "green", "small", "large", "shoe", "lamp", "chair", "cup", "phone"]
    said = [[" ".join(rng.choice(words, size)) for size in (3, 5)] for _ in range(60)]
    products = [{"id": str(n), "title": t, "short_description": d} for n, (t, d) in enumerate(said)]
    with gzip.open(folder / "products.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in [*products, {"id": "none", "title": ""}])
    lines = ["query\tdocid\tagent1\tagent2\tagent3\tfinal", "red\tnone\t0\t0\t0\t0", "rare\t1\t0\t0\t0\t3"]
    for number in range(30):
        for n in rng.permutation(60)[:12]:
            grade = int(rng.integers(0, 4))
            lines.append(f"{words[number % 10]} {number}\t{n}\t{grade}\t{rng.integers(0, 4)}\t{3 - grade}\t{grade}")
    with gzip.open(folder / "ratings_3agents.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    titles, texts = bench.read_products(tmp_path)
    grades = bench.read_grades(tmp_path, titles)
    assert len(grades["final"]) == 30
    assert "none" not in titles
    draw = bench.whole_queries(grades["agent1"], grades["final"], [bench.ranked(grades["final"], titles)], 0.3)
    truth, found = draw(np.random.default_rng(0), 20)
    assert {one.people for one in found} == {9}
    assert np.mean([one.weight for one in found]) > 0.5
    assert np.mean([(one.high - one.low) / (one.people_high - one.people_low) for one in found]) < 0.8
    assert abs(np.mean([one.estimate for one in found]) - truth) < 0.05
    text = bench.report(grades, titles, texts, 5, 0)
    assert "30 queries with 10 rated products or more" in text
    assert "rater 1 100%" in text
    assert text.count("\n| ") >= 25
