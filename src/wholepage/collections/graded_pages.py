"""Collections whose files tell pages and grades together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from wholepage.pages import Grade, Judgments, Page


class GradedPages(ABC):
    """Pages and judgments from one pass over the files."""

    @abstractmethod
    def graded_pages(self, split: str) -> Iterator[tuple[Page, tuple[Grade, ...]]]:
        """Pages with their grades, one at a time, without holding the others.

        Raises:
            InputError: no such split.
            RecordError: the files cannot be read.
        """

    def pages(self, split: str) -> Iterator[Page]:
        """The pages of a split in the order of its files, one at a time; raises what ``graded_pages`` does."""
        return (page for page, _ in self.graded_pages(split))

    def judgments(self, split: str) -> Judgments:
        """The grades of all pages, held at once; raises what ``graded_pages`` does."""
        return Judgments(grade for _, grades in self.graded_pages(split) for grade in grades)
