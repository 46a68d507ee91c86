"""A function over many items in a few threads: requests to a store overlap, and Arrow works without Python's lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pyarrow.fs import FileSystem, LocalFileSystem

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS = 16
"""Requests that wait at the same time."""


def at_once(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int = THREADS,
    weigh: Callable[[Item], int] = lambda item: 0,
    most: int = 0,
) -> Iterator[Result]:
    """`function` of each of `items`, in their order. At most `threads` results wait for the caller; the first that
    raises ends it. Those that wait, and are worked on, weigh `most` together, or there is one of them."""
    waiting: deque[tuple[Future[Result], int]] = deque()
    weight = 0

    def oldest() -> Result:
        nonlocal weight
        future, own = waiting.popleft()
        weight -= own
        return future.result()

    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                own = weigh(item)
                while waiting and weight + own > most:
                    yield oldest()
                waiting.append((pool.submit(function, item), own))
                weight += own
                if len(waiting) > threads:
                    yield oldest()
            while waiting:
                yield oldest()
        finally:
            for future, _ in waiting:
                future.cancel()


def on_store(
    fs: FileSystem, function: Callable[[Item], Result], items: Iterable[Item], threads: int = THREADS
) -> Iterator[Result]:
    """`at_once` where each is a request to a store; on a local disk one after the other, in this thread."""
    return map(function, items) if isinstance(fs, LocalFileSystem) else at_once(function, items, threads)


def each_on_store(
    fs: FileSystem, function: Callable[[Item], object], items: Iterable[Item], threads: int = THREADS
) -> None:
    """`on_store` to its end, for what gives no result."""
    for _ in on_store(fs, function, items, threads):
        pass
