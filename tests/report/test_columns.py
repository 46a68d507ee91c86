"""Exact figures from the columns of a run, and the sample that is drawn."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow.fs import LocalFileSystem

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE
from pipeline.report.codebooks import read_codes
from pipeline.report.columns import read_columns
from pipeline.report.corpus import Corpus
from pipeline.run.layout import parts
from pipeline.run.write import write_failures, write_parts
from tests.helpers.rows import coded_row, failed_row
from tests.helpers.store import Store

DISK = LocalFileSystem()
CHUNK = 2 * FRAME_SAMPLES


def commit(run: Path, *rows: pa.Table) -> None:
    write_parts(pa.concat_tables(rows), DISK, str(run))


def test_a_run_is_counted(tmp_path: Path) -> None:
    commit(tmp_path, coded_row("a", 24_000, source="/x/a.FLAC"), coded_row("long", CHUNK, 0, 2, source="t.tar::b.mp3"))
    commit(tmp_path, coded_row("long", 100, 1, 2, 2, source="t.tar::b.mp3"), coded_row("torn", CHUNK, 0, 3))
    commit(tmp_path, coded_row("row", 48_000, source="x.parquet::row 17", source_rate=8000, source_channels=2))
    commit(tmp_path, failed_row("f"), failed_row("g"), failed_row("h", "TooLong"))
    write_failures(failed_row("s").select(pq_names(tmp_path)), DISK, str(tmp_path), folder="skipped")
    corpus, sample = read_columns(DISK, str(tmp_path), parts(DISK, str(tmp_path), "codes"), 10)
    assert (corpus.recordings, corpus.partial, corpus.chunks, corpus.seams) == (3, 1, 5, 1)
    assert (corpus.failed, corpus.skipped, corpus.accounted, corpus.doubles) == (3, 1, 7, 0)
    assert corpus.failures == {("read", "NotAudio"): 2, ("read", "TooLong"): 1}
    assert [one["id"] for one in corpus.examples["read", "NotAudio"]] == ["f", "g"]
    assert corpus.begun == 4  # "torn", too: run.json counts first chunks
    assert corpus.parts == [path.name for path in sorted((tmp_path / "codes").iterdir())]
    assert corpus.samples == 24_000 + 48_000 + 2 * CHUNK + 100
    assert corpus.longest_s == 2.0
    assert corpus.shortest_s == (CHUNK + 100) / SAMPLE_RATE
    counts = {kind: {value: count for value, (count, _) in of.items()} for kind, of in corpus.by.items()}
    assert counts["rate"] == {"16000": 3, "8000": 1}
    assert counts["channels"] == {"1": 3, "2": 1}
    assert counts["format"] == {"flac": 1, "mp3": 1, "wav": 1, "parquet": 1}
    assert sum(hours for _, hours in corpus.by["format"].values()) == pytest.approx(corpus.hours)
    assert set(sample["id"].to_pylist()) == {"a", "long", "torn", "row"}
    assert all(Path(path).is_file() for path in sample["part"].to_pylist())


def test_long_recordings_are_counted_by_their_ids_and_chunks(tmp_path: Path) -> None:
    for id_, chunks in (("three", (3, 3, 3)), ("odd", (2, 2, 5)), ("torn", (4, 4, 4)), ("two", (2, 2))):
        for chunk, of in enumerate(chunks):
            commit(tmp_path, coded_row(id_, CHUNK, chunk, of, 2 * chunk))
    corpus, _ = read_columns(DISK, str(tmp_path), parts(DISK, str(tmp_path), "codes"), 0)
    assert (corpus.recordings, corpus.partial, corpus.chunks, corpus.begun) == (3, 2, 11, 4)  # "odd" is both
    assert (corpus.shortest_s, corpus.longest_s) == (2 * CHUNK / SAMPLE_RATE, 3 * CHUNK / SAMPLE_RATE)


def pq_names(run: Path) -> list[str]:
    (path,) = parts(DISK, str(run), "failures")
    return pa.parquet.read_schema(path).names


def test_doubles_are_found(tmp_path: Path) -> None:
    commit(tmp_path, coded_row("a", 24_000), coded_row("b", 24_000))
    commit(tmp_path, coded_row("a", 48_000), failed_row("b"))
    assert read_columns(DISK, str(tmp_path), parts(DISK, str(tmp_path), "codes"), 0)[0].doubles == 2


def test_a_sample_depends_on_the_seed_and_not_on_the_parts(tmp_path: Path) -> None:
    rows = [coded_row(f"r{number}", 24_000) for number in range(40)]
    commit(tmp_path / "one", *rows)
    for first in range(0, 40, 8):
        commit(tmp_path / "five", *rows[first : first + 8][::-1])
    drawn = [
        read_columns(DISK, str(tmp_path / name), parts(DISK, str(tmp_path / name), "codes"), 10, seed)[1][
            "id"
        ].to_pylist()
        for name, seed in (("one", 0), ("five", 0), ("one", 1))
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 10
    assert set(drawn[0]) != set(drawn[2])


@pytest.mark.parametrize("row", [functools.partial(coded_row, samples=24_000), failed_row])
def test_parts_of_a_store_are_read_side_by_side(tmp_path: Path, row: Callable[..., pa.Table]) -> None:
    run, store = tmp_path / "run", Store(tmp_path)
    for number in range(4):
        commit(run, *(row(f"{number} {name}") for name in "abc"))
    found, expected = (
        read_columns(fs, path, parts(fs, path, "codes"), 5) for fs, path in ((store, "run"), (DISK, str(run)))
    )
    assert repr(found[0]) == repr(expected[0])
    assert found[1].drop_columns(["part"]).equals(expected[1].drop_columns(["part"]))
    assert store.count["open_input_file"] == 4
    assert store.most["open_input_file"] > 1


def test_an_empty_run(tmp_path: Path) -> None:
    corpus, sample = read_columns(DISK, str(tmp_path), parts(DISK, str(tmp_path), "codes"), 10)
    assert (corpus.accounted, corpus.doubles, len(sample)) == (0, 0, 0)
    assert corpus.length_s(0.5) == 0
    assert read_codes(DISK, [], 2048) is None


def test_quantiles_of_durations() -> None:
    corpus = Corpus()
    corpus.see_lengths(np.arange(1, 1001) * SAMPLE_RATE // 10)
    assert corpus.length_s(0.5) == pytest.approx(50, rel=0.013)
    assert corpus.length_s(0.95) == pytest.approx(95, rel=0.013)
    assert corpus.length_s(1) == 100


def test_the_use_of_codebooks(tmp_path: Path) -> None:
    codes = np.zeros((64, 16), np.int16)
    codes[:, 1] = np.arange(64) % 4  # four equally frequent codes: two bits
    codes[:, 2] = np.arange(64) % 64
    row = coded_row("a", 64 * FRAME_SAMPLES)
    array = pa.array([codes.tolist()], row["codes"].type)
    commit(tmp_path, row.set_column(row.schema.get_field_index("codes"), "codes", array))
    use = read_codes(DISK, parts(DISK, str(tmp_path), "codes"), 64)
    assert use is not None
    assert use.frames == 64
    assert use.entropy_bits[:3].tolist() == [0, 2, 6]
    assert use.perplexity[:3].tolist() == [1, 4, 64]
    assert use.used[:3].tolist() == [1 / 64, 4 / 64, 1]
    assert use.examples[0][0] == "a"
    assert np.array_equal(use.examples[0][1], codes)
    assert pc.sum(pa.array(use.counts.sum(1))).as_py() == 16 * 64
