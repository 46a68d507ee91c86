"""The dataflow: inputs -> read, decode, resample, cut -> encode pool -> (decode pool -> WAVs) -> parts -> a `Run`.

Reads from top to bottom as the data flows. The one place that knows Ray and both packages.
"""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource
from ray.data.datasource import ReadTask as RayReadTask

from actors.checkpoint import find_model
from actors.decode import DecodeCodes
from actors.encode import EncodeChunks
from actors.isolate import Ledger
from pipeline import record
from pipeline.chunk_rows import read_chunks
from pipeline.cluster import RemoteLedger, data_context, keeper, session
from pipeline.finish import checksums, committed, count, join_long_waves, settle, sweep
from pipeline.job import Job, describe, load_codec, prepare
from pipeline.lock import locked
from pipeline.plan import Plan, ReadTask, plan
from pipeline.progress import Tally, watch
from pipeline.run import Run, open_run
from pipeline.schema import SAMPLE_RATE
from pipeline.settings import load_settings
from pipeline.write import WAVES, write_parts, write_waves


def tokenize(
    inputs: str | Path | list[str | Path],
    out: str | Path,
    *,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **overrides: Any,
) -> Run:
    """Tokenize `inputs` (folders, globs, files, manifests, tar and Parquet shards; paths or URIs) into the run `out`.

    `overrides` are top-level settings (model, device, precision, attention, reconstruct, ray_address, ...), `settings`
    takes any by its dotted key ({"chunk.length_s": 60}), `config` is a YAML file. A rerun does only what is missing;
    `overwrite` deletes the run that is there and starts anew.
    Returns the finished `Run`. Raises VoxmillError for what the user can mend; a recording that cannot be tokenized
    raises nothing, it is a row of `run.failures()`.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    chosen = load_settings(config, {**(settings or {}), **given})
    paths = [str(path) for path in (inputs if isinstance(inputs, list) else [inputs])]
    stages = ("encode", "decode") if chosen.reconstruct else ("encode",)
    model = find_model(chosen.model)  # a wrong one is told before Ray takes its seconds to start
    with session(chosen), contextlib.ExitStack() as held:
        job = prepare(chosen, model, str(out), ray.cluster_resources(), stages)
        held.enter_context(locked(job.fs, job.run))
        if overwrite:
            record.clear(job.fs, job.run)
        before = record.resume(job.fs, job.run, describe(job, paths))
        done = committed(job.fs, job.run)
        planned = plan(
            paths,
            done=done.ids,
            column=chosen.input.column,
            access=chosen.input.access,
            task_bytes=round(chosen.input.task_mb * 2**20),
            parallelism=job.resources.readers,
            chunk_samples=job.chunk_samples,
            max_recording_s=chosen.input.max_recording_s,
        )
        record.save(job.fs, job.run, before)
        record.mark(job.fs, job.run, complete=False)
        attempt = execute(job, planned, done.partial, quiet)
        finish(job, planned, before, attempt)
    return open_run(out)


def execute(job: Job, planned: Plan, partial: dict[str, frozenset[int]], quiet: bool) -> dict[str, Any]:
    """Run the graph; returns what this attempt committed."""
    started, start = record.now(), time.monotonic()
    parts: dict[str, str] = {}
    samples = 0
    if planned.tasks:
        tally = keeper(Tally)
        with (
            data_context(job.resources.block_bytes),
            watch(lambda: ray.get(tally.get.remote()), planned.recordings, quiet),
        ):
            for block in graph(job, planned, partial, tally).iter_batches(batch_size=None, batch_format="pyarrow"):
                for written in cast(pa.Table, block).to_pylist():
                    samples += written["samples"]
                    if written["codes_part"]:
                        parts[written["codes_part"]] = written["codes_sha256"]
    return {"started": started, "wall_s": round(time.monotonic() - start, 3), "samples": samples, "parts": parts}


def graph(job: Job, planned: Plan, partial: dict[str, frozenset[int]], tally: Any) -> ray.data.Dataset:
    """The stages. Blocks are Arrow tables; a call of a pool gets one block, about `block_bytes` of audio."""
    resources, pools = job.resources, job.resources.pools
    read = functools.partial(read_chunks, job=job, carried=planned.carried, partial=partial)
    report = functools.partial(_report, tally)
    attempts = RemoteLedger(keeper(Ledger))
    reconstruct = "decode" in pools

    rows = ray.data.read_datasource(Recordings(planned.tasks, read), concurrency=job.settings.input.readers)
    # `map_batches` insists on a number of rows for GPUs, and would gather blocks until it has them.
    rows = rows.map_batches_internal(
        EncodeChunks,
        fn_constructor_kwargs={
            "load": functools.partial(load_codec, job, "encode"),
            "attempts": attempts,
            "keep_context": reconstruct,
            "report": None if reconstruct else report,
        },
        batch_format="pyarrow",
        **pools["encode"].arguments(),
    )
    if reconstruct:
        rows = rows.map_batches_internal(
            DecodeCodes,
            fn_constructor_kwargs={
                "load": functools.partial(load_codec, job, "decode"),
                "attempts": attempts,
                "report": report,
            },
            batch_format="pyarrow",
            **pools["decode"].arguments(),
        )
        rows = rows.map_batches(
            write_waves, fn_args=(job.fs, f"{job.run}/{WAVES}"), batch_format="pyarrow", num_cpus=0.5
        )
    # Other resources than the stage before: fused, whole parts' worth of waves would wait in memory.
    return rows.map_batches(
        write_parts,
        fn_args=(job.fs, job.run),
        batch_size=resources.rows_per_part,
        batch_format="pyarrow",
        num_cpus=0.25,
    )


class Recordings(Datasource):
    """Planned read tasks as a Ray data source. Ray asks for the tasks several times: nothing is computed here."""

    def __init__(self, tasks: list[ReadTask], read: Callable[[ReadTask], Iterator[pa.Table]]) -> None:
        super().__init__()
        self.tasks = tasks
        self.read = read

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[RayReadTask]:
        """One Ray read task a planned task."""
        return [
            RayReadTask(functools.partial(self.read, task), BlockMetadata(None, task.bytes, None, None))
            for task in self.tasks
        ]

    def estimate_inmemory_data_size(self) -> int | None:
        """Bytes of the inputs."""
        return sum(task.bytes for task in self.tasks)


def _report(tally: Any, rows: pa.Table) -> None:
    """Tell the tally what a pool has finished: the last chunk of a recording counts it."""
    failed = rows["stage"].is_valid()
    last = pc.equal(pc.add(rows["chunk"], 1), rows["chunks"])
    done = pc.sum(pc.and_not(last, failed)).as_py() or 0
    tally.add.remote(done, pc.sum(rows["num_samples"]).as_py() or 0, pc.sum(failed).as_py())


def finish(job: Job, planned: Plan, before: dict[str, Any], attempt: dict[str, Any]) -> None:
    """Settle what long recordings left, measure agreement with fp32, complete run.json."""
    settled = settle(job.fs, job.run)
    join_long_waves(job.fs, job.run)
    sweep(job.fs, job.run)
    parts = {**before.get("parts", {}), **attempt.pop("parts"), **settled}
    audio_s = attempt.pop("samples") / SAMPLE_RATE
    shares = before.get("agreement_with_fp32") or agreement(job, planned)
    attempt |= {
        "finished": record.now(),
        "audio_s": audio_s,
        "times_real_time": round(audio_s / max(attempt["wall_s"], 1e-3), 2),
    }
    record.save(
        job.fs,
        job.run,
        {
            **before,
            "state": "complete",
            "counts": {**count(job.fs, job.run, job.context_samples), "passed_over": planned.passed_over},
            "agreement_with_fp32": shares,
            "warnings": _warnings(job, shares),
            "attempts": [*before["attempts"], attempt],
            "parts": checksums(job.fs, job.run, parts),
        },
    )
    record.mark(job.fs, job.run, complete=True)


def _warnings(job: Job, shares: list[float] | None) -> list[str]:
    least = job.settings.output.agreement_min
    if shares is None or shares[0] >= least:
        return []
    return [
        f"only {shares[0]:.1%} of codebook 0 agrees with fp32 (output.agreement_min is {least:.0%}): "
        f"precision {job.resources.precision} may not suit this audio or these weights"
    ]


def agreement(job: Job, planned: Plan) -> list[float] | None:
    """Share of codes equal to fp32's, per codebook, on the first seconds of the run's own audio; None for fp32."""
    if job.resources.precision == "fp32" or not job.settings.output.agreement_s or not planned.tasks:
        return None
    pool = job.resources.pools["encode"]
    measure = ray.remote(_measure_agreement).options(num_cpus=pool.cpus, num_gpus=pool.gpus or None)
    return ray.get(measure.remote(job, planned))


def _measure_agreement(job: Job, planned: Plan) -> list[float] | None:
    wanted = round(job.settings.output.agreement_s * SAMPLE_RATE)
    waves: list[np.ndarray] = []
    rows = itertools.chain.from_iterable(read_chunks(task, job, planned.carried, {}) for task in planned.tasks)
    for row in rows:
        if row["audio"][0].is_valid and wanted > 0:
            waves.append(row["audio"].combine_chunks()[0].values.to_numpy()[:wanted])
            wanted -= len(waves[-1])
        if wanted <= 0:
            break
    return [round(float(share), 5) for share in load_codec(job, "encode").agreement(waves)] if waves else None
