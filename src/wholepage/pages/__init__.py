"""Floor 1, the language: the nouns that every room speaks."""

from wholepage.pages.errors import (
    BudgetSpent,
    DecodingError,
    ImageError,
    InputError,
    MissingExtra,
    NoRanker,
    PageError,
    RecordError,
    ShapeError,
    WeightsError,
    WholepageError,
    WorkerLost,
)
from wholepage.pages.judgments import Choice, Grade, Judgments, Preference, Question, Verdict
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.pages.protocols import Annotator, Collection, Ranker, Scorer, by_score, ranking_of, scores_on

__all__ = [
    "Annotator",
    "BudgetSpent",
    "Choice",
    "Collection",
    "DecodingError",
    "Grade",
    "ImageError",
    "ImageRef",
    "InputError",
    "Judgments",
    "MissingExtra",
    "Modality",
    "NoRanker",
    "Page",
    "PageError",
    "Preference",
    "Query",
    "Question",
    "Ranker",
    "Ranking",
    "RecordError",
    "Result",
    "Scorer",
    "ShapeError",
    "Verdict",
    "WeightsError",
    "WholepageError",
    "WorkerLost",
    "by_score",
    "ranking_of",
    "scores_on",
]
