"""A run and its inputs -> a sample of its recordings encoded again in the same way, and the share of equal codes."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from actors.checkpoint import find_model
from actors.pools.arrow import codes_arrays
from actors.pools.encode import EncodeChunks
from actors.pools.isolate import Ledger
from pipeline.cluster.load import load_codec
from pipeline.cluster.resources import local_cpus
from pipeline.errors import InputError, VoxmillError
from pipeline.job import Job, prepare
from pipeline.read import read_chunks
from pipeline.run.parts import read_part
from pipeline.run.reader import open_run
from pipeline.run.run_json import recorded_inputs, run_settings
from pipeline.schema import CODES_SCHEMA, parents
from pipeline.settings import Pool
from pipeline.sources.inside import container_of
from pipeline.sources.plan import Plan, plan
from pipeline.sources.task import ReadTask
from pipeline.storage.location import redact
from pipeline.storage.text import clean_id
from pipeline.verify.evidence import Evidence


@dataclass(frozen=True)
class Reencoded:
    """The result of encoding again."""

    problems: list[str]
    lines: list[str]  # for people


def reencode(location: str, evidence: Evidence, sample: int, inputs: Sequence[str], seed: int) -> Reencoded:
    """Encode `sample` whole recordings again, in this process, from `inputs` or those in run.json.

    On this machine's device, in the run's precision if the device supports it. A recording that cannot be encoded again
    is a problem.
    """
    rows = _sampled(evidence, sample, seed)
    chosen = [id_ for id_ in evidence.coded.ids(rows) if id_ is not None]
    if evidence.summary is None or evidence.torn or not chosen:
        return Reencoded(["nothing is encoded again: no run.json, no whole recording, or torn parts"], [])
    try:
        job = job_again(evidence, location)
        planned = plan_again(evidence, rows, chosen, list(inputs or recorded_inputs(evidence.summary)), job)
    except VoxmillError as error:
        hint = " (--inputs says where the inputs are now)" if isinstance(error, InputError) else ""
        return Reencoded([f"the sample cannot be encoded again: {error}{hint}"], [])
    try:
        run = open_run(location)
        stored = {id_: run[id_].codes for id_ in chosen}
    except VoxmillError as error:
        return Reencoded([f"the sample cannot be compared: {error}"], [])
    return _compare(stored, job, planned, evidence, chosen)


def _sampled(evidence: Evidence, sample: int, seed: int) -> np.ndarray:
    """The first rows of some whole recordings, ascending. `seed` chooses the same ones however they lie in parts."""
    whole = np.flatnonzero(evidence.recordings.whole)
    places = random.Random(seed).sample(range(len(whole)), min(sample, len(whole)))
    return np.sort(whole[np.argsort(evidence.coded.keys[whole])[places]])


def job_again(evidence: Evidence, location: str) -> Job:
    """The run's job on this machine. Raises VoxmillError if the model cannot be found or has other weights."""
    summary = evidence.summary or {}
    settings = run_settings(summary)
    gpus = torch.cuda.device_count()
    precision = summary["precision"] if gpus or summary["precision"] != "fp16" else "fp32"
    settings = settings.model_copy(update={"device": "auto", "precision": precision, "encode": Pool()})
    cluster = {"CPU": float(local_cpus()), "GPU": float(gpus)}
    job = prepare(settings, find_model(settings.model), location, cluster, ("encode",))
    if job.sha256 != summary["model"]["sha256"]:
        raise VoxmillError(
            f"{redact(settings.model)} holds other weights than the run's: {job.sha256}, not "
            f"{summary['model']['sha256']}."
        )
    return job


def plan_again(evidence: Evidence, rows: np.ndarray, chosen: Sequence[str], inputs: list[str], job: Job) -> Plan:
    """A plan of the recordings `chosen`, which `rows` are of; other committed recordings of their containers are
    skipped."""
    ids = pa.chunked_array([*evidence.coded.all_ids().chunks, *evidence.failed.all_ids().chunks], pa.large_string())
    others = ids.filter(pc.invert(pc.is_in(ids, value_set=pa.array(chosen, pa.large_string()))))
    planned = plan(inputs, done=others, **job.settings.input.finding)
    containers = {name for source in _sources(evidence, rows) if (name := container_of(source))}
    wanted = {*chosen, *parents(pa.array(chosen, pa.string())).to_pylist()}  # of a channel or a stretch, the file
    return replace(planned, tasks=[_narrow(task, wanted, containers) for task in planned.tasks])


