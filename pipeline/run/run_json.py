"""RUN/run.json -> a checked dict. A damaged one is an error that says where; `salvage` keeps what is sound in it."""

import json
from typing import Any, Literal

import pydantic
from pyarrow.fs import FileSystem, FileType
from pydantic_core import from_json

from pipeline.errors import OutputError
from pipeline.run.layout import RUN_FILE, SUCCESS_FILE
from pipeline.settings import Settings
from pipeline.storage.atomic import write_whole
from pipeline.storage.location import redact
from pipeline.storage.translate import errors_as

MAX_SAMPLES = 2**48
"""Of a chunk: centuries, and products of it are still int64."""
DERIVED: dict[str, Any] = {
    "state": "running",
    "attempts": [],
    "counts": {},
    "parts": {},
    "agreement_with_fp32": None,
    "warnings": [],
}
"""What is told by the parts, or by the next attempt, and its value until then. The rest only the first attempt knew."""


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", strict=True)


class _Model(_Section):
    id: str
    sha256: str


class _Chunk(_Section):
    samples: int = pydantic.Field(ge=1, le=MAX_SAMPLES)
    context_samples: int = pydantic.Field(ge=0, le=MAX_SAMPLES)


class _Settings(_Section):
    model: str
    reconstruct: bool
    strict: bool


class _Counts(_Section):
    recordings: int = 0
    chunks: int = 0
    failures: int = 0
    frames: int = 0
    audio_s: float = 0.0
    context_s: float = 0.0


class _Attempt(_Section):
    started: str
    wall_s: float
    times_real_time: float


class _RunFile(_Section):
    inputs: list[str]
    model: _Model
    attention: str
    precision: str
    device: str
    resampler: str
    chunk: _Chunk
    settings: _Settings
    state: Literal["running", "complete"]
    attempts: list[_Attempt]
    counts: _Counts = _Counts()
    parts: dict[str, str] = {}
    agreement_with_fp32: list[float] | None = None
    warnings: list[str] = []


def read_run_file(fs: FileSystem, run: str) -> dict[str, Any] | None:
    """The content of RUN/run.json; None where there is none. Raises OutputError where it is not what a run writes."""
    content = _content(fs, run)
    if content is None:
        return None
    found, faults = _faults(content)
    if faults:
        raise _damaged(run, faults)
    return found


def salvage(fs: FileSystem, run: str) -> tuple[dict[str, Any] | None, list[str]]:
    """run.json without what is wrong in it but can be told again, and the names of that.

    Raises OutputError where something else is wrong.
    """
    content = _content(fs, run)
    if content is None:
        return None, []
    found, faults = _faults(content)
    wrong = [name for name in DERIVED if name in faults]
    if faults.keys() - set(wrong):
        raise _damaged(run, faults)
    complete = fs.get_file_info(f"{run}/{SUCCESS_FILE}").type == FileType.File
    state = {"state": "complete"} if "state" in wrong and complete else {}
    return found | {name: DERIVED[name] for name in wrong} | state, wrong


def run_settings(summary: dict[str, Any]) -> Settings:
    """The settings in run.json. Raises OutputError where this version cannot have them."""
    try:
        return Settings.model_validate(summary["settings"])
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise OutputError(
            f"{RUN_FILE}: the setting {name} is {first['input']!r} ({first['msg']}). If another version of voxmill "
            "wrote it, take that one."
        ) from None


def _content(fs: FileSystem, run: str) -> bytes | None:
    path = f"{run}/{RUN_FILE}"
    kind = fs.get_file_info(path).type
    if kind == FileType.NotFound:
        return None
    with errors_as(path, OutputError), fs.open_input_stream(path) as file:
        return file.read()


def _faults(content: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """What the JSON says, and what is wrong with it by the name of its key ("" for all of it)."""
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
        f"--repair` mends {', '.join(DERIVED)}; for the rest put back a copy of it, or start anew with --overwrite."
    )


def save(fs: FileSystem, run: str, record: dict[str, Any]) -> None:
    """Replace run.json whole. Raises OutputError where the folder cannot be written."""
    content = json.dumps(record, indent=2, ensure_ascii=False).encode()
    write_whole(fs, f"{run}/{RUN_FILE}", lambda file: file.write(content))
