"""The first pages of a collection with what was said of them: to look at, or as files that the other commands read.

wholepage collection sample synthetic -n 3
wholepage collection sample synthetic -n 100 --out sample
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wholepage.apps.console import note, print_table
from wholepage.pages import Collection, InputError, Judgments, Page, RecordError
from wholepage.pages.judgments import Grade, Preference
from wholepage.pages.records import write_judgments, write_pages

PAGES, JUDGMENTS, ABOUT = "pages.jsonl", "judgments.jsonl", "about.json"
_SHOWN = 100  # characters of a text in a table


def judged(opened: Collection, split: str) -> Iterator[tuple[Page, Judgments]]:
    """Pages, each with what was said for its query, also of results that it does not hold, as official figures need.

    No others are held where the collection can tell both at once. Where nobody judged the lists, a note says so and the
    judgments are empty.

    Raises:
        InputError: no such split.
        RecordError: a record cannot be read.
    """
    together = getattr(opened, "graded_pages", None)
    if callable(together):
        for page, grades in together(split):
            yield page, Judgments(grades)
        return
    try:
        said = opened.judgments(split)
    except RecordError:
        raise
    except InputError as error:  # lists that nobody judged; what else is wrong the pages will tell
        note(str(error))
        said = Judgments()
    for page in opened.pages(split):
        yield page, Judgments(said.grades(page.query_id), said.preferences(page.query_id))


def grades_of(page: Page, said: Judgments) -> dict[str, float]:
    """The grades of a page's results, as far as there are any, in their order."""
    grades = said.by_result(page.query_id)
    return {one: grades[one] for one in page.result_ids if one in grades}


def show_sample(shown: Iterable[tuple[Page, Judgments]]) -> None:
    """A table a page on stdout."""
    for page, said in shown:
        grades = grades_of(page, said)
        rows = [
            (
                one.result_id,
                one.modality.value,
                str(len(one.images)),
                f"{grades.get(one.result_id, '-')}",
                _cut(one.text),
            )
            for one in page.results
        ]
        columns = ("result", "modality", "pictures", "grade", "text")
        print_table(f"{page.query_id}: {_cut(page.query.text)}", columns, rows, words=("modality", "text"))


def write_sample(folder: Path, told: Mapping[str, Any], shown: Iterable[tuple[Page, Judgments]]) -> dict[str, int]:
    """Pages, what was said of them, and whose they are, as files.

    Args:
        folder: made where there is none; files of an earlier sample are replaced.
        told: what ``about.json`` is to hold.
    Returns:
        How many pages and judgments.
    Raises:
        InputError: the folder is a file.
        RecordError: a page cannot be read or written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"--out: got {str(folder)!r}, a file; allowed: a folder, made where there is none; name another"
        )
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[Grade | Preference] = []

    def passed() -> Iterator[Page]:
        for page, said in shown:
            kept.extend(said)
            yield page

    pages = write_pages(folder / PAGES, passed())
    judgments = write_judgments(folder / JUDGMENTS, kept)
    (folder / ABOUT).write_text(json.dumps(dict(told), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return {"pages": pages, "judgments": judgments}


def _cut(text: str) -> str:
    # What a terminal would take for a command is no part of the text.
    flat = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 3]}..."
