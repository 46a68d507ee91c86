"""What a peer wrote -> its codes by recording; the share of two peers' codes that are equal."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.run.reader import open_run

Codes = dict[str, np.ndarray]
"""Name of the file: int16 [F, 16]."""


def read_codes(peer: str, out: Path) -> Codes:
    """The codes that `peer` (of `pipeline.bench.peers`) wrote to `out`."""
    if peer == "voxmill":
        return {recording.id: recording.codes for recording in open_run(str(out))}
    if peer == "lists":
        rows = map(json.loads, (out / "codes.jsonl").read_text().splitlines())
        return {Path(row["audio"]).name: np.array(row["audio_codes"], np.int16) for row in rows}
    if peer == "ray":
        parquet = pq.read_table(out).to_pylist() if any(out.iterdir()) else []
        return {Path(row["path"]).name: np.array(row["codes"], np.int16) for row in parquet}
    return {file.stem: np.load(file) for file in out.iterdir()}


def equal_share(found: Codes, expected: Codes) -> float | None:
    """Of the codes of recordings that both have, the share that are equal; a frame that one lacks is not equal."""
    equal = total = 0
    for name in found.keys() & expected.keys():
        a, b = found[name], expected[name]
        common = min(len(a), len(b))
        equal += int((a[:common] == b[:common]).sum())
        total += max(a.size, b.size)
    return equal / total if total else None
