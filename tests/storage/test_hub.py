"""hf:// inputs: the hub's own client against a server on loopback, and whatever else fsspec knows under "hf"."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.registry import _registry

from actors.checkpoint import find_model
from pipeline.errors import InputError, ModelError
from pipeline.sources.plan import plan
from pipeline.storage import filesystem
from pipeline.storage.access import Access
from pipeline.storage.opening import open_random
from tests.helpers.hub import REPO, REVISION, Hub, hub
from tests.helpers.shards import AUDIO, contents

ONCE = Access(retries=0, timeout_s=5)
ROOT = f"hf://datasets/{REPO}@{REVISION}"


def shard(*rows: bytes) -> bytes:
    """A Parquet shard as the hub keeps them: column `audio`."""
    file = io.BytesIO()
    audio = [{"bytes": row, "path": f"{row.decode()}.wav"} for row in rows]
    pq.write_table(pa.table({"audio": pa.array(audio, AUDIO), "text": [row.decode() for row in rows]}), file)
    return file.getvalue()


FILES = {
    "README.md": b"about",
    "clips/a.wav": b"A" * 100,
    "data/en/train-0.parquet": shard(b"e0", b"e1"),
    "data/it/train-0.parquet": shard(b"i0"),
    "data/it/test-0.parquet": shard(b"t0"),
}
TRAIN = {
    "en/train-0.parquet/e0.wav": b"e0",
    "en/train-0.parquet/e1.wav": b"e1",
    "it/train-0.parquet/i0.wav": b"i0",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that huggingface_hub takes for the real one."""
    from huggingface_hub import constants
    from huggingface_hub.utils import reset_sessions

    with hub(FILES) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        resolve = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", running.address)
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        reset_sessions()
        filesystem._hub.cache_clear()
        yield running
    filesystem._hub.cache_clear()
    monkeypatch.undo()
    reset_sessions()


def test_a_glob_over_a_data_set(server: Hub) -> None:
    assert contents(plan([f"{ROOT}/data/**/train-*.parquet"], access=ONCE)) == TRAIN
    assert server.asked


def test_a_folder_a_file_and_what_is_passed_over(server: Hub) -> None:
    planned = plan([ROOT], access=ONCE)
    assert planned.passed_over == {".md": 1}
    assert set(contents(planned)) == {"clips/a.wav", "data/it/test-0.parquet/t0.wav", *(f"data/{id}" for id in TRAIN)}
    assert contents(plan([f"{ROOT}/clips/a.wav"], access=ONCE)) == {"a.wav": b"A" * 100}


def test_what_is_committed_is_not_read_again(server: Hub) -> None:
    done = pa.array(["en/train-0.parquet/e0.wav"])
    assert set(contents(plan([f"{ROOT}/data/*/train-*.parquet"], access=ONCE, done=done))) == set(TRAIN) - {
        done[0].as_py()
    }


def test_a_branch_that_changed_is_seen_by_the_same_process(server: Hub) -> None:
    before = plan([f"{ROOT}/clips/*.wav"], access=ONCE).tasks[0].units
    server.files["clips/a.wav"] = b"B" * 100
    after = plan([f"{ROOT}/clips/*.wav"], access=ONCE).tasks[0].units
    assert before["@size"] == after["@size"]
    assert before["@version"][0].as_py() != after["@version"][0].as_py()


def test_a_large_file_is_read_by_range(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.storage.opening.SMALL_BYTES", 10)
    with open_random(f"{ROOT}/clips/a.wav", ONCE) as file:
        file.seek(90)
        assert file.read(5) == b"A" * 5
    assert server.asked[-1][1] is not None


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("hf://datasets/org/other@v1/**/*.parquet", "RepositoryNotFoundError: 401 .*private or gated"),
        (f"hf://datasets/{REPO}@v2/**/*.parquet", "RevisionNotFoundError: 404"),
        (f"{ROOT}/nothing/*.parquet", "no audio found"),
        (f"{ROOT}/data/gone.parquet", "no such file or folder"),
    ],
)
def test_what_is_not_there_is_named(server: Hub, location: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        plan([location], access=ONCE)


def test_a_gated_data_set_says_so(server: Hub) -> None:
    server.gated = True
    found = contents(plan([ROOT], access=ONCE))
    assert len(found) == 4
    assert all("GatedRepoError: 403" in str(value) for value in found.values())


def test_no_network_is_no_missing_file(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    filesystem._hub.cache_clear()
    with pytest.raises(InputError, match=r"cannot be read \(Unreachable: 1 try .*Connection"):
        plan([f"{ROOT}/**/*.parquet"], access=ONCE)


def test_hf_is_what_fsspec_knows_by_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class StandIn(DirFileSystem):
        """A folder of memory in the hub's place."""

        protocol = "hf"

        def __init__(self, **_: object) -> None:
            super().__init__(path="/hub", fs=fsspec.filesystem("memory"))

    monkeypatch.setitem(_registry, "hf", StandIn)
    filesystem._hub.cache_clear()
    memory = fsspec.filesystem("memory")
    for name, data in FILES.items():
        memory.pipe(f"/hub/datasets/{REPO}@{REVISION}/{name}", data)
    assert contents(plan([f"{ROOT}/data/**/train-*.parquet"], access=ONCE)) == TRAIN
    memory.rm("/hub", recursive=True)
    filesystem._hub.cache_clear()


def test_what_the_client_logs_holds_no_signature(caplog: pytest.LogCaptureFixture) -> None:
    filesystem.locate("hf://datasets/org/corpus/a.wav")
    log = logging.getLogger("huggingface_hub.utils._http")
    log.warning(
        "'%s' thrown while requesting GET %s", "with url: /x/blob?X-Amz-Signature=s3cr3t", "https://h/x?sig=s3cr3t"
    )
    (said,) = caplog.messages
    assert said == "'with url: /x/blob thrown while requesting GET https://h/x"


@pytest.mark.usefixtures("server")
def test_a_model_that_the_hub_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"The hub has no 'nobody/nothing', or gives it only with HF_TOKEN"):
        find_model("nobody/nothing")
