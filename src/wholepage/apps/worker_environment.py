"""What processes that rank find in their environment: how many threads, and that nobody asks a hub."""

from __future__ import annotations

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_QUIET = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def worker_environment(threads: int) -> dict[str, str]:
    """Variables for a worker whose numerics use so many threads; libraries read them once, when they are loaded."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads)) | _QUIET
