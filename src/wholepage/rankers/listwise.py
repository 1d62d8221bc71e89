"""The listwise ranker: texts, pictures, and both in one list; a permutation out, whatever the model says.

    ranker = ListwiseRanker.from_pretrained("Qwen/Qwen2-VL-2B-Instruct", local_files_only=False)
    rankings = ranker.rank(pages)
    ranker.diagnostics.windows, ranker.diagnostics.image_encodings

Pages of any length go through windows; every picture is encoded once, the head of a prompt is read once, and windows
of different queries share a pass. Scores are log-probabilities to be named first among all results of the page.
Source: Rank-Nexus at inference, arXiv 2601.20623.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from wholepage.pages.errors import InputError, WeightsError
from wholepage.pages.images import open_image, read_image_bytes
from wholepage.pages.model import ImageRef, Page, Ranking
from wholepage.pages.protocols import Ranker
from wholepage.rankers.encoders import Progress, ReadBytes
from wholepage.rankers.image import OpenPicture
from wholepage.rankers.listwise_answers import Answer, Mode
from wholepage.rankers.listwise_attention import Memory
from wholepage.rankers.listwise_decoding import ANSWERS
from wholepage.rankers.listwise_diagnostics import Diagnostics, PageDiagnostics, Tally
from wholepage.rankers.listwise_engine import WindowEngine
from wholepage.rankers.listwise_loading import Pretrained, load_pretrained
from wholepage.rankers.listwise_pictures import PictureMemory, Seen, Sights
from wholepage.rankers.listwise_prompt import Delimiting, Request, WindowLimits, WindowPrompt, WindowPrompter
from wholepage.rankers.listwise_round import Sheet, WindowRound, order_of
from wholepage.rankers.permutation import Order
from wholepage.rankers.tower import settings_of
from wholepage.rankers.weights import load_model, save_model
from wholepage.rankers.windows import StrategyName, WindowPlan

KIND = "listwise"
_PRETRAINED = "pretrained"


@dataclass(frozen=True)
class ListwiseConfig:
    """How lists are asked about.

    Attributes:
        strategy, window, stride, passes, top_k: of windows (``windows.WindowPlan``).
        mode: ``first_token`` (one pass a window), ``constrained`` (decodes under the automaton), or ``free`` (decodes
            freely and repairs; for comparison).
        shuffles: each window is asked in so many random orders and the answers made one; 0 = once, as it stands.
        max_rise: places that a result may rise among those of its modality; None = no limit.
        delimiting: ``fenced`` puts every text between marks drawn for the request.
        limits: of texts and pictures in a window.
        seed: of identifiers, shuffles and fences; keep it secret where results may be hostile.
    Raises:
        InputError: a value that is not allowed.
    """

    strategy: StrategyName = "sliding"
    window: int = 20
    stride: int = 10
    passes: int = 1
    top_k: int = 10
    mode: Mode = "first_token"
    shuffles: int = 0
    max_rise: int | None = None
    delimiting: Delimiting = "plain"
    limits: WindowLimits = field(default_factory=WindowLimits)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ANSWERS or self.shuffles < 0 or (self.max_rise is not None and self.max_rise < 0):
            raise InputError(
                f"listwise ranker: got mode {self.mode!r}, {self.shuffles} shuffles, max_rise {self.max_rise}; "
                f"allowed: {', '.join(ANSWERS)}; 0 or more; 0 or more, or None; choose again"
            )
        if self.delimiting not in ("plain", "fenced"):
            raise InputError(f"listwise ranker: got delimiting {self.delimiting!r}; allowed: 'plain' or 'fenced'")
        _ = self.plan

    @property
    def plan(self) -> WindowPlan:
        """Of windows, before a page's pictures make them smaller."""
        return WindowPlan(self.strategy, self.window, self.stride, self.passes, self.top_k)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ListwiseConfig:
        """From plain values, as ``asdict`` gives them."""
        return cls(**{**settings, "limits": WindowLimits(**settings["limits"])})


