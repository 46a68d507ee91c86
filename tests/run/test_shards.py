"""Waves in shards: what WebDataset sees, how one is found, and that a wave goes where its row goes."""

import io
import json
import pickle
import random
import string
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import webdataset
from datasets import Features, Value, load_dataset
from moto.server import DomainDispatcherApplication
from pyarrow.fs import FileSelector, FileSystem, LocalFileSystem

from pipeline import open_run
from pipeline.errors import OutputError
from pipeline.run import keep_rows as keep_rows_module
from pipeline.run.committed import committed
from pipeline.run.drop import drop
from pipeline.run.join_waves import join_each, join_long_waves
from pipeline.run.keep_rows import keep_rows
from pipeline.run.keys import Keys
from pipeline.run.layout import WaveKind, id_of_key, sample_key
from pipeline.run.parts import read_part
from pipeline.run.resume import LACKS_WAVES, resume
from pipeline.run.run_json import save
from pipeline.run.settle import settle
from pipeline.run.shard import read_index, write_shard
from pipeline.run.shards import delete_orphans, drop_waves, keep_one_each, not_in_shards
from pipeline.run.write import write_parts_and_shards
from pipeline.run.write_waves import without_wave
from pipeline.schema import CODES_SCHEMA
from pipeline.storage.filesystem import BUFFER_BYTES, locate
from pipeline.storage.text import id_hashes
from tests.helpers.rows import coded_row, failed_row, run_record, wave_row
from tests.helpers.s3 import s3_server
from tests.helpers.store import Store

LOCAL = LocalFileSystem()
TAR = WaveKind("tar")
WAVE_TYPE = pa.large_list(pa.int16())
IDS = [
    *(
        "a.wav",
        "a",
        "a.b",
        "a%2Eb",
        "d.e/f",
        "d.e/f.g.h",
        "__meta__",
        "__x__/y",
        "_",
        "__",
        ".",
        "..",
        "../up",
        "/etc/x",
    ),
    *(
        "",
        "a//b",
        "é" * 300,
        "x" * 4000,
        "a b",
        "語/音.flac",
        "%_",
        "%5F",
        "a:b*?",
        ".hidden",
        "__index__",
        "con",
        "A.WAV",
    ),
]


def pcm(id_: str, samples: int = 300) -> np.ndarray:
    """Samples that no other id has."""
    return np.random.default_rng(list(id_.encode())).integers(-9_000, 9_000, samples).astype(np.int16)


def commit(run: Path, rows: list[pa.Table], format: str = "wav", most: int = 1000) -> list[str]:
    """Commit rows with waves; returns the names of the parts of codes, without suffix."""
    written = write_parts_and_shards(pa.concat_tables(rows), LOCAL, str(run), format, most)
    return [name.removesuffix(".parquet") for name in written["codes_part"].to_pylist() if name]


def undecoded(id_: str) -> pa.Table:
    """A row whose codes could not be decoded."""
    return coded_row(id_, 300, wave=pa.nulls(1, WAVE_TYPE))


def record(run: Path | str, format: str = "wav", fs: FileSystem = LOCAL) -> None:
    """run.json of a run with shards."""
    base = run_record()
    output = {**base["settings"]["output"], "waves": "tar", "wave_format": format}
    save(fs, str(run), {**base, "settings": {**base["settings"], "output": output}})


def samples(path: Path) -> dict[str, np.ndarray]:
    """What WebDataset reads from a shard: int16 by the id of the key."""
    found = {}
    for sample in webdataset.WebDataset(str(path), shardshuffle=False):
        suffixes = [name for name in sample if not name.startswith("__")]
        assert suffixes in (["wav"], ["flac"])
        assert id_of_key(sample["__key__"]) not in found
        found[id_of_key(sample["__key__"])] = soundfile.read(io.BytesIO(sample[suffixes[0]]), dtype="int16")[0]
    return found


def everything(run: Path) -> dict[str, np.ndarray]:
    """What WebDataset reads from all shards; each id once."""
    found: dict[str, np.ndarray] = {}
    for path in sorted((run / "wav").glob("*.tar")):
        of_shard = samples(path)
        assert not of_shard.keys() & found.keys()
        found |= of_shard
    return found


