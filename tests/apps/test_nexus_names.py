"""Pictures with the words for what they show, and a recipe that teaches them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wholepage.apps.nexus_names import Names, named_pictures
from wholepage.apps.nexus_recipe import read_nexus_recipe
from wholepage.apps.nexus_run import train_nexus
from wholepage.collections.synthetic_world import ATTRIBUTES
from wholepage.pages import InputError, RecordError
from wholepage.pages.images import open_image

RECIPE = """
[student]
words = "random"
sizes = { vocabulary = 300, dim = 64, heads = 2, mlp = 32, sight_dim = 32, sight_layers = 1, sight_heads = 2 }
[student.names]
pictures = 24
[lists.image]
from = "generated"
queries = 6
results = [3, 4]
modalities = ["image"]
[[stages]]
name = "image"
[stages.training]
results = 4
visual_tokens = 200
most_per_picture = 16
least_per_picture = 16
loop = { batch_size = 4 }
"""


def test_pictures_are_drawn_as_their_words_say() -> None:
    pictures = named_pictures(Names(pictures=15, seed=3))
    assert len(pictures) == 15
    assert pictures[:5] == named_pictures(Names(pictures=5, seed=3))
    values = {value for one in ATTRIBUTES.values() for value in one}
    for ref, words in pictures:
        assert set(words.split()) <= values
        assert open_image(ref).size == (64, 64)


@pytest.mark.parametrize("wrong", [{"pictures": 1}, {"noise": 4.0}, {"seed": -1}])
def test_names_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="names: got"):
        Names(**wrong)  # type: ignore[arg-type]


def test_a_recipe_teaches_names_first(tmp_path: Path) -> None:
    (tmp_path / "named.toml").write_text(RECIPE)
    (tmp_path / "bare.toml").write_text(RECIPE.replace("[student.names]\npictures = 24\n", ""))
    named, bare = (read_nexus_recipe(tmp_path / f"{name}.toml") for name in ("named", "bare"))
    first = train_nexus(named, tmp_path / "named")
    assert first["recipe"]["student"]["names"]["pictures"] == 24
    assert (tmp_path / "named.checkpoints" / ".names").is_dir()
    assert first["model_fingerprint"] != train_nexus(bare, tmp_path / "bare")["model_fingerprint"]


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(RECIPE.replace("pictures = 24", "picture = 24"))
    with pytest.raises(RecordError, match="picture"):
        read_nexus_recipe(tmp_path / "bad.toml")
