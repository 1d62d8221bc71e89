"""A study's recipe: what is refused, and which cells it asks for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from wholepage.apps.study_recipe import Cell, Recipe, cells, read_recipe, spec_of
from wholepage.pages.errors import InputError

HEAD = 'name = "one"\n[data]\ncollection = "synthetic"\n'
SHIPPED = sorted((Path(__file__).parents[2] / "recipes").glob("cost_*.toml"))


def recipe(text: str) -> Recipe:
    return msgspec.toml.decode(HEAD + text, type=Recipe)


def test_there_is_a_recipe_for_every_collection() -> None:
    assert {"synthetic", "fashion", "opencqa", "mmdocir", "grocery", "financebench"} <= {
        path.stem.removeprefix("cost_") for path in SHIPPED
    }


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_read_and_hold_the_targets(path: Path) -> None:
    found = read_recipe(path)
    assert found.name == path.stem
    assert found.margin == 0.005
    cost = found.experiments["cost"]
    assert {"smar", "sft", "lambdamart", "context", "isotonic", "align_only", "zscore"} <= set(cost.methods)
    assert {0.1, 0.3, 1.0} <= set(cost.shares)
    assert len(cells(found, 1)) == len(set(cells(found, 1)))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "experiments"),
        ("[experiments.cost]\nmethods = ['best']", "best"),
        ("[experiments.cost]\nmethods = []", "methods"),
        ("[experiments.cost]\nmethods = ['smar']\nshares = [0.0]", "shares"),
        ("[experiments.cost]\nmethods = ['smar']\nshares = [0.1, 0.1]", "shares"),
        ("[experiments.cost]\nmethods = ['smar']\nshuffled = [2.0]", "shuffled"),
        ("[experiments.cost]\nmethods = ['smar']\nratios = [-1]", "ratios"),
        ("[experiments.cost]\nmethods = ['smar']\nstrategies = ['best']", "best"),
        ("[experiments.cost]\nmethods = ['smar']\nseeds = [1, 1]", "seeds"),
        ("[experiments.cost]\nmethods = ['smar']\nshare = 0.1", "share"),
        ("[experiments.price]\nmethods = ['smar']", "price"),
        ("folds = 1\n[experiments.cost]\nmethods = ['smar']", "folds"),
        ("folds = 5\ntransfer_from = ['opencqa']\n[experiments.cost]\nmethods = ['smar']", "transfer_from"),
        ("folds = 5\n[experiments.cost]\nmethods = ['smar']", "generated collection"),
        ("transfer_from = ['opencqa']\n[experiments.cost]\nmethods = ['smar']", "generated collection"),
        ("judgments = 'said.jsonl'\n[experiments.cost]\nmethods = ['smar']", "generated collection"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_file(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(HEAD + text)
    with pytest.raises(InputError, match=part) as error:
        read_recipe(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[experiments.cost]\nmethods = ['zscore', 'smar']\nstrategies = ['top', 'random']", "strategy 'top"),
        ("[experiments.cost]\nmethods = ['smar']\nforms = ['kl', 'listwise']", "form 'kl' and with form 'listwise'"),
        ("[experiments.alignment]\nmethods = ['smar']\nshuffled = [0.0, 0.5]", "shuffled"),
        ("[experiments.teacher]\nmethods = ['smar']\nratios = [0, 4]", "ratio"),
        ("[experiments.budget]\nmethods = ['smar']\nstrategies = ['active', 'active(p=0.1, rounds=2)']", "strategy"),
    ],
)
def test_what_the_tables_would_not_tell_apart_is_refused_before_it_is_trained(text: str, part: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=part):
        recipe(text)


@pytest.mark.parametrize(
    "text",
    [
        "[experiments.cost]\nmethods = ['lambdamart', 'smar']\nshares = [0.1, 1.0]\nseeds = [0, 1]",
        "[experiments.alignment]\nmethods = ['smar', 'sft', 'lambdamart']\nforms = ['kl', 'listwise']",
        "[experiments.teacher]\nmethods = ['smar', 'sft']\nshuffled = [0.0, 0.5]",
        "[experiments.budget]\nmethods = ['smar']\nstrategies = ['active', 'active(p=0.1)']\nshares = [0.1, 0.2]",
        "[experiments.where]\nmethods = ['smar']\nstrategies = ['window(lo=0.0, hi=0.2)', 'window(lo=0.2, hi=0.4)']",
    ],
)
def test_what_the_tables_tell_apart_is_taken(text: str) -> None:
    assert cells(recipe(text), 2)


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml"):
        read_recipe(tmp_path / "none.toml")


def test_a_grid_holds_every_combination_once() -> None:
    text = "[experiments.cost]\nmethods = ['smar', 'sft']\nshares = [0.1, 0.3]\nseeds = [0, 5]"
    found = cells(recipe(text), 3)
    assert len(found) == 2 * 2 * 2 * 3
    assert {cell.seed for cell in found} == {0, 5}
    assert {cell.fold for cell in found} == {0, 1, 2}
    assert {cell.form for cell in found if cell.method == "sft"} == {"none"}


def test_what_reads_no_label_is_done_once() -> None:
    text = "[experiments.cost]\nmethods = ['zscore', 'align_only']\nshares = [0.1, 0.3, 1.0]"
    found = cells(recipe(text), 1)
    assert [(cell.method, cell.share, cell.seed) for cell in found] == [
        ("align_only", 0.0, 0),
        ("align_only", 0.0, 1),
        ("align_only", 0.0, 2),
        ("zscore", 0.0, 0),
    ]


def test_all_labels_need_no_strategy() -> None:
    text = "[experiments.cost]\nmethods = ['sft']\nshares = [1.0]\nstrategies = ['top', 'random']\nseeds = [0]"
    assert [(cell.strategy, cell.share) for cell in cells(recipe(text), 1)] == [("", 1.0)]


def test_a_whole_spec_brings_its_own_share() -> None:
    text = "[experiments.where]\nmethods = ['smar']\nstrategies = ['window(lo=0.2, hi=0.4)']\nseeds = [0]"
    (cell,) = cells(recipe(text), 1)
    assert cell.share == pytest.approx(0.2)
    assert cell.variant == cell.strategy == spec_of("window(lo=0.2, hi=0.4)", 0.9)


def test_equal_work_is_known_across_experiments() -> None:
    text = (
        "[experiments.cost]\nmethods = ['smar']\nseeds = [0]\n"
        "[experiments.alignment]\nmethods = ['smar']\nforms = ['listwise', 'kl']\nseeds = [0]"
    )
    found = cells(recipe(text), 1)
    assert len(found) == 3
    assert len({cell.work for cell in found}) == 2
    assert {cell.variant for cell in found if cell.experiment == "alignment"} == {"align=listwise", "align=kl"}


def test_only_the_aligned_see_worse_teachers() -> None:
    text = "[experiments.teacher]\nmethods = ['smar', 'lambdamart']\nshuffled = [0.0, 1.0]\nseeds = [0]"
    found = cells(recipe(text), 1)
    assert {cell.shuffled for cell in found if cell.method == "lambdamart"} == {0.0}
    assert {cell.shuffled for cell in found if cell.method == "smar"} == {0.0, 1.0}


def test_cells_are_sorted_however_the_recipe_is_written() -> None:
    one = "[experiments.cost]\nmethods = ['smar', 'sft']\nshares = [0.3, 0.1]"
    other = "[experiments.cost]\nmethods = ['sft', 'smar']\nshares = [0.1, 0.3]"
    found = cells(recipe(one), 2)
    assert found == cells(recipe(other), 2)
    assert isinstance(found[0], Cell)


def test_only_the_aligned_are_trained_long() -> None:
    found = recipe("[experiments.cost]\nmethods = ['smar']")
    assert found.config_of("smar") == found.config_of("align_only") == found.smar
    for method in ("sft", "lambdamart", "context"):
        assert found.config_of(method).loop == found.sft_loop != found.smar.loop
