"""What is said of every collection, and the catalogue itself."""

from __future__ import annotations

import inspect

import pytest

from wholepage.collections import NAMES, options_of
from wholepage.collections.about import MEANING, Terms, facts_of
from wholepage.collections.catalogue import ROOTLESS, class_of, open_collection
from wholepage.pages import InputError


@pytest.mark.parametrize("name", NAMES)
def test_every_collection_says_whose_it_is(name: str) -> None:
    facts = facts_of(name)
    assert all((facts.title, facts.licence, facts.source, facts.cite)), "no field is empty"
    assert facts.terms in MEANING
    assert facts.homepage.startswith("https://") == (facts.terms is not Terms.NONE)
    assert "non-commercial" not in facts.licence or facts.terms is not Terms.OPEN
    assert all(file.url.startswith("https://") for file in facts.files)
    assert not facts.files or facts.terms is Terms.OPEN
    parameters = inspect.signature(class_of(name)).parameters
    assert (name in ROOTLESS) != bool({"root", "path"} & set(parameters))
    assert set(options_of(name)) == set(parameters) - {"root", "path"}


def test_names_are_sorted_and_unknown_ones_refused() -> None:
    assert list(NAMES) == sorted(NAMES)
    for ask in (facts_of, options_of, class_of, open_collection):
        with pytest.raises(InputError, match="got 'nope'"):
            ask("nope")
    with pytest.raises(InputError, match="got no root"):
        open_collection("qilin")
    with pytest.raises(InputError, match="drop root"):
        open_collection("ir_datasets", "somewhere", dataset="beir/scifact/test")