class ListwiseRanker:
    """Ranks pages of mixed results with one language model that sees the results of a window side by side.

    One call at a time runs; further threads wait. What a call did is in ``diagnostics`` until the next.

    Args:
        pretrained: the model.
        reference: says how far each result may rise, with ``max_rise``; None = the order received, which is that of
            the single-modal rankers where pages come from them.
        windows_per_pass, tokens_per_pass, pages_per_round: how much runs together; the order never depends on it, a
            score by no more than rounding.
        cache_bytes: of pictures seen, kept in memory.  store: a folder where they are kept for other runs.
        progress: told while pictures are seen.
    Raises:
        InputError: a window larger than there are identifiers, or a size below 1.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        config: ListwiseConfig | None = None,
        *,
        name: str | None = None,
        reference: Ranker | None = None,
        windows_per_pass: int = 32,
        tokens_per_pass: int = 16384,
        pages_per_round: int = 32,
        cache_bytes: int = 1 << 30,
        store: Path | None = None,
        open_picture: OpenPicture = open_image,
        read: ReadBytes = read_image_bytes,
        progress: Progress | None = None,
    ) -> None:
        self.pretrained, self.config, self.reference = pretrained, config or ListwiseConfig(), reference
        self._name = name or f"listwise({pretrained.name})"
        if self.config.window > len(pretrained.words.pool) or pages_per_round < 1:
            raise InputError(
                f"{self._name}: got a window of {self.config.window} for {len(pretrained.words.pool)} identifiers, "
                f"{pages_per_round} pages a round; allowed: no more than there are, and 1 or more; use smaller windows"
            )
        self._pages_per_round = pages_per_round
        self.prompter = WindowPrompter(
            pretrained.words,
            marks=pretrained.marks,
            limits=self.config.limits,
            delimiting=self.config.delimiting,
            seed=self.config.seed,
            context=pretrained.context,
        )
        passes = {"windows_per_pass": windows_per_pass, "tokens_per_pass": tokens_per_pass}
        eyes = pretrained.processor is not None
        self.engine = WindowEngine(pretrained.spans, pretrained.embed, pretrained.vocabulary, three_axes=eyes, **passes)
        how: dict[str, Any] = {"open_picture": open_picture, "read": read, "progress": progress}
        self.pictures = (
            PictureMemory(
                pretrained.model.model, pretrained.processor, mark=pretrained.sight, cache_bytes=cache_bytes,
                folder=store, **how,
            )
            if eyes
            else None
        )  # fmt: skip
        self._one_call = threading.Lock()
        self.diagnostics = Diagnostics()

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        config: ListwiseConfig | None = None,
        *,
        local_files_only: bool = True,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device | None = None,
        **settings: Any,
    ) -> ListwiseRanker:
        """A ranker on a pretrained model, as it comes.

        Args:
            model, local_files_only, dtype, device: as for ``listwise_loading.load_pretrained``.
            settings: as for the class.
        Raises:
            WeightsError: the model cannot be found, reached or read, or is of a form that cannot be used.
            InputError: settings that are not allowed.
        """
        loaded = load_pretrained(model, local_files_only=local_files_only, dtype=dtype, device=device)
        return cls(loaded, config, **settings)

    @property
    def name(self) -> str:
        return self._name

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        """One ranking a page, best first, with scores; each a permutation of its page.

        Raises:
            ImageError: a picture cannot be read; names the query, and the result's index and id.
            NoRanker: a result that is a picture alone, and a model without eyes.
            InputError: memory or context do not hold a single window.
        """
        return self.rank_and_tell(pages)[0]

    def rank_and_tell(self, pages: Sequence[Page]) -> tuple[list[Ranking], Diagnostics]:
        """As ``rank``, with what the call did.

        Raises:
            ImageError, NoRanker, InputError: as ``rank``.
        """
        with self._one_call:
            started = time.perf_counter()
            tally = Tally(self.engine.counts, None if self.pictures is None else self.pictures.counts)
            ranked: list[tuple[Ranking, PageDiagnostics]] = []
            for start in range(0, len(pages), self._pages_per_round):
                ranked += self._round(pages[start : start + self._pages_per_round])
            told = tuple(page for _, page in ranked)
            notices = [
                f"query {page.query_id!r}: windows of {page.window} in place of {self.config.window}, to keep limits"
                for page in told
                if page.window < self.config.window
            ]
            self.diagnostics = tally.since(told, notices, (time.perf_counter() - started) * 1e3)
            return [ranking for ranking, _ in ranked], self.diagnostics

    def _round(self, pages: Sequence[Page]) -> list[tuple[Ranking, PageDiagnostics]]:
        sheets, heads, seen = self._sheets(pages)
        prompter, config = self.prompter, self.config

        def read(prompts: Sequence[WindowPrompt], of: Sequence[int]) -> list[Answer]:
            return ANSWERS[config.mode](self.engine, prompter.words, prompts, [heads[i] for i in of], seen)

        windows = WindowRound(
            sheets, prompter.words.pool, prompter.window, read, shuffled=config.shuffles, seed=config.seed
        )
        references = self._references(pages)
        ranked = []
        for sheet, driven, reference in zip(sheets, windows.drive(), references, strict=True):
            order = sheet.guarded(sheet.order(driven), reference, config.max_rise)
            ranked.append((sheet.ranking(order, self.name), sheet.diagnostics(driven)))
        return ranked

    def _sheets(self, pages: Sequence[Page]) -> tuple[list[Sheet[Request]], dict[int, Memory], Mapping[str, Seen]]:
        """Pictures seen and heads read, for the windows of all pages; a page of less than two needs none."""
        prompter = self.prompter
        fits = [prompter.fit(page, self.config.plan) for page in pages]
        wanted: dict[tuple[ImageRef, int], str] = {}
        for page, fit in zip(pages, fits, strict=True):
            for ref in prompter.asked(page.query):
                wanted.setdefault((ref, fit.per_picture), f"query {page.query_id!r}: its image")
            for i, result in enumerate(page.results):
                for ref in prompter.shown(result):
                    place = f"query {page.query_id!r}: results[{i}] {result.result_id!r}"
                    wanted.setdefault((ref, fit.per_picture), place)
        sights = Sights({}, {}) if self.pictures is None else self.pictures.look(wanted)
        requests = []
        for page, fit in zip(pages, fits, strict=True):
            own = {ref: picture for (ref, size), picture in sights.pictures.items() if size == fit.per_picture}
            requests.append(prompter.request(page, fit, own))
        asked = [i for i, page in enumerate(pages) if len(page) > 1]
        heads = self.engine.heads([requests[i].head for i in asked], sights.seen)
        sheets = [Sheet(page, request) for page, request in zip(pages, requests, strict=True)]
        return sheets, dict(zip(asked, heads, strict=True)), sights.seen

    def _references(self, pages: Sequence[Page]) -> list[Order]:
        """The order of each page that limits how far a result may rise."""
        if self.config.max_rise is None or self.reference is None:
            return [tuple(range(len(page))) for page in pages]
        return [order_of(page, found) for page, found in zip(pages, self.reference.rank(pages), strict=True)]

    def save(self, folder: Path) -> None:
        """Write a model folder of kind ``listwise``, with the whole model inside.

        Raises:
            WeightsError: the folder holds something else.
        """
        with tempfile.TemporaryDirectory() as scratch:
            self.pretrained.write(Path(scratch))
            files = {f"{_PRETRAINED}/{p.name}": p for p in sorted(Path(scratch).iterdir()) if p.is_file()}
            config = {
                "name": self.name,
                "settings": asdict(self.config),
                "model": {"name": self.pretrained.name, "fingerprint": self.pretrained.fingerprint},
                "dtype": str(self.pretrained.embed.weight.dtype).removeprefix("torch."),
                "reference": None if self.reference is None else self.reference.name,
            }
            save_model(folder, KIND, config, {}, files)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str | torch.device | None = None,
        reference: Ranker | None = None,
        **settings: Any,
    ) -> ListwiseRanker:
        """Read a model folder.

        Args:
            reference: the ranker that it was saved with, where there was one.
            settings: as for the class.
        Raises:
            WeightsError: another kind, a damaged file, other weights, or a reference that is missing.
        """
        folder = Path(folder)
        config, _ = load_model(folder, KIND)
        with settings_of(folder):
            wanted, got = config["reference"], None if reference is None else reference.name
            if wanted is not None and got != wanted:
                raise WeightsError(
                    f"{folder}: got the reference {got!r}; allowed: {wanted!r}, which limits how far results rise; "
                    "pass that ranker"
                )
            dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[config["dtype"]]
            loaded = load_pretrained(folder / _PRETRAINED, dtype=dtype, device=device)
            if loaded.fingerprint != config["model"]["fingerprint"]:
                raise WeightsError(
                    f"{folder}: got a model {loaded.fingerprint}; allowed: {config['model']['fingerprint']}, as saved; "
                    "copy the folder again"
                )
            loaded = replace(loaded, name=config["model"]["name"])
            chosen = ListwiseConfig.of(config["settings"])
            return cls(loaded, chosen, name=config["name"], reference=reference, **settings)
