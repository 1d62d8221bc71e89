"""Emoji lists: what they hold, what they never hold, and what is held out; on a made-up and on the shared data."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from wholepage.collections import open_collection
from wholepage.collections.emoji import LICENCES, Emoji, part_of
from wholepage.collections.emoji_words import EmojiLine, says, stem_of
from wholepage.pages import Collection, InputError, Modality, Page, RecordError
from wholepage.pages.images import open_image

STYLES = ("noto", "twemoji", "fxemoji")
TERMS = [f"term{n}" for n in range(40)]


def emoji(number: int, **fields: Any) -> dict[str, Any]:
    """One of sixty; each attached to two terms by its number."""
    of = [f"term{number % 40}", f"term{(number * 7 + 3) % 40}"]
    line = {
        "id": f"1F{number:03}", "char": chr(0x1F600 + number), "name": f"thing {number}", "group": number % 3,
        "subgroup": number % 6, "cldr_tags": of, "emojilib": of[:1], "gemoji": [],
        "files": {style: f"{style}/1F{number:03}.png" for style in STYLES},
    }  # fmt: skip
    return line | fields


@cache
def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 7), (shade % 256, shade // 256, 99)).save(file, "PNG")
    return file.getvalue()


def write_world(root: Path, lines: list[dict[str, Any]], *, undrawn: tuple[str, ...] = ()) -> Path:
    (root / "emoji").mkdir(parents=True, exist_ok=True)
    (root / "emoji/emoji.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(x) + "\n" for x in lines).encode()))
    rows = ["term\temoji\tgrade"]
    for line in lines:
        lists = [set(line[name]) for name in ("cldr_tags", "emojilib", "gemoji")]
        for term in sorted(set().union(*lists) & set(TERMS)):
            rows.append(f"{term}\t{line['id']}\t{sum(term in one for one in lists)}")
    (root / "emoji/keyword_grades.tsv.gz").write_bytes(gzip.compress("\n".join(rows).encode() + b"\n"))
    with zipfile.ZipFile(root / "emoji.zip", "w") as archive:
        for shade, file in enumerate(file for line in lines for file in line["files"].values()):
            if file not in undrawn:
                archive.writestr(f"emoji/{file}", picture(shade))
    return root


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path, [emoji(n) for n in range(60)])


def lists(collection: Emoji, split: str) -> list[tuple[Page, dict[str, float]]]:
    said = collection.judgments(split)
    return [(page, said.by_result(page.query_id)) for page in collection.pages(split)]


def attached(collection: Emoji, term: str, result_id: str) -> int:
    """The grade, counted anew from the word lists."""
    line = collection.words.emojis[result_id.split(":")[1]]
    return sum(term in words for words in (line.cldr_tags, line.emojilib, line.gemoji))


def check(collection: Emoji, split: str, sizes: range) -> None:
    """All that holds of every list."""
    for page, grades in lists(collection, split):
        kind = page.query_id.split("/")[1]
        assert len(page) in sizes
        assert set(grades) == set(page.result_ids)
        assert max(grades.values()) > 0
        assert min(grades.values()) == 0
        assert len({one.split(":")[1] for one in page.result_ids}) == len(page), "each emoji in one form"
        pictures = [result for result in page.results if result.images]
        assert all(result.modality is Modality.IMAGE and not result.text for result in pictures)
        texts = [result for result in page.results if result.text]
        assert all(result.modality is Modality.TEXT for result in texts)
        assert len(texts) == {"text": len(page), "image": 0, "mixed": len(page) // 2}[kind]


def test_lists_hold_graded_and_other_emojis(world: Path) -> None:
    collection = open_collection("emoji", world, results=(6, 9))
    assert isinstance(collection, Collection)
    assert isinstance(collection, Emoji)
    assert collection.splits() == ("train", "dev", "test", "test-terms", "test-styles")
    for split in collection.splits():
        check(collection, split, range(6, 10))
        for page, grades in lists(collection, split):
            for result_id, grade in grades.items():
                assert grade == attached(collection, page.query.text, result_id)
        assert list(collection.pages(split)) == list(collection.pages(split))
    terms = Counter(page.query.text for page in collection.pages("train"))
    assert set(terms.values()) == {3}
    picture = next(result for result in next(Emoji(world, kinds=("image",)).pages("train")).results)
    assert open_image(picture.images[0]).size == (5, 7)


def test_terms_and_styles_are_held_out(world: Path) -> None:
    collection = Emoji(world, styles_train=("noto",), styles_test=("twemoji", "fxemoji"), results=(6, 9))
    styles, terms = {}, {}
    for split in collection.splits():
        pages = list(collection.pages(split))
        styles[split] = {one.split(":")[0] for page in pages for one in page.result_ids} - {"text"}
        terms[split] = {page.query.text for page in pages}
    assert styles == {
        "train": {"noto"}, "dev": {"noto"}, "test": {"twemoji", "fxemoji"}, "test-terms": {"noto"},
        "test-styles": {"twemoji", "fxemoji"},
    }  # fmt: skip
    assert terms["test"] == terms["test-terms"]
    assert terms["train"] == terms["test-styles"]
    for one, other in itertools.combinations(("train", "dev", "test"), 2):
        assert not terms[one] & terms[other]
    assert terms["train"] | terms["dev"] | terms["test"] == set(TERMS)
    assert len(terms["train"]) > len(terms["dev"]) + len(terms["test"])
    ids = [page.query_id for split in collection.splits() for page in collection.pages(split)]
    assert len(set(ids)) == len(ids), "a page of one split is never taken for another's"


def test_a_plural_goes_with_its_singular() -> None:
    words = ["cat", "flower", "glass", "blue square", "eye", "bus"]
    assert [stem_of(word + "s") == stem_of(word) for word in words] == [True, True, False, True, True, False]
    assert all(part_of(word) == part_of(word + "s") for word in ("flower", "blue square", "eye"))
    shares = Counter(part_of(f"word {n}") for n in range(4000))
    assert all(
        abs(shares[part] / 4000 - share) < 0.03 for part, share in (("train", 0.7), ("dev", 0.15), ("test", 0.15))
    )


def test_seed_and_draws_change_the_samples_and_nothing_else_does(world: Path) -> None:
    def ids(**options: Any) -> dict[str, tuple[str, ...]]:
        return {page.query_id: page.result_ids for page in Emoji(world, results=(6, 9), **options).pages("train")}

    once = ids()
    assert ids() == once
    assert ids(kinds=("image",)).items() <= once.items()
    assert ids(styles_test=("fxemoji",)) == once
    assert once.items() <= ids(asked="both").items()
    assert once.items() <= ids(draws=3).items()
    assert len({v for k, v in ids(draws=3).items() if k.startswith(f"train/text/{first_term(once)}/")}) == 3
    other = ids(seed=1)
    assert other.keys() == once.keys()
    assert sum(other[k] != once[k] for k in once) > len(once) * 0.9


def first_term(ids: dict[str, tuple[str, ...]]) -> str:
    return next(iter(ids)).split("/")[2]


def test_neither_unclear_words_nor_twins_stand_for_irrelevant_ones(tmp_path: Path) -> None:
    train = [term for term in TERMS if part_of(term) == "train"]
    lines = [emoji(n) for n in range(60)]
    # Every emoji that is not attached to the first training term has it in its name, but for eight.
    term = train[0]
    others = [line for line in lines if term not in line["cldr_tags"]]
    for line in others[8:]:
        line["name"] += f" with {term}s"
    collection = Emoji(write_world(tmp_path / "a", lines), results=(12, 20))
    allowed = {line["id"] for line in others[:8]}
    for page, grades in lists(collection, "train"):
        if page.query.text == term:
            assert {one.split(":")[1] for one, grade in grades.items() if grade == 0} == allowed
    # In the second world two of the others look like a graded one.
    lines = [emoji(n) for n in range(60)]
    graded = next(line for line in lines if term in line["cldr_tags"])
    root = write_world(tmp_path / "b", lines)
    twins = [line["id"] for line in lines if term not in line["cldr_tags"]][:2]
    with zipfile.ZipFile(root / "emoji.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for twin in twins:
        members[f"emoji/noto/{twin}.png"] = members[f"emoji/noto/{graded['id']}.png"]
    with zipfile.ZipFile(root / "emoji.zip", "w") as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    shown = {"text": set(), "image": set(), "mixed": set()}  # type: ignore[var-annotated]
    for page in Emoji(root, results=(40, 60)).pages("train"):
        if page.query.text == term:
            shown[page.query_id.split("/")[1]] |= {one.split(":")[1] for one in page.result_ids}
    assert not shown["image"] & set(twins)
    assert not shown["mixed"] & set(twins)
    assert shown["text"] >= set(twins), "in words they differ"


def test_hard_ones_are_half_of_the_others_where_there_are_enough(world: Path) -> None:
    collection = Emoji(world, kinds=("text",), results=(12, 12))
    words = collection.words.emojis

    def near(one: EmojiLine, other: EmojiLine) -> bool:
        return (one.group, one.subgroup) == (other.group, other.subgroup) or bool(one.keywords & other.keywords)

    easy_seen = False
    for page, grades in lists(collection, "train"):
        graded = [words[one.split(":")[1]] for one, grade in grades.items() if grade]
        others = [words[one.split(":")[1]] for one, grade in grades.items() if not grade]
        of_term = [one for one in words.values() if page.query.text not in one.keywords]
        able = sum(any(near(one, other) for other in graded) for one in of_term)
        hard = sum(any(near(one, other) for other in graded) for one in others)
        assert hard >= min(able, -(-len(others) // 2))
        easy_seen |= hard < len(others)
    assert easy_seen, "the other half is any"


def test_names_are_asked_for_too(world: Path) -> None:
    collection = Emoji(world, asked="names", results=(6, 9))
    for split in ("train", "test"):
        check(collection, split, range(6, 10))
        for page, grades in lists(collection, split):
            best = [one for one, grade in grades.items() if grade]
            assert [grades[one] for one in best] == [3.0]
            assert collection.words.emojis[best[0].split(":")[1]].name == page.query.text
    assert {unquote(page.query_id.split("/")[2]) for page in collection.pages("test")} == {
        page.query.text for page in collection.pages("test")
    }


def test_texts_and_captions(world: Path) -> None:
    short = Emoji(world, kinds=("text",), text="name")
    result = next(short.pages("train")).results[0]
    line = short.words.emojis[result.result_id.removeprefix("text:")]
    assert result.text == line.name
    assert short.captions(result.result_id) == (f"{line.name}: {', '.join(line.cldr_tags)}",)
    assert short.captions(f"noto:{line.id}") == short.captions(result.result_id)
    long = next(Emoji(world, kinds=("text",)).pages("train")).results[0]
    assert long.text == long_text(short, long.result_id)
    with pytest.raises(InputError, match="result: got 'noto:nothing'"):
        short.captions("noto:nothing")


def long_text(collection: Emoji, result_id: str) -> str:
    return collection.captions(result_id)[0]


def test_what_is_not_drawn_is_not_shown_and_lists_that_cannot_be_are_told(tmp_path: Path) -> None:
    term = next(term for term in TERMS if part_of(term) == "test")
    lines = [emoji(n) for n in range(60)]
    undrawn = tuple(line["files"]["fxemoji"] for line in lines if term in line["cldr_tags"])
    collection = Emoji(write_world(tmp_path, lines, undrawn=undrawn), results=(6, 9))
    missing = {one.query_id: one.why for one in collection.left_out("test")}
    assert set(missing) == {f"test/{kind}/{term}/0" for kind in ("image", "mixed")}
    assert set(missing.values()) == {f"no emoji of {term!r} is drawn in fxemoji"}
    assert missing.keys().isdisjoint(collection.judgments("test").query_ids)
    assert f"test/text/{term}/0" in collection.judgments("test").query_ids
    assert collection.left_out("test-terms") == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"styles_test": ("noto",)}, "got noto in training and test"),
        ({"styles_train": ("openmoji",)}, r"styles_train: got openmoji; .*fxemoji \(60\), noto \(60\)"),
        ({"styles_test": ()}, "styles_test: got none"),
        ({"kinds": ("video",)}, r"kinds: got \('video',\); allowed: text, image, mixed"),
        ({"kinds": ("text", "text")}, "kinds"),
        ({"asked": "words"}, "asked"),
        ({"text": "long"}, "text: got"),
        ({"draws": 0}, "draws, results: got 0"),
        ({"results": (9, 6)}, r"got 1, \(9, 6\)"),
        ({"results": (3, 6)}, r"4 <= least <= most"),
    ],
)
def test_options_are_checked(world: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Emoji(world, **options)


def test_splits_and_files_that_are_not_there(world: Path) -> None:
    with pytest.raises(InputError, match="got split 'nope'; allowed: train, dev"):
        next(Emoji(world).pages("nope"))
    with pytest.raises(InputError, match=r"emoji/emoji.jsonl.gz"):
        Emoji(world / "emoji")


def spoil_line(root: Path) -> None:
    path = root / "emoji/emoji.jsonl.gz"
    raw = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("\n".join([*raw, raw[0]]).encode()))


def spoil_rows(*rows: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "emoji/keyword_grades.tsv.gz"
        path.write_bytes(gzip.compress("\n".join(("term\temoji\tgrade", *rows)).encode()))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_line, r"emoji.jsonl.gz:61: id: got '1F000' again"),
        (spoil_rows("a\t1F000\t4"), r"keyword_grades.tsv.gz:2: grade: got '4'; allowed: 1, 2 or 3"),
        (spoil_rows("a\t1F999\t1"), r"keyword_grades.tsv.gz:2: emoji: got '1F999'"),
        (spoil_rows("a\t1F000\t1", "a\t1F000\t2"), r"keyword_grades.tsv.gz:3: emoji: got '1F000' again for 'a'"),
        (spoil_rows("a 1F000 1"), r"keyword_grades.tsv.gz:2: line: got 1 columns"),
        (lambda root: (root / "emoji.zip").write_bytes(b"PK no"), r"emoji.zip: archive: got"),
    ],
)
def test_bad_files_are_refused_with_their_place(world: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(world)
    with pytest.raises(RecordError, match=message):
        Emoji(world)


def test_a_keyword_is_said_whole_words_only() -> None:
    line = EmojiLine("1", "x", "bouquet of Flowers", 0, 0, ("plant",), ("romance",), ("hot dog",), {})
    assert [
        says(line, term) for term in ("flower", "flowers", "plants", "dog", "hot dog", "hot dogs", "bouquet of")
    ] == [True] * 7
    assert [says(line, term) for term in ("flow", "man", "dog hot", "hot", "!")] == [False, False, False, True, False]


def present(data_root: Path) -> Path:
    if not (data_root / "emoji.zip").is_file():
        pytest.skip(f"no emoji in {data_root}: set WHOLEPAGE_DATA to a folder that holds it")
    return data_root


def test_shared_drawings_are_three_styles_whose_weights_may_ship(data_root: Path) -> None:
    collection = Emoji(present(data_root))
    words = collection.words
    assert len(words.emojis) == 1816
    assert len(words.grades) == 743
    assert sum(map(len, words.grades.values())) == 7299
    assert {style: len(of) for style, of in words.drawings.items()} == {"noto": 1813, "twemoji": 1802, "fxemoji": 885}
    assert not any("SA" in LICENCES[style] for style in words.drawings)
    assert "CC BY 4.0" in collection.licence


def test_shared_lists_are_what_they_are_said_to_be(data_root: Path) -> None:
    collection = Emoji(present(data_root))
    for split, queries in (("train", 1614), ("dev", 288), ("test", 303)):
        assert len(collection.judgments(split).query_ids) == queries
    assert len(collection.left_out("test")) == 24, "Firefox drew half as many"
    check(collection, "test", range(12, 21))
    grades = collection.words.grades
    for page, of in lists(collection, "test"):
        for result_id, grade in of.items():
            assert grade == grades[page.query.text].get(result_id.split(":")[1], 0)
    pictures = [ref for page in collection.pages("test") for result in page.results for ref in result.images]
    assert {open_image(ref).size for ref in pictures[::101]} == {(72, 72)}
