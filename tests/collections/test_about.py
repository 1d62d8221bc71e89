"""What is said of every collection, and the catalogue itself."""

from __future__ import annotations

import inspect

import pytest

from wholepage.collections import NAMES, options_of
from wholepage.collections.about import MEANING, Terms, facts_of
from wholepage.collections.catalogue import ROOTLESS, class_of, needed_by, open_collection
from wholepage.collections.emoji import LICENCES
from wholepage.pages import InputError


@pytest.mark.parametrize("name", NAMES)
def test_every_collection_says_whose_it_is(name: str) -> None:
    facts = facts_of(name)
    assert all((facts.title, facts.licence, facts.source, facts.cite)), "no field is empty"
    assert facts.terms in MEANING
    assert facts.homepage.startswith("https://") == (facts.terms is not Terms.NONE)
    assert "object at" not in facts.licence
    assert facts.by_hand or facts.terms is Terms.NONE, "somebody who wants it is told how"
    assert "non-commercial" not in facts.licence or facts.terms is not Terms.OPEN
    assert all(file.url.startswith("https://") for file in facts.files)
    assert not facts.files or facts.terms is Terms.OPEN
    parameters = inspect.signature(class_of(name)).parameters
    assert (name in ROOTLESS) != bool({"root", "path"} & set(parameters))
    assert set(options_of(name)) == set(parameters) - {"root", "path"}


def test_the_licence_of_drawings_names_every_style() -> None:
    said = facts_of("emoji").licence
    for style, licence in LICENCES.items():
        assert style in said
        assert licence in said


def test_what_a_collection_needs_is_told() -> None:
    assert needed_by("ir_datasets") == ("dataset",)
    assert [name for name in NAMES if needed_by(name)] == ["ir_datasets"]
    with pytest.raises(InputError, match=r"allowed: dataset, run, .*, of which it needs dataset;"):
        open_collection("ir_datasets")


def test_names_are_sorted_and_unknown_ones_refused() -> None:
    assert list(NAMES) == sorted(NAMES)
    for ask in (facts_of, options_of, needed_by, class_of, open_collection):
        with pytest.raises(InputError, match="got 'nope'"):
            ask("nope")
    with pytest.raises(InputError, match="got no root"):
        open_collection("qilin")
    with pytest.raises(InputError, match="drop root"):
        open_collection("ir_datasets", "somewhere", dataset="beir/scifact/test")
