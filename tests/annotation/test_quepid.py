"""Quepid's CSV: its columns, formulas made harmless, what is read back, and what is refused with its line."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation.quepid import from_quepid, to_quepid, to_quepid_book
from wholepage.pages import Grade, InputError, Judgments, Modality, Page, Preference, Query, Result
from wholepage.pages.errors import RecordError
from wholepage.pages.judgments import Choice


def page(query_id: str, words: str) -> Page:
    return Page(Query(query_id, words), (Result("a", Modality.TEXT, "x"),))


PAGES = [page("q1", "red shoes"), page("q2", "=1+1"), page("q3", 'a "b", c'), page("q4", "twice"), page("q5", "twice")]
SAID = Judgments(
    [
        Grade("q1", "a", 3.0, "ann"),
        Grade("q1", "a", 2.0, "bob"),
        Grade("q1", "b", 0.0, "ann"),
        Grade("q2", "a", 1.0, "@bob"),
        Grade("q3", "-7", 2.0, "bob"),
    ],
    [Preference("q1", "a", "b", Choice.LEFT, "ann")],
)


def table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


# ------------------------------------------------------------------ out


def test_ratings_have_quepid_s_columns() -> None:
    assert to_quepid(SAID, PAGES) == (
        'query,docid,rating\nred shoes,a,2\nred shoes,b,0\n =1+1,a,1\n"a ""b"", c", -7,2\n'
    )


def test_a_book_has_a_column_a_rater() -> None:
    assert table(to_quepid_book(SAID, PAGES)) == [
        ["query", "docid", " @bob", "ann", "bob"],
        ["red shoes", "a", "", "3", "2"],
        ["red shoes", "b", "", "0", ""],
        [" =1+1", "a", "1", "", ""],
        ['a "b", c', " -7", "", "", "2"],
    ]


def test_no_cell_is_a_formula() -> None:
    evil = [page(f"q{i}", f"{sign}cmd|' /C calc'!A0") for i, sign in enumerate("=+-@")]
    said = Judgments(Grade(f"q{i}", f"{sign}x", 1.0, f"{sign}ann") for i, sign in enumerate("=+-@"))
    for text in (to_quepid(said, evil), to_quepid_book(said, evil)):
        assert not [cell for row in table(text) for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert from_quepid(to_quepid_book(said, evil), evil) == said


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Grade("q9", "a", 1.0, "ann"), "'q9', which has no page"),
        (Grade("q4", "a", 1.0, "ann"), "whose words 'twice' are another's too"),
        (Grade("q6", "a", 1.0, "ann"), "'q6', which has no page, or no words"),
        (Grade("q7", "a", 1.0, "ann"), "got 'two\\\\nlines'"),
        (Grade("q1", " a", 1.0, "ann"), "got ' a'"),
        (Grade("q1", "a\nb", 1.0, "ann"), "one line"),
    ],
)
def test_what_quepid_would_change_is_refused(said: Grade, words: str) -> None:
    pages = [*PAGES, page("q6", ""), page("q7", "two\nlines")]
    for write in (to_quepid, to_quepid_book):
        with pytest.raises(InputError, match=words):
            write(Judgments([said]), pages)


def test_a_book_needs_raters_and_whole_grades() -> None:
    with pytest.raises(InputError, match="by ''"):
        to_quepid_book(Judgments([Grade("q1", "a", 1.0)]), PAGES)
    with pytest.raises(InputError, match=r"grade 1\.5"):
        to_quepid_book(Judgments([Grade("q1", "a", 1.5, "ann")]), PAGES)
    with pytest.raises(InputError, match="called 'rating'"):
        to_quepid_book(Judgments([Grade("q1", "a", 1.0, "rating")]), PAGES)


# ------------------------------------------------------------------ in


def test_ratings_come_back_as_final_grades() -> None:
    read = from_quepid(to_quepid(SAID, PAGES), PAGES)
    assert read.to_qrels() == SAID.to_qrels()
    assert {said.who for said in read} == {""}


def test_a_book_comes_back_whole() -> None:
    read = from_quepid(to_quepid_book(SAID, PAGES), PAGES)
    assert read == Judgments([said for said in SAID if isinstance(said, Grade)])


names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(st.dictionaries(st.tuples(names, names, names), st.integers(0, 9), max_size=8))
def test_any_words_come_back(given_: dict[tuple[str, str, str], int]) -> None:
    pages = [page(f"id of {words}", words) for words in sorted({words for words, _, _ in given_})]
    said = Judgments(Grade(f"id of {w}", r, float(g), f"by {who}") for (w, r, who), g in given_.items())
    if given_:
        assert from_quepid(to_quepid_book(said, pages), pages) == said
    assert from_quepid(to_quepid(said, pages), pages).to_qrels() == said.to_qrels()


def test_what_quepid_writes_is_read() -> None:
    text = "\ufeffdocid,query,rating\r\na,red shoes,3\r\n a ,red shoes ,\r\nb,red shoes,2.0\r\n\r\n"
    assert from_quepid(text, PAGES).by_result("q1") == {"a": 3.0, "b": 2.0}
    unrated = "query,docid,rating\nred shoes\n =1+1,a,1\n"  # a query that nothing was rated of
    assert from_quepid(unrated, PAGES).query_ids == ("q2",)


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("", 1, "header"),
        ("query,docid\n", 1, "header"),
        ("query,doc,rating\n", 1, "header"),
        ("query,docid,ann,ann\n", 1, "header"),
        ("query,docid,\n", 1, "header"),
        ("query,docid,rating\nred shoes,a\n", 2, "line"),
        ("query,docid,rating\nred shoes,a,3,4\n", 2, "line"),
        ("query,docid,rating\nred shoes,a,3\nblue shoes,a,3\n", 3, "query"),
        ("query,docid,rating\nblue shoes\n", 2, "query"),
        ("query,docid,rating\ntwice,a,3\n", 2, "query"),
        ("query,docid,rating\nred shoes,,3\n", 2, "docid"),
        ("query,docid,rating\nred shoes,a,3\nred shoes,a,3\n", 3, "docid"),
        ("query,docid,rating\nred shoes,a,good\n", 2, "rating"),
        ("query,docid,rating\nred shoes,a,-1\n", 2, "rating"),
        ("query,docid,rating\nred shoes,a,2.5\n", 2, "rating"),
        ("query,docid,rating\nred shoes,a,²\n", 2, "rating"),
        ("query,docid,ann,bob\nred shoes,a,1,1|2\n", 2, "bob"),
        ('query,docid,rating\n"red shoes,a,1\n', 2, "line"),
        ('query,docid,rating\n"red" shoes,a,1\n', 2, "line"),
    ],
)
def test_a_damaged_file_is_refused_at_its_line(text: str, line: int, field: str) -> None:
    with pytest.raises(RecordError) as caught:
        from_quepid(text, PAGES, "case.csv")
    assert (caught.value.path, caught.value.line, caught.value.field) == ("case.csv", line, field)


def test_a_real_table_of_three_raters_is_read(data_root: Path) -> None:
    """Ratings of a product search, by three people, in Quepid's own columns but for the final one."""
    path = data_root / "chorus_products" / "ratings_3agents.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    seen: dict[tuple[str, str], list[str]] = {}
    for row in rows[1:]:
        seen.setdefault((row[0], row[1]), row[:5])  # some products were rated twice
    out = io.StringIO()
    csv.writer(out).writerows([rows[0][:5], *seen.values()])
    pages = [page(words, words) for words in sorted({words for words, _ in seen})]
    read = from_quepid(out.getvalue(), pages)
    assert len(read) == sum(bool(cell) for row in seen.values() for cell in row[2:]) > 5000
    assert from_quepid(to_quepid_book(read, pages), pages) == read
