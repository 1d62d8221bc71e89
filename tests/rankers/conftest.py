"""Stand-ins for the frozen encoders, and random pages: the learned rankers are tested without any weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.matching import ResultVectors

WORDS = ["red", "blue", "shoe", "boot", "lamp", "desk", "soup", "salad", "train", "plane", "river", "castle", "violin"]


def hashed(content: str, dim: int) -> NDArray[np.float32]:
    """A vector that depends on the content alone."""
    seed = int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


class HashTexts:
    """Unit vectors of texts."""

    def __init__(self, dim: int = 16, name: str = "hash-text") -> None:
        self.dim, self.name = dim, name

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [hashed(text, self.dim) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32).reshape(len(texts), self.dim)


class HashImages:
    """Vectors of pictures by their address; of any length, as some encoders' are."""

    def __init__(self, dim: int = 8, name: str = "hash-image") -> None:
        self.dim, self.name = dim, name

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        return np.array([3.0 * hashed(ref.uri, self.dim) for ref in refs], np.float32).reshape(len(refs), self.dim)


@pytest.fixture(scope="session")
def texts() -> type[HashTexts]:
    return HashTexts


@pytest.fixture(scope="session")
def images() -> type[HashImages]:
    return HashImages


@pytest.fixture(scope="session")
def vectors() -> ResultVectors:
    return ResultVectors(HashTexts(), HashImages())


MakePage = Callable[[str, Sequence[Modality]], Page]


@pytest.fixture(scope="session")
def make_page() -> MakePage:
    """``make_page("q1", [Modality.TEXT, ...])``: a random page, the same for the same arguments."""
    return random_page


def random_page(query_id: str, modalities: Sequence[Modality]) -> Page:
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(query_id.encode()).digest()[:8], "big"))

    def words(count: int) -> str:
        return " ".join(random.choice(WORDS, size=count))

    results = []
    for index, modality in enumerate(modalities):
        frames = {Modality.IMAGE: 1, Modality.VIDEO: int(random.integers(1, 4))}.get(modality, 0)
        refs = tuple(ImageRef(f"{query_id}-{index}-{frame}.png") for frame in range(frames))
        # Some pictures say nothing in words.
        text = "" if frames and random.random() < 0.3 else words(int(random.integers(3, 9)))
        features = {"clicks": float(random.integers(0, 1000)), "price": round(float(random.normal()), 3)}
        results.append(Result(f"{query_id}/{index}", modality, text, refs, features))
    return Page(Query(query_id, words(3)), tuple(results))


@pytest.fixture(scope="session")
def deep_model(tiny_vlm: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``deep_model("qwen2_vl")`` or ``("llama")``: a random model of five layers, laid out as on the hub; made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(f"deep-{kind}")
            _write_deep_model(kind, tiny_vlm(kind if kind.endswith("vl") else "qwen2_vl"), made[kind])
        return made[kind]

    return folder


def _write_deep_model(kind: str, tiny: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    if kind.endswith("vl"):
        config, auto = AutoConfig.from_pretrained(tiny), AutoModelForImageTextToText
        own = config.text_config
        own.num_hidden_layers = 5
        if getattr(own, "layer_types", None):
            own.layer_types = ["full_attention"] * 5
    else:
        auto = AutoModelForCausalLM
        config = AutoConfig.for_model(
            kind, vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=5,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=4096,
            bos_token_id=None, eos_token_id=None, pad_token_id=None, sliding_window=None,
        )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = auto.from_config(config)
        for weight in model.parameters():
            weight.data *= 4.0 if weight.ndim > 1 else 1.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if kind.endswith("vl"):
        name = "preprocessor_config.json"
        (folder / name).write_bytes((tiny / name).read_bytes())
