"""The dataflow: inputs -> read, decode, resample, cut -> encode pool -> (decode pool -> WAVs) -> parts -> a `Run`.

Reads from top to bottom as the data flows.
"""

import contextlib
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import ray
from pyarrow.fs import LocalFileSystem

from actors.checkpoint import find_model, weights_sha256
from actors.pools.arrow import failure
from actors.pools.decode import DecodeCodes
from actors.pools.encode import EncodeChunks
from actors.pools.isolate import Ledger
from pipeline.agreement import agreement, warnings
from pipeline.audio.speech import vad_version
from pipeline.changes import changes, refuse_inside, refuse_other_columns, to_redo
from pipeline.cluster.keeper import Kept, RemoteLedger, keep
from pipeline.cluster.load import load_codec
from pipeline.cluster.meter import Meter
from pipeline.cluster.progress import one_line, phase, watch
from pipeline.cluster.resources import fitted
from pipeline.cluster.session import data_context, session
from pipeline.cluster.spent import timed
from pipeline.errors import LostActors, NotCommitted, OutputError, listed, plural
from pipeline.job import Job, describe, prepare
from pipeline.log_line import log_line
from pipeline.read import ROWS_OF_A_TABLE, read_chunks
from pipeline.read_task import Terms, read_task
from pipeline.report import at_end
from pipeline.run.attempt import Attempt
from pipeline.run.bound import Census, Earlier, refuse_excess, refuse_failed, shaky
from pipeline.run.command_line import command_line
from pipeline.run.committed import NOTHING, Done, committed, lasting
from pipeline.run.containers import read_through
from pipeline.run.drop import drop, drop_skipped
from pipeline.run.held import Held
from pipeline.run.join_waves import join_long_waves
from pipeline.run.layout import FAILURES, WAVES
from pipeline.run.lock import locked
from pipeline.run.notes import Notes
from pipeline.run.reader import Run, open_run
from pipeline.run.resume import (
    CORPUS,
    LACKS_WAVES,
    PENDING,
    RUNNING,
    UNFINISHED,
    clear,
    mark,
    other_bounds,
    refuse_other_bounds,
    resume,
    utc_now,
)
from pipeline.run.retrying import put_back, waiting_ids
from pipeline.run.run_json import read_run_file, save
from pipeline.run.settle import settle
from pipeline.run.sums import checksums, forget_sums
from pipeline.run.sweep import sweep
from pipeline.run.totals import count
from pipeline.run.write import gather_blocks, write_failures, write_in_parts, write_parts_and_shards
from pipeline.run.write_waves import without_wave, write_waves
from pipeline.schema import FAILURES_SCHEMA
from pipeline.settings import Settings, load_settings
from pipeline.sources.inputs import Discovered, discover_all, named
from pipeline.sources.limit import refuse_limit
from pipeline.sources.passed_over import bounded
from pipeline.sources.plan import Plan, divide, remaining, unread
from pipeline.sources.probe import probes
from pipeline.sources.shard import corpus_fingerprint, of_shard, parse_shard
from pipeline.storage.filesystem import locate
from pipeline.storage.text import clean_id, id_hashes
from pipeline.tell import tell_finished

if TYPE_CHECKING:
    import ray.data

AUDIT_ROUNDS = 2
"""How often what is missing at the end is read again."""
CENSUS_SHARE = 20
"""The census is not asked again until so many times as long has passed as it took: 55 ms with 1,000 nodes."""
MOST_AVOIDED = 50
"""Nodes that are named in each read task; where more fail to fetch, it is not their fault."""


