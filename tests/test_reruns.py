"""A rerun opens no container of which all is committed, and each of which anything may be missing.

To see what is opened, containers are spoiled in a way that their stores do not tell: same size, same time.
"""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from pyarrow import ipc

import pipeline.flow
import pipeline.sources.read_through
from actors.codec import Codec
from pipeline import merge, open_run, tokenize
from pipeline.cli.demo import CLIPS
from pipeline.dry_run import dry_run
from pipeline.errors import InputError, OutputError, TooManyFailures
from pipeline.run import containers, notes, sums
from pipeline.run.write import write_parts
from pipeline.sources.formats import FORMATS, kind_of
from pipeline.sources.plan import plan
from pipeline.verify.check import check
from pipeline.verify.retry_failures import retry
from tests.helpers.commands import in_process, voxmill
from tests.helpers.rows import coded_row, tone
from tests.helpers.shards import AUDIO, contents, write_files, write_parquet, write_tar

KINDS = ("a.tar", "b.tar.gz", "c.zip", "d.parquet", "e.arrow")


def test_every_kind_of_container_is_among_them() -> None:
    assert {kind_of(name) for name in KINDS} == FORMATS.keys() - {"files", "manifest"}


@pytest.fixture(scope="module")
def codec(small_model: Path) -> Codec:
    return Codec.load(str(small_model), device="cpu", precision="fp32", threads=1)


@pytest.fixture(autouse=True)
def here(codec: Codec) -> Iterator[None]:
    with in_process(codec):
        yield


@pytest.fixture
def again(small_model: Path, tmp_path: Path) -> Callable[..., dict[str, int]]:
    """Tokenize tmp_path/corpus, or `inputs`, into tmp_path/run; returns its counts."""

    def do(inputs: list[Path] | None = None, /, **more: Any) -> dict[str, int]:
        how = {"model": str(small_model), "reconstruct": False, "quiet": True, **more}
        counts = tokenize(inputs or tmp_path / "corpus", tmp_path / "run", **how).summary()["counts"]
        return {name: counts[name] for name in ("recordings", "failures", "skipped")}

    return do


def members(count: int, seed: int = 0, seconds: float = 0.2, channels: int = 1) -> list[tuple[str, bytes]]:
    """WAVs, by their names."""
    found = []
    for number in range(count):
        file = io.BytesIO()
        wave = np.stack([tone(seconds, seed=seed + number)] * channels, axis=1)
        soundfile.write(file, wave, 24_000, format="WAV")
        found.append((f"m{number}.wav", file.getvalue()))
    return found


def write(path: Path, found: list[tuple[str, bytes]]) -> Path:
    """A container of these members, of the kind that its name says."""
    path.parent.mkdir(exist_ok=True)
    rows = [{"bytes": content, "path": name} for name, content in found]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in found:
                archive.writestr(name, content)
    elif path.suffix == ".parquet":
        write_parquet(path, rows)
    elif path.suffix == ".arrow":
        table = pa.table({"audio": pa.array(rows, AUDIO)})
        with ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    else:
        write_tar(path, found, "w:gz" if path.suffix == ".gz" else "w")
    return path


def spoil(path: Path) -> None:
    """Noise where the recordings are; neither size nor time tells. Schemas and footers stay: planning reads these."""
    content, status = path.read_bytes(), path.stat()
    footer = int.from_bytes(content[-8:-4], "little") + 8 if path.suffix == ".parquet" else 0
    head = ipc_schema(content) if path.suffix == ".arrow" else 0
    path.write_bytes(content[:head] + b"\xff" * (len(content) - head - footer) + content[len(content) - footer :])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def ipc_schema(content: bytes) -> int:
    """Bytes of the schema with which a stream begins: a mark and its size come first."""
    return 8 + int.from_bytes(content[4:8], "little")


def corpus(folder: Path, kinds: tuple[str, ...] = KINDS, count: int = 3) -> list[Path]:
    return [write(folder / "corpus" / name, members(count, 10 * number)) for number, name in enumerate(kinds)]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("alone", [False, True])
