"""Trains a listwise ranker on lists with a teacher's order: one pass a list, the letters' logits against that order.

    student = train_listwise(student, lists, ListwiseTraining(), seed=0, folder=Path("runs/text"))
    ListwiseRanker(student).rank(pages)

Runs on the one training loop: any number of processes, bf16, checkpoints, resumption. Windows of a batch lie end to end
in one row without padding, so the loss of a list does not depend on its neighbours beyond rounding.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from wholepage.pages.errors import InputError, require
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.rankers.encoders import Progress, ReadBytes
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.listwise import ListwiseConfig, ListwiseRanker
from wholepage.rankers.listwise_attention import Span, Spans
from wholepage.rankers.listwise_loading import Pretrained
from wholepage.rankers.listwise_pictures import Seen
from wholepage.rankers.listwise_prompt import Passage, WindowLimits
from wholepage.rankers.weights import fingerprint
from wholepage.training.listwise_lessons import Lessons, Showing, seen_of
from wholepage.training.listwise_objective import ListwiseObjective
from wholepage.training.loop import LoopConfig, checkpointed, device_of, run
from wholepage.training.loop_sharding import layers_of
from wholepage.training.taught import TaughtList

_LORA = r"^(?!.*visual).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)$"
_TOWER = ".visual."


class ListwiseTraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a listwise ranker is trained on one set of lists.

    Attributes:
        loop: of which ``epochs`` is how often each list is shown, another way each time.
        objective: what a wrong order costs.
        results: shown at a time; of longer lists some are drawn.
        weights: ``full`` = all of the language model; ``lora`` = low-rank adapters, merged at the end.
        rank, alpha: of the adapters.
        tower: whether the vision tower learns too.  tower_rate: its learning rate, as a multiple.
        checkpointing: layers are run again on the way back instead of being remembered.
        text_tokens, visual_tokens, most_per_picture, least_per_picture: limits of a window.
        cache_bytes: of what a frozen tower saw, kept between steps.
    Raises:
        InputError: a value that is not allowed.
    """

    loop: LoopConfig = LoopConfig(epochs=1, batch_size=8, learning_rate=3e-4, weight_decay=0.01)
    objective: ListwiseObjective = ListwiseObjective()
    results: int = 12
    weights: Literal["full", "lora"] = "full"
    rank: int = 16
    alpha: int = 32
    tower: Literal["trained", "frozen"] = "trained"
    tower_rate: float = 1.0
    checkpointing: bool = False
    text_tokens: int = 256
    visual_tokens: int = 2560
    most_per_picture: int = 256
    least_per_picture: int = 64
    cache_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if min(self.rank, self.alpha) < 1 or self.tower_rate <= 0 or self.results < 2:
            raise InputError(
                f"listwise training: got rank {self.rank}, alpha {self.alpha}, tower_rate {self.tower_rate}, "
                f"{self.results} results; allowed: 1 or more, above 0, 2 or more; choose again"
            )
        _ = self.limits

    @property
    def limits(self) -> WindowLimits:
        """Of a window."""
        return WindowLimits(
            text_tokens=self.text_tokens,
            visual_tokens=self.visual_tokens,
            most_per_picture=self.most_per_picture,
            least_per_picture=self.least_per_picture,
        )


