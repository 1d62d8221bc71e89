"""How the reference is written: what docstrings and signatures become."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import markdown
import pytest

Program = Callable[[str], ModuleType]

SOURCE = '''
"""A module."""
from wholepage.pages.model import Page

LIMIT = 3
"""What is allowed."""
_HIDDEN = 1
"""Not told."""
PLAIN = 2

def found(page: Page, *rest: int, deep: bool = False, **more: str) -> list[Page]:
    """Finds."""

def _own() -> None:
    """Not told."""

def untold() -> None:
    pass

class Box(Base, frozen=True, forbid_unknown_fields=True):
    """Holds."""
    size: int = 0
    _secret: int = 1

    @property
    def large(self) -> bool:
        """Whether it is."""

    @classmethod
    def of(cls, page: Page) -> "Box":
        """Makes one."""

    def _own(self) -> None: ...
'''


def test_only_public_documented_names_are_told(program: Program) -> None:
    module = program("reference_modules").read_module("wholepage.pages.thing", SOURCE)
    assert [(one.name, one.kind) for one in module.entries] == [
        ("LIMIT", "constant"),
        ("found", "function"),
        ("Box", "class"),
    ]
    box = module.entry("Box")
    assert box.code == "class Box(Base, frozen=True):\n    size: int = 0"
    assert [(one.name, one.kind) for one in box.members] == [("large", "property"), ("of", "method")]
    assert box.members[1].code.startswith("@classmethod\n")
    assert module.entry("found").types == ("Page", "int", "bool", "str", "list")
    assert module.imported == {"Page": "wholepage.pages.model"}


@pytest.mark.parametrize(
    "written",
    [
        "def f(a, /, b: int, *, c: str = 'x', **d: float) -> None",
        "async def f(a: int = 1, *b: int, c=2) -> dict[str, int]",
        "def f(self, first_argument_with_a_long_name: dict[str, list[int]], second: int, /, third: str = 'abcdefgh', "
        "*, fourth: tuple[int, ...] = (1, 2), **rest: object) -> list[tuple[str, int]]",
    ],
)
def test_a_signature_reads_back_as_the_same(program: Program, written: str) -> None:
    (entry,) = program("reference_modules").read_module("m", f'{written}:\n    "Does."').entries
    names: dict[str, object] = {}
    exec(f"{written}: ...\nfirst = f\n{entry.code}: ...", names)
    assert inspect.signature(names["first"]) == inspect.signature(names["f"])
    assert all(len(line) <= 80 for line in entry.code.splitlines())


def test_sections_become_lists(program: Program) -> None:
    told = program("reference_docstrings").as_markdown(
        inspect.cleandoc("""
        What it means, in ``code``.

        Args:
            one: the first,
                told on.
            two, three: the others.  four: as well.
        Shapes:
            scores: [B, L] float
        Returns:
            Scalar: the mean.
        Raises:
            InputError: it is wrong.
        Source: arXiv 0000.00000.
        """)
    )
    assert told == (
        "What it means, in ``code``.\n\n"
        "**Args:**\n\n- `one`: the first, told on.\n- `two`, `three`: the others.\n- `four`: as well.\n\n"
        "**Shapes:**\n\n- `scores`: \\[B, L] float\n\n"
        "**Returns:** Scalar: the mean.\n\n"
        "**Raises:**\n\n- `InputError`: it is wrong.\n\n"
        "**Source:** arXiv 0000.00000."
    )


def test_examples_stay_as_they_are(program: Program) -> None:
    told = program("reference_docstrings").as_markdown("Write::\n\n    a <b>\n\n    c\n\nand go on:\n- one\n- two")
    assert told == "Write:\n\n```text\na <b>\n\nc\n```\n\nand go on:\n\n- one\n- two"


def test_python_is_known_where_it_stands_among_paragraphs(program: Program) -> None:
    told = program("reference_docstrings").as_markdown(
        "An adapter.\n\nfrom a import b\n\nfound = b(\n    1\n)\n\nL = x * y\n    + z\n\nPlain words. And so on (f)."
    )
    code = "```python\nfrom a import b\n\nfound = b(\n    1\n)\n\nL = x * y\n    + z\n```"
    assert told == f"An adapter.\n\n{code}\n\nPlain words. And so on (f)."


@pytest.mark.parametrize(
    "words",
    [
        "<script>alert(1)</script>",
        "a <split> & b",
        "[B, L](x)",
        "_own_, __init__ and 2*x*3",
        "`<kept>` and ``a|b`` and <img src=x>",
    ],
)
def test_words_of_a_docstring_are_text(program: Program, words: str) -> None:
    shown = markdown.markdown(program("reference_docstrings").as_markdown(words))
    plain = words.replace("``", "").replace("`", "")
    assert html.unescape(re.sub(r"</?(?:p|code)>", "", shown)) == plain
    assert "<script" not in shown
    assert "<img" not in shown


def test_a_bar_does_not_end_a_cell(program: Program) -> None:
    docstrings = program("reference_docstrings")
    table = f"| a | b |\n|---|---|\n| {docstrings.code_in_a_cell('x|<y>')} | {docstrings.first_line('one | two')} |"
    shown = markdown.markdown(table, extensions=["tables"])
    assert shown.count("<td>") == 2
    assert "<code>x&#124;&lt;y&gt;</code>" in shown


def test_names_are_found_through_faces(program: Program) -> None:
    modules, api = program("reference_modules"), program("reference_api")
    read = {
        name: modules.read_module(name, text, is_package=face)
        for name, text, face in (
            ("wholepage.pages", "from wholepage.pages.model import Page\n__all__ = ['Page']", True),
            ("wholepage.pages.model", 'class Page:\n    "A page."', False),
            ("wholepage.training.x", 'from wholepage.pages import Page\ndef f(p: Page) -> Page:\n    "Does."', False),
        )
    }
    homes = api._homes(read, api.shown_modules(read))
    assert homes["wholepage.training.x", "Page"] == ("reference/api/pages/model.md", "Page")
    page = api._module(read["wholepage.training.x"], homes)
    assert "Types: [`Page`](../pages/model.md#Page)" in page


def test_decisions_are_listed_with_their_questions(program: Program, tmp_path: Path) -> None:
    decisions = program("reference_decisions")
    (tmp_path / "0001-a.md").write_text("# 0001: Two is a | pair\n\n## Question\n\nHow\nmany?\n\n## Decision\n\nTwo.\n")
    page = decisions.decision_pages(tmp_path)["decisions/index.md"]
    assert page.splitlines()[-1] == "| [0001](0001-a.md) | **Two is a &#124; pair**<br>How many? |"
    (tmp_path / "0002-b.md").write_text("# 0002: No question\n")
    with pytest.raises(ValueError, match="0002-b"):
        decisions.decision_pages(tmp_path)


def test_guides_are_grouped_as_their_front_page_does(program: Program, tmp_path: Path) -> None:
    nav = program("reference_nav")
    front = (
        "# Guides\n\nWords.\n\n## One\n\n- [A](a.md): says.\n- not a link\n\n## Empty\n\n## Two\n\n- [B](b.md): says.\n"
    )
    assert nav.guides_nav(front) == [
        "guides/index.md",
        {"One": [{"A": "guides/a.md"}]},
        {"Two": [{"B": "guides/b.md"}]},
    ]
    for wrong in ("# Guides\n", "- [A](a.md): in no group\n"):
        with pytest.raises(ValueError, match="allowed"):
            nav.guides_nav(wrong)
    (tmp_path / "0001-a.md").write_text("# 0001: Two: a pair\n")
    assert nav.decisions_nav(tmp_path) == ["decisions/index.md", {"0001 Two: a pair": "decisions/0001-a.md"}]
    (tmp_path / "0002-b.md").write_text("No title\n")
    with pytest.raises(ValueError, match="0002-b"):
        nav.decisions_nav(tmp_path)


def test_only_empty_branches_of_the_navigation_are_filled(program: Program) -> None:
    filled = program("hook")._filled(
        [{"Start": ["index.md"]}, {"Guides": []}, {"Deep": [{"Guides": []}]}, "a.md"], {"Guides": ["x.md"]}
    )
    assert filled == [{"Start": ["index.md"]}, {"Guides": ["x.md"]}, {"Deep": [{"Guides": ["x.md"]}]}, "a.md"]
