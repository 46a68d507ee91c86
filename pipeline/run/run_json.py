"""RUN/run.json -> a validated dict. A damaged one is an error that names the key; `salvage` keeps the valid keys."""

import json
import re
from typing import Any, Literal

import pydantic
from pyarrow.fs import FileSystem
from pydantic_core import from_json

from pipeline.errors import InputError, OutputError
from pipeline.run.layout import RUN_FILE, is_marked
from pipeline.settings import Settings
from pipeline.storage.atomic import write_whole
from pipeline.storage.location import STDIN, redact
from pipeline.storage.translate import errors_as

MAX_SAMPLES = 2**48
"""Upper limit for a chunk: centuries of audio, and products of it still fit into int64."""
DERIVED: dict[str, Any] = {
    "state": "running",
    "attempts": [],
    "counts": {},
    "parts": {},
    "agreement_with_fp32": None,
    "warnings": [],
}
"""Keys that can be restored from the parts or by the next attempt, and their value until then. The other keys are known
to the first attempt only."""


_NUMBERS = re.compile(r"\[\n[-+.,\s\deE]+\]")
"""A list of numbers over several lines, which no string holds: in JSON their line ends are escaped."""


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", strict=True)


class _Model(_Section):
    id: str
    sha256: str


class _Chunk(_Section):
    samples: int = pydantic.Field(ge=1, le=MAX_SAMPLES)
    context_samples: int = pydantic.Field(ge=0, le=MAX_SAMPLES)


class _Output(_Section):
    waves: Literal["files", "tar"] = "files"
    wave_format: Literal["wav", "flac"] = "wav"


class _Settings(_Section):
    model: str
    reconstruct: bool
    strict: bool
    output: _Output = _Output()


class _Counts(_Section):
    recordings: int = 0
    chunks: int = 0
    failures: int = 0
    skipped: int = 0
    frames: int = 0
    audio_s: float = 0.0
    context_s: float = 0.0


class _Attempt(_Section):
    started: str
    wall_s: float
    times_real_time: float
    command: str | None = None  # None: an older version wrote it


class _RunFile(_Section):
    inputs: list[str]
    model: _Model
    attention: str
    precision: str
    device: str
    resampler: str
    chunk: _Chunk
    settings: _Settings
    state: Literal["running", "limited", "complete"]
    attempts: list[_Attempt]
    counts: _Counts = _Counts()
    parts: dict[str, str] = {}
    agreement_with_fp32: list[float] | None = None
    warnings: list[str] = []


def read_run_file(fs: FileSystem, run: str) -> dict[str, Any] | None:
    """The content of RUN/run.json; None if there is none. Raises OutputError if it is damaged."""
    content = _content(fs, run)
    if content is None:
        return None
    found, faults = _faults(content)
    if faults:
        raise _damaged(run, faults)
    return found


def salvage(fs: FileSystem, run: str) -> tuple[dict[str, Any] | None, list[str]]:
    """run.json with its damaged DERIVED keys reset, and their names.

    Raises OutputError if another key is damaged.
    """
    content = _content(fs, run)
    if content is None:
        return None, []
    found, faults = _faults(content)
    wrong = [name for name in DERIVED if name in faults]
    if faults.keys() - set(wrong):
        raise _damaged(run, faults)
    complete = is_marked(fs, run)
    state = {"state": "complete"} if "state" in wrong and complete else {}
    return found | {name: DERIVED[name] for name in wrong} | state, wrong


def run_settings(summary: dict[str, Any]) -> Settings:
    """The settings in run.json. Raises OutputError if this version does not accept them."""
    try:
        return Settings.model_validate(summary["settings"])
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise OutputError(
            f"{RUN_FILE}: the setting {name} is {first['input']!r} ({first['msg']}). If another version of voxmill "
            "wrote it, use that version."
        ) from None


def recorded_inputs(summary: dict[str, Any]) -> list[str]:
    """The inputs in `summary`. Raises InputError for standard input, of which nothing is left."""
    if STDIN in summary["inputs"]:
        raise InputError("the run's inputs came through standard input: pipe them in again and give --inputs -")
    return summary["inputs"]


def _content(fs: FileSystem, run: str) -> bytes | None:
    path = f"{run}/{RUN_FILE}"
    with errors_as(path, OutputError):
        try:
            file = fs.open_input_stream(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with file:
            return file.read()


def _faults(content: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """The object in the JSON, and its faults by the name of their key ("" for the whole file)."""
    try:
        found = from_json(content, allow_inf_nan=False)  # no lone surrogates, no endless nesting
    except ValueError as error:
        return {}, {"": f"no JSON ({error})"}
    if not isinstance(found, dict):
        return {}, {"": f"a JSON {type(found).__name__}, expected an object"}
    try:
        _RunFile.model_validate(found)
    except pydantic.ValidationError as error:
        told: dict[str, str] = {}
        for e in error.errors():
            told.setdefault(str(e["loc"][0]), f"{'.'.join(map(str, e['loc']))}: {e['msg']}")
        return found, told
    return found, {}


def _damaged(run: str, faults: dict[str, str]) -> OutputError:
    return OutputError(
        f"{redact(run)}/{RUN_FILE} is not what a run writes: {'; '.join(faults.values())}. `voxmill check RUN "
        f"--repair` restores {', '.join(DERIVED)}; for the rest restore a copy of it, or start again with --overwrite."
    )


def save(fs: FileSystem, run: str, record: dict[str, Any]) -> None:
    """Replace run.json atomically. Raises OutputError if the folder cannot be written."""
    text = json.dumps(record, indent=2, ensure_ascii=False)
    content = _NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found[0]), text).encode()
    write_whole(fs, f"{run}/{RUN_FILE}", lambda file: file.write(content))
