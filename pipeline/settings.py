"""Settings: defaults <- a YAML file <- `key=value` from the command line -> one validated, frozen object."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
import yaml
from pydantic import AfterValidator, Field

from actors.contract import FRAME_SAMPLES, OFFICIAL_MODEL, SAMPLE_RATE
from pipeline.errors import SettingsError
from pipeline.storage.access import SCHEMES, Access
from pipeline.storage.location import absolute, redact

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
LONGEST_S = 1e7
"""Of a chunk and its context: four months."""
MOST_THREADS = 1024


def _bound(value: int | str | None) -> int | str | None:
    """A number of failures, or a share such as "5%"."""
    share = isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?%", value)
    if value is None or share or (isinstance(value, int) and value >= 0):
        return value
    raise ValueError("expected a number of recordings, or a share such as 5%")


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: object, field: pydantic.ValidationInfo) -> object:
        """Refuse yes and no where they are not among the values: pydantic takes them for 1 and 0."""
        kind = cls.model_fields[field.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (kind, *get_args(kind)):
            raise ValueError("neither yes nor no is a value of this setting")
        return value


class Input(_Section):
    """How inputs are found and read."""

    column: str | None = None
    track: Count | None = None
    root: str | None = None
    channels: Literal["mean", "split"] | Count = "mean"
    vad: Literal["none", "silero"] = "none"
    allow_truncated: bool = False
    max_recording_s: Positive = 86_400.0
    min_s: Annotated[float, Field(ge=0)] | None = None
    max_s: Positive | None = None
    schemes: tuple[str, ...] = SCHEMES
    timeout_s: Positive = 30.0
    retries: Annotated[int, Field(ge=0)] = 5
    task_mb: Annotated[float, Field(ge=0.001)] = 64.0
    readers: Count | None = None
    changed: Literal["refuse", "keep", "redo"] = "refuse"

    @pydantic.field_serializer("root", when_used="json")
    def _shown(self, root: str | None) -> str | None:
        return None if root is None else redact(absolute(root))  # as Settings._shown

    @property
    def channel(self) -> int | None:
        """The "@channel" of recordings whose manifest names none."""
        if isinstance(self.channels, int):
            return self.channels
        return 0 if self.channels == "split" else None  # schema.EACH, whose import takes long

    @property
    def finds_speech(self) -> bool:
        return self.vad != "none"

    @pydantic.model_validator(mode="after")
    def _some_length(self) -> "Input":
        if self.min_s is not None and self.max_s is not None and self.min_s > self.max_s:
            raise ValueError(f"min_s {self.min_s:g} is more than max_s {self.max_s:g}: no recording is left")
        return self

    @property
    def access(self) -> Access:
        """How inputs are opened."""
        return Access(self.schemes, self.timeout_s, self.retries)

    @property
    def finding(self) -> dict[str, Any]:
        """The arguments of `discover_all`."""
        own = {"column": self.column, "access": self.access, "root": self.root}
        return {**own, "channel": self.channel, "vad": self.finds_speech}


class Chunk(_Section):
    """How recordings are cut for the wire."""

    length_s: Annotated[float, Field(gt=0, le=LONGEST_S)] = 300.0
    context_s: Annotated[float, Field(ge=0, le=LONGEST_S)] | None = None
    block_mb: Positive | None = None

    @property
    def length_samples(self) -> int:
        """Samples of a chunk at 24 kHz: `length_s` in whole frames, at least one."""
        return max(1, round(self.length_s * SAMPLE_RATE / FRAME_SAMPLES)) * FRAME_SAMPLES


class Pool(_Section):
    """A pool of stateful actors, each with the codec's weights on its device."""

    actors: Count | None = None
    min_actors: Count | None = None
    max_actors: Count | None = None
    gpus: Annotated[float, Field(gt=0)] | None = None
    cpus: Annotated[float, Field(ge=0)] | None = None
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None

    @pydantic.model_validator(mode="after")
    def _some_actors(self) -> "Pool":
        if self.min_actors is not None and self.max_actors is not None and self.min_actors > self.max_actors:
            raise ValueError(f"min_actors {self.min_actors} is more than max_actors {self.max_actors}")
        return self


class Output(_Section):
    """How results are written and verified."""

    rows_per_part: Count | None = None
    waves: Literal["files", "tar"] = "files"
    wave_format: Literal["wav", "flac"] = "wav"
    agreement_s: Annotated[float, Field(ge=0)] = 20.0
    agreement_min: Annotated[float, Field(ge=0, le=1)] = 0.9
    report: Literal["auto"] | bool = "auto"


