"""The report of a comparison: one file that loads nothing, runs nothing, and speaks in words."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from wholepage.apps.comparison import Outcome, measure
from wholepage.apps.contenders import Settings, Trained
from wholepage.apps.outcome_report import ranker_label, write_outcome_report
from wholepage.collections.synthetic import Synthetic
from wholepage.evaluation.measures import evaluate
from wholepage.pages.errors import RecordError
from wholepage.pages.judgments import Judgments
from wholepage.pages.model import ImageRef, Modality, Page, Ranking

HOSTILE = '"><script>alert(1)</script><img src="http://x.org/a.png" onerror=alert(1)>&amp;'
LABELS = {
    "raw": "raw merge",
    "zscore": "z-score",
    "minmax": "min-max",
    "rrf": "reciprocal rank fusion",
    "round_robin": "round robin",
    "isotonic_10": "isotonic calibration, 10 % of labels",
    "lambdamart": "LambdaMART, same labels",
    "lambdamart_100": "LambdaMART, all labels",
    "align_only": "alignment only",
    "sft_10": "SFT, 10 % of labels",
    "smar_10": "SMAR, 10 % of labels",
    "smar_30": "SMAR, 30 % of labels",
    "sft_100": "SFT, 100 % of labels",
}


class Reader(HTMLParser):
    """The elements of a document, and its words by element."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append((self.elements[-1][0] if self.elements else "", data))

    def tags(self) -> Counter[str]:
        return Counter(tag for tag, _ in self.elements)

    def of(self, tag: str) -> list[str]:
        return [words for element, words in self.words if element == tag]


def hostile(page: Page) -> Page:
    change = msgspec.structs.replace
    query = change(page.query, text=HOSTILE)
    return Page(query, tuple(change(result, text=HOSTILE) for result in page.results))


def outcome(pages: Sequence[Page], judgments: Judgments) -> Outcome:
    """A comparison whose rankings are drawn by chance; nothing is trained."""
    draw = np.random.default_rng(5)
    rankings = {
        name: [
            Ranking(p.query_id, tuple(p.result_ids[int(i)] for i in draw.permutation(len(p))), by=name) for p in pages
        ]
        for name in LABELS
    }
    counts = {"10": 56, "30": 170, "100": 1234, "lambdamart": 56}
    labels = {name: counts.get(name.rpartition("_")[2], 0) for name in LABELS}
    settings = Settings()
    rows = measure(rankings, pages, judgments, labels, settings)
    return Outcome(rows, rankings, list(pages), judgments, Trained({}, labels, 1234, 4321), settings)


@pytest.fixture(scope="module")
def made() -> tuple[list[Page], Judgments]:
    world = Synthetic(
        queries=12, dev_share=0.5, results_per_modality=(3, 4), modalities=(Modality.TEXT, Modality.IMAGE)
    )
    return list(world.pages("dev")), world.judgments("dev")


@pytest.fixture(scope="module")
def shown(made: tuple[list[Page], Judgments]) -> Outcome:
    return outcome(*made)


def written(what: Outcome, folder: Path) -> tuple[str, Reader]:
    path = folder / "report.html"
    write_outcome_report(what, path)
    assert [p.name for p in folder.iterdir()] == ["report.html"]  # one file
    text = path.read_text(encoding="utf-8")
    return text, Reader(text)


def check_alone(reader: Reader) -> None:
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(reader.tags())
    for tag, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "srcset", "xlink:href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/")), (tag, name, value)


def test_one_file_that_needs_nothing_and_runs_nothing(shown: Outcome, tmp_path: Path) -> None:
    _, reader = written(shown, tmp_path)
    check_alone(reader)
    assert (reader.tags()["table"], reader.tags()["svg"]) == (1, 2)


