"""The launch files: accelerate reads them as they are meant, and what the loop cannot do it refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import transformers
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env

from wholepage.apps import learning
from wholepage.apps.nexus_recipe import read_nexus_recipe
from wholepage.pages.errors import InputError
from wholepage.training.loop_processes import Processes, _asked_to_share
from wholepage.training.loop_sharding import layers_of

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "recipes" / "launch"
FSDP, MULTI_GPU = LAUNCH / "fsdp_2b.yaml", LAUNCH / "multi_gpu.yaml"


def environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What ``accelerate launch`` would tell its processes."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    line = ["--config_file", str(path), "-m", "wholepage", "train", "nexus", "recipe.toml"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(line))
    told: dict[str, str] = prepare_multi_gpu_env(arguments)
    return told


@pytest.mark.parametrize(("path", "kind"), [(FSDP, DistributedType.FSDP), (MULTI_GPU, DistributedType.MULTI_GPU)])
def test_accelerate_reads_the_files(path: Path, kind: DistributedType) -> None:
    read = load_config_from_file(str(path))
    assert isinstance(read, ClusterConfig)
    assert read.distributed_type == kind
    assert (read.num_machines, read.num_processes, read.use_cpu) == (1, 8, False)


def test_accelerate_would_notice_a_wrong_key(tmp_path: Path) -> None:
    odd = tmp_path / "odd.yaml"
    odd.write_text(MULTI_GPU.read_text(encoding="utf-8") + "nope: 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="nope"):
        load_config_from_file(str(odd))


def tell(monkeypatch: pytest.MonkeyPatch, told: dict[str, str]) -> None:
    for name, value in told.items():
        if name.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(name, value)


def test_the_settings_for_sharding_reach_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    told = environment(FSDP, monkeypatch)
    assert told["ACCELERATE_USE_FSDP"] == "true"
    tell(monkeypatch, told)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert not plugin.activation_checkpointing
    assert plugin.transformer_cls_names_to_wrap is None  # the model names them


def test_the_loop_shares_layers_as_the_file_says_and_in_no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _asked_to_share()
    tell(monkeypatch, environment(FSDP, monkeypatch))
    assert _asked_to_share()
    assert not Processes().shared  # one alone holds all
    others = {
        "FSDP_VERSION": "1",
        "FSDP_RESHARD_AFTER_FORWARD": "false",
        "FSDP_OFFLOAD_PARAMS": "true",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
        "FSDP_ACTIVATION_CHECKPOINTING": "true",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "Qwen3VLTextDecoderLayer",
    }
    for name, value in others.items():
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            with pytest.raises(InputError, match=rf"with {name}={value}; allowed: .*fsdp_2b\.yaml"):
                _asked_to_share()


def test_the_layers_that_2b_students_name_are_decoder_layers_and_blocks_of_the_tower() -> None:
    """Models of the right classes without weights, as small as their configs allow."""
    for kind, names in (
        ("qwen3_vl", {"Qwen3VLTextDecoderLayer", "Qwen3VLVisionBlock"}),
        ("qwen2_vl", {"Qwen2VLDecoderLayer", "Qwen2VLVisionBlock"}),
    ):
        config = transformers.AutoConfig.for_model(kind)
        config.text_config.num_hidden_layers = config.vision_config.depth = 2
        with torch.device("meta"):
            model = transformers.AutoModelForImageTextToText.from_config(config)
        found = layers_of(model)
        assert len(found) == 4
        assert {type(model.get_submodule(path)).__name__ for path in found} == names


def test_the_other_file_shards_nothing_and_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    told = environment(MULTI_GPU, monkeypatch)
    assert told.get("ACCELERATE_USE_FSDP", "false") == "false"
    assert told["ACCELERATE_MIXED_PRECISION"] == "no"  # autocast is the loop's own, as the recipe says
    assert Processes().count == 1


def test_the_recipes_that_files_name_are_there() -> None:
    for path in LAUNCH.iterdir():
        text = path.read_text(encoding="utf-8")
        named = {word.strip("`.,;()") for word in text.split() if word.startswith("recipes/") and "toml" in word}
        for one in named:
            assert read_nexus_recipe(ROOT / one).stages, one


@pytest.mark.parametrize("what", ["smar", "text"])
def test_what_trains_side_by_side_by_itself_refuses_launchers(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        count = 2

    monkeypatch.setattr(learning, "Processes", Two)
    with pytest.raises(InputError, match=f"train {what}: got 2 processes"):
        learning._check_alone(what)


def launched(tmp_path: Path, *words: str, **told: str) -> list[str]:
    """What ``torchrun`` is given by the script."""
    spy = tmp_path / "torchrun"
    spy.write_text('#!/bin/sh\nprintf "%s\\n" ${ACCELERATE_USE_FSDP:+shared} "$@"\n')
    spy.chmod(0o755)
    python = tmp_path / "python"  # no GPU here
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **told}
    script = str(LAUNCH / "torchrun.sh")
    done = subprocess.run([script, *words], env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else [done.stderr]


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh")
def test_the_script_launches_one_machine_or_many(tmp_path: Path) -> None:
    train = ["-m", "wholepage", "train", "nexus", "r.toml"]
    assert launched(tmp_path, "r.toml") == ["--standalone", "--nproc_per_node", "1", *train]
    assert launched(tmp_path, "r.toml", "--seed", "3", PROCESSES="4") == [
        "--standalone", "--nproc_per_node", "4", *train, "--seed", "3",
    ]  # fmt: skip
    assert launched(tmp_path, "r.toml", SHARD="1", PROCESSES="2")[:2] == ["shared", "--standalone"]
    assert launched(tmp_path, "r.toml", SHARD="0", PROCESSES="2")[0] == "--standalone"
    many = launched(tmp_path, "r.toml", PROCESSES="8", NODES="2", RANK_OF_NODE="1", FIRST_NODE="10.0.0.1:29500")
    assert many[:4] == ["--nnodes", "2", "--node_rank", "1"]
    assert many[many.index("--rdzv_endpoint") + 1] == "10.0.0.1:29500"
    assert many[-5:] == train
    assert "which recipe" in launched(tmp_path)[0]
    assert "RANK_OF_NODE" in launched(tmp_path, "r.toml", PROCESSES="8", NODES="2")[0]


def test_the_guide_shows_files_that_there_are_and_lines_that_parse() -> None:
    guide = (ROOT / "docs" / "guides" / "distributed.md").read_text(encoding="utf-8")
    first, sharing = [one.split("```")[0] for one in guide.split("```sh\n")[1:]]
    for block, launches in ((first, 2), (sharing, 1)):
        lines = [[w for w in line.split() if not re.fullmatch(r"[A-Z_]+=\S+", w)] for line in block.splitlines()]
        assert [words[0] for words in lines] == ["recipes/launch/torchrun.sh"] * launches + ["accelerate", "python"]
        files = {word for words in lines for word in words if re.fullmatch(r"(recipes|deploy)/\S+\.\w+", word)}
        assert len(files) == 4
        assert [one for one in sorted(files) if not (ROOT / one).is_file()] == []
        told = launch_command_parser().parse_args(lines[-2][2:])
        assert (told.training_script, told.module) == ("wholepage", True)
        assert told.training_script_args[:2] == ["train", "nexus"]
