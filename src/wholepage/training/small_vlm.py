"""A vision-language model of the Qwen2-VL class that is small enough for a CPU: made from numbers, nothing downloaded.

    small = make_small_vlm(texts, SmallVlm(), seed=0)
    ranker = ListwiseRanker(small)

Its words come from the texts it is to learn from, its weights from a seed. Drawn at random as usual, a model of this
size did not learn to compare a query with results within thousands of steps, so it begins with three habits, each a
few large entries in matrices that are otherwise nearly zero, all of them free to change:

- the first layer: every token looks back to the letter of the result that it stands in, and takes it along;
- the layers between: every token looks for tokens of its own kind, and takes along which results they stand in;
- the last layer: the answer is gathered from what stands behind the last result, the query said once more.

That queries and keys should begin alike is known (Trockman and Kolter 2023, arXiv 2305.09828); the rest is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from string import ascii_uppercase
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError, ShapeError, require
from wholepage.rankers.listwise_loading import Pretrained, assembled
from wholepage.rankers.listwise_prompt import TASK

Meaning = Callable[[Sequence[str]], NDArray[Any]]
"""One row a word."""

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    f"{START}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{STOP}\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}" + START + "assistant\n{% endif %}"
)
"""A chat without a system turn: a model that knows no language does not need to be told what it is."""

_FRAME = (TASK, "Query:", "\n\nResults:\n", "user\n", "assistant\n")
_THETA = 1e6
_FRAME_TIMES = 50  # often enough for the frame's words to become single tokens
_INWARD = ("down_proj", "q_proj", "k_proj", "v_proj", "o_proj")  # of the language model; nearly nothing at first
_FAINT = 0.004  # of their usual scale
_LETTERS = len(ascii_uppercase)
_NEAR_TURN = 0.03  # radians a token: turns of this pace tell near from far, up to a hundred tokens, then come round
_FAR_TURN = 0.006  # slower turns tell what is far, and hardly more, so that tokens find their likes anywhere


class SmallVlm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of a small vision-language model.

    Attributes:
        vocabulary: tokens at most, learned from texts by byte pairs, beside the special ones.
        dim, layers, heads, mlp: of the language model.  context: tokens it reads at most.
        sight_dim, sight_layers, sight_heads: of the vision tower.
        patch: side of a patch in pixels; four patches are a visual token.
        least_pixels, most_pixels: a picture is scaled to between them.
        habits: whether it begins as told above; or at random, which is there to be compared with.
    Raises:
        InputError: sizes that do not go together.
    """

    vocabulary: int = 2048
    dim: int = 128
    layers: int = 3
    heads: int = 4
    mlp: int = 384
    context: int = 8192
    sight_dim: int = 96
    sight_layers: int = 3
    sight_heads: int = 4
    patch: int = 8
    least_pixels: int = 256
    most_pixels: int = 4096
    habits: bool = True

    def __post_init__(self) -> None:
        whole = self.dim % self.heads == 0 and self.sight_dim % self.sight_heads == 0
        sizes = (self.layers, self.mlp, self.sight_layers, self.patch, self.context)
        # Rotary embeddings split a head into three parts of pairs, the vision tower's into two; letters need a place.
        own = self.dim // self.heads
        if not whole or own % 16 or own <= _LETTERS or (self.sight_dim // self.sight_heads) % 4 or min(sizes) < 1:
            raise InputError(
                f"small model: got dim {self.dim} for {self.heads} heads, sight_dim {self.sight_dim} for "
                f"{self.sight_heads}, sizes {sizes}; allowed: heads of 32, 48, 64 ..., of a multiple of 4 in the "
                "tower, and sizes from 1; choose again"
            )
        if self.layers < 3 and self.habits:
            raise InputError(f"small model: got {self.layers} layers; allowed: 3 or more, or habits=False; add layers")
        if self.vocabulary < 300 or self.least_pixels > self.most_pixels:
            raise InputError(
                f"small model: got a vocabulary of {self.vocabulary}, {self.least_pixels} to {self.most_pixels} "
                "pixels; allowed: from 300 tokens, and a span; choose again"
            )


def make_small_vlm(
    texts: Iterable[str],
    sizes: SmallVlm | None = None,
    *,
    meaning: Meaning | None = None,
    seed: int = 0,
    name: str = "small",
) -> Pretrained:
    """An untrained model whose words are learned from texts.

    Args:
        texts: queries and texts it will read, in an order that does not change between runs.
        meaning: where words begin: the vectors that a text encoder gives them, one row a word; None = anywhere.
        seed: of its weights.
    Raises:
        MissingExtra: transformers is not installed.
        InputError: nothing to learn words from.
    """
    sizes = sizes or SmallVlm()
    transformers = require("transformers", "text")
    tokenizer = _tokenizer(texts, sizes.vocabulary)
    processor = _processor(sizes)
    config = _config(sizes, tokenizer)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model = transformers.AutoModelForImageTextToText.from_config(config)
        _begin(model, tokenizer, sizes, None if meaning is None else _meant(tokenizer, meaning, sizes))
    return assembled(model.requires_grad_(False).eval(), tokenizer, processor, name=name)


def _tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    pieces, transformers = require("tokenizers", "text"), require("transformers", "text")
    words = pieces.Tokenizer(pieces.models.BPE())
    words.pre_tokenizer = pieces.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = pieces.decoders.ByteLevel()
    trainer = pieces.trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=sorted(pieces.pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    seen = 0

    def lines() -> Iterator[str]:
        nonlocal seen
        for text in texts:
            seen += 1
            yield f" {text}"
        yield from _FRAME * _FRAME_TIMES

    words.train_from_iterator(lines(), trainer)
    if not seen:
        raise InputError("small model: got no texts; allowed: one or more to learn words from; name a collection")
    special = [END, START, STOP, *MARKS.values()]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=END, eos_token=STOP, additional_special_tokens=special
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _processor(sizes: SmallVlm) -> Any:
    from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as pil

    return pil.Qwen2VLImageProcessorPil(
        patch_size=sizes.patch, merge_size=2, min_pixels=sizes.least_pixels, max_pixels=sizes.most_pixels
    )


def _config(sizes: SmallVlm, tokenizer: Any) -> Any:
    pairs = sizes.dim // sizes.heads // 2
    sides = pairs // 4  # time has half of the pairs, rows and columns a quarter each
    text = {
        "vocab_size": len(tokenizer), "hidden_size": sizes.dim, "intermediate_size": sizes.mlp,
        "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads, "num_key_value_heads": sizes.heads,
        "max_position_embeddings": sizes.context, "bos_token_id": None, "eos_token_id": None,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": _THETA, "mrope_section": [pairs - 2 * sides, sides, sides],
        },
    }  # fmt: skip
    vision = {
        "depth": sizes.sight_layers, "num_heads": sizes.sight_heads, "patch_size": sizes.patch,
        "embed_dim": sizes.sight_dim, "hidden_size": sizes.dim, "mlp_ratio": 2,
    }  # fmt: skip
    marks = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in MARKS.items()}
    return require("transformers", "text").AutoConfig.for_model(
        "qwen2_vl", text_config=text, vision_config=vision, tie_word_embeddings=True, **marks
    )


