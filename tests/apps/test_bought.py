"""Labels that come from a campaign: kept as a folder, read strictly, learned from by train and compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wholepage.apps.bought import Bought, check_brought, read_bought, write_bought
from wholepage.apps.places import NotFound
from wholepage.apps.recipes import Data, Recipe, Select, read_recipe
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.judgments import Choice, Grade, Judgments, Preference
from wholepage.pages.model import Modality, Page, Query, Result

PAGE = Page(Query("q"), tuple(Result(i, Modality.TEXT, "words") for i in "abcd"))
SAID = Judgments(
    [Grade("q", "a", 3.0, "ann"), Grade("q", "a", 2.0, "bea"), Grade("q", "b", 0.0, "inferred")],
    [Preference("q", "c", "d", Choice.RIGHT, "ann")],
)
BOUGHT = Bought(SAID, 3, "campaign: hmm", {"q": {"b": 0.75}})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_bought(tmp_path / "deep" / "labels", BOUGHT)
    assert read_bought(tmp_path / "deep" / "labels") == BOUGHT
    first = (tmp_path / "deep" / "labels" / "bought.json").read_bytes()
    write_bought(tmp_path / "deep" / "labels", read_bought(tmp_path / "deep" / "labels"))
    assert (tmp_path / "deep" / "labels" / "bought.json").read_bytes() == first


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"judgments\.jsonl"):
        read_bought(tmp_path)
    write_bought(tmp_path, BOUGHT)
    (tmp_path / "bought.json").unlink()
    with pytest.raises(NotFound, match=r"bought\.json"):
        read_bought(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights": {"q": {"b": 1.5}}}, "weights"),
        ({"weights": {"q": {"b": 0.0}}}, "weights"),
        ({"labels": -1}, "labels=-1"),
        ({"surprise": 1}, "surprise"),
        ({"weights": {"q": {"z": 0.5}}}, "'z'"),
        ({"weights": {"other": {"b": 0.5}}}, "other"),
    ],
)
def test_facts_are_read_strictly(tmp_path: Path, change: dict[str, object], named: str) -> None:
    write_bought(tmp_path, BOUGHT)
    facts = json.loads((tmp_path / "bought.json").read_text())
    (tmp_path / "bought.json").write_text(json.dumps(facts | change))
    with pytest.raises(InputError, match=named):
        read_bought(tmp_path)
    (tmp_path / "bought.json").write_bytes(b"\xff{")
    with pytest.raises(RecordError, match=r"bought\.json"):
        read_bought(tmp_path)


def test_share_is_of_whole_percents() -> None:
    assert BOUGHT.share(30) == 0.1
    assert BOUGHT.share(100_000) == 0.01
    assert BOUGHT.share(2) == 1.0  # second opinions can cost more than one label each
    with pytest.raises(InputError, match="0 results"):
        BOUGHT.share(0)


@pytest.mark.parametrize(
    "said",
    [
        Judgments([Grade("other", "a", 1.0)]),
        Judgments([Grade("q", "z", 1.0)]),
        Judgments((), [Preference("q", "a", "z", Choice.LEFT)]),
    ],
)
def test_labels_of_other_pages_are_refused(said: Judgments) -> None:
    check_brought([PAGE], BOUGHT)
    with pytest.raises(InputError, match="not all among the 1 pages"):
        check_brought([PAGE], Bought(said, 1, "x"))


def test_a_recipe_names_labels_beside_itself(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[data]\ncollection = "synthetic"\n[select]\nlabels = "labels"\n')
    assert read_recipe(path).select.labels == str(tmp_path / "labels")


def test_labels_and_buying_do_not_go_together() -> None:
    with pytest.raises(InputError, match="remove one"):
        Select(labels="x", share=0.1)
    with pytest.raises(InputError, match="remove one"):
        Select(labels="x", strategy="random")


def test_the_command_line_goes_before_the_recipe() -> None:
    brought = Recipe(Data(collection="synthetic"), select=Select(labels="x", seed=3))
    assert brought.changed("select", share=0.2).select == Select(share=0.2, seed=3)
    assert brought.changed("select", strategy="random(p=0.2)").select == Select("random(p=0.2)", seed=3)
    assert brought.changed("select", labels=None).select == Select(labels="x", seed=3)
    bought = Recipe(Data(collection="synthetic"), select=Select("random", 0.2))
    assert bought.changed("select", labels="y").select == Select(labels="y")
