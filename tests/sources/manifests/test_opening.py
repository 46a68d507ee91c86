"""Manifests behind gzip, from standard input, and on an object store."""

import gzip
import io
import json
import os
import pty
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.sources.manifests import opening
from pipeline.sources.plan import plan
from tests.helpers.s3 import s3_server
from tests.helpers.shards import cells, contents, read, write_files

MANIFESTS = {
    "m.jsonl": b'{"path": "a.wav", "text": "t"}\n',
    "m.json": b'{"path": "a.wav", "text": "t"}\n',
    "m.csv": b"path,text\na.wav,t\n",
    "m.tsv": b"path\ttext\na.wav\tt\n",
    "m.txt": b"a.wav\n",
}


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Standard input may be set; what was read of it is forgotten."""
    opening.standard_input.cache_clear()
    yield monkeypatch
    opening.standard_input.cache_clear()


def standard_input(pipe: pytest.MonkeyPatch, content: bytes) -> None:
    pipe.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("name", MANIFESTS)
def test_gzip(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {"a.wav": b"A", f"{name}.gz": gzip.compress(MANIFESTS[name])})
    assert contents(plan([str(tmp_path / f"{name}.gz")])) == {"a.wav": b"A"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_gzip_is_bounded(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_UNPACKED", 2 << 20)
    line = MANIFESTS[name].rpartition(b"\n")[0].rpartition(b"\n")[2] + b"\n"
    write_files(tmp_path, {f"{name}.gz": gzip.compress(MANIFESTS[name] + line * (3 << 20))})
    with pytest.raises(InputError, match=rf"{name}\.gz: .*unpacks to more than 2 MiB, the limit; split it"):
        plan([str(tmp_path / f"{name}.gz")])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],  # cut
        lambda data: b"BZh9",  # no gzip
        lambda data: data[:10] + b"\xff" * 40,  # no deflate behind the header
        lambda data: data[:-8] + b"\0" * 8,  # another checksum
    ],
)
def test_broken_gzip(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    whole = gzip.compress(b"".join(b'{"path": "%d.wav"}\n' % i for i in range(100)))
    write_files(tmp_path, {"m.jsonl.gz": damage(whole)})
    with pytest.raises(InputError, match=r"m\.jsonl\.gz: cannot be read"):
        plan([str(tmp_path / "m.jsonl.gz")])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a.wav\n\nb.wav\n", {"a.wav": b"A", "b.wav": b"B"}),
        (b'{"audio_filepath": "a.wav", "id": 7}\n{"audio_filepath": "b.wav", "id": 8}', {"7": b"A", "8": b"B"}),
    ],
)
def test_standard_input(tmp_path: Path, pipe: pytest.MonkeyPatch, content: bytes, expected: dict[str, bytes]) -> None:
    write_files(tmp_path, {"a.wav": b"A", "b.wav": b"B", "sub/a.wav": b"S", "sub/b.wav": b"T"})
    pipe.chdir(tmp_path)
    standard_input(pipe, content)
    assert contents(plan(["-"])) == expected
    assert contents(plan(["-"], root="sub")) == dict(zip(expected, (b"S", b"T"), strict=True))  # read once, kept


@pytest.mark.parametrize("content", [b"", b"\n", b"{", b"{}\n"])
def test_nothing_of_use_in_standard_input(pipe: pytest.MonkeyPatch, content: bytes) -> None:
    standard_input(pipe, content)
    with pytest.raises(InputError, match=r"^-: "):
        plan(["-"])


def test_a_terminal(pipe: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower) as terminal:
        pipe.setattr(sys, "stdin", terminal)
        with pytest.raises(InputError, match="standard input, a terminal here"):
            plan(["-"])
    os.close(leader)


def test_corpora_on_an_object_store() -> None:
    recording = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}]}
    objects = {
        "k/wav.scp": b"r a.wav\n",
        "k/text": b"r what is said\n",
        "l/recordings.jsonl": json.dumps(recording | {"sampling_rate": 8000, "duration": 1.0}).encode(),
        "l/supervisions.jsonl": json.dumps(
            {"id": "s", "recording_id": "r", "start": 0, "duration": 0.5, "text": "what is said"}
        ).encode(),
        **{f"{folder}/a.wav": b"A" for folder in "kl"},
    }
    with s3_server("speech", objects) as endpoint:
        query = f"?endpoint_override=http%3A%2F%2F{endpoint.replace(':', '%3A')}"
        for given, id in (("k", "r"), ("l/recordings.jsonl", "s")):
            (item,) = read(plan([f"s3://k:s@speech/{given}{query}"]))
            assert (item.id, cells(item)["text"], item.source) == (
                id,
                "what is said",
                f"s3://speech/{given[0]}/a.wav",
            )
            with item.open() as file:
                assert file.read() == b"A"
