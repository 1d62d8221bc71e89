"""The reference of the measures: nothing is missing, the bounds hold, and the values of the example are right."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page.registry import evaluate_page_measures, page_measures, parse_page_measure
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result

Program = Callable[[str], ModuleType]
KINDS = tuple(Modality)


def random_pages(count: int) -> tuple[list[Page], list[Ranking], Judgments, list[Ranking]]:
    """Pages, orders, judgments (some missing) and single-modal orders without any sense."""
    rng = np.random.default_rng(7)
    pages, orders, single, grades = [], [], [], {}
    for n in range(count):
        kinds = [KINDS[rng.integers(4)] for _ in range(rng.integers(2, 14))]
        results = tuple(
            Result(f"r{i}", kind, "x", (ImageRef("x.png"),) if kind in (Modality.IMAGE, Modality.VIDEO) else ())
            for i, kind in enumerate(kinds)
        )
        page = Page(Query(f"q{n}", "x"), results)
        pages.append(page)
        orders.append(Ranking(page.query_id, tuple(str(one) for one in rng.permutation(page.result_ids)), by="x"))
        for kind in page.modalities:
            ids = page.only(kind).result_ids
            single.append(Ranking(page.query_id, tuple(str(one) for one in rng.permutation(ids)), by=kind.value))
        judged = [one for one in page.result_ids if rng.random() < 0.8] or [page.result_ids[0]]
        grades[page.query_id] = {one: int(rng.choice(4, p=(0.4, 0.2, 0.2, 0.2))) for one in judged}
    return pages, orders, Judgments.from_mapping(grades), single


def test_every_measure_has_its_note_and_no_note_is_left_over(program: Program) -> None:
    notes, reference = program("measure_notes"), program("reference_measures")
    assert set(notes.ON_PAGES) == {parse_page_measure(name).form.name for name in page_measures()}
    assert set(notes.BY_IR_MEASURES) == set(reference.computed_by_ir_measures())
    assert all(note.source for note in (*notes.ON_PAGES.values(), *notes.BY_IR_MEASURES.values()))


def test_values_lie_where_it_is_said(program: Program) -> None:
    notes, reference = program("measure_notes"), program("reference_measures")
    pages, orders, said, single = random_pages(300)
    found = evaluate_page_measures(orders, pages, said, list(page_measures()), single=single)
    for name in page_measures():
        inside(notes.ON_PAGES[parse_page_measure(name).form.name], list(found.values[name].values()), name)
    some = [one for one in orders if {0.0} < {min(g, 1.0) for g in said.by_result(one.query_id).values()}]
    said, orders = said.restrict({one.query_id: one.result_ids for one in some}), some
    for name, form in reference.computed_by_ir_measures().items():  # Accuracy divides by zero on the other pages
        for values in evaluate(orders, said, [form]).values.values():
            inside(notes.BY_IR_MEASURES[name], list(values.values()), form)


def inside(note: object, values: list[float], name: str) -> None:
    known = [value for value in values if not math.isnan(value)]
    low, high = note.low, note.high  # type: ignore[attr-defined]
    assert known, name
    assert min(known) >= low - 1e-9, (name, min(known))
    assert max(known) <= high + 1e-9, (name, max(known))


def test_a_wrong_bound_would_be_noticed(program: Program) -> None:
    note = program("measure_notes").Note("x", low=0.0, high=0.5)
    with pytest.raises(AssertionError):
        inside(note, [0.2, 0.6], "x")


def test_the_example_is_computed_right(program: Program) -> None:
    """By hand, from the table that the page shows: grades 0 2 2 3 1 1 and an unjudged one, from the top."""
    example, reference = program("measure_example"), program("reference_measures")
    grades = [0, 2, 2, 3, 1, 1, 0]
    gain = sum(grade / math.log2(place + 2) for place, grade in enumerate(grades))
    ideal = sum(grade / math.log2(place + 2) for place, grade in enumerate(sorted(grades, reverse=True)))
    precision = [sum(grade > 0 for grade in grades[:k]) / k for k in (2, 3, 4, 5, 6)]
    reading = [0.2 * 0.8**place for place in range(7)]
    weights = [1 / math.log2(place + 2) for place in range(7)]
    by_hand = {
        "nDCG@10": gain / ideal,
        "P@10": 5 / 10,
        "R@10": 1.0,
        "RR": 1 / 2,
        "AP": sum(precision) / 5,
        "Judged@10": 6 / 7,
        "Success@10": 1.0,
        "RBP(p=0.8, top=1)": sum(reading[1:6]),
        "RBPResidual(p=0.8)": 1 - sum(reading[:6]),
        "BadCase(bad=0, by=1, below=cut)@10": 0.0,
        "PairAccuracy": 6 / 13,
        "Exposure(of=image)@10": (weights[1] + weights[4]) / sum(weights),
        "Inverted": 2 / 4,
        "HelpfulInversions": 1 / 2,
        "CWL.P(top=1, part=EU)@10": 5 / 10,
        "CWL.RR(top=1, part=EU)": 1 / 2,
    }
    assert example.on_the_page(by_hand) == {name: f"{value:.3f}" for name, value in by_hand.items()}
    listed = {
        "nDCG": gain / ideal,
        "AP": sum(precision) / 5,
        "Rprec": 4 / 5,
        "SetP": 5 / 7,
        "NumRel": 5.0,
        "Bpref": 0.0,
    }
    told = example.as_a_list(listed)
    assert told == {name: f"{value:.3f}" for name, value in listed.items()}
    page = reference.measure_pages()["reference/measures.md"]
    for name, value in by_hand.items():
        assert f"`{name}`" in page or name in ("RR", "AP"), name
        assert f"**{value:.3f}**" in page
    assert [row.split("|")[3].strip() for row in example.example_table().splitlines()[2:]][:6] == [
        str(grade) for grade in grades[:6]
    ]


def test_nothing_to_measure_is_said(program: Program) -> None:
    assert program("measure_example").shown(math.nan) == "nothing to measure"
    assert "nothing to measure" not in program("reference_measures").measure_pages()["reference/measures.md"]
