"""Pair accuracy as a matrix: of each modality and each two, how often the better result stands first."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.patches import Rectangle

from wholepage.evaluation.drawing import INKS, SERIES, SETTINGS, WIDTH_INCH, blank_axes, svg_text
from wholepage.evaluation.markup import plain_text
from wholepage.evaluation.measure_words import plain
from wholepage.evaluation.page_measures import pair_name
from wholepage.evaluation.report import Figure, Heading, Prose, Section, Table
from wholepage.evaluation.run_comparison import EvaluatedRun, RunComparison
from wholepage.evaluation.tables import Cell, Column, Marked
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality

_LEVEL = 0.05
_READING = (
    "Of two results that people graded differently, how often does the better one stand first? On the diagonal both "
    "are of one modality, off it they are of two: there a reranker of whole pages is won or lost. 1 = always, 0.5 = as "
    "by chance. Values are means over the pages that have such pairs."
)


def pairs_section(comparison: RunComparison, *, significant: float = _LEVEL) -> list[Section]:
    """A matrix for each ranker, and the same numbers with intervals in a table; nothing without graded pairs."""
    kinds = _kinds(comparison)
    if not kinds:
        return []
    cells = [(kinds[i], kinds[j]) for i in range(len(kinds)) for j in range(i + 1)]
    cells.sort(key=lambda pair: pair[0] is not pair[1])
    told = [_in_words(run, cells) for run in comparison.runs]
    figure = Figure(
        pair_matrices({run.name: _matrix(run, kinds) for run in comparison.runs}, kinds),
        "Pair accuracy by modality, a matrix for each ranker; the fuller the colour the more pairs are right.",
        "Pair accuracy. " + " ".join(told),
    )
    columns: list[Column] = []
    rows: list[list[Cell]] = [[run.name] for run in comparison.runs]
    for one, other in cells:
        name = _measure(one, other)
        if all(math.isnan(_mean(run, name)) for run in comparison.runs):
            continue
        columns.append(Column(_shown(one, other), best="highest"))
        for row, run in zip(rows, comparison.runs, strict=True):
            row.append(marked(run, name, significant))
    table = Table(
        ("ranker", *columns),
        tuple(tuple(row) for row in rows),
        caption="Pair accuracy within and across modalities.",
        note=marks_note(comparison, significant),
    )
    return [Heading("Pairs within and across modalities"), Prose(_READING), figure, table]


def marked(run: EvaluatedRun, measure: str, significant: float = _LEVEL) -> Marked:
    """A ranker's mean with its interval, and a dagger where it differs from the first."""
    one, against = run.estimates[measure], run.against_first.get(measure)
    mark = "†" if against is not None and against.p_holm < significant else ""
    return Marked(one.mean, mark) if math.isnan(one.low) else Marked(one.mean, mark, one.low, one.high)


def marks_note(comparison: RunComparison, significant: float = _LEVEL) -> str:
    """What the marks and brackets of a table mean."""
    brackets = "In brackets 95 % intervals (BCa bootstrap over queries)."
    if not comparison.others:
        return brackets
    level = f"{significant:g}".removeprefix("0")
    many = f", Holm-corrected for the {len(comparison.others)} rankers compared" if len(comparison.others) > 1 else ""
    return (
        f"{brackets} † differs from {comparison.first.name}: paired permutation test, p < {level}{many} under one "
        "measure. Bold: the best mean."
    )


def pair_matrices(matrices: Mapping[str, Mapping[tuple[int, int], float]], kinds: Sequence[Modality]) -> str:
    """Triangles of pair accuracies, one a ranker, in rows of up to three, as an ``<svg>`` element.

    Args:
        matrices: by ranker, values by row and column (a column is never right of its row); NaN = no pair.
        kinds: the modalities of rows and columns.
    Raises:
        InputError: no ranker or no modality.
    """
    if not matrices or not kinds:
        raise InputError("pair_matrices: got nothing; allowed: one ranker and one modality at least; give some")
    across, side = min(3, len(matrices)), len(kinds)
    names = {name: textwrap.wrap(plain_text(name), 26) or [""] for name in matrices}
    head = 0.75 * max(len(lines) for lines in names.values()) + 0.6
    wide, tall = max(side, 2.6) + 1.7, side + head + 0.9
    down = math.ceil(len(matrices) / across)
    unit = min(0.72, WIDTH_INCH / (3 * wide))
    with matplotlib.rc_context(SETTINGS):
        height = unit * tall * down
        right = max(0.0, WIDTH_INCH - unit * wide * across)
        figure, axes = blank_axes(height, left=0.0, right=right, top=0.0, bottom=0.0)
        axes.set_xlim(0, wide * across)
        axes.set_ylim(tall * down, 0)
        axes.set_axis_off()
        for index, (name, values) in enumerate(matrices.items()):
            x, y = 1.6 + wide * (index % across), head + tall * (index // across)
            axes.text(x - 1.5, y - 0.45, "\n".join(names[name]), va="bottom", fontweight="bold", fontsize=9.2)
            for (row, column), value in sorted(values.items()):
                _cell(axes, x + column, y + row, value)
            for place, kind in enumerate(kinds):
                axes.text(x - 0.15, y + place + 0.5, kind.value, ha="right", va="center", fontsize=8.6)
                axes.text(x + place + 0.5, y + side + 0.12, kind.value, ha="center", va="top", fontsize=8.6)
        return svg_text(figure)


def _cell(axes: object, x: float, y: float, value: float) -> None:
    known = not math.isnan(value)
    place = (x + 0.03, y + 0.03)
    if known:
        strength = 0.06 + 0.42 * max(0.0, min(1.0, 2.0 * value - 1.0))
        axes.add_patch(  # type: ignore[attr-defined]
            Rectangle(place, 0.94, 0.94, facecolor=SERIES["1"], alpha=strength, edgecolor="none")
        )
    edge = Rectangle(place, 0.94, 0.94, fill=False, edgecolor=INKS["faint"], linewidth=0.7)
    axes.add_patch(edge)  # type: ignore[attr-defined]
    axes.text(x + 0.5, y + 0.5, plain(value, 2), ha="center", va="center", fontsize=9.2)  # type: ignore[attr-defined]


def _kinds(comparison: RunComparison) -> list[Modality]:
    """Modalities that occur in at least one graded pair."""
    known = {name for run in comparison.runs for name, one in run.estimates.items() if one.queries}
    present = {kind for page in comparison.pages or () for kind in page.modalities}
    order = [kind for kind in Modality if kind in present]
    return [kind for kind in order if any(_measure(kind, other) in known for other in order)]


def _matrix(run: EvaluatedRun, kinds: Sequence[Modality]) -> dict[tuple[int, int], float]:
    return {
        (row, column): _mean(run, _measure(kinds[row], kinds[column]))
        for row in range(len(kinds))
        for column in range(row + 1)
    }


def _mean(run: EvaluatedRun, measure: str) -> float:
    """NaN also of two modalities that never share a page."""
    return run.estimates[measure].mean if measure in run.estimates else math.nan


def _measure(one: Modality, other: Modality) -> str:
    return f"PairAccuracy({one.value if one is other else pair_name(one, other)})"


def _shown(one: Modality, other: Modality) -> str:
    return one.value if one is other else pair_name(one, other).replace("|", " / ")


def _in_words(run: EvaluatedRun, cells: Sequence[tuple[Modality, Modality]]) -> str:
    means = [(_shown(*pair), _mean(run, _measure(*pair))) for pair in cells]
    told = ", ".join(f"{name} {mean:.2f}" for name, mean in means if not math.isnan(mean))
    return f"{run.name}: {told or 'no pairs'}."
