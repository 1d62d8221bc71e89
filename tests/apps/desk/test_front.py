"""The face of the desk: every template with every kind of view, well formed, labelled, and deaf to what data says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from wholepage.apps.desk import board_views as b
from wholepage.apps.desk import views as v
from wholepage.apps.desk.grade_words import grade_words
from wholepage.apps.desk.guideline import blocks
from wholepage.apps.desk.rendering import Templates

from .shown import MANAGER, PAYLOADS, PERSON, QUALITY, SHOWN, board, card, work

# The fields that data, annotators or managers can write into; the rest are words of the program.
WRITTEN = {
    "text",
    "name",
    "alt",
    "problem",
    "words",
    "query",
    "about",
    "said",
    "note",
    "why",
    "title",
    "message",
    "person",
    "who",
    "search",
    "guideline_text",
    "value",
    "confirm",
    "link",
    "query_id",
    "campaign_id",
    "word",
}
# Of these, what only the program writes: classes of CSS, values of buttons, addresses.
FIXED = {"ReasonView": {"value"}, "ChoiceView": {"value"}, "ModalityRow": {"name"}, "AgreementRow": {"name"}}


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates()


def shown(templates: Templates, name: str, **of_shell: str) -> str:
    template, person, view = SHOWN[name]
    return templates.page(template, v.Shell("A title", "csrf-token", person, **of_shell), view)


VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
OPTIONAL = {"path", "rect", "circle", "line"}  # of SVG, written as <path/>


class Read(HTMLParser):
    """A strict reader: tags that close in order, ids once, and a note of everything found."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.labelled: set[int] = set()  # places in `found` of fields inside a <label>
        self.wrong: list[str] = []
        self.feed(html)
        self.close()
        self.wrong += [f"<{tag}> is never closed" for tag, _ in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.wrong.append(f"<{tag}> has an attribute twice: {names}")
        if any(outer == "label" for outer, _ in self.open):
            self.labelled.add(len(self.found))
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in OPTIONAL:
            self.wrong.append(f"<{tag}/> closes itself")
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1][0] != tag:
            self.wrong.append(f"</{tag}> closes {self.open[-1][0] if self.open else 'nothing'}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def tags(self, *names: str) -> Iterator[tuple[int, dict[str, str | None]]]:
        return ((place, attrs) for place, (tag, attrs) in enumerate(self.found) if tag in names)


@pytest.mark.parametrize("name", SHOWN)
def test_page_is_well_formed(templates: Templates, name: str) -> None:
    page = Read(shown(templates, name, notice="Saved.", warning="Not so."))
    assert page.wrong == []
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.found:
        for key in ("aria-labelledby", "aria-describedby"):
            assert set((attrs.get(key) or "").split()) <= set(ids), attrs
    headings = [tag for tag, _ in page.found if tag == "h1"]
    assert len(headings) == 1


def test_reader_of_these_tests_sees_mistakes() -> None:
    assert Read("<p><b>x</p></b>").wrong
    assert Read("<div>").wrong
    assert Read('<p id="a" id="b">x</p>').wrong
    assert Read("<div/>").wrong
    assert not Read("<p>a<br>b &amp; c</p>").wrong


@pytest.mark.parametrize("name", SHOWN)
def test_nothing_runs_or_loads_but_our_own_files(templates: Templates, name: str) -> None:
    page = Read(shown(templates, name))
    for tag, attrs in page.found:
        assert not [key for key in attrs if key.startswith("on") or key in ("style", "srcdoc", "formaction")], attrs
        for key in ("src", "href", "action", "data", "poster"):
            assert key not in attrs or re.match(r"(/(?!/)|#)", attrs[key] or ""), (tag, attrs)
        assert tag not in ("style", "iframe", "object", "embed", "base")
    scripts = [attrs for _, attrs in page.tags("script")]
    assert scripts == [{"src": templates.asset("desk.js"), "defer": None}]
    assert "".join(page.texts).count("window") == 0


@pytest.mark.parametrize("name", SHOWN)
def test_every_field_and_picture_has_a_name(templates: Templates, name: str) -> None:
    page = Read(shown(templates, name))
    for place, attrs in page.tags("input", "select", "textarea"):
        if attrs.get("type") != "hidden":
            assert place in page.labelled or attrs.get("aria-label"), attrs
    for _, attrs in page.tags("img"):
        assert attrs.get("alt")
        assert {"width", "height"} <= attrs.keys()  # a box before the picture is there
    for _, attrs in page.tags("svg"):
        assert attrs.get("aria-hidden") == "true" or (attrs.get("role") == "img" and attrs.get("aria-label"))


@pytest.mark.parametrize("name", SHOWN)
def test_every_form_carries_the_token(templates: Templates, name: str) -> None:
    forms = re.findall(r"<form[^>]*>.*?</form>", shown(templates, name), re.DOTALL)
    posts = [form for form in forms if 'method="post"' in form]
    assert all('name="csrf" value="csrf-token"' in form for form in posts)
    assert all("<button" in form for form in forms)  # works without scripts
    assert not [form for form in forms if 'method="post"' not in form and "csrf" in form]


@pytest.mark.parametrize("name", ["grade", "preference", "pages"])
def test_every_form_of_a_card_carries_the_ticket(templates: Templates, name: str) -> None:
    forms = re.findall(r"<form[^>]*data-send[^>]*>.*?</form>", shown(templates, name), re.DOTALL)
    actions = [re.search(r'action="[^"]*/(\w+)"', form)[1] for form in forms]  # type: ignore[index]
    assert sorted(actions) == ["answer", "escalate", "later", "skip", "undo"]
    for action, form in zip(actions, forms, strict=True):
        assert ('name="seq" value="17"' if action == "undo" else 'name="ticket" value="signed.ticket"') in form
        assert (action == "undo") or 'name="active_ms"' in form


def test_asked_result_is_marked_and_its_picture_comes_first(templates: Templates) -> None:
    page = Read(shown(templates, "grade"))
    asked = [attrs for _, attrs in page.tags("li") if attrs.get("aria-current") == "true"]
    assert [attrs["id"] for attrs in asked] == ["r5"]
    eager = [attrs["src"] for _, attrs in page.tags("img") if "loading" not in attrs]
    assert eager == ["/pictures/vases/0/5/0"]


def test_places_that_are_the_same_in_both_orders_are_quiet(templates: Templates) -> None:
    page = Read(shown(templates, "pages"))
    quiet = [attrs["id"] for _, attrs in page.tags("li") if "equal" in (attrs.get("class") or "").split()]
    assert quiet == ["A1", "A6", "B1", "B6"]


def test_keys_of_a_card_are_told_apart(templates: Templates) -> None:
    for name in ("grade", "preference", "pages"):
        html = shown(templates, name)
        outside = re.sub(r'<form[^>]*action="[^"]*/skip".*?</form>', "", html, flags=re.DOTALL)
        keys = " ".join(re.findall(r'data-keys="([^"]*)"', outside)).split()
        assert len(keys) == len(set(keys))
        assert {"u", "l", "x", "e", "g", "?"} <= set(keys)


@pytest.mark.parametrize("of", [(0.0, "0 to 0"), (1.7, "clipped")], ids=["at the edge", "outside"])
def test_charts_stay_in_their_boxes(templates: Templates, of: tuple[float, str]) -> None:
    saving = b.SavingRow(2000, 1000, -1.0, 10, of[0], 3, 3, of[0])
    view = board(
        share=of[0], saving=saving, annotators=(msgspec.structs.replace(QUALITY[0], gold_low=-0.1, gold_high=1.2),)
    )
    html = templates.page("board.html", v.Shell("Board", "t", MANAGER), view)
    for shape in re.findall(r"<(?:rect|line|circle)[^>]*>", html):
        numbers = {k: float(n) for k, n in re.findall(r' (x|x1|x2|cx|width)="([^"]*)"', shape)}
        assert all(0 <= n <= 120 for n in numbers.values()), shape
        assert "width" not in numbers or numbers.get("x", 0) + numbers["width"] <= 100.01, shape


def test_saving_is_told_only_of_a_campaign_that_is_done(templates: Templates) -> None:
    saving = b.SavingRow(300, 1000, 0.7, 650, 0.031, 60, 3, 0.138)
    begun, done = (
        "".join(
            Read(templates.page("board.html", v.Shell("Board", "t", MANAGER), board(share=share, saving=saving))).texts
        )
        for share in (0.9, 1.0)
    )
    assert "70 % fewer questions" in done
    assert "70 %" not in begun
    assert "65 % of the results labelled without a question" in begun
    for text in (begun, done):  # never without the errors beside it
        assert "3.1 %" in text
        assert "3 of 60 wrong; with 95 % confidence at most 13.8 %" in text


def poisoned(value: Any, payload: str, kind: str = "") -> Any:
    """The same view with a payload in front of every text that somebody else writes."""
    if isinstance(value, msgspec.Struct):
        name = type(value).__name__
        changes = {}
        for field in msgspec.structs.fields(value):
            now = getattr(value, field.name)
            if isinstance(now, str):
                if (
                    now
                    and field.name in WRITTEN - FIXED.get(name, set())
                    and not (name == "ChoiceView" or name == "ReasonView")
                ):
                    changes[field.name] = payload + now
            else:
                changes[field.name] = poisoned(now, payload)
        return msgspec.structs.replace(value, **changes)
    return tuple(poisoned(one, payload) for one in value) if isinstance(value, tuple) else value


def shape(page: Read) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(attrs)) for tag, attrs in page.found]


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_what_data_says_stays_text(templates: Templates, payload: str) -> None:
    told = 0
    for name, (template, person, view) in SHOWN.items():
        # Long texts get another element than short ones, so the pages compared have texts of the same length.
        plain, bad = (poisoned(view, text) for text in ("." * len(payload), payload))
        words = {"notice": payload, "warning": payload}
        pages = [
            Read(
                templates.page(
                    template, v.Shell(text, text, person and msgspec.structs.replace(person, name=text), **words), one
                )
            )
            for text, one in (("." * len(payload), plain), (payload, bad))
        ]
        assert pages[1].wrong == [], name
        assert shape(pages[0]) == shape(pages[1]), name
        said = [*pages[1].texts, *(value or "" for _, attrs in pages[1].found for value in attrs.values())]
        told += sum(payload in text for text in said)
        for _, attrs in pages[1].found:
            for key in ("class", "role", "type", "method", "src", "action"):
                assert payload not in (attrs.get(key) or ""), (name, attrs)
            assert not (attrs.get("href") or "").startswith(payload), (name, attrs)
    assert told > 300


