"""Files that managers may download: what ``wholepage annotate export`` writes. Equal campaigns give equal bytes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from wholepage.annotation.formats import Format
from wholepage.annotation.interchange import LOSSES, export_campaign
from wholepage.annotation.store import Store
from wholepage.apps import labels_out
from wholepage.apps.desk.pictures import Pictures

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # that an archive can say
_FORMATS: Final[dict[str, tuple[Format, str]]] = {
    "events.jsonl": (Format.EVENTS, "The whole log with its hashes, to keep, to verify, to import again"),
    "labels.jsonl": (Format.LABELS, "What the answers come to: one grade a result, and preferences"),
    "grades.jsonl": (Format.GRADES, "Who graded what how"),
    "pairs.jsonl": (Format.PAIRS, "Who preferred what"),
    "qrels.txt": (Format.QRELS, "Grades as TREC tools read them"),
    "quepid.csv": (Format.QUEPID, "Ratings of a Quepid case"),
    "quepid-book.csv": (Format.QUEPID_BOOK, "A Quepid book: who graded what how"),
    "label-studio.json": (Format.LABEL_STUDIO, "Grade tasks for Label Studio"),
    "label-studio-pairs.json": (Format.LABEL_STUDIO_PAIRS, "Comparisons of results for Label Studio"),
    "label-studio-pages.json": (Format.LABEL_STUDIO_PAGES, "Comparisons of whole pages for Label Studio"),
}
_ALL = "campaign.zip"
FILES: Final[dict[str, str]] = {
    _ALL: "Everything: the folder that training reads (--labels), with the log, the pages and what it cost",
    **{name: f"{words}. Left out: {LOSSES[to]}" for name, (to, words) in _FORMATS.items()},
}
"""Names of the files -> what they are."""

_TYPES = {
    ".zip": "application/zip", ".jsonl": "application/x-ndjson", ".json": "application/json",
    ".csv": "text/csv; charset=utf-8", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip


def media_type(name: str) -> str:
    """The type of a file that a browser is told."""
    return _TYPES[Path(name).suffix]


def made(store: Store, campaign_id: str, name: str, pictures: Pictures) -> bytes:
    """One of ``FILES``, of the campaign as it is now.

    Args:
        store: of the campaign.
        campaign_id: which.
        name: of the file.
        pictures: goes into files for tools that could not open them themselves.
    Raises:
        InputError: the campaign holds something that the format cannot.
        ChainBroken: its log is damaged.
    """
    with TemporaryDirectory(prefix="wholepage-export-") as folder:
        path = Path(folder) / name
        if name == _ALL:
            labels_out.export_campaign(store, campaign_id, Path(folder) / campaign_id)
            return _packed(Path(folder) / campaign_id)
        plan, entries = store.plan(campaign_id), list(store.entries(campaign_id))
        export_campaign(path, _FORMATS[name][0], plan, entries, address=pictures.as_data)
        return path.read_bytes()


def _packed(folder: Path) -> bytes:
    """A folder as an archive whose bytes depend on its files alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(f"{folder.name}/{path.name}", _EARLIEST), path.read_bytes())
    return buffer.getvalue()
