"""Ways to damage a run that holds "a", "b/c" and the three chunks of "long" in several parts, and a failure, "bad"."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from actors.pools.arrow import codes_array
from pipeline.run.layout import parts

LOCAL = LocalFileSystem()


def part_of(run: Path, id_: str, chunk: int = 0) -> Path:
    """The part that holds a chunk."""
    return next(
        Path(path)
        for path in parts(LOCAL, str(run), "codes")
        if (id_, chunk) in [(r["id"], r["chunk"]) for r in pq.read_table(path, columns=["id", "chunk"]).to_pylist()]
    )


def failures_of(run: Path) -> Path:
    """The first part of failures."""
    return Path(parts(LOCAL, str(run), "failures")[0])


def put(path: Path, name: str, column: pa.Array) -> None:
    """Write a part again with another column `name`."""
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(rows.column_names.index(name), name, column), path)


def torn(run: Path) -> None:
    path = part_of(run, "a")
    path.write_bytes(path.read_bytes()[:-50])


def empty(run: Path) -> None:
    part_of(run, "a").write_bytes(b"")


def text(run: Path) -> None:
    part_of(run, "a").write_bytes(b"no Parquet at all\n" * 100)


def zeros(run: Path) -> None:
    """Zeros, as a file system may leave them after a power cut."""
    path = part_of(run, "a")
    path.write_bytes(bytes(path.stat().st_size))


def a_bit(run: Path) -> None:
    """Flip one bit of the codes: only a checksum detects it."""
    path = part_of(run, "a")
    content = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    begin = next(column for column in columns if column.path_in_schema.startswith("codes.")).data_page_offset
    content[begin + 60] ^= 1
    path.write_bytes(content)


def a_folder(run: Path) -> None:
    path = part_of(run, "a")
    path.unlink()
    path.mkdir()
    (path / "x").write_bytes(b"x")


def a_link_to_nowhere(run: Path) -> None:
    path = part_of(run, "a")
    path.unlink()
    path.symlink_to(run / "gone.parquet")


def other_columns(run: Path) -> None:
    path = part_of(run, "a")
    pq.write_table(pq.read_table(path).drop_columns(["num_samples"]), path)


def other_types(run: Path) -> None:
    path = part_of(run, "a")
    put(path, "chunk", pa.array(["one"] * pq.read_metadata(path).num_rows))


def other_codes(run: Path) -> None:
    path = part_of(run, "a")
    frames = pq.read_table(path, columns=["num_frames"])["num_frames"].to_pylist()
    put(path, "codes", pa.array([[[0] * 8] * n for n in frames], pa.list_(pa.list_(pa.int16(), 8))))


def null_codes(run: Path) -> None:
    path = part_of(run, "a")
    put(path, "codes", codes_array([None] * pq.read_metadata(path).num_rows))


def short_codes(run: Path) -> None:
    path = part_of(run, "a")
    put(path, "codes", codes_array([np.zeros((7, 16), np.int16)] * pq.read_metadata(path).num_rows))


def null_ids(run: Path) -> None:
    path = part_of(run, "a")
    put(path, "id", pa.nulls(pq.read_metadata(path).num_rows, pa.string()))


def foreign(run: Path) -> None:
    pq.write_table(pa.table({"text": ["a table of somebody's"]}), run / "codes" / "part-0000.parquet")


def twice_a_name(run: Path) -> None:
    path = part_of(run, "a")
    rows = pq.read_table(path)
    pq.write_table(rows.append_column("id", rows["id"]), path)


IN_CODES: tuple[Callable[[Path], None], ...] = (
    *(torn, empty, text, zeros, a_bit, a_folder, other_columns, other_types, other_codes),
    *(null_codes, short_codes, null_ids, foreign, twice_a_name),
)


def torn_failures(run: Path) -> None:
    failures_of(run).write_bytes(b"PAR1")


def a_folder_of_failures(run: Path) -> None:
    path = failures_of(run)
    path.unlink()
    path.mkdir()


def failures_without_error(run: Path) -> None:
    put(failures_of(run), "error", pa.nulls(1, pa.string()))


def failures_of_other_types(run: Path) -> None:
    put(failures_of(run), "stage", pa.array([[1]]))


IN_FAILURES = (torn_failures, a_folder_of_failures, failures_without_error, failures_of_other_types)