def _sources(evidence: Evidence, rows: np.ndarray) -> set[str]:
    """What the recordings of `rows` were read from."""
    found: set[str] = set()
    for path, asked in evidence.coded.by_part(np.isin(np.arange(len(evidence.coded)), rows)).items():
        if asked.any():
            sources = read_part(evidence.fs, path, CODES_SCHEMA, ["source"])["source"]
            found.update(sources.filter(pa.array(asked)).to_pylist())
    return found


def _narrow(task: ReadTask, chosen: set[str], containers: set[str]) -> ReadTask:
    """The task without the files or containers that hold no recording of `chosen`."""
    if task.kind == "files":
        mask = [id_ in chosen for id_ in task.units["@id"].to_pylist()]
    else:
        mask = [clean_id(redact(location)) in containers for location in task.units["@location"].to_pylist()]
    return replace(task, units=task.units.filter(pa.array(mask, pa.bool_())))


def _again(job: Job, planned: Plan, chosen: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of `chosen`, one by one, encoded as by the encode pool."""
    wanted = set(chosen)
    with _threads_kept():
        pool = EncodeChunks(lambda: load_codec(job.codec("encode")), Ledger())
        for task in planned.tasks:
            for row in read_chunks(task, job.reading, planned.carried, {}):
                if row["id"][0].as_py() in wanted:
                    yield pool(row)


@contextlib.contextmanager
def _threads_kept() -> Iterator[None]:
    """Restores torch's number of threads: loading a codec sets it for the whole process, which is the caller's."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compare(
    stored: dict[str, np.ndarray], job: Job, planned: Plan, evidence: Evidence, chosen: Sequence[str]
) -> Reencoded:
    problems: list[str] = []
    same: list[np.ndarray] = []
    found: set[str] = set()
    for row in _again(job, planned, chosen):
        values = row.drop_columns(["codes"]).to_pylist()[0]
        id_ = values["id"]
        found.add(id_)
        if values["error"] is not None:
            problems.append(f"{id_} cannot be encoded again: {values['error']}: {values['message']}")
            continue
        begin = values["first_frame"]
        ours, codes = stored[id_][begin : begin + values["num_frames"]], codes_arrays(row["codes"])[0]
        if codes is None or ours.shape != codes.shape:
            shape = None if codes is None else codes.shape
            problems.append(f"{id_}, chunk {values['chunk']}: {shape} codes now, the run has {ours.shape}")
            continue
        same.append(ours == codes)
        problems += _differs(id_, values["chunk"], same[-1], job.settings.output.agreement_min)
    if not found:
        problems.append(f"none of {len(chosen)} sampled recordings is among the inputs: give --inputs")
    return Reencoded(problems, _lines(same, len(found), len(chosen), job, evidence))


def _differs(id_: str, chunk: int, same: np.ndarray, least: float) -> list[str]:
    """One frame may always differ: in a very short recording a single float tie is a large share."""
    wrong = int((~same[:, 0]).sum())
    if wrong <= max(1, (1 - least) * len(same)):
        return []
    return [f"{id_}, chunk {chunk}: codebook 0 differs in {wrong} of {len(same)} frames from the source encoded again"]


def _lines(same: list[np.ndarray], found: int, asked: int, job: Job, evidence: Evidence) -> list[str]:
    summary = evidence.summary or {}
    lines = [
        f"{found} of {asked} sampled recordings encoded again in {job.resources.precision} on {job.resources.device}"
        f" (the run: {summary['precision']} on {summary['device']})"
    ]
    if same:
        frames = np.concatenate(same)
        lines.append(f"agreement: {frames[:, 0].mean():.2%} of codebook 0, {frames.mean():.2%} of all 16")
    return lines
