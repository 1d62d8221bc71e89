"""The report of a study: true statements both ways, whole documents, and figures that show what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from wholepage.evaluation.study import Draw, half, needed
from wholepage.evaluation.study_plots import Line, Spot, difference_plot, share_plot, sweep_plot
from wholepage.evaluation.study_report import study_latex, study_markdown, write_study_report
from wholepage.evaluation.study_table import Measured
from wholepage.evaluation.study_words import count, half_in_words, needed_in_words, percent, signed
from wholepage.pages.errors import InputError, RecordError

DRAW = Draw(resamples=200)
NO_BREAK, MINUS = "\u00a0", "\u2212"


def arm(
    method: str,
    share: float,
    level: float,
    *,
    experiment: str = "cost",
    variant: str = "",
    collection: str = "c",
    spread: float = 0.01,
) -> Iterator[Measured]:
    """40 queries, two seeds, 1000 labels in all; the mean is the level."""
    own = np.random.default_rng(1).normal(0, 0.1, 40)
    for seed in (0, 1):
        noise = np.random.default_rng(int(share * 1000) + seed).normal(0, spread, 40)
        values = level + own - own.mean() + noise - noise.mean()
        for i, value in enumerate(values.tolist()):
            yield Measured(
                *("study", experiment, collection, method, variant, "", share, seed, 0, round(1000 * share), 1000),
                *(f"q{i}", value, i % 3, 3),
            )


def cost(
    smar: dict[float, float], sft: dict[float, float], collection: str = "c", spread: float = 0.01
) -> list[Measured]:
    return [
        row
        for method, levels in (("smar", smar), ("sft", sft))
        for share, level in levels.items()
        for row in arm(method, share, level, collection=collection, spread=spread)
    ]


def everything() -> list[Measured]:
    rows = cost({0.1: 0.6, 0.3: 0.63, 1.0: 0.65}, {0.1: 0.5, 0.2: 0.6, 1.0: 0.6})
    rows += cost({0.1: 0.5}, {1.0: 0.6}, "other <b>")
    rows += [*arm("zscore", 0.0, 0.4), *arm("align_only", 0.0, 0.52), *arm("lambdamart", 0.1, 0.55)]
    for variant in ("align=kl", "align=listwise"):
        rows += [*arm("smar", 0.1, 0.6 + len(variant) / 900, experiment="alignment", variant=variant)]
        rows += [*arm("sft", 0.1, 0.5, experiment="alignment", variant=variant)]
    for variant in ("1:1", "16:1", "4:1"):
        rows += [*arm("smar", 0.1, 0.6, experiment="imbalance", variant=variant)]
        rows += [*arm("sft", 0.1, 0.55, experiment="imbalance", variant=variant)]
    for share in (0.1, 0.2, 0.3):
        rows += [row for v in ("few", "whole") for row in arm("smar", share, 0.6, experiment="budget", variant=v)]
    rows += [row for v in ("ours", "theirs") for row in arm("smar", 0.1, 0.6, experiment="brand new", variant=v)]
    return rows


def words(rows: list[Measured]) -> str:
    return needed_in_words(needed(rows, draw=DRAW)[0], DRAW).replace(NO_BREAK, " ").replace(MINUS, "-")


# ------------------------------------------------------------------ statements


def test_a_statement_says_how_few_labels_and_how_sure() -> None:
    said = words(cost({0.01: 0.5, 0.1: 0.601, 0.3: 0.63, 1.0: 0.65}, {1.0: 0.6}))
    assert said.startswith(
        "c: with 10 % of the page labels (100 of 1,000) SMAR is not worse than SFT with all of them: nDCG@10 0.601 "
        "against 0.600, difference +0.001, 95 % interval -0.0"
    )
    assert "margin 0.005. It is better from 30 % (difference +0.030" in said
    assert said.endswith("on.")


def test_a_statement_admits_what_was_not_shown() -> None:
    said = words(cost({0.1: 0.5, 0.3: 0.55}, {1.0: 0.6}))
    assert "at no share measured (10 % to 30 %) was SMAR shown to be not worse" in said
    assert "It came closest at 30 %: nDCG@10 0.550, difference -0.050" in said
    assert said.endswith("it is worse by more than the margin of 0.005.")
    assert words(cost({0.1: 0.5954}, {1.0: 0.6})).endswith("it is worse, though perhaps by less than the margin.")
    said = words(cost({0.1: 0.598}, {1.0: 0.6}, spread=0.03))
    assert said.endswith("whether it is worse by more than the margin of 0.005 is open.")
    assert words(cost({0.1: 0.5}, {0.5: 0.6})) == (
        "c: SFT with all page labels was not measured, so nothing is said of the labels that SMAR needs."
    )


def test_a_statement_warns_of_a_share_that_does_not_hold() -> None:
    said = words(cost({0.1: 0.62, 0.3: 0.55, 1.0: 0.6}, {1.0: 0.6}))
    assert "not shown at 30 %, so read it with care: only from 100 % on" in said
    assert "It is better at 10 % (difference +0.020" in said
    assert said.endswith("but not at every larger share measured.")
    said = words(cost({0.1: 0.62, 1.0: 0.55}, {1.0: 0.6}))
    assert "at no share on" not in said
    assert "at the largest share it does not hold" in said
    assert words(cost({1.0: 0.6}, {1.0: 0.6})).endswith("It was better at no share measured.")


def test_half_is_told_pair_by_pair() -> None:
    rows = cost({0.1: 0.6, 0.2: 0.5}, {0.2: 0.6, 0.4: 0.6}) + cost({0.5: 0.598}, {1.0: 0.6}, spread=0.03)
    said = half_in_words(half(rows, draw=DRAW), DRAW).replace(NO_BREAK, " ")
    assert "is not worse at 10 %, is worse at 20 %, is neither shown to be at 50 % (margin 0.005)" in said


def test_numbers_are_written_for_people() -> None:
    assert [percent(s) for s in (0.1, 1.0, 0.025, 1 / 3)] == [
        f"{n}{NO_BREAK}%" for n in ("10", "100", "2.5", "33.3333")
    ]
    assert [signed(n) for n in (0.0021, -0.0021, -0.0001, 0.0)] == ["+0.002", f"{MINUS}0.002", "0.000", "0.000"]
    assert [count(n) for n in (2.5, 3.0, 1234.5, 0)] == ["2.5", "3", "1,234", "0"]


# ------------------------------------------------------------------ documents


class Checked(HTMLParser):
    """Counts what is open, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.ids += [value or "" for key, value in attrs if key == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def document(path: Path) -> Checked:
    parsed = Checked()
    parsed.feed(path.read_text(encoding="utf-8"))
    assert parsed.open == []
    return parsed


def test_the_report_holds_every_part_and_is_the_same_bytes(tmp_path: Path) -> None:
    rows = everything()
    made_by = "wholepage study x.toml · abc123 · 2 cores"
    write_study_report(rows, tmp_path / "a.html", title="Cost <i>", made_by=made_by, resamples=200)
    write_study_report(rows[::-1], tmp_path / "b.html", title="Cost <i>", made_by=made_by, resamples=200)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    found = document(tmp_path / "a.html")
    assert len(found.ids) == len(set(found.ids))
    for part in (
        *("In short", "What labels buy", "Form of the alignment", "Imbalanced modalities", "brand new"),
        *(
            "Ways to spend one budget",
            "other <b>",
            "LambdaMART",
            "frozen vectors",
            "z-score",
            "p (Holm)",
            made_by,
            "SMAR, align=kl",
        ),
        *("Cross-modal pairs right", "what alignment is worth", "How it was measured", "margin −0.005"),  # noqa: RUF001
    ):
        assert part in found.text, part
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    contents = html[html.index("<nav") : html.index("</nav>")]
    assert html.count("<h3") == 6  # costs of two collections, four experiments
    assert "other &lt;b&gt;" in contents
    assert "What labels buy" not in contents
    assert html.count("<svg") == 10  # three of costs for each collection, and one for each of four experiments
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan", "", found.text)
    assert re.search(r"(https?:)?//(?!www\.w3\.org/)\w", html) is None


def test_a_study_without_costs_has_a_report(tmp_path: Path) -> None:
    rows = [row for v in ("a", "b") for row in arm("smar", 0.1, 0.6, experiment="where", variant=v)]
    write_study_report(rows, tmp_path / "a.html", title="t", resamples=200)
    assert "In short" not in document(tmp_path / "a.html").text
    assert "frozen vectors" not in document(tmp_path / "a.html").text  # nobody who does without them was measured
    assert "Where to annotate" in document(tmp_path / "a.html").text
    assert "**c: where to annotate.**" in study_markdown(rows, resamples=200)


def test_the_reference_of_a_report_can_be_named(tmp_path: Path) -> None:
    write_study_report(everything(), tmp_path / "a.html", title="t", resamples=200, references={"brand new": "theirs"})
    assert "difference in nDCG@10 from SMAR, theirs" in document(tmp_path / "a.html").text
    for write in (study_markdown, study_latex):
        assert "Difference: from theirs." in write(everything(), resamples=200, references={"brand new": "theirs"})
        assert "Difference: from theirs." not in write(everything(), resamples=200)


def test_nothing_measured_is_refused_and_the_old_report_stays(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("old")
    for rows in ([], [*everything(), everything()[0]]):
        with pytest.raises(InputError):
            write_study_report(rows, tmp_path / "a.html", title="t", resamples=200)
    assert (tmp_path / "a.html").read_text() == "old"
    with pytest.raises(InputError, match="no rows"):
        study_latex([])
    with pytest.raises(RecordError, match="folder"):
        write_study_report(everything(), tmp_path / "no" / "a.html", title="t", resamples=200)


def test_tables_for_a_paper() -> None:
    latex = study_latex(everything(), resamples=200)
    tables = re.findall(r"\\begin\{table\}.*?\\end\{table\}", latex, re.DOTALL)
    labels = re.findall(r"\\label\{(.*?)\}", latex)
    assert len(tables) == len(labels) == len(set(labels)) == 8
    assert (
        r"SMAR & -- & \textbf{0.600}\textsuperscript{\dag{}} & -- & \textbf{0.630}\textsuperscript{\ddag{}} &" in latex
    )
    assert re.search(r"(?<!\\)%", latex) is None
    assert all(sign not in latex for sign in (NO_BREAK, MINUS, "†", "<"))


def test_markdown_holds_statements_and_tables() -> None:
    text = study_markdown(everything(), resamples=200)
    assert text.startswith("c: with 10")
    assert "SMAR is not worse than SFT with all of them" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 8
    assert "other \\<b>" in text
    assert "other <b>" not in text
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines() if line.startswith("|")}) == 1


