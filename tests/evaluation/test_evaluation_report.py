"""The report of an evaluation: right numbers, whole documents of any text, and the same bytes each time."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.html_tree import Tree

from wholepage.evaluation.evaluation_report import (
    ReportSettings,
    evaluation_latex,
    evaluation_markdown,
    report_sections,
    write_evaluation_report,
)
from wholepage.evaluation.measure_words import better_end, plain, signed
from wholepage.evaluation.measures import evaluate
from wholepage.evaluation.page.registry import page_measures
from wholepage.evaluation.page_measures import evaluate_pages
from wholepage.evaluation.page_view import NoPicture, PageView
from wholepage.evaluation.report import Heading, Table
from wholepage.evaluation.report_cost import LabelCost, cost_section
from wholepage.evaluation.report_differences import clip, difference_curve, differences
from wholepage.evaluation.report_exposure import exposure_shares
from wholepage.evaluation.report_pages import pages_section
from wholepage.evaluation.report_pairs import pair_matrices
from wholepage.evaluation.run_comparison import RunComparison, evaluate_runs
from wholepage.evaluation.score_calibration import ScoredResults, calibrated, score_reliability, scored_results
from wholepage.evaluation.significance import compare_to
from wholepage.evaluation.thumbnails import Thumbnails
from wholepage.pages import DecodingError, ImageRef, InputError, Judgments, Modality, Page, Query, Ranking, Result

MEASURES = ("nDCG@10", "BlockNDCG@10")
HOSTILE = ['"><img src=x onerror=alert(1)>', "</style></title><script>alert(1)</script><b>\x00\x1b a\ud800"]


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (40, 30)) -> ImageRef:
    Image.new("RGB", size, colour).save(path)
    return ImageRef(str(path))


def pages_of(count: int, refs: Sequence[ImageRef], text: str = "words") -> list[Page]:
    """Pages of four texts, three pictures and two answers each."""
    made = []
    for q in range(count):
        results = [Result(f"t{i}", Modality.TEXT, f"{text} {i}") for i in range(4)]
        results += [Result(f"i{i}", Modality.IMAGE, "", (refs[i % len(refs)],)) for i in range(3)]
        results += [Result(f"a{i}", Modality.ANSWER, f"{text} answer {i}") for i in range(2)]
        made.append(Page(Query(f"q{q:02d}", f"{text} of query {q}"), tuple(results)))
    return made


def grades_of(pages: Sequence[Page], seed: int = 0) -> Judgments:
    draw = np.random.default_rng(seed)
    return Judgments.from_mapping(
        {page.query_id: {i: float(draw.integers(0, 4)) for i in page.result_ids} for page in pages}
    )


def ranked(pages: Sequence[Page], said: Judgments, noise: float, name: str, seed: int = 1) -> list[Ranking]:
    """Orders by grade and noise: the less noise, the better."""
    draw = np.random.default_rng(seed)
    rankings = []
    for page in pages:
        grades = said.by_result(page.query_id)
        scores = {i: grades[i] + noise * float(draw.standard_normal()) for i in page.result_ids}
        order = sorted(scores, key=lambda i: (-scores[i], i))
        rankings.append(Ranking(page.query_id, tuple(order), tuple(scores[i] for i in order), name))
    return rankings


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> RunComparison:
    return comparison(tmp_path_factory.mktemp("pictures"))


def comparison(
    folder: Path, *, count: int = 10, names: Sequence[str] = ("plain", "good", "bad"), text: str = "words"
) -> RunComparison:
    pages = pages_of(count, [picture(folder / "a.png"), ImageRef(str(folder / "gone.png"))], text)
    said = grades_of(pages)
    runs = {
        name: ranked(pages, said, noise, name, seed)
        for seed, (name, noise) in enumerate(zip(names, (1.5, 0.4, 6.0), strict=True))
    }
    return evaluate_runs(runs, said, MEASURES, pages=pages, seed=3)


def document(path: Path, compared: RunComparison, settings: ReportSettings | None = None) -> str:
    write_evaluation_report(path / "report.html", compared, settings)
    return (path / "report.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------ the numbers


def test_numbers_are_those_of_the_measures_and_of_the_tests(compared: RunComparison) -> None:
    plain_run, good, bad = compared.runs
    for run in compared.runs:
        alone = evaluate(run.rankings.values(), compared.judgments, ["nDCG@10"])
        assert run.values["nDCG@10"] == alone.of("nDCG@10")
        assert run.estimates["nDCG@10"].mean == pytest.approx(alone.mean("nDCG@10"), abs=1e-12)
        page = evaluate_pages(run.rankings.values(), compared.pages or (), compared.judgments)
        assert run.values["PairAccuracy(text|image)"] == page.of("PairAccuracy(text|image)")
    expected = compare_to(plain_run.values["nDCG@10"], {r.name: r.values["nDCG@10"] for r in (good, bad)}, seed=3)
    assert [good.against_first["nDCG@10"], bad.against_first["nDCG@10"]] == expected
    assert plain_run.against_first == {}
    assert compared.asked == ("nDCG@10", "BlockNDCG(gain=max)@10")


def test_differences_are_in_order_and_count_every_query(compared: RunComparison) -> None:
    first, other, _ = compared.runs
    found = differences(first, other, "nDCG@10")
    by_hand = {q: other.values["nDCG@10"][q] - first.values["nDCG@10"][q] for q in first.values["nDCG@10"]}
    assert {one.query_id: one.gain for one in found.queries} == pytest.approx(by_hand)
    assert [one.gain for one in found.queries] == sorted(by_hand.values())
    assert found.better == sum(gain > 1e-12 for gain in by_hand.values())
    assert found.worse + found.equal + found.better == len(by_hand)
    lost = sorted((q for q in by_hand if by_hand[q] < 0), key=lambda q: by_hand[q])
    assert [one.query_id for one in found.losses(2)] == lost[:2]
    assert found.gains(1)[0].gain == max(by_hand.values())


def test_less_is_a_gain_where_less_is_better(compared: RunComparison) -> None:
    first, other, _ = compared.runs
    found = differences(first, other, "ExposureGap@10")
    assert all(one.gain == pytest.approx(one.first - one.other) for one in found.queries)
    assert better_end("ExposureGap@10") == better_end("BadCase(bad=0, by=1, below=cut)@10") == "lowest"
    assert better_end("CWL.RBP(p=0.8, top=1, part=ETC)") is None
    assert better_end("nDCG@10") == better_end("CWL.RBP(p=0.8, top=1, part=EU)") == "highest"
    named = {name.partition("(")[0].partition("@")[0] for name in page_measures()}
    assert {"BadCase", "ExposureGap", "Inverted", "RBPResidual", "Exposure", "IdealExposure", "Judged"} <= named


def test_a_run_that_lacks_queries_is_told_and_counts_as_the_policy_says(tmp_path: Path) -> None:
    pages = pages_of(6, [picture(tmp_path / "a.png")])
    said = grades_of(pages)
    whole = ranked(pages, said, 1.0, "whole")
    compared = evaluate_runs({"whole": whole, "part": whole[:4]}, said, ["nDCG@10", "BlockNDCG@10"], pages=pages)
    part = compared.runs[1]
    assert compared.lacking(part) == ("q04", "q05")
    assert compared.lacking(compared.first) == ()
    assert part.values["nDCG@10"]["q05"] == 0.0
    assert math.isnan(part.values["PairAccuracy"]["q05"])
    assert math.isnan(part.values["BlockNDCG(gain=max)@10"]["q04"])
    assert part.estimates["PairAccuracy"].queries == 4
    assert part.against_first["PairAccuracy"].difference == 0.0
    written = document(tmp_path, compared)
    assert "part lacks 2 queries, such as q04" in "".join(Tree(written).texts)
    assert exposure_shares(compared)[0].pages == 4


def test_runs_that_cannot_be_measured_are_refused(tmp_path: Path) -> None:
    pages = pages_of(2, [picture(tmp_path / "a.png")])
    said = grades_of(pages)
    rankings = ranked(pages, said, 1.0, "r")
    with pytest.raises(InputError, match="without pages"):
        evaluate_runs({"r": rankings}, said, ["BlockNDCG@10"])
    with pytest.raises(InputError, match="got none"):
        evaluate_runs({}, said, ["nDCG@10"])
    with pytest.raises(InputError, match="NoSuch"):
        evaluate_runs({"r": rankings}, said, ["NoSuch@10"])
    with pytest.raises(DecodingError):
        evaluate_runs({"r": [one.top(3) for one in rankings]}, said, ["nDCG@10"], pages=pages)


def test_exposure_is_the_mean_over_pages_and_sums_to_one(compared: RunComparison) -> None:
    shares = exposure_shares(compared)
    for name in ("plain", "good", "bad"):
        mine = [one for one in shares if one.ranker == name]
        assert [one.modality for one in mine] == [Modality.TEXT, Modality.IMAGE, Modality.ANSWER]
        assert math.fsum(one.share for one in mine) == pytest.approx(1.0)
        assert math.fsum(one.ideal for one in mine) == pytest.approx(1.0)
        assert all(one.low <= one.share - one.ideal <= one.high for one in mine)


# ------------------------------------------------------------------ calibration


def test_scores_are_told_from_other_queries_alone() -> None:
    draw = np.random.default_rng(5)
    query = np.repeat(np.arange(10), 30)
    scores = draw.standard_normal(300)
    relevant = draw.random(300) < 1 / (1 + np.exp(-3 * scores))
    found = ScoredResults(scores, relevant, ("text",) * 300, query, 10, 0)
    told = calibrated(found)
    turned = relevant.copy()
    turned[query == 4] = ~turned[query == 4]
    again = calibrated(ScoredResults(scores, turned, ("text",) * 300, query, 10, 0))
    assert np.array_equal(told[query % 5 == 4], again[query % 5 == 4])
    assert not np.array_equal(told, again)
    for part in range(5):
        mine = query % 5 == part
        order = np.argsort(scores[mine])
        assert (np.diff(told[mine][order]) >= 0).all()
    assert np.abs(told - 1 / (1 + np.exp(-3 * scores))).mean() < 0.1


def test_a_modality_scored_too_high_shows_as_bias() -> None:
    draw = np.random.default_rng(6)
    chance = draw.random(4000)
    relevant = draw.random(4000) < chance
    image = draw.random(4000) < 0.5
    kinds = tuple("image" if one else "text" for one in image)
    found = ScoredResults(chance + 0.3 * image, relevant, kinds, np.arange(4000) % 40, 40, 0)
    report = score_reliability(found)
    text, pictures = report.modalities
    assert (text.name, pictures.name) == ("text", "image")
    assert text.bias < -0.05
    assert pictures.bias > 0.05
    fair = score_reliability(ScoredResults(chance, relevant, kinds, np.arange(4000) % 40, 40, 0))
    assert fair.modality_gap is not None
    assert fair.modality_gap < 0.04


def test_results_without_opinion_or_grade_are_left_out(tmp_path: Path) -> None:
    page = pages_of(1, [picture(tmp_path / "a.png")])[0]
    said = Judgments.from_mapping({page.query_id: {"t0": 2.0, "t1": 0.0, "i0": 3.0}})
    ranking = Ranking(page.query_id, page.result_ids, tuple(None if i == "i0" else 1.0 for i in page.result_ids))
    found = scored_results([ranking], [page], said, relevant_from=2.0)
    assert (found.modality, found.relevant.tolist(), found.unscored) == (("text", "text"), [True, False], 1)
    with pytest.raises(InputError, match="2 or more"):
        calibrated(found)


def test_probabilities_are_taken_as_they_are_and_checked(compared: RunComparison) -> None:
    with pytest.raises(InputError, match="probability"):
        report_sections(compared, ReportSettings(probabilities=("good",)))
    with pytest.raises(InputError, match="name rankers"):
        report_sections(compared, ReportSettings(probabilities=("nobody",)))


# ------------------------------------------------------------------ pictures and pages


def test_thumbnails_are_small_the_same_and_say_why_not(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    make = Thumbnails(px=176, max_bytes=4000, max_bytes_all=6000)
    first = make(ImageRef(str(tmp_path / "noise.png")))
    assert isinstance(first, str)
    raw = base64.b64decode(first.removeprefix("data:image/webp;base64,"))
    assert len(raw) <= 4000
    assert max(Image.open(io.BytesIO(raw)).size) <= 176
    assert first == Thumbnails(px=176, max_bytes=4000)(ImageRef(str(tmp_path / "noise.png")))
    assert make(ImageRef(str(tmp_path / "broken.png"))) == NoPicture("its file cannot be read")
    assert make(ImageRef(str(tmp_path / "gone.png"))) == NoPicture("its file is missing")
    assert make(ImageRef("http://example.org/a.png")) == NoPicture("its address is not opened here")
    assert make.not_shown == 3
    while isinstance(make(ImageRef(str(tmp_path / "noise.png"))), str):
        pass
    assert make.over_budget == 1
    with pytest.raises(InputError, match="1 or more"):
        Thumbnails(px=0)


def test_pages_shown_are_the_worst_and_the_best(compared: RunComparison) -> None:
    sections = pages_section(compared, shown=1)
    views = [one for one in sections if isinstance(one, PageView)]
    headings = [one.text for one in sections if isinstance(one, Heading) and one.level == 3]
    assert (
        headings
        == [
            "Where good loses most against plain",
            "Where good gains most against plain",
            "Where bad loses most against plain",
            "Where bad gains most against plain",
        ][:2]
        + headings[2:]
    )
    found = differences(compared.runs[0], compared.runs[2], "nDCG@10")
    worst = found.losses(1)[0]
    shown = next(v for v in views if [c.name for c in v.columns] == ["plain", "bad"])
    assert shown.query == f"words of query {int(worst.query_id[1:])}"
    assert signed(worst.gain) in shown.title
    order = compared.runs[2].rankings[worst.query_id].result_ids
    grades = compared.judgments.by_result(worst.query_id)
    assert [card.grade for card in shown.columns[1].cards] == [grades[i] for i in order[:10]]
    assert pages_section(compared, shown=0) == []


def test_a_missing_picture_is_told_where_it_would_stand(tmp_path: Path, compared: RunComparison) -> None:
    written = document(tmp_path, compared)
    tree = Tree(written)
    assert any(tag == "p" and a.get("class") == "nopicture" for tag, a in tree.elements)
    assert "No picture: its file is missing." in tree.texts
    assert [a["src"] for t, a in tree.elements if t == "img" and str(a["src"]).startswith("data:image/webp;base64,")]
    assert "1 picture could not be opened" in "".join(tree.texts)


def test_long_texts_are_cut() -> None:
    assert clip("a  b\nc", 10) == "a b c"
    assert clip("word " * 100, 20) == "word word word word…"
    assert len(clip("x" * 99, 20)) == 20


# ------------------------------------------------------------------ the document


def test_the_document_is_whole_loads_nothing_and_is_the_same_twice(tmp_path: Path, compared: RunComparison) -> None:
    settings = ReportSettings(
        title="Three rankers",
        made=(("command", "wholepage evaluate"),),
        costs={"good": LabelCost(1200, 2.5, 50.0, 6000, "a campaign"), "bad": LabelCost(40), "plain": LabelCost(0)},
        relevant_from=2.0,
    )
    once = document(tmp_path, compared, settings)
    assert once == document(tmp_path, compared, settings)
    tree = Tree(once)
    tags = [tag for tag, _ in tree.elements]
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(tags)
    for tag, attributes in tree.elements:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "xlink:href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:image/webp;base64,")), (tag, key)
        if attributes.get("role") == "img":
            assert attributes.get("aria-label")
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(ids) == len(set(ids))
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", once)
    assert headings == [
        "In short",
        "Query by query",
        "Pairs within and across modalities",
        "Exposure",
        "Calibration",
        "Cost",
        "Worst and best pages",
        "How it was measured",
    ]
    words = "".join(tree.texts)
    for said in ("20.0", "2.5", "50.00", "a campaign", "Holm-corrected for the 2 rankers", "as in trec_eval"):
        assert said in words
    mean = compared.runs[1].estimates["nDCG@10"].mean
    assert f"good reaches {mean:.3f}" in words


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_text(tmp_path: Path, text: str) -> None:
    names = ("plain", text, "bad")
    settings = ReportSettings(title=text, made=((text, text),), costs={text: LabelCost(3, source=text)})
    whole = comparison(tmp_path, count=4, names=names, text=text)
    hostile = Tree(document(tmp_path, whole, settings))
    assert not {"script", "b"} & {tag for tag, _ in hostile.elements}
    assert not [a for _, a in hostile.elements if "onerror" in a]
    shown = re.sub("[\x00\x1b\ud800]", "\ufffd", text)
    assert "".join(hostile.texts).count(" ".join(shown.split())) >= 10
    latex = evaluation_latex(whole, settings)
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}")
    assert not re.search(r"(?<!\\)<", evaluation_markdown(whole, settings))


@pytest.mark.parametrize("count", [1, 2])
def test_few_queries_make_a_report(tmp_path: Path, count: int) -> None:
    compared = comparison(tmp_path, count=count)
    words = "".join(Tree(document(tmp_path, compared)).texts)
    assert ("fewer than two queries are shared" in words) is (count == 1)
    assert not re.search(r"\bnan\b", words, re.IGNORECASE)
    assert compared.runs[1].against_first == {} or count == 2


def test_runs_without_pages_or_scores_make_a_report(tmp_path: Path) -> None:
    pages = pages_of(5, [picture(tmp_path / "a.png")])
    said = grades_of(pages)
    orders = [Ranking(one.query_id, one.result_ids) for one in ranked(pages, said, 1.0, "r")]
    words = "".join(Tree(document(tmp_path, evaluate_runs({"only": orders}, said, ["nDCG@10"]))).texts)
    assert "Query by query" not in words
    assert "Worst and best pages" not in words
    told = "".join(Tree(document(tmp_path, evaluate_runs({"only": orders}, said, ["nDCG@10"], pages=pages))).texts)
    assert "gave an order without scores" in told
    assert "The worst" in told


def test_a_measure_without_any_value_is_shown_as_nothing(tmp_path: Path) -> None:
    pages = pages_of(4, [picture(tmp_path / "a.png")])
    said = Judgments.from_mapping({page.query_id: dict.fromkeys(page.result_ids, 0.0) for page in pages})
    runs = {name: ranked(pages, said, 1.0, name, seed) for seed, name in enumerate(("a", "b"))}
    compared = evaluate_runs(runs, said, ["nDCG@10", "PairAccuracy"], pages=pages)
    assert math.isnan(compared.first.estimates["PairAccuracy"].mean)
    assert "PairAccuracy" not in compared.runs[1].against_first
    words = "".join(Tree(document(tmp_path, compared)).texts)
    assert "no difference from a is shown" in words
    assert not re.search(r"\bnan\b", words, re.IGNORECASE)


def test_equal_rankers_have_no_worst_pages(tmp_path: Path) -> None:
    pages = pages_of(4, [picture(tmp_path / "a.png")])
    said = grades_of(pages)
    same = ranked(pages, said, 1.0, "r")
    compared = evaluate_runs({"a": same, "b": same}, said, ["nDCG@10"], pages=pages)
    assert pages_section(compared) == []
    assert "equal on 4" in difference_curve(differences(*compared.runs, "nDCG@10"))
    document(tmp_path, compared)


def test_tables_leave_in_latex_and_markdown(compared: RunComparison) -> None:
    settings = ReportSettings(title="T_1", costs={"good": LabelCost(10)})
    latex, markdown = evaluation_latex(compared, settings), evaluation_markdown(compared, settings)
    labels = re.findall(r"\\label\{([^}]*)\}", latex)
    assert len(labels) == len(set(labels)) == latex.count(r"\begin{tabular}") >= 6
    assert markdown.startswith("# T\\_1\n")
    assert r"BlockNDCG(gain=max)@10" in markdown
    mean = f"{compared.runs[1].estimates['nDCG@10'].mean:.3f}"
    assert mean in latex
    assert mean in markdown
    sections = report_sections(compared, settings)
    assert sum(isinstance(one, Table) for one in sections) > len(labels)


# ------------------------------------------------------------------ parts


def test_costs_are_of_rankers_here(compared: RunComparison) -> None:
    assert cost_section(compared, {}) == []
    with pytest.raises(InputError, match="ranker of this report"):
        cost_section(compared, {"nobody": LabelCost(3)})
    with pytest.raises(InputError, match="0 or more"):
        LabelCost(-1)
    with pytest.raises(InputError, match="finite"):
        LabelCost(1, hours=math.inf)


def test_parts_refuse_nothing() -> None:
    with pytest.raises(InputError):
        pair_matrices({}, [])
    with pytest.raises(InputError, match="shown_pages"):
        ReportSettings(shown_pages=-1)


def test_many_queries_make_a_plot_of_bounded_size(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    grades = {f"q{i:05d}": {"a": 1.0, "b": 0.0, "c": 0.0} for i in range(3000)}
    said = Judgments.from_mapping(grades)
    runs = {
        name: [Ranking(q, tuple(draw.permutation(list("abc")).tolist())) for q in grades] for name in ("one", "two")
    }
    compared = evaluate_runs(runs, said, ["RR@10"])
    assert len(difference_curve(differences(*compared.runs, "RR@10"))) < 120_000


def test_numbers_in_words() -> None:
    assert [signed(0.12345), signed(-0.5), signed(-0.00001), signed(math.nan)] == [
        "+0.123",
        "\u22120.500",
        "0.000",
        "\u2013",
    ]
    assert [plain(-0.25, 2), plain(math.nan), plain(-0.0001)] == ["\u22120.25", "\u2013", "0.000"]
