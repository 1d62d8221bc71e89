"""Training the members from ready lessons: the bits of ``fit_smar``, and networks in place of the page head."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wholepage.pages.errors import InputError, WeightsError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Ranking
from wholepage.pages.protocols import Ranker
from wholepage.rankers.features import Featurizer
from wholepage.rankers.whole_page import PageHead
from wholepage.training.batches import Lesson, PageBatch, lessons, supervise
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import SingleModalFit, TowerConfig, fit_single_modal
from wholepage.training.smar import SmarConfig, fit_featurizer, fit_heads, fit_smar
from wholepage.training.workers import Workers

TEXT, IMAGE = Modality.TEXT, Modality.IMAGE
LOOP = LoopConfig(epochs=2, batch_size=8)
CONFIG = SmarConfig(members=2, width=8, layers=1, heads=2, keep=8, loop=LOOP)

# A process that is started anew imports what it calls, so these need a module of their own.
LINES = """
import torch
from torch import nn

def make(example, config):
    return nn.Linear(example.items.numbers.shape[1], 1)

def score(module, rows, batch):
    return module(batch.items.numbers)[..., 0]
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("lines")
    (folder / "lines_for_heads.py").write_text(LINES, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        import lines_for_heads  # type: ignore[import-not-found]

        yield lines_for_heads
        del sys.modules["lines_for_heads"]


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace) -> Any:
    return planted.world(20, {TEXT: 3, IMAGE: 3})


@pytest.fixture(scope="module")
def fit(planted: SimpleNamespace, made: Any) -> SingleModalFit:
    towers = TowerConfig(folds=2, rank=4, hidden=4, loop=LOOP, teacher_loop=LOOP)
    return fit_single_modal(made.pages, made.single(), planted.fake_vectors(), towers)


@pytest.fixture(scope="module")
def featurizer(planted: SimpleNamespace, made: Any, fit: SingleModalFit) -> Featurizer:
    return fit_featurizer(made.pages, fit, planted.fake_vectors(), CONFIG)


@pytest.fixture(scope="module")
def taught(made: Any, fit: SingleModalFit, featurizer: Featurizer) -> list[Lesson]:
    known = supervise(made.pages, made.lifted({IMAGE: 2}, share=0.4), fit.teachers)
    return lessons(featurizer.read(made.pages, fit.out_of_fold), known)


def without_teachers(taught: Sequence[Lesson], *, graded: Sequence[int]) -> list[Lesson]:
    """Only these lessons have grades (0, 1, 2, ...), and nobody else teaches."""
    nothing = [np.full(len(one.grades), np.nan, np.float32) for one in taught]
    return [
        Lesson(one.items, np.arange(len(of), dtype=np.float32) if i in graded else of, of)
        for i, (one, of) in enumerate(zip(taught, nothing, strict=True))
    ]


def bits(modules: Sequence[nn.Module]) -> list[bytes]:
    return [b"".join(value.numpy().tobytes() for value in module.state_dict().values()) for module in modules]


def test_heads_of_ready_lessons_are_those_of_the_whole_training(
    planted: SimpleNamespace, made: Any, fit: SingleModalFit, featurizer: Featurizer, taught: list[Lesson]
) -> None:
    ranker = fit_smar(
        made.pages, made.lifted({IMAGE: 2}, share=0.4), fit, planted.fake_vectors(), CONFIG, featurizer=featurizer
    )
    heads = fit_heads(taught, CONFIG)
    assert all(isinstance(head, PageHead) and not head.training for head in heads)
    assert bits(heads) == bits(ranker.heads)
    assert len(set(bits(heads))) == 2


def test_rows_count_the_lessons_as_given(taught: list[Lesson]) -> None:
    """Lessons that teach nothing are never asked about, and leave no gap to fall into."""
    some = without_teachers(taught, graded=(3, 4, 11))
    asked: set[int] = set()

    def score(module: nn.Module, rows: list[int], batch: PageBatch) -> Tensor:
        asked.update(rows)
        for row, numbers in zip(rows, batch.items.numbers, strict=True):
            np.testing.assert_array_equal(numbers[: len(some[row].items)], some[row].items.numbers)
        return torch.as_tensor(module(batch.items.numbers)[..., 0])

    def make(example: Lesson, config: SmarConfig) -> nn.Module:
        assert example is some[3]
        assert config.width == 8
        return nn.Linear(example.items.numbers.shape[1], 1)

    modules = fit_heads(some, CONFIG, make=make, score=score)
    assert asked == {3, 4, 11}
    assert [type(module) for module in modules] == [nn.Linear, nn.Linear]


def test_what_teaches_nothing_does_not_change_a_bit(taught: list[Lesson]) -> None:
    some = without_teachers(taught, graded=(0, 5, 6))
    assert bits(fit_heads(some, CONFIG)) == bits(fit_heads([some[0], some[5], some[6]], CONFIG))
    with pytest.raises(InputError, match="mine: got no page that teaches among 20"):
        fit_heads(without_teachers(taught, graded=()), CONFIG, name="mine")


def test_another_network_trains_the_same_in_two_processes(lines: ModuleType, taught: list[Lesson]) -> None:
    alone = fit_heads(taught, CONFIG, make=lines.make, score=lines.score)
    with Workers(2) as two:
        side_by_side = fit_heads(taught, CONFIG, make=lines.make, score=lines.score, workers=two)
    assert bits(alone) == bits(side_by_side)
    first = bits([lines.make(taught[0], CONFIG)])
    assert len({*bits(alone), *first}) == 3


