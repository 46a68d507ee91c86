"""Parts, WAVs and their pieces."""

import io
import os
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile
from pyarrow.fs import LocalFileSystem

from actors.errors import BadCodes
from actors.pools.arrow import codes_array, mark_failures
from pipeline import open_run
from pipeline.audio.wav import wave_header
from pipeline.errors import OutputError
from pipeline.run.layout import WaveKind, parts, wave_path
from pipeline.run.write import GROUP_BYTES, write_in_parts, write_parts, write_table
from pipeline.run.write_waves import join_pieces, remove_pieces, remove_waves, without_wave, write_waves
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from tests.helpers.rows import coded_row, codes_of, failed_row, wave_row

LOCAL = LocalFileSystem()


def test_codes_and_failures_go_to_their_parts(tmp_path: Path) -> None:
    rows = pa.concat_tables([coded_row("a", 1921, text="x"), failed_row("b").append_column("text", pa.array(["y"]))])
    (written,) = write_parts(rows, LOCAL, str(tmp_path)).to_pylist()
    codes = pq.read_table(tmp_path / "codes" / written["codes_part"])
    assert codes.schema.names == [*CODES_SCHEMA.names, "text"]
    assert codes.select(CODES_SCHEMA.names).schema.equals(CODES_SCHEMA)
    assert np.array_equal(codes["codes"].combine_chunks().flatten().flatten().to_numpy().reshape(-1, 16), codes_of(2))
    (failures_part,) = (tmp_path / "failures").iterdir()
    failures = pq.read_table(failures_part)
    assert failures.schema.equals(FAILURES_SCHEMA)
    assert failures.to_pylist()[0]["message"] == "b is broken"
    assert (written["samples"], written["undecoded"]) == (1921, [])


@pytest.mark.parametrize(
    ("rows", "rows_per_part", "expected"),
    [(7, 8, [7]), (8, 8, [8]), (15, 8, [15]), (16, 8, [8, 8]), (17, 8, [8, 9]), (3, 1, [1, 1, 1]), (0, 8, [])],
)
def test_no_small_part_is_left_over(tmp_path: Path, rows: int, rows_per_part: int, expected: list[int]) -> None:
    table = pa.concat_tables([coded_row(str(number), 10) for number in range(rows)] or [coded_row("a", 10).slice(1)])
    written = write_in_parts(table, LOCAL, str(tmp_path), rows_per_part).to_pylist()
    paths = list((tmp_path / "codes").glob("*.parquet"))
    assert sorted(pq.read_metadata(path).num_rows for path in paths) == expected
    assert sorted(one["codes_part"] for one in written if one["codes_part"]) == sorted(path.name for path in paths)
    found = [id_ for path in paths for id_ in pq.read_table(path)["id"].to_pylist()]
    assert (len(paths), sorted(found)) == (len(expected), sorted(map(str, range(rows))))


def test_codes_that_could_not_be_decoded_are_codes(tmp_path: Path) -> None:
    rows = mark_failures(coded_row("a", 1921), {0: BadCodes("no")}, "decode")
    (written,) = write_parts(rows, LOCAL, str(tmp_path)).to_pylist()
    assert (written["samples"], written["undecoded"]) == (1921, ["a"])
    assert pq.read_table(tmp_path / "codes" / written["codes_part"])["id"].to_pylist() == ["a"]


def test_recordings_without_a_wave(tmp_path: Path) -> None:
    write_waves(wave_row("d/a", np.zeros(3, np.int16)), LOCAL, str(tmp_path))
    assert without_wave(LOCAL, str(tmp_path), ["d/a", "a", "d"]) == ["a", "d"]
    remove_waves(LOCAL, str(tmp_path), ["d/a", "a"])
    assert without_wave(LOCAL, str(tmp_path), ["d/a"]) == ["d/a"]


def test_the_same_rows_replace_their_own_part(tmp_path: Path) -> None:
    rows = pa.concat_tables([coded_row("a", 10), failed_row("b")])
    first = write_parts(rows, LOCAL, str(tmp_path))
    assert write_parts(rows, LOCAL, str(tmp_path)).equals(first)
    write_parts(coded_row("c", 10), LOCAL, str(tmp_path))
    assert len(parts(LOCAL, str(tmp_path), "codes")) == 2
    assert len(parts(LOCAL, str(tmp_path), "failures")) == 1


def test_equal_rows_make_equal_files_also_when_they_were_read(tmp_path: Path) -> None:
    lists = pa.array([[{"a": [1]}]], pa.list_(pa.struct([("a", pa.large_list(pa.int8()))])))
    (first,) = write_parts(coded_row("a", 1921, lists=lists), LOCAL, str(tmp_path)).to_pylist()
    rows = pq.read_table(tmp_path / "codes" / first["codes_part"])
    assert write_table(rows, LOCAL, str(tmp_path / "again.parquet")) == first["codes_sha256"]


def test_nothing_to_write_makes_no_part(tmp_path: Path) -> None:
    write_parts(failed_row("b"), LOCAL, str(tmp_path))
    assert parts(LOCAL, str(tmp_path), "codes") == []


