"""Arrow columns of every type, filled with values that may not fit: for tests of hostile tables."""

from typing import Any

import pyarrow as pa

from actors.pools.arrow import CODES_TYPE

TYPES = (
    *(pa.null(), pa.bool_(), pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(), pa.float64()),
    *(pa.string(), pa.large_string(), pa.binary(), pa.string_view(), pa.binary(7), pa.date32(), pa.time64("ns")),
    *(pa.timestamp("ns"), pa.timestamp("us"), pa.timestamp("us", "Nowhere/Land"), pa.duration("ns"), pa.uuid()),
    *(pa.decimal128(38, 5), CODES_TYPE, pa.list_(pa.list_(pa.int16())), pa.list_(pa.list_(pa.int16(), 8))),
    *(pa.list_(pa.list_(pa.float32(), 16)), pa.large_list(pa.list_(pa.int64(), 16)), pa.list_(pa.string())),
    *(pa.struct([("a", pa.list_(pa.int32()))]), pa.map_(pa.string(), pa.int32()), pa.list_(pa.int32(), 3)),
    *(pa.dictionary(pa.int32(), pa.string()), pa.json_()),
)


VALUES = (
    *(None, 0, 1, -1, 2**31 - 1, 2**62, -(2**63), 1.5, float("nan"), "", "r1", "\x1b[2J", "nul\0", b"\xff", True),
    *([], [[1] * 16], [[5000] * 16, [-1] * 16], {"a": [1]}),
)


def cells(kind: pa.DataType, values: list[Any]) -> pa.Array:
    """`values` cast to `kind`, null where they do not fit."""
    arrays = []
    for value in values:
        try:
            arrays.append(pa.array([value], kind))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            try:
                arrays.append(pa.array([value]).cast(kind, safe=False))
            except (pa.ArrowException, ValueError):
                arrays.append(pa.nulls(1, kind))
    return pa.concat_arrays(arrays)
