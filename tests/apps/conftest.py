"""Stand-ins for encoders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray


class HashedWords:
    """A text encoder: every word adds its own pseudo-random direction."""

    name, dim = "hashed-words", 16

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> NDArray[np.float32]:
        total = np.zeros(self.dim)
        for word in re.findall(r"\w+", text.lower()):
            total += np.random.default_rng(list(hashlib.sha256(word.encode()).digest())).standard_normal(self.dim)
        return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9), np.float32)


@pytest.fixture(scope="session")
def hashed_words() -> HashedWords:
    return HashedWords()
