"""The cross-encoder trained here: one modality, read by a transformer that sees the query and the text together.

``training.cross_encoder`` makes it from that modality's labels alone. Several members, each trained without one share
of the queries, are averaged, as towers are. A member's sub-folder (``0``, ``1``, ...) is a plain transformers folder
besides: ``rankers.text.CrossEncoderScorer`` opens it too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wholepage.pages.errors import InputError, WeightsError, require
from wholepage.pages.model import Modality, Page
from wholepage.rankers.packed_bert import can_pack, packed_logits
from wholepage.rankers.text import MINILM, in_passes, minilm_folder, scatter_scores, text_pairs
from wholepage.rankers.tower import check_modalities, settings_of
from wholepage.rankers.weights import load_model, pretrained_source, save_model, unloadable

KIND = "cross-encoder"
PAIRS_PER_PASS = 32

Tokens = Mapping[str, NDArray[np.int64]]
"""One pair as a transformer reads it: ``input_ids``, ``attention_mask`` and what else it asks for, each ``[n]``."""


class PairReader:
    """Turns (query, text) pairs into tokens.

    Of a pair that is too long the longer side loses its end, token by token.

    Args:
        tokenizer: of transformers, with a padding token.
        max_tokens: of query and text together; also the limit that is saved with the tokenizer.
    Attributes:
        truncated: pairs read so far that were longer.
    Raises:
        WeightsError: the tokenizer cannot pad.
    """

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        if tokenizer.pad_token_id is None:
            raise WeightsError(
                "tokenizer: got none for padding; allowed: a tokenizer with a padding token; use the one of an encoder"
            )
        self.tokenizer, self.max_tokens, self.truncated = tokenizer, max_tokens, 0
        tokenizer.model_max_length = max_tokens
        for how_it_was_read in ("is_local", "local_files_only"):  # it would be saved, and differ from place to place
            tokenizer.init_kwargs.pop(how_it_was_read, None)

    @property
    def pad_id(self) -> int:
        """The token that fills up a batch."""
        return int(self.tokenizer.pad_token_id)

    def read(self, pairs: Sequence[tuple[str, str]]) -> list[Tokens]:
        """One ``Tokens`` a pair; those that were cut are counted in ``truncated``."""
        whole = self._tokens(pairs, truncation=False) if pairs else []
        long = [i for i, tokens in enumerate(whole) if len(tokens["input_ids"]) > self.max_tokens]
        if long:
            cut = self._tokens([pairs[i] for i in long], truncation=True, max_length=self.max_tokens)
            for i, tokens in zip(long, cut, strict=True):
                whole[i] = tokens
        self.truncated += len(long)
        return whole

    def save(self, folder: str) -> None:
        """Write the tokenizer's files; the same, whatever it read before."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:  # it keeps, and would save, how it was last asked to cut
            backend.no_truncation()
            backend.no_padding()
        self.tokenizer.save_pretrained(folder)

    def _tokens(self, pairs: Sequence[tuple[str, str]], **how: Any) -> list[Tokens]:
        queries, texts = zip(*pairs, strict=True)
        read = self.tokenizer(list(queries), list(texts), padding=False, verbose=False, **how)
        return [{name: np.array(rows[i], np.int64) for name, rows in read.items()} for i in range(len(pairs))]


def padded(batch: Sequence[Tokens], pad_id: int, device: torch.device) -> dict[str, Tensor]:
    """Tokens of several pairs beside each other, shorter ones filled up: ``[pairs, longest]`` each."""
    width = max(len(tokens["input_ids"]) for tokens in batch)
    filled = {}
    for name in batch[0]:
        rows = np.full((len(batch), width), pad_id if name == "input_ids" else 0, np.int64)
        for row, tokens in enumerate(batch):
            rows[row, : len(tokens[name])] = tokens[name]
        filled[name] = torch.from_numpy(rows).to(device)
    return filled


def pair_scores(
    module: nn.Module, tokens: Sequence[Tokens], pad_id: int, *, batch_size: int = PAIRS_PER_PASS
) -> NDArray[np.float32]:
    """The model's one output for every pair, a logit.

    Pairs are read in order of their length (``text.in_passes``), a BERT's on a processor without padding
    (``packed_bert``); a pair's score is the same in any batch to 1e-5.

    Shapes:
        return: [len(tokens)]
    """
    scores = np.zeros(len(tokens), np.float32)
    where = next(module.parameters()).device
    module.eval()
    packs = can_pack(module)
    with torch.inference_mode():
        for rows in in_passes([len(pair["input_ids"]) for pair in tokens], batch_size, where.type):
            batch = [tokens[i] for i in rows]
            logits = packed_logits(module, batch) if packs else module(**padded(batch, pad_id, where)).logits
            scores[rows] = logits.squeeze(-1).float().cpu().numpy()
    return scores


def open_pretrained(model: str | Path, max_tokens: int) -> PairReader:
    """The tokenizer of a pretrained model.

    Args:
        model: ``"minilm"`` (packaged, no network), a folder, or a hub id.
    Raises:
        WeightsError: it cannot be found, reached or read.
        MissingExtra: transformers, or the package with the weights, is not installed.
    """
    transformers = require("transformers", "text")
    try:
        return PairReader(transformers.AutoTokenizer.from_pretrained(_source(model)), max_tokens)
    except (OSError, ValueError) as error:
        raise unloadable(model, error) from error


