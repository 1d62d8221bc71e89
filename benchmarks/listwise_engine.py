"""How long the listwise engine takes over long mixed lists, beside the loop that is usual today.

    python benchmarks/listwise_engine.py --json

Both run the same random Qwen2-VL (``--hidden`` wide, ``--layers`` deep, tower in proportion) with the same windows,
texts and pictures, in one run and by turns. The plain loop (``plain_listwise.py``) opens and encodes the pictures of
every window and generates every answer; the engine encodes each picture once and reads the first answer token. The
queries of a run share a collection of pictures, as questions about one document or shop do: ``--pictures`` in all, of
which a list of 100 holds 60. Nothing is kept between runs. Nothing is written unless ``--out`` names a file.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils import logging

import plain_listwise
from conditions import command, commit, machine
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.listwise import ListwiseConfig, ListwiseRanker
from wholepage.rankers.listwise_diagnostics import Diagnostics
from wholepage.rankers.listwise_prompt import TASK, WindowLimits
from wholepage.rankers.listwise_words import SYSTEM

TARGET = 8.0
KINDS = (Modality.TEXT, Modality.IMAGE, Modality.TEXT, Modality.IMAGE, Modality.IMAGE)
MARKS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
SYLLABLES = ("ba", "de", "ki", "lo", "mu", "na", "po", "ra", "se", "ti", "vu", "za")


def make_texts(count: int, words: int, seed: int) -> list[str]:
    """Texts of invented words, some common and some rare."""
    random = np.random.default_rng(seed)
    known = ["".join(random.choice(SYLLABLES, random.integers(1, 4))) for _ in range(3000)]
    ranks = np.arange(1, len(known) + 1)
    return [" ".join(random.choice(known, words, p=(1 / ranks) / (1 / ranks).sum())) for _ in range(count)]


def make_pictures(count: int, side: int, folder: Path, seed: int) -> list[ImageRef]:
    """JPEG files of soft random colours."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        small = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
        picture = small.resize((side, side * 3 // 4), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
        path = folder / f"{i}.jpg"
        picture.save(path, quality=90)
        made.append(ImageRef(str(path)))
    return made


def make_pages(queries: int, candidates: int, texts: list[str], pictures: list[ImageRef], seed: int) -> list[Page]:
    """Pages of two texts, one picture and two pictures with a text, over and over; pictures of a page differ."""
    random = np.random.default_rng(seed)
    pages = []
    for q in range(queries):
        shown = iter(random.choice(len(pictures), len(pictures), replace=False))
        results = []
        for i in range(candidates):
            kind = KINDS[i % len(KINDS)]
            refs = (pictures[next(shown)],) if kind is Modality.IMAGE else ()
            text = "" if i % len(KINDS) == 1 else texts[int(random.integers(len(texts)))]
            results.append(Result(f"r{i}", kind, text, refs))
        words = texts[int(random.integers(len(texts)))].split()[:6]
        pages.append(Page(Query(f"q{q}", " ".join(words)), tuple(results)))
    return pages


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level pairs, as Qwen's, learned from the texts."""
    pieces = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    pieces.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    # What every prompt says is a token a word, and " >" is one, as with a tokenizer that has seen much text.
    said = [plain_listwise.SYSTEM, plain_listwise.TASK, SYSTEM, TASK, " > ".join(f"[{i}]" for i in range(1, 21))]
    pieces.train_from_iterator([*texts, *said * 20], trainer)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *MARKS.values()]
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token=special[0], eos_token=special[2], additional_special_tokens=special
    )


