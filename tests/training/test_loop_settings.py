"""What the training loop can be told beside its numbers: bfloat16, frozen parameters, rates by name, checkpointing."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import BertConfig, BertModel, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from wholepage.pages.errors import InputError, WeightsError
from wholepage.rankers.weights import load_model
from wholepage.training.loop import BatchLoss, LoopConfig, checkpointed, run

COUNT = 16
INPUTS = torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(5))
WANTED = INPUTS @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
CONFIG = LoopConfig(epochs=3, batch_size=5, checkpoint_steps=1, learning_rate=0.02)  # 4 steps an epoch


def make(dropout: float = 0.3) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(dropout), nn.Linear(3, 1))


def frozen(*, seed: int = 7, dtype: torch.dtype = torch.float32) -> nn.Module:
    module = make()
    generator = torch.Generator().manual_seed(seed)
    module[0].weight.data = torch.randn(3, 4, generator=generator).to(dtype)  # type: ignore[index]
    module[0].weight.requires_grad_(False)  # type: ignore[index]
    return module


def squared(module: nn.Module, rows: list[int]) -> Tensor:
    return torch.mean((module(INPUTS[rows]) - WANTED[rows]) ** 2)


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


class Stop(Exception):
    """The run was killed."""


def stopped(step: int, config: LoopConfig, folder: Path, build: Callable[[], nn.Module] = make, **given: Any) -> None:
    def progress(done: int, total: int, what: str) -> None:
        if done == step:
            raise Stop

    with pytest.raises(Stop):
        run(build, COUNT, given.pop("loss", squared), config, folder=folder, progress=progress, **given)


def resumed(
    folder: Path, config: LoopConfig, build: Callable[[], nn.Module] = make, loss: BatchLoss = squared, **given: Any
) -> tuple[nn.Module, nn.Module]:
    """A run that was stopped and went on, and one that was not."""
    stopped(5, config, folder, build, loss=loss, **given)
    steps: list[int] = []
    went_on = run(build, COUNT, loss, config, folder=folder, progress=lambda done, *_: steps.append(done), **given)
    assert steps[0] == 6
    return went_on, run(build, COUNT, loss, config, **given)


@contextmanager
def optimized() -> Iterator[list[torch.optim.Optimizer]]:
    """The optimizers that take a step."""
    seen: list[torch.optim.Optimizer] = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: seen.append(optimizer))
    try:
        yield seen
    finally:
        hook.remove()


# --- bfloat16 ---------------------------------------------------------------------------------------------------------

HALF = LoopConfig(epochs=3, batch_size=5, checkpoint_steps=1, learning_rate=0.02, precision="bf16")


def test_bfloat16_is_close_to_float32_and_not_the_same() -> None:
    exact, half = (run(lambda: make(0.0), COUNT, squared, config) for config in (CONFIG, HALF))
    assert not same(exact, half)
    for one, other in zip(half.parameters(), exact.parameters(), strict=True):
        assert one.dtype == torch.float32
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.02)  # twelve steps of 0.02 at most


def test_bfloat16_is_inside_and_outputs_are_float32() -> None:
    seen: list[torch.dtype] = []

    def looking(module: Any, rows: list[int]) -> Tensor:
        hook = module[0].register_forward_hook(lambda layer, given, output: seen.append(output.dtype))
        scores = module(INPUTS[rows])
        hook.remove()
        seen.extend([scores.dtype, module[0](INPUTS[rows]).dtype])  # what is called beside forward, too
        return torch.mean((scores - WANTED[rows]) ** 2)

    trained: Any = run(make, COUNT, looking, HALF)
    assert seen[:3] == [torch.bfloat16, torch.float32, torch.bfloat16]
    with torch.autocast("cpu", torch.bfloat16):
        assert trained(INPUTS).dtype == torch.bfloat16  # it comes back as it was built


def test_bfloat16_resumes_to_the_bit(tmp_path: Path) -> None:
    assert same(*resumed(tmp_path / "run", HALF))


def test_weights_in_bfloat16_resume_to_the_bit(tmp_path: Path) -> None:
    went_on, alone = resumed(tmp_path / "run", HALF, lambda: make().bfloat16())
    assert {value.dtype for value in went_on.parameters()} == {torch.bfloat16}
    assert same(went_on, alone)


def test_the_precision_is_part_of_the_run(tmp_path: Path) -> None:
    stopped(5, CONFIG, tmp_path / "run")
    with pytest.raises(WeightsError, match="checkpoint of another run"):
        run(make, COUNT, squared, HALF, folder=tmp_path / "run")


def test_another_precision_is_refused() -> None:
    with pytest.raises(InputError, match=r"LoopConfig.precision: got 'fp16'"):
        LoopConfig(precision="fp16")  # type: ignore[arg-type]


# --- frozen parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frozen_parameters_stay_and_are_nowhere_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    config = LoopConfig(epochs=3, batch_size=5, checkpoint_steps=1, weight_decay=0.5, precision="bf16")
    with optimized() as seen:
        went_on, alone = resumed(tmp_path / "run", config, lambda: frozen(dtype=dtype))
    assert same(went_on, alone)
    assert torch.equal(went_on.state_dict()["0.weight"], frozen(dtype=dtype).state_dict()["0.weight"])
    held = [tuple(p.shape) for group in seen[-1].param_groups for p in group["params"]]
    assert held == [(3,), (1, 3), (1,)]
    _, arrays = load_model(tmp_path / "run", "checkpoint")
    assert {name for name in arrays if name.startswith("model.")} == {"model.0.bias", "model.2.weight", "model.2.bias"}
    assert {name.split(".")[1] for name in arrays if name.startswith("optimizer.")} == {"0", "1", "2"}


def test_a_checkpoint_beside_other_frozen_parameters_is_refused(tmp_path: Path) -> None:
    stopped(5, CONFIG, tmp_path / "run", frozen)
    with pytest.raises(WeightsError, match="checkpoint of another run"):
        run(lambda: frozen(seed=8), COUNT, squared, CONFIG, folder=tmp_path / "run")


def test_nothing_to_train() -> None:
    with pytest.raises(InputError, match="it: got a module without parameters to train"):
        run(lambda: make().requires_grad_(False), COUNT, squared, CONFIG, what="it")


# --- rates by name ----------------------------------------------------------------------------------------------------


def test_the_first_step_of_adam_goes_as_far_as_the_rate() -> None:
    """Without decay it is rate * g / (|g| + eps), whatever the gradient."""
    multiples = {"0.weight": 1.0, "0.bias": 0.25, "2.weight": 3.0, "2.bias": 0.25}
    config = LoopConfig(epochs=1, batch_size=COUNT, learning_rate=0.01, weight_decay=0.0)
    asked: list[str] = []

    def rates(name: str) -> float:
        asked.append(name)
        return multiples[name]

    trained = run(lambda: make(0.0), COUNT, squared, config, learning_rates=rates)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        before = make(0.0).state_dict()
    assert asked == list(multiples)
    for name, value in trained.state_dict().items():
        went = (value - before[name]).abs()
        torch.testing.assert_close(went, torch.full_like(went, 0.01 * multiples[name]), rtol=1e-3, atol=0.0)


def test_rates_are_asked_only_for_what_is_trained() -> None:
    asked: list[str] = []

    def rates(name: str) -> float:
        asked.append(name)
        return 1.0

    run(frozen, COUNT, squared, CONFIG, learning_rates=rates)
    assert asked == ["0.bias", "2.weight", "2.bias"]


def test_rates_of_one_are_the_plain_run_and_others_are_another(tmp_path: Path) -> None:
    stopped(5, CONFIG, tmp_path / "run", learning_rates=lambda name: 1.0)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert same(run(make, COUNT, squared, CONFIG, folder=tmp_path / "copy"), run(make, COUNT, squared, CONFIG))
    with pytest.raises(WeightsError, match="checkpoint of another run"):
        run(make, COUNT, squared, CONFIG, folder=tmp_path / "run", learning_rates=lambda name: 0.5)


def test_rates_by_name_resume_to_the_bit(tmp_path: Path) -> None:
    def rates(name: str) -> float:
        return 0.1 if name.endswith("weight") else 1.0

    went_on, alone = resumed(tmp_path / "run", CONFIG, learning_rates=rates)
    assert same(went_on, alone)
    assert not same(alone, run(make, COUNT, squared, CONFIG))


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_rates_out_of_range_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match=r"learning_rates\('0.weight'\): got"):
        run(make, COUNT, squared, CONFIG, learning_rates=lambda name: bad)


# --- lots -------------------------------------------------------------------------------------------------------------


def test_lots_of_numpy_and_python_are_the_runs_own(tmp_path: Path) -> None:
    def drawing(module: nn.Module, rows: list[int]) -> Tensor:
        return squared(module, rows) * (1 + random.random() + random.gauss(0, 0.1) + np.random.standard_normal() ** 2)

    before = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index,union-attr]
    went_on, alone = resumed(tmp_path / "run", CONFIG, loss=drawing)
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before  # type: ignore[index,union-attr]
    random.seed(99)
    np.random.seed(99)
    assert same(went_on, alone)
    assert same(run(make, COUNT, drawing, CONFIG), alone)


# --- a checkpoint that changed ----------------------------------------------------------------------------------------


def flipped(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def test_no_flipped_bit_gets_through(tmp_path: Path) -> None:
    """Tensors: every flip is refused. Manifest: refused, or of no consequence (white space, a size nobody reads)."""
    stopped(5, CONFIG, tmp_path / "run")
    lots = random.Random(1)
    wanted = run(make, COUNT, squared, CONFIG)
    refused = {"arrays.safetensors": 0, "manifest.json": 0}
    tries = {"arrays.safetensors": 40, "manifest.json": 160}
    for name, count in tries.items():
        whole = (tmp_path / "run" / name).read_bytes()
        for at in lots.sample(range(len(whole)), count):
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)
            shutil.copytree(tmp_path / "run", tmp_path / "copy")
            flipped(tmp_path / "copy" / name, at, lots.randrange(8))
            try:
                assert same(run(make, COUNT, squared, CONFIG, folder=tmp_path / "copy"), wanted)
            except WeightsError:
                refused[name] += 1
    assert refused["arrays.safetensors"] == tries["arrays.safetensors"]
    assert refused["manifest.json"] > tries["manifest.json"] // 2


def test_the_place_in_the_run_is_sealed(tmp_path: Path) -> None:
    stopped(5, CONFIG, tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    assert path.read_text().count('"done": 5') == 1
    path.write_text(path.read_text().replace('"done": 5', '"done": 7'))
    with pytest.raises(WeightsError, match="got 7 as the number of steps done"):
        run(make, COUNT, squared, CONFIG, folder=tmp_path / "run")


# --- activations computed again ---------------------------------------------------------------------------------------

TOKENS = torch.randint(0, 40, (4, 9), generator=torch.Generator().manual_seed(3))


def tiny() -> Any:
    torch.manual_seed(11)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=40, num_key_value_heads=2, use_cache=False, **sizes)).train()


def gradients(model: Any) -> tuple[dict[str, Tensor], int]:
    """Gradients by name, and how often the first layer's net was computed."""
    calls = 0

    def count(*given: object) -> None:
        nonlocal calls
        calls += 1

    layer = next(part for name, part in model.named_modules() if name.endswith("layers.0.mlp"))
    hook = layer.register_forward_pre_hook(count)  # the second time it stops where nothing more is needed
    model(input_ids=TOKENS).logits[:, -1].square().mean().backward()
    hook.remove()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, calls


