"""Crowds of stand-ins that answer simulated campaigns: perfect, noisy, with somebody who spams, and a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

from wholepage.annotation.model_judge import ModelAnnotator
from wholepage.annotation.oracles import NoisyAnnotator, PerfectAnnotator
from wholepage.annotation.settings import Settings
from wholepage.annotation.stand_ins import SpammingAnnotator
from wholepage.apps.simulation import Crowd
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.protocols import Annotator

Kind = Literal["perfect", "noisy", "spamming", "model"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def crowd_of(kind: Kind, truth: Judgments, settings: Settings, *, people: int, error: float) -> Crowd:
    """Who answers.

    Args:
        kind: ``perfect`` people; ``noisy`` ones, each with errors of their own; ``spamming``: noisy ones and one more
            who answers without looking; ``model``: one that judges by words alone, and one noisy person.
        people: how many, besides.
        error: chance that somebody noisy misreads a result.
    Raises:
        InputError: too few people for the overlap that the settings ask.
    """
    if people < settings.overlap:
        raise InputError(
            f"simulate: got {people} people for an overlap of {settings.overlap}; allowed: as many at least; raise "
            "--people"
        )
    if kind == "perfect":
        return {f"perfect-{n}": PerfectAnnotator(truth) for n in range(1, people + 1)}
    noisy: dict[str, Annotator] = {
        f"noisy-{n}": NoisyAnnotator(truth, error, settings.levels, settings.seed + n) for n in range(1, people + 1)
    }
    if kind == "spamming":
        return noisy | {"spammer": SpammingAnnotator(settings.levels, "random", settings.seed)}
    if kind == "model":
        model = ModelAnnotator(JudgeByWords(settings.levels), "words", levels=settings.levels)
        return {model.name: model, "noisy-1": noisy["noisy-1"]}
    return noisy


def settings_for(kind: Kind, settings: Settings, error: float) -> Settings:
    """The settings of a crowd's campaign: engines are told the error of those who answer."""
    told = 0.0 if kind == "perfect" else error
    return msgspec.structs.replace(settings, annotator_error=told, tau=max(settings.tau, told))


class JudgeByWords:
    """Stands in for a language model behind the same messages: grades by the share of the query's words in a result.

    It sees no pictures, so that it errs as a weak judge does: more on one modality than on another.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def __call__(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The answer to one request, in the form that it asks for."""
        shown = [_shown(part["text"]) for part in messages[1]["content"] if part["type"] == "text"]
        query, *results = [words for words in shown if words is not None]
        shares = [len(query & words) / len(query) if query else 0.0 for words in results]
        if len(shares) == 1:
            return msgspec.json.encode({"grade": round(shares[0] * (self.levels - 1))}).decode()
        better = "same" if shares[0] == shares[1] else "A" if shares[0] > shares[1] else "B"
        return msgspec.json.encode({"choice": better}).decode()


def _shown(text: str) -> set[str] | None:
    """The words of one piece of data; None where the part is none."""
    if not text.startswith("BEGIN "):
        return None
    body = msgspec.json.decode(text.split("\n")[1], type=dict[str, str])
    return set(re.findall(r"\w+", body.get("text", "").lower()))
