"""Weights that come with the package: small, trained on what the package generates itself, so that they may travel.

    ranker = ListwiseRanker.load(shipped("listwise-small"))

``listwise-small`` ranks lists of texts, pictures and both. It knows the generated world and little else: it is there so
that everything that takes a listwise ranker runs offline, and so that what each stage of its training gave can be
measured again (``benchmarks/nexus_stages.py``). For real pages train or name a larger one.
"""

from __future__ import annotations

from pathlib import Path

from wholepage.pages.errors import InputError

RELEASE = Path(__file__).with_name("release")
SHIPPED = {"listwise-small": RELEASE / "listwise-small" / "full"}
"""Model folders by name."""


def shipped(name: str) -> Path:
    """The folder of a model that comes with the package.

    Raises:
        InputError: there is none of that name.
    """
    if name not in SHIPPED:
        raise InputError(f"shipped model: got {name!r}; allowed: {', '.join(SHIPPED)}; or pass a model folder")
    return SHIPPED[name]
