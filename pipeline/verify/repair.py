"""A damaged run -> a run that a rerun of `voxmill tokenize` completes. Deletes what cannot be trusted."""

import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem, FileType

from pipeline.errors import InputError, plural
from pipeline.run.alike import absent, beginnings, first_of
from pipeline.run.keep_rows import keep_rows
from pipeline.run.keys import Keys
from pipeline.run.layout import SHARD, is_marked
from pipeline.run.lock import locked
from pipeline.run.parts import parse
from pipeline.run.reader import Run, location_of
from pipeline.run.resume import LACKS_WAVES, mark
from pipeline.run.run_json import salvage, save
from pipeline.run.shards import delete_shard, drop_waves
from pipeline.run.sums import forget_sums
from pipeline.run.sweep import sweep
from pipeline.run.totals import count
from pipeline.storage.filesystem import locate
from pipeline.storage.id_set import hashes_among
from pipeline.storage.location import redact
from pipeline.verify.check_waves import Fault, wave_faults
from pipeline.verify.evidence import Evidence, gather, look
from pipeline.verify.recordings import first_sound, of_several_versions


def repair(location: str | Path | Run) -> list[str]:
    """Under the run's lock: delete torn parts, duplicate and impossible rows, unfinished files; repair run.json.

    A rerun of the same `voxmill tokenize` then adds what is missing; until then there is no _SUCCESS. Returns what was
    done, a line each. Raises InputError if run.json is missing, OutputError if it cannot be repaired or if another
    process writes to the run.
    """
    place = location_of(location)
    fs, run = locate(place)
    summary, wrong = salvage(fs, run)
    if summary is None:
        raise InputError(
            f"{redact(place)} has no run.json: without it the parts cannot be verified. Restore a copy of it, "
            "or tokenize into a new folder."
        )
    with locked(fs, run) as lock:
        if wrong:
            save(fs, run, summary)
        evidence = gather(look(fs, run))
        complete = is_marked(fs, run)
        mark(fs, run, complete=False)
        swept = sweep(fs, run)
        done = [f"repaired {', '.join(wrong)} of run.json"] if wrong else []
        done += [f"deleted {plural(swept, 'unfinished file')}"] if swept else []
        faults = [*wave_faults(evidence)] if evidence.with_waves else []
        done += [*_delete_waves(evidence, faults)]
        changes = [*_delete_parts(evidence), *_drop_rows(evidence)]
        after = gather(look(fs, run)) if changes else evidence  # reading it takes hours of a large run
        dropped = [*_drop_failures(evidence, after)]
        after = gather(look(fs, run)) if dropped else after
        done += [*changes, *dropped]
        lock.check()
        missing = bool(_untrusted(evidence) or _absent(evidence)) or _lacks(evidence, after)
        done += _mend_record(after, summary, missing, bool(faults))
        forget_sums(fs, run)  # run.json has those of all parts
        mark(fs, run, complete=complete and not missing)
        if complete and missing:
            done.append("removed _SUCCESS: run the same `voxmill tokenize` again for what is missing")
        elif faults:
            done.append("waves are missing: run the same `voxmill tokenize` again, it makes them from the codes")
        return done


def _delete_waves(evidence: Evidence, faults: list[Fault]) -> Iterator[str]:
    """Delete waves that are damaged, or not a recording's only one."""
    gone = [fault for fault in faults if fault.deleted]
    for path, some in itertools.groupby(gone, lambda fault: fault.path):
        ids = [fault.id for fault in some]
        if path.endswith(SHARD) and None not in ids:
            drop_waves(evidence.fs, [path], [id_ for id_ in ids if id_ is not None])
        else:
            evidence.fs.delete_file(path)
    if gone:
        first = redact(gone[0].path.removeprefix(f"{evidence.run}/"))
        yield f"deleted {plural(len(gone), 'wave')} that cannot be used, first in {first}: it {gone[0].text}"


def _untrusted(evidence: Evidence) -> list[str]:
    """Parts that cannot be read, or whose sha256 differs from run.json."""
    recorded = evidence.recorded_parts
    changed = []
    for path in evidence.parts:
        name = path.rpartition("/")[2]
        if name in recorded and recorded[name] != evidence.sha256s.get(name):
            changed.append(path)
    return sorted({*evidence.torn, *changed})


