"""What every test may count on: no network, few threads, fixed random cases, and where the real data lies."""

from __future__ import annotations

import os
from pathlib import Path

# Before any library reads them: nothing is fetched, and two workers on two cores do not fight over threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# The gate repeats itself exactly; --hypothesis-profile=explore looks for new cases.
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
