"""What a listwise ranker tells of a call: what it did, what it spared, and what it had to cut or mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from wholepage.rankers.permutation_text import Repairs


@dataclass
class EngineCounts:
    """What a language model did: passes, tokens, visual tokens and pictures read; and what there is to tell."""

    calls: int = 0
    tokens: int = 0
    visual_tokens: int = 0
    pictures: int = 0
    notices: list[str] = field(default_factory=list)


@dataclass
class SightCounts:
    """Pictures encoded and in how many calls; pictures found in memory and on disk; files that were damaged."""

    encoded: int = 0
    calls: int = 0
    in_memory: int = 0
    on_disk: int = 0
    damaged: int = 0


@dataclass(frozen=True)
class PageDiagnostics:
    """Of one page.

    Attributes:
        windows: ordered.  prompts: read for them, more where shuffled answers are averaged.  rounds: one after another.
        window: results in each, which many pictures may have made smaller.  per_picture: visual tokens at most.
        visual_tokens: read, in all prompts.
        truncated: kept tokens by result id, of texts that were cut; the query's under ``""``.
        left_pictures: how many were not shown, by result id.
        repairs: of free answers.  repairs_avoided: answers that the model, left free, would have broken off the rules.
    """

    query_id: str
    windows: int = 0
    prompts: int = 0
    rounds: int = 0
    window: int = 0
    per_picture: int = 0
    visual_tokens: int = 0
    truncated: Mapping[str, int] = field(default_factory=dict)
    left_pictures: Mapping[str, int] = field(default_factory=dict)
    repairs: Repairs = field(default_factory=Repairs)
    repairs_avoided: int = 0


@dataclass(frozen=True)
class Diagnostics:
    """Of one call.

    Attributes:
        pages: in the order of the call.
        model_calls: passes of the language model.  tokens, visual_tokens: that it read, heads included.
        images_shown: pictures in all prompts: what a loop without memory would encode.
        image_encodings: pictures that went through the vision tower.  tower_calls: in how many calls.
        image_hits, image_disk_hits: pictures that the call found seen already, in memory or on disk.
        notices: what was done otherwise than asked, such as smaller passes.
        ms: wall time of the call.
    """

    pages: tuple[PageDiagnostics, ...] = ()
    model_calls: int = 0
    tokens: int = 0
    visual_tokens: int = 0
    images_shown: int = 0
    image_encodings: int = 0
    tower_calls: int = 0
    image_hits: int = 0
    image_disk_hits: int = 0
    notices: tuple[str, ...] = ()
    ms: float = 0.0

    @property
    def windows(self) -> int:
        """Ordered, over all pages."""
        return sum(page.windows for page in self.pages)

    @property
    def repairs(self) -> Repairs:
        """Of free answers, over all pages."""
        return sum((page.repairs for page in self.pages), Repairs())

    @property
    def repairs_avoided(self) -> int:
        """Answers that the model, left free, would have broken off the rules, over all pages."""
        return sum(page.repairs_avoided for page in self.pages)

    @property
    def truncated(self) -> dict[str, dict[str, int]]:
        """Kept tokens by query id and result id, of texts that were cut; the query's under ``""``."""
        return {page.query_id: dict(page.truncated) for page in self.pages if page.truncated}

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, sums included."""
        return {
            **asdict(self),
            "windows": self.windows,
            "repairs": asdict(self.repairs),
            "repairs_avoided": self.repairs_avoided,
            "truncated": self.truncated,
        }


class Tally:
    """Reads the counters of an engine before and after a call; the difference is the call's.

    Args:
        engine: its counts.  sights: of the vision tower; None = no eyes.
    """

    def __init__(self, engine: EngineCounts, sights: SightCounts | None) -> None:
        self._engine, self._sights = engine, sights or SightCounts()
        self._before = replace(engine, notices=list(engine.notices)), replace(self._sights)

    def since(self, pages: tuple[PageDiagnostics, ...], notices: list[str], ms: float) -> Diagnostics:
        """What was counted since this tally was made."""
        engine, sights = self._before
        told = [*notices, *self._engine.notices[len(engine.notices) :]]
        if self._sights.damaged > sights.damaged:
            told.append(f"{self._sights.damaged - sights.damaged} damaged files of seen pictures were made anew")
        return Diagnostics(
            pages,
            model_calls=self._engine.calls - engine.calls,
            tokens=self._engine.tokens - engine.tokens,
            visual_tokens=self._engine.visual_tokens - engine.visual_tokens,
            images_shown=self._engine.pictures - engine.pictures,
            image_encodings=self._sights.encoded - sights.encoded,
            tower_calls=self._sights.calls - sights.calls,
            image_hits=self._sights.in_memory - sights.in_memory,
            image_disk_hits=self._sights.on_disk - sights.on_disk,
            notices=tuple(told),
            ms=ms,
        )
