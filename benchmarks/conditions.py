"""What a measurement ran on, written beside its numbers."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent


def command() -> str:
    """The command that is running, from the root of the checkout."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def commit() -> str:
    """The commit that ran, ``-dirty`` with changes on top; ``unknown`` outside a checkout."""
    try:
        asked = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        found = subprocess.run(asked, cwd=HERE, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def machine(threads: int | None = None) -> str:
    """Processor, cores, threads if given, and the versions of what computes."""
    model = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    limit = "" if threads is None else f", {threads} thread{'s' * (threads > 1)}"
    return (
        f"{model}, {os.cpu_count()} cores{limit}; Python {platform.python_version()}, torch {version('torch')}, "
        f"LightGBM {version('lightgbm')}"
    )
