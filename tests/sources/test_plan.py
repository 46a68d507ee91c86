"""Inputs -> read tasks: folders, globs, files, manifests; ids; sizes of tasks; what is committed; mistakes."""

import datetime
import json
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.recordings import Recordings
from pipeline.run.layout import CODES, FAILURES, WAVES
from pipeline.sources import rows as tables
from pipeline.sources.folder import RUN_FILES, list_folder
from pipeline.sources.formats import recordings, suffixes
from pipeline.sources.inputs import discover_all
from pipeline.sources.plan import Plan, plan
from pipeline.sources.task import UNIT_SCHEMA, carried_names, unpacked_ids
from pipeline.storage.access import Access
from pipeline.storage.location import CONTROLS
from tests.helpers.shards import AUDIO, cells, contents, read, write_files, write_parquet, write_tar

FILES = {
    "b.wav": b"B",
    "a/x.flac": b"AX",
    "a/b/y.OPUS": b"ABY",
    "a/.z.wav": b"-",
    ".git/q.wav": b"-",
    "a/notes.txt": b"-",
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_files(tmp_path / "corpus", FILES)


def ids(planned: Plan) -> list[str]:
    return [item.id for item in read(planned)]


def jsonl(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def test_a_folder(corpus: Path) -> None:
    planned = plan([str(corpus)])
    assert contents(planned) == {"b.wav": b"B", "a/x.flac": b"AX", "a/b/y.OPUS": b"ABY"}
    assert (planned.recordings, planned.passed_over) == (3, {"hidden": 2, ".txt": 1})
    assert planned.carried == pa.schema([])


@pytest.mark.parametrize("suffix", ["", "/", "/."])
def test_a_folder_however_written(corpus: Path, suffix: str) -> None:
    assert ids(plan([f"{corpus}{suffix}"])) == ids(plan([f"file://{corpus}{suffix}"]))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.wav", ["b.wav"]),
        ("*", ["b.wav", "a/x.flac", "a/b/y.OPUS"]),  # a folder that matches is taken with all below it
        ("**/*.flac", ["a/x.flac"]),
        ("a/**", ["x.flac", "b/y.OPUS"]),
        ("?/[xz].*", ["a/x.flac"]),
        ("a/*/y.*", ["b/y.OPUS"]),
    ],
)
def test_globs(corpus: Path, pattern: str, expected: list[str]) -> None:
    assert ids(plan([f"{corpus}/{pattern}"])) == expected


def test_a_name_with_brackets_that_exists_is_no_glob(tmp_path: Path) -> None:
    write_files(tmp_path, {"utt[1].wav": b"1", "utt1.wav": b"2"})
    assert contents(plan([f"{tmp_path}/utt[1].wav"])) == {"utt[1].wav": b"1"}


def test_single_files_whatever_their_suffix(corpus: Path) -> None:
    write_files(corpus, {"a/speech.dat": b"-"})
    assert contents(plan([f"{corpus}/b.wav", f"{corpus}/a/speech.dat"])) == {"b.wav": b"B", "speech.dat": b"-"}


def test_several_inputs_keep_their_order(corpus: Path) -> None:
    write_files(corpus.parent, {"z/1.wav": b"1", "y/2.wav": b"2"})
    assert ids(plan([f"{corpus.parent}/z", f"{corpus}/b.wav", f"{corpus.parent}/y"])) == ["1.wav", "b.wav", "2.wav"]


def test_symbolic_links_and_things_that_are_no_files(tmp_path: Path) -> None:
    write_files(tmp_path, {"in/a.wav": b"A", "in/sub/s.wav": b"S", "out/b.wav": b"B"})
    os.symlink(tmp_path / "out/b.wav", tmp_path / "in/file.wav")
    os.symlink(tmp_path / "out", tmp_path / "in/folder")
    os.symlink(tmp_path / "in", tmp_path / "in/sub/loop")
    os.symlink(tmp_path / "in/sub", tmp_path / "in/again")
    os.symlink("self.wav", tmp_path / "in/self.wav")
    os.symlink("gone.wav", tmp_path / "in/dangling.wav")
    os.mkfifo(tmp_path / "in/pipe.wav")
    planned = plan([str(tmp_path / "in")])
    found = contents(planned)
    assert {id: text for id, text in found.items() if isinstance(text, bytes)} == {
        "a.wav": b"A",
        "file.wav": b"B",
        "sub/s.wav": b"S",
        "folder/b.wav": b"B",
    }
    assert "no such file" in found["dangling.wav"]
    assert "UnreadableAudio" in found["self.wav"]
    assert planned.passed_over == {".wav": 1}


