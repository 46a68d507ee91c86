"""What a corpus and a run on an object store cost: requests a recording, requests a part."""

import itertools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from pipeline import open_run
from pipeline.run import part_file, write
from pipeline.run.keys import Keys
from pipeline.run.layout import wave_path
from pipeline.run.parts import read_part
from pipeline.run.run_json import save
from pipeline.run.write import write_parts
from pipeline.run.write_waves import write_waves
from pipeline.schema import CODES_SCHEMA
from pipeline.sources.formats import recordings
from pipeline.sources.plan import plan
from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import infos, locate
from pipeline.verify.check import check
from pipeline.verify.examine import examine_codes
from tests.helpers.commands import speak
from tests.helpers.rows import coded_row, run_record, wave_row
from tests.helpers.s3 import s3_server


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """What comes before and behind the path of a URI; there are twenty recordings in "in/"."""
    folder = speak(tmp_path_factory.mktemp("corpus"), {f"{number}.wav": 0.1 for number in range(20)})
    with s3_server("runs", {f"in/{path.name}": path.read_bytes() for path in folder.iterdir()}) as endpoint:
        yield "s3://k:s@runs/", f"?endpoint_override=http%3A%2F%2F{endpoint.replace(':', '%3A')}"


@pytest.fixture
def asked(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Its `messages` are the requests, once it is cleared."""
    caplog.set_level(logging.INFO, logger="werkzeug")  # a line for each request
    return caplog


def test_iterating_makes_no_request_for_each_recording(
    bucket: tuple[str, str], asked: pytest.LogCaptureFixture
) -> None:
    counts = []
    for recordings_ in (1, 200):
        uri = f"{bucket[0]}{recordings_}{bucket[1]}"
        fs, path = locate(uri)
        ids = [f"{number}" for number in range(recordings_)]
        write_parts(pa.concat_tables([coded_row(id_, 1920) for id_ in ids]), fs, path)
        write_whole(fs, wave_path(f"{path}/wav", "0"), lambda file: file.write(b"RIFF"))
        asked.clear()
        found = {recording.id: recording for recording in open_run(uri)}
        counts.append(len(asked.messages))
        assert sorted(found) == sorted(ids)
    asked.clear()
    assert found["0"].wave == "runs/200/wav/0.wav"
    assert found["1"].wave is None
    with found["0"].open_wave() as file:
        assert file.read() == b"RIFF"
    assert found["1"].open_wave() is None
    assert len(asked.messages) > 0
    assert counts[0] == counts[1]


def test_a_small_object_and_a_wave_are_one_request(bucket: tuple[str, str], asked: pytest.LogCaptureFixture) -> None:
    fs, path = locate(f"{bucket[0]}waves{bucket[1]}")
    asked.clear()
    write_whole(fs, f"{path}/small", lambda file: file.write(b"x"))
    assert len(asked.messages) == 1
    asked.clear()
    rows = pa.concat_tables([wave_row(f"{number}", np.zeros(100, np.int16)) for number in range(10)])
    write_waves(rows, fs, path, check=threading.Barrier(10, timeout=10).wait)  # all of them at the same time
    assert len(asked.messages) == 10
    assert all(info.size == 244 for info in infos(fs, [wave_path(path, f"{number}") for number in range(10)]))


def test_a_small_recording_is_two_requests(bucket: tuple[str, str], asked: pytest.LogCaptureFixture) -> None:
    tasks = plan([f"{bucket[0]}in{bucket[1]}"]).tasks
    asked.clear()
    for recording in itertools.chain.from_iterable(map(recordings, tasks)):
        for _ in range(2):  # a second pass does not fetch it again
            with recording.open() as file:
                assert file.read(4) == b"RIFF"
    assert len(asked.messages) == 40


def test_a_part_is_two_requests_and_a_rerun_opens_it_once(
    bucket: tuple[str, str], asked: pytest.LogCaptureFixture
) -> None:
    fs, path = locate(f"{bucket[0]}parts{bucket[1]}")
    for number in range(3):
        write_parts(coded_row(f"{number}", 1920), fs, path)
    keys = Keys(fs, path)
    asked.clear()
    assert len(keys.refresh().ids("codes")) == 3
    assert len([line for line in asked.messages if "part-" in line]) == 6
    asked.clear()
    keys.refresh()
    assert not [line for line in asked.messages if "part-" in line]


def test_row_groups_of_a_large_part_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "GROUP_BYTES", 1000)
    monkeypatch.setattr(part_file, "WHOLE_BYTES", 0)
    store = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    rows = pa.concat_tables([coded_row(f"{number}", 40 * 1920) for number in range(4)])
    written = write_parts(rows, LocalFileSystem(), f"{tmp_path}/run")["codes_part"][0].as_py()
    together, read = threading.Barrier(4, timeout=10), part_file._Remote._group

    def group(self: part_file._Remote, columns: list[str], number: int) -> pa.Table:
        together.wait()
        return read(self, columns, number)

    monkeypatch.setattr(part_file._Remote, "_group", group)
    for columns in (["id", "num_frames"], ["num_samples"], None):
        found = read_part(store, f"run/codes/{written}", CODES_SCHEMA, columns)
        assert found.equals(read_part(LocalFileSystem(), f"{tmp_path}/run/codes/{written}", CODES_SCHEMA, columns))


def test_check_fetches_a_part_at_once(bucket: tuple[str, str], asked: pytest.LogCaptureFixture) -> None:
    fs, path = locate(f"{bucket[0]}checked{bucket[1]}")
    write_whole(fs, path, lambda file: file.write(bytes(1 << 20)))  # four pieces of a stream
    asked.clear()
    assert examine_codes(fs, None, 2048, False, path).torn.startswith("ArrowInvalid")
    assert len(asked.messages) == 2  # its size, and it


def test_check_asks_twice_for_a_wave(bucket: tuple[str, str], asked: pytest.LogCaptureFixture) -> None:
    uri = f"{bucket[0]}spoken{bucket[1]}"
    fs, path = locate(uri)
    rows = pa.concat_tables([wave_row(f"{number}", np.zeros(100, np.int16)) for number in range(10)])
    write_parts(write_waves(rows, fs, f"{path}/wav"), fs, path)
    save(fs, path, run_record())
    asked.clear()
    assert not [line for line in check(uri).problems if "wav/" in line]
    assert len([line for line in asked.messages if ".wav " in line]) == 20
    fs.delete_file(wave_path(f"{path}/wav", "7"))
    assert "wav/7.wav is missing" in " ".join(check(uri).problems)
