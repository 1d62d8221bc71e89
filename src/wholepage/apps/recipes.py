"""Recipes: everything a training needs, in one TOML file.

``[data]`` says which pages, ``[encoders]`` what reads them, ``[single.text]``, ``[single.image]``, ... how each
modality's ranker comes about, ``[select]`` which page labels are bought, ``[smar]`` how the page reranker is trained,
``[calibrate]`` and ``[distill]`` what is done with it then, ``[out]`` where it goes. What is left out has its default.
A relative path is relative to the recipe.

Run one: wholepage train smar recipes/smar_synthetic_cpu.toml
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from wholepage.annotation.selection import parse_strategy
from wholepage.apps.recipe_tables import as_json, filled, named, read_tables, whole
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.lines import decode
from wholepage.pages.model import Modality
from wholepage.training.calibrate import CalibrateConfig
from wholepage.training.cross_encoder import CrossEncoderConfig
from wholepage.training.distill import DistillConfig
from wholepage.training.single_modal import TowerConfig
from wholepage.training.smar import SmarConfig

SUFFIX = ".toml"


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pages are learned from.

    Attributes:
        collection: by name, or:  pages: a file or folder of pages.
        root: the data folder (else WHOLEPAGE_DATA).  judgments: beside a single file of pages.
        split: default ``train``, or ``all`` for a single file.
        queries, seed: size and chance of the generated collection, ``synthetic`` alone.
    """

    collection: str | None = None
    pages: str | None = None
    root: str | None = None
    judgments: str | None = None
    split: str | None = None
    queries: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if (self.collection is None) == (self.pages is None):
            raise InputError(
                f"[data]: got collection={self.collection!r} and pages={self.pages!r}; allowed: one of them; name a "
                "collection, or a file or folder of pages"
            )
        if self.collection != "synthetic" and not (self.queries is None and self.seed is None):
            raise InputError(
                f"[data]: got queries or seed for {self.collection or self.pages!r}; allowed: for 'synthetic' alone, "
                "which is generated; remove them"
            )

    @property
    def name(self) -> str:
        """The collection, or the path of the pages."""
        return str(self.collection if self.pages is None else self.pages)


class Encoders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The frozen encoders, as on the command line."""

    text: str = "minilm"
    image: str = "auto"


class ModelFolder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A single-modal ranker trained before, on labels of other pages (``wholepage train text`` writes such folders)."""

    folder: str


