"""lhotse's manifests -> a table: cuts (MonoCut, MultiCut); or recordings, cut by the supervisions beside them.

Ids are those of the cuts, else of the supervisions, else of the recordings. Speaker, text, language, gender and the
plain custom fields travel. lhotse counts channels from 0, the table from 1.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.sources.manifests.lhotse_lines import read_rows
from pipeline.sources.manifests.lhotse_sources import locate_channels
from pipeline.sources.manifests.lhotse_text import spoken
from pipeline.sources.manifests.parsed import END, START, Given, Parsed, end_of
from pipeline.sources.rows import taken
from pipeline.storage.text import id_hashes
from pipeline.storage.translate import errors_as

CUTS = frozenset({"start", "duration", "channel", "supervisions"})
MIXED = frozenset({"tracks", "type"})
RECORDINGS = frozenset({"sources", "sampling_rate"})
SUPERVISIONS = frozenset({"recording_id", "start", "duration"})
KINDS = ("MonoCut", "MultiCut", "Cut")
"""Cut: what MonoCut was called once."""
UNCHANGED = ("Resample",)
"""Transforms of recordings that voxmill does itself."""
END_S = 1e-6
"""A cut that ends this close to the end of its recording goes to the end, wherever the decoder sees it."""


def cuts(given: Given) -> Parsed:
    """One row a cut; of a MultiCut of some of a file's channels, or of several files, a row a channel."""
    table = _read(given.name, given.open)
    if "type" in table.column_names:
        other = ~pc.is_in(table["type"], pa.array(KINDS)).to_numpy()
        _refuse(other, table, "type", given.name, f"of a type that is not read; expected {' or '.join(KINDS[:2])}")
    if "recording" not in table.column_names or not pa.types.is_struct(table.schema.field("recording").type):
        raise InputError(f"{given.name}: cuts without recordings; features cannot be tokenized")
    return _joined(given, (_rows(given, piece, piece["recording"].combine_chunks()) for piece in _pieces(table)))


def recordings(given: Given) -> Parsed:
    """One row a supervision, where a file of them lies beside; else one a recording."""
    table = _read(given.name, given.open)
    base = given.name.rpartition("/")[2]
    other = base.replace("recordings", "supervisions")
    opener = given.beside(other) if other != base else None
    if opener is None:
        return _joined(given, (_rows(given, piece.select(["id"]), _recordings(piece)) for piece in _pieces(table)))
    with errors_as(other, InputError):
        segments = _read(other, opener, "recording_id", "start", "duration")
    owners = _owners(given, table, other, segments)
    unused = len(table) - len(np.unique(owners))
    note = f"{given.name}: cut by {other}" + (f"; {unused:,} recordings have no supervision" if unused else "")

    def cut(piece: pa.Table, rows: np.ndarray) -> tuple[pa.Table, list[str]]:
        return _rows(given, piece, _recordings(taken(table, rows)))

    pieces = list(_pieces(segments))
    rows = np.split(owners, np.cumsum([len(piece) for piece in pieces])[:-1])
    return _joined(given, map(cut, pieces, rows), note)


def supervisions(given: Given) -> Parsed:
    """Raises InputError: they name no files."""
    raise InputError(f"{given.name}: lhotse's supervisions; give the file of recordings that lies beside them")


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    """Its chunks, one at a time: text of more than 2 GiB does not fit in one array."""
    return (pa.Table.from_batches([batch]) for batch in table.to_batches())


def _recordings(table: pa.Table) -> pa.StructArray:
    return table.to_struct_array().combine_chunks()


def _owners(given: Given, table: pa.Table, other: str, segments: pa.Table) -> np.ndarray:
    """int64 [segments]: the row of `table` that holds the recording of each. Raises InputError where there is none, or
    several. `other`: the file of `segments`."""
    known = _hashes(table["id"])
    order = np.argsort(known, kind="stable")
    known = known[order]
    again = order[1:][known[1:] == known[:-1]]
    if len(again):
        twice = table["id"][int(again[0])].as_py()
        raise InputError(f"{given.name}: two recordings have the id {twice!r}; {other} cannot tell them apart")
    wanted = _hashes(segments["recording_id"])
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    unknown = known[at] != wanted
    _refuse(unknown, segments, "recording_id", other, f"of a recording that {given.name} does not have")
    return order[at]


