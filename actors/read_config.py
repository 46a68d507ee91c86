"""config.json of a checkpoint -> its checked `CodecConfig`. No torch.

A value that upstream would follow and the engine does not implement is refused, never ignored.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from actors.config import STEPS, CodecConfig, DecoderConfig, EncoderConfig
from actors.contract import FRAME_RATE, FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE
from actors.errors import ModelError

SAMPLES_A_STEP = FRAME_SAMPLES // STEPS
MAX_CODEBOOK = 2**15
ATTENTION = {"attention_bias": False, "rope_scaling": None, "partial_rotary_factor": 1.0}
ENCODER_ONLY = {
    **ATTENTION,
    "hidden_act": "gelu",
    "sampling_rate": SAMPLE_RATE,
    "frame_rate": FRAME_RATE,
    "_frame_rate": FRAME_RATE,
    "audio_channels": 1,
    "normalize": False,
    "pad_mode": "constant",
    "use_causal_conv": True,
    "use_conv_shortcut": False,
}
DECODER_ONLY = {**ATTENTION, "hidden_act": "silu"}
"""Keys of which the engine implements one value only, upstream's default: it also stands for null and no key."""

Config = TypeVar("Config", EncoderConfig, DecoderConfig)
Limits = Mapping[str, tuple[bool, str]]
"""key -> whether its value can be run, and what is expected."""


def read_config(folder: Path) -> CodecConfig:
    """The config of a checkpoint. Raises ModelError that names key, value seen and value expected."""
    file = folder / "config.json"
    try:
        sections = json.loads(file.read_text())
        given, given_decoder = dict(sections["encoder_config"]), dict(sections["decoder_config"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{file} does not hold the objects encoder_config and decoder_config: {error!r}") from error
    if not given.get("upsampling_ratios"):  # this and the next as MimiConfig does
        given["upsampling_ratios"] = EncoderConfig.upsampling_ratios
    if "codebook_dim" in given and given["codebook_dim"] is None:
        given["codebook_dim"] = given.get("hidden_size", EncoderConfig.hidden_size)
    encoder = _section(f"{file}: encoder_config", EncoderConfig, given, ENCODER_ONLY)
    decoder = _section(f"{file}: decoder_config", DecoderConfig, given_decoder, DECODER_ONLY)
    _refuse_outside(f"{file}: encoder_config", encoder, _encoder_limits(encoder))
    _refuse_outside(f"{file}: decoder_config", decoder, _decoder_limits(decoder, encoder))
    return CodecConfig(encoder, decoder)


def _section(where: str, kind: type[Config], given: Mapping[str, Any], only: Mapping[str, Any]) -> Config:
    for key, expected in only.items():
        _expect(given.get(key) in (None, expected), where, key, given.get(key), repr(expected))
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = given.get(field.name, None if field.default is MISSING else field.default)
        if field.name == "head_dim" and not value:
            value = values["hidden_size"] // values["num_attention_heads"]
        expected, valid = TYPES[field.type]
        _expect(valid(value), where, field.name, value, expected)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _number(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


def _whole(value: object) -> bool:
    return type(value) is int and value > 0


def _wholes(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_whole, value))


TYPES: Mapping[Any, tuple[str, Callable[[object], bool]]] = {
    int: ("a whole number above 0", _whole),
    float: ("a number above 0", _number),
    tuple[int, ...]: ("a list of whole numbers above 0", _wholes),
}


def _encoder_limits(config: EncoderConfig) -> Limits:
    width, semantic = config.vector_quantization_hidden_dimension, config.num_semantic_quantizers
    return {
        **_attention_limits(config),
        "upsampling_ratios": (math.prod(config.upsampling_ratios) == SAMPLES_A_STEP, f"a product of {SAMPLES_A_STEP}"),
        "residual_kernel_size": (config.residual_kernel_size > 1, "2 or more"),
        "num_quantizers": (config.num_quantizers >= NUM_CODEBOOKS, f"{NUM_CODEBOOKS} or more"),
        "num_semantic_quantizers": (semantic < NUM_CODEBOOKS, f"less than {NUM_CODEBOOKS}"),
        "codebook_size": (config.codebook_size <= MAX_CODEBOOK, f"at most {MAX_CODEBOOK}: codes are int16"),
        "codebook_dim": (config.codebook_dim == width, f"vector_quantization_hidden_dimension, {width}"),
    }


def _decoder_limits(config: DecoderConfig, encoder: EncoderConfig) -> Limits:
    upsampling = math.prod(config.upsampling_ratios)
    return {
        **_attention_limits(config),
        "num_quantizers": (config.num_quantizers == NUM_CODEBOOKS, f"{NUM_CODEBOOKS}"),
        "codebook_size": (config.codebook_size == encoder.codebook_size, f"the encoder's, {encoder.codebook_size}"),
        "upsample_rates": (
            math.prod(config.upsample_rates) * upsampling == FRAME_SAMPLES,
            f"a product of {FRAME_SAMPLES} with upsampling_ratios, {list(config.upsampling_ratios)}",
        ),
    }


def _attention_limits(config: EncoderConfig | DecoderConfig) -> Limits:
    heads = config.num_attention_heads
    return {
        "num_key_value_heads": (config.num_key_value_heads == heads, f"num_attention_heads, {heads}"),
        "head_dim": (config.head_dim % 2 == 0, "an even number"),
    }


def _refuse_outside(where: str, config: EncoderConfig | DecoderConfig, limits: Limits) -> None:
    for key, (met, expected) in limits.items():
        _expect(met, where, key, getattr(config, key), expected)


def _expect(met: bool, where: str, key: str, seen: object, expected: str) -> None:
    if not met:
        raise ModelError(f"{where}.{key} is {seen!r}; the engine expects {expected}. Use another checkpoint.")