class Select(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which page labels are bought.

    Attributes:
        strategy: by name, to which the share is added; or a whole spec, which has its own: ``anchors(p=0.1)``.
        share: of the page labels, above 0 to 1; default 0.1.  seed: of the draw.
        labels: a folder of page labels that were bought in a campaign (``wholepage annotate export``), instead.
    """

    strategy: str = "concentrated"
    share: float | None = None
    seed: int = 0
    labels: str | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and (self.strategy != "concentrated" or self.share is not None):
            raise InputError(
                f"[select]: got labels={self.labels!r} beside strategy={self.strategy!r}, share={self.share}; allowed: "
                "labels that are bought already, or how to buy; remove one of the two"
            )
        if self.seed < 0:
            raise InputError(f"[select] seed: got {self.seed}; allowed: 0 or more; choose another")
        if "(" in self.strategy and self.share is not None:
            raise InputError(
                f"[select]: got share={self.share} beside {self.strategy!r}; allowed: a share beside the name of a "
                "strategy alone; remove one of the two"
            )
        parse_strategy(self.spec)

    @property
    def spec(self) -> str:
        """The strategy with its share."""
        share = 0.1 if self.share is None else self.share
        return self.strategy if "(" in self.strategy else f"{self.strategy}(p={share!r})"


class Out(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the model goes."""

    folder: str


Single: TypeAlias = TowerConfig | CrossEncoderConfig | ModelFolder
KINDS: Mapping[str, type[TowerConfig] | type[CrossEncoderConfig] | type[ModelFolder]] = {
    "tower": TowerConfig,
    "cross-encoder": CrossEncoderConfig,
    "model": ModelFolder,
}
"""What ``kind`` may be in ``[single.<modality>]``, and the settings of each."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training.

    Attributes:
        data, encoders, select, smar, out: see the module.
        single: by modality; a modality that is not named gets a tower with its defaults.
        calibrate: None = scores, not probabilities.  distill: None = no small copy.
    """

    data: Data
    encoders: Encoders = Encoders()
    single: dict[Modality, Single] = {}
    select: Select = Select()
    smar: SmarConfig = SmarConfig()
    calibrate: CalibrateConfig | None = None
    distill: DistillConfig | None = None
    out: Out | None = None

    def seeded(self, seed: int) -> Recipe:
        """The same recipe with one seed for everything: the choice of labels and every training."""

        def of(config: Any) -> Any:
            return msgspec.structs.replace(config, loop=msgspec.structs.replace(config.loop, seed=seed))

        single = {m: TowerConfig() for m in Modality} | self.single
        return msgspec.structs.replace(
            self,
            single={m: kind if isinstance(kind, ModelFolder) else of(kind) for m, kind in single.items()},
            select=msgspec.structs.replace(self.select, seed=seed),
            smar=of(self.smar),
            distill=None if self.distill is None else of(self.distill),
        )

    def ranked_by(self, modality: Modality, kind: str | None, start: str | None, seed: int | None) -> Recipe:
        """The same recipe with another ranker of one modality; None leaves a thing as it is.

        Args:
            kind: ``tower`` or ``cross-encoder``; another kind than the recipe's comes with its default settings.
            start: what a cross-encoder starts from.
        Raises:
            InputError: something to start from, for another kind.
        """
        ours = self.single.get(modality, TowerConfig())
        if kind is not None and not isinstance(ours, KINDS[kind]):
            ours = TowerConfig() if kind == "tower" else CrossEncoderConfig()
            if seed is not None:
                ours = msgspec.structs.replace(ours, loop=msgspec.structs.replace(ours.loop, seed=seed))
        if start is not None:
            if not isinstance(ours, CrossEncoderConfig):
                raise InputError(
                    f"train {modality.value}: got something to start from ({start!r}) for a ranker that is no "
                    "cross-encoder; allowed: with kind cross-encoder alone; choose it, or leave --start out"
                )
            ours = msgspec.structs.replace(ours, model=start)
        return msgspec.structs.replace(self, single={**self.single, modality: ours})

    def changed(self, part: str, **given: Any) -> Recipe:
        """The same recipe with other values in one of its tables; None leaves a value as it is.

        Raises:
            InputError: the values do not go together.
        """
        new = {name: value for name, value in given.items() if value is not None}
        if part == "select":
            if "(" in new.get("strategy", ""):
                new.setdefault("share", None)  # the spec has its own
            if {"strategy", "share"} & set(new):
                new.setdefault("labels", None)  # what is asked for now stands in place of labels bought before
            elif "labels" in new:
                new |= {"strategy": "concentrated", "share": None}
        table = getattr(self, part)
        return msgspec.structs.replace(self, **{part: msgspec.structs.replace(table, **new)}) if new else self

    def single_facts(self) -> dict[str, dict[str, Any]]:
        """How each modality that is named is ordered, for the record; without paths, which tell nothing elsewhere."""
        facts: dict[str, dict[str, Any]] = {}
        for modality, kind in self.single.items():
            name = next(name for name, settings in KINDS.items() if isinstance(kind, settings))
            told = {} if isinstance(kind, ModelFolder) else msgspec.to_builtins(kind)
            if isinstance(kind, CrossEncoderConfig):
                told["model"] = Path(kind.model).name
            facts[modality.value] = {"kind": name, **told}
        return facts


_TRAINED: Mapping[str, msgspec.Struct] = {
    "tower": TowerConfig(),
    "cross-encoder": CrossEncoderConfig(),
    "smar": SmarConfig(),
    "distill": DistillConfig(),
}
"""Settings that hold settings of a training loop, by the table or kind that says them."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tables of a recipe as they are written; those of ``single`` are read once their kind is known."""

    data: Data
    encoders: Encoders = Encoders()
    single: dict[Modality, dict[str, Any]] = {}
    select: Select = Select()
    smar: SmarConfig = SmarConfig()
    calibrate: CalibrateConfig | None = None
    distill: DistillConfig | None = None
    out: Out | None = None


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe strictly.

    Raises:
        NotFound: there is no such file.
        RecordError: it is not TOML, or a field is unknown, missing, of another type or out of range; says which.
    """
    path, tables = read_tables(path)
    tables = {name: filled(_TRAINED.get(name), table) for name, table in tables.items()}
    file = decode(msgspec.json.Decoder(_File), path, 0, as_json(path, tables))
    single = {modality: _single(path, modality, table) for modality, table in file.single.items()}
    plain = {name: getattr(file, name) for name in ("select", "smar", "calibrate", "distill")}
    return _beside(path.parent, Recipe(file.data, file.encoders, single, out=file.out, **plain))


def _single(path: Path, modality: Modality, table: dict[str, Any]) -> Single:
    kind = table.get("kind", "tower")
    place = f"single.{modality.value}."
    if not isinstance(kind, str) or kind not in KINDS:
        raise RecordError(path, 0, f"{place}kind", repr(kind), ", ".join(KINDS), "write one of them")
    settings = filled(_TRAINED.get(kind), {name: value for name, value in table.items() if name != "kind"})
    decoder: msgspec.json.Decoder[Single] = msgspec.json.Decoder(KINDS[kind])
    return decode(decoder, path, 0, as_json(path, settings), place=place)


def _beside(folder: Path, recipe: Recipe) -> Recipe:
    """The recipe with its relative paths made whole."""

    def single(kind: Single) -> Single:
        if isinstance(kind, ModelFolder):
            return ModelFolder(str(whole(folder, kind.folder)))
        if isinstance(kind, CrossEncoderConfig):
            return msgspec.structs.replace(kind, model=named(folder, kind.model))
        return kind

    data = recipe.data
    return msgspec.structs.replace(
        recipe,
        data=msgspec.structs.replace(
            data,
            pages=whole(folder, data.pages),
            root=whole(folder, data.root),
            judgments=whole(folder, data.judgments),
        ),
        encoders=Encoders(named(folder, recipe.encoders.text), named(folder, recipe.encoders.image)),
        single={modality: single(kind) for modality, kind in recipe.single.items()},
        select=msgspec.structs.replace(recipe.select, labels=whole(folder, recipe.select.labels)),
        out=None if recipe.out is None else Out(str(whole(folder, recipe.out.folder))),
    )
