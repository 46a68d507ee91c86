"""Committed parts -> what is done and what is not; at the end of a run, the pieces of long recordings put together."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSelector, FileSystem, FileType

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE
from pipeline.run.layout import CODES, FAILURES, FILES, SKIPPED, WAVES, WaveKind, parts, shards
from pipeline.run.parts import read_part
from pipeline.run.shards import delete_orphans, delete_shard, follow_part, is_part, keep_one_each
from pipeline.run.transient import may_pass
from pipeline.run.write import part_name, write_table
from pipeline.run.write_waves import join_pieces, remove_pieces, remove_waves
from pipeline.schema import CODES_SCHEMA, EACH, FAILURES_SCHEMA, FINGERPRINT_SCHEMA, file_ids, spoken_ids
from pipeline.storage.atomic import UNFINISHED
from pipeline.storage.text import id_hashes


@dataclass(frozen=True)
class Done:
    """What the parts of a run hold: a rerun does only the rest."""

    ids: pa.Array  # large_string, for over 2 GiB of them: recordings with all their codes, a failure, or skipped
    partial: dict[str, frozenset[int]]  # long recordings of which only these chunks are committed


PLACE = ["channel", "source_channels", "stretches"]
"""Columns that say where in its file a recording is."""
NOTHING = Done(pa.array([], pa.large_string()), {})
"""What a new run holds."""


def committed(fs: FileSystem, run: str, with_skipped: bool = True) -> Done:
    """Read ids, chunks and PLACE, nothing else, of every part. Raises OutputError for a part that is none.

    A file of which each channel, or each stretch of speech, is a recording counts as one, too, once all are there.
    """
    rows = _read(fs, parts(fs, run, CODES), ["id", "chunk", "chunks", *PLACE])
    failures = _others(fs, run, FAILURES, *([SKIPPED] if with_skipped else []))
    failed, (partial, whole) = failures["id"], _long_ones(rows)
    short = rows.filter(pc.equal(rows["chunks"], 1))["id"]
    files = whole_files(_of_whole(rows, partial.keys() - whole), failures)
    ids = _long([*short.chunks, pa.array(whole, pa.string()), *failed.chunks, files])
    finished = set(whole) | set(failed.to_pylist() if partial else [])
    return Done(ids, {id_: frozenset(chunks) for id_, chunks in partial.items() if id_ not in finished})


def _long_ones(rows: pa.Table) -> tuple[dict[str, set[int]], list[str]]:
    """The chunks that are there of recordings of several, and the ids of those that have all."""
    long = rows.filter(pc.greater(rows["chunks"], 1))
    partial: dict[str, set[int]] = {}
    counts: dict[str, int] = {}
    for row in long.to_pylist():
        partial.setdefault(row["id"], set()).add(row["chunk"])
        counts[row["id"]] = row["chunks"]
    return partial, [id_ for id_, chunks in partial.items() if len(chunks) == counts[id_]]


def _of_whole(rows: pa.Table, partial: set[str]) -> pa.Table:
    """A row of each recording that has all its chunks: that is not in `partial`."""
    firsts = rows.filter(pc.equal(rows["chunk"], 0))
    return firsts.filter(pc.invert(pc.is_in(firsts["id"], pa.array(partial, pa.string()))))


def whole_files(coded: pa.Table, failed: pa.Table) -> pa.Array:
    """The ids of files of which each channel or stretch of speech is a recording, all of them in codes or in failures.

    Id and PLACE of a row of each: `coded`, whole recordings, and `failed`. Where no row tells how many channels a file
    has (they are of an older version), those that failed must be all from 1 on.
    """
    rows = pa.concat_tables([one.select(["id", *PLACE]) for one in (coded, failed)])
    spoken = _all_spoken(rows)
    rows = pa.concat_tables([rows.filter(rows["stretches"].is_null()), spoken])
    rows = rows.filter(pc.greater(rows["channel"], EACH))
    files = file_ids(rows["id"])
    apart = pc.equal(pc.binary_join_element_wise(files, rows["channel"].cast(pa.string()), "@ch"), rows["id"])
    rows = rows.append_column("file", files).filter(apart)
    found = rows.group_by("file").aggregate(
        [("channel", "count_distinct"), ("channel", "max"), ("source_channels", "max")]
    )
    expected = pc.max_element_wise(found["channel_max"], found["source_channels_max"])
    whole = found.filter(pc.equal(found["channel_count_distinct"], expected))["file"]
    return pa.concat_arrays([*spoken["id"].chunks, *whole.chunks, pa.array([], pa.string())])


def _whole_files(fs: FileSystem, run: str) -> np.ndarray:
    """The hashes of `whole_files` of a run."""
    rows = _read(fs, parts(fs, run, CODES), ["id", "chunk", "chunks", *PLACE])
    partial, whole = _long_ones(rows)
    return id_hashes(whole_files(_of_whole(rows, partial.keys() - whole), _others(fs, run, FAILURES, SKIPPED)))


def _all_spoken(rows: pa.Table) -> pa.Table:
    """What has all its stretches of speech among `rows`, a row each with its own id."""
    rows = rows.filter(rows["stretches"].is_valid())
    rows = rows.append_column("stretch", rows["id"]).set_column(0, "id", spoken_ids(rows["id"]))
    found = rows.group_by("id").aggregate([("stretch", "count_distinct"), *((name, "max") for name in PLACE)])
    found = found.filter(pc.equal(found["stretch_count_distinct"], found["stretches_max"]))
    return found.select(["id", *(f"{name}_max" for name in PLACE)]).rename_columns(["id", *PLACE])


@dataclass(frozen=True)
class Settled:
    """What `settle` did."""

    parts: dict[str, str | None]  # the sha256 of every part of codes that is new, None for one that is gone
    mixed: bool  # whether recordings lost all they had, because it had different fingerprints


def settle(fs: FileSystem, run: str) -> Settled:
    """Every recording is in codes, whole and once, or in failures or skipped, once: rewrite the parts where it is not.

    A replayed reader or a late writer may commit a chunk twice, or a failure beside codes. Of equal chunks the first
    stays. A recording whose chunks are all there keeps its codes and loses its failures; one that failed and lacks
    chunks loses its codes and keeps one failure: the first that no other attempt would cure (`transient.may_pass`),
    else the first. A skip counts as a failure here, after those. Chunks of different fingerprints are never joined: the
    recording loses all of them, and is missing then. A file all of whose channels or stretches of speech are there has
    no failure of its own: a reader before the last one may not have reached it.
    """
    coded, failed = _keys(fs, run, CODES, ["chunk", "chunks", PRINT]), _keys(fs, run, FAILURES, [PASSING])
    first = _first(coded["hash"], coded["chunk"])
    ids, rows, counts = np.unique(coded["hash"][first], return_index=True, return_counts=True)
    prints = coded["hash"][_first(coded["hash"], coded[PRINT])]
    mixed = prints[np.isin(np.arange(len(prints)), _first(prints), invert=True)]
    whole = np.setdiff1d(ids[counts == coded["chunks"][first][rows]], mixed)
    files = _whole_files(fs, run) if len(failed["hash"]) else whole[:0]
    failing = np.isin(failed["hash"], np.concatenate([whole, files]), invert=True)
    lost = np.isin(coded["hash"], np.concatenate([failed["hash"][failing], mixed]))
    kept = np.zeros(len(coded["hash"]), bool)
    kept[first] = True
    changed = _keep(fs, run, CODES, kept & ~lost, coded["part"])
    kept = np.zeros(len(failed["hash"]), bool)
    kept[_first(failed["hash"], least=failed[PASSING])] = True
    _keep(fs, run, FAILURES, kept & failing, failed["part"])
    return Settled(changed, bool(len(mixed)))


def drop_skipped(fs: FileSystem, run: str) -> None:
    """Forget which recordings were skipped: other bounds are asked for."""
    for path in parts(fs, run, SKIPPED):
        fs.delete_file(path)


def drop(fs: FileSystem, run: str, ids: set[bytes], kind: WaveKind = FILES) -> dict[str, str | None]:
    """Delete all that is committed of the recordings with these `id_hashes`. Returns as `keep_rows` does."""
    hashes = np.array(sorted(ids), "S16")
    coded, failed = _keys(fs, run, CODES, []), _keys(fs, run, FAILURES, [])
    kept = np.isin(coded["hash"], hashes, invert=True)
    paths = parts(fs, run, CODES)
    for number in np.unique(coded["part"][~kept]).tolist():
        names = read_part(fs, paths[number], CODES_SCHEMA, ["id"])["id"]
        gone = names.filter(pa.array(~kept[coded["part"] == number])).unique().to_pylist()
        remove_waves(fs, f"{run}/{WAVES}", gone, kind)
    _keep(fs, run, FAILURES, np.isin(failed["hash"], hashes, invert=True), failed["part"])
    return _keep(fs, run, CODES, kept, coded["part"])


PRINT = "print"
"""A column of `_keys`: a hash of a chunk's fingerprint; 0 for recordings of one chunk."""
PASSING = "passing"
"""A column of `_keys`: 1 for a failure that another attempt may not meet, else 0."""
COMPUTED = {PRINT: ["chunks", *FINGERPRINT_SCHEMA.names], PASSING: ["error", "message"]}
"""What these are computed from."""


