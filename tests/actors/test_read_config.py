"""config.json as upstream's classes read it, and what is refused because the engine does not implement it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from actors.checkpoint import FILES, FULL_SIZE_FOLDER, codebook_size, exact_context_frames, find_model
from actors.config import CodecConfig
from actors.qwen import Qwen3TTSTokenizerV2Config
from actors.random_model import full_size_config, small_config
from actors.read_config import read_config
from pipeline.errors import ModelError

NO_KEYS = {"encoder_config": {}, "decoder_config": {"codebook_dim": 512}}
NULLS = {
    "encoder_config": {"upsampling_ratios": None, "codebook_dim": None, "hidden_size": 256, "head_dim": None},
    "decoder_config": {"codebook_dim": 512, "hidden_size": 96, "num_attention_heads": 16},
}


def read(folder: Path, config: Mapping[str, Any]) -> CodecConfig:
    (folder / "config.json").write_text(json.dumps(config))
    return read_config(folder)


@pytest.mark.parametrize("config", [NO_KEYS, NULLS, full_size_config(), small_config()])
def test_values_and_defaults_are_upstreams(tmp_path: Path, config: dict[str, Any]) -> None:
    ours, upstream = read(tmp_path, config), Qwen3TTSTokenizerV2Config(**config)
    for section, theirs in ((ours.encoder, upstream.encoder_config), (ours.decoder, upstream.decoder_config)):
        derived = theirs.hidden_size // theirs.num_attention_heads  # upstream's attention falls back to it
        for key, value in asdict(section).items():
            expected = getattr(theirs, key, derived if key == "head_dim" else None)
            assert value == (tuple(expected) if isinstance(value, tuple) else expected), key


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("encoder_config.use_conv_shortcut", True, "False"),
        ("encoder_config.pad_mode", "replicate", "'constant'"),
        ("encoder_config.normalize", True, "False"),
        ("encoder_config.use_causal_conv", False, "True"),
        ("encoder_config.hidden_act", "relu", "'gelu'"),
        ("encoder_config.audio_channels", 2, "1"),
        ("encoder_config.sampling_rate", 16_000, "24000"),
        ("encoder_config.frame_rate", 25, "12.5"),
        ("encoder_config._frame_rate", 6.25, "12.5"),
        ("encoder_config.attention_bias", True, "False"),
        ("encoder_config.rope_scaling", {"rope_type": "linear", "factor": 2.0}, "None"),
        ("encoder_config.partial_rotary_factor", 0.5, "1.0"),
        ("encoder_config.num_key_value_heads", 2, "num_attention_heads, 4"),
        ("encoder_config.head_dim", 15, "an even number"),
        ("encoder_config.upsampling_ratios", [8, 6, 5, 2], "a product of 960"),
        ("encoder_config.upsampling_ratios", 8, "a list of whole numbers above 0"),
        ("encoder_config.residual_kernel_size", 1, "2 or more"),
        ("encoder_config.num_quantizers", 8, "16 or more"),
        ("encoder_config.num_semantic_quantizers", 16, "less than 16"),
        ("encoder_config.codebook_size", 65_536, "at most 32768"),
        ("encoder_config.codebook_dim", 64, "vector_quantization_hidden_dimension, 32"),
        ("encoder_config.kernel_size", 0, "a whole number above 0"),
        ("encoder_config.num_hidden_layers", 2.0, "a whole number above 0"),
        ("encoder_config.compress", True, "a whole number above 0"),
        ("encoder_config.sliding_window", None, "a whole number above 0"),
        ("encoder_config.norm_eps", "1e-5", "a number above 0"),
        ("encoder_config.rope_theta", float("nan"), "a number above 0"),
        ("decoder_config.hidden_act", "gelu", "'silu'"),
        ("decoder_config.attention_bias", True, "False"),
        ("decoder_config.rope_scaling", {"rope_type": "dynamic", "factor": 2.0}, "None"),
        ("decoder_config.num_key_value_heads", 1, "num_attention_heads, 4"),
        ("decoder_config.num_quantizers", 32, "16"),
        ("decoder_config.codebook_size", 512, "the encoder's, 256"),
        ("decoder_config.codebook_dim", None, "a whole number above 0"),
        ("decoder_config.upsample_rates", [8, 5, 4, 2], "a product of 1920 with upsampling_ratios, [2, 2]"),
    ],
)
def test_what_the_engine_does_not_implement_is_refused(tmp_path: Path, key: str, value: object, expected: str) -> None:
    config = small_config()
    section, name = key.split(".")
    config[section][name] = value
    with pytest.raises(ModelError) as raised:
        read(tmp_path, config)
    seen = tuple(value) if isinstance(value, list) else value
    assert f"{key} is {seen!r}; the engine expects {expected}" in str(raised.value)
    assert str(tmp_path / "config.json") in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"encoder_config": 3, "decoder_config": {}}', "\xff"])
def test_no_config_at_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ModelError, match="objects encoder_config and decoder_config"):
        read_config(tmp_path)


def test_a_model_is_refused_where_it_is_found(tmp_path: Path, small_model: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes((small_model / name).read_bytes())
    config = json.loads((small_model / "config.json").read_text())
    config["encoder_config"]["use_conv_shortcut"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="use_conv_shortcut"):
        find_model(str(tmp_path))
    with pytest.raises(ModelError, match="use_conv_shortcut"):
        codebook_size(str(tmp_path))


def test_context_of_a_model_is_80_s(tmp_path: Path) -> None:
    assert exact_context_frames(FULL_SIZE_FOLDER) == 8 * 249 // 2 + 4
    config = small_config()
    del config["encoder_config"]["sliding_window"], config["decoder_config"]["sliding_window"]  # the defaults
    read(tmp_path, config)
    assert exact_context_frames(tmp_path) == 2 * 249 // 2 + 4
