"""What reading a run costs an object store: requests of a part, none of a recording."""

import logging

import pyarrow as pa
import pytest

from pipeline import open_run
from pipeline.run.layout import wave_path
from pipeline.run.write import write_parts
from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import locate
from tests.helpers.rows import coded_row
from tests.helpers.s3 import s3_server


def test_iterating_makes_no_request_for_each_recording(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="werkzeug")  # a line for each request
    asked = []
    with s3_server("runs", {}) as endpoint:
        for recordings in (1, 200):
            uri = f"s3://k:s@runs/{recordings}?endpoint_override=http%3A%2F%2F{endpoint.replace(':', '%3A')}"
            fs, path = locate(uri)
            ids = [f"{number}" for number in range(recordings)]
            write_parts(pa.concat_tables([coded_row(id_, 1920) for id_ in ids]), fs, path)
            write_whole(fs, wave_path(f"{path}/wav", "0"), lambda file: file.write(b"RIFF"))
            caplog.clear()
            found = {recording.id: recording for recording in open_run(uri)}
            asked.append(len(caplog.records))
            assert sorted(found) == sorted(ids)
        caplog.clear()
        assert found["0"].wave == "runs/200/wav/0.wav"
        assert found["1"].wave is None
        with found["0"].open_wave() as file:
            assert file.read() == b"RIFF"
        assert found["1"].open_wave() is None
        assert len(caplog.records) > 0
    assert asked[1] <= asked[0] + 2  # of the larger part, which may take more than one
