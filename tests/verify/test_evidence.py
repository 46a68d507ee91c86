"""What `check` keeps of a run: keys, not texts; ids are read again, from the parts that hold them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from actors.pools.arrow import codes_array
from pipeline.errors import InputError
from pipeline.run.row_faults import Fault, row_faults
from pipeline.run.write import write_failures, write_table
from pipeline.schema import FAILURES_SCHEMA
from pipeline.verify import examine
from pipeline.verify import rows as rows_module
from pipeline.verify.evidence import Evidence, gather, look
from tests.helpers.rows import coded_row

LOCAL = LocalFileSystem()


def gathered(run: Path, *parts: str) -> Evidence:
    """A run of parts of codes of these recordings, a letter each."""
    (run / "codes").mkdir(parents=True)
    for number, ids in enumerate(parts):
        rows = pa.concat_tables([coded_row(id_, 1920) for id_ in ids])
        pq.write_table(rows.drop_columns(["stage", "error", "message"]), run / "codes" / f"part-{number}.parquet")
    return gather(look(LOCAL, str(run)))


def test_a_row_without_faults_takes_17_bytes(tmp_path: Path) -> None:
    rows = [{"id": f"f{n}", "source": "/x", "stage": "read", "error": "e", "message": "m" * 99} for n in range(9)]
    write_failures(pa.Table.from_pylist(rows, FAILURES_SCHEMA), LOCAL, str(tmp_path))
    found = gathered(tmp_path, "abc", "def")
    columns = [found.coded.keys, found.recordings.whole, found.recordings.samples, found.recordings.twice]
    assert sum(column.nbytes for column in columns) == 17 * 6
    assert [table.nbytes for table in (found.odd, found.coded.in_file, found.failed.in_file)] == [0, 0, 0]
    assert found.failed.keys.nbytes == 16 * 9


def test_ids_are_read_again_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, whole = [], pq.ParquetFile

    def look_at(path: str, **more: object) -> pq.ParquetFile:
        opened.append(Path(path).name)
        return whole(path, **more)

    found = gathered(tmp_path, "abc", "d", "ef")
    monkeypatch.setattr(rows_module.pq, "ParquetFile", look_at)
    ids = found.coded.ids(np.array([0, 2, 4, 5]))
    assert (next(ids), opened) == ("a", ["part-0.parquet"])
    assert ([*ids], opened) == (["c", "e", "f"], ["part-0.parquet", "part-2.parquet"])
    assert [*found.coded.ids(np.empty(0, np.int64))] == []
    assert found.coded.all_ids().to_pylist() == [*"abcdef"]


def test_codes_that_take_next_to_nothing_in_their_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, rows, decoded = 900, 64, []
    row = coded_row("a", frames * 1920, codes=codes_array([np.zeros((frames, 16), np.int16)]))
    write_table(pa.concat_tables([row] * rows).drop_columns(["stage", "error", "message"]), LOCAL, f"{tmp_path}/part")

    def faults(table: pa.Table, *more: int | None) -> list[Fault]:
        decoded.append(table["codes"].nbytes)
        return row_faults(table, *more)

    monkeypatch.setattr(examine, "BATCH_BYTES", 1 << 20)
    monkeypatch.setattr(examine, "row_faults", faults)
    found = examine.examine_codes(LOCAL, None, 2048, False, f"{tmp_path}/part")
    assert (found.torn, found.frames) == ("", frames * rows)
    assert 5 * max(decoded) < 1 << 20 < 6 * max(decoded)  # 10 bytes while decoding for each of 2 that are left


@pytest.mark.parametrize("now", ["ab", "abx"])
def test_a_part_that_changed_meanwhile(tmp_path: Path, now: str) -> None:
    found = gathered(tmp_path, "abc")
    pq.write_table(pa.table({"id": [*now]}), found.parts[0])
    with pytest.raises(InputError, match=r"part-0.parquet changed while it was checked. Check again"):
        [*found.coded.ids(np.array([2]))]


def test_a_part_that_is_gone_meanwhile(tmp_path: Path) -> None:
    found = gathered(tmp_path, "abc")
    Path(found.parts[0]).unlink()
    with pytest.raises(InputError, match="no such file"):
        [*found.coded.ids(np.array([2]))]
