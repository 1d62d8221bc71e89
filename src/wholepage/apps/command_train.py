"""``wholepage demo``, ``compare`` and ``train``: commands that learn.

``demo`` needs nothing: it generates its pages. ``compare`` runs the same experiment on a collection. ``train`` only
trains, and keeps the model: ``train smar`` a page reranker, ``train text`` and its like the ranker of one modality,
``train nexus`` a listwise ranker (``command_nexus``).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wholepage.apps import command_nexus

if TYPE_CHECKING:
    from wholepage.apps.comparison import Outcome
    from wholepage.apps.recipes import Recipe

train = typer.Typer(
    name="train",
    help="Train a ranker and keep it as a model folder.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_Pages = Annotated[str, typer.Argument(help="A collection by name, or a file or folder of pages.")]
_Root = Annotated[Path | None, typer.Option("--root", metavar="FOLDER", help="The data folder (else WHOLEPAGE_DATA).")]
_Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels", metavar="FOLDER", help="Page labels that `annotate export` wrote, in place of a strategy."
    ),
]
_Judgments = Annotated[
    Path | None, typer.Option("--judgments", help="With a file of pages: its judgments (.jsonl) or qrels.")
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout in place of tables.")]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything random; the same seed, the same numbers.")]
_TEXT_HELP = "Text encoder: minilm, a folder, or a hub id."
_IMAGE_HELP = (
    "Picture encoder: pixels (no weights), mobilenet (weights in the data folder), none; "
    "auto = what suits the collection."
)
_Text = Annotated[str, typer.Option("--text", help=_TEXT_HELP)]
_Image = Annotated[str, typer.Option("--image", help=_IMAGE_HELP)]


def _out_or_recipe(context: typer.Context, out: Path | None) -> Path | None:
    """A model needs a place: ``--out``, or a recipe that names one."""
    if out is None and not str(context.params.get("pages", "")).endswith(".toml"):
        raise typer.BadParameter("say where the model goes (only a recipe can say it in your place)")
    return out


# What ``train`` takes: None = as the recipe says, or the default.
_PagesOrRecipe = Annotated[
    str, typer.Argument(help="A collection by name, a file or folder of pages, or a recipe (.toml).")
]
_Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FOLDER", help="The model folder to write.", callback=_out_or_recipe),
]
_Split = Annotated[
    str | None, typer.Option("--split", help="Of the collection; default train, or all for a single file.")
]
_TextOr = Annotated[str | None, typer.Option("--text", help=_TEXT_HELP, show_default="minilm")]
_ImageOr = Annotated[str | None, typer.Option("--image", help=_IMAGE_HELP, show_default="auto")]
_SeedOr = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Of everything random; the same seed, the same numbers.", show_default="0"),
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
    show(outcome, "demo: generated pages", json_)
    note(f"report: {out / 'report.html'}")
    note(f"next: wholepage rank {out / 'pages.jsonl'} --model {out / 'model'} -o {out / 'rankings.jsonl'}")


def compare(
    collection: _Pages,
    root: _Root = None,
    judgments: _Judgments = None,
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
    labels: _Labels = None,
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
            labels=labels,
            text=text,
            image=image,
            out=out,
            seed=seed,
            progress=report,
        )
    show(outcome, f"{collection}: {outcome.measured_on}", json_)
    if out is not None:
        note(f"report: {out / 'report.html'}; model: {out / 'model'}")


@train.callback()
def _train() -> None:
    pass


@train.command("smar")
def train_smar(
    pages: _PagesOrRecipe,
    out: _Out = None,
    root: _Root = None,
    judgments: _Judgments = None,
    split: _Split = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            min=0.0,
            max=1.0,
            help="Share of the page judgments to use; 1 = all there are.",
            show_default="0.1",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            help="Which share: concentrated, spread, random, top, whole_pages, ...; or a whole spec: 'anchors(p=0.1)'.",
            show_default="concentrated",
        ),
    ] = None,
    labels: _Labels = None,
    text: _TextOr = None,
    image: _ImageOr = None,
    seed: _SeedOr = None,
    json_: _Json = False,
) -> None:
    """Train the page reranker: single-modal rankers first, then few page judgments, aligned with them (SMAR).

    Labels inside one modality teach the single-modal rankers; of the page judgments only the share named is looked at.
    A recipe says all of it in one file; options given beside it go before what it says.

    Example: wholepage train smar pages.jsonl --judgments pages.qrels --share 0.1 --out runs/model
    """
    from wholepage.apps.console import note, print_json, progress
    from wholepage.pages.errors import require

    require("torch", "train")
    from wholepage.apps import learning

    recipe, folder = _recipe(pages, out, root, judgments, split, text, image, seed)
    recipe = recipe.changed("select", strategy=strategy, share=share, labels=None if labels is None else str(labels))
    with progress() as report:
        facts = learning.train_smar(recipe, folder, progress=report)
    if json_:
        print_json(facts)
    for modality, count in facts.get("truncated", {}).items():
        note(f"{count} labelled {modality} results were longer than their ranker reads; it read their beginning")
    note(f"trained on {facts['page_labels']} page judgments of {facts['pages']} pages; model: {folder}")


train.command("nexus")(command_nexus.train_nexus)


class _Kind(StrEnum):
    """What a single-modal ranker is."""

    TOWER = "tower"
    CROSS_ENCODER = "cross-encoder"


def _train_single(modality: str) -> Callable[..., None]:
    """The command that trains the ranker of one modality."""

    def command(
        pages: _PagesOrRecipe,
        out: _Out = None,
        kind: Annotated[
            _Kind | None,
            typer.Option(
                "--kind",
                help="tower: small, on frozen encoders; cross-encoder: a transformer that reads query and text.",
                show_default="tower",
            ),
        ] = None,
        start: Annotated[
            str | None,
            typer.Option(
                "--start",
                help="What a cross-encoder starts from: minilm, a folder, or a hub id.",
                show_default="minilm",
            ),
        ] = None,
        root: _Root = None,
        judgments: _Judgments = None,
        split: _Split = None,
        text: _TextOr = None,
        image: _ImageOr = None,
        seed: _SeedOr = None,
        json_: _Json = False,
    ) -> None:
        from wholepage.apps.console import note, print_json, progress
        from wholepage.pages.errors import require
        from wholepage.pages.model import Modality

        require("torch", "train")
        from wholepage.apps import learning

        recipe, folder = _recipe(pages, out, root, judgments, split, text, image, seed)
        chosen = Modality(modality)
        recipe = recipe.ranked_by(chosen, None if kind is None else kind.value, start, seed)
        with progress() as report:
            facts = learning.train_single(chosen, recipe, folder, progress=report)
        if json_:
            print_json(facts)
        if facts["truncated"]:
            note(f"{facts['truncated']} labelled results were longer than the ranker reads; it read their beginning")
        note(f"trained on {facts['labels']} labels of {modality} results; model: {folder}")

    command.__doc__ = f"""Train the ranker of {modality} results from their labels alone, compared within a page.

    It orders pages of {modality} results (`wholepage rank --only {modality}`), and can stand in a recipe of
    `train smar` for other pages than those it learned from.

    Example: wholepage train {modality} pages.jsonl --judgments pages.qrels --out runs/{modality}
    """
    return command


for _modality in ("text", "image", "video", "answer"):
    train.command(_modality)(_train_single(_modality))


def _recipe(
    pages: str,
    out: Path | None,
    root: Path | None,
    judgments: Path | None,
    split: str | None,
    text: str | None,
    image: str | None,
    seed: int | None,
) -> tuple[Recipe, Path]:
    """What to do and where the result goes: a recipe with what was given beside it, or a recipe made of that."""
    from wholepage.apps.recipes import Data, Recipe, read_recipe
    from wholepage.pages.errors import InputError

    written = pages.endswith(".toml")
    recipe = read_recipe(pages) if written else Recipe(Data(collection=pages))
    places = {"root": root, "judgments": judgments}
    recipe = recipe.changed("data", split=split, **{name: p and str(p) for name, p in places.items()})
    recipe = recipe.changed("encoders", text=text, image=image)
    recipe = recipe if seed is None else recipe.seeded(seed)
    if out is None and recipe.out is None:
        raise InputError(f"{pages}: got no [out] folder; allowed: one in the recipe, or --out FOLDER; add either")
    return recipe, out or Path(recipe.out.folder if recipe.out else "")


def show(outcome: Outcome, title: str, json_: bool) -> None:
    """The table of a comparison, or its rows as JSON."""
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
                number(given[f"p_holm_vs_{row.reference}"]),
            ]
        )
    columns = [
        "ranker",
        "nDCG@10",
        "95 % (BCa)",
        "cross-modal pairs right",
        "page labels",
        f"p (Holm) against {outcome.settings.reference}",
    ]
    print_table(title, columns, rows)