def pretrained_module(model: str | Path) -> Any:
    """A sequence classifier with one output; its head is new (torch's generator) where the model has none of that size.

    Raises:
        WeightsError: the model cannot be found, reached or read.
        MissingExtra: transformers, or the package with the weights, is not installed.
    """
    transformers = require("transformers", "text")
    with _quiet(transformers):
        try:
            return transformers.AutoModelForSequenceClassification.from_pretrained(
                _source(model), num_labels=1, ignore_mismatched_sizes=True, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            raise unloadable(model, error) from error


class TrainedCrossEncoder:
    """Orders the results of one modality by what they say: the mean of several members' scores.

    NaN where the result, or the query, has no text.

    Args:
        modality: what it was trained on.
        reader: turns pairs into tokens; its ``truncated`` counts the pairs that were longer than it reads.
        members: sequence classifiers with one output, at least one.
        also: modalities it may order too, for want of labels of their own.
        batch_size: pairs a forward pass, at most.
        device: a torch device; None = the best there is.
    Raises:
        InputError: no member.
    """

    kind = KIND

    def __init__(
        self,
        modality: Modality,
        reader: PairReader,
        members: Sequence[nn.Module],
        *,
        also: Sequence[Modality] = (),
        batch_size: int = PAIRS_PER_PASS,
        device: str | None = None,
    ) -> None:
        if not members:
            raise InputError(f"{KIND}-{modality.value}: got no member; allowed: at least one; train one")
        self.modality, self.reader, self.also, self.batch_size = modality, reader, tuple(also), batch_size
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.members = tuple(member.to(where).eval() for member in members)

    @property
    def name(self) -> str:
        return f"{KIND}-{self.modality.value}"

    @property
    def truncated(self) -> int:
        """Pairs read so far, in training too, that were longer than the model reads."""
        return self.reader.truncated

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Scores ``[len(page)]`` a page, NaN = no text.

        Raises:
            NoRanker: a page holds a modality this ranker was not trained for.
        """
        check_modalities(self.name, pages, (self.modality, *self.also))
        pairs = text_pairs(pages)
        tokens = self.reader.read([(query, text) for *_, query, text in pairs])
        each = [pair_scores(m, tokens, self.reader.pad_id, batch_size=self.batch_size) for m in self.members]
        mean = np.stack(each).mean(axis=0, dtype=np.float32)
        return scatter_scores(pages, pairs, mean.tolist())

    def save(self, folder: Path) -> None:
        """Write a model folder of kind ``cross-encoder``: weights, config and tokenizer of every member.

        Raises:
            WeightsError: the folder holds something else, or weights are not finite.
        """
        files: dict[str, bytes] = {}
        transformers = require("transformers", "text")
        for index, member in enumerate(self.members):
            _check_finite(folder, index, member)
            with tempfile.TemporaryDirectory() as place, _quiet(transformers):
                written: Any = member
                written.save_pretrained(place)
                self.reader.save(place)
                files |= {f"{index}/{path.name}": path.read_bytes() for path in sorted(Path(place).iterdir())}
        config = {
            "modality": self.modality.value,
            "also": [m.value for m in self.also],
            "members": len(self.members),
            "max_tokens": self.reader.max_tokens,
        }
        save_model(folder, KIND, config, {}, files)

    @classmethod
    def load(cls, folder: Path, *, device: str | None = None) -> TrainedCrossEncoder:
        """Read a model folder; nothing is asked from the network.

        Raises:
            WeightsError: another kind, a damaged file, or a member that cannot be read.
            MissingExtra: transformers is not installed.
        """
        folder = Path(folder)
        config, _ = load_model(folder, KIND)
        with settings_of(folder):
            count = int(config["members"])
            reader = open_pretrained(folder / "0", int(config["max_tokens"]))
            members = [_saved_member(folder / str(index)) for index in range(count)]
            also = [Modality(value) for value in config["also"]]
            return cls(Modality(config["modality"]), reader, members, also=also, device=device)


def _saved_member(folder: Path) -> Any:
    transformers = require("transformers", "text")
    try:
        with _quiet(transformers):
            member, info = transformers.AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError) as error:
        raise unloadable(folder, error) from error
    lost = sorted({*info["missing_keys"], *(str(key[0]) for key in info["mismatched_keys"])})
    if lost or member.config.num_labels != 1:
        raise WeightsError(
            f"{folder}: got {member.config.num_labels} outputs, no weights for {lost[:5]}; allowed: one output, "
            "and all weights; save it again"
        )
    return member


def _source(model: str | Path) -> str:
    return str(minilm_folder()) if model == MINILM else pretrained_source(model)


def _check_finite(folder: Path, index: int, member: nn.Module) -> None:
    for name, value in member.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(
                f"{folder}: member {index}: tensor {name!r}: got numbers that are not finite; allowed: finite weights; "
                "the training diverged, lower its learning rate"
            )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No bars, which are ours to show, and no warning of new heads, which are wanted."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
