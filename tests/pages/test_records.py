"""Records in files: what is written is read back equal, and what is broken is refused with its place."""

from __future__ import annotations

import copy
import gzip
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wholepage.pages import (
    Choice,
    Grade,
    ImageRef,
    InputError,
    Judgments,
    Modality,
    Page,
    Preference,
    Query,
    Ranking,
    RecordError,
    Result,
)
from wholepage.pages.records import (
    atomic_write,
    read_judgments,
    read_pages,
    read_rankings,
    write_judgments,
    write_pages,
    write_rankings,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
IMAGE = st.builds(
    ImageRef,
    st.one_of(
        NAME.map(lambda name: f"https://example.org/{name}"),
        NAME.map(lambda name: f"/pictures/{name}"),
        st.sampled_from(["data:image/png;base64,iVBORw0KGgo=", "zip:pictures.zip!/a.png", "file:///a.png"]),
    ),
    st.one_of(st.none(), st.just("0" * 64)),
)
QUERY = st.builds(
    Query, NAME, TEXT, st.one_of(st.none(), IMAGE), st.dictionaries(TEXT, st.one_of(FINITE, TEXT), max_size=3)
)


@st.composite
def results(draw: st.DrawFn) -> Result:
    modality = draw(st.sampled_from(Modality))
    text = draw(TEXT)
    pictured = modality in (Modality.IMAGE, Modality.VIDEO) or not text
    images = tuple(draw(st.lists(IMAGE, min_size=int(pictured), max_size=2)))
    return Result(draw(NAME), modality, text, images, draw(st.dictionaries(TEXT, FINITE, max_size=2)))


PAGES = st.lists(
    st.builds(Page, QUERY, st.lists(results(), max_size=4, unique_by=lambda result: result.result_id).map(tuple)),
    max_size=4,
    unique_by=lambda page: page.query_id,
)


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    ids = tuple(draw(st.lists(NAME, max_size=5, unique=True)))
    scores = draw(st.one_of(st.none(), st.tuples(*[st.one_of(st.none(), FINITE) for _ in ids])))
    return Ranking(draw(NAME), ids, scores, draw(TEXT))


RANKINGS = st.lists(rankings(), max_size=4, unique_by=lambda ranking: (ranking.query_id, ranking.by))
GRADES = st.lists(st.builds(Grade, NAME, NAME, st.floats(0, 1e300), TEXT, TEXT), max_size=5)
PREFERENCES = st.lists(
    st.builds(Preference, NAME, NAME.map("l{}".format), NAME.map("r{}".format), st.sampled_from(Choice), TEXT, TEXT),
    max_size=5,
)
SUFFIX = st.sampled_from([".jsonl", ".jsonl.gz"])


@settings(max_examples=60)
@given(PAGES, SUFFIX)
def test_pages_are_read_back_equal(pages: list[Page], suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"pages{suffix}"
        assert write_pages(path, iter(pages)) == len(pages)
        assert list(read_pages(path)) == pages
        assert os.listdir(folder) == [path.name]


@settings(max_examples=60)
@given(RANKINGS, SUFFIX)
def test_rankings_are_read_back_equal(ranked: list[Ranking], suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"rankings{suffix}"
        assert write_rankings(path, iter(ranked)) == len(ranked)
        assert list(read_rankings(path)) == ranked


@settings(max_examples=60)
@given(GRADES, PREFERENCES, SUFFIX)
def test_judgments_are_read_back_equal_in_an_order_of_their_own(
    grades: list[Grade], preferences: list[Preference], suffix: str
) -> None:
    said = Judgments(grades, preferences)
    with TemporaryDirectory() as folder:
        path, other = Path(folder) / f"one{suffix}", Path(folder) / f"other{suffix}"
        assert write_judgments(path, said) == len(said)
        assert read_judgments(path) == said
        told = list(said)[::-1]
        turned = Judgments(
            [answer for answer in told if isinstance(answer, Grade)],
            [answer for answer in told if isinstance(answer, Preference)],
        )
        write_judgments(other, turned)
        assert other.read_bytes() == path.read_bytes()


PAGE = Page(Query("q"), (Result("a", Modality.TEXT, "x"),))
GOOD = '{"query":{"query_id":"q"},"results":[{"result_id":"a","modality":"text","text":"x"}]}'


def with_result(**fields: Any) -> str:
    result = {"result_id": "a", "modality": "text", "text": "x", **fields}
    return json.dumps({"query": {"query_id": "q"}, "results": [result]})


BAD_PAGES = [
    # text of the file, line, field, what the message says
    ("", None, "", ""),  # an empty file holds no pages
    (GOOD + "\n\n \n", None, "", ""),  # blank lines at the end
    (GOOD, None, "", ""),  # no end of line at the end
    ("\n" + GOOD, 1, "line", "a blank line"),
    ("\ufeff" + GOOD, 1, "line", "byte order mark"),
    (GOOD + "\n" + GOOD, 2, "query.query_id", "'q', already in record 1"),
    (GOOD + "\n" + GOOD[:-7], 2, "line", "truncated"),
    (GOOD[:-1] + ',"results":', 1, "line", "truncated"),
    (GOOD + GOOD, 1, "line", "trailing characters"),
    ("[]", 1, "record", "got array; allowed: object"),
    ("null", 1, "record", "got null; allowed: object"),
    ("not json", 1, "line", "malformed"),
    ('{"results":[]}', 1, "query", "no such field"),
    ('{"query":{}}', 1, "query.query_id", "no such field"),
    ('{"query":{"query_id":7}}', 1, "query.query_id", "got int; allowed: str"),
    ('{"query":{"query_id":""}}', 1, "query", "an empty id"),
    ('{"query":{"query_id":"q","lang":"en"}}', 1, "query.lang", "allowed: query_id, text, image, user"),
    ('{"query":{"query_id":"q","user":{"age":true}}}', 1, "query.user[...]", "got bool"),
    ('{"query":{"query_id":"q","image":{"uri":""}}}', 1, "query.image", "empty address"),
    ('{"query":{"query_id":"q","image":"a.png"}}', 1, "query.image", "got str"),
    ('{"query":{"query_id":"q"},"score":1}', 1, "score", "allowed: query, results"),
    (with_result(modality="pdf"), 1, "results[0].modality", "'pdf'; allowed: 'text', 'image', 'video', 'answer'"),
    (with_result(modality="image"), 1, "results[0]", "without images"),
    (with_result(text=""), 1, "results[0]", "neither text nor images"),
    (with_result(text=None), 1, "results[0].text", "got null; allowed: str"),
    (with_result(images="a.png"), 1, "results[0].images", "got str; allowed: array"),
    (with_result(images=[{"url": "a.png"}]), 1, "results[0].images[0].url", "allowed: uri, sha256"),
    (with_result(images=[{"uri": "a"}, {}]), 1, "results[0].images[1].uri", "no such field"),
    (with_result(features={"x": "1"}), 1, "results[0].features[...]", "got str; allowed: float"),
    (with_result(features={"x": float("nan")}), 1, "line", "malformed"),
    (with_result(features={"x": float("inf")}), 1, "line", "malformed"),
    (with_result(features={"x": "1e999"}).replace('"1e999"', "1e999"), 1, "results[0].features[...]", "out of range"),
    (with_result(text="\udc80"), 1, "line", "malformed"),
    (GOOD.replace("]", "," + GOOD.split("[")[1][:-2] + "]"), 1, "record", "share the id 'a'"),
]


@pytest.mark.parametrize(("text", "line", "field", "said"), BAD_PAGES, ids=range(len(BAD_PAGES)))
def test_broken_pages_are_refused_with_their_place(
    text: str, line: int | None, field: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_text(text, encoding="utf-8")
    if line is None:
        assert list(read_pages(path)) == [PAGE] * bool(text)
        return
    with pytest.raises(RecordError) as caught:
        list(read_pages(path))
    assert (caught.value.path, caught.value.line, caught.value.field) == (str(path), line, field)
    assert str(caught.value).startswith(f"{path}:{line}: {field}: got ")
    assert said in str(caught.value)
    assert "; allowed: " in str(caught.value)
    assert len(str(caught.value)) < 600


RANKING, GRADE = '{"query_id":"q","result_ids":["a","b"]', '{"query_id":"q","result_id":"a","grade":1'
PREFERENCE = '{"query_id":"q","left_id":"a","right_id":"b","choice":"left"'
BAD_OTHERS: list[tuple[Callable[[Path], Any], str, int, str, str]] = [
    (read_rankings, RANKING + ',"scores":[1]}', 1, "record", "1 scores for 2 results"),
    (read_rankings, RANKING + ',"scores":[1,"2"]}', 1, "scores[1]", "got str; allowed: float | null"),
    (read_rankings, RANKING + ',"scores":[1,NaN]}', 1, "line", "malformed"),
    (read_rankings, RANKING + ',"scores":[1,-1e999]}', 1, "scores[1]", "out of range"),
    (read_rankings, RANKING.replace("b", "a") + "}", 1, "record", "more than once"),
    (read_rankings, RANKING + "}\n" + RANKING + "}", 2, "query_id, by", "already in record 1"),
    (read_rankings, RANKING + ',"tag":"x"}', 1, "tag", "allowed: query_id, result_ids, scores, by"),
    (read_judgments, GRADE + ',"left_id":"b"}', 1, "record", "both a grade and a preference"),
    (read_judgments, GRADE + ',"choice":null}', 1, "record", "both a grade and a preference"),
    (read_judgments, '{"query_id":"q"}', 1, "record", "neither a grade nor a preference"),
    (read_judgments, GRADE + "}\n" + GRADE + ',"note":"x"}', 2, "note", "allowed: query_id, result_id, grade, who"),
    (read_judgments, '{"query_id":"q","result_id":"a"}', 1, "grade", "no such field"),
    (read_judgments, GRADE.replace("1", "-1") + "}", 1, "record", "-1.0"),
    (read_judgments, GRADE.replace("1", "NaN") + "}", 1, "line", "malformed"),
    (read_judgments, GRADE.replace("1", '"1"') + "}", 1, "grade", "got str; allowed: float"),
    (read_judgments, PREFERENCE.replace("left", "up", 2).replace("up_id", "left_id") + "}", 1, "choice", "'right'"),
    (read_judgments, PREFERENCE.replace('"b"', '"a"') + "}", 1, "record", "both sides"),
    (read_judgments, PREFERENCE.replace(',"right_id":"b"', "") + "}", 1, "right_id", "no such field"),
    (read_judgments, "[1]", 1, "record", "got array"),
    (read_judgments, '{"x":' + "[" * 100_000, 1, "line", "too deeply"),
]


@pytest.mark.parametrize(("read", "text", "line", "field", "said"), BAD_OTHERS, ids=range(len(BAD_OTHERS)))
def test_broken_rankings_and_judgments_are_refused_with_their_place(
    read: Callable[[Path], Any], text: str, line: int, field: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        list(read(path))
    assert (caught.value.line, caught.value.field) == (line, field)
    assert said in str(caught.value)


def test_an_error_can_be_copied_whole() -> None:
    error = RecordError("a.jsonl", 3, "text", "x", "y", "z")
    copied = copy.copy(error)
    assert (copied.path, copied.line, copied.field, str(copied)) == ("a.jsonl", 3, "text", str(error))
    assert str(error) == "a.jsonl:3: text: got x; allowed: y; z"


def test_pages_before_the_broken_line_are_read_first(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_text(GOOD + "\nbroken\n")
    reading = read_pages(path)
    assert next(reading) == PAGE
    with pytest.raises(RecordError):
        next(reading)


@pytest.mark.parametrize("read", [read_pages, read_rankings, read_judgments])
@pytest.mark.parametrize("name", ["missing.jsonl", "missing.jsonl.gz", "folder", "folder.gz"])
def test_a_missing_file_is_named(read: Callable[[Path], Any], name: str, tmp_path: Path) -> None:
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    with pytest.raises(RecordError) as caught:
        list(read(tmp_path / name))
    assert (caught.value.line, caught.value.field) == (0, "file")
    assert str(tmp_path / name) in str(caught.value)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + GOOD.replace("x", "\xe9").encode("latin-1").replace(b'"q"', b'"r"'))
    with pytest.raises(RecordError, match="UTF-8") as caught:
        list(read_pages(path))
    assert caught.value.line == 2


@pytest.mark.parametrize("end", [1, 9, -1, -9])
def test_a_gzip_that_was_cut_is_refused_and_not_read_short(end: int, tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl.gz"
    write_pages(whole, (Page(Query(f"q{i}")) for i in range(50)))
    assert len(list(read_pages(whole))) == 50
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole.read_bytes()[:end])
    with pytest.raises(RecordError, match="gzip"):
        list(read_pages(cut))


def test_a_plain_file_named_gz_and_a_flipped_byte_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl.gz"
    path.write_text(GOOD)
    with pytest.raises(RecordError, match="gzip"):
        list(read_pages(path))
    write_pages(path, [Page(Query(f"q{i}")) for i in range(50)])
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # the checksum
    path.write_bytes(data)
    with pytest.raises(RecordError, match="gzip"):
        list(read_pages(path))


def test_relative_pictures_lie_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ("/a/b.png", "data:,x", "http://h/a.png", "https://h/a.png", "zip:a.zip!/m.png", "file:///a.png")
    images = tuple(ImageRef(uri) for uri in ("a.png", "sub/a.png", *kept))
    page = Page(
        Query("q", image=ImageRef("q.png", "0" * 64)),
        (Result("a", Modality.VIDEO, "x", images, {"f": 1.0}), Result("b", Modality.TEXT, "y")),
    )
    folder = tmp_path / "collection"
    folder.mkdir()
    write_pages(folder / "pages.jsonl", [page])
    monkeypatch.chdir(tmp_path)
    for path in (folder / "pages.jsonl", Path("collection/pages.jsonl"), "collection/pages.jsonl"):
        [found] = read_pages(path)
        assert found.query.image == ImageRef(str(folder / "q.png"), "0" * 64)
        assert [ref.uri for ref in found.results[0].images] == [
            str(folder / "a.png"),
            str(folder / "sub" / "a.png"),
            *kept,
        ]
        assert found.results[0].features == {"f": 1.0}
        assert found.results[1] == page.results[1]


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rankings.jsonl"
    write_rankings(path, [Ranking("q", ("a", "b"), (np.float64(0.5), np.float32(0.25)))])  # type: ignore[arg-type]
    assert list(read_rankings(path)) == [Ranking("q", ("a", "b"), (0.5, 0.25))]


@pytest.mark.parametrize(
    ("write", "records", "said"),
    [
        (write_pages, [PAGE, PAGE], "'q', already in record 1"),
        (write_pages, [PAGE, Page(Query("r", "\ud800"))], "plain text"),
        (write_pages, [PAGE, Page(Query("r", 3))], "got int; allowed: str"),  # type: ignore[arg-type]
        (write_pages, [PAGE, Page(Query("r", {1, object()}))], "object"),  # type: ignore[arg-type]
        (write_pages, [PAGE, Ranking("r", ("a",))], "an unknown field; allowed: query, results"),
        (write_rankings, [Ranking("q", ("a",)), Ranking("q", ("b",))], "already in record 1"),
        (write_judgments, [Grade("q", "a", 1.0), Ranking("r", ("a",))], "an unknown field"),
        (write_judgments, [Grade("q", "a", 1.0), Grade("q", "a", 2.0, who=None)], "got null"),  # type: ignore[arg-type]
    ],
    ids=range(8),
)
def test_what_its_reader_would_refuse_is_not_written(
    write: Callable[[Path, Any], int], records: list[Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("what was there\n")
    with pytest.raises(RecordError, match=said):
        write(path, iter(records))
    assert path.read_text() == "what was there\n"
    assert os.listdir(tmp_path) == [path.name]


def test_equal_records_make_equal_files(tmp_path: Path) -> None:
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        write_pages(tmp_path / name, [PAGE])
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()
    assert (tmp_path / "one.jsonl.gz").read_bytes()[4:8] == bytes(4)  # no time in the header
    assert gzip.decompress((tmp_path / "one.jsonl.gz").read_bytes()).decode() == GOOD + "\n"


def break_off(path: Path) -> None:
    with atomic_write(path) as file:
        file.write("lost")
        raise KeyError


def test_atomic_write_shows_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write("né\nw")
        file.flush()
        assert path.read_text() == "old"
        assert len(os.listdir(tmp_path)) == 2
    assert path.read_bytes() == "né\nw".encode()
    with pytest.raises(KeyError):
        break_off(path)
    assert path.read_bytes() == "né\nw".encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_atomic_write_packs_text_by_suffix_and_leaves_bytes_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    with atomic_write(path) as file:
        file.write("né\nw\n")
    assert gzip.decompress(path.read_bytes()) == "né\nw\n".encode()
    with pytest.raises(KeyError):
        break_off(path)
    assert gzip.decompress(path.read_bytes()) == "né\nw\n".encode()
    with atomic_write(path, "wb") as raw:
        raw.write(b"\x00as it is")
    assert path.read_bytes() == b"\x00as it is"
    assert os.listdir(tmp_path) == ["a.txt.gz"]


def test_atomic_write_refuses_other_modes_and_places_that_are_not_there(tmp_path: Path) -> None:
    for mode in ("a", "r", "x", "wt"):
        with pytest.raises(InputError, match=r"allowed: 'w', 'wb'"):
            atomic_write(tmp_path / "a", mode)  # type: ignore[call-overload]
    with pytest.raises(RecordError, match="a folder that exists"), atomic_write(tmp_path / "no" / "a"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecordError, match="the name of a file"), atomic_write(tmp_path / "folder"):
        pass
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")
def test_atomic_write_keeps_permissions_and_follows_links(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    with atomic_write(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "fresh"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_a_large_file_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl.gz"
    taken: list[int] = []

    def many() -> Any:
        for number in range(2000):
            taken.append(number)
            yield Page(Query(f"q{number}"))

    assert write_pages(path, many()) == 2000 == len(taken)
    reading = read_pages(path)
    assert [next(reading).query_id for _ in range(3)] == ["q0", "q1", "q2"]