def tokenize(
    inputs: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    limit: int | None = None,
    shard: str | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> Run:
    """Tokenize `inputs` (folders, globs, files, manifests, tar and Parquet shards; paths or URIs) into the run `out`.

    `overrides` are top-level settings (model, device, precision, attention, reconstruct, ray_address, ...), `settings`
    takes any by its dotted key ({"chunk.length_s": 60}), `config` is a YAML file. A rerun does only what is missing;
    `overwrite` deletes the run that is there, once the inputs are planned, and starts anew. `limit`: only the first
    recordings (see `sources.limit`); the same command without it goes on. `shard` "I/N": only that share of the inputs.
    `quiet`: no progress, and no notes on the inputs.
    Returns the finished `Run`. Raises VoxmillError for what the user can mend; a recording that cannot be tokenized
    raises nothing, it is a row of `run.failures()`.
    """
    if not isinstance(out, str | os.PathLike):
        raise OutputError(f"out is a {type(out).__name__}; expected the path or URI of the run's folder.")
    given = {key: value for key, value in overrides.items() if value is not None}
    chosen = load_settings(config, {**(settings or {}), **given})
    paths = named(inputs)
    parsed_shard = parse_shard(shard)
    refuse_limit(limit)
    locate(str(out), chosen.input.schemes)  # a mistake in it is told before Ray starts
    with one_line(quiet), contextlib.ExitStack() as held:
        with phase("start", quiet):
            job = dataclasses.replace(start(chosen, str(out), held), shard=parsed_shard, limit=limit, quiet=quiet)
        with phase("plan", quiet):
            record, found, done, planned = begin(job, paths, overwrite)
        job, left, attempt = execute_until_done(job, found, planned, done, so_far(job, done.ids))
        with phase("finish", quiet):
            audit(job, found, left, attempt)
            restore(job, attempt)
            finish(job, planned, record, attempt, str(out))
    return open_run(out)


def start(settings: Settings, out: str, held: contextlib.ExitStack) -> Job:
    """Ray, and the lock of the run at `out`, both until `held` is closed."""
    vad_version(settings.input.vad)  # raises where silero-vad is not installed, before Ray starts
    model = find_model(settings.model)  # before Ray starts, which takes seconds
    with ThreadPoolExecutor(1) as beside:
        beside.submit(weights_sha256, model)  # `prepare` asks for it, 0.5 s for 0.7 GB
        held.enter_context(session(settings))
    job = prepare(settings, model, out, ray.cluster_resources(), settings.stages)
    return dataclasses.replace(job, check_lock=held.enter_context(locked(job.fs, job.run)).check)


def begin(job: Job, paths: list[str], overwrite: bool) -> tuple[dict[str, Any], Discovered, Done, Plan]:
    """Find the inputs and compare them with what is committed; until that is done, nothing is written.

    Returns the run.json that this command has just written, what the inputs hold, what is committed, and the plan of
    the rest.
    """
    command, rules = describe(job, paths), job.settings.input
    record = {} if overwrite else resume(job.fs, job.run, command)
    refuse_inside(paths, rules.schemes, job.fs, job.run)
    whole = discover_all(paths, **rules.finding)
    found = of_shard(whole, job.shard)
    for note in () if job.quiet else found.notes:
        log_line(note)
    if found.runs and not job.quiet:
        log_line(f"passed over, for they are runs: {', '.join(found.runs)}")
    changed = None if overwrite else changes(job.keys, found)  # reads the parts for `committed` too
    done = NOTHING if overwrite else committed(job.keys)
    if not overwrite:
        refuse_other_bounds(job.fs, job.run, record, command)
        refuse_other_columns(job.keys, found.carried, job.run)
        refuse_too_many_failed(job, found, done)
    anew = to_redo(changed, done, rules.changed) if changed else set()
    others = not overwrite and other_bounds(read_run_file(job.fs, job.run), command)
    job.check_lock()
    if overwrite:  # the old run stays until there is something to read
        clear(job.fs, job.run)
        record = resume(job.fs, job.run, command)
    mark(job.fs, job.run, complete=False)
    if others or anew:
        save(job.fs, job.run, record)  # what is dropped would be missing in a run that says that it is complete
    if others:
        drop_skipped(job.fs, job.run)
    if anew:
        sums = {**record.get("parts", {}), **drop(job.keys, anew, job.waves)}
        record = {**record, "parts": {name: sha256 for name, sha256 in sums.items() if sha256}}
    done = committed(job.keys.refresh()) if others or anew else done
    planned = missing(job, found, done)
    total = None if planned.recordings is None else len(done.ids) + planned.recordings
    record = running({**record, CORPUS: corpus_fingerprint(whole) if job.shard else None}, total)
    save(job.fs, job.run, record)
    return record, found, done, planned


def refuse_too_many_failed(job: Job, found: Discovered, done: Done) -> None:
    """`refuse_failed`, of what earlier commands committed; a share is of the recordings that the run will hold."""
    known = found.recordings
    if known is not None:
        known = max(min(known, job.limit or known), len(done.ids))
    failed = sum(map(len, job.keys.parts(FAILURES)))
    refuse_failed(failed, job.settings.max_failures, known, len(done.ids))


def running(record: dict[str, Any], total: int | None) -> dict[str, Any]:
    """run.json with this command as its RUNNING attempt; one that is there already goes to UNFINISHED.

    `total`: how many recordings the run will hold; None: unknown.
    """
    unfinished = [*record.get(UNFINISHED, []), *([record[RUNNING]] if RUNNING in record else [])]
    record = {**record, **({UNFINISHED: unfinished} if unfinished else {})}
    return {**record, RUNNING: {"started": utc_now(), "command": command_line(sys.argv), "recordings": total}}


def missing(job: Job, found: Discovered, done: Done) -> Plan:
    """The plan to read what is not `done`."""
    return divide(
        found,
        done.ids,
        read_through=read_through(job.keys, done),
        task_bytes=round(job.settings.input.task_mb * 2**20),
        parallelism=job.resources.readers,
        chunk_samples=job.chunk_samples,
        max_recording_s=job.settings.input.max_recording_s,
        limit=job.limit,
    )


def so_far(job: Job, ids: pa.ChunkedArray, again: int = 0) -> Earlier:
    """Counts of what the run holds before `execute`: the recordings `ids`, less the `again` failures it reads again."""
    return Earlier(len(ids), sum(map(len, job.keys.parts(FAILURES))) - again)


def execute_until_done(
    job: Job,
    found: Discovered,
    planned: Plan,
    done: Done,
    earlier: Earlier | None = None,
    avoid: frozenset[str] = frozenset(),
) -> tuple[Job, Plan, Attempt]:
    """Run the whole graph (read, encode, decode, write) by `execute`. Where GPUs are lost in the middle, run it again
    for what is missing, on the GPUs that are left.

    Returns the job with the pools of the last execution, its plan, and the sum of all executions.
    """
    attempt = execute(job, planned, done.partial, earlier, avoid)
    while attempt.lost:
        done, ids, planned = settled(job, found, planned, attempt)
        job = dataclasses.replace(job, resources=fitted(job.resources, ray.cluster_resources().get("GPU", 0.0)))
        earlier = earlier and so_far(job, ids, len(done.ids) - len(ids))
        attempt.add(execute(job, planned, done.partial, earlier, avoid))
    return job, planned, attempt


def settled(
    job: Job, found: Discovered, planned: Plan, attempt: Attempt, again: bool = False
) -> tuple[Done, pa.ChunkedArray, Plan]:
    """Settle what is double. Returns what is committed, the ids of it that need no reading, and what of the plan is
    left: without failures that may pass, unless they were tried `again`."""
    job.check_lock()
    changed = settle(job.keys)
    attempt.parts.update(changed.parts)
    done = committed(job.keys)
    ids = done.ids if again else lasting(job.keys, done.ids)
    if changed.mixed:
        return done, ids, missing(job, found, dataclasses.replace(done, ids=ids))
    return done, ids, remaining(planned, ids, attempt.held)


def execute(
    job: Job,
    planned: Plan,
    partial: dict[str, frozenset[int]],
    earlier: Earlier | None,
    avoid: frozenset[str],
) -> Attempt:
    """Read and commit what is planned. Nodes to `avoid` read nothing as long as there are others.

    Not exact: a read task whose process dies is done again, and Ray drops as many blocks of it as were delivered. Where
    an input answers differently the second time, recordings are lost or doubled here; `audit` finds them. Raises
    TooManyFailures as `refuse_excess` says, if it is told what the run held `earlier`.
    """
    attempt, start = Attempt(utc_now()), time.monotonic()
    if planned.tasks:
        meter = functools.partial(Meter, list(job.resources.pools)[-1])
        with keep(meter=meter, census=Census, containers=Held, ledger=Ledger) as kept:
            run_graph(job, planned, partial, kept, attempt, earlier, avoid)
    attempt.wall_s = time.monotonic() - start
    return attempt


def run_graph(
    job: Job,
    planned: Plan,
    partial: dict[str, frozenset[int]],
    kept: Mapping[str, Kept],
    attempt: Attempt,
    earlier: Earlier | None,
    avoid: frozenset[str],
) -> None:
    """The graph to its end; `attempt` gets what it writes, and what the workers told."""
    meter, census = kept["meter"], kept["census"]
    notes = Notes(job.fs, job.run, planned.tasks, job.check_lock)
    reports = functools.partial(kept["containers"].ask, "since")
    asked_s = took_s = 0.0
    with (
        data_context(job.resources.block_bytes, job.settings.stall_s),
        watch(lambda: meter.ask("counts"), planned.recordings, job.quiet),
    ):
        rows = graph(job, planned, partial, kept, avoid)
        try:
            for block in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for written in cast(pa.Table, block).to_pylist():
                    attempt.take(written)
                if earlier is not None and time.monotonic() >= asked_s + CENSUS_SHARE * took_s:
                    asked_s = time.monotonic()
                    refuse_excess(census.ask("get"), job.settings.max_failures, planned.recordings, earlier)
                    took_s = time.monotonic() - asked_s
                notes.note(reports, attempt.parts)
        except LostActors as error:
            log_line(f"{error} What they had in hand is read again, on those that are left")
            attempt.lost = attempt.unheard = True
    notes.note(reports, attempt.parts, now=True)
    counts = census.ask("get")
    if earlier is not None:
        refuse_excess(counts, job.settings.max_failures, planned.recordings, earlier)
    attempt.held, attempt.shaky, attempt.times = dict(notes.reports), shaky(counts), meter.ask("record")


def audit(job: Job, found: Discovered, planned: Plan, attempt: Attempt) -> None:
    """Compare what was planned with the parts: settle what is double, read again what is missing.

    What a store or a network did not give is read again once, by another node where there is one. Where settling takes
    a recording away (an earlier attempt's writer came late with another version of it), all that was found is compared
    anew. What still misses after AUDIT_ROUNDS is a failure that says so.
    """
    left = planned
    for number in range(AUDIT_ROUNDS + 1):
        done, _, left = settled(job, found, left, attempt, again=number > 0)
        if not left.tasks or number == AUDIT_ROUNDS:
            break
        job, left, again = execute_until_done(
            job, found, left, done, avoid=attempt.shaky
        )  # their failures were counted
        attempt.add(again)
    error = NotCommitted(
        f"read {AUDIT_ROUNDS + 1} times, and neither all its codes nor a failure of it came through. Try it again with "
        "`voxmill retry RUN --error NotCommitted`"
    )
    rows = [one | failure("read", error) for one in unread(left)]
    if rows:
        write_failures(pa.Table.from_pylist(rows, FAILURES_SCHEMA), job.fs, job.run, job.check_lock)
        attempt.parts.update(settle(job.keys).parts)


def restore(job: Job, attempt: Attempt) -> None:
    """Put back the failures that were to be tried again, and whose recordings this command did not come to. What an
    earlier one committed of these goes: nobody will add the rest."""
    if not (waiting := waiting_ids(job.fs, job.run)):
        return
    job.check_lock()
    half = committed(job.keys.refresh()).partial
    if begun := [id_ for id_ in waiting if id_ in half]:
        hashes = set(id_hashes(pa.array(begun, pa.string())).tolist())
        attempt.parts.update(drop(job.keys, hashes, job.waves))
    ids = put_back(job.keys)
    if ids and not job.quiet:
        first = clean_id(ids[0])
        log_line(f"{plural(len(ids), 'failure')} kept: these inputs do not hold their recordings, such as {first}")


def graph(
    job: Job,
    planned: Plan,
    partial: dict[str, frozenset[int]],
    kept: Mapping[str, Kept],
    avoid: frozenset[str],
) -> "ray.data.Dataset":
    """The stages. Blocks are Arrow tables; a call of a pool gets one block, about `block_bytes` of audio."""
    import ray.data  # here, for `session` imports it while Ray starts

    from pipeline.recordings import Recordings

    meter, rows_per_part = kept["meter"], job.resources.rows_per_part
    reconstruct = "decode" in job.resources.pools

    rows = ray.data.read_datasource(
        Recordings(planned.tasks, reader(job, planned, partial, kept)),
        concurrency=job.settings.input.readers,
        override_num_blocks=max(1, len(planned.tasks)),  # else Ray may split each block in two
        **elsewhere(avoid),
    )
    rows = through_pool(rows, EncodeChunks, "encode", job, kept, keep_context=reconstruct)
    if reconstruct:
        rows = through_pool(rows, DecodeCodes, "decode", job, kept)
        if job.waves.layout == "tar":  # a block a part: whole parts' worth of waves would not fit in memory
            return rows.map_batches(
                functools.partial(timed, write_parts_and_shards, meter, "write"),
                fn_args=(job.fs, job.run, job.waves.format, rows_per_part, job.check_lock),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=0.5,
            )
        rows = rows.map_batches(
            functools.partial(timed, write_waves, meter, "waves"),
            fn_args=(job.fs, f"{job.run}/{WAVES}", job.check_lock, job.waves.format),
            batch_format="pyarrow",
            num_cpus=0.5,
        )
    # Other resources than the stage before: fused, whole parts' worth of waves would wait in memory. Ray gathers blocks
    # until they have `batch_size` rows, but calls a function once more for the rest of the last one: that function is
    # `gather_blocks`, and the one behind it, fused with it, gets all of them.
    how: dict[str, Any] = {"batch_format": "pyarrow", "num_cpus": 0.25}
    rows = rows.map_batches(gather_blocks, batch_size=rows_per_part, **how)
    return rows.map_batches(
        functools.partial(timed, write_in_parts, meter, "write"),
        fn_args=(job.fs, job.run, rows_per_part, job.check_lock),
        batch_size=None,
        **how,
    )


def reader(
    job: Job, planned: Plan, partial: dict[str, frozenset[int]], kept: Mapping[str, Kept]
) -> Callable[..., Iterator[pa.Table]]:
    """The read stage: (number of a planned task, the task, ids that it shares with others) -> its chunk rows."""
    rules: dict[str, Any] = {"how": job.reading, "carried": planned.carried, "most_rows": ROWS_OF_A_TABLE}
    terms = Terms(
        packages=job.packages,
        attempts=RemoteLedger(kept["ledger"]),
        stall_s=job.settings.stall_s,
        containers=kept["containers"],
        probes=probes(planned.tasks, job.settings.input.access),
        census=kept["census"],
        meter=kept["meter"],
        home=ray.get_runtime_context().get_node_id(),
        run=job.run if isinstance(job.fs, LocalFileSystem) else None,
        partial=ray.put(partial) if partial else None,
    )
    return functools.partial(read_task, functools.partial(read_chunks, **rules), terms)


def through_pool(
    rows: "ray.data.Dataset", actor: type, stage: str, job: Job, kept: Mapping[str, Kept], **more: Any
) -> "ray.data.Dataset":
    """`rows` through the pool of a stage; an `actor` in each of its processes, with `more` arguments of its own.

    `map_batches` insists on a number of rows for GPUs, and would gather blocks until it has them.
    """
    return rows.map_batches_internal(
        actor,
        fn_constructor_kwargs={
            "load": functools.partial(load_codec, job.codec(stage)),
            "attempts": RemoteLedger(kept["ledger"]),
            "stall_s": job.settings.stall_s,
            "report": functools.partial(tell_finished, kept["meter"], kept["census"], stage),
            **more,
        },
        batch_format="pyarrow",
        **job.resources.pools[stage].arguments(),
    )


def elsewhere(nodes: frozenset[str]) -> dict[str, Any]:
    """Arguments of a read that never runs on `nodes`; none where the cluster has no others.

    No `fallback_strategy`: Ray takes it as soon as the others are busy.
    """
    others = [one for one in ray.nodes() if one["Alive"] and one["NodeID"] not in nodes and one["Resources"].get("CPU")]
    if not nodes or not others or len(nodes) > MOST_AVOIDED:
        return {}
    return {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(nodes))})"}}


