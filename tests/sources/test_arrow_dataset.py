"""Folders that `datasets` itself saved; and streams that are damaged, or have paths only, made by hand."""

import io
import json
import random
import tracemalloc
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict

from pipeline.errors import InputError
from pipeline.sources.arrow_dataset import _column
from pipeline.sources.inputs import discover_all, named
from pipeline.sources.plan import plan
from tests.helpers.s3 import s3_server
from tests.helpers.shards import AUDIO, cells, content, contents, outcomes, read, write_files

datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """five: a Dataset of 5 clips in 2 files. dict: a DatasetDict of it."""
    folder = tmp_path_factory.mktemp("saved")
    for i in range(5):
        soundfile.write(folder / f"u{i}.wav", np.full(800 * (i + 1), 0.25, np.float32), 8000)
    columns = {"audio": [str(folder / f"u{i}.wav") for i in range(5)], "text": list("abcde"), "kind": [0, 1, 0, 1, 0]}
    five = Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))
    five = five.cast_column("kind", ClassLabel(names=["read", "spoken"]))
    five.save_to_disk(folder / "five", num_shards=2)
    DatasetDict({"train": five, "test set": five.select([1, 3])}).save_to_disk(folder / "dict")
    return folder


def stream(path: Path, *batches: pa.RecordBatch) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return path


def audio_batch(*rows: tuple[bytes | None, str | None], **columns: list[object]) -> pa.RecordBatch:
    audio = pa.array([{"bytes": data, "path": path} for data, path in rows], AUDIO)
    return pa.RecordBatch.from_pydict({"audio": audio, **columns})


def test_a_saved_dataset(saved: Path) -> None:
    planned = plan([str(saved / "five")])
    assert planned.carried == pa.schema([("text", pa.string()), ("kind", pa.int64())])
    assert planned.recordings is None
    ids = [f"data-0000{i // 3}-of-00002.arrow/u{i}.wav" for i in range(5)]
    assert contents(planned) == {id: (saved / f"u{i}.wav").read_bytes() for i, id in enumerate(ids)}
    assert outcomes(planned) == {id: pytest.approx(0.1 * (i + 1)) for i, id in enumerate(ids)}
    assert [cells(item) for item in read(planned)][:2] == [{"text": "a", "kind": 0}, {"text": "b", "kind": 1}]
    assert read(planned)[4].source == f"{saved}/five/data-00001-of-00002.arrow::row 1"


def test_a_saved_dict_of_datasets(saved: Path) -> None:
    train = [f"train/data-00000-of-00001.arrow/u{i}.wav" for i in range(5)]
    test = [f"test set/data-00000-of-00001.arrow/u{i}.wav" for i in (1, 3)]
    assert list(contents(plan([str(saved / "dict")]))) == train + test
    assert [item.id for item in read(plan([f"{saved}/dict/test set"]))] == [id.partition("/")[2] for id in test]


def test_a_file_of_it_alone(saved: Path) -> None:
    assert list(contents(plan([f"{saved}/five/data-00001-of-00002.arrow"]))) == ["u3.wav", "u4.wav"]


def test_what_is_committed_is_not_read_again(saved: Path) -> None:
    ids = [item.id for item in read(plan([str(saved / "five")]))]
    assert [item.id for item in read(plan([str(saved / "five")], done=pa.array(ids[:4])))] == ids[4:]


def test_on_an_object_store(saved: Path) -> None:
    files = {str(path.relative_to(saved)): path.read_bytes() for path in (saved / "dict").rglob("*") if path.is_file()}
    with s3_server("speech", files) as endpoint:
        query = f"?endpoint_override=http%3A%2F%2F{endpoint.replace(':', '%3A')}"
        found = contents(plan([f"s3://k:s@speech/dict{query}"]))
    assert found == contents(plan([str(saved / "dict")]))


def test_ids_and_paths_of_rows(tmp_path: Path) -> None:
    write_files(tmp_path, {"sub/b.wav": b"B"})
    batches = [
        audio_batch((b"A", "a.wav"), (None, "sub/b.wav"), id=[7, 8], n=[1, 2]),
        audio_batch((None, str(tmp_path / "sub/b.wav")), (None, None), id=[9, 10], n=[3, None]),
    ]
    planned = plan([str(stream(tmp_path / "x.arrow", *batches))])
    found = contents(planned)
    assert found.pop("10").startswith("UnreadableAudio: ")
    assert found == {"7": b"A", "8": b"B", "9": b"B"}
    assert [cells(item) for item in read(planned)][3] == {"input_id": 10, "n": None}
    twice = stream(tmp_path / "y.arrow", audio_batch((b"A", "a.wav"), (b"B", "a.wav")))
    assert contents(plan([str(twice)])) == {"00000000": b"A", "00000001": b"B"}


