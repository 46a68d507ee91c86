"""Inputs and outputs over the network: a real S3 endpoint and a real HTTP server, both on loopback."""

import functools
import http.server
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.codec import Codec
from pipeline import open_run, tokenize
from pipeline.cli.demo import CLIPS
from pipeline.run.reader import Run
from pipeline.sources.plan import plan
from tests.helpers.commands import in_process
from tests.helpers.flaky import always, flaky
from tests.helpers.s3 import s3_server
from tests.helpers.shards import write_tar

KEY, SECRET = "AKIDEXAMPLE", "not/a+real=secret"


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, str]]:
    """A bucket with two clips below corpus/; yields (URI of the bucket, query that finds the endpoint)."""
    clips = {f"corpus/{id_}": (CLIPS / id_).read_bytes() for id_ in ("en/frames.wav", "fr/parole.ogg")}
    with s3_server("speech", clips, KEY, SECRET) as endpoint:
        yield (
            f"s3://{KEY}:{SECRET.replace('/', '%2F').replace('+', '%2B')}@speech",
            f"?endpoint_override=http%3A%2F%2F{endpoint.replace(':', '%3A')}",
        )


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Run:
    """From files, in this process."""
    out, codec = tmp_path_factory.mktemp("local") / "run", Codec.load(str(small_model), "cpu", "fp32", threads=1)
    with in_process(codec):
        return tokenize([CLIPS / "en", CLIPS / "fr"], out, model=str(small_model), reconstruct=False, quiet=True)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_s3_in_and_out(s3: tuple[str, str], small_model: Path, local: Run, caplog: pytest.LogCaptureFixture) -> None:
    bucket, query = s3
    out = f"{bucket}/run{query}"
    run = tokenize(f"{bucket}/corpus{query}", out, model=str(small_model), quiet=True)
    codes = {recording.id: recording.codes for recording in run}
    assert sorted(codes) == ["en/frames.wav", "fr/parole.ogg"]
    for id_, found in codes.items():
        assert np.mean(found == local[id_.partition("/")[2]].codes) > 0.9999
    assert run["en/frames.wav"].wave is not None
    with run.fs.open_input_stream("speech/run/wav/en/frames.wav.wav") as file:
        assert len(file.read()) == 44 + 2 * run["en/frames.wav"].num_samples
    text = json.dumps(run.summary()) + run.table(["source"]).to_pandas().to_csv() + repr(run)
    assert SECRET not in text
    assert KEY not in text
    parts = run.summary()["parts"]
    caplog.set_level(logging.INFO, logger="werkzeug")  # a line for each request
    caplog.clear()
    assert tokenize(f"{bucket}/corpus{query}", out, model=str(small_model), quiet=True).summary()["parts"] == parts
    assert len(caplog.messages) < 70  # a rerun that has nothing to do
    assert len([line for line in caplog.messages if "part-" in line]) <= 2 * (len(parts) + 1)  # each once, and a schema
    assert len(open_run(out)) == 2


@pytest.mark.usefixtures("runs_in_process")
def test_http_in(tmp_path: Path, small_model: Path, local: Run) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(CLIPS))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        inputs = [f"{base}/en/frames.wav", f"{base}/fr/parole.ogg"]
        run = tokenize(inputs, tmp_path / "run", model=str(small_model), reconstruct=False, quiet=True)
        for id_ in ("frames.wav", "parole.ogg"):
            assert np.mean(run[id_].codes == local[id_].codes) > 0.9999
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("runs_in_process")
def test_a_shard_that_held_what_was_committed_is_read_once(tmp_path: Path, small_model: Path) -> None:
    names = ["en/frames.wav", "fr/parole.ogg"]
    write_tar(tmp_path / "s.tar", [(name, (CLIPS / name).read_bytes()) for name in names])
    content = {"/s.tar": (tmp_path / "s.tar").read_bytes()}
    with flaky(content, always("ok")) as server:
        location, model = f"{server.address}/s.tar", str(small_model)
        plan([location])
        to_plan = server.count("/s.tar")
        run = tokenize(location, tmp_path / "run", model=model, reconstruct=False, quiet=True)
        assert sorted(recording.id for recording in run) == names
        assert server.count("/s.tar") == 2 * to_plan + 1