def _paths(fs: FileSystem, run: str, folder: str) -> list[str]:
    """The parts of codes, or those of FAILURES and then of SKIPPED: a recording is in only one of these three."""
    return parts(fs, run, CODES) if folder == CODES else parts(fs, run, FAILURES) + parts(fs, run, SKIPPED)


def _keys(fs: FileSystem, run: str, folder: str, columns: list[str]) -> dict[str, np.ndarray]:
    """Of every row in a folder of parts: the hash of its id, `columns`, and the number of its part; memory is 36 bytes
    a row."""
    read = list(dict.fromkeys(["id", *(one for name in columns for one in COMPUTED.get(name, [name]))]))
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("hash", "part", *columns)}
    schema = CODES_SCHEMA if folder == CODES else FAILURES_SCHEMA
    for number, path in enumerate(_paths(fs, run, folder)):
        rows = read_part(fs, path, schema, read)
        found["hash"].append(id_hashes(rows["id"]))
        found["part"].append(np.full(len(rows), number, np.int32))
        for name in columns:
            found[name].append(_column(rows, name))
    kinds = {"hash": "S16", PRINT: "S8"}
    return {name: np.concatenate([np.empty(0, kinds.get(name, np.int32)), *some]) for name, some in found.items()}


def _column(rows: pa.Table, name: str) -> np.ndarray:
    if name == PASSING:
        return may_pass(rows).to_numpy().astype(np.int32)
    return _prints(rows) if name == PRINT else rows[name].to_numpy()


