"""Where the lists of a listwise training come from, as a recipe says it: one table each, told apart by ``from``.

Nothing is opened here; ``nexus_lists`` does what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec

from wholepage.apps.recipe_tables import named, whole
from wholepage.apps.teaching import Patience
from wholepage.collections import NAMES, options_of
from wholepage.collections.captions_files import Layout
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality
from wholepage.rankers.caption_words import CaptionLength
from wholepage.rankers.permutation_teacher import PermutationSettings
from wholepage.training.caption_lists import CaptionDistillation

GRADES, GIVEN, BM25 = "grades", "given", "bm25"
"""Teachers by name: the collection's own grades; the orders its lists come with; words in common."""

_PATHS = ("folder", "judgments_path", "pictures", "requests")  # options of collections that are paths


class ServedTeacher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model behind an OpenAI-compatible address that writes whole orders; each answer is kept and paid for once.

    Attributes:
        url: up to and without ``/chat/completions``.  model: as the server calls it.
        key_variable: the environment variable that holds the key; None = no key is sent.
        settings: how lists are asked about.  patience: how the server is asked, and its prices.
    """

    url: str
    model: str
    key_variable: str | None = None
    settings: PermutationSettings = PermutationSettings()
    patience: Patience = Patience()


class ServedCaptioner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model behind an OpenAI-compatible address that describes pictures; each answer is kept and paid for once.

    Attributes:
        url, model, key_variable, patience: as for a teacher.
        length, pixels, workers: as for ``EndpointCaptioner``.  options: further fields of each request.
    """

    url: str
    model: str
    key_variable: str | None = None
    length: CaptionLength = CaptionLength()
    pixels: int = 768 * 768
    workers: int = 8
    options: dict[str, Any] = {}
    patience: Patience = Patience()


class Lookup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lists of mere words on which a small model learns to look up; the words are those of the other lists' texts.

    Attributes:
        count: of lists.  results: of each.  seed: of what is drawn.
    """

    count: int = 2000
    results: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        _least(count=(self.count, 1), results=(self.results, 2), seed=(self.seed, 0))


class Generated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pages of the generated world, with its own grades.

    Attributes:
        queries, seed, modalities, noise: as for ``Synthetic``.  results: fewest and most of each modality.
        split: train, dev, or test.
        limit: pages read, from the first; None = all.
        rendered: texts are shown as pictures.
    """

    queries: int = 400
    seed: int = 7
    split: Literal["train", "dev", "test"] = "train"
    modalities: tuple[Modality, ...] = tuple(Modality)
    results: tuple[int, int] = (6, 8)
    noise: float = 1.0
    limit: int | None = None
    rendered: bool = False

    def __post_init__(self) -> None:
        _least(queries=(self.queries, 1), seed=(self.seed, 0), limit=(self.limit, 1))
        _some(self.modalities)
        if not 0 <= self.results[0] <= self.results[1] or self.results[1] < 1 or not 0 <= self.noise <= 3:
            raise InputError(
                f"generated lists: got results {list(self.results)}, noise {self.noise}; allowed: the fewest and the "
                "most results of a modality, 0 to 3; mend them"
            )


class FromCollection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pages of a collection, in the order of a teacher.

    Attributes:
        name: of the collection.  root: its folder (else WHOLEPAGE_DATA).  split: of it.
        modalities: of the results that are kept; None = all.
        options: of the collection's class.
        limit: pages read, from the first; None = all.
        rendered: texts are shown as pictures, after the teacher has read them.
        teacher: ``grades``; ``given``, for collections whose lists come with an order; ``bm25``; the folder of a
            trained ranker; or a served one.
    """

    name: str
    root: str | None = None
    split: str = "train"
    modalities: tuple[Modality, ...] | None = None
    options: dict[str, Any] = {}
    limit: int | None = None
    rendered: bool = False
    teacher: str | ServedTeacher = GRADES

    def __post_init__(self) -> None:
        _least(limit=(self.limit, 1))
        _some(self.modalities)
        if self.name not in NAMES:
            raise InputError(f"name: got {self.name!r}; allowed: {', '.join(NAMES)}; write one of them")
        _known(self.name, self.options)


class FromRuns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orders of TREC Deep Learning's lists that language models gave and that were saved.

    Attributes:
        year: such as ``dl19``.  root: the data folder (else WHOLEPAGE_DATA).
        first_stage: whose lists.  depth: results of each, from the top.
        teachers: names of runs, without year and first stage; None = all there are.
        consensus: how several teachers' orders of a query become one; None = each is a list of its own.
        limit: lists, from the first; None = all.
        rendered: texts are shown as pictures.
    """

    year: str
    root: str | None = None
    first_stage: str = "BM25"
    depth: int = 100
    teachers: tuple[str, ...] | None = None
    consensus: Literal["borda", "reciprocal"] | None = None
    limit: int | None = None
    rendered: bool = False

    def __post_init__(self) -> None:
        _least(depth=(self.depth, 2), limit=(self.limit, 1))
        if self.teachers is not None:
            _some(self.teachers)


class FromCaptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Photos with captions, ranked by a teacher of texts that reads captions; the student sees the pixels.

    Attributes:
        root: the folder of the photos.  layout, split, options: of ``Captioned``.
        captioner: ``given`` = people's captions that ask for nothing; a model folder or hub id; or a served one.
        teacher: of texts: ``bm25``, the folder of a trained ranker, or a served one.
        distillation: which lists stay.
        limit: pages read, from the first; None = all.
    """

    root: str
    layout: Layout = "coco"
    split: str = "train"
    options: dict[str, Any] = {}
    captioner: str | ServedCaptioner = GIVEN
    teacher: str | ServedTeacher = BM25
    distillation: CaptionDistillation = CaptionDistillation()
    limit: int | None = None

    def __post_init__(self) -> None:
        _least(limit=(self.limit, 1))
        _known("captioned", self.options, beside=("layout",))
        if self.teacher in (GRADES, GIVEN):
            raise InputError(
                f"teacher: got {self.teacher!r}; allowed: bm25, a folder, or a served one: it is captions that are "
                "ranked; write one of them"
            )


class FromFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lists that were taught before, in a file (``training.taught``).

    Attributes:
        limit: lists, from the first; None = all.
    """

    path: str
    limit: int | None = None

    def __post_init__(self) -> None:
        _least(limit=(self.limit, 1))


class Several(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All lists of other sources of the recipe, one source after the other.

    Attributes:
        lists: their names.
    """

    lists: tuple[str, ...]

    def __post_init__(self) -> None:
        _some(self.lists)


Source: TypeAlias = Lookup | Generated | FromCollection | FromRuns | FromCaptions | FromFile | Several
SOURCES: Mapping[str, type[Source]] = MappingProxyType(
    {
        "lookup": Lookup,
        "generated": Generated,
        "collection": FromCollection,
        "runs": FromRuns,
        "captions": FromCaptions,
        "file": FromFile,
        "several": Several,
    }
)
"""What ``from`` may be, and the settings of each."""


def graded(source: Source) -> bool:
    """Whether the targets are grades, with which a ranker can be measured; a file's are taken for such."""
    taught = isinstance(source, FromCollection) and source.teacher != GRADES
    return not taught and not isinstance(source, FromRuns | FromCaptions | Several)


def placed(folder: Path, source: Source) -> Source:
    """The source with its relative paths made whole."""
    new: dict[str, Any] = {}
    if isinstance(source, FromCollection | FromRuns | FromCaptions):
        new["root"] = whole(folder, source.root)
    if isinstance(source, FromCollection | FromCaptions):
        new["options"] = {
            name: whole(folder, str(value)) if name in _PATHS else value for name, value in source.options.items()
        }
        if isinstance(source.teacher, str) and source.teacher not in (GRADES, GIVEN, BM25):
            new["teacher"] = whole(folder, source.teacher)
    if isinstance(source, FromCaptions) and isinstance(source.captioner, str):
        new["captioner"] = named(folder, source.captioner)
    if isinstance(source, FromFile):
        new["path"] = whole(folder, source.path)
    return msgspec.structs.replace(source, **new)


def told(source: Source) -> dict[str, Any]:
    """What a source is, for the record: without folders and addresses, which tell nothing elsewhere."""
    facts: dict[str, Any] = {"from": next(name for name, kind in SOURCES.items() if isinstance(source, kind))}
    facts |= msgspec.to_builtins(source)
    facts.pop("root", None)
    if "path" in facts:
        facts["path"] = Path(facts["path"]).name
    if "options" in facts:
        facts["options"] = {name: value for name, value in facts["options"].items() if name not in _PATHS}
    for who in ("teacher", "captioner"):
        if isinstance(facts.get(who), str):
            facts[who] = Path(facts[who]).name
        elif who in facts:
            facts[who] = {name: value for name, value in facts[who].items() if name not in ("url", "key_variable")}
    return facts


def _least(**given: tuple[int | None, int]) -> None:
    for name, (value, least) in given.items():
        if value is not None and value < least:
            raise InputError(f"{name}: got {value}; allowed: {least} or more; change it")


def _some(names: Iterable[str] | None) -> None:
    found = None if names is None else list(names)
    if found is not None and (not found or len(set(found)) < len(found)):
        raise InputError(f"names: got {list(map(str, found))}; allowed: one or more, each once; mend them")


def _known(collection: str, options: Mapping[str, Any], beside: tuple[str, ...] = ()) -> None:
    allowed = [name for name in options_of(collection) if name not in beside]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise InputError(
            f"options: got {unknown} for {collection!r}; allowed: {', '.join(allowed) or 'none'}; rename or remove them"
        )