class Settings(_Section):
    """Everything that a run can be told. `configs/*.yaml` explain every key with its unit."""

    model: str = OFFICIAL_MODEL
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    attention: Literal["full", "window"] = "full"
    accelerate: Literal["auto", "none", "graphs"] = "auto"
    reconstruct: bool = True
    strict: bool = False
    max_failures: Annotated[int | str | None, AfterValidator(_bound)] = None
    stall_s: Annotated[float, Field(ge=0)] = 1800.0
    ray_address: str | None = None
    input: Input = Input()
    chunk: Chunk = Chunk()
    encode: Pool = Pool()
    decode: Pool = Pool()
    output: Output = Output()

    @property
    def stages(self) -> tuple[str, ...]:
        """The pools of a run."""
        return ("encode", "decode") if self.reconstruct else ("encode",)

    @pydantic.field_serializer("model", "ray_address", when_used="json")
    def _shown(self, location: str | None) -> str | None:
        return None if location is None else redact(location)  # it may hold credentials, and others read run.json


def load_settings(config: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Defaults, then the YAML file `config`, then `overrides` by dotted key; text is YAML, but for names (TEXTS).

    Raises SettingsError that names an unknown key with the nearest valid one, or a value with what it may be.
    """
    values: dict[str, Any] = {}
    if config is not None:
        for key, value in _read_yaml(Path(config)):
            _put(values, key, value)
    for key, value in (overrides or {}).items():
        _put(values, key, _value(key, value) if isinstance(value, str) else value)
    try:
        return Settings.model_validate(values)
    except pydantic.ValidationError as error:
        raise SettingsError("\n".join(_explain(error))) from None


def changed_settings(settings: Mapping[str, Any]) -> list[str]:
    """Those of a run that differ from this version's defaults: "precision=fp32", "chunk.length_s=60", ..."""
    usual = dict(flatten(Settings().model_dump(mode="json")))
    changed = ((key, value) for key, value in flatten(settings) if usual.get(key) != value)
    return [f"{key}={'null' if value is None else redact(str(value))}" for key, value in changed]


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """`["chunk.length_s=60"]` -> `{"chunk.length_s": "60"}`."""
    pairs = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(
                f"--set {assignment!r} has no '='. Write --set key=value, such as --set chunk.length_s=60."
            )
        pairs[key.strip()] = value.strip()
    return pairs


class _Loader(yaml.SafeLoader):
    """YAML keeps the last of two values of one key; this refuses the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


_BAD_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""ValueError: 2001-99-99, and text that is not UTF-8. RecursionError: a thousand brackets, an alias of itself."""


TEXTS = ("model", "ray_address", "input.column", "input.root")
"""Settings that are names: what is given for them is taken as it is, but for null and what is quoted."""


def _value(key: str, text: str) -> Any:
    if key in TEXTS and text not in ("", "null") and text[0] not in "\"'":
        return text  # as YAML "my model #2" would be another folder
    try:
        return yaml.safe_load(text)
    except _BAD_YAML as error:
        raise SettingsError(f"Setting {key} = {text!r} is not YAML: {error}. Quote text: {key}='\"...\"'.") from None


def _read_yaml(path: Path) -> list[tuple[str, Any]]:
    """The file's settings by dotted key, in order."""
    try:
        content = yaml.load(path.read_text(), _Loader) or {}
        if isinstance(content, dict):
            return list(flatten(content))
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except _BAD_YAML as error:
        raise SettingsError(f"The settings file {str(path)!r} is not YAML: {error}") from error
    raise SettingsError(f"The settings file {path} holds a {type(content).__name__}; expected `key: value` lines.")


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by dotted key, in order."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _valid_keys() -> list[str]:
    return [key for key, _ in flatten(Settings().model_dump())]


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set dotted `key` in nested `values`; a key that does not exist is refused with the nearest that does."""
    valid = _valid_keys()
    inside = [name for name in valid if name.startswith(f"{key}.")]
    if inside:
        meant = f"{key}.{next(iter(value))}" if isinstance(value, dict) and value else inside[0]
        raise SettingsError(f"{key!r} is a section, not a setting. Settings in it have dotted keys, such as {meant!r}.")
    if key not in valid:
        last = [name for name in valid if name.rpartition(".")[2] == key.rpartition(".")[2]]
        near = last or difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"Settings are {', '.join(valid)}."
        raise SettingsError(f"Unknown setting {key!r}. {hint}")
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = value


_WORDS = {
    "string_pattern_mismatch": "it can be auto, cpu, cuda or cuda:N",  # device has the only pattern
    "tuple_type": "expected a list, such as [s3, https]",
}
"""Of kinds of problems that pydantic tells in its own terms."""


def _explain(error: pydantic.ValidationError) -> Iterator[str]:
    """A line each setting that is wrong. One that may be of several types has a problem with each of them."""
    valid, told = _valid_keys(), dict[str, list[str]]()
    for problem in error.errors():
        names = [str(part) for part in problem["loc"]]  # behind those of the setting: the type, the number of an item
        starts = [".".join(names[:end]) for end in range(1, len(names) + 1)]
        key = next((start for start in starts if start in valid), starts[-1])
        lines = told.setdefault(f"Setting {key} = {problem['input']!r}: ", [])
        lines.append(_WORDS.get(problem["type"], problem["msg"].removeprefix("Value error, ")))
    return (start + "; or: ".join(dict.fromkeys(lines)) + "." for start, lines in told.items())
