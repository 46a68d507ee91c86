"""A function over many items, a Ray task each: `storage.at_once` for what takes CPUs, on the nodes of a cluster."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray

from pipeline.errors import VoxmillError

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each of `items`, in their order, inside a `session`. Two tasks a CPU wait at most; the first that
    raises ends it."""
    task: Any = ray.remote(_call)
    shared = ray.put(function)
    most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(task.remote(shared, item))
        if len(waiting) > most:
            yield _result(waiting.popleft())
    while waiting:
        yield _result(waiting.popleft())


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def _result(waiting: Any) -> Any:
    try:
        return ray.get(waiting)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, VoxmillError) else error) from None
