"""A Haystack ranker component.

from wholepage.apps.adapters.haystack import WholepageRanker

pipeline.add_component("ranker", WholepageRanker("models/page", top_k=5))
pipeline.connect("retriever.documents", "ranker.documents")
"""

from __future__ import annotations

import asyncio
import base64
import mimetypes
from dataclasses import replace
from pathlib import Path
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from wholepage.apps.adapters.placed import Asked, Item, check_top, modality_of, pictures_of, placed
from wholepage.apps.resolve import ranker_from
from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef
from wholepage.pages.protocols import Ranker


@component
class WholepageRanker:
    """Orders documents of any modality; each comes back as a copy with the ranker's score, None = not to be judged.

    Pictures are the ``blob`` of a document, or a file that its meta names. Documents are not deduplicated.

    Args:
        model: a model folder, a Ranker, or None for the offline default; read by ``warm_up``, or when first needed.
        top_k: how many documents to keep; None = all.
        file_path_meta_field: of meta, where the path of a picture may lie; paths of other files are left alone.
        root_path: a folder in which such paths lie.
        modality_meta_field: of meta, where text, image, video or answer may stand.
    Raises:
        InputError: ``top_k`` below 1.
    """

    def __init__(
        self,
        model: str | Path | Ranker | None = None,
        top_k: int | None = None,
        *,
        file_path_meta_field: str = "file_path",
        root_path: str = "",
        modality_meta_field: str = "modality",
    ) -> None:
        self.model, self.top_k = model, check_top("top_k", top_k)
        self.file_path_meta_field, self.root_path = file_path_meta_field, root_path
        self.modality_meta_field = modality_meta_field
        self._ranker: Ranker | None = None

    def warm_up(self) -> None:
        """Read the model, unless that is done.

        Raises:
            NotFound, WeightsError: the model cannot be read.
        """
        self._warm()

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """The documents, best first, under ``documents``.

        Raises:
            InputError: an empty query, ``top_k`` below 1, or meta that is no picture or modality.
            ImageError: a picture is missing or cannot be read; names the document's index.
        """
        kept = self.top_k if check_top("top_k", top_k) is None else top_k
        items = [self._item(document, f"documents[{i}]") for i, document in enumerate(documents)]
        found = placed(self._warm(), [Asked(query, items)])[0] if items else []
        return {"documents": [replace(documents[i], score=score) for i, score in found[:kept]]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """As ``run``, in a thread."""
        found: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, documents, top_k)
        return found

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written down.

        Raises:
            InputError: the model is an object, and no folder.
        """
        if self.model is not None and not isinstance(self.model, (str, Path)):
            raise InputError(
                f"model: got a {type(self.model).__name__}; allowed: a model folder, or None; save the ranker to a "
                "folder, and name that"
            )
        return default_to_dict(
            self,
            model=None if self.model is None else str(self.model),
            top_k=self.top_k,
            file_path_meta_field=self.file_path_meta_field,
            root_path=self.root_path,
            modality_meta_field=self.modality_meta_field,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> WholepageRanker:
        """From what ``to_dict`` wrote."""
        made: WholepageRanker = default_from_dict(cls, data)
        return made

    def _warm(self) -> Ranker:
        if self._ranker is None:
            self._ranker = ranker_from(self.model)
        return self._ranker

    def _item(self, document: Document, at: str) -> Item:
        meta, blob = document.meta, document.blob
        named = meta.get(self.file_path_meta_field)
        modality = modality_of(meta.get(self.modality_meta_field), f"{at}.meta[{self.modality_meta_field!r}]")
        pictures: tuple[ImageRef, ...] = ()
        if blob is not None and (blob.mime_type or "").startswith("image/"):
            pictures = (ImageRef(f"data:{blob.mime_type};base64,{base64.b64encode(blob.data).decode('ascii')}"),)
        elif named is not None and (mimetypes.guess_type(str(named))[0] or "").startswith("image/"):
            pictures = pictures_of(Path(self.root_path, str(named)), f"{at}.meta[{self.file_path_meta_field!r}]")
        return Item(document.content or "", pictures, modality)
