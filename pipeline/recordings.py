"""Planned read tasks -> a source of Ray Data."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource
from ray.data.datasource import ReadTask as RayReadTask

from pipeline.sources.task import NONE, ReadTask, packed_ids


class Recordings(Datasource):
    """Planned read tasks as a Ray data source. Committed ids that several tasks need, those of the row groups of one
    Parquet shard, are one object in Ray's store, not one in each task."""

    def __init__(self, tasks: list[ReadTask], read: Callable[..., Iterator[pa.Table]]) -> None:
        super().__init__()
        self.read = read
        uses = Counter(id(task.done) for task in tasks if len(task.done))
        each = {id(task.done): task.done for task in tasks}
        shared = {key: ray.put(packed_ids(each[key])) for key, times in uses.items() if times > 1}
        places = [shared.get(id(task.done)) for task in tasks]
        self.sent = [
            (task if done is None else replace(task, done=NONE), done) for task, done in zip(tasks, places, strict=True)
        ]

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[RayReadTask]:
        """One Ray read task a planned task. Ray asks several times: nothing is computed here."""
        return [
            RayReadTask(functools.partial(self.read, number, task, done), BlockMetadata(None, task.bytes, None, None))
            for number, (task, done) in enumerate(self.sent)
        ]

    def estimate_inmemory_data_size(self) -> int | None:
        """Bytes of the inputs."""
        return sum(task.bytes for task, _ in self.sent)
