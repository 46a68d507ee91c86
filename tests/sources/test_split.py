"""One large WAV read by several tasks gives the chunks of one task, bit for bit; what cannot be shared stays whole."""

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from actors.contract import FRAME_SAMPLES
from pipeline.read import Reading, read_chunks
from pipeline.run.committed import committed
from pipeline.run.keys import Keys
from pipeline.run.settle import settle
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from pipeline.sources.formats import recordings
from pipeline.sources.plan import Plan, plan
from tests.helpers.rows import coded_row, failed_row

CHUNK, CONTEXT = 12 * FRAME_SAMPLES, 5 * FRAME_SAMPLES  # 0.96 s, 0.4 s


def write(path: Path, samples: int, rate: int, channels: int = 1, subtype: str = "PCM_16") -> Path:
    """A WAV of noise."""
    wave = np.random.default_rng(samples).uniform(-1, 1, (samples, channels)).astype(np.float32)
    soundfile.write(path, wave, rate, subtype)
    return path


def shared(path: Path | str, task_bytes: int = 1, **options: object) -> Plan:
    return plan([str(path)], task_bytes=task_bytes, chunk_samples=CHUNK, **options)  # type: ignore[arg-type]


def read(planned: Plan, partial: dict[str, frozenset[int]] | None = None, **rules: object) -> pa.Table:
    """All rows of all tasks, pickled on the way as they are by Ray; the last task first, for none may need another."""
    tables = [
        table
        for task in reversed(planned.tasks)
        for table in read_chunks(
            pickle.loads(pickle.dumps(task)),
            Reading(CHUNK, CONTEXT, **({"allow_truncated": False, "max_recording_s": 86_400.0} | rules)),
            planned.carried,
            partial or {},
        )
    ]
    return pa.concat_tables(tables).sort_by([("id", "ascending"), ("chunk", "ascending")]).combine_chunks()


def ranges(planned: Plan) -> list[tuple[int, int] | None]:
    found = [item.range for task in planned.tasks for item in recordings(task)]
    return [None if part is None else (part.first_chunk, part.last_chunk) for part in found]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_ranges_give_the_rows_of_the_whole(tmp_path: Path, rate: int, subtype: str) -> None:
    path = write(tmp_path / "long.wav", 14 * rate + 1237, rate, 1 + (subtype == "PCM_24"), subtype)
    whole, several = plan([str(path)]), shared(path, path.stat().st_size // 4)
    assert ranges(whole) == [None]
    assert ranges(several) == [(0, 2), (3, 6), (7, 10), (11, 14)]
    expected = read(whole)
    assert len(expected) == 15
    assert read(several).equals(expected)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8_000, 16_000, 24_000, 44_100, 48_000]),
    samples=st.integers(1, 400_000),
    channels=st.integers(1, 3),
    task_bytes=st.integers(1, 400_000),
)
def test_any_length_in_any_ranges(
    tmp_path_factory: pytest.TempPathFactory, rate: int, samples: int, channels: int, task_bytes: int
) -> None:
    path = write(tmp_path_factory.mktemp("any") / "long.wav", samples, rate, channels)
    several = shared(path, task_bytes)
    assert read(several).equals(read(plan([str(path)])))
    parts = [part for part in ranges(several) if part is not None]
    if parts:
        assert len(parts) > 1
        assert [last + 1 for _, last in parts[:-1]] == [first for first, _ in parts[1:]]


