"""How many threads the machine offers does not show in what is learned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from wholepage.training.workers import on_one_thread

SOURCE = Path(__file__).parents[2] / "src"
SCALED = """
import hashlib
import numpy as np
from wholepage.rankers.matching import PageVectors, VectorScale
from wholepage.training.workers import Workers, on_one_thread

lots = np.random.default_rng(0)
text, image = (lots.normal(size=(2000, width)).astype(np.float32) for width in (384, 522))
image[:, 40:] = image[:, :40] @ lots.normal(size=(40, 482)).astype(np.float32)  # fewer directions than are kept
vectors = PageVectors(query=text[0], text=text, image=image)
with on_one_thread():
    scale = VectorScale.fit([vectors], keep=500)
    print(hashlib.sha256(scale.apply(vectors).tobytes()).hexdigest())
"""


def scaled_by(threads: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCALED],
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads),
             "PYTHONPATH": str(SOURCE)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_principal_directions_have_the_same_bits_on_any_number_of_threads() -> None:
    assert scaled_by(1) == scaled_by(2) == scaled_by(3)


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with on_one_thread():
        assert torch.get_num_threads() == 1
        np.linalg.eigh(np.eye(3))
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError, match="inside"), on_one_thread():
        raise RuntimeError("inside")
    assert torch.get_num_threads() == before