def test_names_that_are_no_text(tmp_path: Path) -> None:
    write_files(
        tmp_path, {os.fsdecode(b"\xff.wav"): b"1", os.fsdecode(b"\xfe.wav"): b"2", "new\nline\x1b[2J.wav": b"3"}
    )
    planned = plan([str(tmp_path)])
    assert contents(planned) == {r"\xff.wav": b"1", r"\xfe.wav": b"2", r"new\x0aline\x1b[2J.wav": b"3"}
    assert all(item.source.isprintable() for item in read(planned))


def test_a_manifest_and_the_types_that_travel(corpus: Path) -> None:
    row = {"audio_filepath": "b.wav", "text": "hé", "n": 3, "x": 1.5, "ok": True, "words": [{"w": "a", "at": 0.5}]}
    other = {
        "audio_filepath": str(corpus / "a/x.flac"),
        "text": "2024-01-01",
        "n": None,
        "location": "Rome",
        "source": "S",
    }
    planned = plan([jsonl(corpus / "m.jsonl", row, other)])
    assert contents(planned) == {"b.wav": b"B", str(corpus / "a/x.flac"): b"AX"}
    words = pa.list_(pa.struct([("w", pa.string()), ("at", pa.float64())]))
    expected = [("text", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("ok", pa.bool_()), ("words", words)]
    assert planned.carried == pa.schema([*expected, ("location", pa.string()), ("input_source", pa.string())])
    first, second = (cells(item) for item in read(planned))
    assert first == {name: row.get(name) for name in first}
    assert (second["location"], second["input_source"], second["text"]) == ("Rome", "S", "2024-01-01")
    assert [item.source for item in read(planned)] == [str(corpus / "b.wav"), str(corpus / "a/x.flac")]


def test_csv_keeps_ids_as_they_are_written(corpus: Path) -> None:
    (corpus / "m.csv").write_text('\ufeffid,path,text,n\n007,b.wav,"two\nlines, ""quoted""",1\n,a/x.flac,,2\n')
    planned = plan([str(corpus / "m.csv")])
    assert contents(planned) == {"007": b"B", "a/x.flac": b"AX"}
    assert [cells(item) for item in read(planned)] == [{"text": 'two\nlines, "quoted"', "n": 1}, {"text": "", "n": 2}]


@pytest.mark.parametrize(
    ("written", "kind", "values"),
    [
        (["12", "-3", "0"], pa.int64(), [12, -3, 0]),
        (["12", "", "NaN"], pa.int64(), [12, None, None]),
        (["0.50", "3", "1e-05"], pa.float64(), [0.5, 3.0, 1e-05]),
        (["0012", "13", "14"], pa.string(), None),
        (["0000", "0", "0"], pa.string(), None),
        (["10:30", "11:00", "12:00"], pa.string(), None),
        (["2024-01-01", "2024-01-02", ""], pa.string(), None),
        (["True", "False", "True"], pa.string(), None),
        (["1e5", "2e7", "3e1"], pa.string(), None),
        (["9223372036854775808", "1", "2"], pa.string(), None),
        (["+1", "1", "2"], pa.string(), None),
        (["", "", ""], pa.null(), [None, None, None]),
        (["NA", "", "NA"], pa.string(), None),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_what_a_column_of_csv_holds_is_read_as_it_was_written(
    corpus: Path, suffix: str, written: list[str], kind: pa.DataType, values: list[Any] | None
) -> None:
    lines = [",".join(row) for row in zip(["path", "b.wav", "b.wav", "b.wav"], ["x", *written], strict=True)]
    ids = [",".join(row) for row in zip(["id", "1", "2", "3"], lines, strict=True)]
    text = "\n".join(ids) + "\n"
    (corpus / f"m.{suffix}").write_text(text.replace(",", "\t") if suffix == "tsv" else text)
    planned = plan([str(corpus / f"m.{suffix}")])
    assert planned.carried.field("x").type == kind
    assert [cells(item)["x"] for item in read(planned)] == (written if values is None else values)


def test_a_parquet_manifest(corpus: Path) -> None:
    when = datetime.datetime(2024, 1, 2, 3, 4, 5, 6)
    types = {"d": pa.decimal128(5, 2), "t": pa.timestamp("us"), "s": pa.list_(pa.float32(), 2), "b": pa.binary()}
    values = {"d": [None], "t": [when], "s": [[1.0, 2.0]], "b": [b"\xff"]}
    columns = {name: pa.array(values[name], kind) for name, kind in types.items()}
    category = pa.array(["speech"]).dictionary_encode()
    pq.write_table(pa.table({"path": ["b.wav"], "id": [12], "c": category, **columns}), corpus / "m.parquet")
    planned = plan([str(corpus / "m.parquet")])
    assert planned.carried == pa.schema([("c", pa.string()), *types.items()])
    assert contents(planned) == {"12": b"B"}
    assert cells(read(planned)[0]) == {"c": "speech", "d": None, "t": when, "s": [1.0, 2.0], "b": b"\xff"}


def test_segments_of_one_file(corpus: Path) -> None:
    rows = [{"path": "b.wav", "start_s": 1, "end_s": 2.5}, {"path": "b.wav", "start_s": 2.5}, {"path": "b.wav"}]
    found = read(plan([jsonl(corpus / "m.jsonl", *rows)]))
    assert [(item.id, item.start_s, item.end_s) for item in found] == [
        ("b.wav#1-2.5", 1.0, 2.5),
        ("b.wav#2.5-", 2.5, None),
        ("b.wav", 0.0, None),
    ]
    assert cells(found[0]) == {}  # they are columns of the output already


def test_rows_without_path_or_file_become_failures_not_mistakes(corpus: Path) -> None:
    rows = [
        {"wav": "b.wav", "id": None},
        {"wav": None},
        {"wav": "", "id": "k"},
        {"wav": "gone.wav"},
        {"wav": "a\0.wav"},
    ]
    found = contents(plan([jsonl(corpus / "m.jsonl", *rows, {"wav": "."})]))
    assert list(found) == ["b.wav", "row 1", "k", "gone.wav", r"a\x00.wav", "."]
    assert found["b.wav"] == b"B"
    assert all(text.startswith("UnreadableAudio: ") for text in list(found.values())[1:])
    assert "names no file" in found["row 1"]
    assert "no such file" in found["gone.wav"]


def test_manifests_with_bytes_that_are_no_text(corpus: Path) -> None:
    (corpus / "m.jsonl").write_bytes(b'{"path":"b.wav","t":"\xff"}\n{"path":"\xfe.wav","t":"y"}\n')
    planned = plan([str(corpus / "m.jsonl")])
    assert [item.id for item in read(planned)] == ["b.wav", r"\xfe.wav"]
    assert cells(read(planned)[0]) == {"t": r"\xff"}
    (corpus / "m.csv").write_bytes(b"path,t\nb.wav,\xff\n")
    noted = discover_all([str(corpus / "m.csv")]).notes[-1]
    assert noted.endswith(r"m.csv: column 't': 1 value with bytes that are no UTF-8, now \xNN; save it as UTF-8")
    assert cells(read(plan([str(corpus / "m.csv")]))[0]) == {"t": r"\xff"}


def test_numbers_that_are_rounded_are_told(corpus: Path) -> None:
    rows = [{"path": "b.wav", "hash": 2**64 - 1, "id64": 2**62, "s": 0.5}, {"path": "a/x.flac", "hash": 1, "s": 2.5}]
    noted = [note for note in discover_all([jsonl(corpus / "m.jsonl", *rows)]).notes if "rounded" in note]
    assert [note.partition("m.jsonl: ")[2] for note in noted] == [
        "column 'hash': 1 number of 2^53 or more, rounded; write it as text"
    ]


def test_the_path_column_can_be_named(corpus: Path) -> None:
    manifest = jsonl(corpus / "m.jsonl", {"clip": "b.wav", "path": "elsewhere"})
    planned = plan([manifest], column="clip")
    assert contents(planned) == {"b.wav": b"B"}
    assert planned.carried.names == ["path"]


def test_relative_uris_in_a_remote_manifest() -> None:
    from pipeline.sources.manifests.relative import locations

    paths = pa.chunked_array([["a b%.wav", "../up#.wav", "/abs.wav", "https://h/x?y", ""]])
    found = locations(paths, "s3://h/m.jsonl", ("s3", "https"), "s3://k:s@bucket/deep?region=x")
    assert found.to_pylist() == [
        "s3://k:s@bucket/deep/a b%25.wav?region=x",
        "s3://k:s@bucket/up%23.wav?region=x",
        "/abs.wav",
        "https://h/x?y",
        "",
    ]


def test_ids_of_uris_hold_no_credentials(corpus: Path) -> None:
    rows = [{"path": "s3://key:secret@bucket/a.wav"}, {"path": "https://h/b.wav?signature=secret"}]
    planned = plan([jsonl(corpus / "m.jsonl", *rows)])
    items = [item for task in planned.tasks for item in recordings(replace(task, ahead=False))]  # nothing is fetched
    found = [item.id + item.source for item in items]
    assert found == ["s3://bucket/a.wav" * 2, "https://h/b.wav" * 2]


def test_columns_of_several_inputs_are_unified(corpus: Path) -> None:
    first = jsonl(corpus / "1.jsonl", {"path": "b.wav", "n": 1})
    second = jsonl(corpus / "2.jsonl", {"path": "a/x.flac", "n": 1.5, "text": "t"})
    tar = write_tar(corpus / "s.tar", [("u.wav", b"U"), ("u.json", b'{"k": 1}')])
    planned = plan([first, second, str(tar)])
    assert planned.carried == pa.schema(
        [("n", pa.float64()), *((name, pa.string()) for name in ("text", "json", "txt"))]
    )
    assert [list(cells(item).values()) for item in read(planned)] == [
        [1.0, None, None, None],
        [1.5, "t", None, None],
        [None, None, '{"k": 1}', None],
    ]


def test_columns_that_do_not_fit_name_both_inputs(corpus: Path) -> None:
    first = jsonl(corpus / "1.jsonl", {"path": "b.wav", "n": 1})
    second = jsonl(corpus / "2.jsonl", {"path": "a/x.flac", "n": "one"})
    with pytest.raises(InputError, match=r"'n' is int64 in .*1.jsonl and string in .*2.jsonl"):
        plan([first, second])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["text", "id", "codes"], ["text", "input_id", "input_codes"]),
        (["id", "input_id"], ["input_id", "input_input_id"]),
        (["a", "a", "a"], ["a", "input_a", "input_input_a"]),
        (["audio", "message", "@id"], ["input_audio", "input_message", "input_@id"]),
    ],
)
def test_carried_names(names: list[str], expected: list[str]) -> None:
    assert carried_names(names) == expected


