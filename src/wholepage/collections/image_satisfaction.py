"""Image search sessions: what users were content with, and how others graded the rows and screens they saw.

Files below ``image_search_preferences/``, each plain or with ``.gz``::

    tois_query_satisfaction.csv   user, task, query number, query, satisfaction 1 to 5 (said by the user)
    tois_row_judgments.csv        user, task, query number, row from 0, relevance 0 to 3
    tois_page_judgments.csv       user, task, query number, screen from 1, relevance 0 to 3
    tois_task.txt                 number: "what the users were asked to do"

The single pictures and their names are not in the data, so nothing can be put on a ``Page``: these are records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from wholepage.collections.image_preference_files import Line, file_of, table
from wholepage.pages import RecordError
from wholepage.pages.lines import read_lines, text_of

LICENCE = "unclear: no licence file; the README asks to cite the paper; for measuring only"
SOURCE = "On Annotation Methodologies for Image Search Evaluation (TOIS 37(3), 2019); ThuYShao/DataForTOIS"

_KEY = ("user", "task", "number")
_TASK = re.compile(r'(?P<number>\d+): "(?P<text>.*\S.*)"')
_Key = tuple[int, int, int]


class JudgedSearch(msgspec.Struct, frozen=True):
    """One query of one user, with everything that was said of the pictures found.

    Attributes:
        user, task, number: the query is the number-th of this user in this task.
        satisfaction: the user's own word, 1 (not at all) to 5.
        rows: relevance of each row of pictures, from the top, 0 to 3.
        screens: relevance of each screen of results ("page" in the file), first one first, 0 to 3.
    """

    user: int
    task: int
    number: int
    query: str
    satisfaction: int
    rows: tuple[int, ...]
    screens: tuple[int, ...]


def read_judged_searches(root: str | Path) -> tuple[JudgedSearch, ...]:
    """Every search, in the order of the file of satisfaction.

    Args:
        root: the data folder, with ``image_search_preferences/``.
    Raises:
        InputError: a file is missing.
        RecordError: a line cannot be read, a search or a row comes twice, or a file lacks a search that another has.
    """
    said = file_of(root, "tois_query_satisfaction.csv")
    row_file, screen_file = file_of(root, "tois_row_judgments.csv"), file_of(root, "tois_page_judgments.csv")
    rows = _graded(row_file, "row_id", first=0)
    screens = _graded(screen_file, "page_id", first=1)
    found: dict[_Key, JudgedSearch] = {}
    header = ("user_id", "task_id", "query_id", "query", "satisfaction")
    for line in table(said, header, (*_KEY, "query", "satisfaction")):
        key = _key(line)
        if key in found:
            raise line.error("user, task, number", f"{key} again", "each search once", "drop one")
        if key not in rows or key not in screens:
            missing = row_file if key not in rows else screen_file
            raise line.error("user, task, number", f"{key}", f"a search of {missing.name} too", "complete the files")
        found[key] = JudgedSearch(
            *key, line.text("query"), line.whole("satisfaction", 1, 5), tuple(rows[key]), tuple(screens[key])
        )
    for path, graded in ((row_file, rows), (screen_file, screens)):
        _check_known(path, graded, found, said)
    return tuple(found.values())


def read_tasks(root: str | Path) -> dict[int, str]:
    """What the users were asked to do, by task number; task 0 was for warming up.

    Raises:
        InputError: the file is missing.
        RecordError: a line is no task, or a task comes twice.
    """
    path, found = file_of(root, "tois_task.txt"), dict[int, str]()
    for number, raw in read_lines(path):
        text = text_of(path, number, raw).rstrip("\r\n")
        if text.startswith("#"):
            continue
        task = _TASK.fullmatch(text.rstrip())
        if task is None or int(task["number"]) in found:
            raise RecordError(path, number, "line", repr(text[:60]), 'a new number, a colon, "text"', "mend the line")
        found[int(task["number"])] = task["text"]
    return found


def _graded(path: Path, place: str, *, first: int) -> dict[_Key, list[int]]:
    """Grades by search, in the order of their places, which must follow one another."""
    found: dict[_Key, list[int]] = {}
    for line in table(path, ("user", "task_id", "query_id", place, "relevance"), (*_KEY, place, "relevance")):
        grades = found.setdefault(_key(line), [])
        here = line.whole(place, first)
        if here != first + len(grades):
            raise line.error(place, str(here), f"{first + len(grades)}, the next of {_key(line)}")
        grades.append(line.whole("relevance", 0, 3))
    return found


def _key(line: Line) -> _Key:
    return line.whole("user", 0), line.whole("task", 0), line.whole("number", 0)


def _check_known(path: Path, graded: Iterable[_Key], found: Iterable[_Key], said: Path) -> None:
    alone = sorted(set(graded).difference(found))
    if alone:
        raise RecordError(
            path, 0, "user, task, number", f"{alone[:3]}", f"searches of {said.name}", "complete the files"
        )
