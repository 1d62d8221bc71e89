"""The lists of a recipe: every source read, put in order by its teacher, and counted. Needs torch.

found = gather(recipe, Path("runs/nexus.lists"), progress=report)
found.stages["text"], found.held_out, found.reports["lists.text"].left_out
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, cast

import msgspec

from wholepage.apps.chat_endpoint import Usage
from wholepage.apps.nexus_recipe import NexusRecipe
from wholepage.apps.nexus_sources import (
    BM25,
    GIVEN,
    GRADES,
    FromCaptions,
    FromCollection,
    FromFile,
    FromRuns,
    Generated,
    Lookup,
    ServedCaptioner,
    ServedTeacher,
    Several,
    Source,
)
from wholepage.apps.places import data_root, file_there, open_collection
from wholepage.apps.resolve import load
from wholepage.apps.teaching import Served, endpoint_captioner, permutation_teacher
from wholepage.collections.captioned import Captioned
from wholepage.collections.rendered import rendered
from wholepage.collections.trec_dl import TrecDl
from wholepage.pages.errors import InputError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Page, Ranking
from wholepage.pages.protocols import Ranker, by_score
from wholepage.rankers.bm25 import BM25Scorer
from wholepage.rankers.captioner import LocalCaptioner
from wholepage.rankers.encoders import Progress
from wholepage.rankers.weights import MANIFEST
from wholepage.training.caption_lists import DistillationReport, distil_captions
from wholepage.training.captions import Captioner, GivenCaptions
from wholepage.training.list_teachers import LEVEL, SHORT, Teacher, TeachingCost, consensus, points, teach
from wholepage.training.lookup_lists import lookup_lists, words_of
from wholepage.training.taught import ListKind, TaughtList, read_taught

OTHER_KIND = "other_kind"
"""Why a held-out list is left out, beside a teacher's reasons: it is of another kind than is measured there."""


class ListsReport(msgspec.Struct, frozen=True):
    """What became of a source.

    Attributes:
        read: pages, or lists where the source holds lists.
        lists: by kind, that came of them.  left_out: the others, by reason.
        teaching: what the teacher took, where one was asked.
        usage: of servers, ``teacher`` and ``captioner``.
        distillation: of captions.
    """

    read: int
    lists: dict[ListKind, int]
    left_out: dict[str, int] = {}
    teaching: TeachingCost | None = None
    usage: dict[str, Usage] = {}
    distillation: DistillationReport | None = None


@dataclass(frozen=True)
class NexusLists:
    """The lists of a recipe.

    Attributes:
        stages: by the name of the stage.  held_out: by kind.
        reports: by the name of the source's table, ``lists.text`` or ``held_out.text``.
    """

    stages: dict[str, list[TaughtList]]
    held_out: dict[ListKind, list[TaughtList]]
    reports: dict[str, ListsReport]


def gather(recipe: NexusRecipe, kept: Path, *, progress: Progress | None = None) -> NexusLists:
    """Read all sources of a recipe.

    Args:
        kept: the folder of pictures that are made, and of what teachers and captioners answered: nobody is asked twice.
        progress: told of teachers' and captioners' work.
    Raises:
        NotFound: a collection, file or model is not there.
        InputError: a source of which no list is left.
        RecordError, ImageError, EndpointError, WeightsError: as what is read and who is asked.
    """
    sources = _Sources(kept, progress)
    made: dict[str, tuple[list[TaughtList], ListsReport]] = {}
    for name, source in recipe.lists.items():
        if not isinstance(source, Lookup | Several):
            made[name] = sources.of(source)
    for name, source in recipe.lists.items():
        if isinstance(source, Several):
            together = [one for other in source.lists for one in made[other][0]]
            made[name] = together, ListsReport(len(together), _kinds(together))
    texts = list(texts_of(one for stage in recipe.stages if stage.name in made for one in made[stage.name][0]))
    for name, source in recipe.lists.items():
        if isinstance(source, Lookup):
            made[name] = _looked_up(source, texts)
    reports = {f"lists.{name}": made[name][1] for name in recipe.lists}
    held_out: dict[ListKind, list[TaughtList]] = {}
    for kind, source in recipe.held_out.items():
        lists, report = _looked_up(source, texts) if isinstance(source, Lookup) else sources.of(source)
        held_out[kind], reports[f"held_out.{kind.value}"] = _of_kind(kind, lists, report)
    for place, report in reports.items():
        if not report.lists:
            raise InputError(
                f"[{place}]: got no list of {report.read} read (left out: {report.left_out}); allowed: one or more "
                "whose targets differ; mend the source"
            )
    return NexusLists({stage.name: made[stage.name][0] for stage in recipe.stages}, held_out, reports)


