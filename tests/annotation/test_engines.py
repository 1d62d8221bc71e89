"""What a campaign asks for: engines by name, one way to drive them all, and posteriors as weights of training."""

from __future__ import annotations

import time

import numpy as np
import pytest

from wholepage.annotation.engines import (
    BayesianBisection,
    Bisection,
    Engine,
    HmmParameters,
    MonotoneHmm,
    Said,
    Weighed,
    engine_of,
    search,
    weighed,
)
from wholepage.annotation.hmm import usual_hmm
from wholepage.annotation.hmm_fit import fit_hmm
from wholepage.annotation.settings import Settings
from wholepage.pages import InputError

GRADES = [3] * 4 + [2] * 3 + [1] * 6 + [0] * 17


def driven(engine: Engine) -> tuple[list[int], np.ndarray]:
    """Searched to the end by perfect people, each asked once."""
    steps, asked = search(engine), []
    try:
        asked.append(next(steps))
        while True:
            asked.append(steps.send((GRADES[asked[-1]], f"p{len(asked)}")))
    except StopIteration as done:
        return asked, done.value


@pytest.mark.parametrize("name", ["bisect", "bayes", "hmm"])
def test_every_engine_saves_questions_on_a_list_that_falls(name: str) -> None:
    settings = Settings("test", engine=name, annotator_error=0.0)  # type: ignore[arg-type]
    asked, posterior = driven(engine_of(settings, len(GRADES)))
    assert len(asked) <= 20
    assert (posterior.argmax(1) != GRADES).mean() <= 0.05
    np.testing.assert_allclose(posterior.sum(1), 1.0)


@pytest.mark.parametrize("name", ["bisect", "bayes", "hmm"])
def test_an_empty_list_is_done(name: str) -> None:
    engine = engine_of(Settings("test", engine=name), 0)  # type: ignore[arg-type]
    assert engine.next_question([]) is None
    assert engine.questions([], 3) == []
    assert engine.posterior([]).shape == (0, 4)
    assert engine.claimed_error([]) == 0


def test_settings_reach_the_engine() -> None:
    settings = Settings("test", engine="bayes", levels=3, overlap=4, tau=0.2, annotator_error=0.3)
    bayes = engine_of(settings, 9, people=2)
    assert isinstance(bayes, BayesianBisection)
    assert (bayes.n, bayes.levels, bayes.overlap, bayes.tau, bayes.error) == (9, 3, 2, 0.2, 0.3)
    bisect = engine_of(Settings("test", engine="bisect", overlap=2), 9)
    assert isinstance(bisect, Bisection)
    assert bisect.overlap == 2
    parameters = usual_hmm(4, slip=0.3)
    hmm = engine_of(Settings("test", engine="hmm"), 9, hmm=parameters)
    assert isinstance(hmm, MonotoneHmm)
    assert hmm.parameters == parameters
    untaught = engine_of(Settings("test", engine="hmm"), 9)
    assert isinstance(untaught, MonotoneHmm)
    assert untaught.parameters == usual_hmm(4)


def test_confusions_reach_the_engine() -> None:
    sure = {"boss": np.eye(4)}
    for name in ("bayes", "hmm"):
        engine = engine_of(Settings("test", engine=name, annotator_error=0.4), 9, confusions=sure)  # type: ignore[arg-type]
        assert engine.posterior([Said(4, 2, "boss")])[4, 2] > 0.99
        assert engine.posterior([Said(4, 2, "other")])[4, 2] < 0.9


def test_what_makes_no_engine_is_refused() -> None:
    with pytest.raises(InputError, match="'selected', which asks about all"):
        engine_of(Settings("test"), 9)
    with pytest.raises(InputError, match="HMM parameters of 3 levels"):
        engine_of(Settings("test", engine="hmm"), 9, hmm=usual_hmm(3))


def test_a_wrong_answer_is_refused_when_it_is_sent() -> None:
    steps = search(Bisection(9, 4))
    next(steps)
    with pytest.raises(InputError, match="grade 7"):
        steps.send((7, "a"))


def test_weights_are_the_probability_of_the_likeliest_grade() -> None:
    posterior = np.array([[0.1, 0.7, 0.2], [0.4, 0.2, 0.4], [0.0, 0.0, 1.0]])
    assert weighed(posterior) == [Weighed(1, 0.7), Weighed(0, 0.4), Weighed(2, 1.0)]
    assert weighed(np.zeros((0, 3))) == []


def test_the_next_question_comes_at_once() -> None:
    """Of 100 results; 5 ms wanted of the processor, and twice that allowed where others use it too."""
    draw = np.random.default_rng(0)
    lists = [sorted(draw.integers(0, 4, size=100).tolist(), reverse=True) for _ in range(5)]
    parameters: HmmParameters = fit_hmm(lists, 4, rounds=3)
    engine = MonotoneHmm(100, parameters, 0.001)
    said = [Said(index, lists[0][index], "a") for index in range(0, 100, 9)]
    taken = []
    for _ in range(20):
        begun = time.process_time()
        assert engine.next_question(said) is not None
        taken.append(time.process_time() - begun)
    assert np.median(taken) < 0.01