def test_a_file_that_is_cut_keeps_what_came_before(tmp_path: Path) -> None:
    clips = [bytes([i]) * 5000 for i in range(4)]
    whole = stream(tmp_path / "x.arrow", *(audio_batch((clip, f"{i}.wav")) for i, clip in enumerate(clips)))
    (tmp_path / "cut.arrow").write_bytes(whole.read_bytes()[:13_000])
    found = contents(plan([str(tmp_path / "cut.arrow")]))
    assert [found.pop("0.wav"), found.pop("1.wav")] == clips[:2]
    assert list(found) == ["cut.arrow"]
    assert found["cut.arrow"].startswith("UnreadableAudio: ")
    assert found["cut.arrow"].endswith("(after 2 rows)")
    done = pa.array(["0.wav", "1.wav", "cut.arrow"])
    assert read(plan([str(tmp_path / "cut.arrow")], done=done)) == []


def test_no_damage_crashes(tmp_path: Path) -> None:
    batches = [audio_batch((b"x" * 300, f"{i}.wav"), (b"y" * 300, f"{i}b.wav"), text=["t", "u"]) for i in range(3)]
    whole = stream(tmp_path / "x.arrow", *batches).read_bytes()
    dice = random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        (tmp_path / "d.arrow").write_bytes(damaged)
        try:
            planned = plan([str(tmp_path / "d.arrow")])
        except InputError:
            continue
        for item in read(planned):
            content(item)


def test_names_of_columns_that_are_no_text(tmp_path: Path) -> None:
    whole = stream(tmp_path / "x.arrow", audio_batch((b"A", "a.wav"), heard=["t"])).read_bytes()
    (tmp_path / "x.arrow").write_bytes(whole.replace(b"heard", b"\xf0eard"))
    with pytest.raises(InputError, match=r"x\.arrow: cannot be read \(UnicodeDecodeError"):
        plan([str(tmp_path / "x.arrow")])


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "expected names of files beside it, found \\[\\]"),
        ({"_data_files": [{"filename": "../x.arrow"}]}, "expected names of files beside it"),
        (
            {"_data_files": [{"filename": "x.arrow"}], "_indices_data_files": [{"filename": "i"}]},
            "save the dataset again",
        ),
        ({"_data_files": [{"filename": "gone.arrow"}]}, "gone.arrow: no such file"),
        ({"_data_files": [{"filename": "text.arrow"}]}, "text.arrow: no column holds audio: text"),
        ([], "expected an object"),
    ],
)
def test_bad_folders(tmp_path: Path, state: object, said: str) -> None:
    stream(tmp_path / "text.arrow", pa.RecordBatch.from_pydict({"text": ["a"]}))
    write_files(tmp_path, {"state.json": json.dumps(state).encode(), "dataset_info.json": b"{}"})
    with pytest.raises(InputError, match=said):
        plan([str(tmp_path)])


def test_other_folders_with_such_names_are_folders_of_audio(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": b"A", "state.json": b"{}", "sub/dataset_info.json": b"{}"})
    assert contents(plan([str(tmp_path)])) == {"a.wav": b"A"}


def test_a_schema_is_found_in_any_file(tmp_path: Path, saved: Path) -> None:
    for path in (saved / "five").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "data-00000-of-00002.arrow").write_bytes(b"no Arrow")
    planned = plan([str(tmp_path)])
    assert planned.carried.names == ["text", "kind"]
    assert [content(item)[:4] for item in read(planned)] == ["Unre", b"RIFF", b"RIFF"]
    assert discover_all([str(tmp_path)]).prefixed


def test_ids_keep_no_audio_in_memory(tmp_path: Path) -> None:
    """Of a file that was fetched whole, a batch is one buffer: ids are copied out of it."""
    batch = audio_batch((b"\0" * (10 << 20), "a.wav"))
    file = pa.PythonFile(io.BytesIO(stream(tmp_path / "x.arrow", *[batch] * 5).read_bytes()), "r")
    tracemalloc.start()
    try:
        paths = _column(file, "audio.path")
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert paths.to_pylist() == ["a.wav"] * 5
    assert held < 1 << 20 < most


def test_datasets_in_memory_are_refused_before_a_row_is_read() -> None:
    rows = iter(range(9))
    streamed = datasets.IterableDataset.from_generator(lambda: ({"row": row} for row in rows))
    whole = Dataset.from_dict({"audio": ["none.wav"]}).cast_column("audio", Audio())  # decoding it fails
    for one in (whole, DatasetDict(train=whole), [whole]):
        with pytest.raises(InputError, match=r"An input is a Dataset.*: ds\.save_to_disk\(DIR\), then give DIR\.$"):
            named(one)
    for one in (streamed, datasets.IterableDatasetDict(train=streamed)):
        with pytest.raises(InputError, match=r"An input is a Iterable.*: give its files, 'hf://datasets/"):
            named(one)
    assert next(rows) == 0
