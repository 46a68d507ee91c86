"""Inputs against what a run has committed: equal ids of other content are found, equal content never is."""

import os
import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from pipeline.changes import Changes, Comparison, Containers, changes, looked_up, refuse_inside, to_redo
from pipeline.errors import InputError, RecordingError
from pipeline.read import Reading, read_chunks
from pipeline.run.committed import Done, committed
from pipeline.run.drop import drop
from pipeline.run.keys import Keys
from pipeline.run.settle import settle
from pipeline.run.write import write_failures, write_parts
from pipeline.schema import EACH, FAILURES_SCHEMA, FINGERPRINT_SCHEMA
from pipeline.sources.inputs import Discovered, discover_all
from pipeline.sources.plan import plan
from pipeline.sources.task import UNIT_SCHEMA
from pipeline.storage import stamp
from pipeline.storage.stamp import UNKNOWN, Stamp, local_stamp, modified, same_content
from pipeline.storage.text import id_hashes
from tests.helpers.rows import coded_row, failed_row
from tests.helpers.shards import write_files, write_parquet, write_tar

LOCAL = pafs.LocalFileSystem()
EMPTY = {"bytes": b"", "path": None}


def commit(run: Path, *inputs: Path, failed: bool = False) -> None:
    """Commit a row for every recording of `inputs`, with the fingerprint that reading them gives."""
    reading = Reading(24_000, 0, False, 60.0)
    planned = plan([str(path) for path in inputs])
    for task in planned.tasks:
        for rows in read_chunks(task, reading, planned.carried, {}):
            row = rows.to_pylist()[0]
            known = {name: pa.array([row[name]], kind) for name, kind in zip(*fingerprint_types(), strict=True)}
            if failed:
                values = {"id": row["id"], **{name: row[name] for name in known}, "stage": "read", "error": "NotAudio"}
                write_failures(pa.Table.from_pylist([values], FAILURES_SCHEMA), LOCAL, str(run))
            else:
                write_parts(coded_row(row["id"], 1920, **known), LOCAL, str(run))


def fingerprint_types() -> tuple[list[str], list[pa.DataType]]:
    return FINGERPRINT_SCHEMA.names, FINGERPRINT_SCHEMA.types


def found(run: Path, *inputs: Path) -> list[str]:
    """The ids of changed recordings, of at most three: those of the examples."""
    changed = changes(Keys(LOCAL, str(run)), discover_all([str(path) for path in inputs]))
    assert len(changed.examples) == min(3, len(changed.hashes))
    return sorted(example.split("'")[1] for example in changed.examples)


