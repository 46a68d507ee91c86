"""How many failures a run bears, and where: a number, a share, errors that nobody foresaw, one bad node."""

from pathlib import Path

import pyarrow as pa
import pytest
import soundfile

from pipeline import tokenize
from pipeline.errors import TooManyFailures
from pipeline.run.bound import LEAST, REASONS, Census, Counts, Earlier, Place, refuse_excess, shaky
from pipeline.schema import CHUNK_SCHEMA
from tests.helpers.rows import tone

A = Place("a", "read", "0")


def counted(**nodes: tuple[int, int]) -> dict[Place, Counts]:
    """finished and failures of the readers of each node."""
    return {
        Place(node, "read", node): Counts(n, bad, reasons=[f"{node}{i}: NotAudio: x" for i in range(bad)])
        for node, (n, bad) in nodes.items()
    }


def test_rows_are_counted_where_they_finish_or_fail() -> None:
    rows = pa.Table.from_pylist(
        [
            {"id": "whole", "chunk": 0, "chunks": 1},
            {"id": "long", "chunk": 0, "chunks": 2},
            {"id": "long", "chunk": 1, "chunks": 2},
            {"id": "bad", "stage": "read", "error": "NotAudio", "message": "no format"},
            {"id": "away", "stage": "read", "error": "UnreadableAudio", "message": "a: cannot be read (OSError: 116)"},
            {"id": "gone", "stage": "read", "error": "UnreadableAudio", "message": "b: no such file or folder"},
            {"id": "short", "stage": "skip", "error": "Skipped", "message": "too short"},
            {"id": "odd", "stage": "read", "error": "UnexpectedError", "message": "KeyError: 7" + "x" * 1000},
        ],
        CHUNK_SCHEMA,
    )
    read, encode, census = Counts(), Counts(), Census()
    read.see(rows, "read")
    encode.see(rows, "encode")
    assert (read.finished, read.failures, read.unexpected, read.passing) == (7, 4, 1, 1)
    assert read.reasons[0] == "bad: NotAudio: no format"
    assert (encode.finished, encode.failures) == (2, 0)
    for _ in range(3):
        census.add(A, read)
    assert (census.get()[A].finished, len(census.get()[A].reasons)) == (21, REASONS)


def test_reasons_are_short() -> None:
    row = {"id": "odd", "stage": "read", "error": "UnexpectedError", "message": "KeyError: 7" + "x" * 1000}
    counts = Counts()
    counts.see(pa.Table.from_pylist([row], CHUNK_SCHEMA), "read")
    assert len(counts.reasons[0]) == 300


def test_nodes_that_could_not_fetch_what_another_attempt_may() -> None:
    counts = {Place("a", "read", "0"): Counts(9, 2, passing=1), Place("b", "read", "1"): Counts(9, 9)}
    assert shaky(counts) == {"0"}


@pytest.mark.parametrize(
    ("limit", "planned", "failures", "stops"),
    [
        (0, 1000, 0, False),
        (0, 1000, 1, True),
        (5, None, 5, False),
        (5, None, 6, True),
        ("2%", 1000, 20, False),
        ("2%", 1000, 21, True),
        ("2%", None, 2, False),  # of LEAST, which are not finished yet
        ("2%", None, 3, True),
        (None, 1000, 40, False),
    ],
)
def test_max_failures(limit: int | str | None, planned: int | None, failures: int, stops: bool) -> None:
    counts = counted(a=(LEAST // 2, failures), b=(1, 0))
    if not stops:
        refuse_excess(counts, limit, planned, Earlier(0, 0))
        return
    with pytest.raises(TooManyFailures) as raised:
        refuse_excess(counts, limit, planned, Earlier(0, 0))
    assert f"max_failures is {limit}: {failures} of them in stage read on node a, the first: a0: Not" in str(
        raised.value
    )
    assert "raise max_failures to go on; `voxmill retry RUN --set max_failures=null`" in str(raised.value)
    assert "the same command" not in str(raised.value)


def test_a_share_of_failures_is_of_the_run() -> None:
    """One of the last two recordings of eight; a retry of one."""
    counts, earlier = counted(a=(2, 1)), Earlier(6, 0)
    refuse_excess(counts, "20%", 2, earlier)
    refuse_excess(counts, "20%", None, earlier)
    with pytest.raises(TooManyFailures, match="max_failures is 10%"):
        refuse_excess(counts, "10%", 2, earlier)
    with pytest.raises(
        TooManyFailures, match=r"^2 recordings failed \(1 of them before\), and max_failures is 20%: 1 of"
    ):
        refuse_excess(counts, "20%", 2, Earlier(6, 1))
    refuse_excess(counted(a=(2, 0)), 1, 2, Earlier(6, 3))  # it fails no more


def test_errors_that_nobody_foresaw_stop_a_run_by_themselves() -> None:
    refuse_excess({A: Counts(LEAST, 5, 5, reasons=["x"])}, None, None, Earlier(0, 0))
    refuse_excess({A: Counts(LEAST - 1, 50, 50, reasons=["x"])}, None, None, Earlier(0, 0))
    with pytest.raises(TooManyFailures, match=r"foresaw: 6 of 100 .*, 6 of them in stage read on node a, .*: x\."):
        refuse_excess({A: Counts(LEAST, 6, 6, reasons=["x"])}, None, None, Earlier(0, 0))


@pytest.mark.parametrize(
    "counts",
    [
        counted(a=(1000, 1000)),  # the only node
        counted(a=(1000, 1000), b=(1000, 1000)),  # the inputs
        counted(a=(1000, 1000), b=(1000, 101)),
        counted(a=(1000, 1000), b=(LEAST - 1, 0)),
        counted(a=(LEAST - 1, LEAST - 1), b=(1000, 0)),
        counted(a=(1000, 500), b=(1000, 0)),
        {A: Counts(1000, 1000), Place("b", "encode", "b"): Counts(1000, 0)},
    ],
)
def test_many_failures_that_no_single_node_explains(counts: dict[Place, Counts]) -> None:
    refuse_excess(counts, None, None, Earlier(0, 0))


def test_a_node_that_fails_alone_stops_the_run() -> None:
    with pytest.raises(TooManyFailures, match=r"501 of 1000 .*, but 9 of 150 on the others; in stage read on node a"):
        refuse_excess(counted(a=(1000, 501), b=(100, 9), c=(50, 0)), None, None, Earlier(0, 0))


@pytest.mark.slow
def test_a_run_stops_and_goes_on(tmp_path: Path, small_model: Path, local_ray: None) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    for number in range(12):
        soundfile.write(inputs / f"{number:02d}.wav", tone(1.0, seed=number), 24_000)
        (inputs / f"{number:02d}bad.wav").write_text("no audio")
    how = {"model": str(small_model), "reconstruct": False, "quiet": True, "settings": {"output.rows_per_part": 2}}
    with pytest.raises(TooManyFailures, match=r"recordings failed, and max_failures is 3: .*bad\.wav: NotAudio"):
        tokenize(inputs, tmp_path / "run", max_failures="3", **how)
    assert not (tmp_path / "run" / "_SUCCESS").exists()
    kept = {path.name for path in tmp_path.glob("run/*/part-*")}
    assert kept
    run = tokenize(inputs, tmp_path / "run", **how)
    assert (len(run), len(run.failures())) == (12, 12)
    assert kept <= {path.name for path in tmp_path.glob("run/*/part-*")}