def make_waves(job: Job, out: str, ids: list[str] | None) -> list[str]:
    """Decode the codes of the recordings `ids`, or (None) of all that have no WAV; returns a sentence where that
    fails."""
    from pipeline.waves import decode_codes  # here, for it imports ray.data

    run = open_run(out)
    if ids is None:
        whole = run.index.filter(pc.equal(run.index["chunk"], 0))["id"].to_pylist()
        ids = without_wave(job.fs, f"{job.run}/{WAVES}", whole, job.waves)
    else:
        ids = sorted(run.holding(ids))  # another chunk may have failed since
    failures = decode_codes(run, ids, job.fs, f"{job.run}/{WAVES}", job.decoding, job.waves).failures if ids else []
    return [f"codes without a WAV: {listed(failures, 3, '; ')}"] if failures else []


def finish(job: Job, planned: Plan, record: dict[str, Any], attempt: Attempt, out: str) -> None:
    """Join what long recordings left, make WAVs that are missing, measure agreement with fp32, complete run.json.

    `record`: run.json as `begin` wrote it.
    """
    job.check_lock()
    join_long_waves(job.keys, job.waves)
    silent = []
    unknown = attempt.unheard or record[LACKS_WAVES]  # which recordings have no wave
    if "decode" in job.resources.pools and (attempt.undecoded or unknown):
        start = time.monotonic()
        silent = make_waves(job, out, None if unknown else [*attempt.undecoded])
        attempt.wall_s += time.monotonic() - start
    sweep(job.fs, job.run)
    pool, rules = job.resources.pools["encode"], job.settings.output
    shares = record.get("agreement_with_fp32") or agreement(
        planned, job.keys.ids(FAILURES), job.reading, job.codec("encode"), pool, rules.agreement_s
    )
    ended = attempt.record(utc_now(), command_line(sys.argv))
    counts = count(job.keys.refresh(), job.context_samples)
    sums = checksums(job.fs, job.run, {**record.get("parts", {}), **attempt.parts})
    job.check_lock()  # the slow part is over
    there = counts["recordings"] + counts["failures"] + counts["skipped"]
    cut = planned.cut and (job.limit is None or there >= job.limit)  # of containers a plan does not know
    record = {key: value for key, value in record.items() if key != RUNNING and (cut or key != PENDING)}
    save(
        job.fs,
        job.run,
        {
            **record,
            "state": "limited" if cut else "complete",
            "limit": job.limit if cut else None,  # a retry would take it
            "counts": {**counts, "passed_over": planned.passed_over.total()},
            "passed_over": bounded(planned.passed_over),
            "agreement_with_fp32": shares,
            "warnings": [*warnings(shares, rules.agreement_min, job.resources.precision), *silent],
            LACKS_WAVES: "decode" not in job.resources.pools,
            "attempts": [*record["attempts"], ended],
            "parts": sums,
        },
    )
    if not cut:  # else only the first recordings are there
        mark(job.fs, job.run, complete=True)
    forget_sums(job.fs, job.run)
    at_end.report_at_end(out, attempt.wall_s, rules.report)