@pytest.fixture(params=["at once", "one by one"])
def members(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the members of a container are compared."""
    monkeypatch.setattr("pipeline.changes.ROWS_OF_A_CONTAINER", 0 if request.param == "at once" else 1 << 30)


@pytest.fixture(params=["codes", "failures"])
def failed(request: pytest.FixtureRequest) -> bool:
    return request.param == "failures"


def test_a_folder_that_stays_as_it_is(tmp_path: Path, failed: bool) -> None:
    corpus = write_files(tmp_path / "in", {"a.wav": b"1", "b/c.wav": b"2"})
    commit(tmp_path / "run", corpus, failed=failed)
    assert found(tmp_path / "run", corpus) == []
    assert found(tmp_path / "run", corpus / "a.wav") == []  # another input, the same file and id


def test_content_that_changed(tmp_path: Path, failed: bool) -> None:
    corpus = write_files(tmp_path / "in", {"a.wav": b"1", "b.wav": b"2", "c.wav": b"3"})
    commit(tmp_path / "run", corpus, failed=failed)
    (corpus / "a.wav").write_bytes(b"12")
    os.utime(corpus / "b.wav", (0, 0))
    assert found(tmp_path / "run", corpus) == ["a.wav", "b.wav"]


def test_another_corpus_of_the_same_names(tmp_path: Path, failed: bool) -> None:
    one = write_files(tmp_path / "one", {"a.wav": b"1"})
    other = write_files(tmp_path / "other", {"a.wav": b"1", "b.wav": b"1"})
    commit(tmp_path / "run", one, failed=failed)
    changed = changes(Keys(LOCAL, str(tmp_path / "run")), discover_all([str(other)]))
    assert f"{one}/a.wav" in changed.examples[0]
    assert f"{other}/a.wav" in changed.examples[0]
    assert len(changed.examples) == 1


def test_a_manifest_of_local_files_is_looked_up(tmp_path: Path) -> None:
    corpus = write_files(tmp_path, {"a.wav": b"1", "b.wav": b"2", "gone.wav": b"3"})
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("".join(f'{{"path": "{name}.wav"}}\n' for name in ("a", "b", "gone")))
    commit(tmp_path / "run", manifest)
    assert found(tmp_path / "run", manifest) == []
    (corpus / "a.wav").write_bytes(b"12")
    (corpus / "gone.wav").unlink()  # what was read is kept
    assert found(tmp_path / "run", manifest) == ["a.wav"]


def test_bounds_of_segments(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": b"1"})
    manifest = tmp_path / "list.jsonl"
    line = '{{"id": "{}", "path": "a.wav", "start_s": {}, "end_s": {}}}\n'
    segments = [("x", 0, 1.5), ("y", 1.5, "null"), ("z", 0, 9)]
    manifest.write_text("".join(line.format(*segment) for segment in segments))
    commit(tmp_path / "run", manifest)
    assert found(tmp_path / "run", manifest) == []
    manifest.write_text(
        "".join(line.format(*segment) for segment in [("x", 0.0, 1.5), ("y", 1.0, "null"), ("z", 0, "null")])
    )
    assert found(tmp_path / "run", manifest) == ["y", "z"]


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_container_is_one_content(tmp_path: Path, kind: str, failed: bool) -> None:
    def make(path: Path, names: str) -> Path:
        path.parent.mkdir(exist_ok=True)
        if kind == "tar":
            return write_tar(path, [(f"{name}.wav", b"1") for name in names])
        return write_parquet(path, [EMPTY | {"bytes": b"1"} for _ in names], id=list(names))

    corpus = tmp_path / "in"
    shards = [make(corpus / f"{name}.{kind}", "ab") for name in ("s", "t")]
    commit(tmp_path / "run", corpus, failed=failed)
    assert found(tmp_path / "run", corpus) == []
    assert found(tmp_path / "run", *shards) == []
    make(shards[0], "abc")
    assert {id_.partition("/")[0] for id_ in found(tmp_path / "run", corpus)} == {shards[0].name}
    moved = tmp_path / "moved"
    corpus.rename(moved)
    assert len(changes(Keys(LOCAL, str(tmp_path / "run")), discover_all([str(moved)])).hashes) == 4


@pytest.mark.parametrize("folder", ["day", "day::1"])
@pytest.mark.usefixtures("members")
def test_the_same_container_under_other_ids_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    shard = write_tar(tmp_path / folder / "s.tar", [("a.wav", b"1")])
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "in" / "t.tar", [("a.wav", b"1")])
    commit(tmp_path / "run", tmp_path / "in", shard)  # t.tar/a.wav, s.tar/a.wav
    write_tar(shard, [("a.wav", b"1"), ("b.wav", b"1")])
    with pytest.raises(InputError, match=r"in the run as 's.tar/a.wav'.*would be there twice"):
        found(tmp_path / "run", shard)  # alone its recordings are a.wav and b.wav


@pytest.mark.usefixtures("members")
def test_lone_containers_one_command_each(tmp_path: Path) -> None:
    one = write_parquet(tmp_path / "one.parquet", [EMPTY | {"bytes": b"1"}] * 3)
    two = write_parquet(tmp_path / "two.parquet", [EMPTY | {"bytes": b"1"}] * 4)
    commit(tmp_path / "run", one)
    assert found(tmp_path / "run", one) == []
    assert found(tmp_path / "run", two) == ["00000000", "00000001", "00000002"]
    other = write_tar(tmp_path / "s.tar", [("a.wav", b"1"), ("00000001.wav", b"1")])
    assert found(tmp_path / "run", other) == []
    corpus = write_files(tmp_path / "in", {"a.wav": b"1"})
    commit(tmp_path / "run", corpus)
    assert found(tmp_path / "run", other) == ["a.wav"]
    assert found(tmp_path / "run", one) == []


def test_what_a_store_does_not_tell_is_not_compared() -> None:
    known = Stamp(3, "2026-01-01T00:00:00Z")
    assert same_content(UNKNOWN, known)
    assert same_content(Stamp(3, None), known)
    assert not same_content(Stamp(4, None), known)
    assert same_content(Stamp(3, '"an entity tag"'), known)
    assert not same_content(Stamp(3, '"an entity tag"'), Stamp(3, '"another"'))
    assert not same_content(Stamp(None, "2026-01-01T00:00:01Z"), known)


def test_names_with_control_characters_as_they_were_recorded_before(tmp_path: Path) -> None:
    corpus = write_files(tmp_path / "in", {"a\tb.wav": b"1", "c.wav": b"2"})
    for name, source in (("a\\x09b.wav", f"{corpus}/a\\x09b.wav"), ("c.wav", f"{corpus}/c.wav")):
        size = pa.array([1])
        row = coded_row(
            name, 1920, source=pa.array([source]), source_size=size, source_version=pa.nulls(1, pa.string())
        )
        write_parts(row, LOCAL, str(tmp_path / "run"))
    assert found(tmp_path / "run", corpus) == []
    (tmp_path / "other").mkdir()
    corpus.rename(tmp_path / "other" / "in")
    assert found(tmp_path / "run", tmp_path / "other" / "in") == [r"a\\x09b.wav", "c.wav"]


def moved_from(run: Path, inputs: Discovered) -> Changes:
    """As `changes`, of inputs that may be copies elsewhere."""
    comparison = Comparison(inputs, moved=True)
    for rows, hashes in Keys(LOCAL, str(run)).reading():
        comparison.add(rows, hashes)
    return comparison.finish(LOCAL, str(run))


def test_a_failure_that_does_not_say_what_was_read(tmp_path: Path) -> None:
    rows = [{"id": name, "stage": "read", "error": "e"} for name in ("a.wav", "s.tar/m.wav")]
    write_failures(pa.Table.from_pylist(rows, FAILURES_SCHEMA), LOCAL, str(tmp_path / "run"))
    corpus = write_files(tmp_path / "in", {"a.wav": b"1"})
    write_tar(corpus / "s.tar", [("m.wav", b"1")])
    inputs = discover_all([str(corpus)])
    assert moved_from(tmp_path / "run", inputs).examples == []
    examples = changes(Keys(LOCAL, str(tmp_path / "run")), inputs).examples
    assert [" was read from an unknown location; now it is " in example for example in examples] == [True, True]


def test_times_as_versions(tmp_path: Path) -> None:
    assert modified(0) == "1970-01-01T00:00:00Z"
    assert modified(1_795_619_535_000_000_001) == "2026-11-25T15:12:15.000000001Z"
    assert modified(None) is None
    assert local_stamp(str(tmp_path / "nowhere")) == UNKNOWN


def test_what_is_to_be_done_about_changes() -> None:
    hashes = set(id_hashes(pa.array(["a", "b"])).tolist())
    changed, done = Changes(hashes, ["'a' was"]), Done(pa.array(["a"]), {"b": frozenset({0})})
    assert to_redo(changed, done, "redo") == hashes
    assert to_redo(changed, done, "keep") == set(id_hashes(pa.array(["b"])).tolist())
    with pytest.raises(InputError, match=r"2 recordings .* 'a' was"):
        to_redo(changed, done, "refuse")
    assert to_redo(Changes(), done, "refuse") == set()


def test_copies_elsewhere_are_compared_by_size(tmp_path: Path) -> None:
    corpus = write_files(tmp_path / "in", {"a.wav": b"1", "b.wav": b"2"})
    write_tar(corpus / "s.tar", [("t.wav", b"1")])
    commit(tmp_path / "run", corpus)
    moved = tmp_path / "moved"
    shutil.copytree(corpus, moved, copy_function=shutil.copyfile)
    assert moved_from(tmp_path / "run", discover_all([str(moved)])).examples == []
    (moved / "b.wav").write_bytes(b"22")
    write_tar(moved / "s.tar", [("t.wav", bytes(20_000))])
    changed = moved_from(tmp_path / "run", discover_all([str(moved)]))
    assert sorted(example.split("'")[1] for example in changed.examples) == ["b.wav", "s.tar/t.wav"]


@pytest.mark.parametrize("inside", [".", "wav", "wav/*.wav", "wav/../codes"])
def test_an_input_inside_the_run_is_refused(tmp_path: Path, inside: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for run in ("run", "link"):
        with pytest.raises(InputError, match="lies inside the run"):
            refuse_inside([f"{tmp_path}/{run}/{inside}"], ("file",), LOCAL, str(tmp_path / "run"))
    refuse_inside([f"{tmp_path}/run2", str(tmp_path), f"{tmp_path}/*"], ("file",), LOCAL, str(tmp_path / "run"))


def test_dropping_recordings(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_parts(pa.concat_tables([coded_row("a", 1920), coded_row("b", 1920)]), LOCAL, str(run))
    write_parts(coded_row("c", 1920), LOCAL, str(run))
    write_failures(
        pa.Table.from_pylist(
            [{"id": name, "source": "", "stage": "read", "error": "e"} for name in "de"], FAILURES_SCHEMA
        ),
        LOCAL,
        str(run),
    )
    write_files(run / "wav", {f"{name}.wav": b"" for name in "abc"})
    changed = drop(Keys(LOCAL, str(run)), set(id_hashes(pa.array(["a", "c", "d"])).tolist()))
    assert sorted(committed(Keys(LOCAL, str(run))).ids.to_pylist()) == ["b", "e"]
    assert [path.name for path in (run / "wav").iterdir()] == ["b.wav"]
    assert sorted(value is None for value in changed.values()) == [False, True, True]


def test_chunks_of_different_fingerprints_are_never_joined(tmp_path: Path) -> None:
    def chunk(id_: str, number: int, version: str) -> pa.Table:
        return coded_row(id_, 1920, number, 2, number, source_version=pa.array([version], pa.string()))

    rows = [chunk("a", 0, "1"), chunk("a", 1, "2"), chunk("b", 0, "1"), chunk("b", 1, "1"), chunk("c", 0, "1")]
    write_parts(pa.concat_tables(rows), LOCAL, str(tmp_path))
    assert settle(Keys(LOCAL, str(tmp_path))).mixed
    done = committed(Keys(LOCAL, str(tmp_path)))
    assert done.ids.to_pylist() == ["b"]
    assert done.partial == {"c": frozenset({0})}


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [("1", "1", True), ("1", "2", False), ("1", None, True), (None, None, True)],
)
@pytest.mark.parametrize("kinds", ["codes codes", "codes failure", "failure failure", "long failure"])
def test_rows_of_two_versions_are_not_chosen_from(
    tmp_path: Path, kinds: str, first: str | None, second: str | None, stays: bool
) -> None:
    """A writer that comes late had another version of the input; who names no version, as one who did not come to read
    it, is no other."""

    def rows(kind: str, version: str | None) -> pa.Table:
        made = failed_row("a") if kind == "failure" else coded_row("a", 1920)
        if kind == "long":
            made = pa.concat_tables([coded_row("a", 1920, number, 2, number) for number in range(2)])
        for name, value in (("source_version", version), ("source_size", version and 7)):
            at = made.schema.get_field_index(name)
            made = made.set_column(at, name, pa.array([value] * len(made), made.schema.field(name).type))
        return made

    one, other = kinds.split()
    for made in (rows(one, first), rows(other, second)):
        write_parts(
            pa.concat_tables([made, coded_row(f"b {len(made)}{made['source_version'][0]}", 1920)]), LOCAL, str(tmp_path)
        )
    assert settle(Keys(LOCAL, str(tmp_path))).mixed != stays
    assert ("a" in committed(Keys(LOCAL, str(tmp_path))).ids.to_pylist()) == stays
    assert not settle(Keys(LOCAL, str(tmp_path))).parts


def test_a_file_that_changes_while_it_is_read_fails(tmp_path: Path) -> None:
    from pipeline.read.source_file import SourceFile
    from pipeline.sources.formats import recordings

    write_files(tmp_path, {"a.wav": b"1"})
    item = next(recordings(plan([str(tmp_path)]).tasks[0]))
    source = SourceFile([item], Reading(24_000, 0, False, 60.0))
    with source.file() as file:
        assert file.read() == b"1"
    assert source.known(item)["source_size"] == 1
    (tmp_path / "a.wav").write_bytes(b"12")
    with pytest.raises(RecordingError, match="changed while it was read"), source.file():
        pass


def test_fingerprints_of_a_run_are_columns(tmp_path: Path) -> None:
    corpus = write_files(tmp_path / "in", {"a.wav": b"123"})
    commit(tmp_path / "run", corpus)
    (part,) = (tmp_path / "run" / "codes").iterdir()
    row = pq.read_table(part).to_pylist()[0]
    stamp = local_stamp(str(corpus / "a.wav"))
    assert (row["source"], row["source_size"], row["source_version"]) == (f"{corpus}/a.wav", 3, stamp.version)


def commit_row(run: Path, id_: str, path: Path, channel: int | None, failed: bool) -> None:
    stamp = local_stamp(str(path))
    known = {"source": str(path), "source_size": stamp.size, "source_version": stamp.version, "channel": channel}
    if failed:
        row = {"id": id_, **known, "stage": "read", "error": "NotAudio"}
        write_failures(pa.Table.from_pylist([row], FAILURES_SCHEMA), LOCAL, str(run))
    else:
        types = FINGERPRINT_SCHEMA
        write_parts(
            coded_row(id_, 1920, **{k: pa.array([v], types.field(k).type) for k, v in known.items()}), LOCAL, str(run)
        )


@pytest.mark.parametrize(
    ("id_", "committed_as", "now", "same"),
    [
        ("a.wav", None, None, True),
        ("a.wav", 2, 2, True),
        ("a.wav", 2, 1, False),
        ("a.wav", None, 1, False),
        ("a.wav", 1, None, False),
        ("a.wav@ch2", 2, EACH, True),
        ("a.wav@ch2", 2, None, False),
        ("a.wav@ch2", 2, 2, False),
        ("a.wav", None, EACH, False),
        ("a.wav", 1, EACH, False),
        ("a.wav", EACH, EACH, True),
        ("b.wav@ch2", 2, EACH, True),
        ("a.wav@ch2", None, EACH, True),  # the id of something else
    ],
)
def test_another_channel_is_another_source(
    tmp_path: Path, failed: bool, id_: str, committed_as: int | None, now: int | None, same: bool
) -> None:
    corpus = write_files(tmp_path / "in", {"a.wav": b"1"})
    commit_row(tmp_path / "run", id_, corpus / "a.wav", committed_as, failed)
    changed = changes(Keys(LOCAL, str(tmp_path / "run")), discover_all([str(corpus)], channel=now))
    assert len(changed.hashes) == (not same)
    if (committed_as, now) == (2, 1):
        assert ", channel 2, " in changed.examples[0].partition("; now")[0]
        assert ", channel 1, " in changed.examples[0].partition("; now")[2]


def test_what_a_rerun_finds_as_it_was_is_not_looked_at_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "in"
    corpus.mkdir()
    shards = [write_tar(corpus / f"{name}.tar", [("a.wav", b"1")]) for name in ("s", "s.tar#x", "t")]
    stamps = {shard.name: local_stamp(str(shard)) for shard in shards}
    rows = [
        coded_row(
            f"{shard}/{number}.wav",
            1920,
            source=pa.array([f"{corpus}/{shard}::{number}.wav"]),
            source_size=pa.array([stamps[shard].size]),
            source_version=pa.array(["other" if shard == "t.tar" and number == 7 else stamps[shard].version]),
        )
        for shard in ("s.tar", "t.tar")
        for number in range(40)
    ]
    write_parts(pa.concat_tables(rows), LOCAL, str(tmp_path / "run"))
    looked: list[str] = []
    has = Containers.has
    monkeypatch.setattr(Containers, "has", lambda self, row, shard: looked.append(row["id"]) or has(self, row, shard))
    for nested, expected in ((True, 80), (False, 1 + 40)):
        if not nested:
            shards[1].unlink()
        looked.clear()
        assert found(tmp_path / "run", corpus) == ["t.tar/7.wav"]
        assert len(looked) == expected


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    ("committed_as", "now", "same"),
    [(None, None, True), (1, 1, True), (1, EACH, True), (None, EACH, False), (2, 1, False)],
)
def test_another_channel_of_members(
    tmp_path: Path, alone: bool, committed_as: int | None, now: int | None, same: bool
) -> None:
    shard = write_tar(tmp_path / "s.tar", [("m.wav", b"1")])
    other = [] if alone else [str(write_files(tmp_path / "in", {"a.wav": b"1"}))]
    id_ = ("" if alone else "s.tar/") + ("m.wav@ch1" if now == EACH and same else "m.wav")
    commit_row(tmp_path / "run", id_, shard, committed_as, failed=False)
    changed = changes(Keys(LOCAL, str(tmp_path / "run")), discover_all([str(shard), *other], channel=now))
    assert len(changed.hashes) == (not same)


def test_parts_without_channels_are_of_the_mean(tmp_path: Path) -> None:
    corpus = write_files(tmp_path / "in", {"a.wav": b"1"})
    commit(tmp_path / "run", corpus)
    (part,) = (tmp_path / "run" / "codes").iterdir()
    pq.write_table(pq.read_table(part).drop_columns(["channel"]), part)
    assert found(tmp_path / "run", corpus) == []
    assert committed(Keys(LOCAL, str(tmp_path / "run"))).ids.to_pylist() == ["a.wav"]
    assert len(changes(Keys(LOCAL, str(tmp_path / "run")), discover_all([str(corpus)], channel=2)).hashes) == 1


@pytest.mark.parametrize(("slow_s", "threads"), [(0.0, 3), (float("inf"), 1)])
def test_files_of_a_slow_disk_are_looked_up_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_s: float, threads: int
) -> None:
    """The first few by this thread; of the others the first of two threads waits for the other's."""
    places = [str(tmp_path / f"{number}.wav") for number in range(2 * stamp.STATS + 3)]
    for number, place in enumerate(places):
        Path(place).write_bytes(bytes(number))
    together, asked = threading.Barrier(threads - 1 or 1, timeout=10), set()

    def look(path: str) -> Stamp:
        asked.add(threading.current_thread())
        if path in (places[stamp.STATS], places[2 * stamp.STATS]):
            together.wait()
        return local_stamp(path)

    monkeypatch.setattr(stamp, "SLOW_S", slow_s)
    monkeypatch.setattr(stamp, "local_stamp", look)
    units = pa.Table.from_pylist([{"@id": one, "@location": one} for one in [*places, "s3://b/1.wav"]], UNIT_SCHEMA)
    assert looked_up(units)["@size"].to_pylist() == [*range(len(places)), None]
    assert len(asked) == threads
