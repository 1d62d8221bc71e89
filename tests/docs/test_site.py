"""The site: it builds without a warning, leads everywhere, fetches nothing, and its reference is the source's."""

from __future__ import annotations

import ast
import html
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

import wholepage
from wholepage.apps import exits
from wholepage.apps.cli import app
from wholepage.evaluation.measures import parse_measure
from wholepage.evaluation.page.registry import page_measures

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "wholepage"
Program = Callable[[str], ModuleType]
LIGHT = ("pages", "evaluation", "annotation")
"""Rooms that import no large library."""


def text_of(page: Path) -> str:
    """What a reader sees of a built page."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def modules_below(room: str) -> list[str]:
    """Public modules of a room, by looking at its files."""
    places = sorted((SOURCE / room).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in places]
    return [name for name in names if not any(part.startswith("_") for part in name.split("."))]


def walked(command: Any, line: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below one, with its words."""
    yield line, command
    for name, one in getattr(command, "commands", {}).items():
        yield from walked(one, (*line, name))


@pytest.mark.slow
def test_it_builds_and_no_page_is_only_in_the_repository(site: Path) -> None:
    assert not (ROOT / "docs" / "reference").exists(), "the reference is made in memory"
    assert not list(site.rglob("*.py"))
    written = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert written <= built
    home = (site / "index.html").read_text(encoding="utf-8")
    for place in (
        "tutorial",
        "reference/commands/index",
        "reference/api/index",
        "reference/measures",
        "decisions/index",
        "log",
    ):
        assert f'href="{place}.html"' in home


@pytest.mark.slow
def test_it_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 100
    for page in pages:
        assert fetched.findall(page.read_text(encoding="utf-8")) == [], page


@pytest.mark.slow
def test_every_public_name_of_the_package_has_its_place(site: Path) -> None:
    page = (site / "reference" / "api" / "wholepage.html").read_text(encoding="utf-8")
    for name in wholepage.__all__:
        assert f'id="{name}"' in page or name == "__version__", name
    assert "__version__" in html.unescape(re.sub(r"<[^>]+>", "", page))
    room = (site / "reference" / "api" / "pages" / "index.html").read_text(encoding="utf-8")
    for name in importlib.import_module("wholepage.pages").__all__:
        assert re.search(rf'href="\w+\.html#{name}"', room), name


@pytest.mark.slow
@pytest.mark.parametrize("room", LIGHT)
def test_signatures_are_those_that_python_sees(site: Path, room: str) -> None:
    """The reference reads the source; here the modules are imported and asked."""
    checked = 0
    for name in modules_below(room):
        module = importlib.import_module(name)
        own = [
            (word, one)
            for word, one in vars(module).items()
            if inspect.isfunction(one) and one.__module__ == name and not word.startswith("_")
        ]
        if not own:
            continue
        page = text_of(site / "reference" / "api" / room / f"{name.split('.', 2)[2]}.html")
        for word, one in own:
            told = re.search(rf"^(?:async )?def {word}\(.*?\)(?: -> [^\n]*)?$", page, re.MULTILINE | re.DOTALL)
            assert told is not None, f"{name}.{word} is not written about"
            for parameter in inspect.signature(one).parameters:
                assert re.search(rf"\b{parameter}\b", told[0]), f"{name}.{word}: {parameter}"
            checked += 1
    assert checked >= 20


@pytest.mark.slow
def test_every_command_and_option_is_written_about(site: Path) -> None:
    root = typer.main.get_command(app)
    front = text_of(site / "reference" / "commands" / "index.html")
    for code, meaning in exits.MEANINGS.items():
        assert str(code) in front
        assert meaning in front
    checked = 0
    for line, command in walked(root):
        if not line:
            continue
        page = (site / "reference" / "commands" / f"{line[0]}.html").read_text(encoding="utf-8")
        if len(line) > 1:
            part = page.partition(f'id="{"-".join(line)}"')[2]
            assert part, line
            page = re.split(r"<h[23] id=", part, maxsplit=1)[0]
        seen = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
        for one in command.params:
            if not one.hidden:
                for name in one.opts:
                    assert (name if name.startswith("-") else one.metavar or one.name.upper()) in seen, (line, name)
                assert " ".join(one.help.split()).split("[")[0].split("`")[0].strip() in seen, (line, one.name)
                checked += 1
    assert checked >= 100


@pytest.mark.slow
def test_every_measure_is_written_about(site: Path, program: Program) -> None:
    page = text_of(site / "reference" / "measures.html")
    for name, meaning in page_measures().items():
        assert name in page, name
        assert meaning in page, name
    listed = program("reference_measures").computed_by_ir_measures()
    assert {"nDCG", "AP", "RR", "P", "R", "Success", "ERR", "Judged", "Rprec", "Bpref"} <= set(listed)
    for example in listed.values():
        assert example in page
        assert str(parse_measure(example))


@pytest.mark.slow
def test_modules_that_the_texts_import_are_in_the_reference(site: Path) -> None:
    shown = re.compile(r"^```(?:python|py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    named = set()
    for path in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        for block in shown.findall(path.read_text(encoding="utf-8")):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wholepage."):
                    named.add(node.module)
    assert len(named) >= 10
    for name in sorted(named):
        _, room, *rest = name.split(".", 2)
        path = site / "reference" / "api" / room / f"{rest[0] if rest else 'index'}.html"
        assert path.is_file(), f"{name} is shown in a text and missing in the reference"


def strict(folder: Path, page: str, nav: list[Any]) -> None:
    """Build one page with the settings of the site, but for what is built."""
    (folder / "docs").mkdir()
    (folder / "docs" / "index.md").write_text(page, encoding="utf-8")
    (folder / "docs" / "other.md").write_text("# Other\n", encoding="utf-8")
    config = load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(folder / "docs"), site_dir=str(folder / "site"), nav=nav, hooks=[], strict=True,
    )  # fmt: skip
    build(config)


BOTH = [{"Home": "index.md"}, {"Other": "other.md"}]


def test_a_good_page_builds(tmp_path: Path) -> None:
    strict(tmp_path, "# Home\n\n[there](other.md#other)\n", BOTH)
    assert (tmp_path / "site" / "other.html").is_file()


@pytest.mark.parametrize(
    ("page", "nav"),
    [
        ("# Home\n\n[nowhere](nothing.md)\n", BOTH),
        ("# Home\n\n[nowhere](other.md#nothing)\n", BOTH),
        ("# Home\n", [{"Home": "index.md"}]),
        ("# Home\n", [*BOTH, {"Gone": "gone.md"}]),
    ],
    ids=["no such page", "no such heading", "a page that nothing leads to", "navigation to nothing"],
)
def test_a_lie_stops_the_build(tmp_path: Path, page: str, nav: list[Any]) -> None:
    with pytest.raises(Abort):
        strict(tmp_path, page, nav)
