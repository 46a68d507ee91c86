"""Defaults, files, overrides; unknown keys and wrong values."""

import json
from pathlib import Path
from typing import Any

import pytest

from actors.checkpoint import find_model
from actors.contract import FRAME_SAMPLES
from pipeline.errors import ModelError, SettingsError
from pipeline.settings import Settings, load_settings, parse_assignments

CONFIGS = [Path(__file__).parent.parent / "configs" / f"{name}.yaml" for name in ("laptop", "one_gpu", "cluster")]

POOLS = {"encode.cpus", "decode.cpus", "output.rows_per_part", "device", "precision"}
SET = {
    "laptop": POOLS | {"encode.actors", "decode.actors", "chunk.block_mb", "input.task_mb", "input.readers"},
    "one_gpu": POOLS | {"encode.gpus", "decode.gpus"},
    "cluster": POOLS
    | {"reconstruct", "ray_address", "input.task_mb"}
    | {f"{pool}.{name}_actors" for pool in ("encode", "decode") for name in ("min", "max")},
}
"""The settings in which each differs from the defaults."""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config_names_every_setting_once(config: Path) -> None:
    import yaml

    assert _flat(yaml.safe_load(config.read_text())).keys() == _flat(Settings().model_dump()).keys()
    load_settings(config)


def test_what_the_configs_set() -> None:
    """All else are the defaults, which somebody who starts from such a file should have too."""
    default = _flat(Settings().model_dump())
    for config in CONFIGS:
        changed = {key for key, value in _flat(load_settings(config).model_dump()).items() if value != default[key]}
        assert changed == SET[config.stem], config


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    keys = {}
    for key, value in values.items():
        keys |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return keys


def test_overrides_beat_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("precision: bf16\nchunk:\n  length_s: 60\n  context_s: 8\n")
    settings = load_settings(file, {"chunk.length_s": "30", "reconstruct": False})
    assert (settings.precision, settings.chunk.length_s, settings.chunk.context_s) == ("bf16", 30.0, 8.0)
    assert settings.reconstruct is False


@pytest.mark.parametrize(
    ("key", "near"),
    [("chunk.lenght_s", "chunk.length_s"), ("precisoin", "precision"), ("length_s", "chunk.length_s")],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(key: str, near: str) -> None:
    with pytest.raises(SettingsError, match=f"{key}.*{near}"):
        load_settings(None, {key: 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [("precision", "fp8"), ("chunk.length_s", -1), ("device", "tpu"), ("attention", "flash"), ("encode.actors", 0)]
    + [("max_failures", value) for value in (-1, "x%", "-5%", "5 %")]
    + [("stall_s", -1), ("stall_s", True), ("input.channels", "yes"), ("encode.actors", "true"), ("model", False)]
    + [(key, value) for key in ("chunk.length_s", "input.max_s", "encode.gpus") for value in ("inf", ".inf", "-.inf")]
    + [("input.task_mb", value) for value in ("nan", float("nan"), float("inf"))],
)
def test_a_wrong_value_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(SettingsError, match=key.replace(".", r"\.")):
        load_settings(None, {key: value})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("device", "gpu", "it can be auto, cpu, cuda or cuda:N"),
        ("input.schemes", "s3", "expected a list, such as [s3,"),
    ],
)
def test_a_wrong_value_is_told_in_words(key: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(None, {key: value})
    assert says in str(raised.value)


def test_numbers_may_be_text() -> None:
    settings = load_settings(None, {"stall_s": "'3'", "chunk.length_s": "1e2", "input.channels": "'2'"})
    assert (settings.stall_s, settings.chunk.length_s, settings.input.channels) == (3.0, 100.0, 2)
    assert load_settings(None, {"output.report": "yes"}).output.report is True


def test_a_value_of_several_types_is_one_message() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(None, {"input.channels": "left", "stall_s": -1})
    first, second = str(raised.value).splitlines()
    assert "Setting stall_s = -1: " in first
    assert "Setting input.channels = 'left': Input should be 'mean' or 'split'; or: Input should be a valid" in second


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [("encode", "3", "encode.actors"), ("input", {"min_s": 1}, "input.min_s"), ("chunk", {}, "chunk.length_s")],
)
def test_a_section_is_no_setting(key: str, value: object, meant: str) -> None:
    with pytest.raises(SettingsError, match=rf"'{key}' is a section, not a setting.*'{meant}'"):
        load_settings(None, {key: value})