def _hashes(ids: pa.ChunkedArray) -> np.ndarray:
    """`id_hashes` of ids, which may be numbers; of null that of ""."""
    return id_hashes(pc.fill_null(ids.cast(pa.string()), ""))


def _joined(given: Given, pieces: Iterator[tuple[pa.Table, list[str]]], *notes: str) -> Parsed:
    tables, names = zip(*pieces, strict=True)
    left_out = dict.fromkeys(name for some in names for name in some)
    if left_out:
        notes = (*notes, f"{given.name}: left out, for they are no plain values: {', '.join(left_out)}")
    return Parsed(pa.concat_tables(tables), "path", notes)


def _read(name: str, opener: Callable[[], BinaryIO], *needed: str) -> pa.Table:
    table = read_rows(opener)
    if missing := [column for column in ("id", *needed) if column not in table.column_names]:
        raise InputError(f"{name}: no {' and no '.join(missing)}; found {', '.join(table.column_names)}")
    return table


def _refuse(bad: np.ndarray, table: pa.Table, column: str, name: str, why: str) -> None:
    where = np.flatnonzero(bad)
    if len(where):
        id_, value = (table[name][int(where[0])].as_py() for name in ("id", column))
        more = f" ({len(where) - 1:,} more such rows)" if len(where) > 1 else ""
        raise InputError(f"{name}: {id_!r} with {column} {value!r} is {why}{more}")


def _rows(given: Given, table: pa.Table, whole: pa.StructArray) -> tuple[pa.Table, list[str]]:
    """Output rows, and the fields that do not travel. `whole`: of each row of `table`, its recording."""
    _refuse_transformed(given, table, whole)
    channels = table["channel"].combine_chunks() if "channel" in table.column_names else None
    rows, paths, channel, marks = locate_channels(given.name, table["id"], pc.struct_field(whole, "sources"), channels)
    told, left_out = spoken(table)
    columns = {"id": table["id"].combine_chunks().cast(pa.string()), **_bounds(table, whole), **told}
    result = pa.table({name: column.take(rows) for name, column in columns.items()})
    result = result.set_column(0, "id", pc.binary_join_element_wise(result["id"], marks, ""))
    return result.append_column("path", paths).append_column("channel", channel), left_out


def _bounds(table: pa.Table, whole: pa.StructArray) -> dict[str, pa.Array]:
    """start_s and end_s, float64; null where the row begins and ends with its recording."""
    if "start" not in table.column_names or "duration" not in table.column_names:
        return {}
    start, duration = (table[name].cast(pa.float64()).combine_chunks() for name in ("start", "duration"))
    lasts = pc.struct_field(whole, "duration").cast(pa.float64())
    end = end_of(start, duration)
    to_its_end = pc.fill_null(pc.less(pc.abs(pc.subtract(end, lasts)), END_S), False)
    nothing = pa.scalar(None, pa.float64())
    return {START: pc.if_else(pc.equal(start, 0), nothing, start), END: pc.if_else(to_its_end, nothing, end)}


def _refuse_transformed(given: Given, table: pa.Table, whole: pa.StructArray) -> None:
    """Raises InputError for recordings that lhotse would change as it reads them: their speed, their volume."""
    index = whole.type.get_field_index("transforms")
    if index < 0 or not pa.types.is_list(whole.type.field(index).type):
        return
    transforms = pc.struct_field(whole, "transforms")
    named = pc.list_flatten(transforms)
    names = pc.struct_field(named, "name") if pa.types.is_struct(named.type) else pa.nulls(len(named), pa.string())
    other = pc.invert(pc.is_in(names, pa.array(UNCHANGED)))
    if pc.any(other).as_py():
        at = int(np.flatnonzero(other.to_numpy(zero_copy_only=False))[0])
        id_ = table["id"][pc.list_parent_indices(transforms)[at].as_py()].as_py()
        raise InputError(
            f"{given.name}: the recording of {id_!r} is changed by lhotse as it is read ({names[at].as_py()}); save its"
            " audio first (CutSet.save_audios)"
        )
