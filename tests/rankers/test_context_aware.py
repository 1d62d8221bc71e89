from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError, WeightsError
from wholepage.rankers.context_aware import ContextAware, ContextAwareNet, check_features, pad_numbers
from wholepage.rankers.weights import load_model, save_model

CLOSE, COLUMNS = 1e-5, 9
LENGTHS = (20, 1, 0, 7, 60, 3, 0, 20, 33, 2) * 4


def net_of(seed: int = 0, **sizes: int) -> ContextAwareNet:
    torch.manual_seed(seed)
    return ContextAwareNet(COLUMNS, **{"width": 16, "layers": 2, "heads": 4, "hidden": 24, **sizes}).eval()


def rows_of(*lengths: int) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(sum(lengths))
    return [random.standard_normal((n, COLUMNS), dtype=np.float32) for n in lengths]


def forward(net: ContextAwareNet, pages: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(net(*pad_numbers(pages)))


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(
    "grad", [True, False], ids=["with gradients", "without"]
)  # torch has a path of its own for each
def test_the_network_follows_the_order_of_results(layers: int, grad: bool) -> None:
    net, [page] = net_of(layers=layers), rows_of(17)
    order = np.random.default_rng(0).permutation(17)
    with torch.set_grad_enabled(grad):
        scores, permuted = (net(*pad_numbers([rows])).detach().numpy()[0] for rows in (page, page[order]))
    assert scores.std() > 0.05
    np.testing.assert_allclose(permuted, scores[order], atol=CLOSE)


def test_both_of_torchs_paths_score_alike() -> None:
    net, pages = net_of(), rows_of(4, 0, 60)
    np.testing.assert_allclose(net(*pad_numbers(pages)).detach().numpy(), forward(net, pages), atol=CLOSE)


def test_padding_is_not_seen_whatever_lies_in_it() -> None:
    net, pages = net_of(), rows_of(4, 60)
    together = forward(net, pages)
    np.testing.assert_allclose(together[0, :4], forward(net, pages[:1])[0], atol=CLOSE)
    np.testing.assert_array_equal(together[0, 4:], 0)
    numbers, mask = pad_numbers(pages)
    noise = 9 * torch.randn(numbers.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        dirty = net(torch.where(mask.unsqueeze(-1), numbers, noise), mask).numpy()
    np.testing.assert_array_equal(dirty, together)


def test_results_look_at_each_other() -> None:
    [page] = rows_of(6)
    changed = page.copy()
    changed[5] += 3
    net = net_of(layers=1)
    assert np.abs(forward(net, [page])[0, :5] - forward(net, [changed])[0, :5]).min() > 1e-4


def test_no_gradient_flows_from_padding_or_between_pages() -> None:
    net, (numbers, mask) = net_of().train(), pad_numbers(rows_of(4, 0, 9))
    numbers.requires_grad_()
    net(numbers, mask)[0].sum().backward()
    assert numbers.grad is not None
    assert numbers.grad[0, :4].abs().sum(dim=-1).min() > 0
    assert not numbers.grad[0, 4:].any()
    assert not numbers.grad[1:].any()


def test_all_weights_get_finite_gradients_beside_an_empty_page() -> None:
    net = net_of().train()
    net(*pad_numbers(rows_of(4, 0, 1, 9))).square().sum().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        assert name.endswith("in_proj_bias") or weight.grad.any(), name


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="got width 16 for 5 heads; allowed: a multiple"):
        net_of(heads=5)
    numbers, mask = pad_numbers(rows_of(3, 3))
    with pytest.raises(ShapeError, match="the same"):
        net_of()(numbers[:, :2], mask)


# ---------------------------------------------------------------- predict


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_scores_are_the_same_for_every_batch_size(batch_size: int) -> None:
    ranker, pages = ContextAware([net_of(0), net_of(1)]), rows_of(*LENGTHS)
    alone = [ranker.predict([page])[0] for page in pages]
    for page, expected, found in zip(pages, alone, ranker.predict(pages, batch_size=batch_size), strict=True):
        assert found.shape == (len(page),)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_a_pages_scores_do_not_depend_on_its_neighbours() -> None:
    ranker, pages = ContextAware([net_of()]), rows_of(5, 5, 5)
    among = ranker.predict([pages[0], 100 * pages[1], pages[2]])
    np.testing.assert_allclose(among[0], ranker.predict(pages)[0], atol=CLOSE)


def test_networks_are_averaged_and_dropout_is_off() -> None:
    nets, pages = [net_of(seed).train() for seed in range(3)], rows_of(6, 4)
    mean = ContextAware(nets).predict(pages)
    each = [ContextAware([net]).predict(pages) for net in nets]
    for i in range(2):
        np.testing.assert_allclose(mean[i], np.mean([one[i] for one in each], axis=0), atol=CLOSE)


def test_threads_do_not_change_a_bit(threads: Callable[[int], None]) -> None:
    ranker, pages, found = ContextAware([net_of()]), rows_of(*LENGTHS), []
    for count in (1, 2, 3):
        threads(count)
        found.append(ranker.predict(pages, batch_size=8))
        assert torch.get_num_threads() == count
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_no_pages_have_no_scores() -> None:
    assert ContextAware([net_of()]).predict([]) == []


def test_what_cannot_be_scored_is_refused() -> None:
    ranker, [page] = ContextAware([net_of()]), rows_of(3)
    with pytest.raises(ShapeError, match=r"features\[1\]: got shape \(3, 8\); allowed: \(n, 9\)"):
        ranker.predict([page, page[:, :8]])
    with pytest.raises(ShapeError, match="got batch_size 0; allowed: 1 or more"):
        ranker.predict([page], batch_size=0)
    page[1, 2] = np.nan
    with pytest.raises(InputError, match=r"features\[0\]\[1, 2\]: got nan; allowed: finite numbers"):
        ranker.predict([page])
    with pytest.raises(InputError, match="got no network"):
        ContextAware([])


def test_the_first_page_sets_the_width() -> None:
    assert check_features(rows_of(3, 0, 2)) == COLUMNS
    assert check_features([]) == 0
    with pytest.raises(ShapeError, match="as wide on every page"):
        check_features([np.zeros(3, np.float32)])


# ---------------------------------------------------------------- the model folder


def test_a_saved_ranker_scores_as_before(tmp_path: Path) -> None:
    ranker, pages = ContextAware([net_of(0), net_of(1)]), rows_of(5, 0, 8)
    ranker.save(tmp_path / "model")
    again = ContextAware.load(tmp_path / "model")
    for expected, found in zip(ranker.predict(pages), again.predict(pages), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    ContextAware([net_of()]).save(tmp_path / "model")
    config, arrays = load_model(tmp_path / "model", "context-aware")
    save_model(tmp_path / "other", "tower", config, arrays)
    with pytest.raises(WeightsError, match="kind 'tower'"):
        ContextAware.load(tmp_path / "other")
    save_model(tmp_path / "wide", "context-aware", {**config, "sizes": {**config["sizes"], "hidden": 25}}, arrays)
    with pytest.raises(WeightsError, match="got tensors"):
        ContextAware.load(tmp_path / "wide")
    save_model(tmp_path / "less", "context-aware", {"nets": 1}, arrays)
    with pytest.raises(WeightsError, match="KeyError"):
        ContextAware.load(tmp_path / "less")
