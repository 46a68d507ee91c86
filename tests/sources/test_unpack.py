"""Compressed tars: every compression, damage, several streams behind each other, bombs; and bombs in zips."""

import bz2
import gzip
import io
import lzma
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.sources import unpack
from pipeline.sources.plan import plan
from tests.helpers.shards import content, contents, read, write_tar

SPEECH = [(f"u{number}.wav", bytes([65 + number]) * 70_000 * number) for number in range(4)]
COMPRESSIONS = {
    "s.tgz": gzip.compress,
    "s.tar.gz": gzip.compress,
    "s.tar.bz2": bz2.compress,
    "s.tar.xz": lzma.compress,
    "s.tar.zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
EACH = pytest.mark.parametrize("name", COMPRESSIONS)


def raw(tmp_path: Path, members: list[tuple[str, bytes]] = SPEECH) -> bytes:
    return write_tar(tmp_path / "raw.tar", members).read_bytes()


def packed(tmp_path: Path, name: str, data: bytes) -> str:
    (tmp_path / name).write_bytes(COMPRESSIONS[name](data))
    return str(tmp_path / name)


@EACH
def test_members_in_order_and_again(tmp_path: Path, name: str) -> None:
    found = read(plan([packed(tmp_path, name, raw(tmp_path))]))
    assert [(item.id, content(item)) for item in found] == SPEECH
    assert [(item.id, content(item)) for item in found] == SPEECH


@EACH
def test_in_a_folder_it_is_a_shard(tmp_path: Path, name: str) -> None:
    (tmp_path / "corpus").mkdir()
    packed(tmp_path / "corpus", name, raw(tmp_path))
    assert contents(plan([str(tmp_path / "corpus")])) == {f"{name}/{id}": data for id, data in SPEECH}


@EACH
def test_streams_behind_each_other_are_one(tmp_path: Path, name: str) -> None:
    data, compress = raw(tmp_path), COMPRESSIONS[name]
    (tmp_path / name).write_bytes(compress(data[:100_000]) + compress(data[100_000:]))
    assert list(contents(plan([str(tmp_path / name)])).items()) == SPEECH


@EACH
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_cut_one_keeps_what_came_before(tmp_path: Path, name: str, keep: float) -> None:
    noise = [(f"u{number}.wav", random.Random(number).randbytes(60_000)) for number in range(10)]
    path = Path(packed(tmp_path, name, raw(tmp_path, noise)))
    path.write_bytes(path.read_bytes()[: round(keep * path.stat().st_size)])
    found = contents(plan([str(path)]))
    assert dict(noise).items() >= {id: data for id, data in found.items() if id != name}.items()
    assert str(found[name]).startswith("TruncatedAudio: ")


@EACH
def test_what_is_not_compressed_at_all_is_one_failure(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<html>not found</html>" * 99)
    ((id, value),) = contents(plan([str(tmp_path / name)])).items()
    assert (id, str(value).split(":")[0]) == (name, "TruncatedAudio")


@EACH
def test_a_bomb_is_a_failure(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "FREE_BYTES", 10 << 20)
    data = raw(tmp_path, [("a.wav", b"A" * 5_000), ("bomb.wav", bytes(60 << 20)), ("c.wav", b"C")])
    path = packed(tmp_path, name, data)
    tracemalloc.start()
    found = contents(plan([path]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["a.wav"] == b"A" * 5_000
    assert "UnsupportedAudio" in str(found[name])
    assert "the limit is 100 for each byte" in str(found[name])
    assert peak < 50 << 20


def test_silence_below_the_bound_is_audio(tmp_path: Path) -> None:
    silence = [("a.wav", bytes(50 << 20))]
    assert contents(plan([packed(tmp_path, "s.tar.gz", raw(tmp_path, silence))])) == dict(silence)


def test_an_xz_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    (tmp_path / "s.tar.xz").write_bytes(lzma.compress(raw(tmp_path), lzma.FORMAT_XZ, filters=filters))
    assert "limit" in str(contents(plan([str(tmp_path / "s.tar.xz")]))["s.tar.xz"])


def test_archives_inside_are_passed_over(tmp_path: Path) -> None:
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("b.wav", b"B")
    members = [("a.wav", b"A"), ("in.zip", inside.getvalue()), ("in.tar", raw(tmp_path)), ("in.tar.gz", b"x")]
    assert contents(plan([str(write_tar(tmp_path / "s.tar", members))])) == {"a.wav": b"A"}
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    assert contents(plan([str(tmp_path / "s.zip")])) == {"a.wav": b"A"}


def test_a_bomb_in_a_zip_is_one_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "FREE_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.wav", bytes(20 << 20))
        archive.writestr("a.wav", b"A")
    found = contents(plan([str(tmp_path / "s.zip")]))
    assert "the limit is 100 for each byte" in str(found["bomb.wav"])
    assert found["a.wav"] == b"A"


def test_a_zip_whose_members_overlap_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("a.wav", b"A" * 5_000)
    data = (tmp_path / "s.zip").read_bytes()
    at, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entry = data[at:end]
    entries = b"".join(entry.replace(b"a.wav", b"%05d" % number) for number in range(50))
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 50, 50, len(entries), at, 0)
    (tmp_path / "s.zip").write_bytes(data[:at] + entries + tail)
    ((id, value),) = contents(plan([str(tmp_path / "s.zip")])).items()
    assert id == "s.zip"
    assert "they overlap" in str(value)
