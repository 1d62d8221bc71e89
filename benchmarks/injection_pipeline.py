"""How far a result gets that tells the listwise ranker to name it first: through its real prompts, with each defence.

    python benchmarks/injection_pipeline.py --json

As ``injection.py``, but the rankers are ``ListwiseRanker`` itself: its windows, prompts, tokens, identifiers, shuffles
and guard. Only the language model is replaced, by readers of the prompt's own tokens: one that believes everything that
any result says, and one that believes what does not stand in the fence that the system message announced; the first
tells what fences do not help against, the second whether a text can break out of one. What pictures show cannot be
fenced. Nothing is written unless ``--out`` names a file.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from conditions import command, commit
from injection import OBEYED, measure, table
from injection_corpus import FAMILIES, MEDIA, ZERO_WIDTH, Case, corpus
from listwise_engine import make_texts, make_tokenizer, write_model
from wholepage.pages.model import ImageRef, Page, Ranking
from wholepage.pages.protocols import ranking_of
from wholepage.rankers.encoders import image_key
from wholepage.rankers.listwise import ListwiseConfig, ListwiseRanker
from wholepage.rankers.listwise_answers import FirstToken
from wholepage.rankers.listwise_attention import Memory
from wholepage.rankers.listwise_engine import WindowEngine
from wholepage.rankers.listwise_loading import Pretrained, load_pretrained
from wholepage.rankers.listwise_prompt import Passage, WindowLimits, WindowPrompt

LIMITS = WindowLimits(text_tokens=2000, most_per_picture=64, least_per_picture=16)
DEFENCES: Mapping[str, ListwiseConfig] = {
    "drawn identifiers": ListwiseConfig(limits=LIMITS),
    "and fences": ListwiseConfig(limits=LIMITS, delimiting="fenced"),
    "and 5 shuffles": ListwiseConfig(limits=LIMITS, shuffles=5),
    "and a rise of 2 at most": ListwiseConfig(limits=LIMITS, max_rise=2),
    "and all of them": ListwiseConfig(limits=LIMITS, delimiting="fenced", shuffles=5, max_rise=2),
}
READERS = ("believes all", "keeps to fences")
_ENTRY = re.compile(r"^\[([A-Z]+)\]", re.MULTILINE)
_FENCE = re.compile(r"two marks <<([A-Z]+)>>")


@dataclass
class Said(Memory):
    """What a head says."""

    text: str = ""


class Reader(WindowEngine):
    """A stub in place of a language model: it reads the tokens of prompts, counts words of the query, and obeys."""

    def prepare(self, ranker: ListwiseRanker, cases: Sequence[Case], keeps_to_fences: bool) -> Reader:
        """What it believes, and what it sees in pictures."""
        self._decode = ranker.pretrained.tokenizer.decode
        self._orders = [_flat(order) for order in sorted({case.order for case in cases})]
        seen = {uri: text for case in cases for uri, text in case.seen.items()}
        self._shown = {image_key(ImageRef(uri)): _flat(text) for uri, text in seen.items()}
        self._keeps_to_fences = keeps_to_fences
        return self

    def heads(self, passages: Sequence[Passage], seen: Any) -> list[Memory]:
        """The words of each head."""
        return [Said(text=self._text(passage)) for passage in passages]

    def first_tokens(self, prompts: Sequence[WindowPrompt], pasts: Sequence[Memory], seen: Any) -> list[FirstToken]:
        """Words of the query in each result, a little less the later it stands, and what was told."""
        return [self._read(prompt, past) for prompt, past in zip(prompts, pasts, strict=True)]

    def _read(self, prompt: WindowPrompt, past: Memory) -> FirstToken:
        head = past.text if isinstance(past, Said) else ""
        asked = set(head.rpartition("Query:")[2].split("\n")[0].lower().split())
        body = self._text(prompt.body).rpartition("\nQuery:")[0]
        starts = [*_ENTRY.finditer(body)]
        ends = [*(entry.start() for entry in starts[1:]), len(body)]
        told = {entry[1]: body[entry.end() : end] for entry, end in zip(starts, ends, strict=True)}
        names = prompt.identifiers.texts
        values = np.array([len(asked & set(re.findall(r"\w+", told.get(name, "").lower()))) for name in names], float)
        values -= 0.02 * np.arange(len(names))
        fence = _FENCE.search(head)
        for place, name in enumerate(names):
            heard = told.get(name, "")
            if fence and self._keeps_to_fences:
                heard = re.sub(f"<<{fence[1]}>>.*<<{fence[1]}>>", "", heard)
            for order in self._orders:
                if order in _flat(heard):
                    marks = re.findall(r"\[([A-Z]+)\]", order)
                    for one in [names.index(m) for m in marks[:1] if m in names] if marks else [place]:
                        values[one] += OBEYED
        return FirstToken(values.astype(np.float32), lawful=True)

    def _text(self, passage: Passage) -> str:
        """Words, and in the place of each picture what it shows."""
        parts: list[str] = []
        pictures = iter(passage.pictures)
        edges = np.flatnonzero(np.diff(np.r_[False, passage.places, False]))
        at = 0
        for start, end in edges.reshape(-1, 2):
            parts.append(self._decode(passage.tokens[at:start].tolist(), skip_special_tokens=True))
            parts.append(" " + self._shown[next(pictures).key.partition("-")[0]])
            at = end
        parts.append(self._decode(passage.tokens[at:].tolist(), skip_special_tokens=True))
        return "".join(parts).replace(ZERO_WIDTH, "")


def _flat(text: str) -> str:
    return " ".join(text.replace(ZERO_WIDTH, "").split())


class SingleModal:
    """What the guard goes by: rankers that read one result at a time, listen to nobody, and err on their own."""

    name = "single-modal"

    def __init__(self, cases: Sequence[Case], seed: int) -> None:
        self._seen = {uri: text for case in cases for uri, text in case.seen.items()}
        self._seed = seed

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """By words of the query, and noise that is the same for an attacked page and its twin."""
        return [ranking_of(page, self._scores(page), self.name) for page in pages]

    def _scores(self, page: Page) -> np.ndarray:
        asked = set(page.query.text.lower().split())
        texts = [
            " ".join([r.text.replace(ZERO_WIDTH, ""), *(self._seen[i.uri] for i in r.images)]) for r in page.results
        ]
        found = [len(asked & set(re.findall(r"\w+", text.lower()))) for text in texts]
        noise = np.random.default_rng([self._seed, *page.query_id.encode()]).standard_normal(len(page))
        return np.array(found, float) + 0.7 * noise


class Piped:
    """A ListwiseRanker with a reader for its model."""

    def __init__(self, pretrained: Pretrained, cases: Sequence[Case], config: ListwiseConfig, fences: bool) -> None:
        self._ranker = ListwiseRanker(pretrained, config, reference=SingleModal(cases, config.seed))
        reader = Reader(pretrained.spans, pretrained.embed, pretrained.vocabulary, three_axes=True)
        self._ranker.engine = reader.prepare(self._ranker, cases, fences)
        self.name = self._ranker.name

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page."""
        return self._ranker.rank(pages)


