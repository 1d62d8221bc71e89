"""The report: it needs nothing outside, runs nothing, hides nothing, and looks the same each time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.html_tree import Tree

from wholepage.evaluation.markup import clean_svg
from wholepage.evaluation.page_view import PageView, RankedColumn, ResultCard, view_page
from wholepage.evaluation.plots import CostPoint, Interval, cost_plot, interval_plot
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table, render_report, write_report
from wholepage.evaluation.tables import Cell, Column, Marked, write_latex, write_table
from wholepage.pages import DecodingError, InputError, Modality, Page, Query, Ranking, RecordError, Result, ShapeError
from wholepage.pages.model import ImageRef

DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title></details><script>",
    "a & b &lt; c",
    "\x00\x1b\ud800",
    "مرحبا \u202eevil",
]


INTERVALS = [Interval("raw", 0.41, 0.39, 0.43), Interval("zscore", 0.5, 0.47, 0.53), Interval("SMAR", 0.6, 0.58, 0.63)]
POINTS = [CostPoint(s, n, 0.4 + n / 9000, 0.39, 0.9) for s in ("top", "random") for n in (100, 300, 1000, 3000)]


def sections(text: str = "words") -> list[Section]:
    card = ResultCard(1, Modality.IMAGE, text, DOT, 2.0, 3, True)
    long = ResultCard(2, Modality.ANSWER, text + " and more" * 30, None, 0.0, -1)
    bare = ResultCard(3, Modality.VIDEO, "", DOT, None, 0)
    column = RankedColumn(text, (card, long, bare), text)
    table = Table(("Ranker", Column(text, 2, "highest")), ((text, Marked(0.5, "†", 0.4, 0.6)), ("b", None)), text, text)
    return [
        *(Heading(f"{text} {i}") for i in range(3)),
        Prose(f"{text}\n\n{text}"),
        table,
        Figure(interval_plot([Interval(text, 0.4, 0.3, 0.5), *INTERVALS], measure=text, reference="raw"), text, text),
        Figure(cost_plot(POINTS, baselines={"raw": 0.41}), text, text),
        PageView(text, text, (column, column)),
    ]


# ------------------------------------------------------------------ the document


def test_a_report_is_one_file_that_loads_and_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, "Few labels", sections(), subtitle="fashion")
    tree = Tree(path.read_text(encoding="utf-8"))
    tags = tree.tags()
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "input", "foreignobject"} & set(tags)
    assert (tags["h1"], tags["main"], tags["svg"], tags["table"], tags["img"]) == (1, 1, 2, 1, 4)
    for tag, attributes in tree.elements:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "srcset", "action", "xlink:href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:image/png;base64,")), (tag, key, value)
        assert "url(http" not in str(attributes.get("style"))
    policy = next(a["content"] for t, a in tree.elements if t == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    style = path.read_text(encoding="utf-8").split("<style>")[1].split("</style>")[0]
    assert not re.search(r"@import|url\(|expression", style)
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style


@pytest.mark.parametrize("text", HOSTILE)
def test_what_comes_from_data_stays_text(text: str) -> None:
    tree, harmless = (Tree(render_report(t, sections(t), subtitle=t)) for t in (text, "words"))
    assert [(tag, sorted(a)) for tag, a in tree.elements] == [(tag, sorted(a)) for tag, a in harmless.elements]
    shown = re.sub("[\x00\x1b\ud800]", "\ufffd", text)
    assert "".join(tree.texts).count(shown) >= 17


@given(text=st.text(min_size=1, max_size=30).filter(lambda text: text.strip() != ""))
def test_any_text_makes_a_whole_document(text: str) -> None:
    Tree(render_report(text, [Heading(text), Prose(text), PageView(text, text, ())])).close()


def test_the_same_sections_give_the_same_bytes_and_ids_are_unique() -> None:
    once = render_report("t", sections())
    assert once == render_report("t", sections())
    ids = [a["id"] for _, a in Tree(once).elements if "id" in a]
    assert len(ids) == len(set(ids))
    known = {f"#{i}" for i in ids}
    used = set(re.findall(r"url\((#[^)]+)\)", once)) | set(re.findall(r'href="(#[^"]+)"', once))
    assert used
    assert used <= known


def test_contents_come_with_three_headings() -> None:
    assert "<nav" not in render_report("t", [Heading("a"), Heading("b")])
    document = render_report("t", [Heading("a"), Prose("x"), Heading("b"), Heading("c")])
    assert [a["href"] for t, a in Tree(document).elements if t == "a"] == ["#s0", "#s2", "#s3"]


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, "old", [])
    with pytest.raises(InputError, match="no SVG"):
        write_report(path, "new", [Figure("<svg", "", "")])
    assert "<title>old</title>" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(RecordError, match="folder"):
        write_report(tmp_path / "none" / "report.html", "t", [])


# ------------------------------------------------------------------ colours


def palettes() -> Iterator[tuple[str, dict[str, str]]]:
    css = resources.files("wholepage.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root\s*\{([^}]*)\}", css)
    assert len(blocks) == 3
    light = dict(re.findall(r"--([\w-]+):\s*([^;]+);", blocks[0]))
    yield "light", light
    for name, block in zip(("dark", "print"), blocks[1:], strict=True):
        yield name, light | dict(re.findall(r"--([\w-]+):\s*([^;]+);", block))


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("name", "colours"), list(palettes()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_everything_can_be_read(name: str, colours: dict[str, str]) -> None:
    """WCAG 2: 4.5 for text, 3 for lines of a plot."""
    for ink in ("ink", "soft", "accent", "up", "down", "plot-ink"):
        assert contrast(colours[ink], colours["paper"]) >= 4.5, (name, ink)
        assert contrast(colours[ink], colours["card"]) >= 4.5, (name, ink)
    for modality in Modality:
        assert contrast(colours[modality], colours[f"{modality}-tint"]) >= 4.5, (name, modality)
    for series in range(1, 7):
        assert contrast(colours[f"plot-{series}"], colours["paper"]) >= 3, (name, series)
    good = [int(part) for part in colours["good"].split()]
    card = [int(colours["card"].lstrip("#")[:6].ljust(6, "f")[i : i + 2], 16) for i in (0, 2, 4)]
    for strength in (0.12, 0.24, 0.38):
        mixed = "#" + "".join(
            f"{round(strength * g + (1 - strength) * c):02x}" for g, c in zip(good, card, strict=True)
        )
        assert contrast(colours["good-ink"], mixed) >= 4.5, (name, strength)
    assert contrast(colours["card"], "#" + "".join(f"{part:02x}" for part in good)) >= 4.5, name


# ------------------------------------------------------------------ result pages


def page() -> Page:
    results = [Result(f"t{i}", Modality.TEXT, f"text {i}") for i in range(4)]
    results += [Result(f"i{i}", Modality.IMAGE, images=(ImageRef(f"{i}.png"), ImageRef("other.png"))) for i in range(4)]
    return Page(Query("q", "red shoes"), tuple(results))


def test_a_view_tells_what_moved_and_asks_for_each_picture_once() -> None:
    ids = page().result_ids
    asked: list[str] = []

    def thumbnail(ref: ImageRef) -> str | None:
        asked.append(ref.uri)
        return DOT if ref.uri != "3.png" else None

    first, second = Ranking("q", ids, None, "raw"), Ranking("q", ids[::-1], None, "SMAR")
    view = view_page(
        page(),
        [first, second],
        title="a page",
        grades={"i3": 2.0, "t0": 0.0},
        bought={"i2"},
        notes=["0.1", "0.9"],
        thumbnail=thumbnail,
        depth=5,
    )
    assert (view.title, view.query, [c.name for c in view.columns]) == ("a page", "red shoes", ["raw", "SMAR"])
    raw, smar = view.columns
    assert [c.moved for c in raw.cards] == [None] * 5
    assert [c.moved for c in smar.cards] == [7, 5, 3, 1, -1]
    assert [c.rank for c in smar.cards] == [1, 2, 3, 4, 5]
    assert [c.grade for c in smar.cards] == [2.0, None, None, None, None]
    assert [c.bought for c in smar.cards] == [False, True, False, False, False]
    assert [c.image_data_uri for c in smar.cards] == [None, DOT, DOT, DOT, None]
    assert (raw.note, smar.note) == ("0.1", "0.9")
    assert sorted(asked) == ["0.png", "1.png", "2.png", "3.png"]


def test_a_view_is_of_whole_rankings() -> None:
    good = Ranking("q", page().result_ids)
    with pytest.raises(DecodingError, match="lost"):
        view_page(page(), [good, good.top(3)], title="")
    with pytest.raises(InputError, match="1 notes for 2"):
        view_page(page(), [good, good], title="", notes=["x"])


def test_cards_say_in_words_what_they_show_in_colour() -> None:
    cards = tuple(
        ResultCard(i + 1, m, "a", None, float(i), i - 1, i == 0)
        for i, m in enumerate((Modality.TEXT, Modality.IMAGE, Modality.VIDEO, Modality.ANSWER))
    )
    words = " ".join("".join(Tree(render_report("t", [PageView("v", "q", (RankedColumn("r", cards),))])).texts).split())
    for said in ("text", "image", "video", "answer", "grade 3", "down 1", "not moved", "up 2", "bought"):
        assert said in words
    chips = re.findall(r"grade (g\d)", render_report("t", [PageView("v", "q", (RankedColumn("r", cards),))]))
    assert chips[:4] == ["g0", "g1", "g3", "g4"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://x.org/a.png",
        "a.png",
        "data:text/html;base64,AAAA",
        "data:image/svg+xml;base64,AAAA",
        DOT + '" onload="x',
        "data:image/png;base64,",
        "javascript:alert(1)",
    ],
)
def test_a_card_takes_only_pictures_that_are_in_the_file(uri: str) -> None:
    with pytest.raises(InputError, match="data:image"):
        ResultCard(1, Modality.IMAGE, "", uri)


# ------------------------------------------------------------------ tables


ROWS: list[tuple[Cell, ...]] = [
    ("a_b|c", 1200, Marked(0.12345, "†", 0.1, 0.2), 3.0),
    ("<b>", 3, Marked(0.1231), 2.0),
    ("x", 10, Marked(-0.00001), float("nan")),
    ("50 %", None, None, 2.04),
]
COLUMNS: list[str | Column] = ["Name", "Labels", Column("nDCG@10", 3, "highest"), Column("ms & more", 1, "lowest")]


def test_markdown_is_aligned_escaped_and_bold_where_best() -> None:
    assert write_table(ROWS, COLUMNS).splitlines() == [
        r"| Name    | Labels |                     nDCG@10 | ms & more |",
        r"| ------- | -----: | --------------------------: | --------: |",
        r"| a\_b\|c |  1,200 | **0.123**† \[0.100, 0.200\] |       3.0 |",
        r"| \<b>    |      3 |                   **0.123** |   **2.0** |",
        "| x       |     10 |                       0.000 |         \u2013 |",
        "| 50 %    |      \u2013 |                           \u2013 |   **2.0** |",
    ]


def test_latex_has_the_rules_of_booktabs_and_no_bare_signs() -> None:
    assert write_latex(ROWS, COLUMNS, caption="50 % of #1", label="tab:x") == "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\caption{50 \% of \#1}",
            r"\label{tab:x}",
            r"\begin{tabular}{lrrr}",
            r"\toprule",
            r"Name & Labels & nDCG@10 & ms \& more \\",
            r"\midrule",
            r"a\_b\textbar{}c & 1,200 & \textbf{0.123}\textsuperscript{\dag{}} {\small[0.100, 0.200]} & 3.0 \\",
            r"\textless{}b\textgreater{} & 3 & \textbf{0.123} & \textbf{2.0} \\",
            r"x & 10 & 0.000 & -- \\",
            r"50 \% & -- & -- & \textbf{2.0} \\",
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
    assert write_latex([("\\~^{}",)], ["x"]).splitlines()[4] == (
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\{\} \\"
    )


def test_numbers_are_written_for_people() -> None:
    cells = [-0.5, -0.0004, float("inf"), float("-inf"), 12345.678, 7]
    lines = write_table([[cell] for cell in cells], ["x"]).splitlines()[2:]
    assert [line.strip("| ") for line in lines] == ["\u22120.500", "0.000", "∞", "\u2212∞", "12,345.678", "7"]


def test_a_table_without_best_or_rows_is_a_table() -> None:
    assert "**" not in write_table([["a", None]], ["x", Column("y", best="highest")])
    assert write_table([], ["x"]).splitlines() == ["| x   |", "| --- |"]


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"rows\[1\]: got 1 cells for 2"):
        write_table([("a", 1), ("b",)], ["x", "y"])
    with pytest.raises(InputError, match="no columns"):
        write_table([], [])
    with pytest.raises(InputError, match="without a caption"):
        write_latex([], ["x"], label="tab:x")
    with pytest.raises(InputError, match="both or neither"):
        Marked(0.5, low=0.4)


# ------------------------------------------------------------------ plots


def test_plots_are_the_same_bytes_and_hold_their_words_as_text() -> None:
    plots = [interval_plot(INTERVALS, measure="nDCG@10"), cost_plot(POINTS, baselines={"$raw$ <b>": 0.41})]
    assert plots == [interval_plot(INTERVALS, measure="nDCG@10"), cost_plot(POINTS, baselines={"$raw$ <b>": 0.41})]
    for plot, words in zip(plots, [("raw", "SMAR", "nDCG@10", "0.600"), ("top", "$raw$ <b>", "1,000")], strict=True):
        text = "".join(ElementTree.fromstring(plot).itertext())
        assert all(word in text for word in words)
        assert "var(--plot-1, #3f7fd6)" in plot
        assert "#000000" not in plot
        assert "date" not in plot
        assert "DejaVu" not in plot


def marks(plot: str, ink: str) -> list[tuple[float, float]]:
    """Where the markers of a colour stand, left to right."""
    uses = [e for e in ElementTree.fromstring(plot).iter() if e.tag.endswith("use") and ink in e.get("style", "")]
    return sorted((float(e.get("x", "")), float(e.get("y", ""))) for e in uses)


def test_an_interval_plot_puts_dots_where_the_numbers_are() -> None:
    (x0, y0), (x1, y1), (x2, y2) = marks(interval_plot(INTERVALS), "--plot-1")
    assert y0 < y1 < y2
    assert (x2 - x0) / (x1 - x0) == pytest.approx((0.6 - 0.41) / (0.5 - 0.41), rel=1e-4)
    assert len(marks(interval_plot(INTERVALS, reference="raw"), "--plot-1")) == 2


def test_a_cost_plot_is_logarithmic_in_labels() -> None:
    points = [CostPoint("s", n, v) for n, v in ((1000, 0.5), (10, 0.3), (100, 0.4))]
    *line, legend = marks(cost_plot(points), "--plot-1")
    xs, ys = zip(*line, strict=True)
    assert xs[2] - xs[1] == pytest.approx(xs[1] - xs[0], rel=1e-4)
    assert ys[0] > ys[1] > ys[2]
    assert legend[0] > xs[2]


def test_names_at_the_line_ends_do_not_touch() -> None:
    root = ElementTree.fromstring(cost_plot([CostPoint(f"s{i}", 10, 0.5 + i / 1e6) for i in range(14)]))
    names = [text for text in root.iter("{http://www.w3.org/2000/svg}text") if re.fullmatch(r"s\d+", text.text or "")]
    places = {text.text: float(text.get("y", "nan")) for text in names}
    assert sorted(places, key=places.__getitem__) == [f"s{i}" for i in reversed(range(14))]
    assert min(low - high for high, low in pairwise(sorted(places.values()))) > 10


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="one or more"):
        interval_plot([])
    with pytest.raises(InputError, match="reference='x'"):
        interval_plot(INTERVALS, reference="x")
    with pytest.raises(InputError, match="low <= value"):
        Interval("a", 0.5, 0.6, 0.7)
    with pytest.raises(InputError, match="finite"):
        Interval("a", float("nan"), 0.6, 0.7)
    with pytest.raises(InputError, match="no points"):
        cost_plot([])
    with pytest.raises(InputError, match="each cost once"):
        cost_plot([CostPoint("s", 10, 0.5), CostPoint("s", 10, 0.6)])
    with pytest.raises(InputError, match="labels=0"):
        CostPoint("s", 0, 0.5)
    with pytest.raises(InputError, match="half an interval"):
        CostPoint("s", 1, 0.5, low=0.4)
    with pytest.raises(InputError, match="baseline 'x'"):
        cost_plot(POINTS, baselines={"x": float("inf")})


# ------------------------------------------------------------------ svg


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        "<style>@import 'http://x';</style>",
        "<foreignObject><p>x</p></foreignObject>",
        '<a href="http://x"><text>x</text></a>',
        '<image href="http://x/a.png"/>',
        '<image xlink:href="data:image/svg+xml;base64,AAAA"/>',
        '<use href="http://x#y"/>',
        '<use href="data:image/png;base64,AAAA"/>',
        '<rect onload="alert(1)"/>',
        '<rect ONLOAD="alert(1)"/>',
        '<rect style="fill: url(http://x)"/>',
        "<rect style=\"fill: url('//x')\"/>",
        '<rect style="fill: u\\72l(http://x)"/>',
        '<rect fill="url(x.svg#a)"/>',
        '<set attributeName="href" to="javascript:alert(1)"/>',
        '<animate attributeName="href" values="javascript:alert(1)"/>',
        "<svg:script xmlns:svg='http://www.w3.org/2000/svg'>alert(1)</svg:script>",
    ],
)
def test_pictures_that_run_or_load_are_refused(inside: str) -> None:
    with pytest.raises(InputError, match="figure: "):
        clean_svg(SVG.format(inside), "f")


def test_a_picture_is_written_anew() -> None:
    inside = (
        '<metadata><x/></metadata><!-- hidden --><g xmlns:e="urn:e" e:label="x" id="a"><x:y xmlns:x="urn:x"/>'
        "<text>1 &lt; 2 <![CDATA[<script>alert(1)</script>]]></text></g>"
        '<use xlink:href="#a" clip-path="url(#c)" aria-label="nDCG@10"/>'
        f'<image href="{DOT}"/>'
    )
    clean = clean_svg("<?xml version='1.0'?><!DOCTYPE svg>" + SVG.format(inside), "f")
    assert clean == (
        '<svg xmlns="http://www.w3.org/2000/svg" stroke-linejoin="round"><g id="f-a">'
        "<text>1 &lt; 2 &lt;script&gt;alert(1)&lt;/script&gt;</text></g>"
        f'<use href="#f-a" clip-path="url(#f-c)" aria-label="nDCG@10"></use><image href="{DOT}"></image></svg>'
    )


@pytest.mark.parametrize("text", ["", "text", "<svg", "<p/>", "<svg><g></svg>", '<svg xmlns="urn:x"/>'])
def test_what_is_no_picture_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="figure: "):
        clean_svg(text, "f")
