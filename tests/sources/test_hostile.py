"""Malicious inputs: the result of each, from reading to the files of a run."""

import contextlib
import json
import os
import pickle
import re
import resource
import shutil
import socket
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from actors.checkpoint import DEMO_FOLDER, FILES, find_model
from pipeline import open_run
from pipeline.audio.decode import open_audio
from pipeline.errors import InputError, ModelError, TooLong
from pipeline.job import Job, describe, prepare
from pipeline.read import read_chunks
from pipeline.run.write import write_parts
from pipeline.run.write_waves import write_waves
from pipeline.schema import CODES_SCHEMA
from pipeline.settings import load_settings
from pipeline.sources.plan import plan
from pipeline.storage.access import Access
from pipeline.storage.text import plain_type
from tests.helpers.cells import TYPES, VALUES, cells
from tests.helpers.rows import coded_row, wave_row
from tests.helpers.shards import AUDIO, contents, read, write_files, write_parquet, write_tar

LOCAL = LocalFileSystem()
ONCE = Access(timeout_s=2, retries=0)


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


# ---- names


def test_hostile_names_stay_in_the_run(tmp_path: Path) -> None:
    """From tar members, files and manifests to WAVs: every recording its own, below RUN/wav."""
    corpus = tmp_path / "corpus"
    names = ["../up.wav", "/etc/passwd.wav", "a/../../b.wav", "x" * 300 + ".wav", os.fsdecode(b"\xff.wav"), "n\nl.wav"]
    write_files(corpus, {"ok.wav": b"1", os.fsdecode(b"\xfe\xfd.wav"): b"2"})
    write_tar(corpus / "s.tar", [(name, b"3") for name in names])
    ids = ["../m", "/m", "..", "nul\0", "é" * 300, "con:?", "", "a//b", ".hidden", "s.tar/../up"]
    lines = [{"path": f"{number}.wav", "id": id_} for number, id_ in enumerate(ids)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = [item.id for item in [*read(plan([str(corpus)])), *read(plan([str(tmp_path / "m.jsonl")]))]]
    assert len(set(found)) == len(found) == 2 + len(names) + len(ids)
    assert all(id_.isprintable() for id_ in found)
    run = tmp_path / "deep" / "er" / "run"
    write_parts(pa.concat_tables([coded_row(id_, 1920) for id_ in found]), LOCAL, str(run))
    write_waves(pa.concat_tables([wave_row(id_, np.zeros(4, np.int16)) for id_ in found]), LOCAL, f"{run}/wav")
    assert {recording.id for recording in open_run(run) if recording.wave} == set(found)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and corpus not in path.parents]
    assert len([path for path in files if run / "wav" in path.parents]) == len(found)
    assert {path for path in files if run not in path.parents} == {tmp_path / "m.jsonl"}


