"""What is trained on a frozen vision-language model: gate, adapters, and scores that depend on nothing but the page."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from wholepage.pages.errors import ImageError, InputError, ShapeError, WeightsError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.features import Featurizer
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.page_head import pad_items
from wholepage.rankers.vlm import VlmEncoder
from wholepage.rankers.vlm_head import TARGETS, Adapters, GatedFusion, VlmPageHead
from wholepage.rankers.vlm_ranker import VlmPageRanker

Folder = Callable[[str], Path]
TEXT, IMAGE, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.VIDEO
SMALL = {"max_visual_tokens": 9, "max_tokens": 120, "max_pictures": 3, "device": "cpu"}
ADAPTERS = Adapters(rank=2, alpha=4, fused_dim=8)


class Counted:
    """A single-modal scorer: the length of the text."""

    name = "counted"

    def score(self, pages: list[Page]) -> list[np.ndarray]:
        return [np.array([len(r.text) for r in page.results], np.float32) for page in pages]


@pytest.fixture(scope="module")
def encoder(tiny_vlm: Folder) -> VlmEncoder:
    return VlmEncoder.load(tiny_vlm("qwen3_vl"), **SMALL)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Page]:
    """Pages of 4, 2, 3 and 0 results; who asks is known."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(2)

    def picture(name: str) -> ImageRef:
        path = folder / f"{name}.png"
        Image.fromarray(draw.integers(0, 256, (24, 16, 3), np.uint8)).save(path)
        return ImageRef(str(path))

    results = [
        (Result("t", TEXT, "blue shoe"), Result("i", IMAGE, "", (picture("i"),)),
         Result("v", VIDEO, "lamp", (picture("v0"), picture("v1"))), Result("u", TEXT, "lamp" * 40)),
        (Result("j", IMAGE, "a red lamp", (picture("j"),)), Result("t", TEXT, "shoe")),
        (Result("a", TEXT, "red"), Result("b", TEXT, "red lamp"), Result("c", IMAGE, "", (picture("c"),))),
        (),
    ]  # fmt: skip
    return [Page(Query(f"q{i}", "red lamp", user={"age": float(i)}), found) for i, found in enumerate(results)]


@pytest.fixture(scope="module")
def featurizer(pages: list[Page], vectors: ResultVectors) -> Featurizer:
    return Featurizer.fit(Counted(), vectors, pages, Counted().score(pages), (), keep=4)


def stirred(head: VlmPageHead, seed: int = 0) -> VlmPageHead:
    """The head with weights as after some training: the adapters say something."""
    draw = torch.Generator().manual_seed(seed)
    for weight in head.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=draw)
    return head.eval()


