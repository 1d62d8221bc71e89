"""The launch file for Ray Train, on a Ray of this machine: two workers train the model that one process trains."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import wholepage
from wholepage.apps.nexus_recipe import read_nexus_recipe
from wholepage.apps.nexus_run import REPORT, train_nexus
from wholepage.pages.errors import InputError
from wholepage.rankers.listwise import ListwiseRanker
from wholepage.training.loop_processes import SHARED

WHY = "Ray Train is not installed: pip install 'ray[train]>=2.60'"
ray = pytest.importorskip("ray", reason=WHY)
pytest.importorskip("ray.train.torch", reason=WHY, exc_type=ImportError)

FILE = Path(__file__).parents[2] / "deploy" / "ray_train.py"
RECIPE = """
[student]
words = "random"
sizes = { vocabulary = 300, dim = 64, heads = 2, mlp = 32, sight_dim = 32, sight_layers = 1, sight_heads = 2, most_pixels = 576 }
[lists.text]
from = "generated"
queries = 12
results = [3, 4]
noise = 0.5
modalities = ["text"]
[held_out.text]
from = "generated"
queries = 12
results = [3, 4]
noise = 0.5
modalities = ["text"]
split = "test"
[[stages]]
name = "text"
training = { results = 4, text_tokens = 64, loop = { batch_size = 4 } }
"""  # noqa: E501
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def launcher() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FILE.parent))
        patch.setenv("PYTHONPATH", f"{FILE.parent}:{FILE.parents[1] / 'src'}", prepend=os.pathsep)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield importlib.import_module(FILE.stem)


def test_two_workers_train_what_one_process_trains(launcher: ModuleType, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    alone = train_nexus(read_nexus_recipe(recipe), tmp_path / "one")
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    try:
        launcher.trainer(recipe, tmp_path / "two", storage=str(tmp_path / "ray"), workers=2).fit()
    finally:
        ray.shutdown()
    facts = json.loads((tmp_path / "two" / REPORT).read_text(encoding="utf-8"))
    assert facts["processes"] == 2
    # Sums of gradients in another order.
    assert facts["stages"][0]["quality"] == pytest.approx(alone["stages"][0]["quality"], abs=0.05)
    assert facts["untrained"] == pytest.approx(alone["untrained"])
    assert isinstance(wholepage.load(tmp_path / "two"), ListwiseRanker)


@pytest.mark.parametrize("share", [True, False])
def test_workers_are_told_to_share_layers(
    launcher: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: bool
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    monkeypatch.setenv(SHARED, "no")
    seen: list[str] = []
    monkeypatch.setattr(launcher, "train_nexus", lambda *_: seen.append(os.environ.get(SHARED, "")))
    launcher.train_here({"recipe": str(recipe), "out": str(tmp_path / "two"), "seed": None, "share": share})
    assert seen == ["true" if share else "no"]


def test_what_cannot_be_is_refused_before_ray_starts(
    launcher: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    with pytest.raises(InputError, match="got 0 workers"):
        launcher.trainer(recipe, tmp_path / "two", storage=str(tmp_path), workers=0)
    with pytest.raises(InputError, match=r"no \[out\] folder"):
        launcher.trainer(recipe, None, storage=str(tmp_path))
    assert launcher.main([str(recipe), "--storage", str(tmp_path)]) == 2
    assert "no [out] folder" in capsys.readouterr().err
    assert not ray.is_initialized()
