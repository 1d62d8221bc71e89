"""The comparison on every real collection, written as tables beside this script.

    .venv/bin/python benchmarks/compare_all.py --root DATA_FOLDER [--collections fashion opencqa ...]

Each collection is measured by ``wholepage compare COLLECTION --root ... --json``, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from conditions import commit, machine

HERE = Path(__file__).parent
COLLECTIONS = ("fashion", "opencqa", "mmdocir", "grocery", "financebench")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("WHOLEPAGE_DATA"), help="else WHOLEPAGE_DATA")
    parser.add_argument("--collections", nargs="+", default=COLLECTIONS, choices=COLLECTIONS)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.root is None:
        print("benchmarks: got no data folder; skipped: pass --root or set WHOLEPAGE_DATA", file=sys.stderr)
        return
    for name in asked.collections:
        command = ["compare", name, "--root", str(asked.root), "--seed", str(asked.seed), "--json"]
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "wholepage", *command], check=True, stdout=subprocess.PIPE)
        wall_s = time.perf_counter() - start
        rows = json.loads(done.stdout)
        shown = " ".join(["wholepage", "compare", name, "--root", "DATA", "--seed", str(asked.seed), "--json"])
        (asked.out / f"compare_{name}.md").write_text(table(name, rows, shown, wall_s))
        print(f"{name}: {wall_s:.0f} s", flush=True)


def table(name: str, rows: list[dict[str, object]], command: str, wall_s: float) -> str:
    """One collection's results as Markdown."""
    lines = [
        f"# {name}",
        "",
        f"`{command}` · commit {commit()} · {machine()} · {wall_s:.0f} s (texts and pictures already encoded)",
        "",
        "| ranker | nDCG@10 | 95 % (BCa) | cross-modal pairs right | page labels | p (Holm) against smar_10 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        p = row["p_holm_vs_smar_10"]
        lines.append(
            f"| {row['ranker']} | {row['ndcg@10']:.4f} | {row['low']:.4f} .. {row['high']:.4f} | "
            f"{row['cross_pair_accuracy']:.4f} | {row['labels']} | {'' if p is None else f'{p:.4f}'} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