def test_an_ablation_says_what_it_is_compared_with() -> None:
    text = study_markdown(everything(), resamples=200)
    budget = text[text.index("ways to spend") : text.index("brand new")]
    assert "Difference: from few." in budget
    assert "SMAR, whole, 20 %" in budget.replace(NO_BREAK, " ")
    imbalance = text[text.index("imbalanced modalities") : text.index("ways to spend")]
    assert "Difference: from SFT." in imbalance
    assert imbalance.index("SMAR, 4:1") < imbalance.index("SMAR, 16:1") < imbalance.index("SFT, 1:1")
    mixed = [*arm("smar", 0.1, 0.6, experiment="e", variant="a"), *arm("smar", 0.2, 0.6, experiment="e", variant="b")]
    mixed += [*arm("sft", 0.1, 0.6, experiment="e", variant="a"), *arm("zscore", 0.0, 0.5, experiment="e", variant="c")]
    table = study_markdown(mixed, resamples=200).replace(NO_BREAK, " ")
    assert re.search(r"SMAR, a, 10 % .*\| SFT +\|", table)
    assert re.search(r"SMAR, b, 20 % .*\| SFT, a, 10 % +\|", table)


# ------------------------------------------------------------------ plots

LINES = [
    Line("SMAR", 0, tuple(Spot(s, v, v - 0.01, v + 0.01) for s, v in ((1.0, 0.6), (0.01, 0.4), (0.1, 0.5)))),
    Line("SFT", 1, (Spot(0.1, 0.45), Spot(1.0, 0.58))),
]