def test_what_is_committed_is_not_planned_again(corpus: Path) -> None:
    tar = write_tar(corpus / "s.tar", [("1.wav", b"1"), ("2.wav", b"2")])
    write_parquet(corpus / "s.parquet", [{"bytes": b"3", "path": "3.wav"}, {"bytes": b"4", "path": "4.wav"}])
    done = pa.chunked_array([["b.wav", "s.tar/2.wav"], ["s.parquet/3.wav", "elsewhere"]])
    planned = plan([str(corpus)], done=done)
    assert ids(planned) == ["a/x.flac", "a/b/y.OPUS", "s.tar/1.wav", "s.parquet/4.wav"]
    assert planned.recordings is None
    everything = pa.array(ids(plan([str(corpus)])))
    assert ids(plan([str(corpus)], done=everything)) == []
    assert ids(plan([str(tar)], done=pa.array(["1.wav"]))) == ["2.wav"]


def test_a_containers_id_stands_before_its_recordings_unless_it_is_alone(corpus: Path) -> None:
    one, two = (write_tar(corpus / f"{name}.tar", [("u.wav", b"U")]) for name in ("one", "two"))
    assert ids(plan([str(one)])) == ["u.wav"]
    assert ids(plan([str(one), str(two)])) == ["one.tar/u.wav", "two.tar/u.wav"]
    assert ids(plan([f"{corpus}/one.*"])) == ["one.tar/u.wav"]


