"""What the emoji files say: drawings, their words, how many word lists attach a term, and which drawings there are.

    emoji/emoji.jsonl.gz            {"id", "char", "name", "group", "subgroup", "cldr_tags", "emojilib", "gemoji",
                                     "files": {style: path below emoji/}}, one emoji a line
    emoji/keyword_grades.tsv.gz     term, emoji, grade: how many of the three word lists attach the term, 1 to 3
    emoji.zip                       emoji/<style>/<id>.png

A drawing that a line names and the archive lacks does not exist for us: the archive may hold some styles only.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from wholepage.collections.judged_pages import Identifier, Written
from wholepage.pages import InputError, RecordError
from wholepage.pages.lines import decode, read_lines, text_of

_HEADER = ["term", "emoji", "grade"]
_WORD = re.compile(r"\w+")
_MIN_PLURAL = 4  # letters; "bus" is no plural


class EmojiLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One emoji of ``emoji.jsonl``; the three lists are of CLDR, emojilib and gemoji."""

    id: Identifier
    char: Written
    name: Written
    group: Annotated[int, msgspec.Meta(ge=0)]
    subgroup: Annotated[int, msgspec.Meta(ge=0)]
    cldr_tags: tuple[str, ...]
    emojilib: tuple[str, ...]
    gemoji: tuple[str, ...]
    files: dict[str, str]

    @property
    def keywords(self) -> frozenset[str]:
        """Everything that any list attaches."""
        return frozenset((*self.cldr_tags, *self.emojilib, *self.gemoji))

    @property
    def description(self) -> str:
        """Name and CLDR tags, such as ``grinning face: face, grin``."""
        return f"{self.name}: {', '.join(self.cldr_tags)}" if self.cldr_tags else self.name


class Drawing(NamedTuple):
    """A member of the archive; drawings of equal checksum and size are the same picture."""

    member: str
    same_as: tuple[int, int]


class EmojiWords(NamedTuple):
    """All of it.

    Attributes:
        emojis: by id, in the order of the file.  grades: by term, then by emoji id.
        drawings: by style, then by emoji id.
    """

    emojis: Mapping[str, EmojiLine]
    grades: Mapping[str, Mapping[str, int]]
    drawings: Mapping[str, Mapping[str, Drawing]]


_LINE = msgspec.json.Decoder(EmojiLine)


def read_emoji(root: Path) -> EmojiWords:
    """The emoji files below a data folder.

    Raises:
        InputError: a file is missing.
        RecordError: a line cannot be read, an emoji comes twice, or a grade is of an unknown emoji or no 1, 2 or 3.
    """
    for name in ("emoji/emoji.jsonl.gz", "emoji/keyword_grades.tsv.gz", "emoji.zip"):
        if not (root / name).is_file():
            raise InputError(
                f"collection 'emoji': got no file {str(root / name)!r}; allowed: a data folder that holds {name}; "
                "set WHOLEPAGE_DATA or pass root"
            )
    emojis = _emojis(root / "emoji/emoji.jsonl.gz")
    grades = _grades(root / "emoji/keyword_grades.tsv.gz", emojis)
    return EmojiWords(emojis, grades, _drawings(root / "emoji.zip", emojis))


def says(emoji: EmojiLine, term: str) -> bool:
    """Whether name or keywords hold the term, or its plural or singular in -s, perhaps among other words.

    The word lists are short: an emoji that no list attaches to "flower" may well have the keyword "flowers". Such an
    emoji is neither relevant nor irrelevant to the term.
    """
    wanted = _stems(term)
    return any(_holds(_stems(text), wanted) for text in (emoji.name, *emoji.keywords))


def words_of(emoji: EmojiLine) -> frozenset[str]:
    """The words of name and keywords, singular."""
    return frozenset(stem for text in (emoji.name, *emoji.keywords) for stem in _stems(text))


def stem_of(term: str) -> str:
    """The words of a keyword in lower case and singular, joined by a blank; the keyword itself where it has none."""
    return " ".join(_stems(term)) or term


def _stems(text: str) -> tuple[str, ...]:
    words = _WORD.findall(text.lower())
    return tuple(w[:-1] if len(w) >= _MIN_PLURAL and w.endswith("s") and not w.endswith("ss") else w for w in words)


def _holds(text: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    width = len(wanted)
    return width > 0 and any(text[i : i + width] == wanted for i in range(len(text) - width + 1))


def _emojis(path: Path) -> dict[str, EmojiLine]:
    found: dict[str, EmojiLine] = {}
    for line, raw in read_lines(path):
        emoji = decode(_LINE, path, line, raw)
        if emoji.id in found:
            raise RecordError(path, line, "id", f"{emoji.id!r} again", "each emoji once", "drop one")
        found[emoji.id] = emoji
    return found


def _grades(path: Path, emojis: Mapping[str, EmojiLine]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for line, raw in read_lines(path):
        columns = text_of(path, line, raw).rstrip("\r\n").split("\t")
        if line == 1 and columns == _HEADER:
            continue
        if len(columns) != 3 or not columns[0].strip():
            raise RecordError(path, line, "line", f"{len(columns)} columns", "term, emoji, grade", "mend the line")
        term, emoji_id, grade = columns
        if emoji_id not in emojis:
            raise RecordError(path, line, "emoji", repr(emoji_id), "an id of emoji.jsonl.gz", "drop the line")
        if grade not in ("1", "2", "3"):
            raise RecordError(path, line, "grade", repr(grade), "1, 2 or 3", "mend the line")
        if emoji_id in found.setdefault(term, {}):
            raise RecordError(path, line, "emoji", f"{emoji_id!r} again for {term!r}", "each pair once", "drop one")
        found[term][emoji_id] = int(grade)
    return found


def _drawings(archive: Path, emojis: Mapping[str, EmojiLine]) -> dict[str, dict[str, Drawing]]:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {one.filename: (one.CRC, one.file_size) for one in opened.infolist()}
    except zipfile.BadZipFile as error:
        raise RecordError(archive, 0, "archive", str(error), "a whole ZIP file", "fetch the file again") from error
    found: dict[str, dict[str, Drawing]] = {}
    for emoji in emojis.values():
        for style, file in emoji.files.items():
            member = f"emoji/{file}"
            if member in members:
                found.setdefault(style, {})[emoji.id] = Drawing(member, members[member])
    return found
