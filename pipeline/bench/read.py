"""Speech -> how fast one core reads each format: a run's read stage, librosa.load, soundfile with soxr.

The ways take turns in one process; times are CPU time, of helper processes too, and medians over the rounds.
"""

import resource
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import soxr

from actors.bench.markdown import rows_of
from actors.contract import SAMPLE_RATE
from pipeline.bench.sound_files import KINDS, Kind, write_sound
from pipeline.bench.speech import plan, speech, waves

CLIPS = {10: 12, 1: 60}
"""Seconds of a clip: how many. Most recordings of corpora are short, and then opening counts."""
OURS = "voxmill"


def bench_read(location: str | None = None, rounds: int = 5, kinds: Sequence[Kind] = KINDS) -> dict[str, Any]:
    """The figures of each of `kinds`, for clips of 10 s and 1 s cut from the speech at `location` (None: bundled).

    Raises InputError.
    """
    source = speech(location, max(seconds * count for seconds, count in CLIPS.items()))
    rows = []
    for seconds, count in CLIPS.items():
        clips = np.split(source[: seconds * count * SAMPLE_RATE], count)
        for kind in kinds:
            with tempfile.TemporaryDirectory() as folder:
                for number, clip in enumerate(clips):
                    write_sound(Path(folder) / f"{number:03}.{kind.suffix}", clip, kind)
                rows.append({"format": str(kind), "clip_s": seconds, **measure(folder, rounds)})
    return {"speech": location or "bundled clips", "date": date.today().isoformat(), "rounds": rounds, "rows": rows}


def measure(folder: str, rounds: int) -> dict[str, Any]:
    """Times real time of each way over the clips in `folder`, and what their samples have in common."""
    planned, files = plan(folder), sorted(Path(folder).iterdir())
    ways: dict[str, Callable[[], list[np.ndarray]]] = {
        OURS: lambda: [wave for _, wave in waves(planned)],
        "librosa.load": lambda: [_librosa(file) for file in files],
        "soundfile + soxr": lambda: [_soundfile(file) for file in files],
    }
    samples, unreadable = dict[str, list[np.ndarray]](), dict[str, str]()
    for name, read in ways.items():  # a warm-up that is not timed; its samples are compared
        try:
            samples[name] = read()
        except Exception as error:  # a decoder that this way lacks, which is a result
            unreadable[name] = f"{type(error).__name__}: {error}".replace(f"{folder}/", "")
    spent: dict[str, list[float]] = {name: [] for name in samples}
    for _ in range(rounds):
        for name, times in spent.items():
            before = cpu_s()
            ways[name]()
            times.append(cpu_s() - before)
    audio_s = sum(map(len, samples[OURS])) / SAMPLE_RATE
    rates = {name: audio_s / statistics.median(times) for name, times in spent.items()}
    apart = {name: difference(samples[OURS], found) for name, found in samples.items() if name != OURS}
    return {"times_real": rates, "cpu_s": spent, "samples": apart, "unreadable": unreadable}


def _librosa(file: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that soundfile cannot read it, and another library does
        return librosa.load(file, sr=SAMPLE_RATE)[0]


def _soundfile(file: Path) -> np.ndarray:
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    mono = samples[:, 0] if samples.shape[1] == 1 else sum(samples.T) / samples.shape[1]  # faster than np.mean
    return soxr.resample(mono, rate, SAMPLE_RATE)


def cpu_s() -> float:
    """CPU seconds of this process and of those it waited for: librosa reads some formats through the ffmpeg command."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def difference(ours: list[np.ndarray], others: list[np.ndarray]) -> dict[str, float]:
    """The largest difference of two samples, over what both have; and how many samples others have more, at most."""
    pairs = list(zip(ours, others, strict=True))
    common = [np.abs(a[: len(b)] - b[: len(a)]).max(initial=0) for a, b in pairs]
    return {"largest": float(max(common)), "longer": max((len(b) - len(a) for a, b in pairs), key=abs)}


def table(result: dict[str, Any]) -> str:
    """The figures as a Markdown table, and why a way cannot read a format."""
    others = ["librosa.load", "soundfile + soxr"]
    titles = ["format", "clips of", OURS, *others, *[f"{OURS} to {name}" for name in others], "samples, to librosa's"]
    rows, notes = [], []
    for row in result["rows"]:
        rates = row["times_real"]
        ratios = [f"{rates[OURS] / rates[name]:.2f}x" if name in rates else "-" for name in others]
        cells = [f"{rates[name]:,.0f}" if name in rates else "-" for name in (OURS, *others)]
        rows.append([row["format"], f"{row['clip_s']} s", *cells, *ratios, _apart(row["samples"].get("librosa.load"))])
        notes += [f"{row['format']}: not read by {name} ({why})" for name, why in row["unreadable"].items()]
    head = f"Times real time on one core, speech: {result['speech']}, medians of {result['rounds']}"
    return "\n\n".join([head, rows_of(titles, rows), *dict.fromkeys(notes)])


def _apart(found: dict[str, float] | None) -> str:
    if found is None:
        return "-"
    longer = f", {abs(found['longer'])} {'fewer' if found['longer'] > 0 else 'more'}" if found["longer"] else ""
    return ("equal" if not found["largest"] else f"{found['largest']:.0e} apart") + longer
