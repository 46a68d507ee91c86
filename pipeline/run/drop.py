"""What a rerun no longer wants of a run: recordings to do anew, skipped ones."""

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from pipeline.run.keys import Keys
from pipeline.run.layout import CODES, FAILURES, FILES, SKIPPED, WAVES, WaveKind, parts, shards
from pipeline.run.settle import NOT_CODED, keep_keyed
from pipeline.run.shards import drop_hashed, is_part
from pipeline.run.write_waves import remove_waves
from pipeline.storage.filesystem import delete_files
from pipeline.storage.id_set import hashes_among


def drop_skipped(fs: FileSystem, run: str) -> None:
    """Forget which recordings were skipped: other bounds are asked for."""
    delete_files(fs, parts(fs, run, SKIPPED))


def drop(keys: Keys, ids: set[bytes], kind: WaveKind = FILES) -> dict[str, str | None]:
    """Delete all that is committed of the recordings with these `id_hashes`. Returns as `keep_rows` does."""
    fs, waves, hashes = keys.fs, f"{keys.run}/{WAVES}", np.array(sorted(ids), "S16")
    coded, failed = (
        {number: ~hashes_among(part.hashes, hashes) for number, part in enumerate(keys.parts(*folders))}
        for folders in ((CODES,), NOT_CODED)
    )
    if kind.layout == "tar":  # the shards of parts go with their rows
        drop_hashed(fs, [path for path in shards(fs, waves) if not is_part(path)], hashes)
    for number, part in enumerate(keys.parts(CODES)):
        gone = part.ids.filter(pa.array(~coded[number])).unique().to_pylist()
        if gone:
            remove_waves(fs, waves, gone, kind)
    keep_keyed(keys, FAILURES, failed)
    changed = keep_keyed(keys, CODES, coded)
    keys.refresh()
    return changed