def _prints(rows: pa.Table) -> np.ndarray:
    prints = np.zeros(len(rows), "S8")
    for row in np.flatnonzero(rows["chunks"].to_numpy() > 1).tolist():
        text = repr([rows[name][row].as_py() for name in ("chunks", *FINGERPRINT_SCHEMA.names)])
        prints[row] = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return prints


def _first(*columns: np.ndarray, least: np.ndarray | int = 0) -> np.ndarray:
    """The numbers, ascending, of the first row, of those with the `least`, for each set of values in `columns`."""
    rows = np.arange(len(columns[0]))
    order = np.lexsort([rows, np.broadcast_to(least, rows.shape), *reversed(columns)])
    new = np.ones(len(order), bool)
    if len(order):
        new[1:] = np.logical_or.reduce([column[order][1:] != column[order][:-1] for column in columns])
    return np.sort(order[new])


def _keep(fs: FileSystem, run: str, folder: str, kept: np.ndarray, part: np.ndarray) -> dict[str, str | None]:
    """Drop the rows of a folder of parts that are not `kept`; returns sha256s as `keep_rows` does."""
    schema = CODES_SCHEMA if folder == CODES else FAILURES_SCHEMA
    paths = _paths(fs, run, folder) if not kept.all() else []
    masks = {paths[number]: kept[part == number] for number in np.unique(part[~kept]).tolist()}
    return keep_rows(fs, masks, lambda path: read_part(fs, path, schema))


def join_long_waves(fs: FileSystem, run: str, kind: WaveKind = FILES) -> int:
    """Put the reconstructions of long recordings together; returns how many. Pieces of failed ones are deleted.

    Of shards, those that belong to no part of codes are deleted, and waves of recordings that have no codes.
    """
    rows = _read(fs, parts(fs, run, CODES), ["id", "chunks", "num_samples"])
    long = rows.filter(pc.greater(rows["chunks"], 1)).group_by(["id", "chunks"]).aggregate([("num_samples", "sum")])
    joined = sum(
        join_pieces(fs, f"{run}/{WAVES}", row["id"], row["chunks"], row["num_samples_sum"], kind)
        for row in long.to_pylist()
    )
    remove_pieces(fs, f"{run}/{WAVES}")
    if kind.layout == "tar":
        delete_orphans(fs, run)
        others = [path for path in shards(fs, f"{run}/{WAVES}") if not is_part(path)]
        keep_one_each(fs, others, frozenset(rows["id"].to_pylist()) if others else None)
    return joined


def unfinished(fs: FileSystem, run: str) -> list[str]:
    """Paths of what writers that were killed left beside run.json, the parts and the WAVs."""
    selectors = [FileSelector(run, allow_not_found=True)]
    for folder in (CODES, FAILURES, SKIPPED, WAVES):
        selectors.append(FileSelector(f"{run}/{folder}", allow_not_found=True, recursive=True))
    found = [info for selector in selectors for info in fs.get_file_info(selector)]
    return [info.path for info in found if info.type == FileType.File and UNFINISHED.fullmatch(info.base_name)]