def _begin(model: Any, tokenizer: Any, sizes: SmallVlm, meant: NDArray[np.float32] | None) -> None:
    """First weights; drawn in the order of the model's parameters."""
    for path, weight in model.named_parameters():
        if weight.ndim < 2 or "embed_tokens" in path:
            continue
        faint = sizes.habits and ".language_model." in path and any(part in path for part in _INWARD)
        outward = any(part in path for part in ("o_proj", "down_proj", "fc2", "attn.proj"))
        depth = sizes.sight_layers if ".visual." in path else sizes.layers
        share = _FAINT if faint else (2 * depth) ** -0.5 if outward else 1.0
        nn.init.normal_(weight, std=share * weight[0].numel() ** -0.5)
    language = model.model.language_model
    embeddings = language.embed_tokens.weight
    nn.init.normal_(embeddings, std=sizes.dim**-0.5)
    if meant is not None:
        with torch.no_grad():
            embeddings[: len(meant), sizes.dim - meant.shape[1] :] = torch.from_numpy(meant)
    if sizes.habits:
        with torch.no_grad():
            _Habits(sizes, tokenizer).give(language)
            _as_words(model.model.visual.merger.mlp[-1], sizes)


def _as_words(last: nn.Linear, sizes: SmallVlm) -> None:
    """What the tower hands over begins as long as words are, and with nothing where letters go."""
    last.weight *= sizes.dim**-0.5
    last.weight[: sizes.dim // sizes.heads] = 0.0
    last.bias.zero_()


def _meant(tokenizer: Any, meaning: Meaning, sizes: SmallVlm) -> NDArray[np.float32]:
    """First embeddings of all tokens but the special ones, as many numbers each as the words' part has.

    The encoder reads each token by itself; what all have in common is taken away, and the directions in which they
    differ most are kept.

    Shapes:
        return: [tokens, up to dim - width] float32, rows as long as a random embedding's
    Source: static embeddings distilled from a sentence encoder, as in model2vec; weighted principal components here.
    """
    size = len(tokenizer) - len(tokenizer.all_special_ids)
    read = [tokenizer.decode([token]).strip() or " " for token in range(size)]
    vectors = np.asarray(meaning(read), np.float64)
    if vectors.ndim != 2 or len(vectors) != size or not np.isfinite(vectors).all():
        raise ShapeError(
            f"meaning of words: got shape {vectors.shape}; allowed: [{size}, dim], finite; pass a text encoder"
        )
    room = min(sizes.dim - sizes.dim // sizes.heads, vectors.shape[1], size)
    centred = vectors - vectors.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    directions *= np.where(directions[:, :1] < 0, -1.0, 1.0)  # a direction and its opposite are equally right
    kept = centred @ directions[:room].T / np.sqrt(np.maximum(spread[:room], 1e-9))
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    share = np.sqrt(room / sizes.dim)
    rows: NDArray[np.float32] = (kept / np.maximum(lengths, 1e-9) * share).astype(np.float32)
    return rows


class _Habits:
    """Puts the three habits into the weights.

    The states have a part for letters, as wide as a head, in which words begin empty; words look alike in the rest.
    What marks a place worth looking back to (a letter; ``Query``, behind which no result goes on) is one direction of
    that rest; what stands behind ``Query`` is marked in the letters' part, where letters leave room.
    """

    def __init__(self, sizes: SmallVlm, tokenizer: Any) -> None:
        self.dim, self.heads, self.width = sizes.dim, sizes.heads, sizes.dim // sizes.heads
        self.letters = tokenizer.convert_tokens_to_ids(list(ascii_uppercase))
        self.query = tokenizer.encode("Query:", add_special_tokens=False)[0]
        turns = _THETA ** (-2.0 * torch.arange(self.width // 2) / self.width)
        self.near, self.far = (int((turns - turn).abs().argmin()) for turn in (_NEAR_TURN, _FAR_TURN))
        still = torch.nonzero(turns < _FAR_TURN).flatten()
        self.still = torch.cat([still, still + self.width // 2])  # both halves of each rotated pair
        self.slowest = self.width // 2 - 1

    def give(self, language: Any) -> None:
        landmark = torch.zeros(self.dim)
        landmark[self.width :] = nn.functional.normalize(torch.randn(self.dim - self.width), dim=0)
        self._embed(language.embed_tokens.weight, landmark)
        first, *between, last = (layer.self_attn for layer in language.layers)
        self._look(first, self.near, 60.0, landmark, share=0.7)
        self._look(first, self.far, 120.0, landmark, share=0.7)
        self._carry(first, 0.06)
        for attention in between:
            self._alike(attention)
            self._carry(attention, 0.3)
        behind = torch.zeros(self.dim)
        behind[_LETTERS : self.width] = (self.width - _LETTERS) ** -0.5
        self._look(last, self.slowest, 20.0, behind, share=0.5)
        self._carry(last, 2.0)

    def _embed(self, embeddings: Tensor, landmark: Tensor) -> None:
        whole = (self.width / self.dim) ** 0.5  # the length of a letters' part that is filled like the rest
        embeddings[:, : self.width] = 0.0
        embeddings[self.letters] = 1.5 * whole * landmark
        embeddings[self.letters, : self.width] = (
            whole * torch.linalg.qr(torch.randn(self.width, self.width))[0][:_LETTERS]
        )
        embeddings[self.query] = 1.5 * whole * landmark
        embeddings[self.query, _LETTERS : self.width] = whole * (self.width - _LETTERS) ** -0.5

    def _look(self, attention: Any, pair: int, strength: float, direction: Tensor, *, share: float) -> None:
        """Every token looks for a direction, the nearest first as far as the pair's turn tells near from far."""
        each = strength**0.5 * self.width**0.25  # of query and key; attention divides by the root of the width
        for head in range(self.heads):
            attention.q_proj.bias[head * self.width + pair] = each
            attention.k_proj.weight[head * self.width + pair] += direction * each / (share * self.dim**0.5)

    def _alike(self, attention: Any) -> None:
        """Every token looks for tokens with the same words' part, near or far."""
        for head in range(self.heads):
            shared = torch.linalg.qr(torch.randn(self.dim - self.width, self.width))[0].T * 2.0**0.5
            for projection in (attention.q_proj, attention.k_proj):
                projection.weight[head * self.width + self.still, self.width :] += shared[self.still]

    def _carry(self, attention: Any, strength: float) -> None:
        """What is looked at hands over its letters' part."""
        for head in range(self.heads):
            rows = slice(head * self.width, (head + 1) * self.width)
            attention.v_proj.weight[rows, : self.width] += torch.eye(self.width)
            attention.o_proj.weight[: self.width, rows] += strength / self.heads * torch.eye(self.width)
