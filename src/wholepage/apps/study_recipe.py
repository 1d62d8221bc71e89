"""What a study does: a recipe file, and the cells it asks for.

A recipe is one TOML file. ``[data]`` says what is learned from and measured on; each ``[experiments.NAME]`` is a grid
of methods, shares, strategies and what else is varied, and each point of it, with each seed and fold, is a cell.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from wholepage.annotation.selection import parse_strategy
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import TowerConfig
from wholepage.training.smar import Alignment, SmarConfig

Kind = Literal["cost", "where", "alignment", "teacher", "imbalance", "budget"]
Method = Literal[
    "smar",
    "sft",
    "align_only",
    "lambdamart",
    "context",
    "isotonic",
    "zscore",
    "minmax",
    "rrf",
    "raw",
    "round_robin",
]
UNLABELLED: tuple[Method, ...] = ("align_only", "zscore", "minmax", "rrf", "raw", "round_robin")
"""Methods that read no page label; they are measured once, at share 0."""

HEADS: tuple[Method, ...] = ("smar", "sft", "align_only")
"""Methods that train the page head."""

ALIGNED: tuple[Method, ...] = ("smar", "align_only")
"""Methods that single-modal rankers teach."""


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pages.

    Attributes:
        collection: by name, or a file or folder of pages.  judgments: path of the file beside a single file of pages.
        train_split, test_split: learned from, measured on.
        folds: cross-validate over so many folds of the training split's queries instead; 0 = do not.
        transfer_from: collections whose training split is learned from instead.
        without: modalities whose results are left out, such as one that the training pages do not hold.
        queries, seed: size and chance of the generated collection, ``synthetic`` alone.
        text, image: encoders, as on the command line.
    """

    collection: str
    judgments: str | None = None
    train_split: str = "train"
    test_split: str = "dev"
    folds: int = 0
    transfer_from: tuple[str, ...] = ()
    without: tuple[Modality, ...] = ()
    queries: int = 400
    seed: int = 7
    text: str = "minilm"
    image: str = "auto"

    def __post_init__(self) -> None:
        if self.folds == 1 or self.folds < 0:
            raise InputError(f"[data] folds: got {self.folds}; allowed: 0 (none), or 2 and more; 5 is usual")
        if self.folds and self.transfer_from:
            raise InputError("[data]: got folds and transfer_from; allowed: one of them; drop either")
        if self.collection == "synthetic" and (self.folds or self.transfer_from or self.judgments is not None):
            raise InputError(
                "[data]: got folds, transfer_from or judgments with the generated collection; allowed: none of them, "
                "for it has its own splits and grades; drop them"
            )


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A grid; every list is one of its axes.

    Attributes:
        methods: who is trained.
        shares: of the page labels, above 0 to 1; 1 buys everything, whatever the strategy.
        strategies: how labels are chosen: a name, to which the share is added, or a whole spec, which has its own.
        forms: of the alignment; read by ``smar`` alone.
        shuffled: shares of each teacher's list whose places are dealt anew by chance; read by ``smar`` and
            ``align_only``, which choose labels and align by these orders. The items' features keep the true scores.
        ratios: how many results of a page's commonest modality stand for one of each other; 0 = pages as they are.
        seeds: of the choice and of the training; None = the recipe's.
    """

    methods: tuple[Method, ...]
    shares: tuple[float, ...] = (0.1,)
    strategies: tuple[str, ...] = ("concentrated",)
    forms: tuple[Alignment, ...] = ("listwise",)
    shuffled: tuple[float, ...] = (0.0,)
    ratios: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("methods", "shares", "strategies", "forms", "shuffled", "ratios"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise InputError(f"{name}: got {list(values)}; allowed: at least one, each once; mend the list")
        for share in self.shares:
            if not 0 < share <= 1:
                raise InputError(f"shares: got {share}; allowed: above 0, at most 1; 0.1 buys one label in ten")
        for part in self.shuffled:
            if not 0 <= part <= 1:
                raise InputError(f"shuffled: got {part}; allowed: 0 to 1; 0.25 deals a quarter of each list anew")
        for ratio in self.ratios:
            if ratio < 0:
                raise InputError(f"ratios: got {ratio}; allowed: 0 (as they are), 1 and more; 4 means 4:1")
        for strategy in self.strategies:
            spec_of(strategy, 0.1)


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study.

    Attributes:
        name: of the study.  seeds: of every cell whose experiment names none.
        margin: how much nDCG@10 counts as not worse.
        experiments: by kind.
        towers, smar: how the rankers are trained.
        sft_loop: how the page head is trained where nothing aligns it: without alignment it fits few labels too
            closely when it is trained as long.
    """

    name: str
    data: Data
    experiments: dict[Kind, Experiment]
    seeds: tuple[int, ...] = (0, 1, 2)
    margin: float = 0.005
    towers: TowerConfig = TowerConfig()
    smar: SmarConfig = SmarConfig()
    sft_loop: LoopConfig = LoopConfig()

    def __post_init__(self) -> None:
        seeds = [self.seeds, *(e.seeds for e in self.experiments.values() if e.seeds is not None)]
        if not self.experiments or not all(len(of) and len(set(of)) == len(of) and min(of) >= 0 for of in seeds):
            raise InputError(
                f"study {self.name!r}: got {len(self.experiments)} experiments and seeds {seeds}; allowed: one "
                "experiment at least, and seeds of 0 and more, each once; mend the recipe"
            )
        if not (math.isfinite(self.margin) and self.margin > 0):
            raise InputError(f"study {self.name!r}: margin: got {self.margin}; allowed: above 0; 0.005 is usual")
        for kind, experiment in self.experiments.items():
            _check_apart(kind, _grid(kind, experiment, (0,), 1))

    def config_of(self, method: Method) -> SmarConfig:
        """How a method is trained."""
        return self.smar if method in ALIGNED else msgspec.structs.replace(self.smar, loop=self.sft_loop)


