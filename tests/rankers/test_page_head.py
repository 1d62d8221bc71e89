"""The head with user columns, and what several heads disagree about. Without users: ``test_whole_page``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from wholepage.pages.errors import InputError, ShapeError
from wholepage.rankers.features import PageItems
from wholepage.rankers.page_head import PageHead, head_scores, head_spread, pad_items

QUERY, ITEM, NUMBERS, USER = 12, 10, 9, 5
CLOSE = 1e-5


def head_of(seed: int = 0, user_dim: int = USER, **sizes: int) -> PageHead:
    torch.manual_seed(seed)
    head = PageHead(QUERY, ITEM, NUMBERS, user_dim=user_dim, **{"width": 16, "layers": 2, "heads": 4, **sizes}).eval()
    if user_dim:  # as after some training: it starts at 0
        torch.nn.init.normal_(head.user_gain.weight, std=0.3)
    return head


def items_of(*lengths: int, user_dim: int = USER) -> list[PageItems]:
    random = np.random.default_rng(sum(lengths))

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape, dtype=np.float32)

    return [
        PageItems(normal(QUERY), normal(n, ITEM), normal(n, NUMBERS), random.integers(0, 4, n), normal(user_dim))
        for n in lengths
    ]


def forward(head: PageHead, pages: Sequence[PageItems]) -> NDArray[np.float32]:
    batch = pad_items(pages)
    with torch.no_grad():
        return np.asarray(head(batch.query, batch.item, batch.numbers, batch.mask, batch.user))


def by_hand(head: PageHead, page: PageItems) -> NDArray[np.float64]:
    """The head written again, one page and one attention head at a time, in float64 and without batches."""
    w = {name: value.double().numpy() for name, value in head.state_dict().items()}

    def linear(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0))

    def norm(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        return np.asarray(x * w[f"{name}.weight"] + w[f"{name}.bias"])

    user = page.user.astype(np.float64)
    tokens = linear("numbers", page.numbers) + linear("query", page.query) * linear("item", page.item)
    tokens = tokens * (1 + linear("user_gain", user))
    x = np.concatenate([linear("query_token", page.query)[None], linear("user_token", user)[None], tokens])
    for k, block in enumerate(head.blocks):
        width, heads = x.shape[1], block.heads
        asks, keys, values = np.split(linear(f"blocks.{k}.qkv", norm(f"blocks.{k}.before_attention", x)), 3, axis=1)
        seen = []
        for h in range(heads):
            part = slice(h * width // heads, (h + 1) * width // heads)
            weight = np.exp(asks[:, part] @ keys[:, part].T / (width // heads) ** 0.5)
            seen.append(weight / weight.sum(axis=1, keepdims=True) @ values[:, part])
        x = x + linear(f"blocks.{k}.out", np.concatenate(seen, axis=1))
        hidden = torch.nn.functional.gelu(
            torch.from_numpy(linear(f"blocks.{k}.net.0", norm(f"blocks.{k}.before_net", x)))
        )
        x = x + linear(f"blocks.{k}.net.2", hidden.numpy())
    return np.asarray(linear("score", norm("last", x[2:]))[:, 0] + linear("straight", page.numbers)[:, 0])


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_the_head_computes_what_it_says(layers: int) -> None:
    head, pages = head_of(layers=layers), items_of(7, 1, 12)
    for page, scores in zip(pages, forward(head, pages), strict=True):
        np.testing.assert_allclose(scores[: len(page)], by_hand(head, page), atol=CLOSE)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_the_head_follows_the_order_of_results(layers: int) -> None:
    head, [page] = head_of(layers=layers), items_of(17)
    order = np.random.default_rng(0).permutation(17)
    turned = replace(page, item=page.item[order], numbers=page.numbers[order], group=page.group[order])
    [scores], [permuted] = forward(head, [page]), forward(head, [turned])
    assert scores.std() > 0.05
    np.testing.assert_allclose(permuted, scores[order], atol=CLOSE)


@pytest.mark.parametrize("layers", [0, 2])
def test_neither_padding_nor_neighbours_matter(layers: int) -> None:
    head, pages = head_of(layers=layers), items_of(4, 60, 0, 200, 1)
    together = forward(head, pages)
    for page, scores in zip(pages, together, strict=True):
        np.testing.assert_allclose(scores[: len(page)], forward(head, [page])[0, : len(page)], atol=CLOSE)
        np.testing.assert_array_equal(scores[len(page) :], 0)
    others = [pages[0], *(replace(page, user=-9 * page.user, query=9 * page.query) for page in pages[1:])]
    np.testing.assert_allclose(forward(head, others)[0], together[0], atol=CLOSE)


@pytest.mark.parametrize("layers", [0, 2])
def test_the_user_can_turn_the_order(layers: int) -> None:
    head, [page] = head_of(layers=layers), items_of(30)
    scores, other = forward(head, [page])[0], forward(head, [replace(page, user=-page.user)])[0]
    assert np.abs((scores - scores.mean()) - (other - other.mean())).max() > 0.05
    assert (np.argsort(scores) != np.argsort(other)).any()


def test_no_gradient_flows_between_users() -> None:
    head, batch = head_of(), pad_items(items_of(4, 0, 9))
    user = batch.user.requires_grad_()
    head(batch.query, batch.item, batch.numbers, batch.mask, user)[0].sum().backward()
    assert user.grad is not None
    assert user.grad[0].any()
    assert not user.grad[1:].any()


def test_every_user_weight_learns() -> None:
    torch.manual_seed(0)
    head, batch = PageHead(QUERY, ITEM, NUMBERS, width=16, user_dim=USER), pad_items(items_of(4, 9))
    head(batch.query, batch.item, batch.numbers, batch.mask, batch.user).square().sum().backward()
    for weight in (head.user_gain.weight, head.user_token.weight, head.user_token.bias):
        assert weight.grad is not None
        assert torch.isfinite(weight.grad).all()
        assert weight.grad.any()


def test_without_users_there_is_no_weight_for_them_and_with_them_the_others_start_the_same() -> None:
    without, with_users = head_of(3, user_dim=0).state_dict(), head_of(3).state_dict()
    assert set(with_users) - set(without) == {"user_token.weight", "user_token.bias", "user_gain.weight"}
    for name, weight in without.items():
        assert torch.equal(weight, with_users[name])
    assert "user_dim" not in head_of(user_dim=0).sizes
    assert head_of().sizes["user_dim"] == USER


def test_a_head_without_users_takes_none_or_an_empty_one() -> None:
    head, pages = head_of(user_dim=0), items_of(4, 9, user_dim=0)
    batch = pad_items(pages)
    with torch.no_grad():
        plain = head(batch.query, batch.item, batch.numbers, batch.mask)
    np.testing.assert_array_equal(forward(head, pages), plain)


@pytest.mark.parametrize(
    ("user_dim", "user"),
    [(USER, None), (USER, torch.zeros(2, USER + 1)), (USER, torch.zeros(1, USER)), (0, torch.zeros(2, 1))],
)
def test_other_user_columns_than_in_training_are_refused(user_dim: int, user: Tensor | None) -> None:
    head, batch = head_of(user_dim=user_dim), pad_items(items_of(3, 3))
    with pytest.raises(ShapeError, match=rf"got user columns .*allowed: \(2, {user_dim}\)"):
        head(batch.query, batch.item, batch.numbers, batch.mask, user)


# ---------------------------------------------------------------- head_spread

LENGTHS = (20, 1, 0, 7, 200, 3)


def test_spread_is_the_deviation_of_centred_scores() -> None:
    heads, pages = [head_of(seed) for seed in range(4)], items_of(*LENGTHS)
    means, stds = head_spread(heads, pages)
    for page, mean, std, expected in zip(pages, means, stds, head_scores(heads, pages), strict=True):
        np.testing.assert_array_equal(mean, expected)
        assert std.shape == (len(page),)
        assert std.dtype == np.float32
        each = [by_hand(head, page) if len(page) else np.zeros(0) for head in heads]
        for i in range(len(page)):
            values = [scores[i] - scores.sum() / len(scores) for scores in each]
            middle = sum(values) / 4
            assert std[i] == pytest.approx((sum((v - middle) ** 2 for v in values) / 3) ** 0.5, abs=1e-4)
    assert stds[1].tolist() == [0.0]
    assert stds[0].min() > 0


def test_what_a_head_adds_to_a_page_is_no_disagreement() -> None:
    heads, pages = [head_of(seed) for seed in range(3)], items_of(20)
    before = head_spread(heads, pages)[1][0]
    with torch.no_grad():
        heads[1].score.bias += 7
    np.testing.assert_allclose(head_spread(heads, pages)[1][0], before, atol=CLOSE)


def test_equal_heads_agree() -> None:
    means, stds = head_spread([head_of(1), head_of(1)], items_of(9))
    assert stds[0].tolist() == [0.0] * 9
    assert means[0].std() > 0.05


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_spread_does_not_depend_on_neighbours(batch_size: int) -> None:
    heads, pages = [head_of(0), head_of(1)], items_of(*LENGTHS)
    for page, std in zip(pages, head_spread(heads, pages, batch_size=batch_size)[1], strict=True):
        np.testing.assert_allclose(std, head_spread(heads, [page])[1][0], atol=CLOSE)


def test_one_head_cannot_disagree() -> None:
    with pytest.raises(InputError, match="got 1 heads; allowed: 2 or more"):
        head_spread([head_of()], items_of(3))
