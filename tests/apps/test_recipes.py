"""Recipes are read strictly, and every one that ships can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from wholepage.apps.places import NotFound
from wholepage.apps.recipes import KINDS, Data, ModelFolder, Recipe, Select, read_recipe
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.model import Modality
from wholepage.training.cross_encoder import CrossEncoderConfig
from wholepage.training.loop import LoopConfig
from wholepage.training.single_modal import TowerConfig
from wholepage.training.smar import SmarConfig

SHIPPED = sorted((Path(__file__).parents[2] / "recipes").glob("smar_*.toml"))
DATA = '[data]\ncollection = "opencqa"\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_there_are_recipes() -> None:
    assert {"smar_synthetic_cpu", "smar_fashion_cpu", "smar_opencqa_cpu", "smar_opencqa_gpu"} <= {
        path.stem for path in SHIPPED
    }


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    recipe = read_recipe(path)
    _, collection, _ = path.stem.split("_")
    assert recipe.data.name == collection
    assert recipe.out is not None
    assert recipe.out.folder == str(path.parents[1] / "runs" / path.stem)
    assert recipe.single
    assert f"wholepage train smar recipes/{path.name}" in path.read_text(encoding="utf-8")


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, DATA))
    assert recipe == Recipe(Data(collection="opencqa"))
    assert recipe.smar == SmarConfig()
    assert recipe.select.spec == "concentrated(p=0.1)"


def test_every_table_is_read(tmp_path: Path) -> None:
    text = """
        [data]
        pages = "own/pages.jsonl"
        judgments = "own/pages.qrels"
        root = "../data"
        [encoders]
        text = "./encoder"
        image = "none"
        [single.text]
        kind = "cross-encoder"
        model = "owner/model"
        loss = "pairwise"
        [single.image]
        rank = 8
        [single.answer]
        kind = "model"
        folder = "models/answers"
        [select]
        strategy = "active(p=0.2, by=committee, floor=0.25, rounds=3)"
        seed = 4
        [smar]
        members = 1
        betas = { text = 0.5 }
        [calibrate]
        folds = 2
        [distill]
        width = 8
        [out]
        folder = "model"
    """
    recipe = read_recipe(written(tmp_path, text))
    here = str(tmp_path)
    assert recipe.data == Data(
        pages=f"{here}/own/pages.jsonl", judgments=f"{here}/own/pages.qrels", root=f"{tmp_path.parent}/data"
    )
    assert (recipe.encoders.text, recipe.encoders.image) == (f"{here}/encoder", "none")
    assert recipe.single == {
        Modality.TEXT: CrossEncoderConfig(model="owner/model", loss="pairwise"),
        Modality.IMAGE: TowerConfig(rank=8),
        Modality.ANSWER: ModelFolder(f"{here}/models/answers"),
    }
    assert recipe.select.spec.startswith("active(p=0.2")
    assert recipe.smar == SmarConfig(members=1, betas={Modality.TEXT: 0.5})
    assert recipe.calibrate is not None
    assert recipe.distill is not None
    assert (recipe.calibrate.folds, recipe.distill.width) == (2, 8)
    facts = recipe.single_facts()
    assert [facts[m]["kind"] for m in ("text", "image", "answer")] == ["cross-encoder", "tower", "model"]
    assert here not in str(facts)


def test_a_part_of_a_loop_changes_that_part_of_its_own_loop(tmp_path: Path) -> None:
    """A cross-encoder with the learning rate of a tower would be ruined."""
    text = (
        '[single.text]\nkind = "cross-encoder"\n[single.text.loop]\nepochs = 7\n[single.image.teacher_loop]\nepochs = 8'
    )
    recipe = read_recipe(written(tmp_path, DATA + text + "\n[smar.loop]\nepochs = 9\n[distill.loop]\nseed = 3"))
    text_kind, image_kind = recipe.single[Modality.TEXT], recipe.single[Modality.IMAGE]
    assert isinstance(text_kind, CrossEncoderConfig)
    assert isinstance(image_kind, TowerConfig)
    assert text_kind.loop == LoopConfig(epochs=7, batch_size=8, learning_rate=2e-5, weight_decay=0.01)
    assert image_kind.teacher_loop == LoopConfig(epochs=8, learning_rate=3e-3, weight_decay=0.0)
    assert image_kind.loop == TowerConfig().loop
    assert recipe.smar.loop == LoopConfig(epochs=9)
    assert recipe.distill is not None
    assert recipe.distill.loop == LoopConfig(epochs=60, learning_rate=3e-3, weight_decay=0.0, seed=3)


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ("[smar]\nalgin = 1", "smar.algin", "an unknown field; allowed: align, "),
        ('[smar]\nalign = "sideways"', "smar.align", "got 'sideways'; allowed: 'kl', 'listwise', 'none', "),
        ('[smar.loop]\nepochs = "many"', "smar.loop.epochs", "got str; allowed: int"),
        ("[smar.loop]\nepochs = 0", "smar.loop", "LoopConfig.epochs"),
        ("[single.words]\nrank = 1", "single", "'words'; allowed: 'text', 'image', 'video', 'answer'"),
        ('[single.text]\nkind = "bm25"', "single.text.kind", "'bm25'; allowed: tower, cross-encoder, model"),
        ("[single.text]\nfolds = 1", "single.text", "TowerConfig.folds"),
        ('[single.text]\nkind = "cross-encoder"\nrank = 1', "single.text.rank", "an unknown field; allowed: model, "),
        ("[single.text.loop]\nepoch = 3", "single.text.loop.epoch", "an unknown field; allowed: epochs, "),
        ('[single.text]\nkind = "model"', "single.text.folder", "no such field"),
        ('[select]\nstrategy = "best"', "select", "'best(p=0.1)'"),
        ('[select]\nstrategy = "anchors(p=0.1)"\nshare = 0.2', "select", "remove one of the two"),
        ("[select]\nseed = -1", "select", "seed: got -1|got -1"),
        ("[smar]\nmargin = nan", "smar.margin", "got null; allowed: float"),
        ("[places]\nx = 1", "places", "an unknown field; allowed: data, "),
        ("queries = 3", "data", "'synthetic' alone"),
        ("[out]\nfolder", "file", "TOML in UTF-8"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, field: str, says: str) -> None:
    path = written(tmp_path, DATA + text)
    with pytest.raises(RecordError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {field}: got ")
    assert any(one in message for one in says.split("|")), message
    assert "; allowed: " in message


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="recipe: got"):
        read_recipe(tmp_path / "none.toml")


def test_pages_are_named_once() -> None:
    for given in ({}, {"collection": "opencqa", "pages": "x.jsonl"}):
        with pytest.raises(InputError, match="allowed: one of them"):
            Data(**given)


def test_one_seed_for_everything() -> None:
    start = Recipe(
        Data(collection="opencqa"), single={Modality.TEXT: CrossEncoderConfig(), Modality.IMAGE: ModelFolder("m")}
    )
    seeded = start.seeded(5)
    assert seeded.select.seed == 5
    assert seeded.smar.loop.seed == 5
    assert seeded.single[Modality.IMAGE] == ModelFolder("m")
    for modality in (Modality.TEXT, Modality.VIDEO, Modality.ANSWER):
        kind = seeded.single[modality]
        assert not isinstance(kind, ModelFolder)
        assert kind.loop.seed == 5
    assert start.seeded(0).smar == start.smar


def test_values_given_go_before_the_recipe() -> None:
    recipe = Recipe(Data(collection="opencqa"), select=Select("top", 0.3))
    assert recipe.changed("select", strategy=None, share=None) is recipe
    assert recipe.changed("select", share=0.2).select.spec == "top(p=0.2)"
    assert recipe.changed("select", strategy="anchors(p=0.2)").select.share is None
    assert recipe.changed("data", split="dev").data.split == "dev"
    with pytest.raises(InputError):
        recipe.changed("select", strategy="best")


def test_another_ranker_for_one_modality() -> None:
    recipe = Recipe(Data(collection="opencqa"), single={Modality.TEXT: TowerConfig(rank=8)})
    text = Modality.TEXT
    assert recipe.ranked_by(text, None, None, None) == recipe
    assert recipe.ranked_by(text, "tower", None, None) == recipe
    other = recipe.ranked_by(text, "cross-encoder", "owner/model", 3).single[text]
    assert other == CrossEncoderConfig(
        model="owner/model", loop=LoopConfig(epochs=3, batch_size=8, learning_rate=2e-5, weight_decay=0.01, seed=3)
    )
    assert set(KINDS) == {"tower", "cross-encoder", "model"}
    with pytest.raises(InputError, match="leave --start out"):
        recipe.ranked_by(text, "tower", "minilm", None)
