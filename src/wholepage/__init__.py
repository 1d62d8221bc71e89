"""wholepage: rerank whole result pages of mixed modalities.

    import wholepage

    found = wholepage.rerank("red running shoes", ["Light red shoes.", {"text": "A red shoe", "image": "shoe.jpg"}])
    found[0]["corpus_id"], found[0]["score"], found.ranker

Names are imported when they are first used: ``import wholepage`` itself brings no library at all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wholepage.apps.places import open_collection
    from wholepage.apps.reranking import RerankResults, rerank
    from wholepage.apps.resolve import load
    from wholepage.pages import errors
    from wholepage.pages.judgments import Grade, Judgments, Preference
    from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
    from wholepage.pages.protocols import by_score

    __version__: str

__all__ = [
    "Grade",
    "ImageRef",
    "Judgments",
    "Modality",
    "Page",
    "Preference",
    "Query",
    "Ranking",
    "RerankResults",
    "Result",
    "__version__",
    "by_score",
    "errors",
    "load",
    "open_collection",
    "rerank",
]

_WHERE = {
    "Grade": "wholepage.pages.judgments",
    "ImageRef": "wholepage.pages.model",
    "Judgments": "wholepage.pages.judgments",
    "Modality": "wholepage.pages.model",
    "Page": "wholepage.pages.model",
    "Preference": "wholepage.pages.judgments",
    "Query": "wholepage.pages.model",
    "Ranking": "wholepage.pages.model",
    "RerankResults": "wholepage.apps.reranking",
    "Result": "wholepage.pages.model",
    "by_score": "wholepage.pages.protocols",
    "load": "wholepage.apps.resolve",
    "open_collection": "wholepage.apps.places",
    "rerank": "wholepage.apps.reranking",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        try:
            found: Any = metadata.version("wholepage")
        except metadata.PackageNotFoundError:
            found = "0+unknown"  # run from a source tree that was never installed
    elif name == "errors":
        found = importlib.import_module("wholepage.pages.errors")
    elif name in _WHERE:
        found = getattr(importlib.import_module(_WHERE[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