@pytest.mark.parametrize("second", ["folder", "same", "manifest"])
def test_two_recordings_of_one_id_are_named(corpus: Path, second: str) -> None:
    write_files(corpus.parent, {"other/b.wav": b"2"})
    manifest = jsonl(corpus / "m.jsonl", {"path": str(corpus / "a/x.flac"), "id": "b.wav"})
    given = {"folder": str(corpus.parent / "other"), "same": str(corpus / "b.wav"), "manifest": manifest}[second]
    with pytest.raises(
        InputError, match=r"two recordings have the id 'b.wav': .*b.wav .* and .*(?:'?id'? column|parent)"
    ) as e:
        plan([str(corpus), given])
    assert str(corpus / "b.wav") in str(e.value)
    assert given in str(e.value)


def test_two_recordings_of_one_manifest_or_of_an_input_that_is_given_twice(corpus: Path) -> None:
    rows = [{"path": name, "id": "i"} for name in ("b.wav", "a/x.flac")]
    with pytest.raises(InputError, match=r"row 0\) and .*row 1\)\. They are of one input: give each a name"):
        plan([jsonl(corpus / "m.jsonl", *rows)])
    with pytest.raises(InputError, match="The input is given twice: leave one out"):
        plan([str(corpus), str(corpus)])


def test_two_shards_of_one_name_are_named(tmp_path: Path) -> None:
    for folder in ("p", "q"):
        write_files(tmp_path, {f"{folder}/keep.wav" if folder == "p" else f"{folder}/k2.wav": b"1"})
        write_tar(tmp_path / folder / "s.tar", [("u.wav", b"U")])
    with pytest.raises(InputError, match=r"'s.tar': .*p/s.tar .* and .*q/s.tar"):
        plan([str(tmp_path / "p"), str(tmp_path / "q")])
    assert ids(plan([str(tmp_path)]))[-2:] == ["p/s.tar/u.wav", "q/s.tar/u.wav"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.jsonl", b"", "Empty JSON"),
        ("m.jsonl", b"\n\n", "without rows"),
        ("m.jsonl", b'{"path": "a.wav"', "cannot be read"),
        ("m.jsonl", b'{"path": 1}\n', r"found path \(int64\)"),
        ("m.jsonl", b'{"text": "a"}\n', "audio or path or audio_filepath or wav"),
        ("m.jsonl", b'{"path": "a", "x": 1}\n{"path": "b", "x": "y"}\n', "changed from number to string"),
        ("m.jsonl", b'{"path": "a", "id": 1.5}\n', "column id holds double"),
        ("m.jsonl", b'{"path": "a", "start_s": "soon"}\n', "start_s is no number"),
        ("m.jsonl", b'{"path": "ftp://h/a"}\n', "'ftp' is not allowed"),
        ("m.jsonl", b'{"path": "a", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}\n", "nested deeper than 100"),
        ("m.json", b'[{"path": "a.wav"}]', "cannot be read"),
        ("m.csv", b"path,text\na.wav\n", "Expected 2 columns"),
        ("m.csv", b"path,text\n", "without rows"),
        ("m.csv", b"path,path\na,b\n", "no column of paths"),
    ],
)  # fmt: skip
def test_broken_manifests(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as e:
        plan([str(tmp_path / name)])
    assert name in str(e.value)


def test_brackets_in_text_are_no_nesting(corpus: Path) -> None:
    text = "[{" * 30 + "]" * 500
    words = [{"w": ["a"]}] * 500
    planned = plan([jsonl(corpus / "m.jsonl", {"path": "b.wav", "text": text, "words": words})])
    assert cells(read(planned)[0]) == {"text": text, "words": words}


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": b"", ".b.wav": b"", "m.jsonl": b"{}"})
    with pytest.raises(
        InputError, match=r"no audio found in .*: passed over 1 hidden, 1 \.txt, 1 \.jsonl; .* \.flac .*\.jsonl"
    ):
        plan([str(tmp_path)])
    write_files(tmp_path, {"in/run/run.json": b"{}", "in/run/codes/part-0.parquet": b""})
    with pytest.raises(InputError, match=r"passed over 1 run \(run in .*/in\); expected"):
        plan([str(tmp_path / "in")])
    with pytest.raises(InputError, match="no audio found"):
        plan([])


@pytest.mark.parametrize(
    "location", ["gone", "gone/*.wav", "ftp://h/x", "http://127.0.0.1:9/a/", "http://127.0.0.1:9/a.wav"]
)
def test_missing_inputs(tmp_path: Path, location: str) -> None:
    with pytest.raises(InputError, match=location.partition("*")[0].strip("/")):
        plan([location if "://" in location else str(tmp_path / location)], access=Access(retries=0))


def test_parquet_without_audio_in_a_folder_is_passed_over(corpus: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), corpus / "numbers.parquet")
    pq.write_table(pa.table({"path": ["b.wav"]}), corpus / "manifest.parquet")
    planned = plan([str(corpus)])
    assert (planned.recordings, planned.passed_over) == (3, {"hidden": 2, ".txt": 1, ".parquet": 2})
    with pytest.raises(InputError, match="no column of paths"):
        plan([str(corpus / "numbers.parquet")])
    with pytest.raises(InputError, match=r"there is no text column 'foo', .*; found path \(string\)"):
        plan([str(corpus / "manifest.parquet")], column="foo")


