"""What mkdocs runs while it builds the site: it writes the reference and the list of decisions, in memory, and fills
the branches of the navigation that are empty in ``mkdocs.yml``.

    make docs

Nothing of it is kept in the repository, so it cannot disagree with the source it was built from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from reference_api import api_nav, api_pages
from reference_commands import command_nav, command_pages
from reference_decisions import decision_pages
from reference_front import FRONT, front_page
from reference_measures import PATH, measure_pages
from reference_modules import read_modules
from reference_nav import decisions_nav, guides_nav

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def reference_pages() -> dict[str, str]:
    """Every page of the reference, and the list of decisions, by their paths below ``docs``."""
    modules = read_modules(ROOT / "src")
    parts = (front_page(), api_pages(modules), command_pages(), measure_pages(), decision_pages(DOCS / "decisions"))
    return {path: text for part in parts for path, text in part.items()}


def filled_nav() -> dict[str, list[object]]:
    """What stands below each entry that ``mkdocs.yml`` leaves empty."""
    return {
        "Guides": guides_nav((DOCS / "guides" / "index.md").read_text(encoding="utf-8")),
        "Reference": [
            FRONT,
            {"Command line": command_nav()},
            {"Python": api_nav(read_modules(ROOT / "src"))},
            {"Measures": PATH},
        ],
        "Decisions": decisions_nav(DOCS / "decisions"),
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the empty entries of the navigation, wherever they stand."""
    config.nav = _filled(list(config.nav or []), filled_nav())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, as if they lay in the folder."""
    for path, text in reference_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def _filled(nav: list[Any], branches: dict[str, list[object]]) -> list[Any]:
    found: list[Any] = []
    for one in nav:
        if isinstance(one, dict):
            ((name, below),) = one.items()
            below = branches[name] if below == [] else _filled(below, branches) if isinstance(below, list) else below
            found.append({name: below})
        else:
            found.append(one)
    return found