@pytest.mark.parametrize("content", ["strict: true\nstrict: false\n", "chunk:\n  length_s: 3\n  length_s: 4\n"])
def test_a_key_that_is_there_twice(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.yaml").write_text(content)
    with pytest.raises(SettingsError, match=r"s\.yaml.*the key '(strict|length_s)' is there twice"):
        load_settings(tmp_path / "s.yaml")


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "\x00"])
def test_a_file_that_holds_no_settings(tmp_path: Path, content: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=r"s\.yaml"):
        load_settings(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "none.yaml")


def test_assignments() -> None:
    assert parse_assignments(["chunk.length_s=60", "model = a=b"]) == {"chunk.length_s": "60", "model": "a=b"}
    with pytest.raises(SettingsError, match="key=value"):
        parse_assignments(["chunk.length_s"])


@pytest.mark.parametrize(("length_s", "frames"), [(0.01, 1), (0.08, 1), (0.16, 2), (300, 3750), (0.1, 1)])
def test_chunks_are_whole_frames(length_s: float, frames: int) -> None:
    assert load_settings(None, {"chunk.length_s": length_s}).chunk.length_samples == frames * FRAME_SAMPLES


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("output.waves", text) for text in ("[", "*x", "!!python/name:os.system", "a\0b", "2001-99-99", "[" * 9999)],
        *[("device", text) for text in ("*x", "[a]", "{a: b}", "!x y")],
        *[(key, "") for key in ("model", "precision", "chunk.length_s")],
        *[("", "1"), ("chunk", "3"), ("encode.actors", "b=c")],
    ],
)
def test_odd_text_after_set_is_one_message(key: str, value: str) -> None:
    with pytest.raises(SettingsError):
        load_settings(None, parse_assignments([f"{key}={value}"]))


@pytest.mark.parametrize(
    "content", ["[", "*x", "a: &a {b: *a}", "!!python/name:os.system", "a\0b", "- 1", "\xff", "d: 2001-99-99"]
)
def test_an_odd_config_is_one_message(tmp_path: Path, content: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(content.encode("latin1"))
    for path in (file, tmp_path, f"{file}\0", ""):
        with pytest.raises(SettingsError):
            load_settings(path)


@pytest.mark.parametrize("model", ["", "~nobody-here", "a\0b", "x" * 5000, "*x", "a/*", "\udcff"])
def test_an_odd_model_is_one_message(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError):
        find_model(model)


def test_credentials_of_input_root_are_not_recorded() -> None:
    settings = load_settings(None, {"input.root": "s3://key:secret@bucket/clips?session=secret"})
    assert settings.input.root == "s3://key:secret@bucket/clips?session=secret"
    assert settings.model_dump(mode="json")["input"]["root"] == "s3://bucket/clips"


@pytest.mark.parametrize("name", ["my model #2", "2024-01-01", "123", "a: b", "[x", "~", "yes"])
def test_names_are_taken_as_they_are(name: str) -> None:
    settings = load_settings(overrides={"model": name, "input.root": name})
    assert (settings.model, settings.input.root) == (name, name)
    assert load_settings(overrides={"model": json.dumps(name)}).model == name
    assert load_settings(overrides={"input.root": "null"}).input.root is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("chunk.length_s", 1e15), ("chunk.context_s", 1e15), ("encode.threads", 99_999), ("input.task_mb", 1e-9)],
)
def test_values_that_nothing_can_hold(key: str, value: float) -> None:
    with pytest.raises(SettingsError, match=key):
        load_settings(overrides={key: value})


def test_more_actors_at_least_than_at_most() -> None:
    with pytest.raises(SettingsError, match="min_actors 3 is more than max_actors 2"):
        load_settings(overrides={"encode.min_actors": 3, "encode.max_actors": 2})
