"""`--limit N`: units by kind -> the first N recordings: files, then the members of containers, in the inputs' order.

Which these are depends on the inputs alone: recordings that are committed count too, so that a rerun adds nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.errors import SettingsError
from pipeline.sources.task import Kind


def refuse_limit(limit: int | None) -> None:
    """Raise SettingsError for a limit that no recording is within."""
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise SettingsError(f"limit {limit!r}: expected at least 1 recording; --dry-run reads none")


@dataclass(frozen=True)
class First:
    """What a limit leaves."""

    units: Mapping[Kind, pa.Table]
    limits: Mapping[Kind, int]  # recordings of the containers of a kind, which one task then reads: it counts them
    cut: bool  # whether any is left out; of containers, whether any may be


def first_recordings(
    units: Mapping[Kind, pa.Table], limit: int | None, count: Callable[[Kind, pa.Table, int], int]
) -> First:
    """`units` in the order of reading, files first. `count`(kind, units, most) opens containers; it is called only for
    those that another kind of containers follows."""
    if limit is None:
        return First(units, {}, False)
    kept, limits, left = dict(units), dict[Kind, int](), limit
    filled = [kind for kind in units if units[kind].num_rows]
    for kind in filled:
        if kind == "files" or not left:
            kept[kind] = units[kind].slice(0, left)
            left -= kept[kind].num_rows
            continue
        limits[kind] = left
        left -= count(kind, units[kind], left) if kind != filled[-1] else left
    cut = bool(limits) or any(kept[kind].num_rows < units[kind].num_rows for kind in filled)
    return First(kept, limits, cut)