def head_on(encoder: VlmEncoder, featurizer: Featurizer, pages: list[Page], **changes: Any) -> VlmPageHead:
    items = featurizer.read(pages[:1])[0]
    shape = {"width": 8, "layers": 1, "heads": 2, "dropout": 0.0, "user_dim": len(items.user), "adapters": ADAPTERS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return VlmPageHead(encoder, len(items.query), items.item.shape[1], items.numbers.shape[1], **shape | changes)


@pytest.fixture
def ranker(encoder: VlmEncoder, featurizer: Featurizer, pages: list[Page]) -> VlmPageRanker:
    heads = [stirred(head_on(encoder, featurizer, pages), seed) for seed in (1, 2)]
    return VlmPageRanker(featurizer, heads, {"labels": 7}, name="tiny")


# --- the fusion -------------------------------------------------------------------------------------------------------


def test_the_gate_mixes_both_parts_and_is_shut_without_pictures() -> None:
    torch.manual_seed(3)
    fusion, early, late = GatedFusion(6), torch.randn(5, 6), torch.randn(5, 6)
    seen = torch.tensor([True, False, True, True, False])
    mixed = fusion(early, late, seen)
    e, v = fusion.early_norm(early), fusion.late_norm(late)
    gate = 1 / (1 + torch.exp(-(torch.cat([v, e], 1) @ fusion.gate.weight.T + fusion.gate.bias)))
    assert gate.shape == early.shape
    torch.testing.assert_close(mixed[seen], (gate * v + (1 - gate) * e)[seen])
    torch.testing.assert_close(mixed[~seen], e[~seen])
    assert not torch.allclose(mixed[seen], e[seen])
    for wrong in ((early, late[:4], seen), (early, late, seen[:3])):
        with pytest.raises(ShapeError, match="GatedFusion"):
            fusion(*wrong)


# --- what is trained --------------------------------------------------------------------------------------------------


def test_adapters_sit_on_every_projection_and_nothing_frozen_is_in_the_module(
    encoder: VlmEncoder, featurizer: Featurizer, pages: list[Page]
) -> None:
    head = head_on(encoder, featurizer, pages)
    names = [name for name, _ in head.named_parameters()]
    adapted = {name for name in names if name.startswith("adapters.")}
    assert len(adapted) == 2 * 2 * len(TARGETS)  # two layers, two matrices each
    assert all(any(f"/{target}/lora_" in name for name in adapted) for target in TARGETS)
    assert {name.split(".")[0] for name in names} == {"adapters", "fusion", "project", "page"}
    assert all(value.requires_grad and value.dtype == torch.float32 for value in head.parameters())
    assert set(head.state_dict()) == {*names, "frozen_model"}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl"])
def test_gradients_reach_adapters_fusion_and_head_and_nothing_frozen(
    tiny_vlm: Folder, featurizer: Featurizer, pages: list[Page], kind: str, dtype: torch.dtype, checkpointing: bool
) -> None:
    encoder = VlmEncoder.load(tiny_vlm(kind), dtype=dtype, **SMALL)
    chosen = Adapters(rank=2, alpha=4, fused_dim=8, checkpointing=checkpointing)
    head = stirred(head_on(encoder, featurizer, pages, adapters=chosen)).train()
    before = {key: value.clone() for key, value in encoder.borrow().state_dict().items()}
    batch = pad_items(featurizer.read(pages))
    scores = head(batch, encoder.prompts(pages))
    assert scores.dtype == torch.float32
    scores.pow(2).sum().backward()
    grads = {name: value.grad for name, value in head.named_parameters()}
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads.values())
    assert all(grads[name].abs().max() > 0 for name in grads if name.startswith(("adapters", "fusion", "project")))
    torch.optim.AdamW(head.parameters(), lr=0.1).step()
    after = encoder.borrow().state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_checkpointing_runs_layers_twice_and_changes_no_gradient(
    encoder: VlmEncoder, featurizer: Featurizer, pages: list[Page]
) -> None:
    found, runs = [], []
    for checkpointing in (False, True):
        chosen = Adapters(rank=2, alpha=4, fused_dim=8, checkpointing=checkpointing)
        head = stirred(head_on(encoder, featurizer, pages, adapters=chosen)).train()
        told: list[None] = []
        head._outside[1].layers[0].self_attn.register_forward_hook(lambda *_, told=told: told.append(None))
        head(pad_items(featurizer.read(pages)), encoder.prompts(pages)).pow(2).sum().backward()
        found.append([value.grad for value in head.parameters()])
        runs.append(len(told))
    assert runs[1] == 2 * runs[0] > 0
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


def test_new_adapters_change_nothing_and_one_heads_do_not_touch_anothers(
    encoder: VlmEncoder, featurizer: Featurizer, pages: list[Page]
) -> None:
    prompts = encoder.prompts(pages)[0]
    one, other = (head_on(encoder, featurizer, pages).eval() for _ in range(2))
    with torch.no_grad():
        plain = encoder.read(encoder.borrow(), prompts).early
        untouched = other.fused(prompts)
        torch.testing.assert_close(encoder.read(one._outside[1], prompts).early, plain)
        stirred(one)
        assert (encoder.read(one._outside[1], prompts).early - plain).abs().max() > 1e-2
        assert torch.equal(other.fused(prompts), untouched)


# --- scores -----------------------------------------------------------------------------------------------------------


def test_scores_do_not_depend_on_batches_order_or_neighbours(ranker: VlmPageRanker, pages: list[Page]) -> None:
    together = ranker.score(pages)
    assert [len(scores) for scores in together] == [4, 2, 3, 0]
    alone = [ranker.score([page])[0] for page in pages]
    backwards = ranker.score(pages[::-1])[::-1]
    ranker.encoder.tokens_per_pass, kept = 1, ranker.encoder.tokens_per_pass
    thin = ranker.score(pages)
    ranker.encoder.tokens_per_pass = kept
    for others in (alone, backwards, thin):
        for mine, its in zip(together, others, strict=True):
            np.testing.assert_allclose(mine, its, atol=1e-4)
    assert np.ptp(together[0]) > 1e-2
    assert ranker.score([]) == []


def test_results_in_another_order_keep_their_scores(ranker: VlmPageRanker, pages: list[Page]) -> None:
    (scores,) = ranker.score(pages[:1])
    turned = Page(pages[0].query, pages[0].results[::-1])
    np.testing.assert_allclose(ranker.score([turned])[0][::-1], scores, atol=1e-4)
    (ranking,) = ranker.rank(pages[:1])
    assert list(ranking.result_ids) == [pages[0].result_ids[i] for i in np.argsort(-scores)]
    assert ranking.by == "tiny"