def test_keys_are_unique_and_have_no_dot_where_webdataset_cuts() -> None:
    drawn = random.Random(0)
    alphabet = string.ascii_letters[:4] + "./_%2E" * 2 + "é\x01"
    ids = {*IDS, *("".join(drawn.choices(alphabet, k=drawn.randrange(9))) for _ in range(20_000))}
    keys = {sample_key(id_) for id_ in ids}
    assert len(keys) == len(ids)
    for id_ in ids:
        key = sample_key(id_)
        assert id_of_key(key) == id_
        assert "." not in key.rpartition("/")[2]
        assert not key.startswith(("/", "__"))
        assert not {"", ".", ".."} & set(key.split("/"))


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_webdataset_and_tar_read_every_wave_under_its_own_id(tmp_path: Path, format: str) -> None:
    (name,) = commit(tmp_path, [wave_row(id_, pcm(id_)) for id_ in IDS], format)
    shard = tmp_path / "wav" / f"{name}.tar"
    found = samples(shard)
    assert found.keys() == {*IDS}
    assert all(np.array_equal(found[id_], pcm(id_)) for id_ in IDS)
    with tarfile.open(shard) as tar:
        assert tar.getnames() == [*(f"{sample_key(id_)}.{format}" for id_ in IDS), "__index__"]
        listed = json.loads(tar.extractfile("__index__").read()[:-20])["waves"]
    assert [entry[0] for entry in listed] == IDS
    content = shard.read_bytes()
    for _, num_samples, offset, size in listed:
        assert soundfile.info(io.BytesIO(content[offset : offset + size])).frames == num_samples


def test_hugging_face_reads_a_shard(tmp_path: Path) -> None:
    (name,) = commit(tmp_path, [wave_row(id_, pcm(id_)) for id_ in ("a.b", "c")])
    files = {"train": str(tmp_path / "wav" / f"{name}.tar")}
    types = {"__key__": Value("string"), "wav": Value("binary")}  # Audio would need torchcodec
    read = load_dataset("webdataset", data_files=files, split="train", streaming=True, features=Features(types))
    found = {id_of_key(row["__key__"]): soundfile.read(io.BytesIO(row["wav"]), dtype="int16")[0] for row in read}
    assert found.keys() == {"a.b", "c"}
    assert all(np.array_equal(found[id_], pcm(id_)) for id_ in found)


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_open_run_finds_each_wave(tmp_path: Path, format: str) -> None:
    for first in range(0, len(IDS), 5):
        commit(tmp_path, [wave_row(id_, pcm(id_)) for id_ in IDS[first : first + 5]], format)
    pieces = [pcm(f"long {chunk}", 3840 if chunk < 2 else 7) for chunk in range(3)]
    for chunk in (2, 0, 1):
        commit(tmp_path, [wave_row("long.x", pieces[chunk], chunk, 3)], format)
    commit(tmp_path, [undecoded("silent"), failed_row("bad").append_column("wave", pa.nulls(1, WAVE_TYPE))], format)
    record(tmp_path, format)
    run = open_run(tmp_path)
    assert run["long.x"].wave is None
    assert join_long_waves(Keys(LOCAL, str(tmp_path)), WaveKind("tar", format)) == 1
    run = open_run(tmp_path)
    expected = {id_: pcm(id_) for id_ in IDS} | {"long.x": np.concatenate(pieces)}
    for recording in run:
        wave = pickle.loads(pickle.dumps(recording)).wave
        if recording.id == "silent":
            assert wave is None
            continue
        assert wave.name.endswith(f".tar::{sample_key(recording.id)}.{format}")
        read, rate = soundfile.read(wave, dtype="int16")
        assert rate == 24_000
        assert np.array_equal(read, expected.pop(recording.id))
    assert not expected
    assert soundfile.info(run["a.b"].wave).frames == 300
    assert not (tmp_path / "wav" / ".pieces").exists()
    assert without_wave(LOCAL, f"{tmp_path}/wav", ["silent", "a.b", "long.x", "no"], TAR) == ["silent", "no"]