def test_every_ranker_is_called_by_its_words(shown: Outcome, tmp_path: Path) -> None:
    text, reader = written(shown, tmp_path)
    assert {name: ranker_label(name) for name in LABELS} == LABELS
    table = text[text.index("<table") : text.index("</table>")]
    for name, label in LABELS.items():
        assert label in table
        if "_" in name or name == "zscore":
            assert not re.search(rf"\b{name}\b", " ".join(words for _, words in reader.words)), name
    for row in shown.rows:
        assert f"{row.ndcg:.3f}" in table
    assert "with 56 of 1,234 page labels" in text
    assert "4,321 labels" in text


def test_page_views_name_their_columns_in_words(shown: Outcome, tmp_path: Path) -> None:
    _, reader = written(shown, tmp_path)
    assert reader.of("h4") == ["z-score", "SMAR, 10 % of labels"] * 3


def test_page_views_show_the_best_gains_and_the_worst_loss(
    shown: Outcome, made: tuple[list[Page], Judgments], tmp_path: Path
) -> None:
    pages, said = made
    _, reader = written(shown, tmp_path)
    old, new = (evaluate(shown.rankings[name], said, ["nDCG@10"]).of("nDCG@10") for name in ("zscore", "smar_10"))
    ordered = sorted(pages, key=lambda page: old[page.query_id] - new[page.query_id])
    assert reader.of("h3") == [page.query.text for page in (*ordered[:2], ordered[-1])]


def test_page_views_show_small_pictures(shown: Outcome, tmp_path: Path) -> None:
    _, reader = written(shown, tmp_path)
    sources = [attributes["src"] for tag, attributes in reader.elements if tag == "img"]
    assert len(sources) >= 3 * 2 * 3
    for source in sources:
        assert source is not None
        head, _, data = source.partition(",")
        assert head == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            assert picture.format == "WEBP"
            assert 1 < max(picture.size) <= 120


def test_words_of_strangers_stay_words(made: tuple[list[Page], Judgments], tmp_path: Path) -> None:
    pages, said = made
    text, reader = written(outcome([hostile(page) for page in pages], said), tmp_path)
    check_alone(reader)
    assert "<script" not in text
    assert "".join(words for _, words in reader.words).count(HOSTILE) >= 3 * 2
    assert {attributes.get("alt") for tag, attributes in reader.elements if tag == "img"} == {HOSTILE}


@pytest.mark.parametrize("count", [2, 3])
def test_few_pages_are_all_shown(made: tuple[list[Page], Judgments], tmp_path: Path, count: int) -> None:
    pages, said = made
    text, reader = written(outcome(pages[:count], said), tmp_path)
    assert sorted(reader.of("h3")) == sorted(page.query.text for page in pages[:count])
    assert "All pages measured." in text
    assert f"{count} pages measured" in text


def test_many_pages_say_which_are_shown(shown: Outcome, tmp_path: Path) -> None:
    text, _ = written(shown, tmp_path)
    assert "The 2 pages on which SMAR, 10 % of labels gained most over z-score" in text
    assert "All pages measured" not in text


def test_two_writings_are_the_same_bytes(shown: Outcome, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_outcome_report(shown, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_missing_folder_is_an_error(shown: Outcome, tmp_path: Path) -> None:
    with pytest.raises(RecordError):
        write_outcome_report(shown, tmp_path / "nowhere" / "report.html")


def test_a_missing_picture_says_so_in_its_place(made: tuple[list[Page], Judgments], tmp_path: Path) -> None:
    pages, said = made
    gone = ImageRef(str(tmp_path / "gone.png"))
    lost = [
        Page(
            page.query,
            tuple(msgspec.structs.replace(one, images=(gone,)) if one.images else one for one in page.results),
        )
        for page in pages[:2]
    ]
    folder = tmp_path / "report"
    folder.mkdir()
    text, reader = written(outcome(lost, said), folder)
    assert "its file is missing" in text
    assert "On these pages 1 picture could not be opened" in text
    assert not reader.tags()["img"]