@pytest.mark.parametrize("samples", [CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_edges_of_chunks(tmp_path: Path, samples: int) -> None:
    path = write(tmp_path / "long.wav", samples, 24_000)
    several = shared(path)
    assert len(several.tasks) == -(-samples // CHUNK)
    assert read(several).equals(read(plan([str(path)])))


def test_a_corpus_with_some_large_files(tmp_path: Path) -> None:
    """A recording that is shared counts once, others are planned as ever, and each range weighs its part."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    sizes = {"a.wav": 20_000, "b.wav": 10 * CHUNK + 5, "c.wav": 30_000, "d.wav": 4 * CHUNK}
    for name, samples in sizes.items():
        write(corpus / name, samples, 24_000)
    whole, several = plan([str(corpus)]), shared(corpus, 4 * CHUNK)
    assert ranges(several) == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 10), (0, 1), (2, 3), None, None]
    assert several.recordings == whole.recordings == 4
    assert read(several).equals(read(whole))
    weight = sum(path.stat().st_size for path in corpus.iterdir())
    assert weight - 4 * 100 <= sum(task.bytes for task in several.tasks) <= weight
    done = pa.array(["b.wav", "c.wav"])
    again = shared(corpus, CHUNK, done=done)
    assert again.recordings == 2
    assert {item.id for task in again.tasks for item in recordings(task)} == {"a.wav", "d.wav"}


def test_columns_of_a_manifest_travel_with_every_range_and_segments_stay_whole(tmp_path: Path) -> None:
    write(tmp_path / "long.wav", 5 * CHUNK, 16_000)
    lines = [
        {"id": "all", "path": "long.wav", "speaker": "x", "duration": 100},
        {"id": "part", "path": "long.wav", "speaker": "y", "start_s": 1.5, "end_s": 6.25},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    whole, several = plan([str(tmp_path / "list.jsonl")]), shared(tmp_path / "list.jsonl", 60_000)
    assert [part is None for part in ranges(several)] == [False] * 4 + [True]
    rows = read(several)
    assert rows.equals(read(whole))
    assert set(zip(rows["id"].to_pylist(), rows["speaker"].to_pylist(), strict=True)) == {("all", "x"), ("part", "y")}


# ---- what stays whole


def test_what_is_no_plain_wav_stays_whole(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, 4 * CHUNK).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", wave, 24_000)
    soundfile.write(tmp_path / "b.wav", wave, 24_000, "ALAW")
    soundfile.write(tmp_path / "c.wav", wave, 37_800)  # no period is known
    (tmp_path / "d.wav").write_bytes(bytes(300_000))
    several = shared(tmp_path)
    assert ranges(several) == [None] * 4
    assert read(several).equals(read(plan([str(tmp_path)])))


def test_a_header_that_lies_is_told_once(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", 6 * CHUNK, 24_000)
    path.write_bytes(path.read_bytes()[:-1001])
    assert ranges(shared(path)) == [None]
    assert read(shared(path))["error"].to_pylist() == ["TruncatedAudio"]
    kept = read(shared(path), None, allow_truncated=True)
    assert kept["error"].null_count == len(kept) == 6


def test_a_streamed_header_leaves_the_length_to_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", 6 * CHUNK + 7, 24_000)
    raw = bytearray(path.read_bytes())
    raw[4:8] = raw[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(raw)
    assert len(ranges(shared(path))) == 7
    assert read(shared(path)).equals(read(plan([str(path)])))


def test_one_that_is_too_long_is_told_once(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", 6 * CHUNK, 24_000)
    limit = {"max_recording_s": 5}
    assert len(ranges(shared(path, max_recording_s=5.76))) == 6
    assert ranges(shared(path, max_recording_s=5.75)) == [None]
    assert read(shared(path, max_recording_s=5), None, **limit)["error"].to_pylist() == ["TooLong"]


def test_without_chunks_nothing_is_looked_into(tmp_path: Path) -> None:
    write(tmp_path / "long.wav", 6 * CHUNK, 24_000)
    assert ranges(plan([str(tmp_path)], task_bytes=1)) == [None]


# ---- going on, and what goes wrong


@pytest.mark.parametrize(
    "there", [{0}, {5}, {0, 1, 2}, {3}, {2, 3, 4}, {0, 2, 4, 6, 8}, set(range(1, 9)), set(range(9))]
)
@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_a_rerun_reads_only_chunks_that_are_missing(tmp_path: Path, there: set[int], rate: int) -> None:
    path = write(tmp_path / "long.wav", round(8.5 * CHUNK * rate / 24_000), rate)
    several = shared(path, path.stat().st_size // 3)
    assert len(several.tasks) == 3
    whole = read(plan([str(path)]))
    missing = whole.filter(pc.invert(pc.is_in(whole["chunk"], pa.array(there, pa.int32()))))
    partial = {"long.wav": frozenset(there)}
    if len(missing):
        assert read(several, partial).equals(missing)
        assert read(plan([str(path)]), partial).equals(missing)
    else:
        tables = [
            read_chunks(task, Reading(CHUNK, CONTEXT, False, 86_400.0), several.carried, partial)
            for task in several.tasks
        ]
        assert [list(table) for table in tables] == [[], [], []]


@pytest.mark.parametrize("bad", [0, CHUNK - 1, CHUNK, 3 * CHUNK + 17, 6 * CHUNK - 1])
def test_a_sample_that_is_not_finite_fails_its_range_and_the_recording(tmp_path: Path, bad: int) -> None:
    wave = np.zeros(6 * CHUNK, np.float32)
    wave[bad] = np.nan
    soundfile.write(tmp_path / "long.wav", wave, 24_000, "FLOAT")
    rows = read(shared(tmp_path / "long.wav"))
    failed = rows.filter(rows["error"].is_valid())
    assert set(failed["error"].to_pylist()) == {"NonFiniteAudio"}
    assert bad // CHUNK not in rows["chunk"].to_pylist()

    for folder in ("codes", "failures"):
        (tmp_path / "run" / folder).mkdir(parents=True)
    chunks = [coded_row("long.wav", CHUNK, chunk, 6) for chunk in rows["chunk"].drop_null().to_pylist()]
    for number, row in enumerate([*chunks, coded_row("other", CHUNK)]):
        pq.write_table(row.select(CODES_SCHEMA.names), tmp_path / f"run/codes/part-{number}.parquet")
    for number in range(len(failed)):
        row = failed_row("long.wav", "NonFiniteAudio").select(FAILURES_SCHEMA.names)
        pq.write_table(row, tmp_path / f"run/failures/part-{number}.parquet")
    fs, run = LocalFileSystem(), str(tmp_path / "run")
    settle(Keys(fs, run))
    assert committed(Keys(fs, run)).ids.to_pylist() == ["other", "long.wav"]
    assert committed(Keys(fs, run)).partial == {}


@pytest.mark.parametrize("change", ["grown", "shrunk", "gone", "another"])
def test_a_file_that_changed_since_it_was_planned_is_refused(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "long.wav", 6 * CHUNK, 24_000)
    several = shared(path)
    if change == "gone":
        path.unlink()
    elif change == "another":
        path.write_bytes(bytes(100_000))
    else:
        write(path, 6 * CHUNK + (1 if change == "grown" else -1), 24_000)
    rows = read(several)
    assert rows["error"].to_pylist() == ["UnreadableAudio"] * 6
    assert ("no such file" if change == "gone" else "changed while it was read") in rows["message"][0].as_py()