def test_an_index_that_is_longer_than_one_request(tmp_path: Path) -> None:
    waves = [(f"{number:07d}" * 10, 1, [np.zeros(1, np.int16)]) for number in range(2_000)]
    with (tmp_path / "s.tar").open("wb") as file:
        write_shard(file, waves, "wav")
    found = read_index(LOCAL, str(tmp_path / "s.tar"))
    assert [entry.id for entry in found] == [id_ for id_, _, _ in waves]
    assert read_index(LOCAL, str(tmp_path / "absent.tar")) == []


def test_a_part_has_at_most_so_many_rows_and_a_shard_of_its_name(tmp_path: Path) -> None:
    names = commit(tmp_path, [wave_row(id_, pcm(id_)) for id_ in IDS[:7]], most=3)
    assert sorted(path.stem for path in (tmp_path / "codes").iterdir()) == sorted(names)
    assert sorted(path.stem for path in (tmp_path / "wav").iterdir()) == sorted(names)
    assert len(names) == 3
    assert commit(tmp_path, [failed_row("bad").append_column("wave", pa.nulls(1, WAVE_TYPE))]) == []
    assert len([*(tmp_path / "wav").iterdir()]) == 3


def test_a_write_that_ran_twice_leaves_one_wave(tmp_path: Path) -> None:
    """Once with the same rows, once with others around it, once in a block that has it twice."""
    rows = [wave_row(id_, pcm(id_)) for id_ in ("a", "b", "c")]
    assert commit(tmp_path, rows) == commit(tmp_path, rows)
    commit(tmp_path, [rows[1], wave_row("d", pcm("d")), rows[1]])
    settle(Keys(LOCAL, str(tmp_path)))
    join_long_waves(Keys(LOCAL, str(tmp_path)), TAR)
    found = everything(tmp_path)
    assert found.keys() == {"a", "b", "c", "d"}
    assert all(np.array_equal(found[id_], pcm(id_)) for id_ in found)
    record(tmp_path)
    for recording in open_run(tmp_path):
        assert np.array_equal(soundfile.read(recording.wave, dtype="int16")[0], pcm(recording.id))
    assert {path.stem for path in (tmp_path / "wav").iterdir()} == {
        path.stem for path in (tmp_path / "codes").iterdir()
    }


def test_of_two_versions_neither_stays_and_its_wave_goes(tmp_path: Path) -> None:
    """A late writer's, and this command's: nothing here tells which of them the inputs hold."""
    for version, value in (("old", 1), ("new", 2)):
        row = wave_row("a", np.full(300, value, np.int16))
        at = row.schema.get_field_index("source_version")
        commit(tmp_path, [row.set_column(at, "source_version", pa.array([version])), wave_row(version, pcm(version))])
    assert settle(Keys(LOCAL, str(tmp_path))).mixed
    assert everything(tmp_path).keys() == {"old", "new"}
    assert sorted(committed(Keys(LOCAL, str(tmp_path))).ids.to_pylist()) == ["new", "old"]


def test_a_shard_without_its_part_is_not_seen_and_goes(tmp_path: Path) -> None:
    (killed,) = commit(tmp_path, [wave_row("a", pcm("x")), wave_row("b", pcm("y"))])
    (tmp_path / "codes" / f"{killed}.parquet").unlink()  # killed after its shard, before its part
    commit(tmp_path, [wave_row("a", pcm("a"))])
    record(tmp_path)
    run = open_run(tmp_path)
    assert np.array_equal(soundfile.read(run["a"].wave, dtype="int16")[0], pcm("a"))
    join_long_waves(Keys(LOCAL, str(tmp_path)), TAR)
    assert everything(tmp_path).keys() == {"a"}


