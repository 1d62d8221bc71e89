"""How people err, learned from their answers alone."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from wholepage.annotation.confusion_fit import Answers, climb, fit_confusions
from wholepage.annotation.falling import read
from wholepage.annotation.hmm import MonotoneHmm, usual_hmm
from wholepage.annotation.said import Said
from wholepage.pages import InputError

TRUE = {
    "careful": np.array([[0.97, 0.02, 0.01], [0.03, 0.94, 0.03], [0.01, 0.02, 0.97]]),
    "generous": np.array([[0.6, 0.35, 0.05], [0.02, 0.6, 0.38], [0.0, 0.05, 0.95]]),
    "random": np.full((3, 3), 1 / 3),
}


def answered(lists: int, n: int, seed: int) -> tuple[list[Answers], list[np.ndarray]]:
    """Lists that fall but for one result in twenty, two thirds of their results answered by everybody."""
    draw = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(lists):
        grades = np.sort(draw.integers(0, 3, size=n))[::-1]
        grades = np.where(draw.random(n) < 0.05, draw.integers(0, 3, size=n), grades)
        said = [
            Said(i, int(draw.choice(3, p=table[grades[i]])), who)
            for i in range(n)
            if draw.random() < 2 / 3
            for who, table in TRUE.items()
        ]
        found.append(Answers(n, said))
        truth.append(grades)
    return found, truth


def test_finds_who_errs_how() -> None:
    answers, _ = answered(60, 20, seed=0)
    found = fit_confusions(answers, usual_hmm(3), error=0.2)
    assert sorted(found) == sorted(TRUE)
    for who, table in TRUE.items():
        np.testing.assert_allclose(found[who].sum(1), 1.0)
        assert np.abs(found[who] - table).max() < 0.1


def test_knowing_who_errs_makes_grades_better() -> None:
    answers, truth = answered(40, 20, seed=1)
    known = fit_confusions(answers, usual_hmm(3), error=0.2)
    wrong = dict.fromkeys(("known", "alike"), 0)
    for (n, said), grades in zip(answers, truth, strict=True):
        for name, confusions in (("known", known), ("alike", {})):
            posterior = MonotoneHmm(n, usual_hmm(3), confusions=confusions, error=0.2, overlap=3).posterior(said)
            wrong[name] += int((posterior.argmax(1) != grades).sum())
    assert wrong["known"] < 0.9 * wrong["alike"]


def test_the_objective_never_falls_and_is_the_likelihood() -> None:
    answers, _ = answered(8, 9, seed=2)
    rounds = list(islice(climb(answers, usual_hmm(3), error=0.3, strength=2.0), 25))
    assert min(np.diff([one.objective for one in rounds])) > -1e-9
    last = rounds[-1]
    likelihood = sum(
        read(
            usual_hmm(3).prior(n),
            np.array([
                np.prod([last.confusions[one.who][:, one.grade] for one in said if one.index == i], axis=0) * np.ones(3)
                for i in range(n)
            ]),
        ).log_likelihood
        for n, said in answers
    )  # fmt: skip
    pseudo = 2.0 * np.where(np.eye(3, dtype=bool), 0.7, 0.15)
    expected = likelihood + sum((pseudo * np.log(table)).sum() for table in last.confusions.values())
    assert last.objective == pytest.approx(expected)


def test_who_said_little_stays_close_to_what_is_expected() -> None:
    found = fit_confusions([Answers(5, [Said(0, 2, "a")]), Answers(0, [])], usual_hmm(3), error=0.1, strength=100)
    assert np.abs(found["a"] - np.where(np.eye(3, dtype=bool), 0.9, 0.05)).max() < 0.02
    assert fit_confusions([Answers(5, [])], usual_hmm(3)) == {}


def test_depends_on_no_order() -> None:
    answers, _ = answered(5, 8, seed=3)
    mixed = [Answers(n, list(reversed(said))) for n, said in answers]
    one, other = fit_confusions(answers, usual_hmm(3)), fit_confusions(mixed, usual_hmm(3))
    assert all((one[who] == other[who]).all() for who in TRUE)


@pytest.mark.parametrize("options", [{"error": 0.0}, {"error": 0.5}, {"strength": 0.0}, {"rounds": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="fit_confusions: got"):
        fit_confusions([Answers(2, [])], usual_hmm(3), **options)  # type: ignore[arg-type]


def test_answers_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="index 7"):
        fit_confusions([Answers(5, [Said(7, 1, "a")])], usual_hmm(3))
