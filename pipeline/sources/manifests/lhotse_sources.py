"""lhotse's audio sources and channels -> the file and the channel of each row."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError

TYPES = ("file", "url")
MAX_CHANNELS = 1 << 16


def locate_channels(
    name: str, ids: pa.ChunkedArray, sources: pa.ListArray, channels: pa.ListArray | None
) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
    """`sources` (their type, channels, source) and wanted `channels` (from 0; None: all) of each row -> output rows.

    They are: the row's number, the path, the channel in that file (from 1; null: the file has no others, or all are
    wanted), and what to put behind the id. A row that wants all channels of its one file stays one row, any other
    becomes a row a channel. Raises InputError for sources that are no files, and for channels that they do not have.
    """
    row_of_source = pc.list_parent_indices(sources).to_numpy()
    source = pc.list_flatten(sources)
    if not len(source) or not pa.types.is_struct(source.type):
        raise InputError(f"{name}: no recording has a source")
    _refuse_types(name, ids, row_of_source, pc.struct_field(source, "type"))
    held = pc.struct_field(source, "channels")
    owner, number = pc.list_parent_indices(held).to_numpy(), pc.list_flatten(held).to_numpy()
    row = row_of_source[owner]
    kept = np.ones(len(row), bool)
    asked = np.bincount(row, minlength=len(ids))
    if channels is not None:
        wanted_row, wanted = pc.list_parent_indices(channels).to_numpy(), pc.list_flatten(channels).to_numpy()
        _refuse_numbers(name, number, wanted)
        kept = np.isin(row * MAX_CHANNELS + number, wanted_row * MAX_CHANNELS + wanted)
        asked = np.bincount(wanted_row, minlength=len(ids))
    found = np.bincount(row[kept], minlength=len(ids))
    _refuse_missing(name, ids, (found != asked) | (found == 0))
    return _entries(row, owner, number, kept, found, pc.struct_field(source, "source"))


def _entries(
    row: np.ndarray, owner: np.ndarray, number: np.ndarray, kept: np.ndarray, found: np.ndarray, paths: pa.Array
) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
    held = np.bincount(owner, minlength=len(paths))
    position = np.arange(len(owner)) - np.searchsorted(owner, owner)
    whole = (np.bincount(owner[kept], minlength=len(paths)) == held)[owner] & (found[row] == held[owner])
    chosen = np.flatnonzero(kept & ~(whole & (position > 0)))
    chosen = chosen[np.argsort(row[chosen], kind="stable")]
    whole, alone = whole[chosen], (held[owner[chosen]] == 1)
    marked = ~whole & (found[row[chosen]] > 1)
    channel = pa.array((position[chosen] + 1).astype(np.int32), mask=whole | alone)
    numbers = pa.array((number[chosen] + 1).astype(np.int64)).cast(pa.string())
    marks = pc.if_else(pa.array(marked), pc.binary_join_element_wise("@ch", numbers, ""), "")
    return pa.array(row[chosen]), paths.take(pa.array(owner[chosen])), channel, marks


def _refuse_types(name: str, ids: pa.ChunkedArray, rows: np.ndarray, types: pa.Array) -> None:
    other = np.flatnonzero(pc.invert(pc.is_in(types, pa.array(TYPES))).to_numpy(zero_copy_only=False))
    if len(other):
        kind, id_ = types[int(other[0])].as_py(), ids[int(rows[other[0]])].as_py()
        more = f" ({len(other) - 1:,} more)" if len(other) > 1 else ""
        raise InputError(
            f"{name}: the recording of {id_!r} has a source of type {kind!r}{more}; expected {' or '.join(TYPES)}:"
            " commands are not run; save the audio first (CutSet.save_audios)"
        )


def _refuse_numbers(name: str, *numbers: np.ndarray) -> None:
    for some in numbers:
        bad = (some < 0) | (some >= MAX_CHANNELS)
        if bad.any():
            raise InputError(f"{name}: channel {some[bad][0]}; expected 0 to {MAX_CHANNELS - 1:,}")


def _refuse_missing(name: str, ids: pa.ChunkedArray, missing: np.ndarray) -> None:
    where = np.flatnonzero(missing)
    if len(where):
        more = f" ({len(where) - 1:,} more)" if len(where) > 1 else ""
        id_ = ids[int(where[0])].as_py()
        raise InputError(f"{name}: {id_!r} has no recording, or a channel that its recording has not{more}")