def write_model(folder: Path, tokenizer: PreTrainedTokenizerFast, hidden: int, layers: int) -> int:
    """A random Qwen2-VL with the proportions of the 2B one, which 1536 and 28 give exactly; how many weights it has."""
    per_head = min(128, max(64, hidden // 12))
    heads = hidden // per_head
    text = {
        "vocab_size": max(len(tokenizer), hidden * 99), "hidden_size": hidden,
        "intermediate_size": hidden * 35 // 6 // 8 * 8, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": max(1, heads // 6),
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e6, "mrope_section": [per_head // 8, *[per_head * 3 // 16] * 2],
        },
        "max_position_embeddings": 32768, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    eyes = hidden * 5 // 6 // 16 * 16
    vision = {
        "depth": layers * 8 // 7, "embed_dim": eyes, "num_heads": max(1, eyes // 80), "mlp_ratio": 4, "patch_size": 14,
        "hidden_size": hidden,
    }  # fmt: skip
    config = AutoConfig.for_model(
        "qwen2_vl", text_config=text, vision_config=vision, tie_word_embeddings=True,
        **{name: tokenizer.convert_tokens_to_ids(mark) for name, mark in MARKS.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=4 * 784, max_pixels=1280 * 784).save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


class Clock:
    """Seconds a query, of the wall and of the processor, one entry a run."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextmanager
    def running(self, queries: int, *, counts: bool) -> Iterator[None]:
        """Times what happens inside, so many queries; warming up does not count."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        if counts:
            self.wall.append((time.perf_counter() - wall) / queries)
            self.cpu.append((time.process_time() - cpu) / queries)


def measure(arguments: argparse.Namespace, folder: Path, pages: list[Page]) -> dict[str, Any]:
    """One size, as JSON values: both take turns, the first round is not counted."""
    limits = WindowLimits(
        visual_tokens=arguments.visual_tokens * (arguments.window + 1),
        most_per_picture=arguments.visual_tokens,
        least_per_picture=arguments.visual_tokens,
        pictures=1,
    )
    config = ListwiseConfig(window=arguments.window, stride=arguments.stride, limits=limits)
    how = {"dtype": getattr(torch, arguments.dtype)}
    model = AutoModelForImageTextToText.from_pretrained(folder, **how).eval().to(arguments.device)
    ours = ListwiseRanker.from_pretrained(folder, config, device=arguments.device, **how)
    plain = plain_listwise.PlainListwise(
        model, ours.pretrained.tokenizer, ours.pretrained.processor, visual_tokens=arguments.visual_tokens,
        window=arguments.window, stride=arguments.stride,
    )  # fmt: skip
    asked = pages[: arguments.plain_queries]
    mine, theirs = Clock(), Clock()
    for turn in range(arguments.repeats + 1):
        ours = ListwiseRanker(ours.pretrained, config)  # nothing seen yet
        with mine.running(len(pages), counts=turn > 0):
            ours.rank(pages)
        part = asked if turn else asked[:1]
        with theirs.running(len(part), counts=turn > 0):
            plain.rank(part)
    told, done = ours.diagnostics, len(asked) * arguments.repeats + 1
    flops = work(ours, told)
    distinct = {ref for page in pages for result in page.results for ref in result.images}
    return {
        "candidates": len(pages[0]),
        "queries": len(pages),
        "plain_queries": len(asked),
        "ours_s_per_query": round(min(mine.wall), 4),
        "plain_s_per_query": round(min(theirs.wall), 4),
        "speedup": round(min(theirs.wall) / min(mine.wall), 2),
        "slowest_ours_s": round(max(mine.wall), 4),
        "slowest_plain_s": round(max(theirs.wall), 4),
        "cpu_speedup": round(min(theirs.cpu) / min(mine.cpu), 2),
        "windows": told.windows,
        "model_calls": told.model_calls,
        "visual_tokens": told.visual_tokens,
        "images_shown": told.images_shown,
        "image_encodings": told.image_encodings,
        "distinct_images": len(distinct),
        "each_image_once": told.image_encodings == len(distinct),
        "plain_image_encodings_per_query": round(plain.counts.images / done, 1),
        "plain_tokens_generated_per_query": round(plain.counts.generated / done, 1),
        "plain_answers_mended": f"{plain.counts.mended} of {plain.counts.windows}",
        "engine_tflop_per_s": round(flops / len(pages) / min(mine.wall) / 1e12, 3),
        "engine_peak_share": None if not arguments.peak_tflops else round(
            flops / len(pages) / min(mine.wall) / 1e12 / arguments.peak_tflops, 4
        ),
        "peak_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 3) if torch.cuda.is_available() else None,
    }  # fmt: skip


def work(ranker: ListwiseRanker, told: Diagnostics) -> float:
    """Floating-point operations of the weights in one run: two a weight, token and patch; attention is left out."""
    model = ranker.pretrained.model.model
    layers = sum(weight.numel() for weight in model.language_model.layers.parameters())
    tower = sum(weight.numel() for weight in model.visual.parameters())
    patches = told.visual_tokens / max(told.images_shown, 1) * told.image_encodings * 4
    return 2.0 * (layers * told.tokens + tower * patches)


def table(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    lines = [
        "# Listwise engine: seconds a query, beside the plain loop",
        "",
        f"- command: `{found['command']}`",
        f"- commit: {found['commit']}",
        f"- machine: {found['machine']}",
        f"- load average: {found['load_average']['before']} before, {found['load_average']['after']} after",
        f"- model: {found['model']}",
        f"- lists: {found['lists']}",
        "- seconds are those of one query, the fastest of the repeats; the plain loop ranks as many queries as the "
        "table says, one after another",
        "",
        "| candidates | queries | engine, s | plain, s (queries) | times faster | windows | model calls | "
        "visual tokens | pictures shown | encoded | distinct |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["sizes"]:
        lines.append(
            f"| {row['candidates']} | {row['queries']} | {row['ours_s_per_query']:.3f} | "
            f"{row['plain_s_per_query']:.3f} ({row['plain_queries']}) | {row['speedup']:.1f} | {row['windows']} | "
            f"{row['model_calls']} | {row['visual_tokens']:,} | {row['images_shown']} | {row['image_encodings']} | "
            f"{row['distinct_images']} |"
        )
    if found["speedup_100"] is not None:
        word = "reached" if found["speedup_100"] >= TARGET else "missed"
        lines += ["", f"Target for 100 candidates, one query: {TARGET:g} times faster, {word}."]
    return "\n".join(lines) + "\n"


def whole(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a whole number from 1 up")
    return int(text)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Seconds a query of the listwise engine, beside the plain loop.")
    parser.add_argument("--candidates", type=whole, nargs="+", default=[20, 50, 100])
    parser.add_argument("--queries", type=whole, nargs="+", default=[1, 8, 32])
    parser.add_argument(
        "--plain-queries", type=whole, default=2, help="of a run that the plain loop ranks too, at most"
    )
    parser.add_argument("--repeats", type=whole, default=3)
    parser.add_argument("--window", type=whole, default=20)
    parser.add_argument("--stride", type=whole, default=10)
    parser.add_argument("--words", type=whole, default=16, help="of a text")
    parser.add_argument("--visual-tokens", type=whole, default=64, help="of a picture")
    parser.add_argument("--picture-side", type=whole, default=200, help="pixels")
    parser.add_argument("--pictures", type=whole, default=200, help="that all lists are drawn from")
    parser.add_argument("--hidden", type=whole, default=64, help="a multiple of 64")
    parser.add_argument("--layers", type=whole, default=4)
    parser.add_argument("--threads", type=whole, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--peak-tflops", type=float, help="of the device, to say what share of it was used")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table there too")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write a file when one is named."""
    arguments = parse()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(arguments.threads)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        texts = make_texts(2000, arguments.words, arguments.seed)
        tokenizer = make_tokenizer(texts)
        weights = write_model(folder / "model", tokenizer, arguments.hidden, arguments.layers)
        pictures = make_pictures(arguments.pictures, arguments.picture_side, folder, arguments.seed)
        sizes = [
            measure(arguments, folder / "model", make_pages(queries, candidates, texts, pictures, arguments.seed))
            for candidates in arguments.candidates
            for queries in arguments.queries
        ]
    found = {
        "command": command(),
        "commit": commit(),
        "machine": machine(arguments.threads),
        "load_average": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
        "model": f"random Qwen2-VL, {arguments.layers} layers, {arguments.hidden} wide, {weights:,} weights, "
        f"{arguments.dtype} on {arguments.device}",
        "lists": f"2 texts of {arguments.words} words, 1 picture, 2 pictures with such a text, and so on; pictures of "
        f"{arguments.picture_side} pixels in JPEG, {arguments.visual_tokens} visual tokens each at most; windows of "
        f"{arguments.window} by {arguments.stride}",
        "sizes": sizes,
        "speedup_100": next((row["speedup"] for row in sizes if (row["candidates"], row["queries"]) == (100, 1)), None),
    }
    print(json.dumps(found, indent=1) if arguments.json else table(found))
    if arguments.out:
        arguments.out.write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
