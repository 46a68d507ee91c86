"""`--shard I/N`: inputs as discovered -> the part of them that one of N independent runs reads."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.errors import SettingsError
from pipeline.sources.found import Found
from pipeline.sources.plan import Discovered
from pipeline.storage.text import id_hashes

MAX_SHARDS = 1_000_000


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a corpus, from 0, as SLURM's job arrays number their tasks by default."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str) -> Shard:
    """ "3/16" -> the fourth of 16. Raises SettingsError."""
    found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text)
    index, count = map(int, found.groups()) if found else (0, 0)
    if not 0 <= index < count <= MAX_SHARDS:
        raise SettingsError(
            f"shard {text!r}: expected I/N with 0 <= I < N <= {MAX_SHARDS:,}, such as 0/4, 1/4, 2/4 and 3/4 for four"
            " runs (SLURM: --array=0-3 and --shard $SLURM_ARRAY_TASK_ID/4)"
        )
    return Shard(index, count)


def of_shard(inputs: Discovered, shard: Shard | None) -> Discovered:
    """What `shard` (None: all) holds of `inputs`: recordings, and whole containers, by a hash of their ids.

    The same id is always in the same shard, whatever else the inputs hold. Columns and names of ids are those of all.
    """
    return inputs if shard is None else replace(inputs, found=[_part(one, shard) for one in inputs.found])


def _part(one: Found, shard: Shard) -> Found:
    hashes = id_hashes(one.units["@id"])
    first = np.frombuffer(hashes.tobytes(), ">u8")[::2]  # 8 bytes of the 16
    units = one.units.filter(pa.array(first % np.uint64(shard.count) == shard.index))
    known = units.num_rows if one.kind == "files" else one.recordings if units.num_rows == one.units.num_rows else None
    return replace(one, units=units, recordings=known)
