"""The monotone HMM engine: its beliefs, its questions, and that nothing depends on the order of answers."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.annotation.hmm import HmmParameters, MonotoneHmm, places, usual_hmm
from wholepage.annotation.said import Said
from wholepage.pages import InputError

TWO_KINDS = HmmParameters(
    (0.4, 0.6),
    ((0.9, 0.1, 0.0), (0.1, 0.3, 0.6)),
    tuple(
        (((1.0, 0.0, 0.0), (0.3, 0.7, 0.0), (0.1, 0.2, 0.7)), ((1.0, 0.0, 0.0), (0.1, 0.9, 0.0), (0.1, 0.1, 0.8)))
        for _ in "ab"
    ),
    (((0.98, 0.01, 0.01), (0.1, 0.8, 0.1), (0.0, 0.2, 0.8)), ((0.9, 0.1, 0.0), (0.1, 0.8, 0.1), (0.05, 0.05, 0.9))),
)

ANSWERS = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.dictionaries(st.tuples(st.integers(0, n - 1), st.sampled_from("abc")), st.integers(0, 2), max_size=12).map(
            lambda given: [Said(i, grade, who) for (i, who), grade in given.items()]
        ),
    )
)


@given(ANSWERS, st.randoms())
def test_the_order_of_answers_does_not_matter(case: tuple[int, list[Said]], draw: random.Random) -> None:
    n, said = case
    engine = MonotoneHmm(n, TWO_KINDS, 0.02, {"a": [[0.9, 0.1, 0], [0.1, 0.8, 0.1], [0, 0.1, 0.9]]}, overlap=3)
    mixed = draw.sample(said, len(said))
    posterior = engine.posterior(said)
    assert posterior.shape == (n, 3)
    np.testing.assert_allclose(posterior.sum(1), 1.0, atol=1e-12)
    np.testing.assert_array_equal(posterior, engine.posterior(mixed))
    again = MonotoneHmm(n, TWO_KINDS, 0.02, {"a": [[0.9, 0.1, 0], [0.1, 0.8, 0.1], [0, 0.1, 0.9]]}, overlap=3)
    assert engine.questions(said, 4) == again.questions(mixed, 4)
    assert engine.claimed_error(said) == pytest.approx(1 - posterior.max(1).mean())


@given(ANSWERS, st.sets(st.integers(0, 24)))
def test_questions_are_different_open_and_begin_with_the_next(case: tuple[int, list[Said]], but: set[int]) -> None:
    n, said = case
    engine = MonotoneHmm(n, TWO_KINDS, 0.02, overlap=2)
    found = engine.questions(said, 5, but)
    assert engine.next_question(said, but) == (found[0] if found else None)
    assert len(set(found)) == len(found) <= 5
    counts = {i: sum(one.index == i for one in said) for i in range(n)}
    assert all(counts[i] < 2 and i not in but for i in found)
    if engine.claimed_error(said) > 0.02:
        assert len(found) == min(5, sum(counts[i] < 2 and i not in but for i in range(n)))
    else:
        assert not found


def test_asks_until_the_claim_is_small_enough() -> None:
    grades = [2, 2, 1, 2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    asked = {}
    for tau in (0.01, 0.05, 0.2):
        engine, said = MonotoneHmm(20, TWO_KINDS, tau, error=0.05), []
        while (index := engine.next_question(said)) is not None:
            assert engine.claimed_error(said) > tau
            said.append(Said(index, grades[index], "a"))
        assert engine.claimed_error(said) <= tau or len(said) == 20
        asked[tau] = len(said)
    assert asked[0.2] < asked[0.05] <= asked[0.01] <= 20


def test_an_answer_tells_of_its_neighbours() -> None:
    engine = MonotoneHmm(15, TWO_KINDS, error=0.05)
    before = engine.posterior([])
    good, bad = engine.posterior([Said(7, 2, "a")]), engine.posterior([Said(7, 0, "a")])
    assert (good[:7, 2] > before[:7, 2]).all()
    assert (bad[8:, 0] > before[8:, 0]).all()
    kinds = engine.reading([Said(7, 2, "a")]).kinds
    assert kinds[1] > 0.8  # a list of the kind that holds something


def test_lists_of_any_length_are_believed_something_of() -> None:
    for n in (0, 1, 2, 130):
        posterior = MonotoneHmm(n, TWO_KINDS).posterior([])
        assert posterior.shape == (n, 3)
        np.testing.assert_allclose(posterior.sum(1), 1.0)
    assert MonotoneHmm(0, TWO_KINDS).next_question([]) is None
    assert MonotoneHmm(0, TWO_KINDS).claimed_error([]) == 0


def test_places_are_powers_of_two() -> None:
    assert places(8).tolist() == [0, 1, 1, 2, 2, 2, 2, 3]


def test_parameters_are_kept_as_json() -> None:
    for parameters in (TWO_KINDS, usual_hmm(4)):
        line = msgspec.json.encode(parameters)
        assert msgspec.json.decode(line, type=HmmParameters) == parameters
        assert msgspec.json.encode(msgspec.json.decode(line, type=HmmParameters)) == line
    assert usual_hmm(5).levels == 5


def _with(**changed: object) -> dict[str, object]:
    return msgspec.to_builtins(TWO_KINDS) | changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": (0.5,)}, "shapes"),
        ({"weights": (0.5, 0.6)}, "does not sum to 1"),
        ({"weights": (1.5, -0.5)}, "less than 0"),
        ({"weights": (float("nan"), 0.5)}, "does not sum to 1"),
        ({"start": ((0.5, 0.5), (0.2, 0.3, 0.5))}, "different lengths"),
        ({"falls": (TWO_KINDS.falls[0],)}, "shapes"),
        ({"falls": ((((0.5, 0.5, 0), (0, 1, 0), (0, 0, 1)),) * 2,) * 2}, "rises"),
        ({"slips": ()}, "shapes"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        HmmParameters(**_with(**changed))  # type: ignore[arg-type]


def test_slips_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"slip=1\.5"):
        usual_hmm(4, slip=1.5)
