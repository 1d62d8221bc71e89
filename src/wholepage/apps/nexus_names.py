"""Pictures of the generated world with words for what they show: what a small model's tower learns to name first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from wholepage.collections.synthetic import Synthetic
from wholepage.pages.errors import InputError
from wholepage.pages.model import ImageRef, Modality
from wholepage.training.naming import Naming

_A_PAGE = 12


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the tower of a small model learns before any list.

    Attributes:
        pictures: how many.  noise, seed: of the generated world; the seed should be none of the lists'.
        naming: how.
    """

    pictures: int = 8000
    noise: float = 1.0
    seed: int = 4001
    naming: Naming = Naming(visual_tokens=16)

    def __post_init__(self) -> None:
        if self.pictures < 2 or self.seed < 0 or not 0 <= self.noise <= 3:
            raise InputError(
                f"names: got {self.pictures} pictures, seed {self.seed}, noise {self.noise}; allowed: 2 or more, 0 or "
                "more, 0 to 3; mend them"
            )


def named_pictures(names: Names) -> list[tuple[ImageRef, str]]:
    """Pictures, and the words for what they show."""
    return list(islice(_shown(names), names.pictures))


def _shown(names: Names) -> Iterator[tuple[ImageRef, str]]:
    world = Synthetic(
        names.pictures // _A_PAGE + 1, names.seed, dev_share=0.0, results_per_modality=(_A_PAGE, _A_PAGE),
        modalities=(Modality.IMAGE,), noise=names.noise,
    )  # fmt: skip
    for page, shown in world.truth("train"):
        for result in page.results:
            yield result.images[0], " ".join(shown[result.result_id].thing.values())
