"""Exports as their consumers read them: lhotse, webdataset, datasets, Megatron's IndexedDataset, numpy."""

import datetime as dt
import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import lhotse
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from pyarrow.fs import LocalFileSystem

from pipeline import export_run, open_run
from pipeline.errors import InputError
from pipeline.export import mds
from pipeline.export.records import text_column
from pipeline.run.layout import sample_key
from pipeline.run.token_layouts import deinterleave
from pipeline.run.write import write_parts
from tests.helpers.exported import TEXTS, expected_codes, make_many, make_run
from tests.helpers.rows import coded_row

SAID = {"speaker": "speaker", "language": "json.lang"}
CODES = expected_codes()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def same(found: dict[str, Any]) -> bool:
    """Every recording once, with its codes, int16."""
    return sorted(found) == sorted(CODES) and all(
        np.asarray(codes).dtype == np.int16 and np.array_equal(codes, CODES[id_]) for id_, codes in found.items()
    )


def test_lhotse(run: Path, tmp_path: Path) -> None:
    export_run(run, "lhotse", tmp_path / "out", text="text", shard_recordings=2, **SAID)
    cuts = list(lhotse.CutSet.from_shar(in_dir=tmp_path / "out" / "shar"))
    assert same({cut.custom["id"]: cut.target_codes.load().T for cut in cuts})
    for cut in cuts:
        array = cut.target_codes
        assert (array.temporal_dim, array.frame_shift, array.shape[0]) == (-1, 0.08, 16)
        assert array.num_frames == len(CODES[cut.custom["id"]])
        assert cut.duration == cut.custom["num_samples"] / 24_000
        (supervision,) = cut.supervisions
        assert (supervision.text, supervision.speaker) == (TEXTS[cut.custom["id"]], "anna")
        assert supervision.language == "German"
    assert {cut.id for cut in cuts} == set(TEXTS)


@pytest.mark.parametrize("to", ["webdataset", "npy", "lhotse"])
def test_a_null_is_not_another_columns_text(tmp_path: Path, to: str) -> None:
    """--text norm of a recording without it, in a run that carries a column "text" too."""
    rows = [coded_row(id_, 1920, text=f"RAW {id_}", norm=pa.array([norm], pa.string())) for id_, norm in NORMS.items()]
    write_parts(pa.concat_tables(rows), LocalFileSystem(), str(tmp_path / "run"))
    export_run(tmp_path / "run", to, tmp_path / "out", text="norm")
    if to == "lhotse":
        cuts = list(lhotse.CutSet.from_shar(in_dir=tmp_path / "out" / "shar"))
        found = {cut.id: (cut.supervisions[0].text, cut.custom["text"]) for cut in cuts}
        assert found == {id_: (norm, norm) for id_, norm in NORMS.items()}
        return
    if to == "npy":
        lines = [json.loads(line) for line in (tmp_path / "out" / "manifest-000000.jsonl").read_text().splitlines()]
    else:
        shard = str(tmp_path / "out" / "shard-000000.tar")
        lines = [sample["json"] for sample in webdataset.WebDataset([shard], shardshuffle=False).decode()]
    assert {line["id"]: line["text"] for line in lines} == NORMS


NORMS = {"a": "said a", "b": None}


def test_webdataset(run: Path, tmp_path: Path) -> None:
    export_run(run, "webdataset", tmp_path / "out", shard_recordings=2, **SAID)
    shards = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert len(shards) == 3
    assert same({sample["json"]["id"]: sample["npy"] for sample in samples})
    keys = {sample["json"]["id"]: sample["__key__"] for sample in samples}
    assert keys["spk1/b.c.wav"] == "spk1/b%2Ec%2Ewav"
    assert keys == {id_: sample_key(id_) for id_ in CODES}  # as of the run's shards of waves
    assert {sample["json"]["language"] for sample in samples} == {"German"}
    assert {sample["json"]["info"]["room"] for sample in samples} == {"studio"}


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets(run: Path, tmp_path: Path, streaming: bool) -> None:
    export_run(run, "hf", tmp_path / "out", text="text", shard_recordings=2, **SAID)
    loaded = datasets.load_dataset(str(tmp_path / "out"), streaming=streaming, cache_dir=str(tmp_path / "cache"))
    rows = list(loaded["train"])
    assert same({row["id"]: np.array(row["codes"], np.int16) for row in rows})
    assert {row["id"]: row["text"] for row in rows} == TEXTS
    assert {(row["language"], row["info"]["room"], row["score"]) for row in rows} == {("German", "studio", 0.5)}
    features = loaded["train"].features
    assert features["codes"] == datasets.List(datasets.List(datasets.Value("int16"), length=16))
    assert not {"chunk", "chunks", "first_frame"} & set(features)


