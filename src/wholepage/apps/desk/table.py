"""A campaign's plan, looked up by place and by id: the desk names pages and results by their places in addresses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from wholepage.annotation.events import Kind, Task
from wholepage.annotation.plan import Plan
from wholepage.apps.desk.access import NotThere
from wholepage.pages.model import ImageRef, Page, Result


class Table:
    """The pages of a plan with everything that can be asked of each.

    Args:
        plan: of the campaign.
        levels: grades run from 0 to ``levels - 1``.
    """

    def __init__(self, plan: Plan, levels: int) -> None:
        self.plan, self.levels = plan, levels
        self.pages = plan.pages
        self._place = {page.query_id: place for place, page in enumerate(plan.pages)}
        self._comparisons: dict[str, list[Task]] = defaultdict(list)
        for task in plan.comparisons():
            self._comparisons[task.query_id].append(task)

    def place(self, query_id: str) -> int:
        """The place of a query's page.

        Raises:
            NotThere: no such query.
        """
        if query_id not in self._place:
            raise NotThere(f"query: got {query_id!r}; allowed: one of the campaign's {len(self.pages)} queries")
        return self._place[query_id]

    def page(self, place: int) -> Page:
        """The page at a place.

        Raises:
            NotThere: no such place.
        """
        if not 0 <= place < len(self.pages):
            raise NotThere(f"page: got {place}; allowed: 0 to {len(self.pages) - 1}")
        return self.pages[place]

    def picture(self, place: int, result: int, number: int) -> ImageRef:
        """A picture of a result, by the places of page, result and picture.

        Raises:
            NotThere: no such picture.
        """
        results = self.page(place).results
        if not (0 <= result < len(results) and 0 <= number < len(results[result].images)):
            raise NotThere(f"picture: got picture {number} of result {result} on page {place}; there is none")
        return results[result].images[number]

    def query_picture(self, place: int) -> ImageRef:
        """The picture that a query asks with.

        Raises:
            NotThere: it has none.
        """
        image = self.page(place).query.image
        if image is None:
            raise NotThere(f"picture: got the query of page {place}, which has none")
        return image

    def result(self, query_id: str, result_id: str) -> Result:
        """A result by its ids.

        Raises:
            NotThere: no such result.
        """
        for result in self.page(self.place(query_id)).results:
            if result.result_id == result_id:
                return result
        raise NotThere(f"result: got {result_id!r}; allowed: one on the page of {query_id!r}")

    def tasks(self, page: Page) -> Iterator[Task]:
        """Everything that can be asked of a page: each grade, then each comparison."""
        yield from (Task.grade(page.query_id, result_id) for result_id in page.result_ids)
        yield from self.comparisons(page)

    def comparisons(self, page: Page) -> list[Task]:
        """The comparisons that can be asked of a page."""
        return self._comparisons.get(page.query_id, [])

    def check(self, task: Task) -> Task:
        """The task, if it is one of this plan.

        Raises:
            NotThere: it is not.
        """
        page = self.page(self.place(task.query_id))
        known = task.left_id in page.result_ids if task.kind is Kind.GRADE else task in self.comparisons(page)
        if not known:
            raise NotThere(f"task: got {task.key}; allowed: a task of the campaign's plan")
        return task
