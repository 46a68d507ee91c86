"""What read tasks came across -> what they held, by their numbers."""

import pyarrow as pa


class Held:
    """What read tasks held that are not `listed`, as their readers tell at their end; lives in an actor of its own."""

    def __init__(self) -> None:
        self.ids: dict[int, pa.Array] = {}

    def set(self, number: int, ids: pa.Array) -> None:
        """Called by a reader: the task's number, and every id that it came across (text of Arrow: half of Python's)."""
        self.ids[number] = ids

    def get(self) -> dict[int, pa.Array]:
        """Called by the driver."""
        return self.ids