@pytest.mark.parametrize("parallelism", [1, 2, 8])
def test_tasks_are_of_similar_size_and_enough(tmp_path: Path, parallelism: int) -> None:
    write_files(tmp_path, {f"{i:03d}.wav": b"x" * (1 + 1000 * (i % 7)) for i in range(200)})
    planned = plan([str(tmp_path)], parallelism=parallelism)
    assert 2 * parallelism <= len(planned.tasks) <= 2 * parallelism + 1
    sizes = [task.units.num_rows for task in planned.tasks]
    assert max(sizes) <= 1.2 * 200 / (2 * parallelism)
    assert ids(planned) == [f"{i:03d}.wav" for i in range(200)]


def test_durations_weigh(corpus: Path) -> None:
    rows = [{"path": f"{i}.wav", "duration": 3600 if i == 0 else 36} for i in range(101)]
    planned = plan([jsonl(corpus / "m.jsonl", *rows)], parallelism=1)
    assert [task.units.num_rows for task in planned.tasks] == [7, 94]  # half of the weight each


def test_a_task_sends_its_own_rows_only(corpus: Path) -> None:
    rows = [{"path": f"{i}.wav", "text": "x" * 1000} for i in range(2000)]
    planned = plan([jsonl(corpus / "m.jsonl", *rows)], parallelism=50)
    assert len(planned.tasks) >= 100
    assert max(len(pickle.dumps(task)) for task in planned.tasks) < 40_000


