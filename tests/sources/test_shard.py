"""Which shard a recording is in: by its id, with its container or file, whatever else there is."""

import itertools
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import SettingsError
from pipeline.sources.inputs import discover_all
from pipeline.sources.plan import divide
from pipeline.sources.shard import Shard, corpus_fingerprint, of_shard, parse_shard
from tests.helpers.shards import read, write_files, write_parquet, write_tar


def ids(inputs: list[str], shard: Shard | None) -> list[str]:
    return sorted(item.id for item in read(divide(of_shard(discover_all(inputs), shard))))


def spread(inputs: list[str], count: int) -> list[list[str]]:
    return [ids(inputs, Shard(index, count)) for index in range(count)]


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_every_recording_is_in_one_shard(tmp_path: Path, count: int) -> None:
    write_files(tmp_path, {f"{number}.wav": b"x" for number in range(100)})
    write_tar(tmp_path / "s.tar", [(f"{number}.wav", b"x") for number in range(5)])
    write_parquet(tmp_path / "p.parquet", [{"bytes": b"x", "path": None}] * 6)
    found = spread([str(tmp_path)], count)
    assert sorted(itertools.chain(*found)) == ids([str(tmp_path)], None)
    if count == 7:
        assert all(5 <= len(one) <= 35 for one in found)
        for owner in ("s.tar/", "p.parquet/"):
            assert sum(any(id_.startswith(owner) for id_ in one) for one in found) == 1


def test_shards_are_stable(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{number}.wav": b"x" for number in range(20)})
    before = spread([str(tmp_path)], 3)
    assert before[0] == ids([str(tmp_path)], Shard(0, 3))
    write_files(tmp_path, {f"new-{number}.wav": b"x" for number in range(20)})
    after = spread([str(tmp_path)], 3)
    assert [[id_ for id_ in one if not id_.startswith("new")] for one in after] == before
    assert before[0] == [
        "1.wav",
        "14.wav",
        "15.wav",
        "16.wav",
        "19.wav",
        "4.wav",
        "5.wav",
        "6.wav",
        "9.wav",
    ]  # as in every version


def test_segments_stay_with_their_file(tmp_path: Path) -> None:
    rows = [(f"{file}.wav", float(start)) for file in range(12) for start in range(10)]
    lines = [f'{{"path": "{path}", "start_s": {start}, "end_s": {start + 1}}}' for path, start in rows]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    found = spread([str(tmp_path / "list.jsonl")], 4)
    assert sum(map(len, found)) == 120
    assert sum(len({id_.partition("#")[0] for id_ in one}) for one in found) == 12


def test_a_shard_alone_keeps_its_bare_names(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "s.tar", [("a.wav", b"x"), ("b.wav", b"x")])
    found = spread([str(tar)], 3)
    assert sorted(found) == [[], [], ["a.wav", "b.wav"]]


def test_the_fingerprint_is_of_the_whole(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{number}.wav": b"x" for number in range(9)})
    first = corpus_fingerprint(discover_all([str(tmp_path)]))
    assert corpus_fingerprint(discover_all([str(tmp_path)])) == first
    write_files(tmp_path, {"new.wav": b"x"})
    assert corpus_fingerprint(discover_all([str(tmp_path)])) != first


def test_what_travels_is_that_of_the_whole(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": b"x"})
    write_tar(tmp_path / "s.tar", [("b.wav", b"x")])
    for index in range(2):
        planned = divide(of_shard(discover_all([str(tmp_path)]), Shard(index, 2)))
        assert planned.carried == pa.schema([("json", pa.string()), ("txt", pa.string())])


def test_shards_in_words() -> None:
    assert parse_shard("3/16") == Shard(3, 16)
    assert str(parse_shard("0/1")) == "0/1"
    for text in ("16/16", "x", "1/", "/2", "-1/2", "1/0", " 1/2", "1/9999999", "12345678/2"):
        with pytest.raises(SettingsError, match="0 <= I < N"):
            parse_shard(text)
