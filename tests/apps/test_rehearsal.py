"""From the desk to the model: stand-ins answer a real server over HTTP, and SMAR trains on what they said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from wholepage.annotation.store import Store
from wholepage.apps.bought import read_bought
from wholepage.apps.contenders import Settings
from wholepage.apps.desk_people import read_card
from wholepage.apps.rehearsal import CAMPAIGN, Rehearsed, read_rehearsal, rehearse
from wholepage.evaluation.label_quality import label_error
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import Modality, Page, Query, Result
from wholepage.pages.records import write_judgments, write_pages
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import TowerConfig
from wholepage.training.smar import SmarConfig

ONCE = LoopConfig(epochs=1)
QUICK = Settings(
    towers=TowerConfig(folds=2, loop=ONCE, teacher_loop=ONCE),
    smar=SmarConfig(members=1, keep=8, loop=ONCE),
    sft_loop=ONCE,
)
SHIPPED = sorted((Path(__file__).parents[2] / "recipes").glob("desk_*.toml"))
PAGES, N = 20, 8


def split(pages: int, seed: int) -> tuple[list[Page], Judgments]:
    """Pages of texts and answers; the more of the query's words, the better."""
    rng = np.random.default_rng(seed)
    found, truth = [], {}
    for number in range(pages):
        query_id = f"{seed}-{number}"
        words = [f"word{i}" for i in rng.integers(0, 50, 3)]
        grades = {f"{kind}{i}": int(rng.integers(0, 4)) for kind in "ta" for i in range(N)}
        results = tuple(
            Result(i, Modality.TEXT if i[0] == "t" else Modality.ANSWER, " ".join([*words[:grade], f"other{i}"]))
            for i, grade in grades.items()
        )
        found.append(Page(Query(query_id, " ".join(words)), results))
        truth[query_id] = {i: float(grade) for i, grade in grades.items()}
    return found, Judgments.from_mapping(truth)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("collection")
    for name, (pages, said) in {"train": split(PAGES, 0), "dev": split(6, 1)}.items():
        write_pages(place / f"{name}.pages.jsonl", pages)
        write_judgments(place / f"{name}.judgments.jsonl", said)
    return place


@pytest.fixture(scope="module")
def played(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rehearsed, Path]:
    out = tmp_path_factory.mktemp("rehearsed") / "out"
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f'ranked_by = "offline"\n[data]\npages = "{folder}"\n[select]\nshare = 0.3\n[crowd]\npeople = 3\nerror = 0.0\n'
        'gold = 8\n[campaign]\nname = "Rehearsed"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHOLEPAGE_CACHE", str(out.parent / "cache"))
        return rehearse(read_rehearsal(recipe), out, report=lambda *_: None, training=QUICK), out


def test_the_budget_is_spent_over_http_and_no_more(played: tuple[Rehearsed, Path]) -> None:
    found, out = played
    budget = int(0.3 * PAGES * 2 * N)
    ledger = found.facts["ledger"]
    assert budget - 3 <= ledger["questions"] <= budget  # leases of those who found nothing may keep the last ones
    assert set(found.facts["names"].values()) == {"stand-in 1", "stand-in 2", "stand-in 3"}
    assert sum(of["answers"] for of in found.facts["annotators"].values()) == ledger["questions"]
    with Store.open(out / "annotation.db") as store:
        assert store.verify(CAMPAIGN) == found.facts["entries"]


def test_what_they_said_is_the_truth_that_they_were_given(played: tuple[Rehearsed, Path], folder: Path) -> None:
    found, _ = played
    labels = read_bought(found.labels)
    assert label_error(labels.judgments, split(PAGES, 0)[1]) == 0.0
    assert labels.labels == found.facts["ledger"]["questions"]


def test_the_table_stands_on_these_labels(played: tuple[Rehearsed, Path]) -> None:
    found, out = played
    reference = found.outcome.settings.reference
    rows = {row.ranker: row for row in found.outcome.rows}
    assert rows[reference].labels == found.facts["ledger"]["questions"] == rows["lambdamart"].labels
    assert rows[reference].p_holm is None
    assert {"zscore", "lambdamart_100", "sft_100"} <= set(rows)
    assert (out / "model").is_dir()
    assert "brought from" in (out / "report.html").read_text()


def test_a_folder_is_used_once(played: tuple[Rehearsed, Path], folder: Path) -> None:
    with pytest.raises(InputError, match="holds one"):
        rehearse(read_rehearsal(folder / "recipe.toml"), played[1], report=lambda *_: None, training=QUICK)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_rehearsals_are_read(path: Path) -> None:
    assert read_rehearsal(path).campaign.name
    assert f"wholepage annotate rehearse recipes/{path.name}" in path.read_text()


def test_a_recipe_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[data]\ncollection = "synthetic"\n[campaign]\nname = "x"\nsurprise = 1\n')
    with pytest.raises(RecordError, match="surprise"):
        read_rehearsal(path)


def test_a_page_without_a_card_is_rest() -> None:
    assert read_card("<main><h1>Nothing to do</h1><form action='/sign-out'></form></main>").at_rest
