"""``wholepage rank PAGES.jsonl``: put the results of each page in order."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_PAGES_A_STEP = 32


class RankingFormat(StrEnum):
    """How rankings are written."""

    JSONL = "jsonl"
    TREC = "trec"


class OneModality(StrEnum):
    """``pages.model.Modality``, here because `wholepage --help` must not wait for its libraries."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    ANSWER = "answer"


class Dialect(StrEnum):
    """What a server understands beyond plain chat completions."""

    VLLM = "vllm"
    OPENAI = "openai"


def rank(
    pages: Annotated[Path, typer.Argument(help="Pages, one JSON object a line (.jsonl, .jsonl.gz).")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="FOLDER", help="A model folder; without it the offline default ranks."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is stdout, nothing else on it.")
    ] = "-",
    format_: Annotated[
        RankingFormat, typer.Option("--format", help="jsonl: rankings with ids and scores; trec: a TREC run.")
    ] = RankingFormat.JSONL,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", min=1, metavar="K", help="Keep the first K of each page.")
    ] = None,
    only: Annotated[
        OneModality | None,
        typer.Option("--only", help="Rank the results of one modality and leave the others out."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="FOLDER", help="The data folder, for weights (else WHOLEPAGE_DATA)."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", help="With --model NAME: the address of a server whose model ranks listwise."),
    ] = None,
    dialect: Annotated[
        Dialect, typer.Option("--dialect", help="What that server is: vllm, or any other OpenAI-compatible one.")
    ] = Dialect.VLLM,
    key: Annotated[
        str | None, typer.Option("--key-variable", help="Environment variable that holds its key; none = no key.")
    ] = None,
) -> None:
    """Put the results of each page in order.

    Every picture is opened first: one that is missing or broken ends the command, nothing is scored unseen. A model of
    one modality (`wholepage train text`) refuses pages with others; --only leaves those out.

    With --endpoint a model behind an OpenAI-compatible address ranks, list by list; the texts and pictures of the pages
    are sent there.

    Example: wholepage rank pages.jsonl --model runs/demo/model -o rankings.jsonl
    """
    from contextlib import ExitStack

    from wholepage.apps.console import deliver, note, progress
    from wholepage.apps.documents import check_pictures
    from wholepage.apps.places import cache_folder, file_there
    from wholepage.apps.resolve import ranker_from
    from wholepage.pages.errors import InputError, require
    from wholepage.pages.model import Modality
    from wholepage.pages.records import read_pages, write_rankings, write_run

    listed = list(read_pages(file_there(pages, "pages")))
    if only is not None:
        listed = [page.only(Modality(only.value)) for page in listed]
    ranked = []
    if endpoint is not None and model is None:
        raise InputError("rank: got --endpoint without --model; allowed: both; name the model as the server calls it")
    with progress() as report, ExitStack() as open_:
        for done, page in enumerate(listed, start=1):
            check_pictures(page)
            report(done, len(listed), "pictures opened")
        if endpoint is not None:
            require("httpx", "annotate")
            from wholepage.apps.served import served_ranker

            ranker = open_.enter_context(served_ranker(endpoint, str(model), key_variable=key, dialect=dialect.value))
        else:
            ranker = ranker_from(model, root=root, cache=cache_folder(), progress=report)
        note(f"ranked by {ranker.name}" if model else f"no --model given; ranked by the {ranker.name}")
        for start in range(0, len(listed), _PAGES_A_STEP):
            part = listed[start : start + _PAGES_A_STEP]
            ranked += [ranking.check(page) for ranking, page in zip(ranker.rank(part), part, strict=True)]
            report(len(ranked), len(listed), "pages ranked")
    silent = sum(score is None for ranking in ranked for score in ranking.scores or ())
    if silent:
        note(f"no opinion on {silent} of {sum(map(len, ranked))} results (nothing to read): placed last, score null")
    cut = getattr(ranker, "truncated", 0)
    if cut:
        note(f"{cut} results were longer than the ranker reads; it read their beginning")
    kept = ranked if top_k is None else [ranking.top(top_k) for ranking in ranked]
    if format_ is RankingFormat.JSONL:
        deliver(output, "rankings.jsonl", lambda place: write_rankings(place, kept))
    else:
        made_by = "offline" if model is None else Path(model).resolve().name
        tag = "-".join(["wholepage", *made_by.split()])  # a run's tag holds no white space
        deliver(output, "run.trec", lambda place: write_run(place, kept, tag))
