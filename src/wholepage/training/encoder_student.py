"""A small text student: a frozen sentence encoder whose space is turned, a little, towards how a teacher orders lists.

    student = distil_encoder(lists, encoder, EncoderStudentConfig())
    by_score(BiEncoderScorer(student)).rank(pages)

The student is the encoder with one matrix behind it, which begins as the identity: before training it orders as the
encoder does. It learns from lists with a teacher's order by Plackett-Luce. A few dozen lists do not suffice to teach a
model to read; they can tell it what to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from wholepage.pages.errors import InputError, WeightsError
from wholepage.rankers.encoders import Progress, TextEncoder
from wholepage.rankers.weights import fingerprint, load_model, save_model
from wholepage.training.loop import LoopConfig, run
from wholepage.training.losses import plackett_luce
from wholepage.training.taught import TaughtList

KIND = "encoder-student"


class EncoderStudentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a student learns.

    Attributes:
        loop: its batch is of lists.  sharpness: a cosine is multiplied by it to become a score.
        top_k: places of a teacher's order that are learned; None = all.  rank: of the change to the identity.
    Raises:
        InputError: a number below 1.
    """

    loop: LoopConfig = LoopConfig(epochs=20, batch_size=8, learning_rate=1e-3, weight_decay=0.1)
    sharpness: float = 20.0
    top_k: int | None = 20
    rank: int = 16

    def __post_init__(self) -> None:
        if self.sharpness <= 0 or self.rank < 1 or (self.top_k is not None and self.top_k < 1):
            raise InputError(
                f"encoder student: got sharpness {self.sharpness}, top_k {self.top_k}, rank {self.rank}; allowed: "
                "above 0, 1 or more; choose again"
            )


class EncoderStudent:
    """A text encoder with a matrix behind it; its vectors have length 1.

    Args:
        encoder: the frozen one.  change: what is added to the identity, [dim, dim].
    """

    def __init__(self, encoder: TextEncoder, change: NDArray[np.float32]) -> None:
        self._encoder, self._turn = encoder, np.eye(encoder.dim, dtype=np.float32) + change
        self._change = change
        self.name = f"{encoder.name}+student@{fingerprint({'change': torch.from_numpy(change)})}"

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self._turn.shape[1])

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a text. Shapes: return [texts, dim] float32."""
        rows = self._encoder.encode_texts(texts) @ self._turn
        found: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        return found.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write the matrix; the encoder stays where it is.

        Raises:
            WeightsError: the folder holds something else.
        """
        save_model(folder, KIND, {"encoder": self._encoder.name}, {"change": self._change})

    @classmethod
    def load(cls, folder: Path, encoder: TextEncoder) -> EncoderStudent:
        """Read a student.

        Raises:
            WeightsError: another kind, a damaged file, or another encoder than it was trained on.
        """
        config, arrays = load_model(folder, KIND)
        if config["encoder"] != encoder.name:
            raise WeightsError(
                f"{folder}: got the encoder {encoder.name!r}; allowed: {config['encoder']!r}, which it was trained on; "
                "pass that one"
            )
        return cls(encoder, np.array(arrays["change"], np.float32))


def distil_encoder(
    lists: Sequence[TaughtList],
    encoder: TextEncoder,
    config: EncoderStudentConfig,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> EncoderStudent:
    """Train a student on lists of texts.

    Args:
        folder: of the checkpoint; None = nothing is kept.
    Raises:
        InputError: no lists, a result or query without text, or a loss that is not finite.
    """
    for one in lists:
        if not one.page.query.text.strip() or not all(result.text.strip() for result in one.page.results):
            raise InputError(
                f"list {one.page.query_id!r}: got a query or a result without text; allowed: texts; leave it out"
            )
    asked = encoder.encode_texts([one.page.query.text for one in lists]) if lists else np.zeros((0, 1), np.float32)
    found = [encoder.encode_texts([result.text for result in one.page.results]) for one in lists]

    def loss(module: nn.Module, batch: list[int]) -> Tensor:
        values = []
        for i in batch:
            query, texts = (normalize(module(torch.from_numpy(rows)), dim=1) for rows in (asked[i : i + 1], found[i]))
            scores = config.sharpness * (query @ texts.T)
            targets = torch.tensor([lists[i].targets])
            values.append(
                plackett_luce(scores, targets, torch.ones_like(targets, dtype=torch.bool), top_k=config.top_k)
            )
        return torch.stack(values).mean()

    trained = run(
        lambda: _Turn(encoder.dim, config.rank),
        len(lists),
        loss,
        config.loop,
        content=fingerprint({f"{i}": torch.from_numpy(rows) for i, rows in enumerate(found)})
        + f"{config.sharpness} {config.top_k} {[one.targets for one in lists]}",
        folder=folder,
        progress=progress,
        what="encoder student",
    )
    with torch.no_grad():
        change = (trained.into @ trained.out).numpy()
    return EncoderStudent(encoder, change)


class _Turn(nn.Module):
    """The identity and a change of low rank, which begins at nothing."""

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.into, self.out = nn.Parameter(torch.randn(dim, rank) * dim**-0.5), nn.Parameter(torch.zeros(rank, dim))

    def forward(self, rows: Tensor) -> Tensor:
        """Shapes: [n, dim] -> [n, dim]."""
        return rows + (rows @ self.into) @ self.out