def test_very_long_texts_are_kept_whole(templates: Templates) -> None:
    long = "x" * 50_000
    results = tuple(msgspec.structs.replace(one, text=long) for one in card().results)
    page = Read(templates.page("grade.html", v.Shell("t", "c", PERSON), work(card(results=results))))
    assert page.wrong == []
    assert "".join(page.texts).count(long) == len(results)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 0: bad\n- 1: so so\n- 2: good", {0: "bad", 1: "so so", 2: "good"}),
        ("- **2** good\n- *1*  so\n- 0 = bad", {0: "bad", 1: "so", 2: "good"}),
        ("2 \u2013 good\n1 \u2014 so so", {1: "so so", 2: "good"}),
        ("- 2: good\n- 2: better\n- 1: x", {1: "x", 2: "good"}),
        ("- 3: beyond the grades\n- 1: one", {}),  # one line alone may be chance
        ("Grades are 0 to 2.\n\n1. look\n2. grade", {}),  # a numbered list is a list of steps
        ("- 2cm is short\n- 1a is not a grade", {}),
        (f"- 0: bad\n- 1: {'long ' * 60}", {0: "bad", 1: ("long " * 60)[:119].rstrip() + "…"}),
    ],
)
def test_grade_words(text: str, words: dict[int, str]) -> None:
    assert grade_words(blocks(text), 3) == words


