"""At the end of a run: what its parts hold, and the sha256 of each."""

import hashlib
from collections.abc import Mapping

import numpy as np
from pyarrow.fs import FileSystem

from actors.contract import SAMPLE_RATE
from pipeline.run.keys import Keys
from pipeline.run.layout import CODES, FAILURES, SKIPPED, parts
from pipeline.storage.at_once import at_once
from pipeline.storage.filesystem import BUFFER_BYTES


def count(keys: Keys, context_samples: int) -> dict[str, int | float]:
    """What the parts hold, and how much audio was encoded a second time as chunks' left context."""
    coded = keys.parts(CODES)
    recordings, frames, samples = (sum(one.sums[name] for one in coded) for name in ("recordings", "frames", "samples"))
    # the first chunks of a recording have less than all
    context = sum(int(np.minimum(one.begins, context_samples).sum()) for one in coded)
    return {
        "recordings": recordings,
        "chunks": sum(map(len, coded)),
        "failures": sum(map(len, keys.parts(FAILURES))),
        "skipped": sum(map(len, keys.parts(SKIPPED))),
        "frames": frames,
        "audio_s": round(samples / SAMPLE_RATE, 3),
        "context_s": round(context / SAMPLE_RATE, 3),
    }


def checksums(fs: FileSystem, run: str, known: Mapping[str, str | None]) -> dict[str, str]:
    """sha256 of every part of codes that is there, by name: `known`, or read where an attempt was killed."""
    paths = {path.rpartition("/")[2]: path for path in parts(fs, run, CODES)}
    unknown = [name for name in paths if known.get(name) is None]
    read = dict(zip(unknown, at_once(lambda name: sha256(fs, paths[name]), unknown), strict=True))
    return {name: known.get(name) or read[name] for name in paths}


def sha256(fs: FileSystem, path: str) -> str:
    """Of a file, read a few megabytes at a time."""
    digest = hashlib.sha256()
    with fs.open_input_stream(path) as file:
        while block := file.read(BUFFER_BYTES):
            digest.update(block)
    return digest.hexdigest()
