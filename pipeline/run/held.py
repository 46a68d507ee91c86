"""What read tasks came across -> what they held, by their numbers."""

import pyarrow as pa

TaskIds = tuple[int, pa.Array]
"""The number of a task, and every id that its reader came across (text of Arrow: half of Python's)."""


class Held:
    """What read tasks held that are not `listed`, as their readers tell at their end; lives in an actor of its own."""

    def __init__(self) -> None:
        self.reports: list[TaskIds] = []

    def add(self, number: int, ids: pa.Array) -> None:
        """Called by a reader. One that Ray starts again reports again."""
        self.reports.append((number, ids))

    def since(self, first: int) -> list[TaskIds]:
        """Called by the driver: the reports behind the `first` ones, in the order in which they came."""
        return self.reports[first:]