def test_nul_in_a_tar_member(tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x.wav")
        info.size, info.pax_headers = 1, {"path": "nul\0in.wav"}
        tar.addfile(info, io.BytesIO(b"1"))
    assert contents(plan([str(tmp_path / "s.tar")])) == {r"nul\x00in.wav": b"1"}


# ---- sizes

CRC8 = [0] * 256
CRC16 = [0] * 256
for byte in range(256):
    short, long = byte, byte << 8
    for _ in range(8):
        short = (short << 1 ^ 0x07 if short & 0x80 else short << 1) & 0xFF
        long = (long << 1 ^ 0x8005 if long & 0x8000 else long << 1) & 0xFFFF
    CRC8[byte], CRC16[byte] = short, long


def flac_frame(number: int) -> bytes:
    """65535 samples of silence in 8 channels, 24 bit: 1.6 MB in 44 bytes."""
    head = b"\xff\xf8\x70\x70" + chr(number).encode("utf-8", "surrogatepass") + struct.pack(">H", 65_534)
    check = 0
    for one in head:
        check = CRC8[check ^ one]
    frame = head + bytes([check]) + bytes(4) * 8
    crc = 0
    for one in frame:
        crc = (crc << 8 & 0xFFFF) ^ CRC16[crc >> 8 ^ one]
    return frame + struct.pack(">H", crc)


def flac_bomb(gigabytes: float, promised: bool) -> bytes:
    """A FLAC that is `gigabytes` when decoded; its header says so, or (`promised` false) leaves it open."""
    frames = -(-int(gigabytes * 1e9) // (65_535 * 8 * 3))
    total = frames * 65_535 if promised else 0
    packed = 8_000 << 44 | 7 << 41 | 23 << 36 | total  # rate, channels - 1, bits - 1, samples
    info = struct.pack(">HH", 65_535, 65_535) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info + b"".join(map(flac_frame, range(frames)))


SHORT = {"max_recording_s": 600}


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 GB each."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, promised in (("open.flac", False), ("promised.flac", True)):
        (folder / name).write_bytes(flac_bomb(100, promised))
    return folder


def test_the_bomb_is_sound(tmp_path: Path) -> None:
    import soundfile

    (tmp_path / "x.flac").write_bytes(flac_bomb(0.01, True))
    samples, rate = soundfile.read(tmp_path / "x.flac", dtype="int16")
    assert (samples.shape, rate) == ((7 * 65_535, 8), 8_000)


@pytest.mark.parametrize("name", ["open.flac", "promised.flac"])
def test_a_flac_of_100_gb_is_stopped_while_it_is_decoded(bombs: Path, name: str) -> None:
    assert (bombs / name).stat().st_size < 3_200_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen: list[int] = []
    with (
        pytest.raises(TooLong, match="longer than 600 s"),
        (bombs / name).open("rb") as bomb,
        open_audio(bomb, name, **SHORT) as audio,
    ):
        seen.extend(map(len, audio.blocks))
    assert sum(seen) <= 600 * 8_000  # of 520,828 s
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 << 10  # KiB


# ---- nothing is unpickled


def test_weights_are_never_a_pickle(tmp_path: Path) -> None:
    marker = tmp_path / "unpickled"
    folder = tmp_path / "model"
    folder.mkdir()
    for name in FILES[:2]:
        (folder / name).write_bytes((DEMO_FOLDER / name).read_bytes())
    torch.save({"weights": Bomb(marker)}, folder / "pytorch_model.bin")
    torch.save({"weights": Bomb(marker)}, folder / "model.pt")
    with pytest.raises(ModelError, match=r"lacks model\.safetensors"):
        find_model(str(folder))
    whole = (DEMO_FOLDER / "model.safetensors").read_bytes()
    for content in (pickle.dumps(Bomb(marker)), (folder / "model.pt").read_bytes(), b"", whole[:-1], whole[:1000]):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelError, match=r"model\.safetensors is damaged, or not a safetensors file"):
            find_model(str(folder))
    (folder / "model.safetensors").write_bytes(whole)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"weights": "pytorch_model.bin"}}')
    from actors.codec import Codec

    assert Codec.load(str(folder), device="cpu", precision="fp32").fingerprint
    assert not marker.exists()


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from actors.codec import Codec

    weights = load_file(DEMO_FOLDER / "model.safetensors")
    name = next(name for name in weights if name.startswith("encoder.") and name.endswith("conv.weight"))
    shutil.copytree(DEMO_FOLDER, tmp_path / "model")
    for changed in ({}, {name: weights[name][:1].clone()}):
        others = {key: value for key, value in weights.items() if key != name}
        save_file(others | changed, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=rf"lacks a weight .*{re.escape(name)}"):
            Codec.load(str(tmp_path / "model"), device="cpu", precision="fp32")