def marks(plot: str, series: int) -> list[tuple[float, float]]:
    ink = f"--plot-{series},"
    uses = [e for e in ElementTree.fromstring(plot).iter() if e.tag.endswith("use") and ink in e.get("style", "")]
    uses = [e for e in uses if "opacity" not in e.get("style", "")]  # those are the bands
    return sorted((float(e.get("x", "")), float(e.get("y", ""))) for e in uses)


def texts(plot: str) -> dict[str, tuple[float, float]]:
    found = ElementTree.fromstring(plot).iter("{http://www.w3.org/2000/svg}text")
    return {e.text or "": (float(e.get("x", "nan")), float(e.get("y", "nan"))) for e in found}


def test_a_share_plot_is_logarithmic_and_ticks_what_was_measured() -> None:
    plot = share_plot(LINES, measure="nDCG@10", levels={"z-score": 0.38, "raw merge": 0.01})
    assert plot == share_plot(LINES, measure="nDCG@10", levels={"z-score": 0.38, "raw merge": 0.01})
    (a, b, c), legend = marks(plot, 1)[:3], marks(plot, 1)[3]
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], rel=1e-4)
    assert a[1] - b[1] == pytest.approx(b[1] - c[1], rel=1e-4)
    assert legend[0] > c[0]
    words_in = set(texts(plot))
    assert {"1\u2009%", "10\u2009%", "100\u2009%", "SMAR", "SFT", "z-score", "raw merge 0.010 ↓"} <= words_in
    assert min(y for x, y in texts(plot).values()) > 0