@pytest.mark.parametrize("adapted", [False, True])
def test_checkpointed_gives_the_same_gradients_for_twice_the_work(adapted: bool) -> None:
    def build() -> Any:
        model = tiny()
        if adapted:
            model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
        return model

    torch.manual_seed(0)
    plain, once = gradients(build())
    torch.manual_seed(0)
    again, twice = gradients(checkpointed(build()))
    assert (once, twice) == (1, 2)
    assert plain.keys() == again.keys()
    assert len(plain) == (8 if adapted else len(list(tiny().parameters())))
    for name, gradient in plain.items():
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(again[name], gradient)


def test_adapters_train_in_bfloat16_with_all_of_it(tmp_path: Path) -> None:
    def build() -> nn.Module:
        adapters = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)
        model: nn.Module = checkpointed(get_peft_model(tiny(), adapters))
        return model

    def loss(model: Any, rows: list[int]) -> Tensor:
        scores = model(input_ids=TOKENS[[row % 4 for row in rows]], logits_to_keep=1).logits
        assert scores.dtype == torch.float32
        return -scores[:, 0, :5].log_softmax(-1)[:, 0].mean()

    config = LoopConfig(epochs=2, batch_size=5, checkpoint_steps=1, learning_rate=0.02, precision="bf16")
    went_on, alone = resumed(tmp_path / "run", config, build, loss)
    assert same(went_on, alone)
    _, arrays = load_model(tmp_path / "run", "checkpoint")
    weights = {name for name in arrays if name.startswith("model.")}
    assert len(weights) == 8
    assert all("lora_" in name for name in weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        first = build().state_dict()
    changed = {name for name, value in alone.state_dict().items() if not torch.equal(value, first[name])}
    assert {f"model.{name}" for name in changed} == weights


class NotAgain(PreTrainedModel):
    """A model of transformers that cannot compute its layers again."""

    config_class = BertConfig
    supports_gradient_checkpointing = False


def test_checkpointed_refuses_models_that_do_not_offer_it() -> None:
    with pytest.raises(InputError, match="Sequential: got none of"):
        checkpointed(make())
    with pytest.raises(InputError, match="NotAgain: got NotAgain does not support"):
        checkpointed(NotAgain(BertConfig()))
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    checkpointed(BertModel(BertConfig(vocab_size=9, **sizes)))
