"""What every test may count on: no network, few threads, fixed random cases, and where the real data lies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Before any library reads them: nothing is fetched, and two workers on two cores do not fight over threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
# Ray lets its workers wait behind all else that the machine does, and beside other tests they hardly move.
os.environ.setdefault("RAY_worker_niceness", "0")
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# The gate repeats itself, as far as hypothesis goes: it draws from the literals of the sources too, so new code may
# bring new cases. --hypothesis-profile=explore looks for more.
settings.register_profile(
    "house", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("house")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real collections; the test is skipped where there is none."""
    named = os.environ.get("WHOLEPAGE_DATA")
    root = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no real collections: {root} is not a folder; set WHOLEPAGE_DATA to where they lie")
    return root


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny_vlm("qwen2_vl")``: a folder with a random model of that class, laid out as on the hub; made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            _write_tiny_vlm(kind, made[kind])
        return made[kind]

    return folder


def _write_tiny_vlm(kind: str, folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    marks = {
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
    }
    letters = pre_tokenizers.ByteLevel.alphabet()
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer, pieces.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters, show_progress=False)
    pieces.train_from_iterator(["Query: red lamp\nResult: blue shoe\nRelevance:"] * 3, trainer)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *marks.values()]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token=special[0], eos_token=special[2], additional_special_tokens=special
    )
    tokenizer.save_pretrained(folder)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rope_parameters": rope,
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    own: dict[str, dict[str, object]] = {
        "qwen2_vl": {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2},
        "qwen2_5_vl": {"fullatt_block_indexes": [1], "window_size": 16},
        "qwen3_vl": {"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]},
    }
    vision = {"depth": 2, "num_heads": 2, "patch_size": 4, **own[kind]}
    if kind != "qwen2_vl":
        vision |= {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24}
    config = AutoConfig.for_model(
        kind,
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        **{name: tokenizer.convert_tokens_to_ids(mark) for name, mark in marks.items()},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config)
        for weight in model.parameters():
            weight.data *= 6.0 if weight.ndim > 1 else 1.0  # what is this small would say nothing at its usual scale
    model.save_pretrained(folder)
    Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=256, max_pixels=4096).save_pretrained(folder)
