"""Pictures with captions in the formats they are given out in: COCO's, Karpathy's splits, and Flickr30k's.

    coco        annotations/captions_<split>2017.json   {"images": [{"id", "file_name", ...}],
                                                         "annotations": [{"image_id", "id", "caption"}], ...}
                pictures <split>2017/<file_name>
    karpathy    dataset_coco.json, dataset_flickr30k.json, dataset_flickr8k.json
                {"dataset": "coco", "images": [{"filename", "filepath"?, "split", "sentences": [{"raw", ...}], ...}]}
                pictures <filepath>/<filename>, without a filepath <dataset>-images/<filename>
    flickr30k   results_20130124.token                  <file name>#<number><tab><caption>
                pictures flickr30k-images/<file name>

A caption that comes again for its picture, in whatever case, counts once; captions without a letter are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from wholepage.collections.judged_pages import Identifier
from wholepage.pages import InputError, RecordError
from wholepage.pages.lines import decode, read_lines, text_of

Layout = Literal["coco", "karpathy", "flickr30k"]
_COCO = re.compile(r"captions_(?P<split>[A-Za-z]+)(?P<year>\d*)\.json(\.gz)?")
_KARPATHY = re.compile(r"dataset_(?P<dataset>\w+)\.json(\.gz)?")
_TOKENS = re.compile(r"results(_\d+)?\.token(\.gz)?")
_PLACE = re.compile(r"(?P<file>[^#\t]+)#(?P<number>\d+)")


class CaptionedPicture(NamedTuple):
    """A picture and what people wrote of it.

    Attributes:
        picture_id: unique in its split.  file: where the picture lies below the root.
        captions: in the order of the file, each once.
    """

    picture_id: str
    file: str
    captions: tuple[str, ...]


class _CocoImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int
    file_name: Identifier
    license: Any = None
    coco_url: Any = None
    flickr_url: Any = None
    height: Any = None
    width: Any = None
    date_captured: Any = None


class _CocoCaption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int
    image_id: int
    caption: str


class _Coco(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: list[_CocoImage]
    annotations: list[_CocoCaption]
    info: Any = None
    licenses: Any = None
    type: Any = None


class _Sentence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    raw: str
    tokens: Any = None
    imgid: Any = None
    sentid: Any = None


class _KarpathyImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    filename: Identifier
    split: Identifier
    sentences: list[_Sentence]
    filepath: str | None = None
    imgid: Any = None
    sentids: Any = None
    cocoid: Any = None


class _Karpathy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: list[_KarpathyImage]
    dataset: Identifier


_COCO_FILE = msgspec.json.Decoder(_Coco)
_KARPATHY_FILE = msgspec.json.Decoder(_Karpathy)


def caption_files(root: Path, layout: Layout) -> dict[str, Path]:
    """The caption files of a layout below a root: of coco by split, of the others one, by its name.

    Raises:
        InputError: there is none, or (except of coco) there are several.
    """
    folder, pattern, wanted = {
        "coco": (root / "annotations", _COCO, "annotations/captions_<split>2017.json"),
        "karpathy": (root, _KARPATHY, "dataset_<dataset>.json"),
        "flickr30k": (root, _TOKENS, "results_20130124.token"),
    }[layout]
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match:
            key = match["split"] if layout == "coco" else path.name
            twin = found.get(key) if layout == "coco" else next(iter(found.values()), None)
            if twin is not None:
                raise InputError(
                    f"layout {layout!r}: got both {twin.name} and {path.name} in {str(folder)!r}; allowed: one of "
                    "them; move the other away"
                )
            found[key] = path
    if not found:
        raise InputError(
            f"layout {layout!r}: got no {wanted} below {str(root)!r}; allowed: that file, also with .gz; pass the "
            "folder it lies in, or another layout"
        )
    return found


def read_captions(layout: Layout, files: Mapping[str, Path]) -> dict[str, list[CaptionedPicture]]:
    """Captioned pictures by split, in the order of the files; pictures without a caption are left out.

    Raises:
        RecordError: a file or line cannot be read, a picture comes twice in a split, or a caption is of no picture.
    """
    if layout == "coco":
        return {split: list(_coco(path)) for split, path in files.items()}
    (path,) = files.values()
    return _karpathy(path) if layout == "karpathy" else {"all": list(_tokens(path))}


def _coco(path: Path) -> Iterator[CaptionedPicture]:
    match = _COCO.fullmatch(path.name)
    folder = f"{match['split']}{match['year']}" if match else ""
    whole = decode(_COCO_FILE, path, 1, _bytes_of(path))
    captions: dict[int, list[str]] = {}
    for index, image in enumerate(whole.images):
        if image.id in captions:
            raise RecordError(path, 1, f"images[{index}].id", f"{image.id} again", "each image once", "drop one")
        captions[image.id] = []
    for index, said in enumerate(whole.annotations):
        if said.image_id not in captions:
            raise RecordError(
                path, 1, f"annotations[{index}].image_id", str(said.image_id), "the id of one of the images", "drop it"
            )
        captions[said.image_id].append(said.caption)
    for image in whole.images:
        if kept := _each_once(captions[image.id]):
            yield CaptionedPicture(str(image.id), f"{folder}/{image.file_name}", kept)


def _karpathy(path: Path) -> dict[str, list[CaptionedPicture]]:
    whole = decode(_KARPATHY_FILE, path, 1, _bytes_of(path))
    found: dict[str, list[CaptionedPicture]] = {}
    seen: set[str] = set()
    for index, image in enumerate(whole.images):
        if image.filename in seen:
            raise RecordError(
                path, 1, f"images[{index}].filename", f"{image.filename!r} again", "each image once", "drop one"
            )
        seen.add(image.filename)
        folder = image.filepath or f"{whole.dataset}-images"
        of = found.setdefault(image.split, [])
        if kept := _each_once([sentence.raw for sentence in image.sentences]):
            of.append(
                CaptionedPicture(
                    image.filename.rpartition(".")[0] or image.filename, f"{folder}/{image.filename}", kept
                )
            )
    return found


def _tokens(path: Path) -> Iterator[CaptionedPicture]:
    captions: dict[str, dict[int, str]] = {}
    for line, raw in read_lines(path):
        place, tab, caption = text_of(path, line, raw).rstrip("\r\n").partition("\t")
        match = _PLACE.fullmatch(place)
        if not match or not tab:
            raise RecordError(
                path, line, "line", repr(place[:60]), "<file>#<number>, a tab, the caption", "mend the line"
            )
        of = captions.setdefault(match["file"], {})
        if int(match["number"]) in of:
            raise RecordError(path, line, "number", f"{place!r} again", "each number of a picture once", "drop one")
        of[int(match["number"])] = caption
    for file, of in captions.items():
        if kept := _each_once([of[number] for number in sorted(of)]):
            yield CaptionedPicture(file.rpartition(".")[0] or file, f"flickr30k-images/{file}", kept)


def _each_once(captions: list[str]) -> tuple[str, ...]:
    kept: dict[str, str] = {}
    for said in (" ".join(caption.split()) for caption in captions):
        if re.search(r"\w", said):
            kept.setdefault(said.lower(), said)
    return tuple(kept.values())


def _bytes_of(path: Path) -> bytes:
    return b"".join(raw for _, raw in read_lines(path))