def texts_of(lists: Iterable[TaughtList]) -> Iterator[str]:
    """Queries and texts of lists, in their order."""
    for one in lists:
        yield one.page.query.text
        yield from (result.text for result in one.page.results if result.text)


def _looked_up(source: Lookup, texts: Sequence[str]) -> tuple[list[TaughtList], ListsReport]:
    lists = lookup_lists(words_of(texts), source.count, results=source.results, seed=source.seed)
    return lists, ListsReport(len(lists), _kinds(lists))


def _of_kind(kind: ListKind, lists: list[TaughtList], report: ListsReport) -> tuple[list[TaughtList], ListsReport]:
    own = [one for one in lists if one.kind is kind]
    left = dict(report.left_out) | ({OTHER_KIND: len(lists) - len(own)} if len(own) < len(lists) else {})
    return own, msgspec.structs.replace(report, lists=_kinds(own), left_out=left)


def _kinds(lists: Iterable[TaughtList]) -> dict[ListKind, int]:
    counted = Counter(one.kind for one in lists)
    return {kind: counted[kind] for kind in ListKind if counted[kind]}


class _Given(Protocol):
    """A collection whose lists come with an order."""

    def lists(self, split: str) -> Iterator[tuple[Page, Ranking]]: ...


class _Trained:
    """A trained ranker under a name that its weights are part of, for what it answers is kept by its name."""

    def __init__(self, folder: Path, progress: Progress | None) -> None:
        self._ranker = load(folder, progress=progress)
        digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        self.name = f"{self._ranker.name}@{digest[:12]}"

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """As the ranker does."""
        return self._ranker.rank(pages)


