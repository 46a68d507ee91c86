"""Synthetic recordings and the codes of an undisturbed run -> what another run lost, duplicated or left behind."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import soundfile

from actors.contract import SAMPLE_RATE
from pipeline import open_run, tokenize
from pipeline.run.layout import parts
from pipeline.verify.check import check
from tests.helpers.rows import tone

SUCCESS_FILE, RUN_FILE = "_SUCCESS", "run.json"
POISON, LOUD = "poison.wav", "loud.wav"
POISON_SAMPLES = 7
"""No other recording has so few: by them a codec knows the one to die of."""
LOUD_SAMPLE = 8.0
"""No other recording has such a sample: by it an engine knows the one that is to fit on no device."""
CHUNK_S = 5.0
OPTIONS: dict[str, Any] = {
    "chunk.length_s": CHUNK_S,
    "chunk.context_s": 1.0,
    "chunk.block_mb": 1.0,
    "input.task_mb": 0.25,
    "encode.threads": 1,
    "decode.threads": 1,
    "output.rows_per_part": 2,
}
"""Of every run: many small tasks, blocks and parts, so that a fault finds some done, some in hand, some not begun."""


@dataclass(frozen=True)
class Corpus:
    """Inputs, and the result of an undisturbed run of them."""

    folder: Path
    model: Path
    codes: dict[str, np.ndarray] = field(repr=False)  # id -> int16 [F, 16]
    errors: dict[str, str]  # id -> the error of what is broken
    chunks: int  # rows of codes


@dataclass
class Trial:
    """The result of one fault."""

    recover_s: float | None = None
    lost: int = 0  # recordings in neither codes nor failures, or with other codes
    duplicates: int = 0
    problems: list[str] = field(default_factory=list)  # a torn file, say: empty where all is well

    def __add__(self, other: "Trial") -> "Trial":
        recover_s = self.recover_s if other.recover_s is None else other.recover_s
        return Trial(
            recover_s, self.lost + other.lost, self.duplicates + other.duplicates, self.problems + other.problems
        )

    @property
    def bad(self) -> bool:
        """Whether there is any problem."""
        return bool(self.lost or self.duplicates or self.problems)


def make_corpus(folder: Path, recordings: int, broken: int = 5, seed: int = 0) -> Path:
    """`recordings` of 0.3 to 4.5 s, a long one for every ten, a poisonous and a loud one, and `broken` files."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(recordings):
        wave = tone(random.uniform(0.3, 4.5), seed=seed + number)
        soundfile.write(folder / f"{number:03d}.{'flac' if number % 5 == 4 else 'wav'}", wave, SAMPLE_RATE)
    for number in range(-(-recordings // 10)):
        wave = tone(random.uniform(3.2, 4.2) * CHUNK_S, seed=1000 + seed + number)
        soundfile.write(folder / f"long{number}.wav", wave, SAMPLE_RATE)
    soundfile.write(folder / POISON, tone(1.0, seed=seed)[:POISON_SAMPLES], SAMPLE_RATE)
    soundfile.write(folder / LOUD, np.append(tone(2.0, seed=seed), LOUD_SAMPLE), SAMPLE_RATE, subtype="FLOAT")
    for number in range(broken):
        break_one(folder, number, seed)
    return folder


def break_one(folder: Path, number: int, seed: int) -> str:
    """A broken file, in one of five ways by `number`; returns its name."""
    name = f"bad{number}.{('wav', 'mp3', 'flac', 'wav', 'ogg')[number % 5]}"
    wave = tone(1.5, seed=seed + number)
    if number % 5 == 0:  # ends before its header says
        soundfile.write(folder / name, wave, SAMPLE_RATE)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    elif number % 5 == 1:
        (folder / name).write_bytes(np.random.default_rng(1).bytes(20_000))
    elif number % 5 == 2:
        (folder / name).touch()
    elif number % 5 == 3:
        wave[len(wave) // 2] = np.nan
        soundfile.write(folder / name, wave, SAMPLE_RATE, subtype="FLOAT")
    else:  # text that says it is music
        (folder / name).write_text("It was a dark and stormy night.\n" * 100)
    return name


def undisturbed(folder: Path, run: Path, model: Path) -> Corpus:
    """Tokenize `folder` without a fault."""
    done = tokenize(folder, run, model=str(model), reconstruct=False, quiet=True, settings=OPTIONS)
    codes = {recording.id: recording.codes for recording in done}
    failures = done.failures()
    errors = dict(zip(failures["id"].to_pylist(), failures["error"].to_pylist(), strict=True))
    corpus = Corpus(folder, model, codes, errors, len(done.table(["id"])))
    assert not judge(corpus, run).bad
    assert len(codes) + len(errors) == len(list(folder.iterdir()))
    return corpus


def judge(corpus: Corpus, run: Path, also_failed: dict[str, str] | None = None, inputs: Path | None = None) -> Trial:
    """A run that is over against the undisturbed one; `also_failed` are failures that the fault itself makes."""
    expected = corpus.errors | (also_failed or {})
    found = open_run(run)
    codes = {recording.id: recording.codes for recording in found}
    failures = found.failures().select(["id", "error"]).to_pylist()
    wanted = corpus.codes.keys() - expected.keys()
    trial = Trial(
        lost=sum(id_ not in codes or not np.array_equal(codes[id_], corpus.codes[id_]) for id_ in wanted),
        duplicates=_doubles(found.table(["id", "chunk"])) + len(failures) - len({row["id"] for row in failures}),
        problems=check(run, [str(inputs or corpus.folder)]).problems,
    )
    if {row["id"]: row["error"] for row in failures} != expected:
        trial.problems.append(f"failures are {failures}, expected {expected}")
    trial.problems += [f"{path} was left behind" for path in run.rglob(".*")]
    return trial


def judge_unfinished(corpus: Corpus, run: Path) -> Trial:
    """A run that a fault has stopped: what can be read of it is right, there once, and whole; all, if it says so."""
    trial = Trial()
    if not (run / RUN_FILE).exists():
        return trial
    found = open_run(run)
    torn = [path for folder in ("codes", "failures") for path in parts(found.fs, str(run), folder) if not _sound(path)]
    trial.problems += [f"{path} is torn" for path in torn]
    trial.lost = sum(not np.array_equal(one.codes, corpus.codes[one.id]) for one in found)
    if (run / SUCCESS_FILE).exists() and len(found) < len(corpus.codes):
        trial.problems.append(f"it says that it is complete, with {len(found)} of {len(corpus.codes)} recordings")
    trial.duplicates = _doubles(found.table(["id", "chunk"]))
    return trial


def _doubles(rows: Any) -> int:
    counts = rows.group_by(["id", "chunk"]).aggregate([([], "count_all")])
    return len(rows) - len(counts) if len(rows) else 0


def _sound(part: str) -> bool:
    try:
        return pc.all(pc.is_valid(pq.read_table(part)["id"])).as_py()
    except (OSError, ValueError):
        return False


def committed(run: Path) -> set[Path]:
    """The committed parts of a run."""
    return {*run.glob("codes/part-*"), *run.glob("failures/part-*")}
