"""What page labels are worth on every collection, written as tables beside this script.

    .venv/bin/python benchmarks/study_all.py --root DATA_FOLDER [--recipes cost_fashion cost_opencqa ...] [--runs runs]

Each recipe is run by ``wholepage study``, in a process of its own; what was killed goes on where it was. Reports and
rows stay in the folder of runs.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from conditions import commit, machine

HERE = Path(__file__).parent
RECIPES = (
    "cost_fashion",
    "ablation_fashion",
    "cost_synthetic",
    "ablation_synthetic",
    "cost_opencqa",
    "cost_opencqa_seen",
    "cost_mmdocir",
    "cost_grocery",
    "cost_financebench",
)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("WHOLEPAGE_DATA"), help="else WHOLEPAGE_DATA")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, choices=RECIPES)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where studies are kept")
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    for name in asked.recipes:
        if asked.root is None and not name.endswith("synthetic"):
            print(
                f"benchmarks: {name}: got no data folder; skipped: pass --root or set WHOLEPAGE_DATA", file=sys.stderr
            )
            continue
        runs = asked.runs.resolve() / name  # the command runs in the checkout, wherever this script was started
        command = ["study", f"recipes/{name}.toml", "--out", str(runs)]
        command += [] if asked.root is None else ["--root", str(Path(asked.root).resolve())]
        kept = len(list((runs / "cells").glob("*.json")))
        start = time.perf_counter()
        run = [sys.executable, "-m", "wholepage", *command]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL, cwd=HERE.parent)
        wall_s = time.perf_counter() - start
        shown = shlex.join(["wholepage", "study", f"recipes/{name}.toml", "--root", "DATA"])
        resumed = f", {kept} cells kept from before" if kept else ""
        head = f"# {name}\n\n`{shown}` · commit {commit()} · {machine()} · {wall_s:.0f} s{resumed}\n\n"
        tables = (runs / "tables.md").read_text(encoding="utf-8")
        (asked.out / f"study_{name}.md").write_text(head + tables, encoding="utf-8")
        print(f"{name}: {wall_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
