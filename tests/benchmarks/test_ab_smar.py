"""SMAR against z-score online, at a size at which it means nothing: that it runs, resumes and counts right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from wholepage.pages.judgments import Grade, Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.pages.records import write_judgments, write_pages, write_rankings


def _kept(place: Path) -> None:
    """What the benchmark keeps of a world: SMAR ranks by grade, z-score the other way round."""
    rng = np.random.default_rng(0)
    pages, grades = [], []
    runs: dict[str, list[Ranking]] = {"smar_10": [], "zscore": []}
    kinds = (Modality.TEXT, Modality.IMAGE, Modality.ANSWER)
    for q in range(8):
        results = tuple(
            Result(f"q{q}-{i}", kinds[i % 3], "w", (ImageRef("x.png"),) if kinds[i % 3] is Modality.IMAGE else ())
            for i in range(14)
        )
        pages.append(Page(Query(f"q{q}", "w"), results))
        truth = rng.choice(4, size=14, p=(0.7, 0.1, 0.1, 0.1))
        grades += [Grade(f"q{q}", f"q{q}-{i}", float(g)) for i, g in enumerate(truth)]
        order = [f"q{q}-{i}" for i in np.argsort(-truth, kind="stable")]
        runs["smar_10"].append(Ranking(f"q{q}", tuple(order), tuple(-float(k) for k in range(14)), "smar_10"))
        runs["zscore"].append(Ranking(f"q{q}", tuple(order[::-1]), tuple(-float(k) for k in range(14)), "zscore"))
    place.mkdir(parents=True)
    write_pages(place / "pages.jsonl", pages)
    write_judgments(place / "judgments.jsonl", Judgments(grades))
    for name, rankings in runs.items():
        write_rankings(place / f"{name}.jsonl", rankings)


def test_kept_rankings_are_compared_online(
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = script("ab_smar")
    few = {name: of for name, of in bench.behaviours().items() if name in ("default", "null: clicks at random")}
    monkeypatch.setattr(bench, "behaviours", lambda: few)
    _kept(tmp_path / "runs" / "synthetic-8-0")
    bench.main(["--runs", str(tmp_path / "runs"), "--queries", "8", "--quick", "--out", str(tmp_path / "ab.md")])
    text = (tmp_path / "ab.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| default", "| null"))]
    assert {row[1] for row in rows} == {*bench.SENSE, "block-aware-team-draft", "team-draft"}
    told = {row[1]: row[3] for row in rows if row[0] == "| default"}
    assert told["sat-CTR"] == told["block-aware-team-draft"] == told["team-draft"] == "smar_10"
    assert "winner: smar_10" in text
    assert "SIMULATED" in text


def test_the_smallest_size_has_the_power_and_the_one_before_not(script: Callable[[str], ModuleType]) -> None:
    """Users of whom each prefers SMAR with chance 0.7: the sign test's own arithmetic says how many it takes."""
    from wholepage.evaluation.online.power import power_of_sign_test

    bench = script("ab_smar")
    rng = np.random.default_rng(0)
    preference = np.where(rng.random(40_000) < 0.7, 1.0, -1.0)
    ones = np.ones_like(preference)
    crowd = bench.Crowd(ones.astype(int), ones, {"team-draft": (preference, ones)})
    scale = bench.Scale()
    found = bench.searched(crowd, "team-draft", bench.verdict_of_merged, scale)
    for one in found:
        assert one.experiments >= scale.least
        expected = power_of_sign_test(0.7, 0.3, one.users)
        spread = 4 * (expected * (1 - expected) / one.experiments) ** 0.5
        assert one.power + one.wrong / one.experiments == pytest.approx(expected, abs=spread + 1e-9)
    row = bench.row_of("b", "team-draft", crowd, bench.verdict_of_merged, found)
    assert row.winner == "smar_10"
    assert row.below < bench.POWER <= row.power
    assert row.difference == pytest.approx(preference.mean() / 2)
