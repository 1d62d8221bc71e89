from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wholepage.pages.errors import InputError, NoRanker, WeightsError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.matching import MATCH_NAMES, NumberScale, ResultVectors
from wholepage.rankers.tower import Tower, TowerReader, TowerScorer, tower_scores
from wholepage.rankers.weights import load_model, save_model

TEXT, IMAGE, VIDEO, ANSWER = Modality
NAMES = ("clicks", "price")


def scorer_of(
    vectors: ResultVectors,
    pages: Sequence[Page],
    *,
    modality: Modality = TEXT,
    also: Sequence[Modality] = (),
    count: int = 3,
    keep: int | None = None,
) -> TowerScorer:
    """Towers as they come from their seeds; nothing is trained."""
    reader = TowerReader.fit(vectors, pages, NAMES, keep=keep)
    torch.manual_seed(0)
    towers = [Tower(vectors.text_dim, reader.vector_scale.dim, 6, rank=4, hidden=3) for _ in range(count)]
    return TowerScorer(modality, reader, towers, also=also)


@pytest.fixture(scope="module")
def pages(make_page: Any) -> list[Page]:
    return [make_page(f"q{i}", [TEXT] * n) for i, n in enumerate([5, 1, 0, 8])]


@pytest.fixture
def scorer(vectors: ResultVectors, pages: list[Page]) -> TowerScorer:
    return scorer_of(vectors, pages)


# ---------------------------------------------------------------- the network and the reader


