"""A LlamaIndex node postprocessor.

from wholepage.apps.adapters.llama_index import WholepageRerank

engine = index.as_query_engine(similarity_top_k=20, node_postprocessors=[WholepageRerank("models/page", top_n=5)])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, ImageNode, MediaResource, MetadataMode, NodeWithScore, QueryBundle

from wholepage.apps.adapters.placed import Asked, Item, check_top, modality_of, placed
from wholepage.apps.resolve import ranker_from
from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef
from wholepage.pages.protocols import Ranker


class WholepageRerank(BaseNodePostprocessor):
    """Orders nodes of text and of pictures; each comes back with the ranker's score, None = it could not be judged.

    Args:
        model: a Ranker, a model folder, or None for the offline default.
        top_n: how many nodes to keep; None = all.
        metadata_mode: which metadata of a node are read with its text.
        modality_key: of metadata, where text, image, video or answer may stand.
    Raises:
        InputError, NotFound, WeightsError: a setting, or the model, that cannot be.
    """

    top_n: int | None = None
    metadata_mode: MetadataMode = MetadataMode.EMBED
    modality_key: str = "modality"
    _ranker: Ranker

    def __init__(
        self,
        model: str | Path | Ranker | None = None,
        *,
        top_n: int | None = None,
        metadata_mode: MetadataMode = MetadataMode.EMBED,
        modality_key: str = "modality",
        callback_manager: CallbackManager | None = None,
    ) -> None:
        check_top("top_n", top_n)
        settings: dict[str, Any] = {"top_n": top_n, "metadata_mode": metadata_mode, "modality_key": modality_key}
        super().__init__(callback_manager=callback_manager or CallbackManager(), **settings)
        self._ranker = ranker_from(model)

    @classmethod
    def class_name(cls) -> str:
        """As the library calls it."""
        return "WholepageRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("query: got none; allowed: a query_str or query_bundle; pass what is looked for")
        items = [self._item(node.node, f"documents[{i}]") for i, node in enumerate(nodes)]
        image = ImageRef(query_bundle.image_path) if query_bundle.image_path else None
        found = placed(self._ranker, [Asked(query_bundle.query_str, items, image)])[0] if items else []
        return [NodeWithScore(node=nodes[i].node, score=score) for i, score in found[: self.top_n]]

    def _item(self, node: BaseNode, at: str) -> Item:
        resource = getattr(node, "image_resource", None)
        if isinstance(node, ImageNode):
            found = _picture(node.image, node.image_path, node.image_url, node.image_mimetype)
        elif isinstance(resource, MediaResource):
            data = None if resource.data is None else resource.data.decode("ascii")
            found = _picture(data, resource.path, resource.url, resource.mimetype)
        else:
            found = ()
        modality = modality_of(node.metadata.get(self.modality_key), f"{at}.metadata[{self.modality_key!r}]")
        return Item(node.get_content(metadata_mode=self.metadata_mode), found, modality)


def _picture(base64: str | None, path: object, url: object, mimetype: str | None) -> tuple[ImageRef, ...]:
    """The first that is there, in the order in which the library itself looks."""
    if base64:
        return (ImageRef(f"data:{mimetype or 'image/png'};base64,{base64}"),)
    return (ImageRef(str(path or url)),) if path or url else ()