def train_listwise(
    student: Pretrained,
    lists: Sequence[TaughtList],
    training: ListwiseTraining,
    *,
    folder: Path | None = None,
    content: str = "",
    open_picture: OpenPicture = open_image,
    read: ReadBytes = read_image_bytes,
    progress: Progress | None = None,
    what: str = "listwise ranker",
) -> Pretrained:
    """The student after the lists; the model inside is the same object, changed.

    Args:
        folder: of the checkpoint; None = nothing is kept.
        content: names the lists, so that a checkpoint is not resumed on others.
    Returns:
        The trained model under its new fingerprints, frozen again.
    Raises:
        InputError: nothing to learn from, or a loss that is not finite.
        WeightsError: the folder holds the checkpoint of another run.
        ImageError: a picture cannot be read.
    """
    where = student.embed.weight.device
    if not lists:
        raise InputError(f"{what}: got no lists; allowed: one or more; check where they come from")
    config = ListwiseConfig(window=training.results, stride=max(1, training.results // 2), limits=training.limits)
    ranker = ListwiseRanker(student, config, open_picture=open_picture, read=read)
    lessons = Lessons(lists, ranker.prompter, ranker.pictures, most=training.results, seed=training.loop.seed)
    sight = _Sight(ranker, lessons, training)
    loop = training.loop
    teaching = _Teaching(ranker, lessons, sight, training)
    # Every showing is an item of its own: then the loop's order says which, and no state of ours has to be kept.
    settings = msgspec.json.encode(msgspec.structs.replace(training, loop=LoopConfig(epochs=1))).decode()
    trained = run(
        lambda: _opened(student, training),
        len(lists) * loop.epochs,
        teaching.loss,
        msgspec.structs.replace(loop, epochs=1, checkpoint_steps=loop.checkpoint_steps or _often(lists, loop)),
        content=f"{content} {settings}",
        folder=folder,
        progress=progress,
        what=what,
        learning_rates=_rates(training),
        part_loss=teaching.part_loss,
        layers=partial(_layers, learns=training.tower == "trained"),
    )
    student = closed(student, trained)
    student.model.to(where)  # the loop leaves it on the CPU
    return student


def _often(lists: Sequence[TaughtList], loop: LoopConfig) -> int:
    """Steps between checkpoints where nothing is said: about a showing of every list."""
    return max(1, len(lists) // (loop.batch_size * loop.accumulate))


def _opened(student: Pretrained, training: ListwiseTraining) -> nn.Module:
    """The student's model with what is to be trained unlocked."""
    model: Any = student.model
    model.requires_grad_(False)
    if training.weights == "lora":
        peft = require("peft", "train")
        settings = peft.LoraConfig(r=training.rank, lora_alpha=training.alpha, target_modules=_LORA)
        model = peft.get_peft_model(model, settings)
    for path, weight in model.named_parameters():
        if _TOWER in path:
            weight.requires_grad_(training.tower == "trained" and student.processor is not None)
        elif training.weights == "full":
            weight.requires_grad_(True)
    if training.checkpointing:
        checkpointed(model)
    found: nn.Module = model
    return found


def closed(student: Pretrained, trained: nn.Module) -> Pretrained:
    """A trained model as rankers take it: adapters merged, frozen, under fingerprints of its own."""
    merge = getattr(trained, "merge_and_unload", None)
    model: Any = trained if merge is None else merge()
    model.requires_grad_(False).eval()
    older = getattr(model, "gradient_checkpointing_disable", None)
    disable = getattr(model, "activation_checkpointing_disable", older)
    if disable is not None:
        disable()
    sight = "" if student.processor is None else fingerprint(model.model.visual.state_dict())
    return replace(student, model=model, fingerprint=fingerprint(model.state_dict()), sight=sight)


def _rates(training: ListwiseTraining) -> Callable[[str], float] | None:
    if training.tower_rate == 1.0:
        return None
    return lambda path: training.tower_rate if _TOWER in path else 1.0


def _layers(module: nn.Module, *, learns: bool) -> list[str]:
    """Layers that processes may share; of a frozen tower each asks when it meets a picture, and so each has its own."""
    return [path for path in layers_of(module) if learns or _TOWER not in path]


class _Sight:
    """What the tower sees of the pictures of a batch: anew each time while it learns, once where it is frozen."""

    def __init__(self, ranker: ListwiseRanker, lessons: Lessons, training: ListwiseTraining) -> None:
        self._pictures, self._lessons = ranker.pictures, lessons
        self._learns = training.tower == "trained"
        self._most = training.cache_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0

    def of(self, keys: Sequence[str]) -> Mapping[str, Seen]:
        """By key; equal pictures of a batch are seen once."""
        if self._pictures is None or not keys:
            return {}
        shown = self._lessons.pictures(list(dict.fromkeys(keys)))
        if self._learns:
            return seen_of(shown, self._pictures.see(self._lessons.cuts(list(shown))))
        missing = [key for key in shown if key not in self._kept]
        fresh: dict[str, Tensor] = {}
        if missing:
            with torch.no_grad():
                fresh = dict(zip(missing, self._pictures.see(self._lessons.cuts(missing)), strict=True))
        layers = [fresh[key] if key in fresh else self._kept[key] for key in shown]
        for key, one in fresh.items():
            self._kept[key] = one
            self._bytes += one.nbytes
        while self._bytes > self._most:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return seen_of(shown, layers)

    def borrowed(self, passages: Sequence[Passage]) -> Tensor:
        """Nothing, by way of a picture of these where there is one and the tower learns.

        For a process whose part of a batch has no pictures: a tower that is shared computes in all at once, and before
        the layers that read what it sees.
        """
        keys = [picture.key for passage in passages for picture in passage.pictures]
        if not self._learns or not keys:
            return torch.zeros(())
        return 0.0 * self.of(keys[:1])[keys[0]].layers.float().sum()


class _Teaching:
    """The loss of a batch of showings."""

    def __init__(self, ranker: ListwiseRanker, lessons: Lessons, sight: _Sight, training: ListwiseTraining) -> None:
        self._engine, self._lessons, self._sight = ranker.engine, lessons, sight
        self._objective, self._whole = training.objective, training.checkpointing

    def loss(self, module: nn.Module, batch: list[int]) -> Tensor:
        """The mean over the lists of these showings."""
        return self._value(module, self._shown(batch), range(len(batch)))

    def part_loss(self, module: nn.Module, batch: list[int], part: list[int]) -> Tensor:
        """The loss of the showings of a batch, of which those of the part alone are read.

        What a showing counts hangs on the batch (how many teach, how long their queries are), and not on what the
        others are answered: with zeros in the place of those, the gradient is the part's own.
        """
        return self._value(module, self._shown(batch), [batch.index(i) for i in part])

    def _shown(self, batch: list[int]) -> list[Showing]:
        count = len(self._lessons)
        return [self._lessons.show(i % count, i // count) for i in batch]

    def _value(self, module: nn.Module, shown: Sequence[Showing], mine: Sequence[int]) -> Tensor:
        passages = [shown[i].passage for i in mine]
        seen = self._sight.of([picture.key for passage in passages for picture in passage.pictures])
        nothing = torch.zeros(()) if seen else self._sight.borrowed([one.passage for one in shown])
        # The last layer's shortcut computes last tokens alone, and cannot be run again on the way back.
        spans = Spans(
            [Span(len(passage)) for passage in passages], last_only=not (self._whole or self._objective.guide)
        )
        states = self._engine.read(passages, spans, seen)
        last = states
        if not spans.last_only:
            last = states[torch.tensor(spans.last_rows(), device=device_of(module))]
        value = self._told(dict(zip(mine, last, strict=True)), list(enumerate(shown)))
        value = value + nothing
        if not self._objective.guide:
            return value
        starts = [0, *torch.tensor(spans.lengths).cumsum(0).tolist()]
        rows = {(i, row): at + row for at, i in zip(starts, mine, strict=False) for row in range(*shown[i].again)}
        guiding = states[torch.tensor(list(rows.values()), device=states.device)]
        asked = [((i, row), one) for i, one in enumerate(shown) for row in range(*one.again)]
        return value + self._objective.guide * self._told(dict(zip(rows, guiding, strict=True)), asked)

    def _told(self, states: Mapping[Hashable, Tensor], asked: Sequence[tuple[Hashable, Showing]]) -> Tensor:
        """The objective at one state each; where there is none, all letters are equally likely."""
        of, device = self._engine.vocabulary.of, self._engine.device
        logits = [
            of(states[at], one.letters) if at in states else torch.zeros(len(one.letters), device=device)
            for at, one in asked
        ]
        return self._objective.loss(logits, [one.targets for _, one in asked])
