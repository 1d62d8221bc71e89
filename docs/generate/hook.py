"""What mkdocs runs while it builds the site: it writes the reference and the list of
decisions, in memory, and sets the reference into the navigation.

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
from reference_measures import PATH, measure_pages
from reference_modules import read_modules

ROOT = Path(__file__).parents[2]
PLACE = "Reference"
"""The entry of the navigation that is filled."""


def reference_pages() -> dict[str, str]:
    """Every page of the reference, and the list of decisions, by their paths below ``docs``."""
    python = api_pages(read_modules(ROOT / "src"))
    return {**python, **command_pages(), **measure_pages(), **decision_pages(ROOT / "docs" / "decisions")}


def reference_nav() -> list[object]:
    """What stands below ``PLACE`` in the navigation."""
    return [
        {"Command line": command_nav()},
        {"Python": api_nav(read_modules(ROOT / "src"))},
        {"Measures": PATH},
    ]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the navigation's entry ``Reference``."""
    nav: list[Any] = list(config.nav or [])
    config.nav = [{PLACE: reference_nav()} if isinstance(one, dict) and PLACE in one else one for one in nav]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, as if they lay in the folder."""
    for path, text in reference_pages().items():
        files.append(File.generated(config, path, content=text))
    return files