def test_ticks_do_not_touch() -> None:
    shares = [0.01, 0.011, 0.012, 0.02, 0.1, 0.11, 0.2, 0.3, 0.5, 1.0]
    plot = share_plot([Line("a", 0, tuple(Spot(s, 0.5 + s / 10) for s in shares))], measure="m")
    places = sorted(x for text, (x, _) in texts(plot).items() if text.endswith("\u2009%"))
    assert 5 <= len(places) < 10
    assert min(b - a for a, b in pairwise(places)) > 24


def test_names_at_line_ends_do_not_touch() -> None:
    lines = [Line(f"s{i}", i, (Spot(0.1, 0.5 + i / 1e6),)) for i in range(14)]
    places = sorted(y for text, (_, y) in texts(share_plot(lines, measure="m")).items() if re.fullmatch(r"s\d+", text))
    assert len(places) == 14
    assert min(b - a for a, b in pairwise(places)) > 10


def test_a_difference_plot_marks_what_was_shown() -> None:
    spots = [Spot(0.01, -0.02, -0.03, -0.01), Spot(0.1, 0.0, -0.004, 0.004), Spot(1.0, 0.02, 0.01, 0.03)]
    plot = difference_plot(spots, margin=0.005, measure="m", goal="SFT, all labels")
    assert [len(marks(plot, series)) for series in (1, 2, 3)] == [2, 2, 2]  # each with its key
    key = {"better", "not worse", "not shown to be as good"}
    assert key <= set(texts(plot))
    assert key & set(texts(difference_plot(spots[2:], margin=0.005, measure="m", goal="g"))) == {"better"}
    assert f"margin {MINUS}0.005" in texts(plot)


def test_a_sweep_keeps_its_order() -> None:
    lines = [Line("SMAR", 0, (Spot(2, 0.4), Spot(0, 0.6), Spot(1, 0.5)))]
    plot = sweep_plot(lines, ["1:1", "4:1", "as it is"], measure="m", below="ratio", levels={"SFT": 0.45})
    found = texts(plot)
    assert found["1:1"][0] < found["4:1"][0] < found["as it is"][0]
    ys = [y for _, y in marks(plot, 1)[:3]]
    assert ys == sorted(ys)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        Spot(0.1, float("nan"))
    with pytest.raises(InputError, match="or neither"):
        Spot(0.1, 0.5, 0.4)
    with pytest.raises(InputError, match="low <= high"):
        Spot(0.1, 0.5, 0.6, 0.4)
    with pytest.raises(InputError, match="2 spots at 1 places"):
        Line("a", 0, (Spot(0.1, 0.5), Spot(0.1, 0.6)))
    with pytest.raises(InputError, match="one or more"):
        share_plot([], measure="m")
    with pytest.raises(InputError, match="above 0"):
        share_plot([Line("a", 0, (Spot(0.0, 0.5),))], measure="m")
    with pytest.raises(InputError, match="level 'x'"):
        share_plot(LINES, measure="m", levels={"x": float("inf")})
    with pytest.raises(InputError, match="one of the places"):
        sweep_plot(LINES, ["a"], measure="m", below="")
    with pytest.raises(InputError, match="0 of them with an interval"):
        difference_plot([Spot(0.1, 0.5)], margin=0.005, measure="m", goal="g")
    with pytest.raises(InputError, match="margin -1"):
        difference_plot([Spot(0.1, 0.5, 0.4, 0.6)], margin=-1, measure="m", goal="g")
