"""`--shard I/N`: inputs as discovered -> the share of them that one of N independent runs reads."""

import hashlib
import re
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from pipeline.errors import SettingsError
from pipeline.sources.found import Found
from pipeline.sources.inputs import Discovered
from pipeline.sources.rows import is_empty, kept
from pipeline.storage.text import id_hashes, redacted

MAX_SHARDS = 1_000_000


@dataclass(frozen=True)
class Shard:
    """One of `count` shares of a corpus, from 0, as SLURM's job arrays number their tasks by default."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str | None) -> Shard | None:
    """ "3/16" -> the fourth of 16; None, which is all, as it is. Raises SettingsError."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", str(text))
    index, count = map(int, found.groups()) if found else (0, 0)
    if not 0 <= index < count <= MAX_SHARDS:
        raise SettingsError(
            f"shard {text!r}: expected I/N with 0 <= I < N <= {MAX_SHARDS:,}, such as 0/4, 1/4, 2/4 and 3/4 for four"
            " runs (SLURM: --array=0-3 and --shard $SLURM_ARRAY_TASK_ID/4)"
        )
    return Shard(index, count)


def of_shard(inputs: Discovered, shard: Shard | None) -> Discovered:
    """What `shard` (None: all) holds of `inputs`. Columns and names of ids are those of all.

    A recording goes by a hash of its id, a container by one of its own, a segment by its file's: a file is read in one
    shard. What else the inputs hold plays no part.
    """
    return inputs if shard is None else replace(inputs, found=[_share(one, shard) for one in inputs.found])


def corpus_fingerprint(inputs: Discovered) -> str:
    """Of all recordings and containers of `inputs`, and the shards they are in: shards of one corpus have the same."""
    hashes = np.concatenate([one for found in inputs.found for one in _both_hashes(found)])
    hashes.sort()
    return hashlib.blake2b(hashes.data, digest_size=16).hexdigest()


def _share(one: Found, shard: Shard) -> Found:
    first = _both_hashes(one)[1].view(">u8")[::2]  # 8 bytes of the 16
    units = kept(one.units, first % np.uint64(shard.count) == shard.index)
    known = units.num_rows if one.kind == "files" else one.recordings if units.num_rows == one.units.num_rows else None
    return replace(one, units=units, recordings=known)


def _both_hashes(one: Found) -> tuple[np.ndarray, np.ndarray]:
    """`id_hashes` of all ids, and of what says in which shard each is: a segment's file, else the id again."""
    ids, starts, ends = (one.units[name] for name in ("@id", "@start_s", "@end_s"))
    own = by_shard = id_hashes(ids)
    if not (is_empty(starts) and is_empty(ends)):
        segment = pc.or_(pc.is_valid(starts), pc.is_valid(ends))
        by_shard = own.copy()
        by_shard[segment.to_numpy()] = id_hashes(redacted(one.units["@location"].filter(segment)))
    return own, by_shard
