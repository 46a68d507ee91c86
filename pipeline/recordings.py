"""Planned read tasks -> a source of Ray Data."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource
from ray.data.datasource import ReadTask as RayReadTask

from pipeline.sources.task import ReadTask


class Recordings(Datasource):
    """Planned read tasks as a Ray data source. Ray asks for the tasks several times: nothing is computed here."""

    def __init__(self, tasks: list[ReadTask], read: Callable[[int, ReadTask], Iterator[pa.Table]]) -> None:
        super().__init__()
        self.tasks = tasks
        self.read = read

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[RayReadTask]:
        """One Ray read task a planned task."""
        return [
            RayReadTask(functools.partial(self.read, number, task), BlockMetadata(None, task.bytes, None, None))
            for number, task in enumerate(self.tasks)
        ]

    def estimate_inmemory_data_size(self) -> int | None:
        """Bytes of the inputs."""
        return sum(task.bytes for task in self.tasks)