def test_pieces_of_a_recording_that_lacks_chunks_wait_for_them(tmp_path: Path) -> None:
    """A run was stopped; the next command's inputs do not hold the recording, those of the one after do."""
    pieces = {id_: [pcm(f"{id_} {chunk}", 3840 if chunk < 2 else 7) for chunk in range(3)] for id_ in ("long", "other")}
    commit(tmp_path, [wave_row("long", pieces["long"][chunk], chunk, 3) for chunk in (0, 1)])
    commit(tmp_path, [wave_row("failed", pieces["long"][0], 0, 3)])
    commit(tmp_path, [failed_row("failed").append_column("wave", pa.nulls(1, WAVE_TYPE))])
    commit(tmp_path, [wave_row("other", pieces["other"][chunk], chunk, 3) for chunk in range(3)])
    settle(Keys(LOCAL, str(tmp_path)))
    assert join_long_waves(Keys(LOCAL, str(tmp_path)), TAR) == 1
    assert len([*(tmp_path / "wav" / ".pieces").iterdir()]) == 1
    commit(tmp_path, [wave_row("long", pieces["long"][2], 2, 3)])
    assert join_long_waves(Keys(LOCAL, str(tmp_path)), TAR) == 1
    assert not (tmp_path / "wav" / ".pieces").exists()
    assert all(np.array_equal(everything(tmp_path)[id_], np.concatenate(pieces[id_])) for id_ in pieces)


def test_dropped_recordings_lose_their_waves(tmp_path: Path) -> None:
    commit(tmp_path, [wave_row(id_, pcm(id_)) for id_ in ("a", "b", "c")])
    commit(tmp_path, [wave_row("long", pcm("long", 3840), 0, 2), wave_row("d", pcm("d"))])
    commit(tmp_path, [wave_row("long", pcm("long", 5), 1, 2)])
    with (tmp_path / "wav" / "decoded-1.tar").open("wb") as file:
        write_shard(file, [(id_, 300, [pcm(id_)]) for id_ in ("e", "f")], "wav")
    commit(tmp_path, [undecoded("e"), undecoded("f")])
    join_long_waves(Keys(LOCAL, str(tmp_path)), TAR)
    assert everything(tmp_path).keys() == {"a", "b", "c", "d", "e", "f", "long"}
    gone = {bytes(one) for one in id_hashes(pa.array(["b", "d", "e", "long"]))}
    drop(Keys(LOCAL, str(tmp_path)), gone, TAR)
    assert everything(tmp_path).keys() == {"a", "c", "f"}
    stems = {path.stem for path in (tmp_path / "codes").iterdir()}
    assert {path.stem for path in (tmp_path / "wav").iterdir()} <= {*stems, "decoded-1"}


