"""RUN/codes, failures and skipped -> a `Corpus` and a sample of recordings: one pass over a few columns.

Memory grows with the corpus by 16 bytes a recording, which finding doubles takes, and with the number of chunks of long
recordings.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from actors.contract import SAMPLE_RATE
from pipeline.report.corpus import Corpus
from pipeline.run.alike import groups
from pipeline.run.layout import FAILURES, SKIPPED, parts
from pipeline.run.parts import read_part
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from pipeline.storage.at_once import on_store
from pipeline.storage.text import id_hashes

IDENTITY = ["id", "source", "start_s", "end_s", "channel"]
KEPT = [*IDENTITY, "chunks", "num_samples", "source_rate", "source_channels", "source_size"]
"""Columns of a sample; `num_samples` is that of the first chunk."""
COLUMNS = [*KEPT, "chunk", "num_frames"]
MAX_SEED = 2**64 - 1
"""`_ranks` takes a seed as uint64."""
EXAMPLES = 4
"""Failures that are kept for each reason."""
SUFFIX = r"\.(?P<suffix>[A-Za-z0-9]{1,8})$"
ROW = "::row [0-9]+$"
"""How a source ends that is a row of a table."""


def read_columns(fs: FileSystem, run: str, paths: Sequence[str], sample: int, seed: int = 0) -> tuple[Corpus, pa.Table]:
    """The corpus: the parts of codes `paths`, and the failures and skipped ones of `run`; and a sample of recordings.

    The sample has `sample` of them (all, where there are no more), in an order that only `seed` decides, 0 to MAX_SEED;
    its columns are KEPT and "part", the path of its part of codes. Raises OutputError for a damaged part.
    """
    corpus = Corpus(parts=[path.rpartition("/")[2] for path in paths])
    hashes, long = [np.empty(0, "S16")], [_long(CODES_SCHEMA.empty_table())]
    drawn = CODES_SCHEMA.empty_table().select(KEPT).append_column("part", pa.array([], pa.string()))
    ranks = np.empty(0, np.uint64)
    read = functools.partial(read_part, fs, schema=CODES_SCHEMA, columns=COLUMNS)
    for path, rows in zip(paths, on_store(fs, read, paths), strict=True):
        firsts = rows.filter(pc.equal(rows["chunk"], 0))
        corpus.begun += len(firsts)
        hashes.append(id_hashes(firsts["id"]))
        named = firsts.select(KEPT).append_column("part", pa.array([path] * len(firsts), pa.string()))
        drawn, ranks = _draw(drawn, ranks, named, _ranks(hashes[-1], seed), sample)
        _count(corpus, rows)
        long.append(_long(rows))
    _count_long(corpus, *map(np.concatenate, zip(*long, strict=True)))
    hashes += _not_coded(fs, run, corpus)
    corpus.doubles = _doubles(np.concatenate(hashes))
    return corpus, drawn


def _ranks(hashes: np.ndarray, seed: int) -> np.ndarray:
    """A number for each id, uint64 [n]: another seed orders them otherwise, and nothing else does."""
    halves = np.ascontiguousarray(hashes).view(np.uint64).reshape(-1, 2)
    return (halves[:, 0] ^ np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15) ^ halves[:, 1]


def _draw(
    kept: pa.Table, ranks: np.ndarray, more: pa.Table, more_ranks: np.ndarray, sample: int
) -> tuple[pa.Table, np.ndarray]:
    """Of both tables the rows with the `sample` lowest ranks, in that order."""
    every = np.concatenate([ranks, more_ranks])
    first = np.argsort(every, kind="stable")[:sample]
    return pa.concat_tables([kept, more]).take(pa.array(first)).combine_chunks(), every[first]


def _count(corpus: Corpus, rows: pa.Table) -> None:
    corpus.chunks += len(rows)
    corpus.samples += pc.sum(rows["num_samples"]).as_py() or 0
    corpus.frames += pc.sum(rows["num_frames"]).as_py() or 0
    in_one_chunk = rows.filter(pc.equal(rows["chunks"], 1))["num_samples"].to_numpy()
    corpus.recordings += len(in_one_chunk)
    corpus.see_lengths(in_one_chunk)
    kinds = {"rate": rows["source_rate"], "channels": rows["source_channels"], "format": _suffixes(rows["source"])}
    first = pc.cast(pc.equal(rows["chunk"], 0), pa.int64())
    for kind, values in kinds.items():
        table = pa.table({"value": values, "first": first, "samples": rows["num_samples"]})
        seen = corpus.by.setdefault(kind, {})
        for row in table.group_by("value").aggregate([("first", "sum"), ("samples", "sum")]).to_pylist():
            count, hours = seen.get(str(row["value"]), (0, 0.0))
            more = row["samples_sum"] / SAMPLE_RATE / 3600
            seen[str(row["value"])] = (count + row["first_sum"], hours + more)


def _suffixes(sources: pa.ChunkedArray) -> pa.ChunkedArray:
    """ "flac" of "a.tar::b.FLAC", "parquet" of "x.parquet::row 17", "none" of a source without one."""
    found = pc.extract_regex(pc.replace_substring_regex(sources, ROW, ""), SUFFIX)
    return pc.fill_null(pc.utf8_lower(pc.struct_field(found, "suffix")), "none")


def _long(rows: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each chunk of long recordings: the hash of its id ("S16"), `chunks` int32, `num_samples` int64."""
    rows = rows.filter(pc.greater(rows["chunks"], 1))
    return id_hashes(rows["id"]), rows["chunks"].to_numpy(), rows["num_samples"].to_numpy()


def _count_long(corpus: Corpus, hashes: np.ndarray, chunks: np.ndarray, samples: np.ndarray) -> None:
    """`_long` of all parts."""
    order, begins = groups(hashes, chunks)
    whole = np.diff(begins, append=len(order)) == chunks[order[begins]]
    corpus.recordings += int(whole.sum())
    corpus.partial += int((~whole).sum())
    if len(begins):
        corpus.see_lengths(np.add.reduceat(samples[order], begins)[whole])


def _not_coded(fs: FileSystem, run: str, corpus: Corpus) -> Iterator[np.ndarray]:
    """Count failures and skipped ones; yields the hashes of their ids."""
    read = functools.partial(read_part, fs, schema=FAILURES_SCHEMA, columns=FAILURES_SCHEMA.names)
    for folder in (FAILURES, SKIPPED):
        for rows in on_store(fs, read, parts(fs, run, folder)):
            yield id_hashes(rows["id"])
            if folder == SKIPPED:
                corpus.skipped += len(rows)
                continue
            for row in rows.select(["id", "stage", "error", "message"]).to_pylist():
                reason = (row["stage"], row["error"])
                corpus.failures[reason] += 1
                examples = corpus.examples.setdefault(reason, [])
                if len(examples) < EXAMPLES:
                    examples.append({"id": row["id"], "message": row["message"] or ""})


def _doubles(hashes: np.ndarray) -> int:
    """How many of them equal one before."""
    return len(hashes) - len(np.unique(hashes))
