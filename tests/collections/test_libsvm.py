"""Learning-to-rank sets: LightGBM's true files beside scikit-learn's reading, MSLR's form, what is refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from wholepage.collections import open_collection
from wholepage.collections.libsvm import LibSvm
from wholepage.pages import Collection, InputError, RecordError

MSLR = """\
2 qid:1 1:3 2:3 3:0.5 136:-1.25
0 qid:1 1:0 2:1e-3
1 qid:13 1:0.25 #docid = GX029-35 inc = 0.02 prob = 0.1
4 qid:13 2:7 # docid=GX030-01 inc = 1
"""


def test_true_files_are_what_scikit_learn_reads(data_root: Path) -> None:
    folder = data_root / "ltr_lightgbm"
    if not folder.is_dir():
        pytest.skip(f"no ltr_lightgbm in {data_root}: set WHOLEPAGE_DATA to a folder that holds it")
    datasets = pytest.importorskip("sklearn.datasets")
    collection = open_collection("libsvm", data_root)
    assert isinstance(collection, Collection)
    assert isinstance(collection, LibSvm)
    assert collection.splits() == ("rank.test", "rank.train")
    features, labels = datasets.load_svmlight_file(str(folder / "rank.test.gz"), zero_based=False)
    pages, said = list(collection.pages("rank.test")), collection.judgments("rank.test")
    assert (len(pages), len(list(collection.pages("rank.train")))) == (50, 201)
    results = [(page.query_id, result) for page in pages for result in page.results]
    assert len(results) == features.shape[0] == 768
    dense = features.toarray()
    for number, (query_id, result) in enumerate(results):
        ours = np.zeros(dense.shape[1])
        for name, value in result.features.items():
            ours[int(name) - 1] = value
        np.testing.assert_array_equal(ours, dense[number])
        assert said.by_result(query_id)[result.result_id] == labels[number]


def test_lines_with_qid(tmp_path: Path) -> None:
    (tmp_path / "vali.txt").write_text(MSLR)
    collection = LibSvm(tmp_path)
    first, second = collection.pages("vali")
    assert (first.query_id, first.result_ids) == ("1", ("1", "2"))
    assert first.results[0].features == {"1": 3.0, "2": 3.0, "3": 0.5, "136": -1.25}
    assert (second.query_id, second.result_ids) == ("13", ("GX029-35", "GX030-01"))
    assert collection.judgments("vali").by_result("13") == {"GX029-35": 1.0, "GX030-01": 4.0}


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("1 qid:1 1:2\nx qid:1 1:2\n", 2, "label"),
        ("-1 qid:1 1:2\n", 1, "label"),
        ("1 1:2\n", 1, "qid"),
        ("1 qid:1 1:2\n1 qid:2 1:2\n1 qid:1 1:2\n", 3, "qid"),
        ("1 qid:1 1:2 1:3\n", 1, "feature 1"),
        ("1 qid:1 1:nan\n", 1, "feature"),
        ("1 qid:1 a:2\n", 1, "feature"),
        ("1 qid:1 1\n", 1, "feature"),
        ("1 qid:1 1:2 #docid = a\n1 qid:1 1:2 #docid = a\n", 1, "docid"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, line: int, field: str) -> None:
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(RecordError) as caught:
        list(LibSvm(tmp_path).pages("train"))
    assert (caught.value.line, caught.value.field) == (line, field)


@pytest.mark.parametrize(
    ("sizes", "file", "line"), [("1\n", "rank", 2), ("1\n2\n", "rank.query", 2), ("1\nx\n", "rank.query", 2)]
)
def test_sizes_that_do_not_fit_are_named(tmp_path: Path, sizes: str, file: str, line: int) -> None:
    (tmp_path / "rank").write_text("1 1:2\n0 1:3\n")
    (tmp_path / "rank.query").write_text(sizes)
    with pytest.raises(RecordError) as caught:
        list(LibSvm(tmp_path).pages("rank"))
    assert (Path(caught.value.path).name, caught.value.line) == (file, line)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(queries: int) -> int:
        folder = tmp_path / str(queries)
        folder.mkdir(exist_ok=True)
        lines = (
            f"1 qid:{q} " + " ".join(f"{n}:{n / 7}" for n in range(1, 20)) for q in range(queries) for _ in range(5)
        )
        (folder / "train.txt").write_text("\n".join(lines))
        tracemalloc.start()
        assert sum(1 for _ in LibSvm(folder).graded_pages("train")) == queries
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    peak(800)  # what is loaded once
    assert peak(800) < 1.2 * peak(200) + 600 * 200  # four times the queries; of those met the ids are held


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not hold it"):
        LibSvm(tmp_path)
