"""Floor 2, where pages come from: one module a collection, opened by name, imported when first used."""

from __future__ import annotations

from wholepage.collections.catalogue import NAMES, open_collection, options_of

__all__ = ["NAMES", "open_collection", "options_of"]
