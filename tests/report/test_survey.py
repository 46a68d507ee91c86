"""The sample of a run: sources of all kinds, sources that are gone, the bound of seconds, who is played."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from pyarrow.fs import LocalFileSystem

from actors.contract import SAMPLE_RATE
from pipeline.loading import AS_IT_IS
from pipeline.report.sound import Signal
from pipeline.report.sources import LONGEST_S, hear
from pipeline.report.survey import LEAST, PLAYERS, Measured, choose, survey
from pipeline.run.find_waves import Waves
from tests.helpers.reported import finished, recording, tar_of
from tests.helpers.rows import tone


def row(id_: str, source: object, samples: int = SAMPLE_RATE, **more: object) -> dict[str, object]:
    """As `read_columns` draws it; its reconstruction is a file, if there is one."""
    given = {"start_s": None, "end_s": None, "channel": None, "part": "none", "source_rate": SAMPLE_RATE}
    given |= {"chunks": 1, "source_size": None}
    return {"id": id_, "source": str(source), "num_samples": samples, **given, **more}


def test_sources_are_read_again_wherever_they_lie(tmp_path: Path) -> None:
    wave, run = tone(1.0, 5), finished(tmp_path / "run")
    archive = tar_of(tmp_path / "shard.tar", {"a.wav": tone(1.0, 4), "b.wav": wave})
    content = io.BytesIO()
    soundfile.write(content, wave, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    table = [{"bytes": b"", "path": "x"}, {"bytes": content.getvalue(), "path": "y"}]
    pq.write_table(pa.table({"audio": table}), tmp_path / "x.parquet")
    recording(tmp_path, run, "plain", 1.0, 5)
    rows = [
        row("tar", f"{archive}::b.wav"),
        row("tar channel 1", f"{archive}::b.wav", channel=1),
        row("plain", tmp_path / "5.wav"),
        row("piece", tmp_path / "5.wav", SAMPLE_RATE // 4, start_s=0.5, end_s=0.75),
        row("gone", "/nowhere.wav"),
        row("another one now", tmp_path / "5.wav", source_size=7),
        row("table", f"{tmp_path}/x.parquet::row 1"),
        row("no archive", "/nowhere.tar::x.wav"),
        row("no member", f"{archive}::c.wav"),
    ]
    found = {one.id: one for one in hear(rows, Waves(LocalFileSystem(), str(run)), AS_IT_IS) if one}
    assert set(found) == {"plain", "piece", "tar", "tar channel 1", "table"}
    for id_ in ("plain", "tar", "tar channel 1", "table"):
        assert np.abs(found[id_].original - wave).max() < 1e-4
    assert len(found["piece"].original) == SAMPLE_RATE // 4
    decoded = found["plain"].decoded
    assert decoded is not None
    assert decoded.shape == wave.shape
    assert found["tar"].decoded is None
    assert len(list(hear(rows, Waves(LocalFileSystem(), str(run)), AS_IT_IS))) == len(rows)


def test_of_a_long_recording_the_beginning_is_heard(tmp_path: Path) -> None:
    wave = 0.1 * np.ones(round((LONGEST_S + 1) * 8000), np.float32)
    soundfile.write(tmp_path / "long.wav", wave, 8000)
    waves = Waves(LocalFileSystem(), str(finished(tmp_path / "run")))
    path = tmp_path / "long.wav"
    rows = [row("long", path, 3 * len(wave)), row("cut", path, 2 * SAMPLE_RATE, chunks=11)]
    long, cut = hear(rows, waves, AS_IT_IS)
    assert long is not None
    assert cut is not None
    assert len(long.original) == LONGEST_S * SAMPLE_RATE
    assert len(cut.original) == 2 * SAMPLE_RATE  # of its first chunk


def test_time_bounds_the_sample(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.2), SAMPLE_RATE)
    waves = Waves(LocalFileSystem(), str(finished(tmp_path / "run")))
    rows = pa.Table.from_pylist([row(f"{number}", tmp_path / "a.wav", 4800) for number in range(LEAST + 3)])
    few, all_ = (survey(rows, waves, AS_IT_IS, seconds) for seconds in (0, 60))
    assert (few.drawn, len(few.measured), len(few.players)) == (LEAST, LEAST, LEAST)
    assert (all_.drawn, len(all_.measured), all_.gone) == (LEAST + 3, LEAST + 3, 0)
    assert all(player.kind == "random" and player.decoded is None for player in few.players)


def test_a_sample_that_time_cuts_short_is_its_first_rows_wherever_they_lie(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    recording(tmp_path, run, "plain", 0.1, 5)
    a, b = (tar_of(tmp_path / f"{name}.tar", {f"{n}.wav": tone(0.1, n) for n in range(10)}) for name in "ab")
    sources = [source for n in range(10) for source in (f"{a}::{n}.wav", f"{b}::{n}.wav", tmp_path / "5.wav")]
    rows = pa.Table.from_pylist([row(str(number), source) for number, source in enumerate(sources)])
    few, every = (survey(rows, Waves(LocalFileSystem(), str(run)), AS_IT_IS, seconds) for seconds in (0, 60))
    assert {one.id for one in few.measured} == set(map(str, range(LEAST)))
    assert {one.id for one in every.measured} == set(map(str, range(len(rows))))


@pytest.mark.parametrize("count", [0, 1, 2, 5, PLAYERS, 100])
def test_worst_median_and_random_ones_are_played_once(count: int) -> None:
    signal = Signal(-20.0, 0.0, 0.0, 12_000.0)
    measured = [Measured(str(n), SAMPLE_RATE, signal, {"log-mel distance": float(n)}) for n in range(count)]
    chosen = choose(measured)
    assert len({one.id for _, one in chosen}) == len(chosen) == min(count, PLAYERS)
    assert [one.id for kind, one in chosen if kind == "worst"][:1] == [str(count - 1)][:count]
    if count >= 3:
        assert {kind for kind, _ in chosen} == {"worst", "median", "random"}
        assert ("worst", measured[0]) not in chosen
    if count == 100:
        assert sorted(int(one.id) for kind, one in chosen if kind == "worst") == list(range(94, 100))
        assert all(abs(int(one.id) - 50) <= 5 for kind, one in chosen if kind == "median")
        assert len([one for kind, one in chosen if kind == "random"]) == PLAYERS // 3
