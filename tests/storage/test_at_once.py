"""A function over many items in threads: results in order, few of them waiting, errors as they are."""

import threading
from collections.abc import Iterator

import pytest

from pipeline.storage.at_once import at_once


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
