"""run.json of a run -> findings: is the GPU really used, why is it slow. From the run's own record alone.

Of each stage the record has `busy_s`, the seconds that its workers were inside their calls, and `waited_s`, those
between them, added up over the workers. A stage that is busy while the next one waits is the bottleneck.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.doctor.finding import Finding, Level, change, ok, warn
from pipeline.errors import plural
from pipeline.run.stage_times import SHORT_S, active_s, before_first, busy_shares, gpus, main_attempt
from pipeline.schema import STAGES

BUSY = 0.8
"""Share of its time from which on a stage has no room left."""
IDLE = 0.5
"""Share of its time below which a stage mostly waits."""
SHORT_SHARE = 0.3
"""Of the run before the first audio is encoded, from which on the start is what takes long."""
MANY_FAILURES = 0.05
CONTEXT_SHARE = 0.3


def diagnose(record: dict[str, Any], gpus_here: int = 0) -> list[Finding]:
    """Findings about the attempt with the most audio. `gpus_here`: GPUs of the machine that asks."""
    attempt = main_attempt(record.get("attempts", []))
    if not attempt and record.get("state") in ("complete", "limited"):
        seen = "it has ended, and none of its recordings has codes"
        return [warn("run", seen, "recordings with codes", "`voxmill show RUN` says why."), _failures(record)]
    if not attempt:
        seen = "no attempt that committed audio is recorded"
        return [warn("run", seen, "a run that has ended", "Ask again when it has, or `voxmill show RUN`.")]
    stages = attempt.get("stages") or {}
    return [
        _speed(record, attempt),
        _device(record, stages, attempt, gpus_here),
        _bottleneck(record, stages, attempt),
        *_memory(stages),
        *_start(attempt),
        *_settings(record),
        _failures(record),
    ]


def _speed(record: dict[str, Any], attempt: Mapping[str, Any]) -> Finding:
    seen = f"{attempt['audio_s'] / 3600:,.2f} h of audio in {attempt['wall_s']:,.0f} s"
    return ok("speed", f"{seen}: {attempt['times_real_time']:,.1f}x real time on {record['device']}")


def _device(record: dict[str, Any], stages: dict[str, Any], attempt: Mapping[str, Any], gpus_here: int) -> Finding:
    """Is my GPU really used?"""
    if "cuda" not in record["device"]:  # a merged run may name both
        if gpus_here:
            seen = f"no: the run used the CPU, and this machine has {gpus_here}"
            return change("GPU used", seen, "device cuda", "--device cuda, once `voxmill doctor` finds the device ok.")
        return ok("GPU used", "no: the run used the CPU, and this machine has none")
    if "encode" not in stages:
        return warn("GPU used", "not recorded", "times of the stages", "Run it with this version of voxmill.")
    pools = [stages[stage] for stage in ("encode", "decode") if stage in stages]
    reserved = gpus(record["settings"], stages)
    share = sum(pool["busy_s"] for pool in pools) / max(reserved * active_s(attempt), 1e-9)
    peaks = [pool["peak_device_mb"] for pool in pools if pool.get("peak_device_mb")]
    memory = f"; at most {max(peaks):,.0f} MB of its memory in a process" if peaks else ""
    seen = f"{share:.0%} of the time of {plural(reserved, 'GPU')} was inside calls of the pools{memory}"
    if share >= BUSY:
        return ok("GPU used", seen)
    make = change if share < IDLE else warn
    return make("GPU used", seen, f"{BUSY:.0%} or more", "See the bottleneck below; fewer GPUs would do the same.")


def _bottleneck(record: dict[str, Any], stages: dict[str, Any], attempt: Mapping[str, Any]) -> Finding:
    """Why is it slow? The stage that has no room left, and what gives it more."""
    if not stages:
        return warn("bottleneck", "not recorded", "times of the stages", "Run it with this version of voxmill.")
    shares = busy_shares(attempt)
    seen = ", ".join(f"{name} {share:.0%} busy ({stages[name]['workers']})" for name, share in shares.items())
    full = max(shares, key=lambda name: shares[name])
    if shares[full] < BUSY and attempt["wall_s"] < SHORT_S:
        return warn("bottleneck", f"{seen}: too short a run to tell", "minutes", "Look at a run of more audio.")
    if shares[full] < BUSY:
        advice = "Larger blocks on GPUs (--set chunk.block_mb=256); for a large corpus several runs with --shard."
        return warn("bottleneck", f"{seen}: every stage waits", "one that is busy: the driver hands out blocks", advice)
    waits = full in ("read", "waves", "write") and shares.get("encode", 1.0) < IDLE
    level: Level = "change" if waits and record["device"] == "cuda" else "ok"
    return Finding("bottleneck", level, f"{seen}: {full} has no room left", *_more_of(full, record, stages))


def _more_of(name: str, record: dict[str, Any], stages: dict[str, Any]) -> tuple[str, str]:
    """What was expected, and settings that give the stage `name` more."""
    stage, cuda = stages[name], record["device"] == "cuda"
    workers = stage["workers"]
    if name == "read":
        resampled = stage.get("resample_s", 0.0) / max(stage["busy_s"], 1e-9)
        also = f" {resampled:.0%} of it is resampling: a corpus at 24 kHz saves that." if resampled > 0.3 else ""
        return "pools that do not wait for readers", f"--set input.readers={2 * workers}, with CPUs for them.{also}"
    if name in ("waves", "write"):
        return "writers with room", "--set output.waves=tar, --no-reconstruct, or a faster --out."
    if cuda:
        more = f"--set {name}.actors={2 * workers} (or {name}.max_actors where nodes join)"
        without = "; --no-reconstruct, if no waves are needed" if name == "decode" else ""
        return "the GPU is what limits", f"For more speed, more GPUs: {more}{without}."
    without = "--no-reconstruct, if no waves are needed; " if name == "decode" else ""
    return "the CPU is what limits", f"{without}a GPU; `voxmill doctor` says if other {name}.threads are faster."


def _start(attempt: Mapping[str, Any]) -> list[Finding]:
    """A run that is mostly its start."""
    before, wall_s = before_first(attempt.get("timeline")), attempt["wall_s"]
    if before is None:
        late = wall_s < SHORT_S
        seen = f"the whole run took {wall_s:.0f} s, and Ray, PyTorch and the weights take 10 to 30 s of any run"
    else:
        late = before > SHORT_SHARE * wall_s
        seen = f"{before:.0f} of {wall_s:.0f} s passed before any audio was encoded"
    if not late:
        return []
    return [warn("start", seen, "a corpus that takes minutes", "Give one command many inputs, not one each.")]


def _memory(stages: dict[str, Any]) -> list[Finding]:
    peaks = [f"{name} {stages[name]['peak_memory_mb']:,.0f} MB" for name in STAGES if name in stages]
    return [ok("memory", f"a process at its peak: {', '.join(peaks)}")] if peaks else []


def _settings(record: dict[str, Any]) -> list[Finding]:
    """Settings that cost speed."""
    settings, cuda, found = record["settings"], record["device"] == "cuda", []
    if cuda and record["precision"] == "fp32":
        found.append(
            warn("precision", "fp32 on a GPU", "fp16, the default", "--precision fp16 (another run: codes differ)")
        )
    if cuda and settings.get("accelerate") == "none":
        found.append(warn("accelerate", "none on a GPU", "graphs, the default", "--set accelerate=auto"))
    block = settings.get("chunk", {}).get("block_mb")
    if cuda and block is not None and block < 8:
        found.append(
            warn("blocks", f"{block:g} MiB a call", "32 to 256, the default on a GPU", "Do not set chunk.block_mb.")
        )
    counts = record.get("counts", {})
    context, audio = counts.get("context_s", 0.0), counts.get("audio_s", 0.0)
    if context > CONTEXT_SHARE * (context + audio):
        seen = f"{context / (context + audio):.0%} of the encoding is left context of chunks"
        advice = "a larger chunk.length_s (another run: it may change codes)"
        found.append(warn("context", seen, f"{CONTEXT_SHARE:.0%} or less", advice))
    return found


def _failures(record: dict[str, Any]) -> Finding:
    counts = record.get("counts", {})
    failed, good = counts.get("failures", 0), counts.get("recordings", 0)
    seen = f"{failed:,} of {failed + good:,} recordings"
    if failed > MANY_FAILURES * (failed + good):
        return change(
            "failures", seen, f"under {MANY_FAILURES:.0%}", "`voxmill show RUN` says why; then `voxmill retry`."
        )
    return ok("failures", seen)
