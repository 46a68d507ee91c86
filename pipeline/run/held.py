"""Collects, from the readers of containers, the ids that each read task found."""

import pyarrow as pa

TaskIds = tuple[int, pa.Array]
"""The number of a task, and every id that its reader found. Arrow text takes half the memory of Python strings."""


class Held:
    """The reports of the readers of tasks that are not `listed`. A reader sends one when it has read its task to the
    end. Lives in an actor of its own."""

    def __init__(self) -> None:
        self.reports: list[TaskIds] = []

    def add(self, number: int, ids: pa.Array) -> None:
        """Called by a reader. One that Ray starts again reports again."""
        self.reports.append((number, ids))

    def since(self, first: int) -> list[TaskIds]:
        """Called by the driver: the reports behind the `first` ones, in the order in which they came."""
        return self.reports[first:]
