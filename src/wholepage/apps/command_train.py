"""``wholepage demo``, ``compare`` and ``train``: commands that learn.

``demo`` needs nothing: it generates its pages. ``compare`` runs the same experiment on a collection. ``train smar``
only trains, and keeps the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wholepage.apps.comparison import Outcome

train = typer.Typer(
    name="train",
    help="Train a ranker and keep it as a model folder.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_Root = Annotated[Path | None, typer.Option("--root", metavar="FOLDER", help="The data folder (else WHOLEPAGE_DATA).")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout in place of tables.")]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything random; the same seed, the same numbers.")]
_Text = Annotated[str, typer.Option("--text", help="Text encoder: minilm, a folder, or a hub id.")]
_Image = Annotated[
    str,
    typer.Option(
        "--image",
        help="Picture encoder: pixels (no weights), mobilenet (weights in the data folder), none; "
        "auto = what suits the collection.",
    ),
]


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where everything goes.")] = Path(
        "runs/demo"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer pages: to see that it runs, not how good it is.")
    ] = False,
    seed: _Seed = 0,
    json_: _Json = False,
) -> None:
    """The main job from end to end, on generated pages: no data, no network, no GPU.

    Single-modal rankers are trained, a tenth of the page judgments is bought, the page reranker is trained on them, and
    measured against honest baselines. The folder then holds model/, pages.jsonl, judgments.jsonl and report.html.

    Example: wholepage demo --quick
    """
    from wholepage.apps.console import note, progress
    from wholepage.pages.errors import require

    require("torch", "train")
    from wholepage.apps import experiments

    with progress() as report:
        outcome = experiments.demo(out, quick=quick, seed=seed, progress=report)
    _show(outcome, "demo: generated pages", json_)
    note(f"report: {out / 'report.html'}")
    note(f"next: wholepage rank {out / 'pages.jsonl'} --model {out / 'model'} -o {out / 'rankings.jsonl'}")


def compare(
    collection: Annotated[str, typer.Argument(help="A collection by name, or a file or folder of pages.")],
    root: _Root = None,
    judgments: Annotated[
        Path | None, typer.Option("--judgments", help="With a file of pages: its judgments (.jsonl) or qrels.")
    ] = None,
    train_split: Annotated[str, typer.Option("--train-split", help="The split that is learned from.")] = "train",
    test_split: Annotated[str, typer.Option("--test-split", help="The split that is measured.")] = "dev",
    folds: Annotated[
        int | None,
        typer.Option("--folds", min=2, help="Cross-validate on the training split instead; grocery does so by itself."),
    ] = None,
    transfer_from: Annotated[
        list[str] | None,
        typer.Option(
            "--transfer-from",
            help="Learn from this collection instead; again for more. financebench: opencqa, mmdocir.",
        ),
    ] = None,
    strategy: Annotated[
        str,
        typer.Option("--strategy", help="Which judgments are bought: concentrated, spread, random, top, whole_pages."),
    ] = "concentrated",
    text: _Text = "minilm",
    image: _Image = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Keep the model and a report here.")
    ] = None,
    seed: _Seed = 0,
    json_: _Json = False,
) -> None:
    """Train on a collection and measure against honest baselines, with intervals and corrected p-values.

    Example: wholepage compare financebench --root data --transfer-from opencqa --transfer-from mmdocir --json
    """
    from wholepage.apps.console import note, progress
    from wholepage.pages.errors import require

    require("torch", "train")
    from wholepage.apps import experiments

    with progress() as report:
        outcome = experiments.compare_on(
            collection,
            root=root,
            judgments=judgments,
            train_split=train_split,
            test_split=test_split,
            folds=folds,
            transfer_from=transfer_from or [],
            strategy=strategy,
            text=text,
            image=image,
            out=out,
            seed=seed,
            progress=report,
        )
    _show(outcome, f"{collection}: {outcome.measured_on}", json_)
    if out is not None:
        note(f"report: {out / 'report.html'}; model: {out / 'model'}")


@train.callback()
def _train() -> None:
    pass


@train.command("smar")
def train_smar(
    pages: Annotated[str, typer.Argument(help="A collection by name, or a file or folder of pages.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="The model folder to write.")],
    root: _Root = None,
    judgments: Annotated[
        Path | None, typer.Option("--judgments", help="With a file of pages: its judgments (.jsonl) or qrels.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Of the collection; default train, or all for a single file.")
    ] = None,
    share: Annotated[
        float, typer.Option("--share", min=0.0, max=1.0, help="Share of the page judgments to use; 1 = all there are.")
    ] = 0.1,
    strategy: Annotated[
        str, typer.Option("--strategy", help="Which share: concentrated, spread, random, top, whole_pages.")
    ] = "concentrated",
    text: _Text = "minilm",
    image: _Image = "auto",
    seed: _Seed = 0,
    json_: _Json = False,
) -> None:
    """Train the page reranker: single-modal rankers first, then few page judgments, aligned with them (SMAR).

    Labels inside one modality teach the single-modal rankers; of the page judgments only the share named is looked at.

    Example: wholepage train smar pages.jsonl --judgments pages.qrels --share 0.1 --out runs/model
    """
    from wholepage.apps.console import note, print_json, progress
    from wholepage.pages.errors import require

    require("torch", "train")
    from wholepage.apps import experiments

    with progress() as report:
        facts = experiments.train_smar(
            pages,
            out,
            root=root,
            judgments=judgments,
            split=split,
            share=share,
            strategy=strategy,
            text=text,
            image=image,
            seed=seed,
            progress=report,
        )
    if json_:
        print_json(facts)
    note(f"trained on {facts['page_labels']} page judgments of {facts['pages']} pages; model: {out}")


def _show(outcome: Outcome, title: str, json_: bool) -> None:
    from wholepage.apps.console import number, print_json, print_table

    if json_:
        print_json([row.to_json() for row in outcome.rows])
        return
    rows = []
    for row in outcome.rows:
        given = row.to_json()
        bounds = f"{number(given['low'])} .. {number(given['high'])}"
        rows.append(
            [
                str(given["ranker"]),
                number(given["ndcg@10"]),
                bounds,
                number(given["cross_pair_accuracy"]),
                str(given["labels"]),
                number(given["p_holm_vs_smar_10"]),
            ]
        )
    columns = [
        "ranker",
        "nDCG@10",
        "95 % (BCa)",
        "cross-modal pairs right",
        "page labels",
        "p (Holm) against smar_10",
    ]
    print_table(title, columns, rows)