def test_row_groups_are_small_and_no_version_of_datasets_is_named(tmp_path: Path) -> None:
    make_many(tmp_path / "run", 600, 70)
    export_run(tmp_path / "run", "hf", tmp_path / "out")
    (part,) = (tmp_path / "out" / "data").glob("*.parquet")
    assert (
        pq.read_schema(part).metadata is None
    )  # "huggingface" with features of version 4 keeps version 3 from loading
    metadata = pq.read_metadata(part)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [256, 256, 88]


def test_row_groups_of_long_recordings_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_many(tmp_path / "run", 60, 7)
    monkeypatch.setattr("pipeline.export.parquet.ROW_GROUP_BYTES", 1)
    export_run(tmp_path / "run", "hf", tmp_path / "out")
    (part,) = (tmp_path / "out" / "data").glob("*.parquet")
    metadata = pq.read_metadata(part)
    assert max(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)) <= 7
    assert pq.read_table(part)["id"].to_pylist() == [one.id for one in open_run(tmp_path / "run")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"t": "half \\ud83d"}', "half ?"),
        ('{"t": "\\ud83d\\ude00"}', "\U0001f600"),
        ('{"t": ["\\ud83d"]}', '["?"]'),
        ("{}", None),
        ("not JSON", None),
        ("[" * 200_000, None),
        ("9" * 5_000, None),
    ],
    ids=["half a pair", "a pair", "a list", "nothing", "no JSON", "deep", "long"],
)
def test_json_that_holds_what_no_text_can(text: str, expected: str | None) -> None:
    rows = pa.table({"id": ["a"], "json": [text]})
    assert text_column(rows, "json.t").to_pylist() == [expected]


ODD = [
    "a//b",
    "../x",
    "x.",
    ".hidden",
    "a.b/c.d",
    "__x__",
    "a:b",
    "long" * 90,
    "\\x09",
    "ü b",
    "npy",
    "a.npy",
    "a.json",
    "/",
]


def test_odd_ids(tmp_path: Path) -> None:
    """They are file names, tar members and keys; both readers take them apart by dots and slashes."""
    rows = [coded_row(id_, 1920 * (number + 1)) for number, id_ in enumerate(ODD)]
    write_parts(pa.concat_tables(rows), LocalFileSystem(), str(tmp_path / "run"))
    for to in ("lhotse", "webdataset", "npy"):
        export_run(tmp_path / "run", to, tmp_path / to)
    cuts = lhotse.CutSet.from_shar(in_dir=tmp_path / "lhotse" / "shar")
    shard = str(tmp_path / "webdataset" / "shard-000000.tar")
    samples = webdataset.WebDataset([shard], shardshuffle=False).decode()
    manifest = [json.loads(line) for line in (tmp_path / "npy" / "manifest-000000.jsonl").read_text().splitlines()]
    for found in (
        {cut.custom["id"]: cut.target_codes.load().shape[1] for cut in cuts},
        {sample["json"]["id"]: len(sample["npy"]) for sample in samples},
        {row["id"]: len(np.load(tmp_path / "npy" / row["codes"])) for row in manifest},
    ):
        assert found == {id_: number + 1 for number, id_ in enumerate(ODD)}


SCORES = pa.map_(pa.string(), pa.struct([("at", pa.map_(pa.string(), pa.int8()))]))