class Cell(msgspec.Struct, frozen=True, order=True):
    """One training and measuring.

    Attributes:
        experiment, variant: where its rows stand in the tables.
        strategy: a spec; empty where nothing or everything is bought.
        share: of the page labels; 0 = none.
        form, shuffled: of the alignment; empty and 0 where the method has none.
        ratio: see ``Experiment.ratios``.  fold: 0 without folds.
    """

    experiment: str
    method: Method
    variant: str
    strategy: str
    share: float
    form: str
    shuffled: float
    ratio: int
    seed: int
    fold: int

    @property
    def work(self) -> Cell:
        """The same training under no experiment's name: cells of equal work are trained once."""
        return msgspec.structs.replace(self, experiment="", variant="")


def read_recipe(path: Path) -> Recipe:
    """Read a study's recipe.

    Raises:
        InputError: the file is not there, is not TOML, or a field is unknown, missing or out of range.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except OSError as error:
        raise InputError(f"{path}: got {error.strerror}; allowed: a recipe that can be read; check the path") from error
    except (msgspec.DecodeError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{path}: got {error}; allowed: the fields of a study's recipe; mend the file") from error


def cells(recipe: Recipe, folds: int) -> list[Cell]:
    """Every cell of a study, in order.

    Args:
        folds: how many there are; 1 without cross-validation.
    """
    found: dict[Cell, None] = {}
    for kind, experiment in sorted(recipe.experiments.items()):
        for cell in _grid(kind, experiment, experiment.seeds or recipe.seeds, folds):
            found.setdefault(cell)
    return sorted(found)


def spec_of(strategy: str, share: float) -> str:
    """The spec of a strategy: as it is, or a name with the share added.

    Raises:
        InputError: there is no such strategy.
    """
    return parse_strategy(strategy if "(" in strategy else f"{strategy}(p={share!r})").spec


def _grid(kind: Kind, experiment: Experiment, seeds: tuple[int, ...], folds: int) -> Iterator[Cell]:
    axes = (experiment.methods, experiment.strategies, experiment.shares, experiment.forms, experiment.shuffled)
    for method, strategy, share, form, shuffled in itertools.product(*axes):
        for ratio, seed, fold in itertools.product(experiment.ratios, seeds, range(folds)):
            taught = method in ALIGNED
            form_read: str = form if taught else "none" if method == "sft" else ""
            if method in UNLABELLED:
                bought, spec = 0.0, ""
            elif share == 1:
                bought, spec = 1.0, ""
            else:
                spec = spec_of(strategy, share)
                bought = parse_strategy(spec).p
            dealt = shuffled if taught else 0.0
            # Merges and trees have no chance in them, but their labels may.
            drawn = seed if method in HEADS or method == "context" or spec else 0
            variant = _variant(kind, spec or strategy, form_read, dealt, ratio)
            yield Cell(kind, method, variant, spec, bought, form_read, dealt, ratio, drawn, fold)


def _check_apart(kind: Kind, grid: Iterable[Cell]) -> None:
    """Refuse cells that differ in what their experiment's tables do not tell apart, before anything is trained."""
    told: dict[tuple[str, str, float], Cell] = {}
    for cell in grid:
        twin = told.setdefault((cell.method, cell.variant, cell.share), cell)
        odd = [name for name in ("strategy", "form", "shuffled", "ratio") if getattr(cell, name) != getattr(twin, name)]
        if odd:
            both = [f"{odd[0]} {getattr(one, odd[0])!r}" for one in (twin, cell)]
            raise InputError(
                f"[experiments.{kind}]: got {cell.method} at share {cell.share:g} with {both[0]} and with {both[1]}; "
                f"allowed: one of them, as this experiment's tables do not show the {odd[0]}; put the other into an "
                "experiment that does"
            )


def _variant(kind: Kind, strategy: str, form: str, shuffled: float, ratio: int) -> str:
    """What an experiment varies, in words for the tables."""
    match kind:
        case "where":
            return strategy
        case "budget":
            return strategy.split("(")[0]
        case "alignment":
            return f"align={form}"
        case "teacher":
            return f"shuffled={shuffled:g}"
        case "imbalance":
            return f"{ratio}:1" if ratio else "as it is"
        case "cost":
            return ""