def test_a_container_that_is_done_is_not_opened(
    tmp_path: Path, name: str, alone: bool, again: Callable[..., dict[str, int]]
) -> None:
    path = write(tmp_path / "corpus" / name, members(3))
    inputs = [path] if alone or path.suffix == ".arrow" else [path.parent]
    done = again(inputs)
    assert done == {"recordings": 3, "failures": 0, "skipped": 0}
    parts = {part: part.stat().st_mtime_ns for part in (tmp_path / "run").rglob("part-*")}
    spoil(path)
    assert again(inputs) == done
    assert {part: part.stat().st_mtime_ns for part in (tmp_path / "run").rglob("part-*")} == parts
    preview = dry_run(inputs, tmp_path / "run")
    assert (preview.containers, preview.recordings, preview.tasks) == ({}, 0, 0)


def test_only_what_changed_is_opened(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    kinds = KINDS[:4]
    paths = corpus(tmp_path, kinds)
    more = {"settings": {"input.task_mb": 0.001}}  # a task each
    assert again(**more) == {"recordings": 12, "failures": 0, "skipped": 0}
    for path in paths[1:]:
        spoil(path)
    write(paths[0], members(4))
    with pytest.raises(Exception, match="The run has 3 recordings whose input is another file now, or has"):
        again(**more)
    assert dry_run(tmp_path / "corpus", tmp_path / "run").containers == {"tar": 1}
    more = {"settings": {**more["settings"], "input.changed": "keep"}}
    assert again(**more) == {"recordings": 13, "failures": 0, "skipped": 0}
    spoil(paths[0])
    assert again(**more) == {"recordings": 13, "failures": 0, "skipped": 0}
    for path in paths:
        path.touch()  # now each store tells
    assert again(**more)["failures"] > 0


def test_recordings_that_are_lost_are_found_again(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    corpus(tmp_path, KINDS[:4])
    settings = {"input.task_mb": 0.001, "output.rows_per_part": 2}
    done = again(settings=settings)
    for part in sorted((tmp_path / "run" / "codes").iterdir()):
        codes = {one.id: one.codes for one in open_run(tmp_path / "run")}
        lost = set(pq.read_table(part)["id"].to_pylist())
        part.unlink()
        preview = dry_run(tmp_path / "corpus", tmp_path / "run", settings=settings)
        assert sum(preview.containers.values()) == len({id_.partition("/")[0] for id_ in lost})
        assert again(settings=settings) == done
        assert all(np.array_equal(codes[one.id], one.codes) for one in open_run(tmp_path / "run"))
    assert check(str(tmp_path / "run"), [str(tmp_path / "corpus")]).problems == []


def test_a_preview_counts_what_a_parquet_shard_lacks(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    write(tmp_path / "corpus" / "d.parquet", members(5))
    write_files(tmp_path / "corpus", dict(members(2, 70)))
    assert dry_run(tmp_path / "corpus", tmp_path / "run").recordings == 7
    again(settings={"input.task_mb": 0.001})
    lost = 0
    for part in (tmp_path / "run" / "codes").iterdir():
        assert dry_run(tmp_path / "corpus", tmp_path / "run").recordings == lost
        lost += len(pq.read_table(part))
        part.unlink()
    assert lost == dry_run(tmp_path / "corpus", tmp_path / "run").recordings == 7


def test_failures_are_tried_again_by_a_retry(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    good, bad = members(2)
    path = write(tmp_path / "corpus" / "a.tar", [good, (bad[0], b"RIFF" + bytes(len(bad[1]) - 4))])
    assert again() == {"recordings": 1, "failures": 1, "skipped": 0}
    status = path.stat()
    write(path, [good, bad])  # of the same size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert again() == {"recordings": 1, "failures": 1, "skipped": 0}
    assert voxmill("retry", tmp_path / "run") == 0
    assert again() == {"recordings": 2, "failures": 0, "skipped": 0}


def test_a_container_that_broke_is_read_again(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    """What follows the break may have become readable, though nothing tells that the file is another."""
    path = write(tmp_path / "corpus" / "a.tar", members(3))
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(whole[:20_480] + b"\xff" * (len(whole) - 20_480))  # from the third header on
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert again() == {"recordings": 2, "failures": 1, "skipped": 0}
    path.write_bytes(whole)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert again() == {"recordings": 3, "failures": 1, "skipped": 0}


def test_an_empty_container_is_read_once(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    write(tmp_path / "corpus" / "a.tar", [("notes.txt", b"text")])
    write(tmp_path / "corpus" / "b.tar", members(1))
    more = {"settings": {"input.task_mb": 0.001}}
    assert again(**more) == {"recordings": 1, "failures": 0, "skipped": 0}
    spoil(tmp_path / "corpus" / "a.tar")
    assert again(**more) == {"recordings": 1, "failures": 0, "skipped": 0}


def test_other_bounds_look_at_skipped_ones_again(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    write(tmp_path / "corpus" / "a.tar", [*members(2), ("long.wav", members(1, 9, 0.6)[0][1])])
    assert again(settings={"input.min_s": 0.5}) == {"recordings": 1, "failures": 0, "skipped": 2}
    assert dry_run(tmp_path / "corpus", tmp_path / "run", settings={"input.min_s": 0.5}).containers == {}
    assert dry_run(tmp_path / "corpus", tmp_path / "run").containers == {"tar": 1}
    assert again() == {"recordings": 3, "failures": 0, "skipped": 0}
    spoil(tmp_path / "corpus" / "a.tar")
    assert again() == {"recordings": 3, "failures": 0, "skipped": 0}


@pytest.mark.parametrize("settings", [{"input.channels": "split"}, {"input.vad": "silero"}])
def test_channels_and_speech(tmp_path: Path, settings: dict[str, str], again: Callable[..., dict[str, int]]) -> None:
    speech = (CLIPS / "en" / "frames.wav").read_bytes()
    write(tmp_path / "corpus" / "a.tar", [*members(2, seconds=1.0, channels=2), ("speech.wav", speech)])
    done = again(settings=settings)
    assert done["recordings"] > 0
    assert done["failures"] == 0
    spoil(tmp_path / "corpus" / "a.tar")
    assert again(settings=settings) == done


def test_a_limit_reads_no_container_through(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    corpus(tmp_path, KINDS[:1], count=5)
    assert again(limit=2) == {"recordings": 2, "failures": 0, "skipped": 0}
    assert again() == {"recordings": 5, "failures": 0, "skipped": 0}
    spoil(tmp_path / "corpus" / "a.tar")
    assert again() == {"recordings": 5, "failures": 0, "skipped": 0}


def test_files_beside_containers_are_all_that_is_read(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    paths = corpus(tmp_path, KINDS[:4])
    again()
    for path in paths:
        spoil(path)
    write_files(tmp_path / "corpus", dict(members(2, 70)))
    preview = dry_run(tmp_path / "corpus", tmp_path / "run")
    assert (preview.files, preview.containers, preview.recordings) == (2, {}, 2)
    assert again() == {"recordings": 14, "failures": 0, "skipped": 0}


def test_another_container_of_the_same_name_size_and_time_is_read(
    tmp_path: Path, again: Callable[..., dict[str, int]]
) -> None:
    days = []
    for day in range(2):
        found = [(f"day{day}-{name}", content) for name, content in members(3, 10 * day)]
        days.append(write(tmp_path / f"day{day}" / "s.tar", found))
        os.utime(days[day], ns=(0, 10**18))
    assert days[0].stat().st_size == days[1].stat().st_size
    again([days[0]])
    assert again([days[1]]) == {"recordings": 6, "failures": 0, "skipped": 0}


@pytest.mark.parametrize("first", ["alone", "together"])
@pytest.mark.parametrize("name", ["a.tar", "c.zip", "d.parquet"])
def test_ids_that_other_inputs_would_change_are_refused(
    tmp_path: Path, first: str, name: str, again: Callable[..., dict[str, int]]
) -> None:
    path, other = (write(tmp_path / "corpus" / one, members(2)) for one in (name, "z.tar"))
    ways = [[path], [path, other]]
    done = again(ways[first == "together"])
    with pytest.raises(InputError, match=r"is in the run as .*They would be there twice"):
        again(ways[first == "alone"])
    assert again(ways[first == "together"]) == done


def test_overwrite_reads_all(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    (path,) = corpus(tmp_path, KINDS[:1])
    again()
    spoil(path)
    assert again(overwrite=True) == {"recordings": 0, "failures": 1, "skipped": 0}


def test_another_version_reads_all(
    tmp_path: Path, again: Callable[..., dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path, KINDS[:1])
    again()
    monkeypatch.setattr(pipeline.sources.read_through, "__version__", "0.0.1")
    assert dry_run(tmp_path / "corpus", tmp_path / "run").containers == {"tar": 1}


@pytest.mark.parametrize("damage", [b"", b"PAR1" + bytes(40) + b"PAR1", None])
def test_notes_that_are_damaged_or_gone(
    tmp_path: Path, damage: bytes | None, again: Callable[..., dict[str, int]]
) -> None:
    corpus(tmp_path, KINDS[:4])
    done = again()
    for note in (tmp_path / "run" / ".containers").iterdir():
        note.unlink() if damage is None else note.write_bytes(damage)
    assert dry_run(tmp_path / "corpus", tmp_path / "run").containers == {"tar": 2, "zip": 1, "parquet": 1}
    assert again() == done
    assert dry_run(tmp_path / "corpus", tmp_path / "run").containers == {
        "parquet": 1
    }  # what is done in part is not noted


def test_merged_shards_are_not_opened(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    paths = corpus(tmp_path, tuple(f"{name}{number}.tar" for number in range(4) for name in "ab"))
    for index in range(2):
        again(shard=f"{index}/2")
        assert dry_run(tmp_path / "corpus", tmp_path / "run", shard=f"0{index}/2").recordings == 0
        (tmp_path / "run").rename(tmp_path / f"shard-{index}")
    merge([tmp_path / "shard-0", tmp_path / "shard-1"], tmp_path / "run")
    for path in paths:
        spoil(path)
    assert again() == {"recordings": 24, "failures": 0, "skipped": 0}


def test_what_is_noted_while_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute apart; what a reader tells twice is noted twice."""
    from pyarrow.fs import LocalFileSystem

    from pipeline.run.held import Held
    from pipeline.sources.plan import plan

    clock = [0.0]
    monkeypatch.setattr(notes.time, "monotonic", lambda: clock[0])
    paths = corpus(tmp_path, ("a.tar", "b.tar"))
    planned = plan([str(path) for path in paths], parallelism=2)
    fs, run, held = LocalFileSystem(), str(tmp_path / "run"), Held()
    noted = notes.Notes(fs, run, planned.tasks, lambda: None)
    held.add(0, pa.array(["a.tar/m0.wav"]))
    noted.note(held.since, {"part-0.parquet": "a"})
    assert containers.notes(fs, run) == []
    assert sums.noted_sums(fs, run) == {}
    clock[0] = 61.0
    noted.note(held.since, {})
    noted.note(held.since, {})
    clock[0] = 122.0
    noted.note(held.since, {})  # nothing is new
    assert len(containers.notes(fs, run)) == 1
    held.add(0, pa.array(["a.tar/m0.wav", "a.tar/m1.wav"]))
    held.add(1, pa.array(["b.tar/m0.wav"]))
    noted.note(held.since, {"part-0.parquet": "a", "part-1.parquet": "b", "gone.parquet": None}, now=True)
    assert sums.noted_sums(fs, run) == {}
    for _ in range(2):
        clock[0] += 61
        noted.note(held.since, {"part-0.parquet": "a", "part-1.parquet": "b", "gone.parquet": None})
    assert sums.noted_sums(fs, run) == {"part-0.parquet": "a", "part-1.parquet": "b"}
    assert len(list((tmp_path / "run" / ".sums").iterdir())) == 1
    rows = [row for path in containers.notes(fs, run) for row in pq.read_table(path).to_pylist()]
    assert sorted(len(row["ids"]) for row in rows) == [1, 1, 2]
    assert len({tuple(row["marks"]) for row in rows}) == 2
    assert dict(noted.reports)[0].to_pylist() == ["a.tar/m0.wav", "a.tar/m1.wav"]


def test_parts_of_killed_commands_are_not_read_again_for_their_checksums(
    tmp_path: Path, again: Callable[..., dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    read: list[str] = []
    real = sums.sha256
    monkeypatch.setattr(sums, "sha256", lambda fs, path: [read.append(path), real(fs, path)][1])
    run = tmp_path / "run"
    monkeypatch.setattr(notes, "NOTE_EVERY_S", 0.0)
    for number in range(3):
        corpus(tmp_path, (f"{number}.tar",))
        with monkeypatch.context() as killed:
            killed.setattr(pipeline.flow, "audit", kill)
            with pytest.raises(KeyboardInterrupt):
                again()
    damaged = next((run / ".sums").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-9])
    corpus(tmp_path, ("last.tar",))
    assert again() == {"recordings": 12, "failures": 0, "skipped": 0}
    assert 1 <= len(read) < len(open_run(run).paths)
    assert not (run / ".sums").exists()
    assert check(run).problems == []


@pytest.mark.parametrize("noted", [0, 1, 2])
def test_a_part_that_was_made_again_is_read(tmp_path: Path, noted: int) -> None:
    """Its name stays, its bytes may not: another version of pyarrow, a corrected text."""
    from pyarrow.fs import LocalFileSystem

    fs, run = LocalFileSystem(), str(tmp_path)
    for text in ("one", "other"):
        write_parts(coded_row("a", 1920, text=text), fs, run)
        (part,) = (tmp_path / "codes").iterdir()
        found = sums.sha256(fs, str(part))
        if noted > (text == "other"):
            sums.note_sums(fs, run, {part.name: found}, lambda: None)
    os.utime(part, ns=(part.stat().st_atime_ns, part.stat().st_mtime_ns + (noted < 2) * 10**9))
    assert sums.checksums(fs, run, {}) == {part.name: found}
    assert sums.checksums(fs, run, {part.name: None}) == {part.name: found}
    assert sums.checksums(fs, run, {part.name: "known"}) == {part.name: "known"}


def test_a_column_of_another_type_is_refused_before_anything_is_read(
    tmp_path: Path, again: Callable[..., dict[str, int]]
) -> None:
    write_files(tmp_path / "corpus", dict(members(3)))
    grown = tmp_path / "corpus" / "m.csv"
    grown.write_text("path,label,more\nm0.wav,1,\nm1.wav,2,\n")
    assert again([grown])["recordings"] == 2
    grown.write_text(grown.read_text() + "m2.wav,anna,x\n")
    with pytest.raises(InputError, match=r"column 'label' is int64 in what .*run holds and string in the inputs"):
        again([grown])
    grown.write_text("path,label,more\nm0.wav,1,\nm1.wav,2,\nm2.wav,3,x\n")
    assert again([grown])["recordings"] == 3
    assert open_run(tmp_path / "run").table(["id", "more"]).sort_by("id")["more"].to_pylist() == [None, None, "x"]


def test_a_row_without_a_path_fails_once(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    write_files(tmp_path / "corpus", dict(members(1)))
    manifest = tmp_path / "corpus" / "m.csv"
    manifest.write_text("path,text\nm0.wav,a\n,b\n")
    done = again([manifest])
    assert done == {"recordings": 1, "failures": 1, "skipped": 0}
    assert again([manifest]) == done
    assert check(tmp_path / "run", [str(manifest)]).problems == []


def test_failures_of_earlier_commands_count(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    write_files(tmp_path / "corpus", dict(members(1)) | {f"{i}.wav": b"no audio" for i in range(3)})
    assert again()["failures"] == 3
    assert again(max_failures=3)["failures"] == 3
    with pytest.raises(TooManyFailures, match="3 recordings of the run failed before, and max_failures is 2"):
        again(max_failures=2)
    assert (tmp_path / "run" / "_SUCCESS").exists()
    with pytest.raises(TooManyFailures, match=r"max_failures is 60%.*retry RUN --set max_failures=null"):
        again(max_failures="60%")  # of 4, as in the command that made them
    assert again(max_failures="75%")["failures"] == 3
    assert len(retry(tmp_path / "run", settings={"max_failures": "null"}).failures()) == 3


def test_a_model_is_its_weights(
    tmp_path: Path, small_model: Path, again: Callable[..., dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_files(tmp_path / "corpus", dict(members(1)) | {"bad.wav": b"no audio"})
    monkeypatch.chdir(small_model.parent)
    done = again(model=small_model.name)
    assert again(model=f"./{small_model.name}/") == done == again()
    monkeypatch.chdir("/")
    assert len(retry(tmp_path / "run").failures()) == 1
    corpus.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"no such file or folder.*--inputs gives them anew"):
        retry(tmp_path / "run")


def test_a_root_stays_where_it_was(
    tmp_path: Path, again: Callable[..., dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "corpus", dict(members(1)))
    manifest = tmp_path / "m.csv"
    manifest.write_text("path\nm0.wav\ngone.wav\n")
    monkeypatch.chdir(tmp_path)
    done = again([manifest], settings={"input.root": "corpus"})
    assert (done["recordings"], done["failures"]) == (1, 1)
    monkeypatch.chdir("/")
    assert len(retry(tmp_path / "run").failures()) == 1


def test_other_channels_cannot_be_kept(tmp_path: Path, again: Callable[..., dict[str, int]]) -> None:
    both = dict(members(1, channels=2))
    write_files(tmp_path / "corpus", both)
    write(tmp_path / "t.tar", list(both.items()))
    for given in ([tmp_path / "corpus"], [tmp_path / "t.tar"]):
        again(given, overwrite=True)
        for rule in ("refuse", "keep"):
            with pytest.raises(InputError, match=r"in other channels: .*Set the channels as before, input\.changed"):
                again(given, settings={"input.channels": "split", "input.changed": rule})
        done = again(given, settings={"input.channels": "split", "input.changed": "redo"})
        assert done["recordings"] == 2


def test_a_place_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="out is a NoneType"):
        tokenize(tmp_path, None)  # type: ignore[arg-type]


def test_a_parquet_shard_that_was_exchanged_after_planning(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    rows = [{"bytes": b"%d" % number, "path": f"{number}.wav"} for number in range(6)]
    pq.write_table(pa.table({"audio": pa.array(rows, AUDIO)}), path, row_group_size=2)
    planned = plan([str(path)], parallelism=3)
    pq.write_table(pa.table({"audio": pa.array(rows, AUDIO)}), path)
    found = contents(planned)
    assert [id_ for id_, what in found.items() if isinstance(what, str)]
    assert "it has 1 row groups, and had 3 or more when the run was planned" in str(found)


def folder(path: Path, *seconds: float) -> Path:
    path.mkdir()
    for number, length in enumerate(seconds):
        soundfile.write(path / f"{path.name}{number}.wav", tone(length, seed=number), 24_000)
    return path


def test_other_inputs_do_not_complete_what_was_begun(again: Callable[..., dict[str, int]], tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one", 0.2, 0.2, 0.2), folder(tmp_path / "two", 0.2)
    again([one], limit=1)
    with pytest.raises(OutputError, match=rf"not complete: {one} was begun and is not finished\. Give it again"):
        again([two])
    assert not (tmp_path / "run" / "_SUCCESS").exists()
    assert again([one, two])["recordings"] == 4
    three = folder(tmp_path / "three", 0.2)
    assert again([three])["recordings"] == 5  # what is complete need not be given again
    assert "pending" not in open_run(tmp_path / "run").summary()
    assert check(tmp_path / "run", [str(one), str(two), str(three)]).problems == []


def test_a_corpus_that_has_moved_goes_on(again: Callable[..., dict[str, int]], tmp_path: Path) -> None:
    one = folder(tmp_path / "one", 0.2, 0.2, 0.2)
    again([one], limit=1)
    one.rename(tmp_path / "moved")
    with pytest.raises(OutputError, match=r"where the corpus has moved: with --set input\.changed=keep"):
        again([tmp_path / "moved"])
    assert again([tmp_path / "moved"], settings={"input.changed": "keep"})["recordings"] == 3
    assert (tmp_path / "run" / "_SUCCESS").exists()


def test_other_bounds_need_all_inputs(again: Callable[..., dict[str, int]], tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one", 0.2, 0.4, 0.8), folder(tmp_path / "two", 0.8)
    assert again([one], settings={"input.min_s": 0.6}) == {"recordings": 1, "failures": 0, "skipped": 2}
    with pytest.raises(OutputError, match=rf"skipped recordings by other bounds .* lack {one}\. Give all inputs"):
        again([two], settings={"input.min_s": 0.3})
    assert open_run(tmp_path / "run").summary()["state"] == "complete"
    assert again([two], settings={"input.min_s": 0.6}) == {"recordings": 2, "failures": 0, "skipped": 2}
    assert again([one, two], settings={"input.min_s": 0.3}) == {"recordings": 3, "failures": 0, "skipped": 1}


@pytest.mark.parametrize(("limit", "state"), [(3, "limited"), (4, "limited"), (5, "complete")])
def test_a_limit_that_leaves_nothing_out_of_containers(
    again: Callable[..., dict[str, int]], tmp_path: Path, limit: int, state: str
) -> None:
    """Whether four are all is known only where a fifth was wanted."""
    write(tmp_path / "corpus" / "a.tar", members(3))
    write(tmp_path / "corpus" / "b.tar", members(1))
    again(limit=limit)
    assert open_run(tmp_path / "run").summary()["state"] == state
    assert (tmp_path / "run" / "_SUCCESS").exists() == (state == "complete")