def test_carried_values_that_are_no_json(tmp_path: Path) -> None:
    odd = {
        "when": pa.array([dt.datetime(2026, 1, 2, 3)]),
        "far": pa.array([2**62], pa.timestamp("us")),
        "raw": pa.array([b"\x00\xff"]),
        "levels": pa.array([[1.5, float("nan"), float("inf")]]),
        "price": pa.array([Decimal("1.20")]),
        "hash": pa.array([b"1234567"], pa.binary(7)),
        "scores": pa.array([[("snr", {"at": [("s", 1)]})]], SCORES),
    }
    write_parts(coded_row("a", 1920, **odd), LocalFileSystem(), str(tmp_path / "run"))
    for to in ("lhotse", "webdataset", "hf"):
        export_run(tmp_path / "run", to, tmp_path / to)
    (cut,) = lhotse.CutSet.from_shar(in_dir=tmp_path / "lhotse" / "shar")
    (sample,) = webdataset.WebDataset([str(tmp_path / "webdataset" / "shard-000000.tar")], shardshuffle=False).decode()
    expected = {"when": "2026-01-02T03:00:00", "raw": "AP8=", "levels": [1.5, None, None], "price": "1.20"}
    for row in (cut.custom, sample["json"]):
        assert expected.items() <= row.items()
        assert "out of range" in row["far"]
    loaded = datasets.load_dataset(str(tmp_path / "hf"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded.features["price"] == datasets.Value("decimal128(3, 2)")
    assert loaded.data.column("raw").to_pylist() == [b"\x00\xff"]
    (row,) = loaded.select_columns(["hash", "scores"])
    assert row["hash"] == b"1234567"
    assert row["scores"] == [{"key": "snr", "value": {"at": [{"key": "s", "value": 1}]}}]


@pytest.mark.filterwarnings("ignore:Transformer Engine and Apex")
def test_megatron(run: Path, tmp_path: Path) -> None:
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")  # no wheel on every platform
    export_run(run, "megatron", tmp_path / "out", shard_recordings=2)
    found = []
    for index in sorted((tmp_path / "out").glob("*.idx")):
        dataset = indexed.IndexedDataset(str(index.with_suffix("")))
        assert dataset.index.dtype == np.uint16
        assert dataset.document_indices.tolist() == list(range(len(dataset) + 1))
        found += [deinterleave(tokens) for tokens in dataset]
    order = [json.loads(line)["id"] for line in manifest(run, tmp_path / "npy")]
    assert same(dict(zip(order, found, strict=True)))


def test_a_named_text_takes_the_place_of_a_carried_column(run: Path, tmp_path: Path) -> None:
    export_run(run, "hf", tmp_path / "hf", speaker="info.room")
    (part,) = (tmp_path / "hf" / "data").glob("*.parquet")
    assert set(pq.read_table(part)["speaker"].to_pylist()) == {"studio"}
    export_run(run, "npy", tmp_path / "npy", speaker="info.room")
    rows = (tmp_path / "npy" / "manifest-000000.jsonl").read_text().splitlines()
    assert {json.loads(row)["speaker"] for row in rows} == {"studio"}


def manifest(run: Path, out: Path) -> list[str]:
    """Lines of the manifests of an npy export, in order."""
    export_run(run, "npy", out, shard_recordings=2)
    return [line for path in sorted(out.glob("manifest-*.jsonl")) for line in path.read_text().splitlines()]


def test_npy(run: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in manifest(run, tmp_path / "out")]
    assert same({row["id"]: np.load(tmp_path / "out" / row["codes"]) for row in rows})
    assert {row["id"]: row["text"] for row in rows} == TEXTS
    assert (tmp_path / "out" / "codes" / "spk1" / "a.flac.npy").is_file()


def test_mds_as_its_specification_reads_it(run: Path, tmp_path: Path) -> None:
    """Not mosaicml-streaming itself: it needs other versions of PyTorch and numpy, and five clouds' clients."""
    export_run(run, "mds", tmp_path / "out", shard_recordings=2, **SAID)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["version"] == 2
    samples = [sample for shard in index["shards"] for sample in read_mds(tmp_path / "out", shard)]
    assert same({sample["id"]: sample["codes"] for sample in samples})
    assert {(sample["speaker"], sample["language"]) for sample in samples} == {("anna", "German")}
    assert {sample["id"]: sample["duration_s"] for sample in samples}["long"] == 7780 / 24_000


def test_an_mds_shard_that_is_too_large() -> None:
    assert mds._offsets(np.array([100, 2**32 - 1])).tolist() == [100, 2**32 - 1]
    with pytest.raises(InputError, match="A shard of 1 recordings has 4294967296 bytes"):
        mds._offsets(np.array([100, 2**32]))


def read_mds(folder: Path, shard: dict[str, Any]) -> list[dict[str, Any]]:
    """Every sample of a shard, as reader.py and encodings.py in streaming/base/format/mds (0.13) take it apart."""
    assert (shard["format"], shard["version"], shard["compression"]) == ("mds", 2, None)
    content = (folder / shard["raw_data"]["basename"]).read_bytes()
    assert len(content) == shard["raw_data"]["bytes"]
    begins = np.frombuffer(content, "<u4", shard["samples"] + 1, 4).tolist()
    assert np.frombuffer(content, "<u4", 1)[0] == shard["samples"]
    assert begins[-1] == len(content)
    description = json.loads(content[4 * len(begins) + 4 : begins[0]])
    assert description == {name: shard[name] for name in description}
    return [read_sample(content[begin:end], shard) for begin, end in itertools.pairwise(begins)]


def read_sample(data: bytes, shard: dict[str, Any]) -> dict[str, Any]:
    place, sizes = 0, []
    for size in shard["column_sizes"]:
        sizes.append(size or int(np.frombuffer(data, "<u4", 1, place)[0]))
        place += 0 if size else 4
    sample: dict[str, Any] = {}
    for name, encoding, size in zip(shard["column_names"], shard["column_encodings"], sizes, strict=True):
        value, place = data[place : place + size], place + size
        if encoding == "ndarray:int16":
            dimensions, kind = value[0] >> 2, ("<u1", "<u2", "<u4", "<u8")[value[0] & 3]
            shape = np.frombuffer(value, kind, dimensions, 1)
            sample[name] = np.frombuffer(value[1 + shape.nbytes :], "<i2").reshape(shape)
        else:
            sample[name] = value.decode() if encoding == "str" else np.frombuffer(value, "<f8")[0]
    assert place == len(data)
    return sample


def test_ids_that_readers_pass_over(tmp_path: Path) -> None:
    ids = ["__held_out__/u.wav", "__x", "a/__b__/u", "x", "x.npy/y"]
    rows = pa.concat_tables([coded_row(id_, 1920) for id_ in ids])
    write_parts(rows, LocalFileSystem(), str(tmp_path / "run"))
    for to in ("webdataset", "npy"):
        export_run(tmp_path / "run", to, tmp_path / to)
    shard = str(tmp_path / "webdataset" / "shard-000000.tar")
    samples = list(webdataset.WebDataset([shard], shardshuffle=False).decode())
    assert sorted(sample["json"]["id"] for sample in samples) == sorted(ids)
    lines = [json.loads(line) for line in (tmp_path / "npy" / "manifest-000000.jsonl").read_text().splitlines()]
    assert all(np.load(tmp_path / "npy" / line["codes"]).shape == (1, 16) for line in lines)
    assert len({line["codes"] for line in lines}) == len(ids)


def test_structs_that_lhotse_would_take_for_manifests(tmp_path: Path) -> None:
    video = {"width": 1920, "height": 1080, "fps": 25.0}
    more = {"video": pa.array([video]), "nested": pa.array([{"a": 1, "array": [1]}]), "info": pa.array([{"room": 1}])}
    write_parts(coded_row("a", 1920, **more), LocalFileSystem(), str(tmp_path / "run"))
    export_run(tmp_path / "run", "lhotse", tmp_path / "out")
    (cut,) = lhotse.CutSet.from_shar(in_dir=tmp_path / "out" / "shar")
    assert json.loads(cut.custom["video"]) == video
    assert json.loads(cut.custom["nested"]) == {"a": 1, "array": [1]}
    assert cut.custom["info"] == {"room": 1}