def test_nothing_in_a_corpus_is_unpickled(tmp_path: Path) -> None:
    marker, corpus = tmp_path / "unpickled", tmp_path / "corpus"
    corpus.mkdir()
    evil = pickle.dumps(Bomb(marker))
    write_tar(corpus / "s.tar", [("u.wav", evil), ("u.json", evil), ("u.pyd", evil), ("u.pkl", evil), ("u.npy", evil)])
    extension = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil}
    fields = [pa.field("audio", pa.binary()), pa.field("text", pa.binary(), metadata=extension)]
    pq.write_table(pa.table([pa.array([evil])] * 2, schema=pa.schema(fields)), corpus / "p.parquet")
    for name in ("x.wav", "x.pkl", "m.jsonl", "m.csv"):
        (corpus / name).write_bytes(evil)
    found = contents(plan([str(corpus)]))
    assert found == {"s.tar/u.wav": evil, "p.parquet/00000000": evil, "x.wav": evil}
    for name in ("m.jsonl", "m.csv"):
        with pytest.raises(InputError):
            plan([str(corpus / name)])
    run = tmp_path / "run"
    write_parts(coded_row("a", 1920, text=pa.array([evil])), LOCAL, str(run))
    path = next((run / "codes").iterdir())
    rows = pq.read_table(path)
    schema = rows.schema.set(rows.schema.get_field_index("text"), fields[1])
    pq.write_table(pa.table(rows.columns, schema=schema), path)
    assert next(iter(open_run(run))).carried == {"text": evil}
    assert not marker.exists()


# ---- credentials


def test_credentials_are_never_written(tmp_path: Path, job: Job) -> None:
    """Of inputs that cannot be reached: not in the failures, not in run.json."""
    secret = "s3cr3t"
    rows = [
        f"http://user:{secret}@127.0.0.1:9/a.wav?signature={secret}",
        f"s3://{secret}:{secret}@bucket/b.wav?endpoint_override=http%3A%2F%2F127.0.0.1%3A9&k={secret}",
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps({"path": path}) + "\n" for path in rows[:1]))
    planned = plan([str(tmp_path / "m.jsonl")], access=ONCE)
    told = [row.to_pylist()[0] for task in planned.tasks for row in read_chunks(task, job.reading, planned.carried, {})]
    assert [row["error"] for row in told] == ["UnreadableAudio"]
    assert secret not in json.dumps(told)
    assert secret not in json.dumps(describe(job, rows))
    for path in rows:
        with pytest.raises(InputError) as caught:
            plan([path.replace(".wav", ".jsonl")], access=ONCE)
        assert secret not in str(caught.value)


def test_data_does_not_choose_who_gets_the_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client sends its credentials to the endpoint that a URI's query names."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        path = f"S3://speech/a.wav?endpoint_override=127.0.0.1:{stranger.getsockname()[1]}&scheme=http"
        (tmp_path / "m.jsonl").write_text(json.dumps({"path": path}))
        with pytest.raises(InputError, match=r"S3://speech/a\.wav has a query"):
            plan([str(tmp_path / "m.jsonl")], access=ONCE)
        write_parquet(tmp_path / "p.parquet", [{"bytes": None, "path": path}])
        (told,) = contents(plan([str(tmp_path / "p.parquet")], access=ONCE)).values()
        assert "::row 0: S3://speech/a.wav has a query" in str(told)
        stranger.settimeout(0.1)
        with pytest.raises(TimeoutError):
            stranger.accept()


# ---- schemes


def test_a_scheme_that_is_not_allowed(tmp_path: Path) -> None:
    """In a manifest it is refused; in a Parquet shard, which is not read before, it is a failure."""
    (tmp_path / "m.jsonl").write_text('{"path": "ftp://h/a.wav"}\n')
    with pytest.raises(InputError, match="'ftp' is not allowed"):
        plan([str(tmp_path / "m.jsonl")])
    audio = [{"bytes": None, "path": f"{scheme}://h/a.wav"} for scheme in ("ftp", "gopher", "memory")]
    pq.write_table(pa.table({"audio": pa.array(audio, AUDIO)}), tmp_path / "p.parquet")
    found = contents(plan([str(tmp_path / "p.parquet")]))
    assert [text.partition(":")[0] for text in found.values()] == ["UnreadableAudio"] * 3
    assert all("is not allowed" in text for text in found.values())


# ---- schemas