def test_a_shard_of_many_parts_is_rewritten_once(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    with (tmp_path / "wav" / "decoded-1.tar").open("wb") as file:
        write_shard(file, [(id_, 300, [pcm(id_)]) for id_ in ("a", "b", "c")], "wav")
    for id_ in ("a", "b", "c"):
        commit(tmp_path, [undecoded(id_)])
    store = Store(tmp_path)
    drop(Keys(store, ""), {bytes(one) for one in id_hashes(pa.array(["a", "b"]))}, TAR)
    assert everything(tmp_path).keys() == {"c"}
    assert store.count["open_output_stream"] == 1


def test_a_rewrite_that_breaks_off_loses_no_wave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every write and deletion of `keep_rows`, each row that is there has its wave."""
    (name,) = commit(tmp_path, [wave_row(id_, pcm(id_)) for id_ in ("a", "b", "c")])
    record(tmp_path)
    path = f"{tmp_path}/codes/{name}.parquet"

    def look(name: str) -> None:
        function = getattr(keep_rows_module, name)

        def looked(*args: Any, **more: Any) -> Any:
            result = function(*args, **more)
            held = {one for part in (tmp_path / "codes").iterdir() for one in samples_of_part(tmp_path, part)}
            assert held >= {"a", "c"}
            return result

        monkeypatch.setattr(keep_rows_module, name, looked)

    for name in ("write_table", "follow_part", "delete_shard"):
        look(name)
    keep_rows(LOCAL, {path: np.array([True, False, True])}, lambda part: read_part(LOCAL, part, CODES_SCHEMA))
    assert everything(tmp_path).keys() == {"a", "c"}


def samples_of_part(run: Path, part: Path) -> set[str]:
    """The ids of a part whose waves are in its shard."""
    shard = run / "wav" / f"{part.stem}.tar"
    return {entry.id for entry in read_index(LOCAL, str(shard))} & {
        *read_part(LOCAL, str(part), CODES_SCHEMA)["id"].to_pylist()
    }


@pytest.mark.parametrize("keep", [0, 511, 700, -1024, -1, -2000])
def test_a_torn_shard_is_an_error_that_names_it(tmp_path: Path, keep: int) -> None:
    (name,) = commit(tmp_path, [wave_row(id_, pcm(id_)) for id_ in ("a", "b")])
    record(tmp_path)
    path = tmp_path / "wav" / f"{name}.tar"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(OutputError, match=f"{name}.tar is not a whole shard of waves.*check RUN --repair"):
        _ = open_run(tmp_path)["a"].wave
    assert len([*open_run(tmp_path)]) == 2  # codes are read all the same


@pytest.mark.parametrize("index", ["[]", '{"waves": 3}', '{"waves": [["a", 1, 0, 5]]}', '{"waves": [[1, 2, 3]]}', "{"])
def test_an_index_of_nonsense_is_an_error(tmp_path: Path, index: str) -> None:
    text = index.encode().ljust(492)
    (tmp_path / "s.tar").write_bytes(bytes(512) + text + b"%020d" % 512 + bytes(1024))
    with pytest.raises(OutputError, match="index"):
        read_index(LOCAL, str(tmp_path / "s.tar"))


def test_lacking_of_nothing(tmp_path: Path) -> None:
    assert not_in_shards(LOCAL, str(tmp_path / "no"), ["a"]) == ["a"]
    assert not_in_shards(LOCAL, str(tmp_path / "no"), []) == []


@pytest.mark.parametrize(("key", "value"), [("waves", "files"), ("wave_format", "flac")])
def test_another_kind_of_waves_is_refused_while_there_are_some(tmp_path: Path, key: str, value: str) -> None:
    commit(tmp_path, [wave_row("a", pcm("a"))])
    record(tmp_path)
    again = open_run(tmp_path).summary()
    assert not resume(LOCAL, str(tmp_path), again)[LACKS_WAVES]
    settings = {**again["settings"], "output": {**again["settings"]["output"], key: value}}
    with pytest.raises(OutputError, match=r"output.waves=tar output.wave_format=wav, now .*delete wav/"):
        resume(LOCAL, str(tmp_path), {**again, "settings": settings})
    for path in (tmp_path / "wav").iterdir():
        path.unlink()
    assert resume(LOCAL, str(tmp_path), {**again, "settings": settings})[LACKS_WAVES]
    (tmp_path / "wav").rmdir()
    assert resume(LOCAL, str(tmp_path), again)[LACKS_WAVES]


def test_one_wave_on_s3_is_a_few_ranged_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index and one wave of a shard of 3 MB, not the shard; then another wave of it, without the index."""
    asked: list[tuple[str, str, str | None]] = []
    answer = DomainDispatcherApplication.__call__

    def noted(self: Any, environ: dict[str, Any], start_response: Any) -> Any:
        asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE")))
        return answer(self, environ, start_response)

    monkeypatch.setattr(DomainDispatcherApplication, "__call__", noted)
    with s3_server("waves", {}) as endpoint:
        location = f"s3://k:s@waves/run?endpoint_override=http%3A%2F%2F{endpoint.replace(':', '%3A')}"
        fs, run = locate(location)
        rows = pa.concat_tables([wave_row(str(number), pcm(str(number), 50_000)) for number in range(30)])
        write_parts_and_shards(rows, fs, run, "wav", 1000)
        record(run, fs=fs)
        (shard,) = fs.get_file_info(FileSelector(f"{run}/wav"))
        assert shard.size > 3_000_000
        recordings = {recording.id: recording for recording in open_run(location)}
        assert not [path for _, path, _ in asked[-3:] if path.endswith(".tar")]
        asked.clear()
        for id_, requests in (("7", 4), ("8", 2)):
            read, _ = soundfile.read(recordings[id_].wave, dtype="int16")
            assert np.array_equal(read, pcm(id_, 50_000))
            of_shard = [(method, range_) for method, path, range_ in asked if path.endswith(".tar")]
            assert len(of_shard) <= requests, of_shard
            assert all(range_ for method, range_ in of_shard if method == "GET")
            asked.clear()


def test_waves_that_were_decoded_twice_or_lost_their_codes_go_at_the_end(tmp_path: Path) -> None:
    """The other shards, which belong to no part: of each id the first stays, and only while it has codes."""
    commit(tmp_path, [undecoded(id_) for id_ in ("a", "b", "c")])
    (tmp_path / "wav").mkdir()
    for name, ids in (("decoded-1", ["a", "b"]), ("decoded-2", ["c", "b"]), ("decoded-3", ["a", "stranger"])):
        with (tmp_path / "wav" / f"{name}.tar").open("wb") as file:
            write_shard(file, [(id_, 300, [pcm(id_)]) for id_ in ids], "wav")
    join_long_waves(Keys(LOCAL, str(tmp_path)), TAR)
    assert everything(tmp_path).keys() == {"a", "b", "c"}
    assert {path.name for path in (tmp_path / "wav").iterdir()} == {"decoded-1.tar", "decoded-2.tar"}
    record(tmp_path)
    for recording in open_run(tmp_path):
        assert np.array_equal(soundfile.read(recording.wave, dtype="int16")[0], pcm(recording.id))


def test_a_large_wave_is_read_as_it_is_needed(tmp_path: Path) -> None:
    commit(tmp_path, [wave_row("a", pcm("a")), wave_row("large", pcm("large", BUFFER_BYTES)), wave_row("b", pcm("b"))])
    record(tmp_path)
    with open_run(tmp_path)["large"].wave as file:
        read, _ = soundfile.read(file, start=BUFFER_BYTES - 3, dtype="int16")
        assert read.tolist() == pcm("large", BUFFER_BYTES)[-3:].tolist()
        file.seek(0)
        read, _ = soundfile.read(file, dtype="int16")
        assert np.array_equal(read, pcm("large", BUFFER_BYTES))


def test_a_writer_that_lost_the_run_commits_no_shard(tmp_path: Path) -> None:
    def lost() -> None:
        raise OutputError("commits nothing more")

    rows = pa.concat_tables([wave_row("a", pcm("a")), wave_row("long", pcm("long"), 0, 2)])
    with pytest.raises(OutputError, match="commits nothing more"):
        write_parts_and_shards(rows, LOCAL, str(tmp_path), "wav", 1000, lost)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_shards_of_a_store_are_rewritten_and_deleted_side_by_side(tmp_path: Path) -> None:
    """Without some ids; with each id in the first that holds it; those of parts that are gone."""
    (tmp_path / "wav").mkdir()
    paths = [f"wav/part-{number}.tar" for number in range(6)]
    for number, path in enumerate(paths):
        with (tmp_path / path).open("wb") as file:
            write_shard(file, [(id_, 300, [pcm(id_)]) for id_ in (f"{number}", f"gone {number}", "same")], "wav")
    store = Store(tmp_path)
    drop_waves(store, paths, {f"gone {number}" for number in range(6)})
    assert [list(samples(tmp_path / path)) for path in paths] == [[str(number), "same"] for number in range(6)]
    assert store.count["open_output_stream"] == 6
    assert store.most["open_output_stream"] > 1
    store.most.clear()
    keep_one_each(store, paths)
    assert [list(samples(tmp_path / path)) for path in paths] == [
        ["0", "same"],
        *([str(number)] for number in range(1, 6)),
    ]
    assert store.most["open_output_stream"] > 1
    assert delete_orphans(store, "") == 6
    assert not [*(tmp_path / "wav").iterdir()]
    assert store.most["delete_file"] > 1


def test_long_waves_of_a_store_are_joined_side_by_side(tmp_path: Path) -> None:
    long = [(f"{number}", 2, 600) for number in range(4)]
    commit(tmp_path, [wave_row(id_, pcm(id_), chunk, 2) for id_, _, _ in long for chunk in range(2)])
    store = Store(tmp_path)
    assert join_each(store, "wav", [*long, ("none", 2, 600)], TAR) == 4
    assert everything(tmp_path).keys() == {id_ for id_, _, _ in long}
    assert store.most["open_output_stream"] > 1