def test_content_tells_checkpoints_apart(lines: ModuleType, taught: list[Lesson], tmp_path: Path) -> None:
    config = msgspec.structs.replace(CONFIG, members=1)
    named: dict[str, Any] = {"make": lines.make, "score": lines.score, "folder": tmp_path}
    first = fit_heads(taught, config, content="one", **named)
    assert bits(fit_heads(taught, config, content="one", **named)) == bits(first)
    with pytest.raises(WeightsError, match="another run"):
        fit_heads(taught, config, content="other", **named)


# --- a backbone -------------------------------------------------------------------------------------------------------


class Longest:
    """A ranker that keeps what it was made of."""

    def __init__(self, modules: Sequence[nn.Module], made_of: Mapping[str, Any], name: str) -> None:
        self.modules, self.made_of, self.name = modules, made_of, name

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        return [Ranking(page.query_id, page.result_ids) for page in pages]


class Lengths:
    """A backbone that looks at the pages themselves: at the length of the ids."""

    def __init__(self) -> None:
        self.prepared: list[list[str]] = []
        self.rows: set[int] = set()
        self.featurizer: Featurizer | None = None

    def prepare(self, pages: Sequence[Page]) -> None:
        self.prepared.append([page.query_id for page in pages])
        self.pages = list(pages)

    def make(self, example: Lesson, config: SmarConfig) -> nn.Module:
        assert self.prepared, "asked before it was prepared"
        return nn.Linear(1, 1)

    def score(self, module: nn.Module, rows: list[int], batch: PageBatch) -> Tensor:
        self.rows.update(rows)
        seen = torch.zeros(*batch.grades.shape, 1)
        for at, row in enumerate(rows):
            assert len(self.pages[row]) == int(batch.items.mask[at].sum())
            seen[at, : len(self.pages[row]), 0] = torch.tensor([float(len(i)) for i in self.pages[row].result_ids])
        return torch.as_tensor(module(seen)[..., 0])

    def ranker(
        self, featurizer: Featurizer, modules: Sequence[nn.Module], made_of: Mapping[str, Any], name: str
    ) -> Ranker:
        self.featurizer = featurizer
        return Longest(modules, made_of, name)


def test_a_backbone_is_trained_on_the_pages_that_teach(
    planted: SimpleNamespace, made: Any, fit: SingleModalFit, featurizer: Featurizer
) -> None:
    """Images, whose ids are longer, are lifted: that is all this one can learn."""
    chosen = ["q2", "q3", "q17"]
    bought = made.lifted({IMAGE: 4}).restrict({p.query_id: p.result_ids for p in made.pages if p.query_id in chosen})
    backbone = Lengths()
    config = msgspec.structs.replace(CONFIG, align="none", loop=LoopConfig(epochs=30, batch_size=2, learning_rate=0.05))
    ranker = fit_smar(
        made.pages, bought, fit, planted.fake_vectors(), config,
        featurizer=featurizer, backbone=backbone, made_of={"strategy": "whole"}, name="lengths",
    )  # fmt: skip
    assert isinstance(ranker, Longest)
    assert backbone.prepared == [chosen]
    assert backbone.rows == {0, 1, 2}
    assert backbone.featurizer is featurizer
    assert len(ranker.modules) == 2
    assert all(module.weight.item() > 0.2 for module in ranker.modules if isinstance(module, nn.Linear))
    assert ranker.name == "lengths"
    assert ranker.made_of["page_labels"] == 18
    assert ranker.made_of["strategy"] == "whole"


def test_a_backbone_of_other_pages_is_not_resumed(
    planted: SimpleNamespace, made: Any, fit: SingleModalFit, featurizer: Featurizer, tmp_path: Path
) -> None:
    """It may read what no item vector holds: here only a query's text differs, and the items are given."""

    class Same(Featurizer):
        def __init__(self) -> None:
            pass

        def read(self, pages: Sequence[Page], scores: Any = None) -> Any:
            return featurizer.read(made.pages, fit.out_of_fold)

    query = msgspec.structs.replace(made.pages[0].query, text="other words")
    other = [msgspec.structs.replace(made.pages[0], query=query), *made.pages[1:]]
    for pages in (made.pages, made.pages, other):
        named: dict[str, Any] = {"featurizer": Same(), "folder": tmp_path, "backbone": Lengths()}
        if pages is other:
            with pytest.raises(WeightsError, match="another run"):
                fit_smar(pages, Judgments(), fit, planted.fake_vectors(), CONFIG, **named)
        else:
            fit_smar(pages, Judgments(), fit, planted.fake_vectors(), CONFIG, **named)


def test_a_backbone_is_not_prepared_for_nothing(
    planted: SimpleNamespace, made: Any, fit: SingleModalFit, featurizer: Featurizer
) -> None:
    backbone, config = Lengths(), msgspec.structs.replace(CONFIG, align="none")
    with pytest.raises(InputError, match="no page that teaches among 20"):
        fit_smar(made.pages, Judgments(), fit, planted.fake_vectors(), config, featurizer=featurizer, backbone=backbone)
    assert backbone.prepared == []
