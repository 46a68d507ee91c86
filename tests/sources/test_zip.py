"""Zip archives: members by name, siblings, damage, encryption; local and by byte ranges."""

import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.sources.plan import plan
from tests.helpers.shards import cells, content, contents, read, write_files

SPEECH = {f"spk{i}/u{i}.wav": bytes([65 + i]) * 700 * i for i in range(4)}


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_in_order_and_again(tmp_path: Path, compression: int) -> None:
    path = write_zip(tmp_path / "s.zip", SPEECH, compression)
    found = read(plan([str(path)]))
    assert [item.id for item in found] == list(SPEECH)
    assert [item.source for item in found] == [f"{path}::{name}" for name in SPEECH]
    assert [content(item) for item in found] == list(SPEECH.values())
    assert [content(item) for item in found] == list(SPEECH.values())  # may be opened again


def test_siblings_travel_wherever_they_lie(tmp_path: Path) -> None:
    members = {"a.wav": b"A", "b.flac": b"B", "a.txt": b"one", "b.json": b"{}", ".hidden.wav": b"H", "notes.md": b"n"}
    found = read(plan([str(write_zip(tmp_path / "s.zip", members))]))
    assert {item.id: cells(item) for item in found} == {
        "a.wav": {"json": None, "txt": "one"},
        "b.flac": {"json": "{}", "txt": None},
    }


def test_siblings_of_names_with_dots(tmp_path: Path) -> None:
    audio = dict.fromkeys(("spk.001.wav", "spk.002.wav", "v1.0_x.wav", "v1.0_y.wav", "v1.0_z.wav"), b"A")
    texts = {"spk.001.txt": b"one", "spk.001.json": b"{}", "v1.0_x.txt": b"x", "v1.0_y.txt": b"y", "v1.txt": b"v1"}
    found = read(plan([str(write_zip(tmp_path / "s.zip", audio | texts))]))
    assert {item.id: tuple(cells(item).values()) for item in found} == {
        "spk.001.wav": ("{}", "one"),
        "spk.002.wav": (None, None),
        "v1.0_x.wav": (None, "x"),
        "v1.0_y.wav": (None, "y"),
        "v1.0_z.wav": (None, "v1"),  # by WebDataset's key: it has no text of its own
    }


def test_beside_other_inputs_ids_begin_with_the_archive(tmp_path: Path) -> None:
    write_zip(tmp_path / "s.zip", {"a.wav": b"A"})
    write_files(tmp_path, {"b.wav": b"B"})
    assert contents(plan([str(tmp_path)])) == {"s.zip/a.wav": b"A", "b.wav": b"B"}


def test_what_is_committed_is_not_read_again(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "s.zip", SPEECH)
    left = plan([str(path)], done=pa.array(list(SPEECH)[:3]))
    assert list(contents(left)) == list(SPEECH)[3:]


def test_a_flipped_byte_fails_one_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "s.zip", SPEECH, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"C" * 700)] ^= 1
    path.write_bytes(data)
    found = contents(plan([str(path)]))
    assert [id for id, value in found.items() if isinstance(value, str)] == ["spk2/u2.wav"]
    assert "Bad CRC-32" in str(found["spk2/u2.wav"])


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_cut_archive_is_one_failure(tmp_path: Path, keep: float) -> None:
    path = write_zip(tmp_path / "s.zip", SPEECH)
    data = path.read_bytes()
    path.write_bytes(data[: round(keep * len(data)) if keep < 1 else int(keep)])
    ((id, value),) = contents(plan([str(path)])).items()
    assert id == "s.zip"
    assert str(value).startswith("TruncatedAudio: ")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.wav", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.wav", b"2")
    found = contents(plan([str(path)]))
    assert found["a.wav"] == b"1"
    assert str(found["a.wav#2"]).startswith("DuplicateId: ")


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "s.zip", {"a.wav": b"A", "b.wav": b"B"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag in the central directory, of the first member
    path.write_bytes(data)
    found = contents(plan([str(path)]))
    assert "encrypted" in str(found["a.wav"])
    assert found["b.wav"] == b"B"


def test_a_member_that_claims_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.zip.MAX_SPOOL_BYTES", 1 << 20)
    path = write_zip(tmp_path / "s.zip", {"bomb.wav": bytes(2 << 20), "a.wav": b"A"})
    assert path.stat().st_size < 10_000
    found = contents(plan([str(path)]))
    assert "unpacks to 2097152 bytes" in str(found["bomb.wav"])
    assert found["a.wav"] == b"A"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_zipfile_unpacks_without_bound_are_refused(tmp_path: Path, method: int) -> None:
    """Whatever the header says: gigabytes of zeros in a few hundred bytes would be in memory before it is looked at."""
    path = write_zip(tmp_path / "s.zip", {"bomb.wav": bytes(1 << 20)}, method)
    found = contents(plan([str(path)]))
    assert found["bomb.wav"].startswith("UnsupportedAudio: bomb.wav is packed by ")


def test_a_member_without_a_name(tmp_path: Path) -> None:
    """zipfile cuts a name at a NUL, and cannot say then whether it is that of a folder."""
    path = write_zip(tmp_path / "s.zip", {"a.wav": b"A", "b.wav": b"B"})
    path.write_bytes(path.read_bytes().replace(b"a.wav", b"\0.wav"))
    assert contents(plan([str(path)])) == {"b.wav": b"B"}


def test_random_damage_gives_failures_and_never_an_error(tmp_path: Path) -> None:
    whole = io.BytesIO(write_zip(tmp_path / "w.zip", SPEECH).read_bytes()).getvalue()
    for at in range(0, len(whole), 3):
        data = bytearray(whole)
        data[at] ^= 0xFF
        (tmp_path / "s.zip").write_bytes(data)
        contents(plan([str(tmp_path / "s.zip")]))