@pytest.mark.parametrize("samples", [0, 1, 1919, 1920, 1921])
def test_a_wave_is_pcm16_of_exactly_its_samples(tmp_path: Path, samples: int) -> None:
    pcm = np.arange(samples, dtype=np.int16)
    left = write_waves(pa.concat_tables([wave_row("d/a.flac", pcm), wave_row("bad", None)]), LOCAL, str(tmp_path))
    assert "wave" not in left.column_names
    assert len(left) == 2
    read, rate = soundfile.read(tmp_path / "d" / "a.flac.wav", dtype="int16")
    info = soundfile.info(tmp_path / "d" / "a.flac.wav")
    assert (rate, info.subtype, info.channels) == (24000, "PCM_16", 1)
    assert np.array_equal(read, pcm)
    assert sorted(os.listdir(tmp_path)) == ["d"]


def test_pieces_join_to_one_wave(tmp_path: Path) -> None:
    pieces = [np.full(3840, 1, np.int16), np.full(3840, 2, np.int16), np.full(7, 3, np.int16)]
    for chunk in (2, 0):
        write_waves(wave_row("long", pieces[chunk], chunk, 3), LOCAL, str(tmp_path))
    assert not join_pieces(LOCAL, str(tmp_path), "long", 3, 7687)
    write_waves(wave_row("long", pieces[1], 1, 3), LOCAL, str(tmp_path))
    assert join_pieces(LOCAL, str(tmp_path), "long", 3, 7687)
    read, _ = soundfile.read(tmp_path / "long.wav", dtype="int16")
    assert np.array_equal(read, np.concatenate(pieces))
    remove_pieces(LOCAL, str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["long.wav"]


def test_header_of_more_than_4_gib_is_rf64() -> None:
    samples = 25 * 3600 * 24000
    header = wave_header(samples)
    assert header[:4] == b"RF64"
    assert int.from_bytes(header[28:36], "little") == 2 * samples
    small = soundfile.SoundFile(io.BytesIO(wave_header(4) + b"\0" * 8))
    assert small.frames == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    with pytest.raises(OutputError, match="cannot be written"):
        write_parts(coded_row("a", 10), LOCAL, str(tmp_path))


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_a_folder_is_not_called_as_another_ids_wave(tmp_path: Path, format: str) -> None:
    ids = ["a", f"a.{format}/b", "a.wav/c", "a.flac/d"]
    rows = pa.concat_tables([wave_row(id_, np.full(5, at, np.int16)) for at, id_ in enumerate(ids)])
    write_waves(rows, LOCAL, str(tmp_path), format=format)
    for at, id_ in enumerate(ids):
        read, _ = soundfile.read(wave_path(str(tmp_path), id_, format), dtype="int16")
        assert read.tolist() == [at] * 5
    assert without_wave(LOCAL, str(tmp_path), [*ids, "no"], WaveKind("files", format)) == ["no"]
    remove_waves(LOCAL, str(tmp_path), ids, WaveKind("files", format))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_row_group_holds_a_few_megabytes_of_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.concat_tables([coded_row(f"{number}", 1920 * 25) for number in range(40)])
    for limit, groups in ((25 * 32 * 10, 5), (GROUP_BYTES, 1)):  # a frame takes 32 bytes, offsets some more
        monkeypatch.setattr("pipeline.run.write.GROUP_BYTES", limit)
        name = write_parts(rows, LOCAL, str(tmp_path))["codes_part"][0].as_py()
        assert pq.ParquetFile(tmp_path / "codes" / name).num_row_groups == groups
        run = open_run(tmp_path)
        assert [run[id_].id for id_ in ("0", "9", "39")] == ["0", "9", "39"]
        assert np.array_equal(run["17"].codes, np.array(rows["codes"][17].as_py(), np.int16))


def test_one_recording_is_read_from_its_row_group_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.run.write.GROUP_BYTES", 1)
    name = write_parts(pa.concat_tables([coded_row(id_, 1920) for id_ in "abc"]), LOCAL, str(tmp_path))["codes_part"]
    path = tmp_path / "codes" / name[0].as_py()
    column = pq.ParquetFile(path).metadata.row_group(1).column(16)
    assert column.path_in_schema.startswith("codes.")
    content = bytearray(path.read_bytes())
    middle = column.dictionary_page_offset + column.total_compressed_size - 2
    content[middle] ^= 1
    path.write_bytes(content)
    run = open_run(tmp_path)
    assert [run[id_].id for id_ in "ac"] == ["a", "c"]
    with pytest.raises(OutputError, match="CRC"):
        run["b"]


def test_a_code_takes_its_11_bits(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 2048, (64, 125, 16)).astype(np.int16)
    rows = pa.concat_tables([coded_row(f"r{row}", 125 * 1920, codes=codes_array([codes[row]])) for row in range(64)])
    write_parts(rows, LOCAL, str(tmp_path))
    (path,) = parts(LOCAL, str(tmp_path), "codes")
    assert 8 * Path(path).stat().st_size < 12 * codes.size
    assert np.array_equal(pc.list_flatten(pc.list_flatten(pq.read_table(path)["codes"])), codes.ravel())