def test_prompts_of_other_pages_are_refused(ranker: VlmPageRanker, featurizer: Featurizer, pages: list[Page]) -> None:
    with pytest.raises(ShapeError, match="one a result"):
        ranker.heads[0](pad_items(featurizer.read(pages[:1])), ranker.encoder.prompts(pages[1:2]))


def test_a_missing_picture_names_its_result(ranker: VlmPageRanker, pages: list[Page], tmp_path: Path) -> None:
    lost = Result("lost", IMAGE, "", (ImageRef(os.fspath(tmp_path / "gone.png")),))
    with pytest.raises(ImageError, match=r"query 'q1': results\[2\] 'lost'"):
        ranker.rank([pages[0], Page(pages[1].query, (*pages[1].results, lost))])


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_loaded_ranker_gives_the_same_scores(
    ranker: VlmPageRanker, pages: list[Page], vectors: ResultVectors, tiny_vlm: Folder, tmp_path: Path
) -> None:
    ranker.save(tmp_path / "model")
    fresh = VlmEncoder.load(tiny_vlm("qwen3_vl"), **SMALL)
    loaded = VlmPageRanker.load(tmp_path / "model", fresh, vectors, Counted())
    for mine, its in zip(ranker.score(pages), loaded.score(pages), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert (loaded.name, loaded.made_of, len(loaded.heads)) == ("tiny", {"labels": 7}, 2)
    loaded.save(tmp_path / "again")
    for name in ("manifest.json", "arrays.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_the_folder_holds_nothing_frozen(ranker: VlmPageRanker, tmp_path: Path) -> None:
    ranker.save(tmp_path / "model")
    kept = load_file(tmp_path / "model" / "arrays.safetensors")
    frozen = sum(weight.numel() for weight in ranker.encoder.borrow().parameters())
    trained = sum(weight.numel() for head in ranker.heads for weight in head.parameters())
    named = sum(weight.numel() for key, weight in kept.items() if key[0].isdigit() and "frozen" not in key)
    assert named == trained < 2 * frozen
    assert not [key for key in kept if "embed_tokens" in key or "base_layer" in key or "visual" in key]


def test_another_frozen_model_is_refused(
    ranker: VlmPageRanker, vectors: ResultVectors, tiny_vlm: Folder, tmp_path: Path
) -> None:
    ranker.save(tmp_path / "model")
    for other in (
        VlmEncoder.load(tiny_vlm("qwen2_vl"), **SMALL),
        VlmEncoder.load(tiny_vlm("qwen3_vl"), **{**SMALL, "max_visual_tokens": 8}),
    ):
        with pytest.raises(WeightsError, match="got the frozen model") as caught:
            VlmPageRanker.load(tmp_path / "model", other, vectors, Counted())
        assert ranker.encoder.name in str(caught.value)


def test_other_company_is_refused(
    ranker: VlmPageRanker, vectors: ResultVectors, images: Any, texts: Any, tmp_path: Path
) -> None:
    ranker.save(tmp_path / "model")
    with pytest.raises(WeightsError, match="no single-modal rankers inside"):
        VlmPageRanker.load(tmp_path / "model", ranker.encoder, vectors)
    with pytest.raises(WeightsError, match="encoders"):
        VlmPageRanker.load(tmp_path / "model", ranker.encoder, ResultVectors(texts(name="other"), images()), Counted())
    arrays = load_file(tmp_path / "model" / "arrays.safetensors")
    save_file({key: value + 1 for key, value in arrays.items()}, tmp_path / "model" / "arrays.safetensors")
    with pytest.raises(WeightsError, match="sha256"):
        VlmPageRanker.load(tmp_path / "model", ranker.encoder, vectors, Counted())


def test_refusals(ranker: VlmPageRanker, featurizer: Featurizer, tiny_vlm: Folder, pages: list[Page]) -> None:
    elsewhere = head_on(VlmEncoder.load(tiny_vlm("qwen3_vl"), **SMALL), featurizer, pages)
    for heads, count in (([], 8), ([ranker.heads[0], elsewhere], 8), (ranker.heads, 0)):
        with pytest.raises(InputError, match="allowed: heads on one model"):
            VlmPageRanker(featurizer, heads, pages_per_pass=count)
    with pytest.raises(InputError, match="rank 0"):
        Adapters(rank=0)