class _Sources:
    """Reads sources one by one."""

    def __init__(self, kept: Path, progress: Progress | None) -> None:
        self._kept, self._progress = kept, progress

    def of(self, source: Source) -> tuple[list[TaughtList], ListsReport]:
        """The lists of a source that stands alone."""
        match source:
            case Generated():
                return self._generated(source)
            case FromCollection():
                return self._collection(source)
            case FromRuns():
                return self._runs(source)
            case FromCaptions():
                return self._captions(source)
            case FromFile():
                lists = list(islice(read_taught(file_there(source.path, "lists")), source.limit))
                return lists, ListsReport(len(lists), _kinds(lists))
        raise InputError(f"lists: got {type(source).__name__}; allowed: a source that stands alone; name another")

    def _generated(self, source: Generated) -> tuple[list[TaughtList], ListsReport]:
        world = open_collection(
            "synthetic", queries=source.queries, seed=source.seed, results_per_modality=source.results,
            modalities=source.modalities, noise=source.noise, folder=self._pictures,
        )  # fmt: skip
        pages = list(islice(world.pages(source.split), source.limit))
        return self._graded(pages, world.judgments(source.split), world.name, source.rendered)

    def _collection(self, source: FromCollection) -> tuple[list[TaughtList], ListsReport]:
        collection = open_collection(source.name, source.root, **source.options)
        if source.teacher == GIVEN:
            if not hasattr(collection, "lists"):
                raise InputError(
                    f"collection {source.name!r}: got teacher 'given'; allowed: for collections whose lists come with "
                    "an order; choose another teacher"
                )
            orders = cast("_Given", collection).lists(source.split)
            taught = [TaughtList.ranked(*order) for order in islice(orders, source.limit)]
            return self._report(taught, len(taught), {}, source.rendered)
        pages = list(islice(collection.pages(source.split), source.limit))
        if source.modalities is not None:
            wanted = set(source.modalities)
            pages = [page.keep(one.result_id for one in page.results if one.modality in wanted) for page in pages]
        if source.teacher == GRADES:
            return self._graded(pages, collection.judgments(source.split), source.name, source.rendered)
        return self._taught(source, pages)

    def _graded(
        self, pages: Sequence[Page], said: Judgments, who: str, drawn: bool
    ) -> tuple[list[TaughtList], ListsReport]:
        lists, left = [], Counter[str]()
        for page in pages:
            grades = said.by_result(page.query_id)
            known = [grades[result_id] for result_id in page.result_ids if result_id in grades]
            if len(set(known)) > 1:
                lists.append(TaughtList.graded(page, grades, who))
            else:
                left[SHORT if len(known) < 2 else LEVEL] += 1
        return self._report(lists, len(pages), left, drawn)

    def _taught(self, source: FromCollection, pages: Sequence[Page]) -> tuple[list[TaughtList], ListsReport]:
        with ExitStack() as open_:
            teacher, served = self._teacher(source.teacher, open_)
            # Words in common are often equally many: there the order received would pass for the teacher's.
            told = teach(
                teacher, pages, kept=self._kept, targets="scores" if source.teacher == BM25 else "order",
                progress=self._progress,
            )  # fmt: skip
            usage = {} if served is None else {"teacher": served.usage}
        lists = [msgspec.structs.replace(one, targets=points(one.targets)) for one in told.lists]
        found, report = self._report(lists, len(pages), told.cost.refused, source.rendered)
        return found, msgspec.structs.replace(report, teaching=told.cost, usage=usage)

    def _runs(self, source: FromRuns) -> tuple[list[TaughtList], ListsReport]:
        collection = TrecDl(
            data_root(source.root), year=source.year, first_stage=source.first_stage, depth=source.depth
        )
        prefix = f"{source.year}.{source.first_stage}."
        there = [name.removeprefix(prefix) for name in collection.teacher_runs()]
        names = there if source.teachers is None else list(source.teachers)
        unknown = [name for name in names if name not in there]
        if unknown or not names:
            raise InputError(
                f"teachers: got {unknown or 'none'}; allowed: {', '.join(there) or 'none there'} (runs of "
                f"{source.year} on {source.first_stage}); choose of them"
            )
        orders = [TaughtList.ranked(*order) for name in names for order in collection.lists(prefix + name)]
        left = Counter[str]()
        lists = orders if source.consensus is None else self._agreed(orders, source.consensus, left)
        return self._report(lists[: source.limit], len(orders), left, source.rendered)

    @staticmethod
    def _agreed(orders: Sequence[TaughtList], by: str, left: Counter[str]) -> list[TaughtList]:
        of_query: dict[str, list[TaughtList]] = {}
        for one in orders:
            of_query.setdefault(one.page.query_id, []).append(one)
        lists = []
        for same in of_query.values():
            if len(set.intersection(*(set(one.page.result_ids) for one in same))) < 2:
                left[SHORT] += 1
                continue
            try:
                lists.append(consensus(same, by="borda" if by == "borda" else "reciprocal"))
            except InputError:  # of what is left, only that all results come out equal
                left[LEVEL] += 1
        return lists

    def _captions(self, source: FromCaptions) -> tuple[list[TaughtList], ListsReport]:
        photos = Captioned(data_root(source.root), layout=source.layout, **source.options)
        pages = list(islice(photos.pages(source.split), source.limit))
        own = photos.gold(source.split)
        gold = {page.query_id: {own[page.query_id]} for page in pages}
        with ExitStack() as open_:
            captioner, described = self._captioner(source, photos, pages, open_)
            teacher, taught = self._teacher(source.teacher, open_)
            lists, told = distil_captions(
                pages, gold, captioner, teacher, settings=source.distillation, kept=self._kept, progress=self._progress
            )
            served = {"captioner": described, "teacher": taught}
            usage = {name: one.usage for name, one in served.items() if one is not None}
        return lists, ListsReport(len(pages), _kinds(lists), told.dropped, told.teaching, usage, told)

    def _captioner(
        self, source: FromCaptions, photos: Captioned, pages: Sequence[Page], open_: ExitStack
    ) -> tuple[Captioner, Served[Captioner] | None]:
        who = source.captioner
        if isinstance(who, ServedCaptioner):
            served = open_.enter_context(
                endpoint_captioner(
                    who.url, who.model, kept=self._kept, key_variable=who.key_variable, length=who.length,
                    pixels=who.pixels, workers=who.workers, options=who.options, patience=who.patience,
                )
            )  # fmt: skip
            return served.who, cast("Served[Captioner]", served)
        if who != GIVEN:
            return LocalCaptioner(who, progress=self._progress), None
        said = {
            ref.uri: " ".join(photos.captions(result.result_id))
            for page in pages
            for result in page.results
            for ref in result.images
        }
        return GivenCaptions(said, f"captions of {source.layout}"), None

    def _teacher(self, who: str | ServedTeacher, open_: ExitStack) -> tuple[Ranker | Teacher, Served[Teacher] | None]:
        if isinstance(who, ServedTeacher):
            served = open_.enter_context(
                permutation_teacher(
                    who.url, who.model, kept=self._kept, key_variable=who.key_variable, settings=who.settings,
                    patience=who.patience,
                )
            )  # fmt: skip
            return served.who, cast("Served[Teacher]", served)
        return (by_score(BM25Scorer()) if who == BM25 else _Trained(Path(who), self._progress)), None

    def _report(
        self, lists: Iterable[TaughtList], read: int, left: Mapping[str, int], drawn: bool
    ) -> tuple[list[TaughtList], ListsReport]:
        found = [self._drawn(one) for one in lists] if drawn else list(lists)
        return found, ListsReport(read, _kinds(found), dict(sorted(left.items())))

    def _drawn(self, one: TaughtList) -> TaughtList:
        return msgspec.structs.replace(one, page=rendered(one.page, self._pictures))

    @property
    def _pictures(self) -> Path:
        return self._kept / "pictures"
