"""Containers -> items, one by one: tar and Parquet shards, whole, broken and hostile."""

import gzip
import io
import itertools
import os
import tarfile
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.sources.tar
from pipeline.errors import InputError, TruncatedAudio
from pipeline.sources import tar
from pipeline.sources.formats import recordings
from pipeline.sources.members import Member
from pipeline.sources.plan import plan
from pipeline.storage import opening
from tests.helpers.shards import AUDIO, cells, content, contents, read, write_files, write_parquet, write_tar

SPEECH = [(f"u{i}.wav", bytes([65 + i]) * 700 * i) for i in range(4)]


def broken(text: bytes | str) -> str:
    assert isinstance(text, str)
    return text


def test_a_local_file_can_be_mapped_and_a_remote_looking_name_is_local(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": b"A"})
    (item,) = read(plan([str(tmp_path)]))
    with item.open() as file:
        assert isinstance(file, io.FileIO)  # it can be memory-mapped
        assert file.name == str(tmp_path / "a.wav")
    assert (item.id, item.name, item.source, item.start_s, item.end_s) == ("a.wav", "a.wav", file.name, 0.0, None)


@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz", "s.tgz"])
def test_a_tar_shard_in_order(tmp_path: Path, name: str) -> None:
    path = write_tar(tmp_path / name, SPEECH, "w:gz" if name.endswith("gz") else "w")
    found = read(plan([str(path)]))
    assert [item.id for item in found] == [name for name, _ in SPEECH]
    assert [item.source for item in found] == [f"{path}::{name}" for name, _ in SPEECH]
    assert [content(item) for item in found] == [text for _, text in SPEECH]
    assert [content(item) for item in found] == [text for _, text in SPEECH]  # may be opened again


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_large_members_are_read_in_place_or_spooled(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tar, opening):
        monkeypatch.setattr(module, "SMALL_BYTES", 1000)
    big = os.urandom(50_000)
    path = write_tar(
        tmp_path / ("s.tar" + ".gz" * (mode == "w:gz")), [("a.wav", b"A"), ("b.wav", big), ("c.wav", b"C")], mode
    )
    found = {item.id: item for item in recordings(plan([str(path)]).tasks[0])}
    for _ in range(2):
        with found["b.wav"].open() as file:
            assert file.read(100) == big[:100]
            assert file.seek(-10, io.SEEK_END) == 49_990
            assert file.read() == big[-10:]
            assert file.seek(25_000) == 25_000
            assert file.read(20_000) == big[25_000:45_000]
    assert content(found["c.wav"]) == b"C"


def test_siblings_travel(tmp_path: Path) -> None:
    members = [
        ("a/1.txt", "grüß\n".encode()), ("a/1.wav", b"1"), ("a/1.json", b'{"k": 1}'), ("a/1.cls", b"7"),
        ("a/2.en.flac", b"2"), ("a/2.TXT", b" two\nlines \r\n\n"), ("b/2.wav", b"3"), ("a/3.txt", b"alone"),
        ("a/4.wav", b"4"), ("a/4.flac", b"5"), ("a/4.json", b"\xff\n"),
    ]  # fmt: skip
    planned = plan([str(write_tar(tmp_path / "s.tar", members))])
    assert planned.carried == pa.schema([("json", pa.string()), ("txt", pa.string())])
    assert {item.id: tuple(cells(item).values()) for item in read(planned)} == {
        "a/1.wav": ('{"k": 1}', "grüß"),
        "a/2.en.flac": (None, " two\nlines "),
        "b/2.wav": (None, None),
        "a/4.wav": ("\ufffd\n", None),
        "a/4.flac": ("\ufffd\n", None),
    }


DOTTED = {
    "spk.001.wav": ('{"n": 1}', "one"), "spk.002.WAV": (None, "two"), "spk.003.wav": (None, None),
    "t.1.wav": ('{"t": 1}', "of t.1"), "t.2.wav": (None, "of t"), "u.1.wav": (None, None),
    "v1.0_x.wav": (None, "x"), "v1.0_y.wav": (None, "y"), "d.1/w.wav": (None, "w"),
}  # fmt: skip
"""Recordings whose names have further dots -> their json and txt, of the members below."""
DOTTED_TEXTS = {
    "spk.001.json": b'{"n": 1}', "spk.001.txt": b"one\n", "spk.002.txt": b"two",
    "t.1.json": b'{"t": 1}', "t.1.txt": b"of t.1", "t.txt": b"of t",
    "u.1.wav.txt": b"of another name", "u.1.en.txt": b"of another name", "u.2.txt": b"of another name",
    "v1.0_x.txt": b"x", "v1.0_y.txt": b"y", "v1.txt": b"unrelated", "d.1/w.txt": b"w", "d.txt": b"of another folder",
}  # fmt: skip


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_siblings_of_names_with_dots(tmp_path: Path, mode: str) -> None:
    members = sorted((DOTTED_TEXTS | dict.fromkeys(DOTTED, b"A")).items())
    path = write_tar(tmp_path / ("s.tar" + ".gz" * (mode == "w:gz")), members, mode)
    found = {item.id: tuple(cells(item).values()) for item in read(plan([str(path)]))}
    assert found == DOTTED
    assert list(found) == sorted(DOTTED)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    members = [("a.wav", b"A"), ("a.json", mark + b'{"k": 1}'), ("a.txt", mark + b"gr\xc3\xbc\xff" + mark + b"\r\n")]
    (item,) = read(plan([str(write_tar(tmp_path / "s.tar", members))]))
    assert cells(item) == {"json": '{"k": 1}', "txt": "grü\ufffd\ufeff"}  # inside a text it is a character


def test_two_members_of_one_name(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", [("u.wav", b"1"), ("u.wav", b"2"), ("v.wav", b"3"), ("u.wav", b"4")])
    found = contents(plan([str(path)]))
    assert list(found) == ["u.wav", "u.wav#2", "v.wav", "u.wav#3"]
    assert found["u.wav"] == b"1"
    assert broken(found["u.wav#2"]).startswith(f"DuplicateId: {path}::u.wav: a second member of this name at byte 1536")


def test_hostile_members(tmp_path: Path) -> None:
    names = [
        "../../up.wav",
        "/root.wav",
        "x" * 300 + ".wav",
        "a/" * 150 + "deep.wav",
        os.fsdecode(b"\xff.wav"),
        "n\n\x1b.wav",
    ]
    path = write_tar(tmp_path / "s.tar", [(name, b"%d" % i) for i, name in enumerate(names)])
    found = read(plan([str(path)]))
    assert [item.id for item in found] == [*names[:4], r"\xff.wav", r"n\x0a\x1b.wav"]
    assert [content(item) for item in found] == [b"%d" % i for i in range(6)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.tar"]  # nothing was unpacked


def test_members_that_are_no_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, kind in [
            ("l.wav", tarfile.SYMTYPE),
            ("h.wav", tarfile.LNKTYPE),
            ("p.wav", tarfile.FIFOTYPE),
            ("d.wav", b"5"),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name in ("._u.wav", ".hidden/u.wav", "notes.md", "./ok.wav"):
            tar.addfile(tarfile.TarInfo(name))
    found = contents(plan([str(tmp_path / "s.tar")]))
    assert list(found) == ["l.wav", "h.wav", "p.wav", "ok.wav"]
    assert all(broken(found[name]).startswith("UnsupportedAudio") for name in ("l.wav", "h.wav", "p.wav"))


def cut_in_content(raw: bytes) -> bytes:
    return raw[: raw.index(b"C" * 100) + 50]


def cut_in_header(raw: bytes) -> bytes:
    return raw[: raw.index(b"u2.wav") + 30]


def cut_behind_a_member(raw: bytes) -> bytes:
    return raw[: raw.index(b"u2.wav")]


def damaged_header(raw: bytes) -> bytes:
    at = raw.index(b"u2.wav")
    return raw[: at + 148] + b"zzzzzz" + raw[at + 154 :]


def size_of_2_to_the_62(raw: bytes) -> bytes:
    info = tarfile.TarInfo("u2.wav")
    info.size = 2**62
    at = raw.index(b"u2.wav")
    return raw[:at] + info.tobuf(tarfile.GNU_FORMAT) + raw[at + 512 :]


def test_a_member_too_large_to_unpack_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.sources.tar, "MAX_SPOOL_BYTES", 1_000)
    members = [("a.wav", b"A"), ("bomb.wav", bytes(1_001)), ("c.wav", b"C")]
    found = contents(plan([str(write_tar(tmp_path / "s.tar.gz", members, "w:gz"))]))
    assert list(found) == ["a.wav", "s.tar.gz"]
    assert "bomb.wav has 1001 bytes; the limit is" in broken(found["s.tar.gz"])
    assert list(contents(plan([str(write_tar(tmp_path / "s.tar", members))]))) == ["a.wav", "bomb.wav", "c.wav"]


def long_name_of_a_gigabyte(raw: bytes) -> bytes:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**30
    at = raw.index(b"u2.wav")
    return raw[:at] + info.tobuf(tarfile.GNU_FORMAT) + raw[at:]


DAMAGE = [
    cut_in_content,
    cut_in_header,
    cut_behind_a_member,
    damaged_header,
    size_of_2_to_the_62,
    long_name_of_a_gigabyte,
]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_tar_that_breaks_keeps_what_came_before(
    tmp_path: Path, damage: Callable[[bytes], bytes], zipped: bool
) -> None:
    path = write_tar(tmp_path / "s.tar", SPEECH)
    raw = damage(path.read_bytes())
    path.write_bytes(raw)
    if zipped:
        path = tmp_path / "s.tar.gz"
        path.write_bytes(gzip.compress(raw))
    found = contents(plan([str(path), str(write_tar(tmp_path / "z.tar", [("z.wav", b"Z")]))]))
    assert list(found) == [f"{path.name}/u0.wav", f"{path.name}/u1.wav", path.name, "z.tar/z.wav"]
    assert found[f"{path.name}/u1.wav"] == SPEECH[1][1]
    message = broken(found[path.name])
    assert message.startswith(f"TruncatedAudio: {path}: ")
    assert "make the shard again" in message
    for committed in ([path.name], list(found)):  # nothing is told twice, nothing forgotten
        again = plan([str(path), str(tmp_path / "z.tar")], done=pa.array(committed))
        assert list(contents(again)) == [id for id in found if id not in committed]


def test_a_gzip_that_is_cut_keeps_what_came_before(tmp_path: Path) -> None:
    members = [(f"{i}.wav", os.urandom(100_000)) for i in range(4)]
    path = write_tar(tmp_path / "s.tar.gz", members, "w:gz")
    path.write_bytes(path.read_bytes()[:250_000])
    found = contents(plan([str(path)]))
    assert list(found) == ["0.wav", "1.wav", "s.tar.gz"]
    assert found["1.wav"] == members[1][1]
    assert "TruncatedAudio" in broken(found["s.tar.gz"])


def test_a_streamed_tar_of_one_key_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.tar.SMALL_BYTES", 1 << 20)
    audio = {f"ted.talk.{i:02}.wav": os.urandom(1000) * 900 for i in range(40)}
    path = write_tar(tmp_path / "s.tar.gz", [*audio.items(), ("ted.txt", b"all of it")], "w:gz")
    planned = plan([str(path)])
    tracemalloc.start()
    found = read(planned)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 6 << 20  # of 36
    assert {item.id: content(item) for item in reversed(found)} == audio
    assert [cells(item)["txt"] for item in found] == ["all of it"] * 40


@pytest.mark.parametrize("raw", [b"", b"x", b"no tar at all " * 100, bytes(511)])
def test_what_is_no_tar(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "s.tar").write_bytes(raw)
    found = contents(plan([str(tmp_path / "s.tar")]))
    assert list(found) == ["s.tar"]
    assert "TruncatedAudio" in broken(found["s.tar"])


def pax(size: bytes) -> bytes:
    """A member whose extended header says that it has `size` bytes."""
    record = b"%d size=%b\n"
    line = next(text for n in range(99) if len(text := record % (n, size)) == n)
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(line)
    return header.tobuf(tarfile.USTAR_FORMAT) + line.ljust(512, b"\0") + tarfile.TarInfo("n.wav").tobuf()


def long_names(count: int) -> bytes:
    """Header after header of one member's name."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    return (header.tobuf(tarfile.GNU_FORMAT) + b"n\0".ljust(512, b"\0")) * count


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
@pytest.mark.parametrize(
    "odd", [pax(b"9" * 26), pax(b"-1"), pax(b"-700"), long_names(2_000)], ids=["huge", "-1", "negative", "names"]
)
def test_headers_that_nobody_writes_fail_the_shard_alone(tmp_path: Path, odd: bytes, suffix: str) -> None:
    path = write_tar(tmp_path / "s.tar", [("a.wav", b"A")])
    whole = path.read_bytes()[:1024] + odd + bytes(1024)
    path.unlink()
    path = tmp_path / f"s.{suffix}"
    path.write_bytes(whole if suffix == "tar" else gzip.compress(whole))
    found = contents(plan([str(path)]))
    assert found["a.wav"] == b"A"
    assert found[path.name].startswith(f"TruncatedAudio: {path}: breaks after ")


def test_a_text_that_cannot_be_read_fails_its_recordings_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["spk.001.wav", "spk.002.wav", "spk.002.txt", "u.wav", "u.txt"]
    path, read_text = write_tar(tmp_path / "s.tar", [(name, b"A") for name in names]), pipeline.sources.members._text

    def stale(member: Member) -> str:
        if member.name == "spk.002.txt":
            raise OSError("Stale file handle")
        return read_text(member)

    monkeypatch.setattr("pipeline.sources.members._text", stale)
    found = contents(plan([str(path)]))
    assert list(found) == ["spk.001.wav", "spk.002.wav", "u.wav"]
    assert found["spk.001.wav"] == found["u.wav"] == b"A"
    assert "OSError: Stale file handle" in broken(found["spk.002.wav"])


def write_any(path: Path) -> Path:
    """A container of one recording, of the kind that its name says."""
    table = pa.table({"audio": pa.array([{"bytes": b"A", "path": "a.wav"}], AUDIO)})
    if path.suffix == ".tar":
        return write_tar(path, [("a.wav", b"A")])
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.wav", b"A")
    elif path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table)
    return path


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("s.tar", "tar.tarfile.TarFile.next"),
        ("s.zip", "zip._opener"),
        ("s.parquet", "parquet._Shard.read"),
        ("s.arrow", "arrow_dataset._batches"),
    ],
)
def test_what_nobody_thought_of_fails_one_container(
    tmp_path: Path, name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_any(tmp_path / name)
    planned = plan([str(path)])

    def odd(*given: object) -> None:
        raise KeyError("odd")

    monkeypatch.setattr(f"pipeline.sources.{where}", odd)
    assert contents(planned) == {name: f"UnexpectedError: {path}: KeyError: 'odd'; please report it with the file"}


def test_an_empty_tar_holds_nothing(tmp_path: Path) -> None:
    assert read(plan([str(write_tar(tmp_path / "s.tar", []))])) == []


def test_a_sibling_that_fills_the_memory_fails_its_recording_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.members.MAX_TEXT_BYTES", 10)
    path = write_tar(tmp_path / "s.tar", [("a.wav", b"A"), ("a.txt", b"x" * 11), ("b.wav", b"B"), ("b.txt", b"x" * 10)])
    found = contents(plan([str(path)]))
    assert broken(found["a.wav"]).startswith("UnsupportedAudio: its a.txt is over")
    assert found["b.wav"] == b"B"
    members = [("c.1.wav", b"1"), ("c.1.txt", b"x" * 11), ("c.2.wav", b"2"), ("c.2.txt", b"x" * 10)]
    found = contents(plan([str(write_tar(tmp_path / "dots.tar", members))]))
    assert broken(found["c.1.wav"]).startswith("UnsupportedAudio: its c.1.txt is over")
    assert found["c.2.wav"] == b"2"


def test_a_container_that_is_gone_when_it_is_read(tmp_path: Path) -> None:
    paths = [
        write_tar(tmp_path / "s.tar", SPEECH),
        write_parquet(tmp_path / "s.parquet", [{"bytes": b"1", "path": None}]),
    ]
    planned = plan([str(tmp_path)])
    for path in paths:
        path.unlink()
    assert contents(planned) == {
        name: f"UnreadableAudio: {tmp_path / name}: no such file or folder" for name in ("s.tar", "s.parquet")
    }


def rows(number: int, name: str | None = "u{}.wav") -> list[dict[str, object] | None]:
    return [{"bytes": b"%d" % i, "path": name and name.format(i)} for i in range(number)]


def test_a_parquet_shard(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "s.parquet", rows(5), text=list("abcde"), codes=[1.5] * 5)
    planned = plan([str(path)], parallelism=4)
    assert (planned.recordings, len(planned.tasks)) == (5, 3)  # a task a row group
    assert planned.carried == pa.schema([("text", pa.string()), ("input_codes", pa.float64())])
    found = read(planned)
    assert [item.id for item in found] == [f"u{i}.wav" for i in range(5)]
    assert [content(item) for item in found] == [b"%d" % i for i in range(5)]
    assert (found[3].source, found[3].name, cells(found[3])) == (
        f"{path}::row 3",
        "u3.wav",
        {"text": "d", "input_codes": 1.5},
    )


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("u{}.wav", {}, ["u0.wav", "u1.wav", "u2.wav"]),
        ("u{}.wav", {"id": [7, 8, 9]}, ["7", "8", "9"]),
        ("u{}.wav", {"id": pa.array(["k", "l", "m"]).dictionary_encode()}, ["k", "l", "m"]),  # a category of pandas
        ("u{}.wav", {"id": ["k", "l", "k"]}, ["u0.wav", "u1.wav", "u2.wav"]),  # FLEURS: an id is a sentence
        ("u{}.wav", {"id": ["k", None, "l"]}, ["u0.wav", "u1.wav", "u2.wav"]),
        ("audio.wav", {}, ["00000000", "00000001", "00000002"]),
        (None, {"id": [1.0, 2.0, 3.0]}, ["00000000", "00000001", "00000002"]),
    ],
)
def test_ids_of_parquet_rows(
    tmp_path: Path, name: str | None, columns: dict[str, list[object]], expected: list[str]
) -> None:
    path = write_parquet(tmp_path / "s.parquet", rows(3, name), rows=1, **columns)
    planned = plan([str(path)], parallelism=8)
    assert [item.id for item in read(planned)] == expected
    assert [item.id for item in read(plan([str(tmp_path)]))] == [f"s.parquet/{id}" for id in expected]
    assert (
        [cells(item) for item in read(planned)] == [{"input_id": id} for id in pa.array(columns["id"]).to_pylist()]
        if columns
        else [{}] * 3
    )


def test_rows_without_bytes(tmp_path: Path) -> None:
    write_files(tmp_path, {"beside.wav": b"B"})
    audio = [{"bytes": None, "path": "beside.wav"}, {"bytes": b"", "path": "e"}, None, {"bytes": None, "path": None}]
    found = list(contents(plan([str(write_parquet(tmp_path / "s.parquet", audio))])).values())
    assert found[:2] == [b"B", b""]
    assert all(broken(text).endswith("neither bytes nor a path") for text in found[2:])


@pytest.mark.parametrize(
    ("names", "column", "taken"),
    [
        (["audio", "image"], None, "audio"),
        (["speech"], None, "speech"),
        (["image", "speech"], "speech", "speech"),
        (["image", "speech"], None, None),
        (["audio", "bytes"], "bytes", "bytes"),
    ],
)
def test_which_column_is_the_audio(tmp_path: Path, names: list[str], column: str | None, taken: str | None) -> None:
    table = pa.table({name: pa.array([{"bytes": name.encode(), "path": "p.wav"}], AUDIO) for name in names})
    pq.write_table(table, tmp_path / "s.parquet")
    if taken is None:
        with pytest.raises(InputError, match=r"image, speech all hold bytes; name the audio with input.column"):
            plan([str(tmp_path / "s.parquet")])
        return
    planned = plan([str(tmp_path / "s.parquet")], column=column)
    assert list(contents(planned).values()) == [taken.encode()]
    assert len(planned.carried) == len(names) - 1


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_a_plain_binary_column(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"wav": pa.array([b"1", None], kind), "path": ["x", "y"]}), tmp_path / "s.parquet")
    found = contents(plan([str(tmp_path / "s.parquet")]))
    assert found["00000000"] == b"1"
    assert "neither bytes" in broken(found["00000001"])


def test_columns_of_shards_that_differ(tmp_path: Path) -> None:
    write_parquet(tmp_path / "1.parquet", rows(1), n=pa.array([1], pa.int32()), c=pa.array(["x"]).dictionary_encode())
    write_parquet(tmp_path / "2.parquet", rows(1), n=pa.array([2], pa.int64()), when=pa.array([5], pa.timestamp("ns")))
    planned = plan([str(tmp_path)])
    assert planned.carried == pa.schema([("n", pa.int64()), ("c", pa.string()), ("when", pa.timestamp("ns"))])
    for item in read(planned):
        assert {name: cell.type for name, cell in item.carried.items()} == {f.name: f.type for f in planned.carried}
    assert [cells(item)["c"] for item in read(planned)] == ["x", None]


def test_a_row_group_that_breaks_fails_its_rows_only(tmp_path: Path) -> None:
    audio = [{"bytes": bytes([i]) * 1000, "path": f"{i}.wav"} for i in range(6)]
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"audio": pa.array(audio, AUDIO)}), path, row_group_size=2, compression="none")
    raw = bytearray(path.read_bytes())
    at = raw.index(bytes([2]) * 1000)
    raw[at - 12 : at] = b"\xff" * 12  # the end of the page's header, the first length
    path.write_bytes(raw)
    found = contents(plan([str(path)]))
    assert list(found) == [f"{i}.wav" for i in range(6)]
    assert [i for i, text in enumerate(found.values()) if isinstance(text, str)] == [2, 3]
    assert "row group 1 breaks" in broken(found["2.wav"])


def test_a_shard_whose_ids_cannot_be_read_fails_once_a_task(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "s.parquet", rows(6, "name-{}"), rows=2)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"name-0")
    raw[at - 12 : at] = b"\xff" * 12
    path.write_bytes(raw)
    found = contents(plan([str(path)], parallelism=8))
    assert list(found) == ["s.parquet", "s.parquet#row-group-1", "s.parquet#row-group-2"]
    assert all(broken(text).startswith(f"UnreadableAudio: {path}: cannot be read") for text in found.values())


@pytest.mark.parametrize("cut", [0, 3, 100, -1])
def test_what_is_no_parquet(tmp_path: Path, cut: int) -> None:
    path = write_parquet(tmp_path / "s.parquet", rows(3))
    path.write_bytes(path.read_bytes()[:cut])
    found = contents(plan([str(path)]))
    assert list(found) == ["s.parquet"]
    assert broken(found["s.parquet"]).startswith(f"UnreadableAudio: {path}: cannot be read")


def test_parquet_memory_is_a_few_rows(tmp_path: Path) -> None:
    audio = [{"bytes": os.urandom(500_000), "path": f"{i}.wav"} for i in range(200)]
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"audio": pa.array(audio, AUDIO)}), path, row_group_size=50)  # as Hugging Face writes
    del audio
    before = pa.total_allocated_bytes()
    peak = 0
    for item in itertools.chain.from_iterable(recordings(task) for task in plan([str(path)]).tasks):
        assert len(content(item)) == 500_000
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 120e6  # two pages, each a row group's; the shard is 100 MB


def tar_bytes() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in [*SPEECH, ("ü" * 120 + ".wav", b"2" * 99), ("u.json", b"{}")]:
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(text), {"comment": "c" * 60}
            tar.addfile(info, io.BytesIO(text))
    return file.getvalue()


def parquet_bytes() -> bytes:
    file = io.BytesIO()
    columns = {"audio": pa.array(rows(9), AUDIO), "id": list(range(9)), "l": [[1], [], None] * 3}
    pq.write_table(pa.table(columns), file, row_group_size=4)
    return file.getvalue()


RAW = {"s.tar": tar_bytes(), "s.tar.gz": gzip.compress(tar_bytes()), "s.parquet": parquet_bytes()}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(RAW)), st.data())
def test_no_damage_crashes_or_hangs(name: str, data: st.DataObject) -> None:
    raw = bytearray(RAW[name])
    for _ in range(data.draw(st.integers(0, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)) | st.just(len(raw)))]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(raw)
        try:
            found = read(plan([f"{folder}/{name}"]))
        except InputError:  # a damaged schema may hold no audio any more
            return
        assert len(found) <= 20
        for item in found:
            content(item)
            cells(item)


def test_the_message_names_the_last_good_member(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", SPEECH)
    path.write_bytes(cut_behind_a_member(path.read_bytes()))
    *_, last = read(plan([str(path)]))
    with pytest.raises(TruncatedAudio, match=r"no end mark after u1.wav; what follows is lost"), last.open():
        pass
