"""The measurements of the listwise ranker, at a size at which they mean little: that they run and count right."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from wholepage.rankers.listwise import ListwiseConfig, ListwiseRanker

Script = Callable[[str], ModuleType]
SMALL = {
    "plain_queries": 1, "repeats": 1, "window": 4, "stride": 2, "words": 5, "visual_tokens": 16, "picture_side": 60,
    "hidden": 64, "layers": 4, "threads": 1,
    "device": "cpu", "dtype": "float32", "peak_tflops": 1.0,
}  # fmt: skip


@pytest.fixture
def made(script: Script, tmp_path: Path) -> dict[str, Any]:
    bench = script("listwise_engine")
    texts = bench.make_texts(50, 5, seed=0)
    tokenizer = bench.make_tokenizer(texts)
    weights = bench.write_model(tmp_path / "model", tokenizer, hidden=64, layers=4)
    pictures = bench.make_pictures(8, 60, tmp_path, seed=0)
    return {"bench": bench, "texts": texts, "weights": weights, "pictures": pictures, "folder": tmp_path / "model"}


def test_the_engine_beside_the_plain_loop(made: dict[str, Any]) -> None:
    bench = made["bench"]
    pages = bench.make_pages(2, 10, made["texts"], made["pictures"], seed=0)
    row = bench.measure(Namespace(**SMALL), made["folder"], pages)
    assert (row["candidates"], row["queries"], row["plain_queries"]) == (10, 2, 1)
    assert row["windows"] == 2 * 4
    assert row["model_calls"] == 1 + 4  # both heads, then window by window, both queries at once
    distinct = {ref.uri for page in pages for result in page.results for ref in result.images}
    assert row["image_encodings"] == row["distinct_images"] == len(distinct)
    assert row["each_image_once"]
    assert row["images_shown"] > row["image_encodings"]
    tokenizer = AutoTokenizer.from_pretrained(made["folder"])
    answer = len(tokenizer.encode("[1] > [2] > [3] > [4]", add_special_tokens=False))
    assert answer >= 4 * 3
    assert row["plain_tokens_generated_per_query"] == 4 * answer
    assert row["speedup"] > 1
    assert row["engine_peak_share"] == pytest.approx(row["engine_tflop_per_s"], abs=1e-3)
    found = {
        "command": "c", "commit": "x", "machine": "m", "load_average": {"before": 1, "after": 1}, "model": "m",
        "lists": "l", "sizes": [row], "speedup_100": 9.0,
    }  # fmt: skip
    text = bench.table(found)
    assert "| 10 | 2 |" in text
    assert "8 times faster, reached" in text
    assert 300_000 < made["weights"] < 1_500_000


def test_the_plain_loop_reads_what_the_engine_reads(made: dict[str, Any], script: Script) -> None:
    """The same words and pictures in windows of the same places; and the model's own greedy text, mended."""
    bench, plain = made["bench"], script("plain_listwise")
    folder = made["folder"]
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    tokenizer, processor = (
        AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder, backend="pil"),
    )  # fmt: skip
    (page,) = bench.make_pages(1, 10, made["texts"], made["pictures"], seed=1)
    loop = plain.PlainListwise(model, tokenizer, processor, visual_tokens=16, window=4, stride=2)
    (ranking,) = loop.rank([page])
    ranking.check(page)
    assert loop.counts.windows == 4
    assert loop.counts.generated == 4 * len(tokenizer.encode("[1] > [2] > [3] > [4]", add_special_tokens=False))
    inputs = loop._inputs(page.query.text, page.results[:4])
    shown = [Image.open(ref.uri) for result in page.results[:4] for ref in result.images]
    assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == sum(
        max(1, round(p.height / 28)) * max(1, round(p.width / 28)) for p in shown
    )
    with torch.no_grad():
        assert torch.isfinite(model(**inputs).logits).all()
    assert loop._mended("[2] > [2] > [9] > [1]", page.results[:4]) == [page.results[i] for i in (1, 0, 2, 3)]


def test_orders_reach_the_listwise_ranker_and_fences_and_the_guard_hold_them(
    made: dict[str, Any], script: Script
) -> None:
    pipeline, cases = script("injection_pipeline"), script("injection_corpus").corpus(seed=1, pages=1, results=8)
    cases = [case for case in cases if case.family in ("direct order", "delimiters", "fake turn", "hidden")]
    piped = pipeline.rankers(made["folder"], cases, seed=1)
    first = next(iter(piped))
    told = {(o.ranker, o.attacks): o for o in pipeline.measure(piped, cases, undefended=first)}
    assert told[first, "direct order"].success == 1.0
    assert told[first, "all"].ndcg_clean == 1.0  # the reader is a perfect ranker of clean pages
    assert told["keeps to fences; and fences", "text"].success == 0.0
    assert told["keeps to fences; and fences", "picture"].success > 0.4
    assert told["believes all; and fences", "text"].success == told[first, "text"].success > 0.4
    guarded = told["believes all; and a rise of 2 at most", "all"]
    assert guarded.success < told[first, "all"].success
    assert guarded.rise < told[first, "all"].rise


def test_the_model_of_the_measurement_can_be_ranked_with(made: dict[str, Any]) -> None:
    ranks = ListwiseRanker.from_pretrained(made["folder"], ListwiseConfig(window=5, stride=2), device="cpu")
    (page,) = made["bench"].make_pages(1, 8, made["texts"], made["pictures"], seed=2)
    ranks.rank([page])[0].check(page)
