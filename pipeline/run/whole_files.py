"""Recordings that are channels of a file, or stretches of its speech -> the files of which all are there."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.part_keys import PLACE, PartKeys
from pipeline.schema import EACH, file_ids, spoken_ids
from pipeline.storage.text import id_hashes

PLACED = pa.schema([("id", pa.large_string()), ("chunk", pa.int32()), *((name, pa.int32()) for name in PLACE)])

MARK = "@ch"


def files_done(coded: list[PartKeys], failed: list[PartKeys], partial: list[str]) -> pa.ChunkedArray:
    """`whole_files` of the parts of a run, in which the recordings `partial` lack chunks."""
    rows, others = (pa.concat_tables([PLACED.empty_table(), *(one.placed for one in some)]) for some in (coded, failed))
    firsts = rows.filter(pc.equal(rows["chunk"], 0))
    lacking = pc.is_in(firsts["id"], value_set=pa.array(partial, pa.large_string()))
    return whole_files(firsts.filter(pc.invert(lacking)), others)


def whole_files(coded: pa.Table, failed: pa.Table) -> pa.ChunkedArray:
    """The ids of files of which each channel or stretch of speech is a recording, all of them in codes or in failures.

    Id and PLACE of a row of each: `coded`, whole recordings, and `failed`. Where no row tells how many channels a file
    has (they are of an older version), those that failed must be all from 1 on.
    """
    names = ["id", *PLACE]
    rows = pa.concat_tables([one.select(names).cast(PLACED.remove(1)) for one in (coded, failed)])
    spoken = _all_spoken(rows)
    rows = pa.concat_tables([rows.filter(rows["stretches"].is_null()), spoken])
    rows = rows.filter(pc.greater(rows["channel"], EACH))
    files = file_ids(rows["id"])
    mark = pa.scalar(MARK, pa.large_string())
    apart = pc.equal(pc.binary_join_element_wise(files, rows["channel"].cast(pa.large_string()), mark), rows["id"])
    rows = rows.append_column("file", files).filter(apart)
    found, ids = _by(rows, "file", [("channel", "count_distinct"), ("channel", "max"), ("source_channels", "max")])
    expected = pc.max_element_wise(found["channel_max"], found["source_channels_max"])
    whole = ids.filter(pc.equal(found["channel_count_distinct"], expected))
    return pa.chunked_array([*spoken["id"].chunks, *whole.chunks], pa.large_string())


def _all_spoken(rows: pa.Table) -> pa.Table:
    """What has all its stretches of speech among `rows`, a row each with its own id."""
    rows = rows.filter(rows["stretches"].is_valid())
    rows = rows.append_column("stretch", _hashes(rows["id"])).set_column(0, "id", spoken_ids(rows["id"]))
    found, ids = _by(rows, "id", [("stretch", "count_distinct"), *((name, "max") for name in PLACE)])
    found = found.append_column("id", ids)
    found = found.filter(pc.equal(found["stretch_count_distinct"], found["stretches_max"]))
    return found.select(["id", *(f"{name}_max" for name in PLACE)]).rename_columns(["id", *PLACE])


def _by(rows: pa.Table, name: str, sums: list[tuple[str, str]]) -> tuple[pa.Table, pa.ChunkedArray]:
    """`rows` grouped by the text in a column, and the text of each group. Grouped by its hashes: of 2 GiB of text
    Arrow's groups have other text than their rows."""
    keyed = rows.append_column("key", _hashes(rows[name])).append_column("at", pa.array(np.arange(len(rows))))
    found = keyed.group_by("key").aggregate([("at", "min"), *sums])
    return found, rows[name].take(found["at_min"])


def _hashes(ids: pa.ChunkedArray) -> pa.Array:
    """`id_hashes` in Arrow."""
    return pa.Array.from_buffers(pa.binary(16), len(ids), [None, pa.py_buffer(id_hashes(ids))])
