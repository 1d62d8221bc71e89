"""A teacher's answers on disk: a file that only grows, every chunk of it brought to the disk before it counts.

A killed run leaves at most its last line half written: that line is dropped, told, and asked about again. Any other
damage is an error that names the line.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.lines import build, decode, encode, read_lines
from wholepage.pages.model import Page, Ranking
from wholepage.rankers.permutation_teacher import Declined

Answer = Ranking | Declined
"""What a teacher says of a page."""

_SLUG = re.compile(r"[^A-Za-z0-9._-]+")


def kept_file(folder: Path, name: str) -> Path:
    """Where the answers of the teacher of this name are kept."""
    return folder / f"lists-{_SLUG.sub('-', name)[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}.jsonl"


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    page: str
    ranking: Ranking | None = None
    declined: Declined | None = None

    def __post_init__(self) -> None:
        if (self.ranking is None) == (self.declined is None):
            raise InputError("got both or neither of ranking and declined; allowed: one of them; remove the line")

    @property
    def answer(self) -> Answer:
        """The one that is there."""
        return self.ranking or self.declined or Declined("", "")


_LINE = msgspec.json.Decoder(_Line)


class KeptAnswers:
    """What a teacher answered, in this run and in earlier ones.

    Args:
        path: the file; it and its folder are made when there is something to keep. None = memory only.
        asked: the pages of this run by their hash; what is kept of them is checked.
        check: returns an answer to a page, or raises DecodingError.
    Attributes:
        known: by the hash of the page, pages of other runs included.  torn: half-written lines that were dropped.
    Raises:
        RecordError: the file is damaged, or an answer is none to its page.
        InputError: the file cannot be mended.
    """

    def __init__(self, path: Path | None, asked: Mapping[str, Page], check: Callable[[Answer, Page], Answer]) -> None:
        self._path = path
        self.known: dict[str, Answer] = {}
        self.torn = 0
        if path is None or not path.exists():
            return
        self.torn = _drop_torn_line(path)
        for number, raw in read_lines(path):
            line = decode(_LINE, path, number, raw)
            before = self.known.get(line.page)
            if isinstance(before, Ranking) and before != line.answer:
                raise RecordError(
                    path, number, "page", f"{line.page!r} with another answer", "one ranking a page",
                    "delete the file, to ask again",
                )  # fmt: skip
            if line.page in asked:
                build(path, number, "answer", check, line.answer, asked[line.page])
            self.known[line.page] = line.answer

    def forget_declined(self) -> None:
        """Know nothing of what was declined; what is answered now counts instead, on disk too."""
        self.known = {key: answer for key, answer in self.known.items() if isinstance(answer, Ranking)}

    def add(self, keys: Sequence[str], answers: Sequence[Answer]) -> None:
        """Keep answers; when this returns they are on the disk, but for those declined for the moment only.

        Raises:
            InputError: the file cannot be written.
            RecordError: an answer holds what cannot be written.
        """
        self.known |= zip(keys, answers, strict=True)
        if self._path is None:
            return
        path, lines = self._path, bytearray()
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, Ranking):
                lines += encode(_Line(key, ranking=answer), _LINE, path, 0) + b"\n"
            elif answer.lasting:
                lines += encode(_Line(key, declined=answer), _LINE, path, 0) + b"\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(path, error) from error


def _drop_torn_line(path: Path) -> int:
    """Cut off what stands behind the last end of a line; returns how many lines that were."""
    try:
        with open(path, "r+b") as file:
            raw = file.read()
            whole = raw.rfind(b"\n") + 1
            if whole == len(raw):
                return 0
            file.truncate(whole)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error
    return 1


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"kept answers {str(path)!r}: got {error.strerror}; allowed: a file in a folder that may be written to; name "
        "another folder"
    )
