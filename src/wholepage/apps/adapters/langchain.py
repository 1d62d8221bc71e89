"""A LangChain document compressor.

from langchain_classic.retrievers import ContextualCompressionRetriever
from wholepage.apps.adapters.langchain import WholepageCompressor

retriever = ContextualCompressionRetriever(
    base_retriever=store.as_retriever(), base_compressor=WholepageCompressor("models/page", top_n=5)
)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document

from wholepage.apps.adapters.placed import Asked, Item, check_top, modality_of, pictures_of, placed
from wholepage.apps.resolve import ranker_from
from wholepage.apps.serving.wire import relevance
from wholepage.pages.protocols import Ranker


class WholepageCompressor(BaseDocumentCompressor):
    """Orders documents of any modality; each comes back as a copy with ``metadata["relevance_score"]``.

    The relevance is the ranker's score brought to [0, 1] by the logistic function, as the server's is; 0.0 for a
    document that the ranker could not judge, which stands last.

    Args:
        model: a Ranker, a model folder, or None for the offline default.
        top_n: how many documents to keep; None = all.
        image_key: of metadata, where a picture's path or address lies, or a list of them (the frames of a video).
        modality_key: of metadata, where text, image, video or answer may stand.
    Raises:
        InputError, NotFound, WeightsError: a setting, or the model, that cannot be.
    """

    top_n: int | None = None
    image_key: str = "image"
    modality_key: str = "modality"
    _ranker: Ranker

    def __init__(
        self,
        model: str | Path | Ranker | None = None,
        *,
        top_n: int | None = None,
        image_key: str = "image",
        modality_key: str = "modality",
    ) -> None:
        check_top("top_n", top_n)
        settings: dict[str, Any] = {"top_n": top_n, "image_key": image_key, "modality_key": modality_key}
        super().__init__(**settings)
        self._ranker = ranker_from(model)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The documents best first; ``acompress_documents`` does the same in a thread.

        Raises:
            InputError: an empty query, or metadata that is no picture or modality.
            ImageError: a picture is missing or cannot be read; names the document's index.
        """
        items = [self._item(document, f"documents[{i}]") for i, document in enumerate(documents)]
        found = placed(self._ranker, [Asked(query, items)])[0] if items else []
        return [
            documents[i].model_copy(
                update={
                    "metadata": {
                        **documents[i].metadata,
                        "relevance_score": 0.0 if score is None else relevance(score),
                    }
                }
            )
            for i, score in found[: self.top_n]
        ]

    def _item(self, document: Document, at: str) -> Item:
        given = document.metadata
        return Item(
            document.page_content,
            pictures_of(given.get(self.image_key), f"{at}.metadata[{self.image_key!r}]"),
            modality_of(given.get(self.modality_key), f"{at}.metadata[{self.modality_key!r}]"),
        )