VIEWS = (pa.binary_view(), pa.list_(pa.string_view()), pa.struct([("a", pa.string_view())]), pa.list_(pa.null()))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """What reading needs to know."""
    given = load_settings(None, {"model": "demo", "device": "cpu", "reconstruct": False})
    return prepare(given, DEMO_FOLDER, str(tmp_path_factory.mktemp("job")), {"CPU": 2.0}, ("encode",))


def travelled(shard: Path, job: Job) -> pa.Table:
    """The columns that travel with the recordings of `shard`, written to a run and read from it."""
    planned = plan([str(shard)])
    rows = [row for task in planned.tasks for row in read_chunks(task, job.reading, planned.carried, {})]
    assert all(row["error"][0].is_valid for row in rows)  # there is no audio in it
    columns = [{name: row[name].combine_chunks() for name in planned.carried.names} for row in rows]
    coded = [coded_row(str(number), 1920, **values) for number, values in enumerate(columns)]
    run = shard.parent / "run"
    write_parts(pa.concat_tables(coded), LOCAL, str(run))
    assert len(list(open_run(run))) == len(rows)
    return open_run(run).table().drop_columns(CODES_SCHEMA.names)


@pytest.mark.parametrize("kind", [*TYPES, *VIEWS], ids=str)
def test_columns_of_any_type_travel(tmp_path: Path, job: Job, kind: pa.DataType) -> None:
    column = cells(kind, list(VALUES))
    audio = pa.array([{"bytes": b"x", "path": None}] * len(column), AUDIO)
    pq.write_table(pa.table({"audio": audio, "c": column}), tmp_path / "s.parquet")
    found = travelled(tmp_path / "s.parquet", job)["c"].combine_chunks()
    assert found.null_count == column.null_count
    if kind == plain_type(kind) and kind.id != pa.json_().id:
        assert found.type == pq.read_schema(tmp_path / "s.parquet").field("c").type


def test_two_columns_of_one_name_are_no_audio(tmp_path: Path) -> None:
    audio = pa.array([{"bytes": b"x", "path": None}], AUDIO)
    pq.write_table(pa.Table.from_arrays([pa.array([1]), audio], names=["audio"] * 2), tmp_path / "s.parquet")
    with pytest.raises(InputError, match=r"s\.parquet"):
        plan([str(tmp_path / "s.parquet")])


def test_ids_that_are_no_text_are_none(tmp_path: Path, job: Job) -> None:
    audio = pa.array([{"bytes": b"x", "path": None}] * 3, AUDIO)
    pq.write_table(pa.table({"audio": audio, "id": [{"a": 1}] * 3}), tmp_path / "s.parquet", row_group_size=1)
    assert len(travelled(tmp_path / "s.parquet", job)) == 3


@settings(max_examples=60, deadline=60_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    columns=st.lists(
        st.tuples(
            st.sampled_from(
                ["audio", "bytes", "path", "id", "text", "chunk", "@id", "", "codes", "start_s", "audio.path"]
            ),
            st.sampled_from([*TYPES, AUDIO, AUDIO, pa.struct([("bytes", pa.large_binary()), ("path", pa.int64())])]),
            st.lists(st.sampled_from(VALUES), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=5,
    ),
    groups=st.integers(1, 3),
    stored=st.booleans(),
)
def test_hostile_schemas_of_shards(
    tmp_path_factory: pytest.TempPathFactory,
    job: Job,
    columns: list[tuple[str, pa.DataType, list[Any]]],
    groups: int,
    stored: bool,
) -> None:
    """A Parquet shard, or manifest, of any columns: failures, or one clear mistake, and parts that can be read."""
    folder = tmp_path_factory.mktemp("schemas")
    arrays = [cells(kind, [values[row % len(values)] for row in range(3)]) for _, kind, values in columns]
    try:
        table = pa.Table.from_arrays(arrays, names=[name for name, _, _ in columns])
        pq.write_table(table, folder / "s.parquet", row_group_size=groups, store_schema=stored)
    except pa.ArrowException:
        return  # Parquet has no such type
    with contextlib.suppress(InputError):
        assert len(travelled(folder / "s.parquet", job)) == 3
