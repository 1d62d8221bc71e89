"""A featurizer in a model folder: what is kept of it reads pages as it did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from wholepage.pages.errors import WeightsError
from wholepage.pages.model import Modality, Page
from wholepage.rankers.features import Featurizer
from wholepage.rankers.featurizer_files import FeaturizerFiles, featurizer_files, load_featurizer
from wholepage.rankers.matching import ResultVectors

TEXT, IMAGE, _, ANSWER = Modality
HERE = Path("folder")


class Lengths:
    """A longer text is better."""

    name = "lengths"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        return [np.array([len(r.text) for r in page.results], np.float32) for page in pages]


@pytest.fixture
def pages(make_page: Any) -> list[Page]:
    made = [make_page(f"q{i}", [TEXT, IMAGE, TEXT, IMAGE]) for i in range(8)]
    users = [{"age": float(10 + i), "city": "rome" if i % 2 else "oslo"} for i in range(8)]
    return [
        msgspec.structs.replace(page, query=msgspec.structs.replace(page.query, user=user))
        for page, user in zip(made, users, strict=True)
    ]


@pytest.fixture
def featurizer(pages: list[Page], vectors: ResultVectors) -> Featurizer:
    return Featurizer.fit(Lengths(), vectors, pages, Lengths().score(pages), (), {ANSWER: TEXT}, keep=6)


def with_sizes(files: FeaturizerFiles, pages: list[Page], featurizer: Featurizer) -> dict[str, Any]:
    """The settings as a manifest gives them back, with what the heads of a folder would read."""
    one = featurizer.read(pages)[0]
    sizes = {"query_dim": len(one.query), "item_dim": one.item.shape[1], "number_dim": one.numbers.shape[1]}
    return dict(json.loads(json.dumps({**files.config, "sizes": {**sizes, "user_dim": len(one.user)}})))


def test_what_is_kept_reads_pages_to_the_bit(
    featurizer: Featurizer, pages: list[Page], vectors: ResultVectors, make_page: Any
) -> None:
    files = featurizer_files(featurizer)
    assert not files.children  # such a ranker cannot be kept
    again = load_featurizer(HERE, with_sizes(files, pages, featurizer), files.arrays, vectors, Lengths())
    shown = [*pages, make_page("new", [ANSWER, IMAGE])]
    for one, other in zip(featurizer.read(shown), again.read(shown), strict=True):
        assert len(one.user) == 3
        for mine, its in zip(one.arrays(), other.arrays(), strict=True):
            np.testing.assert_array_equal(mine, its)


def test_nothing_is_said_of_users_where_nothing_is_read(pages: list[Page], vectors: ResultVectors) -> None:
    """As folders of the first version are, which are still read."""
    alike = [msgspec.structs.replace(p, query=msgspec.structs.replace(p.query, user={})) for p in pages]
    featurizer = Featurizer.fit(Lengths(), vectors, alike, Lengths().score(alike), ())
    files = featurizer_files(featurizer)
    assert "users" not in files.config
    config = with_sizes(files, alike, featurizer)
    del config["sizes"]["user_dim"]
    assert load_featurizer(HERE, config, files.arrays, vectors, Lengths()).users.dim == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoders": "others"}, "got encoders 'hash-text"),
        ({"upstream": "others"}, "got single-modal rankers 'lengths'; allowed: 'others'"),
        ({"users": []}, "user columns"),
        ({"numbers": ["one"]}, "numbers"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    change: dict[str, Any], said: str, featurizer: Featurizer, pages: list[Page], vectors: ResultVectors
) -> None:
    files = featurizer_files(featurizer)
    with pytest.raises(WeightsError, match=said):
        load_featurizer(HERE, with_sizes(files, pages, featurizer) | change, files.arrays, vectors, Lengths())


def test_rankers_that_are_not_inside_have_to_be_given(
    featurizer: Featurizer, pages: list[Page], vectors: ResultVectors
) -> None:
    files = featurizer_files(featurizer)
    with pytest.raises(WeightsError, match=r"no single-modal rankers inside; .*'lengths'.*upstream="):
        load_featurizer(HERE, with_sizes(files, pages, featurizer), files.arrays, vectors)
