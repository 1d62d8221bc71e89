from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wholepage.pages.errors import InputError, WeightsError
from wholepage.rankers.weights import fingerprint, load_file, load_model, pretrained_source, read_manifest, save_model

ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array([7], dtype=np.int64)}


def save(folder: Path, **changes: Any) -> None:
    save_model(folder, "toy", {"layers": 2, "names": ["a", "é"]}, {**ARRAYS, **changes}, files={"note.txt": b"hi"})


def test_round_trip(tmp_path: Path) -> None:
    save(tmp_path / "m")
    config, arrays = load_model(tmp_path / "m", "toy", expected=["w", "steps"])
    assert config == {"layers": 2, "names": ["a", "é"]}
    assert set(arrays) == {"w", "steps"}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    assert load_file(tmp_path / "m", "note.txt") == b"hi"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


@given(
    config=st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_any_json_config_comes_back(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("w") / "m"
    save_model(folder, "toy", config, {})
    assert load_model(folder, "toy") == (config, {})


def test_non_contiguous_arrays_keep_their_values(tmp_path: Path) -> None:
    save_model(tmp_path / "m", "toy", {}, {"t": ARRAYS["w"].T})
    np.testing.assert_array_equal(load_model(tmp_path / "m", "toy")[1]["t"], ARRAYS["w"].T)


@pytest.mark.parametrize("config", [{"x": float("nan")}, {"x": object()}, {"x": np.float32(1)}])
def test_configs_that_are_not_json_are_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'toy'"):
        save_model(tmp_path / "m", "toy", config, {})
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_refused_before_writing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'w'.*1 numbers"):
        save(tmp_path / "m", w=np.array([1, np.nan]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", "manifest.json", "sub/arrays.safetensors", "a\\b"])
def test_names_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        save_model(tmp_path / "m", "toy", {}, {}, files={name: b""})


def test_saving_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    save(tmp_path / "m")
    save_model(tmp_path / "m", "other", {"v": 2}, {})
    assert load_model(tmp_path / "m", "other") == ({"v": 2}, {})
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["manifest.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


def test_a_failed_save_leaves_the_old_model(tmp_path: Path) -> None:
    save(tmp_path / "m")

    def broken(folder: Path) -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        save_model(tmp_path / "m", "toy", {}, {}, children={"inner": broken})
    assert load_model(tmp_path / "m", "toy")[0]["layers"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")
    with pytest.raises(WeightsError, match="not a model folder"):
        save(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.png").exists()
    (tmp_path / "empty").mkdir()
    save(tmp_path / "empty")
    assert read_manifest(tmp_path / "empty").kind == "toy"


def test_children_are_models_and_are_checked(tmp_path: Path) -> None:
    save_model(tmp_path / "m", "outer", {}, {}, children={"rankers/image": save})
    load_model(tmp_path / "m", "outer")
    assert load_model(tmp_path / "m" / "rankers" / "image", "toy")[0]["layers"] == 2
    save_model(tmp_path / "m" / "rankers" / "image", "toy", {"layers": 3}, {})
    with pytest.raises(WeightsError, match="rankers/image"):
        load_model(tmp_path / "m", "outer")


def test_a_child_that_writes_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        save_model(tmp_path / "m", "outer", {}, {}, children={"c": lambda folder: folder.mkdir()})


def test_missing_wrong_and_newer(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no readable manifest\.json"):
        load_model(tmp_path, "toy")
    save(tmp_path / "m")
    with pytest.raises(WeightsError, match="kind 'toy'; allowed: 'tower'"):
        load_model(tmp_path / "m", "tower")
    with pytest.raises(WeightsError, match=r"missing \['bias'\].*not expected \['steps'\]"):
        load_model(tmp_path / "m", "toy", expected=["w", "bias"])
    with pytest.raises(WeightsError, match=r"no file 'x'"):
        load_file(tmp_path / "m", "x")
    manifest = tmp_path / "m" / "manifest.json"
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**said, "format_version": 2, "new_field": 1}))
    with pytest.raises(WeightsError, match="format version 2; allowed: up to 1; upgrade"):
        load_model(tmp_path / "m", "toy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {"../../x": {"sha256": "0", "bytes": 1}}}, "inside the folder"),
        ({"files": {"gone.txt": {"sha256": "0", "bytes": 1}}}, r"gone\.txt"),
        ({"tensors": {"w": [2, 3], "steps": [1], "more": [1]}}, r"missing \['more'\]"),
        ({"tensors": {"w": [3, 2], "steps": [1]}}, r"'w'.*shape \(2, 3\)"),
        ({"config": 3}, "config"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_manifests_that_lie_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(tmp_path / "m")
    manifest = tmp_path / "m" / "manifest.json"
    said = json.loads(manifest.read_text())
    if "files" in change:
        change = {"files": {**said["files"], **change["files"]}}
    manifest.write_text(json.dumps({**said, **change}))
    with pytest.raises(WeightsError, match=message):
        load_model(tmp_path / "m", "toy")


@pytest.mark.parametrize("name", ["arrays.safetensors", "note.txt"])
def test_one_changed_byte_is_found(name: str, tmp_path: Path) -> None:
    save(tmp_path / "m")
    path = tmp_path / "m" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="sha256"):
        load_model(tmp_path / "m", "toy")


def test_broken_json_is_a_weights_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_fingerprints_follow_every_tensor() -> None:
    torch.manual_seed(0)
    state = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.Linear(30, 1)).state_dict()
    before = fingerprint(state)
    assert fingerprint(dict(reversed(list(state.items())))) == before
    for name in state:
        assert fingerprint({**state, name: state[name] * 1.001}) != before


def test_named_folders_must_exist(tmp_path: Path) -> None:
    assert pretrained_source(tmp_path) == str(tmp_path)
    assert pretrained_source("org/model") == "org/model"
    for missing in (tmp_path / "gone", str(tmp_path / "gone"), "./gone"):
        with pytest.raises(WeightsError, match="no such folder"):
            pretrained_source(missing)
