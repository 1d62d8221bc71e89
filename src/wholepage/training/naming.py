"""Teaches the tower of a small vision-language model to name what it sees, before it has to rank pictures.

    student = teach_names(student, [(picture, "two red striped stars"), ...], Naming(), folder=None)

A pretrained model can do that already; one that starts from nothing learns here, from captions, to give a visual token
the embedding of words that its picture's caption holds. Only the tower learns. For every picture the words of its own
caption stand against all words of all captions, each as likely as its best token makes it.
Source: image features learned from the words of captions (Joulin et al. 2016, arXiv 1511.02251); taking the best token
of a picture, as ColBERT takes the best token of a document, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from wholepage.pages.errors import InputError, NoRanker
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import ImageRef
from wholepage.rankers.encoders import Progress, ReadBytes
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.listwise_loading import Pretrained
from wholepage.rankers.listwise_pictures import Cut, PictureMemory
from wholepage.rankers.weights import fingerprint
from wholepage.training.loop import LoopConfig, run
from wholepage.training.loop_sharding import layers_of


class Naming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How names are taught.

    Attributes:
        loop: its batch is of pictures.  visual_tokens: of a picture at most.
        words: that come most often in captions are learned, at most so many.
    Raises:
        InputError: a number below 1.
    """

    loop: LoopConfig = LoopConfig(epochs=1, batch_size=32, learning_rate=1e-3, weight_decay=0.01)
    visual_tokens: int = 256
    words: int = 2000

    def __post_init__(self) -> None:
        if min(self.visual_tokens, self.words) < 1:
            raise InputError(
                f"naming: got {self.visual_tokens} visual tokens, {self.words} words; allowed: 1 or more; raise them"
            )


def teach_names(
    student: Pretrained,
    captioned: Sequence[tuple[ImageRef, str]],
    naming: Naming,
    *,
    folder: Path | None = None,
    open_picture: OpenPicture = open_image,
    read: ReadBytes = read_image_bytes,
    progress: Progress | None = None,
) -> Pretrained:
    """The student with a tower that names; the model inside is the same object, changed.

    Raises:
        NoRanker: a model without a tower.
        InputError: no pictures, or captions without two words between them.
        ImageError: a picture cannot be read; names its place.
    """
    if student.processor is None:
        raise NoRanker("naming: got a model without eyes; allowed: a vision-language model; use another student")
    pictures = PictureMemory(
        student.model.model, student.processor, mark=student.sight, open_picture=open_picture, read=read
    )
    cuts = [pictures.cut(ref, naming.visual_tokens, at=f"captions[{i}]") for i, (ref, _) in enumerate(captioned)]
    words, held = _words(student, [caption for _, caption in captioned], naming.words)
    module = run(
        lambda: _Namer(student, pictures, words),
        len(cuts),
        lambda namer, batch: cast(_Namer, namer).loss([cuts[i] for i in batch], held[batch], range(len(batch))),
        naming.loop,
        content=fingerprint({"words": words, "held": held}),
        folder=folder,
        progress=progress,
        what="naming",
        part_loss=lambda namer, batch, part: cast(_Namer, namer).loss(
            [cuts[i] for i in batch], held[batch], [batch.index(i) for i in part]
        ),
        layers=lambda namer: [path for path in layers_of(namer) if ".visual." in path],
    )
    model: Any = module.model
    model.requires_grad_(False).eval()
    sight = fingerprint(model.model.visual.state_dict())
    return replace(student, model=model, fingerprint=fingerprint(model.state_dict()), sight=sight)


def _words(student: Pretrained, captions: Sequence[str], most: int) -> tuple[Tensor, Tensor]:
    """Tokens that captions hold, and which caption holds which: ``[words]`` ids and ``[captions, words]`` bool.

    Tokens that every caption holds say nothing and are left out.
    """
    read = [set(ids) for ids, _ in student.words.begin(list(captions), 256)]
    counts: dict[int, int] = {}
    for ids in read:
        for token in ids:
            counts[token] = counts.get(token, 0) + 1
    telling = [token for token in counts if counts[token] < len(captions)]
    chosen = sorted(sorted(telling, key=lambda token: (-counts[token], token))[:most])
    if len(chosen) < 2:
        raise InputError(
            f"naming: got {len(captions)} captions with {len(chosen)} words that tell them apart; allowed: two or "
            "more; bring other captions"
        )
    held = np.array([[token in ids for token in chosen] for ids in read])
    return torch.tensor(chosen), torch.from_numpy(held)


class _Namer(nn.Module):
    """A tower against the embeddings of words."""

    def __init__(self, student: Pretrained, pictures: PictureMemory, words: Tensor) -> None:
        super().__init__()
        self.model: Any = student.model.requires_grad_(False)
        self.model.model.visual.requires_grad_(True)
        self.scale, self.bias = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(-5.0))
        embeddings = cast(Tensor, student.embed.weight).detach()[words]
        self._length = float(embeddings.norm(dim=1).mean())
        self.register_buffer("names", normalize(embeddings - embeddings.mean(dim=0), dim=1), persistent=False)
        self._pictures = [pictures]  # in a list: it is no part of the module

    def loss(self, cuts: Sequence[Cut], held: Tensor, part: Sequence[int]) -> Tensor:
        """Of naming too much or too little; and of tokens longer or shorter than words are.

        Args:
            cuts: of a batch.  part: of these the ones that are seen; a word weighs as the whole batch holds words, and
                a token counts as one of all its tokens.
        Shapes:
            held: [cuts, words] bool
        """
        names: Tensor = self.names  # type: ignore[assignment]
        seen = [layers[0].float() for layers in self._pictures[0].see([cuts[i] for i in part])]
        lengths = torch.cat(seen).norm(dim=1)
        best = torch.stack([(normalize(tokens, dim=1) @ names.T).amax(dim=0) for tokens in seen])
        asked = held.to(best.device).float()
        wanted, all_held = asked[list(part)], asked.mean()
        weight = torch.where(wanted > 0, 0.5 / all_held.clamp(min=1e-6), 0.5 / (1 - all_held))
        named = binary_cross_entropy_with_logits(self.scale * best + self.bias, wanted, weight=weight)
        long = (lengths / self._length - 1.0).square().mean()
        share = len(lengths) / sum(cut.rows * cut.columns for cut in cuts)
        found: Tensor = named * (len(part) / len(cuts)) + long * share
        return found
