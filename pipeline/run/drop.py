"""What a rerun no longer wants of a run: recordings to do anew, skipped ones."""

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from pipeline.run.keys import Keys, keys_of
from pipeline.run.layout import CODES, FAILURES, FILES, SKIPPED, WAVES, WaveKind, parts, shards
from pipeline.run.settle import OTHERS, keep_keyed
from pipeline.run.shards import drop_hashed, is_part
from pipeline.run.write_waves import remove_waves
from pipeline.storage.filesystem import delete_files
from pipeline.storage.id_set import hashes_among


def drop_skipped(fs: FileSystem, run: str) -> None:
    """Forget which recordings were skipped: other bounds are asked for."""
    delete_files(fs, parts(fs, run, SKIPPED))


def drop(
    fs: FileSystem, run: str, ids: set[bytes], kind: WaveKind = FILES, keys: Keys | None = None
) -> dict[str, str | None]:
    """Delete all that is committed of the recordings with these `id_hashes`. Returns as `keep_rows` does."""
    known, hashes = keys_of(fs, run, keys), np.array(sorted(ids), "S16")
    coded, failed = (
        {number: ~hashes_among(part.hashes, hashes) for number, part in enumerate(known.parts(*folders))}
        for folders in ((CODES,), OTHERS)
    )
    if kind.layout == "tar":  # the shards of parts go with their rows
        drop_hashed(fs, [path for path in shards(fs, f"{run}/{WAVES}") if not is_part(path)], hashes)
    for number, part in enumerate(known.parts(CODES)):
        gone = part.ids.filter(pa.array(~coded[number])).unique().to_pylist()
        if gone:
            remove_waves(fs, f"{run}/{WAVES}", gone, kind)
    keep_keyed(known, FAILURES, failed)
    changed = keep_keyed(known, CODES, coded)
    known.refresh()
    return changed
