"""The formats that campaigns are exported to, by name; ``interchange`` reads and writes them."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """A format that campaigns are exported to; all but ``labels`` can be read back."""

    EVENTS = "events"
    GRADES = "grades"
    PAIRS = "pairs"
    LABELS = "labels"
    QRELS = "qrels"
    QUEPID = "quepid"
    QUEPID_BOOK = "quepid-book"
    LABEL_STUDIO = "label-studio"
    LABEL_STUDIO_PAIRS = "label-studio-pairs"
    LABEL_STUDIO_PAGES = "label-studio-pages"