def sweep(fs: FileSystem, run: str) -> int:
    """Delete what is `unfinished`; returns how many files."""
    orphans = unfinished(fs, run)
    for path in orphans:
        with contextlib.suppress(FileNotFoundError):  # the lock's own, which beats beside run.json
            fs.delete_file(path)
    return len(orphans)


def checksums(fs: FileSystem, run: str, known: Mapping[str, str | None]) -> dict[str, str]:
    """sha256 of every part of codes that is there, by name: `known`, or read where an attempt was killed."""
    found = {}
    for path in parts(fs, run, CODES):
        name = path.rpartition("/")[2]
        sha256 = known.get(name)
        if sha256 is None:
            with fs.open_input_stream(path) as file:
                sha256 = hashlib.sha256(file.read()).hexdigest()
        found[name] = sha256
    return found


def count(fs: FileSystem, run: str, context_samples: int) -> dict[str, int | float]:
    """What the parts hold, and how much audio was encoded a second time as chunks' left context."""
    rows = _read(fs, parts(fs, run, CODES), ["id", "chunk", "first_frame", "num_samples", "num_frames"])
    before = pc.multiply(rows["first_frame"], FRAME_SAMPLES)  # the first chunks of a recording have less than all
    context = pc.sum(pc.min_element_wise(before, pa.scalar(context_samples, pa.int64()))).as_py() or 0
    samples = pc.sum(rows["num_samples"]).as_py() or 0
    return {
        "recordings": pc.sum(pc.equal(rows["chunk"], 0)).as_py() or 0,
        "chunks": len(rows),
        "failures": len(_others(fs, run, FAILURES)),
        "skipped": len(_others(fs, run, SKIPPED)),
        "frames": pc.sum(rows["num_frames"]).as_py() or 0,
        "audio_s": round(samples / SAMPLE_RATE, 3),
        "context_s": round(context / SAMPLE_RATE, 3),
    }


def outcomes(fs: FileSystem, run: str) -> dict[str, int]:
    """How many recordings a run has, how many failed, how many were skipped; it may still be running."""
    names, partial = _read(fs, parts(fs, run, CODES), ["id"])["id"], committed(fs, run).partial
    others = {"failures": len(_others(fs, run, FAILURES)), "skipped": len(_others(fs, run, SKIPPED))}
    return {"recordings": pc.count_distinct(names).as_py() - len(partial), **others, "partial": len(partial)}


def _read(fs: FileSystem, paths: list[str], columns: list[str]) -> pa.Table:
    empty = pa.schema([CODES_SCHEMA.field(name) for name in columns]).empty_table()
    return pa.concat_tables([empty, *(read_part(fs, path, CODES_SCHEMA, columns) for path in paths)])


def _long(ids: list[pa.Array]) -> pa.Array:
    """One array; with 64 bit offsets, because ids may take more than 2 GiB."""
    return pa.concat_arrays([pa.array([], pa.large_string()), *(some.cast(pa.large_string()) for some in ids)])


def _others(fs: FileSystem, run: str, *folders: str) -> pa.Table:
    """Id and PLACE of all in FAILURES or SKIPPED, in order. Reads all columns: damage is reported before a run."""
    paths = [path for folder in folders for path in parts(fs, run, folder)]
    tables = [read_part(fs, path, FAILURES_SCHEMA, FAILURES_SCHEMA.names) for path in paths]
    return pa.concat_tables([FAILURES_SCHEMA.empty_table(), *tables]).select(["id", *PLACE])


def keep_rows(fs: FileSystem, kept: Mapping[str, np.ndarray], read: Callable[[str], pa.Table]) -> dict[str, str | None]:
    """Put parts with fewer rows in the place of those at the paths `kept`: of each, the rows that the mask marks. The
    shard of a part of codes goes with it.

    Returns the sha256 of the new parts by name, None for those that are gone. No part is rewritten in place: what
    run.json says of a part stays true if this breaks off. Then some rows are double until a run settles.
    """
    changed: dict[str, str | None] = {}
    for path, mask in kept.items():
        folder, _, old = path.rpartition("/")
        rows = read(path).filter(pa.array(mask))
        changed.setdefault(old, None)  # it may have the name of a new one, and is then that one
        if len(rows):
            name = part_name(rows)
            if folder.endswith(f"/{CODES}"):
                follow_part(fs, path, f"{folder}/{name}", rows["id"].to_pylist())
            changed[name] = write_table(rows, fs, f"{folder}/{name}")
    for path in kept:
        if changed[path.rpartition("/")[2]] is None:
            fs.delete_file(path)
            delete_shard(fs, path)
    return changed