def test_a_plan_holds_a_manifests_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "NULLS", 1000)
    tables._block.cache_clear()
    count = 30_000
    numbers = [f"{number:06d}" for number in range(count)]
    columns = {"path": [f"/data/{number}.flac" for number in numbers], "id": numbers, "duration": [1.0] * count}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    del columns
    start = pa.total_allocated_bytes()
    manifest = pq.read_table(tmp_path / "m.parquet")
    own = pa.total_allocated_bytes() - start
    del manifest
    planned = plan([str(tmp_path / "m.parquet")])
    assert len(planned.tasks) > 30
    assert pa.total_allocated_bytes() - start - own < 12 * count  # a weight of 8 bytes each, no nulls, no copies
    tables._block.cache_clear()


def test_a_hostile_manifest_makes_no_endless_number_of_tasks(corpus: Path) -> None:
    rows = [{"path": f"{i}.wav", "duration": 1e300 if i % 2 else -5} for i in range(1000)]
    assert len(plan([jsonl(corpus / "m.jsonl", *rows)]).tasks) <= 1000


def test_many_lines_stay_in_arrow(tmp_path: Path) -> None:
    """200k lines: no Python object a row (a table of them would take tens of seconds and a gigabyte)."""
    line = '{"audio_filepath": "data/%06d.flac", "text": "the quick brown fox", "duration": 8.0}\n'
    (tmp_path / "m.jsonl").write_text("".join(line % row for row in range(200_000)))
    planned = plan([str(tmp_path / "m.jsonl")], parallelism=4)
    assert planned.recordings == 200_000
    assert sum(task.units.num_rows for task in planned.tasks) == 200_000
    assert len(planned.tasks) > 300


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"path": st.none() | st.text(max_size=20)},
            optional={
                "id": st.none() | st.text(max_size=8),
                "start_s": st.none() | st.floats() | st.integers(-(10**9), 10**9),
                "end_s": st.none() | st.floats(-1e3, 1e3),
                "duration": st.none() | st.floats(),
                "codes": st.none() | st.text(max_size=5),
            },
        ),
        max_size=6,
    )
)
def test_any_manifest_gives_items_or_one_clear_mistake(rows: list[dict[str, object]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            planned = plan([jsonl(Path(folder, "m.jsonl"), *rows)], access=Access(schemes=("file",)))  # no network
        except InputError:
            return
        found = contents(planned)
        assert len(found) == len(rows)
        assert not any(re.search(CONTROLS, id) for id in found)


def test_listing_is_stable_and_typed(corpus: Path) -> None:
    local = Access(schemes=("file",))
    one, two = (list_folder(str(corpus), local, suffixes()) for _ in range(2))
    assert one.files.equals(two.files)
    assert one.files.column("size").to_pylist() == [1, 2, 3]
    assert plan([str(corpus)]).tasks[0].units.schema.equals(UNIT_SCHEMA)
    assert AUDIO.field("bytes").type == pa.binary()


def test_runs_below_an_input_are_passed_over(tmp_path: Path) -> None:
    corpus = write_files(tmp_path / "in", {"a.wav": b"1", "deep/run.json": b"", "deep/b.wav": b"2"})
    for run in ("run", "old/run"):
        write_files(corpus / run, {"run.json": b"{}", "codes/part-0.parquet": b"", "wav/a.wav.wav": b"1"})
    found = discover_all([str(corpus)])
    assert [one.units["@id"].to_pylist() for one in found.found] == [["a.wav", "deep/b.wav"]]
    assert found.runs == [f"old/run in {corpus}", f"run in {corpus}"]
    inside = discover_all([str(corpus / "run" / "wav")])  # named itself, another run may take it
    assert (inside.found[0].recordings, inside.runs) == (1, [])


def test_run_files_are_those_of_a_run() -> None:
    assert {CODES, FAILURES, WAVES} == RUN_FILES


def test_lists_that_begin_with_null_are_refused_and_never_read_beyond_their_end(corpus: Path) -> None:
    with pytest.raises(InputError, match="a list in column 'x' begins with null, which is not read; drop it"):
        plan([jsonl(corpus / "m.jsonl", {"path": "b.wav", "x": [None, 1]})])


@pytest.mark.parametrize("alone", [True, False])
def test_row_groups_share_their_shards_committed_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """A million rows in a thousand groups are not a thousand times the same ids; tars have their own."""
    rows: list[dict[str, object] | None] = [{"bytes": b"audio", "path": None}] * 8
    shards = [str(write_parquet(tmp_path / f"{name}.parquet", rows)) for name in "ab"[: 1 if alone else 2]]
    planned = ids(plan(shards))
    tasks = plan(shards, done=pa.array(planned[1:]), task_bytes=1, parallelism=8).tasks
    store: list[bytes] = []
    monkeypatch.setattr("ray.put", lambda value: store.append(value) or store[-1])
    monkeypatch.setattr("ray.get", lambda ref: ref)
    sent = [task.read_fn for task in Recordings(tasks, lambda *given: given).get_read_tasks(1)]
    assert len(sent) == len(tasks) == 4 * len(shards)
    assert len(store) == len(shards)
    left = []
    for task, done in (one()[1:] for one in sent):
        assert (len(task.done), done in store) == (0, True)
        left += [item.id for item in recordings(replace(task, done=unpacked_ids(done)))]
    assert left == planned[:1]
