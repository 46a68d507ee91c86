"""Which lengths are wanted: bounds are included, to the sample; what is too long is not decoded to its end."""

from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.audio.length import Lengths
from pipeline.audio.views import Piece
from pipeline.errors import NotAudio, Skipped


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [(0.0, False), (0.4999, False), (0.5, True), (0.7 - 0.2, True), (2.0, True), (2.0001, False), (1e9, False)],
)
def test_bounds(seconds: float, kept: bool) -> None:
    lengths = Lengths(0.5, 2.0)
    assert lengths.outside(np.array([seconds])).tolist() == [not kept]
    if kept:
        lengths.check(seconds, "a")
    else:
        with pytest.raises(Skipped, match="a: it lasts"):
            lengths.check(seconds, "a")


def test_any_length() -> None:
    for seconds in (0.0, 1e-9, 1e9):
        Lengths().check(seconds, "a")
    assert not Lengths().outside(np.array([0.0, 1e9, np.nan])).any()


def checked(lengths: Lengths, pieces: Iterator[Piece], known: int | None = None, views: int = 1) -> Iterator[Piece]:
    return lengths.checked(pieces, views, lambda number: known, 16_000, "a")


def test_too_long_is_known_at_once() -> None:
    read: list[int] = []

    def pieces() -> Iterator[Piece]:
        for number in range(100):
            read.append(number)
            yield Piece(0, np.zeros((16_000, 1), np.float32))

    found = list(checked(Lengths(None, 3.0), pieces()))
    assert [piece.error is None for piece in found] == [True, True, True, False]
    assert "lasts 4.000 s or more, more than input.max_s = 3" in str(found[-1].error)
    assert len(read) == 4


def test_too_short_is_known_at_the_end() -> None:
    block = np.zeros((16_000, 2), np.float32)
    found = list(checked(Lengths(2.0, None), iter([Piece(0, block), Piece(0, None)])))
    assert found[0] == Piece(0, block)
    assert isinstance(found[1].error, Skipped)
    assert "lasts 1.000 s, less than input.min_s = 2" in str(found[1].error)


@pytest.mark.parametrize(("known", "text"), [(16_000, "less than input.min_s"), (160_000, "more than input.max_s")])
def test_a_length_that_a_header_tells_is_looked_at_first(known: int, text: str) -> None:
    """Chunks of such a recording leave before its end."""
    (piece,) = checked(Lengths(2.0, 5.0), iter([Piece(0, np.zeros((10, 1), np.float32))] * 3), known)
    assert text in str(piece.error)


def test_views_are_looked_at_one_by_one() -> None:
    block, second = np.zeros((16_000, 1), np.float32), np.zeros((48_000, 1), np.float32)
    pieces = [Piece(0, block), Piece(1, second), Piece(0, None), Piece(1, None)]
    found = list(checked(Lengths(2.0, None), iter(pieces), views=2))
    assert [(piece.view, type(piece.error).__name__) for piece in found if piece.block is None] == [
        (0, "Skipped"),
        (1, "NoneType"),
    ]


def test_an_error_of_a_view_stays() -> None:
    error = NotAudio("no")
    assert list(checked(Lengths(2.0, None), iter([Piece(0, None, error)]))) == [Piece(0, None, error)]