def test_a_towers_score_by_hand() -> None:
    torch.manual_seed(3)
    tower = Tower(4, 6, 2, rank=16, hidden=5).eval()
    random = np.random.default_rng(0)
    query, item, numbers = (random.normal(size=(7, n)).astype(np.float32) for n in (4, 6, 2))
    state = {name: value.numpy().astype(np.float64) for name, value in tower.state_dict().items()}
    product = ((query @ state["query.weight"].T) * (item @ state["item.weight"].T)).sum(axis=1) * 4 / np.sqrt(16)
    hidden = np.maximum(numbers @ state["shared.0.weight"].T + state["shared.0.bias"], 0)
    expected = product + (hidden @ state["shared.2.weight"].T + state["shared.2.bias"])[:, 0]
    with torch.no_grad():
        found = tower(*map(torch.from_numpy, (query, item, numbers)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_reader_reads_match_numbers_and_the_named_features(vectors: ResultVectors, pages: list[Page]) -> None:
    reader = TowerReader.fit(vectors, pages, NAMES, keep=7)
    assert reader.scale.names == (*MATCH_NAMES, *NAMES)
    assert reader.feature_names == NAMES
    items = reader.read(pages)
    assert [item.item.shape for item in items] == [(5, 7), (1, 7), (0, 7), (8, 7)]
    assert [item.numbers.shape for item in items] == [(5, 6), (1, 6), (0, 6), (8, 6)]
    assert all(item.seen.all() for item in items)


# ---------------------------------------------------------------- the scorer


def test_the_ensemble_is_the_mean_of_its_towers(scorer: TowerScorer, pages: list[Page]) -> None:
    items = scorer.reader.read(pages)
    each = [tower_scores(tower, items) for tower in scorer.towers]
    assert not np.allclose(each[0][0], each[1][0])
    for i, scores in enumerate(scorer.score(pages)):
        assert scores.shape == (len(pages[i]),)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, np.mean([one[i] for one in each], axis=0), atol=1e-6)


def test_a_pages_scores_do_not_depend_on_its_neighbours(scorer: TowerScorer, make_page: Any) -> None:
    many = [make_page(f"many{i}", [TEXT] * (i % 7)) for i in range(40)]
    for page, together in zip(many, scorer.score(many), strict=True):
        np.testing.assert_allclose(together, scorer.score([page])[0], atol=1e-5)


def test_more_results_than_one_pass_holds(scorer: TowerScorer, make_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [make_page(f"many{i}", [TEXT] * 5) for i in range(6)]
    whole = scorer.score(many)
    monkeypatch.setattr("wholepage.rankers.tower._ITEMS_PER_PASS", 7)
    for parted, scores in zip(scorer.score(many), whole, strict=True):
        np.testing.assert_allclose(parted, scores, atol=1e-5)


def test_scores_follow_the_order_of_results(scorer: TowerScorer, make_page: Any) -> None:
    page = make_page("p", [TEXT] * 9)
    [scores] = scorer.score([page])
    [turned] = scorer.score([Page(page.query, page.results[::-1])])
    np.testing.assert_allclose(turned, scores[::-1], atol=1e-5)


def test_dropout_never_touches_a_score(scorer: TowerScorer, pages: list[Page]) -> None:
    before = scorer.score(pages)
    for tower in scorer.towers:
        tower.train()
    for first, second in zip(before, scorer.score(pages), strict=True):
        np.testing.assert_array_equal(first, second)


def test_no_pages_and_only_empty_pages(scorer: TowerScorer) -> None:
    assert scorer.score([]) == []
    assert [s.shape for s in scorer.score([Page(Query("a", "red")), Page(Query("b", "red"))])] == [(0,), (0,)]


def test_a_page_of_another_modality_is_refused(scorer: TowerScorer, make_page: Any) -> None:
    page = make_page("mixed", [TEXT, IMAGE])
    with pytest.raises(NoRanker, match=r"tower-text on query 'mixed': got a 'image' result; allowed: \['text'\]"):
        scorer.score([page])
    assert scorer.score([page.only(TEXT)])[0].shape == (1,)


def test_a_tower_orders_what_it_is_told_to_order_too(vectors: ResultVectors, pages: list[Page], make_page: Any) -> None:
    scorer = scorer_of(vectors, pages, also=[ANSWER])
    assert np.isfinite(scorer.score([make_page("a", [ANSWER, ANSWER])])[0]).all()
    with pytest.raises(NoRanker, match=r"\['text', 'answer'\]"):
        scorer.score([make_page("v", [VIDEO])])


def test_nothing_to_read_is_no_opinion(texts: Any, make_page: Any) -> None:
    blind = ResultVectors(texts())
    scorer = scorer_of(blind, [make_page(f"i{i}", [IMAGE] * 4) for i in range(3)], modality=IMAGE)
    picture = (ImageRef("a.png"),)
    page = Page(Query("q", "red"), (Result("a", IMAGE, "red shoe", picture), Result("b", IMAGE, images=picture)))
    assert np.isnan(scorer.score([page])[0]).tolist() == [False, True]


def test_a_scorer_wants_a_tower(scorer: TowerScorer) -> None:
    with pytest.raises(InputError, match="tower-text: got no tower"):
        TowerScorer(TEXT, scorer.reader, [])


# ---------------------------------------------------------------- model folders


@pytest.mark.parametrize("keep", [None, 5])
def test_a_saved_tower_scores_the_same_to_the_bit(
    keep: int | None, vectors: ResultVectors, pages: list[Page], tmp_path: Path, make_page: Any
) -> None:
    scorer = scorer_of(vectors, pages, also=[ANSWER], keep=keep)
    scorer.save(tmp_path / "m")
    again = TowerScorer.load(tmp_path / "m", vectors)
    assert (again.name, again.modality, again.also) == ("tower-text", TEXT, (ANSWER,))
    new = [*pages, make_page("new", [ANSWER, TEXT])]
    for first, second in zip(scorer.score(new), again.score(new), strict=True):
        np.testing.assert_array_equal(first, second)


def test_other_encoders_are_refused(scorer: TowerScorer, texts: Any, images: Any, tmp_path: Path) -> None:
    scorer.save(tmp_path / "m")
    for other in (ResultVectors(texts()), ResultVectors(texts(name="bert"), images())):
        with pytest.raises(WeightsError, match=r"got encoders '.*'; allowed: 'hash-text\+hash-image'"):
            TowerScorer.load(tmp_path / "m", other)


def test_an_encoder_of_the_same_name_and_another_size_is_refused(
    scorer: TowerScorer, texts: Any, images: Any, tmp_path: Path
) -> None:
    scorer.save(tmp_path / "m")
    for other in (ResultVectors(texts(dim=12), images(dim=12)), ResultVectors(texts(), images(dim=9))):
        with pytest.raises(WeightsError, match=r"got .*'(vectors|inputs)'"):
            TowerScorer.load(tmp_path / "m", other)


def test_a_damaged_file_is_refused(scorer: TowerScorer, vectors: ResultVectors, tmp_path: Path) -> None:
    scorer.save(tmp_path / "m")
    path = tmp_path / "m" / "arrays.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match=r"'arrays.safetensors': got sha256"):
        TowerScorer.load(tmp_path / "m", vectors)


def test_another_kind_of_model_and_no_model_are_refused(vectors: ResultVectors, tmp_path: Path) -> None:
    save_model(tmp_path / "m", "whole-page", {}, {})
    with pytest.raises(WeightsError, match="got a model of kind 'whole-page'; allowed: 'tower'"):
        TowerScorer.load(tmp_path / "m", vectors)
    with pytest.raises(WeightsError, match="no readable manifest"):
        TowerScorer.load(tmp_path / "nowhere", vectors)


def change_array(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    arrays["1.item.weight"] = arrays["1.item.weight"][:, :-1]


def drop_array(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    del arrays["2.shared.0.bias"]


def more_towers(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    config["towers"] = 4


def short_scale(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    arrays["scale.centre"] = arrays["scale.centre"][:-1]


def no_scale(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    del arrays["vectors.centre"]


def no_sizes(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    del config["sizes"]


def odd_modality(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    config["modality"] = "smell"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_array, r"got tensors \[\('item.weight', \(4, 23\)\)\]; allowed: \[\('item.weight', \(4, 24\)\)\]"),
        (drop_array, r"\('shared.0.bias', None\)"),
        (more_towers, r"got tensors .*None"),
        (short_scale, r"'numbers', \(6, \(5,\), \(6,\)\)"),
        (no_scale, "KeyError.*vectors.centre"),
        (no_sizes, "KeyError.*sizes"),
        (odd_modality, "ValueError.*smell"),
    ],
)
def test_a_folder_that_does_not_fit_itself_is_refused(
    change: Any, said: str, scorer: TowerScorer, vectors: ResultVectors, tmp_path: Path
) -> None:
    scorer.save(tmp_path / "m")
    config, arrays = load_model(tmp_path / "m", "tower")
    change(arrays, config)
    save_model(tmp_path / "m", "tower", config, arrays)
    with pytest.raises(WeightsError, match=said):
        TowerScorer.load(tmp_path / "m", vectors)


def test_weights_that_are_not_finite_are_not_saved(scorer: TowerScorer, tmp_path: Path) -> None:
    with torch.no_grad():
        scorer.towers[1].query.weight[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"'1.query.weight'"):
        scorer.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_the_folder_names_the_encoders_and_does_not_hold_them(scorer: TowerScorer, tmp_path: Path) -> None:
    scorer.save(tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["config"]["encoders"] == "hash-text+hash-image"
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["arrays.safetensors", "manifest.json"]


def test_number_scale_of_a_tower_is_fitted_on_its_own_pages(vectors: ResultVectors, pages: list[Page]) -> None:
    reader = TowerReader.fit(vectors, pages, NAMES)
    clicks = np.log1p([[r.features["clicks"]] for page in pages for r in page.results]).astype(np.float32)
    alone = NumberScale.fit(["clicks"], clicks)
    np.testing.assert_allclose(reader.scale.centre[4], alone.centre[0], rtol=1e-5)
    np.testing.assert_allclose(reader.scale.spread[4], alone.spread[0], rtol=1e-5)
