"""A function over many items in threads: results in order, few of them waiting, errors as they are."""

import threading
from collections.abc import Iterator

import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from pipeline.storage.at_once import at_once, on_store


def test_results_come_in_order_and_few_wait() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            asked.append(number)
            yield number

    found = at_once(lambda number: number * number, items(), threads=4)
    assert [next(found) for _ in range(3)] == [0, 1, 4]
    assert len(asked) <= 3 + 4 + 1
    assert list(found) == [number * number for number in range(3, 50)]


def test_items_are_worked_on_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)
    assert len(list(at_once(lambda _: together.wait(), range(3), threads=3))) == 3


def test_an_error_ends_it() -> None:
    def refuse(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    with pytest.raises(ValueError, match="five"):
        list(at_once(refuse, range(1000), threads=2))


def test_heavy_items_wait_until_others_are_gone() -> None:
    held, most_held = 0, 0
    lock = threading.Lock()

    def take(weight: int) -> int:
        nonlocal held, most_held
        with lock:
            held += weight
            most_held = max(most_held, held)
        return weight

    found = []
    for weight in at_once(take, [3, 3, 30, 3, 3, 3, 3, 3], threads=8, weigh=lambda weight: weight, most=9):
        found.append(weight)
        with lock:
            held -= weight
    assert found == [3, 3, 30, 3, 3, 3, 3, 3]
    assert most_held == 30


@pytest.mark.parametrize(
    ("fs", "here"), [(LocalFileSystem(), True), (SubTreeFileSystem("/", LocalFileSystem()), False)]
)
def test_a_disk_is_asked_by_this_thread_and_a_store_by_several(fs: FileSystem, here: bool) -> None:
    threads = set(on_store(fs, lambda _: threading.current_thread(), range(9)))
    assert (threads == {threading.current_thread()}) is here