def rankers(folder: Path, cases: Sequence[Case], seed: int) -> dict[str, Piped]:
    """Every defence with every reader, on one model folder."""
    pretrained = load_pretrained(folder, device="cpu")
    return {
        f"{reader}; {name}": Piped(pretrained, cases, replace(config, seed=seed), reader == READERS[1])
        for reader in READERS
        for name, config in DEFENCES.items()
    }


def main() -> None:
    """Measures all defences with both readers, and prints or writes what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=3, help="pages a family and medium")
    parser.add_argument("--results", type=int, default=16, help="results a page")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table there too")
    asked = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cases = corpus(seed=asked.seed, pages=asked.pages, results=asked.results)
    with tempfile.TemporaryDirectory() as scratch:
        write_model(Path(scratch), make_tokenizer(make_texts(200, 20, asked.seed)), hidden=64, layers=1)
        piped = rankers(Path(scratch), cases, asked.seed)
        outcomes = measure(piped, cases, undefended=next(iter(piped)))
    if asked.out:
        head = ["# Orders to the listwise ranker, through its own prompts", ""]
        head += [f"- command: `{command()}`", f"- commit: {commit()}", "- readers: stubs, see the script", ""]
        parts = [table(outcomes, ["all", *MEDIA]), table(outcomes, list(FAMILIES))]
        asked.out.write_text("\n".join([*head, *parts]), encoding="utf-8")
    print(json.dumps([asdict(o) for o in outcomes]) if asked.json else table(outcomes, ["all", *MEDIA]))


if __name__ == "__main__":
    main()
