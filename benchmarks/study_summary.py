"""One table over finished studies: every method at the shares people ask about, tested against SMAR with a tenth.

    .venv/bin/python benchmarks/study_summary.py --runs runs --out benchmarks/study_summary.md

Reads the rows that ``benchmarks/study_all.py`` left in the folder of runs; nothing is trained. A query has its mean
over seeds; p is of the paired permutation test over queries, with Holm's correction for the column.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from conditions import commit
from wholepage.evaluation.significance import compare_to
from wholepage.evaluation.study import needed
from wholepage.evaluation.study_table import Measured, read_parquet

REFERENCE = ("smar", 0.1)
ROWS: dict[tuple[str, float], str] = {
    ("zscore", 0.0): "z-score",
    ("rrf", 0.0): "reciprocal rank fusion",
    ("isotonic", 0.1): "isotonic calibration, 10 %",
    ("lambdamart", 0.1): "LambdaMART, 10 %",
    ("lambdamart", 1.0): "LambdaMART, 100 %",
    ("context", 0.1): "self-attention, page labels only, 10 %",
    ("context", 1.0): "self-attention, page labels only, 100 %",
    ("align_only", 0.0): "alignment only, no page label",
    ("sft", 0.1): "SFT, 10 %",
    REFERENCE: "**SMAR, 10 %**",
    ("smar", 0.3): "SMAR, 30 %",
    ("sft", 1.0): "SFT, 100 %",
}


def main() -> None:
    """Read, test, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where studies are kept")
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file; default: print")
    asked = parser.parse_args()
    studies = {p.parent.name: read_parquet(p) for p in sorted(asked.runs.glob("cost_*/measured.parquet"))}
    text = f"# Cost studies in one table\n\nRows of {', '.join(studies)} · commit {commit()}\n\n{table(studies)}"
    if asked.out is None:
        print(text)
    else:
        asked.out.write_text(text, encoding="utf-8")


def table(studies: dict[str, list[Measured]]) -> str:
    """nDCG@10 by method and study, with marks, and the smallest share with which SMAR matches SFT on everything."""
    columns = {name: column(rows) for name, rows in studies.items()}
    names = [name.removeprefix("cost_") for name in studies]
    lines = ["| nDCG@10 | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {label} | " + " | ".join(columns[name].get(arm, "") for name in studies) + " |"
        for arm, label in ROWS.items()
    ]
    for title, at in (("not worse than SFT, 100 %, with", "not_worse_at"), ("better with", "better_at")):
        found = [needed(rows)[0] for rows in studies.values()]
        shares = [getattr(one, at) for one in found]
        lines.append(f"| *{title}* | " + " | ".join("none" if s is None else f"{100 * s:g} %" for s in shares) + " |")
    lines += ["", "† differs from SMAR, 10 % (p < .05 after Holm). Not worse: margin .005, 95 % interval.", ""]
    return "\n".join(lines)


def column(rows: Iterable[Measured]) -> dict[tuple[str, float], str]:
    """One study's means, marked where they differ from SMAR with a tenth."""
    values = {arm: of for arm, of in by_query(rows).items() if arm in ROWS}
    others = {ROWS[arm]: of for arm, of in values.items() if arm != REFERENCE}
    p = {test.name: test.p_holm for test in compare_to(values[REFERENCE], others, seed=0)}
    return {
        arm: f"{math.fsum(of.values()) / len(of):.3f}{'†' if p.get(ROWS[arm], 1.0) < 0.05 else ''}"
        for arm, of in values.items()
    }


def by_query(rows: Iterable[Measured]) -> dict[tuple[str, float], dict[str, float]]:
    """Each query's nDCG@10, mean over seeds, by method and share of the cost experiment."""
    seen: dict[tuple[str, float], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.experiment == "cost":
            seen[row.method, round(row.share, 6)][row.query_id].append(row.ndcg)
    return {arm: {q: math.fsum(of) / len(of) for q, of in sorted(each.items())} for arm, each in seen.items()}


if __name__ == "__main__":
    main()