def test_script_writes_no_html_and_asks_nobody_else() -> None:
    script = Templates().static["desk.js"].body.decode()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "http:",
        "https:",
        "//cdn",
    ):
        assert word not in script
    style = Templates().static["desk.css"].body.decode()
    assert "url(" not in style
    assert "@import" not in style


def test_style_names_every_colour_in_dark_too() -> None:
    style = Templates().static["desk.css"].body.decode()
    light, dark = re.findall(r":root \{(.*?)\n *\}", style, re.DOTALL)[:2]
    names = [set(re.findall(r"(--[\w-]+):", part)) for part in (light, dark)]
    assert names[0] - names[1] == {"--sans", "--serif", "--mono", "--radius", "--lift"}
    used = set(re.findall(r"var\((--[\w-]+)\)", style))
    assert used <= names[0]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_its_ground(scheme: int) -> None:
    """Contrast of at least 4.5 to 1 (WCAG AA) for everything that is read."""
    style = Templates().static["desk.css"].body.decode()
    colours = dict(
        re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\n *\}", style, re.DOTALL)[scheme])
    )
    pairs = [(ink, ground) for ink in ("--ink", "--soft") for ground in ("--paper", "--card", "--well")]
    pairs += [
        ("--accent", "--card"),
        ("--accent", "--accent-tint"),
        ("--accent-ink", "--accent"),
        ("--bad", "--bad-tint"),
        ("--late", "--late-tint"),
        ("--late", "--card"),
        ("--good-ink", "--good-tint"),
        ("--bad", "--card"),
        *((f"--{m}", f"--{m}-tint") for m in ("text", "image", "video", "answer")),
    ]
    weak = {pair: contrast(*(colours[name] for name in pair)) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