def _absent(evidence: Evidence) -> list[str]:
    return sorted(evidence.recorded_parts.keys() - {path.rpartition("/")[2] for path in evidence.parts})


def _delete_parts(evidence: Evidence) -> Iterator[str]:
    for path in _untrusted(evidence):
        _delete(evidence.fs, path)
        if path in evidence.parts:
            delete_shard(evidence.fs, path)
        yield f"deleted {redact(path.removeprefix(evidence.run + '/'))}: torn, or its sha256 differs from run.json"


def _delete(fs: FileSystem, path: str) -> None:
    folder = fs.get_file_info(path).type == FileType.Directory and not os.path.islink(path)
    fs.delete_dir(path) if folder else fs.delete_file(path)


def _kept(evidence: Evidence) -> np.ndarray:
    """bool [rows]: the rows to keep; none of the parts that are deleted."""
    gone, keys, found = set(_untrusted(evidence)), evidence.coded.keys, evidence.recordings
    stays = np.ones(len(keys), bool)
    for path, some in evidence.coded.by_part(stays).items():  # views
        some[:] = path not in gone
    disagree = pc.not_equal(found.incomplete["chunks_min"], found.incomplete["chunks_max"])
    odd = [found.incomplete["row"].filter(disagree).to_numpy(), of_several_versions(keys, evidence.odd)]
    stays &= ~hashes_among(keys, np.sort(keys[np.concatenate(odd)]))
    return first_sound(keys, evidence.odd, found.twice, stays)


def _drop_rows(evidence: Evidence) -> Iterator[str]:
    """Rewrite parts without duplicate rows, impossible rows, and rows that contradict others of their recording."""
    gone = set(_untrusted(evidence))
    masks = {path: mask for path, mask in evidence.coded.by_part(_kept(evidence)).items() if path not in gone}
    dropped = _keep(evidence.fs, masks)
    if dropped:
        rows = plural(dropped, "row")
        yield f"dropped {rows} of codes: duplicate, impossible, or contradicting others of their recording"


def _drop_failures(evidence: Evidence, now: Evidence) -> Iterator[str]:
    """Drop second failures of a recording, and failures of recordings that have all their codes now."""
    keys = evidence.failed.keys
    if not len(keys):
        return
    kept = np.zeros(len(keys), bool)
    kept[first_of(keys)] = True
    kept &= absent([keys], beginnings([now.whole_keys]))
    dropped = _keep(evidence.fs, evidence.failed.by_part(kept))
    if dropped:
        yield f"dropped {plural(dropped, 'failure')} of recordings that have codes or another failure"


def _keep(fs: FileSystem, masks: dict[str, np.ndarray]) -> int:
    """`keep_rows` of the parts that lose some; returns how many rows are gone."""
    keep_rows(fs, {path: mask for path, mask in masks.items() if not mask.all()}, functools.partial(_rows, fs))
    return sum(int((~mask).sum()) for mask in masks.values())


def _rows(fs: FileSystem, path: str) -> pa.Table:
    """All rows of a part, whatever is wrong with them."""
    with pq.ParquetFile(path, filesystem=fs) as file:
        return parse(file, pa.schema([]))


def _lacks(before: Evidence, after: Evidence) -> bool:
    """Whether a recording of the run now has neither all its codes nor a failure."""
    now = beginnings([after.whole_keys, after.failed.keys])
    return bool(absent([before.coded.keys, before.failed.keys], now).any())


def _mend_record(after: Evidence, summary: dict[str, Any], missing: bool, waveless: bool) -> Iterator[str]:
    """Make run.json agree with the parts; a run that lacks recordings is "running" again, one that lacks waves is
    marked as such."""
    counts = count(Keys(after.fs, after.run), summary.get("chunk", {}).get("context_samples", 0))
    mended = {
        **summary,
        "parts": after.sha256s,
        "counts": {**summary.get("counts", {}), **counts},
        "state": "running" if missing else summary["state"],
        **({LACKS_WAVES: True} if waveless else {}),
    }
    if mended != summary:
        save(after.fs, after.run, mended)
        yield "rewrote run.json"
