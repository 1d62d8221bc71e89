"""How long a newcomer waits: from a clone to the first answer of a model trained on pages of their own.

    python benchmarks/newcomer.py --out benchmarks/newcomer.md
    python benchmarks/newcomer.py --skip-install --json

It does what ``docs/tutorial.md`` says, block by block, as it stands there: the repository is cloned from this checkout,
an environment made, the package installed from the index that pip is set to, pages written, a ranker trained, measured
and served, and asked. Each step's seconds are told, and the minutes that reading the tutorial takes at a given speed.
``--skip-install`` uses the environment that runs this script in place of a new one. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from conditions import command, commit

CHECKOUT = Path(__file__).resolve().parents[1]
LIMIT_MIN = 15.0
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_USUAL_PORT = "8000"
_CURL = "ask with curl"
_LISTENS_WITHIN_S = 120.0
_NOT_INSTALLED = " **Without installing**: the environment that ran this script was used."


@dataclass(frozen=True)
class Step:
    """One thing to wait for: ``shell`` lines run by bash, or ``python`` code; ``serves`` stays and listens."""

    name: str
    shell: str = ""
    python: str = ""
    installs: bool = False
    serves: bool = False


@dataclass
class Walk:
    """What was waited for, and what came of it."""

    seconds: dict[str, float] = field(default_factory=dict)
    answer: str = ""


def steps_of(tutorial: str) -> list[Step]:
    """The tutorial's blocks as steps, in its order.

    Raises:
        SystemExit: it has no such blocks any more.
    """
    steps: list[Step] = []
    for language, body in _BLOCK.findall(tutorial):
        if language == "sh" and "venv" in body:
            lines = [line for line in body.splitlines() if not line.startswith(". ")]  # activating is PATH, below
            steps += [Step(" ".join(shlex.split(line)[:3]), line, installs=True) for line in lines]
        elif language == "sh":
            steps.append(Step(_CURL, body))
        elif language == "bash":
            for line in body.splitlines():
                words = shlex.split(line)
                named = " ".join(word for word in words[:3] if "/" not in word and "." not in word)
                steps.append(Step(named, line, serves=words[1] == "serve"))
        elif language == "python":
            steps.append(Step(_about(body), python=body))
    if not (any(step.installs for step in steps) and any(step.serves for step in steps)):
        raise SystemExit("docs/tutorial.md: got no blocks that install and serve; allowed: both; mend the tutorial")
    return steps


def reading_minutes(tutorial: str, words_a_minute: float) -> float:
    """How long the text takes to read; of the code, only that the reader sees it."""
    return len(_BLOCK.sub("", tutorial).split()) / words_a_minute


def _about(code: str) -> str:
    for word, name in (("write_pages", "write pages"), ("urllib", "ask from Python"), ("wholepage.load", "load it")):
        if word in code:
            return name
    return "python"


def walk(steps: list[Step], folder: Path, *, environment: dict[str, str], skip_install: bool) -> Walk:
    """Take all steps in a folder; raises ``CalledProcessError`` where one fails."""
    done, port = Walk(), str(_free_port())
    with _ended_with() as servers:
        for step in steps:
            if step.installs and skip_install:
                continue
            if step.name == _CURL and shutil.which("curl") is None:
                print("curl is not installed: that step is left out", file=sys.stderr)
                continue
            begun = time.perf_counter()
            shell = step.shell.replace(f"127.0.0.1:{_USUAL_PORT}", f"127.0.0.1:{port}")
            if step.serves:
                line = shell.replace(f"--port {_USUAL_PORT}", f"--port {port}")
                servers.append(subprocess.Popen(shlex.split(line), cwd=folder, env=environment))
                _wait_for(int(port), servers[-1])
            elif step.python:
                code = step.python.replace(f"127.0.0.1:{_USUAL_PORT}", f"127.0.0.1:{port}")
                said = _run(["python", "-c", code], folder, environment)
                done.answer = said.strip() if "urllib" in code else done.answer
            else:
                _run(["bash", "-euo", "pipefail", "-c", shell], folder, environment)
            name = step.name if step.name not in done.seconds else f"{step.name} again"
            done.seconds[name] = round(time.perf_counter() - begun, 1)
            print(f"{done.seconds[name]:8.1f} s  {name}", file=sys.stderr, flush=True)
    return done


def _run(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    found = shutil.which(words[0], path=environment["PATH"]) or words[0]
    return subprocess.run(
        [found, *words[1:]], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextmanager
def _ended_with() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Servers that are put here end with the block."""
    servers: list[subprocess.Popen[bytes]] = []
    try:
        yield servers
    finally:
        for one in servers:
            one.terminate()
            try:
                one.wait(timeout=60)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Until it listens; raises SystemExit if it ends before, or takes too long."""
    until = time.monotonic() + _LISTENS_WITHIN_S
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as one:
            one.settimeout(1.0)
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"wholepage serve: got exit code {server.poll()} or silence; allowed: that it listens; see above")


def environment_in(folder: Path, *, skip_install: bool) -> dict[str, str]:
    """A newcomer's environment: nothing of this one but the search path, behind the new one's."""
    programs = Path(sys.executable).parent if skip_install else folder / ".venv" / "bin"
    taken = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**taken, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "WHOLEPAGE_CACHE": str(folder / ".cache")}


def markdown(report: dict[str, object]) -> str:
    """The report as a page."""
    seconds = report["seconds"]
    rows = [f"| {name} | {took:.1f} |" for name, took in seconds.items()] if isinstance(seconds, dict) else []
    told = [
        "# A newcomer's path\n",
        f"`{report['command']}` at {report['commit']}; {report['machine']}.\n",
        f"From a clone to an answer of a model trained on pages of one's own: {report['waiting_min']:.1f} minutes of "
        f"waiting, {report['reading_min']:.1f} of reading the tutorial, together {report['total_min']:.1f} "
        f"(to stay under {LIMIT_MIN:g}).{'' if report['installed'] else _NOT_INSTALLED}\n",
        "| step | seconds |\n|---|---|",
        *rows,
    ]
    return "\n".join(told) + "\n"


def main() -> int:
    """Walk the path; exit code 1 when the answer is wrong or it took too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", default=str(CHECKOUT), help="what is cloned; else this checkout")
    parser.add_argument("--folder", type=Path, help="where; must be empty or new; else a temporary folder")
    parser.add_argument("--skip-install", action="store_true", help="use the environment that runs this script")
    parser.add_argument("--words-a-minute", type=float, default=150.0, help="of who reads the tutorial")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout in place of a page")
    parser.add_argument("--out", type=Path, help="write the page here, too")
    given = parser.parse_args()
    tutorial = (CHECKOUT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="newcomer_") as temporary:
        folder = (given.folder or Path(temporary)) / "wholepage"
        begun = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", given.repository, str(folder)], check=True)
        cloned = round(time.perf_counter() - begun, 1)
        environment = environment_in(folder, skip_install=given.skip_install)
        done = walk(steps_of(tutorial), folder, environment=environment, skip_install=given.skip_install)
    waiting = (cloned + sum(done.seconds.values())) / 60
    reading = reading_minutes(tutorial, given.words_a_minute)
    report: dict[str, object] = {
        "command": command(),
        "commit": commit(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "seconds": {"git clone": cloned, **done.seconds},
        "installed": not given.skip_install,
        "answer": done.answer,
        "waiting_min": waiting,
        "reading_min": reading,
        "total_min": waiting + reading,
    }
    if given.out:
        given.out.write_text(markdown(report), encoding="utf-8")
    print(json.dumps(report, indent=1) if given.json else markdown(report))
    return 0 if done.answer == "[1, 0]" and waiting + reading < LIMIT_MIN else 1


if __name__ == "__main__":
    sys.exit(main())
