"""A seed -> a random corpus, tokenized in this process under random faults -> what is wrong with the finished run."""

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from actors.codec import Codec
from pipeline import tokenize
from pipeline.errors import InputError
from pipeline.run.reader import Run
from pipeline.sources.formats import recordings
from pipeline.sources.plan import plan
from pipeline.verify.check import check
from tests.helpers.faults.chaos import Chaos, DriverKilled, leave_what_a_killed_driver_leaves, wave_of, without_ray
from tests.helpers.faults.corpus import Corpus, Trial
from tests.helpers.rows import tone
from tests.helpers.shards import write_parquet, write_tar

ATTEMPTS = 4
"""Commands of a run that may be disturbed; the next one is not."""


def random_faults(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """Small corpora: readers and drivers die, files go, come and change, writes are doubled and late."""
    codec = Codec.load(str(corpus.model), device="cpu", precision="fp32", threads=1)
    seeds = random.integers(1 << 30, size=times).tolist()
    trials = []
    for seed in seeds:
        try:
            disturbed(seed, place / str(seed), corpus.model, codec)
            trials.append(Trial())
        except AssertionError as error:
            trials.append(Trial(problems=[f"seed {seed}: {error}"]))
    return trials


def disturbed(seed: int, place: Path, model: Path, codec: Codec, more: Mapping[str, Any] | None = None) -> int:
    """Make a corpus, tokenize it with faults until it is complete, and compare; returns how many faults there were.

    `more`: settings beside the random ones.
    """
    random = np.random.default_rng(seed)
    corpus = make_corpus(place / "corpus", random)
    options = options_of(random, model, shards=seed % 2 == 1)
    options["settings"] |= more or {}
    chaos = Chaos(random, [path for path in corpus.iterdir() if path.suffix in (".wav", ".flac")])
    changed: set[str] = set()
    for _ in range(ATTEMPTS):
        chaos.reader_dies, chaos.driver_dies, chaos.written_again, chaos.gpus_go = random.uniform(0, 0.3, 4)
        try:
            attempt(corpus, place / "run", options, codec, chaos)
        except DriverKilled:
            leave_what_a_killed_driver_leaves(place / "run", random)
        except InputError as error:  # every file may be away
            if "no audio found" not in str(error):
                raise
        chaos.files_go_and_come()
        if random.random() < 0.3:
            name = change_one(corpus, random)
            changed |= name
            chaos.forget(name & chaos.gone)  # not promised: a failure to open it does not tell of which content it was
    chaos.all_files_come_back()
    calm = Chaos(random, late=chaos.late)
    run = attempt(corpus, place / "run", options, codec, calm)
    with without_ray(codec, Chaos(random)):
        compare(run, tokenize(str(corpus), place / "undisturbed", **options), corpus, chaos.gone)
    assert check(run.location, [str(corpus)]).problems == []
    return chaos.faults + len(changed)


def attempt(corpus: Path, run: Path, options: dict[str, Any], codec: Codec, chaos: Chaos) -> Run:
    """One command; where it is refused since inputs changed after the last one, again, to do them anew."""
    with without_ray(codec, chaos):
        try:
            return tokenize(str(corpus), run, **options)
        except InputError as error:
            if "input.changed" not in str(error):
                raise
        return tokenize(str(corpus), run, **options | {"settings": options["settings"] | {"input.changed": "redo"}})


def options_of(random: np.random.Generator, model: Path, shards: bool) -> dict[str, Any]:
    """Codes only, or with shards of waves."""
    settings = {"chunk.length_s": 0.4, "chunk.context_s": 0.16, "input.task_mb": float(random.choice([0.05, 0.2, 1.0]))}
    settings |= {"output.waves": "tar", "output.wave_format": "flac"} if shards else {}
    return {"model": str(model), "reconstruct": shards, "quiet": True, "settings": settings}


def make_corpus(folder: Path, random: np.random.Generator) -> Path:
    """Some files, one of several chunks, broken ones; sometimes a tar and a Parquet shard."""
    folder.mkdir(parents=True)
    for number in range(int(random.integers(2, 7))):
        write(folder / f"{number}.{random.choice(['wav', 'flac'])}", random.uniform(0.05, 0.35), random)
    write(folder / "long.wav", random.uniform(0.9, 2.0), random)
    (folder / "bad.wav").write_bytes(b"RIFF" + random.bytes(200))
    if random.random() < 0.6:
        names = [f"m{number}.wav" for number in range(int(random.integers(1, 5)))]
        write_tar(folder / "shard.tar", [(name, wave_bytes(folder, random)) for name in [*names, *names[:1]]])
    if random.random() < 0.4:
        rows = [{"bytes": wave_bytes(folder, random), "path": None} for _ in range(3)]
        write_parquet(folder / "shard.parquet", [*rows, {"bytes": b"no audio", "path": None}])
    return folder


def write(path: Path, seconds: float, random: np.random.Generator) -> None:
    soundfile.write(path, tone(seconds, seed=int(random.integers(1 << 30))), 24_000)


def wave_bytes(folder: Path, random: np.random.Generator) -> bytes:
    write(folder / "member.wav", random.uniform(0.05, 0.6), random)
    content = (folder / "member.wav").read_bytes()
    (folder / "member.wav").unlink()
    return content


def change_one(corpus: Path, random: np.random.Generator) -> set[str]:
    """Give one file other content: a WAV other audio, a tar another member more."""
    found = sorted(path for path in corpus.glob("*.[wt]a[vr]") if path.name != "bad.wav")
    path = random.choice(found or [None])
    if path is None:
        return set()
    if path.suffix == ".wav":
        write(path, random.uniform(0.05, 1.5), random)
    else:
        with tarfile.open(path) as tar:
            members = [(one.name, tar.extractfile(one).read()) for one in tar]
        write_tar(path, [*members, (f"m{len(members)}.wav", wave_bytes(corpus, random))])
    return {path.name}


def compare(run: Run, undisturbed: Run, corpus: Path, gone: set[str]) -> None:
    """Every planned recording is in codes, in failures or skipped, once; failures are those of an undisturbed run, or
    of files that were away."""
    planned = [item.id for task in plan([str(corpus)]).tasks for item in recordings(task)]
    coded, failed = [recording.id for recording in run], run.failures()["id"].to_pylist()
    skipped = run.skipped()["id"].to_pylist()
    assert sorted(coded + failed + skipped) == sorted(planned)
    assert set(skipped) <= set(undisturbed.skipped()["id"].to_pylist())
    assert set(failed) - set(undisturbed.failures()["id"].to_pylist()) <= gone
    for recording in run:
        assert np.array_equal(recording.codes, undisturbed[recording.id].codes)
        if run.summary()["settings"]["reconstruct"]:
            wave, _ = soundfile.read(recording.wave, dtype="int16")
            assert np.array_equal(wave, wave_of(recording.codes)[: recording.num_samples])
    assert (Path(run.location) / "_SUCCESS").exists()
