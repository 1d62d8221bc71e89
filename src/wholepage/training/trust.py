"""How far a modality's own ranker deserves to be followed, measured on the page grades that were bought.

A teacher that guesses has a pair accuracy of one half. With ``accuracy`` shrunk towards 1, its beta is multiplied by
max(0, 2 * accuracy - 1): 1 for a teacher that is never wrong, 0 for one that guesses or does worse.

Grades bought near the top of a teacher's list only are hard pairs: measured there, a good teacher looks worse than it
is over the whole list. Grades of weight below 1 are left out, since they were inferred, from the teacher as a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from wholepage.pages.model import Modality
from wholepage.training.batches import Lesson
from wholepage.training.objective import SmarConfig

PRIOR_PAIRS = 20.0
"""Pairs in the right order that every teacher is taken to have shown before anything was measured."""


class TeacherTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured of a teacher.

    Attributes:
        pairs: of one page and this modality, differing in grade, of which the teacher had an opinion.
        right: how many of them it orders as people do; a tie of the teacher counts one half.
    """

    pairs: int
    right: float

    @property
    def accuracy(self) -> float:
        """Share of pairs in the right order, shrunk towards 1 by ``PRIOR_PAIRS``."""
        return (self.right + PRIOR_PAIRS) / (self.pairs + PRIOR_PAIRS)

    @property
    def factor(self) -> float:
        """What the modality's beta is multiplied by: 0 to 1."""
        return max(0.0, 2.0 * self.accuracy - 1.0)

    def told(self) -> dict[str, Any]:
        """The figures, as a model folder keeps them."""
        return {"pairs": self.pairs, "right": self.right, "accuracy": self.accuracy, "factor": self.factor}


def measure_trust(taught: Sequence[Lesson]) -> dict[Modality, TeacherTrust]:
    """Count, for every modality with a teacher, how often the teacher agrees with the bought grades.

    Source: ours.
    """
    pairs, right = dict.fromkeys(Modality, 0), dict.fromkeys(Modality, 0.0)
    heard = set()
    for lesson in taught:
        sure = ~np.isnan(lesson.grades) if lesson.weights is None else lesson.weights >= 1
        for code, modality in enumerate(Modality):
            spoken = (lesson.items.group == code) & ~np.isnan(lesson.teacher)
            if spoken.any():
                heard.add(modality)
            grades, says = lesson.grades[spoken & sure], lesson.teacher[spoken & sure]
            ahead = says[:, None] - says[None, :]
            strict = grades[:, None] > grades[None, :]
            pairs[modality] += int(strict.sum())
            right[modality] += float((strict & (ahead > 0)).sum() + 0.5 * (strict & (ahead == 0)).sum())
    return {modality: TeacherTrust(pairs[modality], right[modality]) for modality in Modality if modality in heard}


def trusting(taught: Sequence[Lesson], config: SmarConfig) -> tuple[SmarConfig, dict[str, Any]]:
    """The settings with the trust in the teachers inside their betas, to be taken as given from here on.

    Returns:
        The settings, and the figures for ``made_of``: none where nothing was to be measured.
    """
    if config.teacher_trust == "given" or not config.aligns:
        return config, {}
    trust = measure_trust(taught)
    betas = config.betas | {of: config.betas.get(of, 1.0) * found.factor for of, found in trust.items()}
    figures = {modality.value: found.told() for modality, found in trust.items()}
    return msgspec.structs.replace(config, betas=betas, teacher_trust="given"), {"teacher_trust": figures}
