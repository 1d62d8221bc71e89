"""Progressive training of a listwise ranker: texts, then pictures, then both in one list (Rank-Nexus).

    outcome = fit_nexus(student, {"text": texts, "image": pictures, "joint": mixed}, held_out, NexusConfig())
    outcome.ranker.save(Path("runs/nexus"))

A stage trains on few, good lists of its own (a coreset), with some of earlier stages among them (replay) or, in a joint
stage, with all kinds in given shares. After every stage the ranker is measured on held-out lists of every kind: a kind
that an earlier stage had learned may not lose more than is allowed. Source: arXiv 2601.20623.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import Halted, InputError
from wholepage.rankers.encoders import Progress, TextEncoder
from wholepage.rankers.listwise import ListwiseConfig, ListwiseRanker
from wholepage.rankers.listwise_loading import Pretrained
from wholepage.training.coreset import Coreset, CoresetConfig, coreset
from wholepage.training.list_mixing import JOINT_SHARES, mixed_plan, with_replay
from wholepage.training.list_vectors import list_vectors
from wholepage.training.listwise_trainer import ListwiseTraining, train_listwise
from wholepage.training.taught import ListKind, TaughtList

OnFall = Literal["stop", "report"]


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stage.

    Attributes:
        name: of the stage, and of its lists.
        training: how.
        coreset: which of its lists are kept; None = all of them.
        replay: share of lists of earlier stages among those trained on; 0 = none.
        shares: of kinds of lists, for a joint stage, whose lists are of several kinds; None = the lists as they are.
    Raises:
        InputError: replay and shares together, or a share out of range.
    """

    name: str
    training: ListwiseTraining = ListwiseTraining()
    coreset: CoresetConfig | None = None
    replay: float = 0.0
    shares: dict[ListKind, float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.replay < 1 or (self.replay and self.shares is not None):
            raise InputError(
                f"stage {self.name!r}: got replay {self.replay} and shares {self.shares}; allowed: a replay from 0 to "
                "below 1, and not beside shares, which say what else is shown; set one of them"
            )


class NexusConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A schedule.

    Attributes:
        stages: in order.
        window, stride: of the ranker when it is measured, and of the one that comes out.
        most_fall: what a kind of lists that was learned before may lose in a stage, of nDCG@10.
        on_fall: ``stop`` ends the schedule there (the stage's checkpoint is kept), ``report`` only tells.
        k: of the nDCG that is measured.
    """

    stages: tuple[Stage, ...] = (
        Stage("text"),
        Stage("image", replay=0.2),
        Stage("joint", shares=dict(JOINT_SHARES)),
    )
    window: int = 20
    stride: int = 10
    most_fall: float = 0.03
    on_fall: OnFall = "report"
    k: int = 10

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names) or self.most_fall < 0 or self.k < 1:
            raise InputError(
                f"schedule: got stages {names}, most_fall {self.most_fall}, k {self.k}; allowed: one stage or more of "
                "different names, 0 or more, 1 or more; change it"
            )


class Fall(msgspec.Struct, frozen=True):
    """What a stage did to a kind of lists that was learned before: its nDCG before and after."""

    stage: str
    kind: ListKind
    before: float
    after: float
    allowed: float

    @property
    def too_far(self) -> bool:
        """Whether it lost more than is allowed."""
        return self.before - self.after > self.allowed


class StageReport(msgspec.Struct, frozen=True):
    """One stage, done.

    Attributes:
        lists: of its own, before the coreset.  kept: after it.  replayed: of earlier stages.  shown: in all.
        quality: nDCG by kind of held-out lists, after the stage.  falls: of kinds learned before.
    """

    name: str
    lists: int
    kept: int
    replayed: int
    shown: int
    quality: dict[ListKind, float]
    falls: tuple[Fall, ...]


@dataclass(frozen=True)
class NexusOutcome:
    """A schedule, done.

    Attributes:
        ranker: after the last stage.  untrained: nDCG by kind before the first.  stages: what each did.
        trained_on: lists of all stages, after their coresets, and those of before.
    """

    ranker: ListwiseRanker
    untrained: dict[ListKind, float]
    stages: tuple[StageReport, ...]
    trained_on: tuple[TaughtList, ...]


def fit_nexus(
    student: Pretrained,
    lists: Mapping[str, Sequence[TaughtList]],
    held_out: Mapping[ListKind, Sequence[TaughtList]],
    config: NexusConfig,
    *,
    earlier: Sequence[TaughtList] = (),
    encoder: TextEncoder | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> NexusOutcome:
    """Train a student stage by stage.

    Args:
        lists: of each stage, by its name.
        held_out: what is measured after each stage, by kind; what is not there is not watched.
        earlier: lists that the student was trained on before, for replay, and to watch their kinds.
        encoder: of texts, for coresets.
        folder: where each stage's checkpoint goes; a schedule that was killed goes on from there.
    Raises:
        InputError: a stage without lists, or a coreset without an encoder.
        Halted: a kind lost more than is allowed, and the schedule shall stop then.
        WeightsError: the folder holds checkpoints of another schedule.
    """
    missing = [stage.name for stage in config.stages if not lists.get(stage.name)]
    if missing:
        raise InputError(
            f"schedule: got no lists for the stages {missing}; allowed: one or more each; name where they come from"
        )
    untrained = quality(_ranker(student, config), held_out, config.k)
    before, reports, known = untrained, [], list(earlier)
    for stage in config.stages:
        own = list(lists[stage.name])
        chosen = own if stage.coreset is None else _coreset(own, stage.coreset, encoder).of(own)
        shown = _shown(chosen, known, stage)
        student = train_listwise(
            student,
            shown,
            stage.training,
            folder=None if folder is None else folder / stage.name,
            content=f"{stage.name} {_digest(shown)}",
            progress=progress,
            what=f"stage {stage.name}",
        )
        after = quality(_ranker(student, config), held_out, config.k)
        falls = tuple(
            Fall(stage.name, kind, before[kind], after[kind], config.most_fall)
            for kind in ListKind
            if kind in after and any(one.kind is kind for one in known)
        )
        reports.append(
            StageReport(stage.name, len(own), len(chosen), len(shown) - len(chosen), len(shown), after, falls)
        )
        _gate(falls, config.on_fall)
        before, known = after, known + chosen
    return NexusOutcome(_ranker(student, config), untrained, tuple(reports), tuple(known))


def quality(
    ranker: ListwiseRanker, held_out: Mapping[ListKind, Sequence[TaughtList]], k: int = 10
) -> dict[ListKind, float]:
    """Mean nDCG@k by kind of lists."""
    return {kind: float(np.mean(ndcg_by_list(ranker, lists, k))) for kind, lists in held_out.items() if len(lists)}


def ndcg_by_list(ranker: ListwiseRanker, lists: Sequence[TaughtList], k: int = 10) -> NDArray[np.float64]:
    """nDCG@k of each list, with gains 2^t - 1 of grades and logarithmic discount.

    Targets count from the least of a list, as grades do; lists are measured whose targets are grades.

    Shapes:
        return: [lists]
    Source: Burges et al. 2005 (the gain), Jarvelin and Kekalainen 2002.
    """
    rankings = ranker.rank([one.page for one in lists])
    found = []
    for one, ranking in zip(lists, rankings, strict=True):
        gain = dict(zip(one.page.result_ids, np.exp2(np.array(one.targets) - min(one.targets)) - 1.0, strict=True))
        ordered = np.array([gain[result_id] for result_id in ranking.result_ids])
        discount = 1.0 / np.log2(np.arange(min(k, len(ordered))) + 2.0)
        best = np.sort(ordered)[::-1]
        found.append(float(ordered[:k] @ discount) / float(best[:k] @ discount))
    return np.array(found)


def _ranker(student: Pretrained, config: NexusConfig) -> ListwiseRanker:
    training = config.stages[-1].training
    return ListwiseRanker(
        replace(student), ListwiseConfig(window=config.window, stride=config.stride, limits=training.limits)
    )


def _coreset(lists: Sequence[TaughtList], config: CoresetConfig, encoder: TextEncoder | None) -> Coreset:
    if encoder is None:
        raise InputError("coreset: got no text encoder; allowed: one, which says what lists are about; pass encoder=")
    return coreset(lists, list_vectors(lists, encoder), config)


def _shown(chosen: Sequence[TaughtList], earlier: Sequence[TaughtList], stage: Stage) -> list[TaughtList]:
    """What a stage trains on: its own lists with some of earlier ones, or all kinds in the shares asked for."""
    seed = stage.training.loop.seed
    if stage.shares is None:
        return with_replay(chosen, earlier, stage.replay, seed) if stage.replay and earlier else list(chosen)
    sorts: dict[ListKind, list[TaughtList]] = {kind: [] for kind in ListKind}
    for one in [*chosen, *earlier]:
        sorts[one.kind].append(one)
    plan = mixed_plan({kind: len(rows) for kind, rows in sorts.items()}, stage.shares, len(chosen), seed)
    return [sorts[kind][i] for kind, i in plan]


def _digest(lists: Sequence[TaughtList]) -> str:
    """Names lists by all they hold, so that a checkpoint is not resumed on others."""
    digest = hashlib.sha256()
    for one in lists:
        digest.update(msgspec.json.encode(one, order="sorted") + b"\n")
    return digest.hexdigest()


def _gate(falls: Sequence[Fall], on_fall: OnFall) -> None:
    lost = [fall for fall in falls if fall.too_far]
    if lost and on_fall == "stop":
        worst = max(lost, key=lambda fall: fall.before - fall.after)
        raise Halted(
            f"stage {worst.stage!r}: got {worst.kind.value} lists from {worst.before:.3f} to {worst.after:.3f} nDCG; "
            f"allowed: a loss of {worst.allowed}; raise replay, lower the learning rate, or only report it"
        )
