"""A model folder and a variant's name -> the functions that are compared: upstream's two variants, and the engine's."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.bench.compare import Arrays
from actors.checkpoint import find_model
from actors.codec import Codec
from actors.contract import SAMPLE_RATE
from actors.device import cpu_has_bf16, cuda_has_bf16, host_free
from actors.errors import DeviceError

LIST = 32
"""Clips per call of upstream's official fine-tuning recipe (`BATCH_INFER_NUM` of its data preparation)."""
CLIP_BY_CLIP = "upstream, clip by clip"
IN_LISTS = f"upstream, lists of {LIST}"
ENGINE = "voxmill, "

LIST_BYTES = 19.5
"""Bytes that upstream's encoder holds per sample of a list and per filter of its first layer: measured as 16.3 GB for
32 clips padded to 17.2 s, with 64 filters."""


@dataclass(frozen=True)
class Variant:
    """Waves float32 [T] -> codes [F, 16], and codes -> waves; `precision` of the matrix products."""

    name: str
    precision: str
    encode: Callable[[Arrays], Arrays]
    decode: Callable[[Arrays], Arrays]

    def run(self, part: str, items: Arrays) -> Arrays:
        """`part`: encode or decode."""
        return self.encode(items) if part == "encode" else self.decode(items)


@contextlib.contextmanager
def model_folder(model: str) -> Iterator[Path]:
    """The folder of a model; for "full-size" a temporary one with seeded random weights, deleted at the end."""
    if model != "full-size":
        yield find_model(model)
        return
    from actors.random_model import full_size_config, save_random_checkpoint

    with tempfile.TemporaryDirectory() as place:
        yield save_random_checkpoint(Path(place), full_size_config())


def default_precisions(device: torch.device) -> list[str]:
    """The precisions that are worth comparing on a device."""
    if device.type == "cuda":
        return ["fp32", "fp16/none", "fp16/graphs", *(["bf16/graphs"] if cuda_has_bf16(device) else [])]
    return ["fp32", "bf16"] if cpu_has_bf16() else ["fp32"]


def all_variants(
    folder: Path, device: torch.device, precisions: Sequence[str], longest: int
) -> tuple[list[Variant], dict[str, str]]:
    """Upstream's two, which share their weights, and the engine at each precision; and left-out name -> reason.

    `longest`: samples of the longest clip, to which upstream pads a list.
    """
    tokenizer = _load_upstream(folder, device)
    variants, left_out = [_upstream(tokenizer, CLIP_BY_CLIP)], {}
    needed = LIST * longest * tokenizer.config.encoder_config.num_filters * LIST_BYTES
    free = host_free() if device.type == "cpu" else None
    if free is None or needed < free:
        variants.append(_upstream(tokenizer, IN_LISTS))
    else:
        left_out[IN_LISTS] = f"takes about {needed / 2**30:.0f} GiB for these clips, {free / 2**30:.0f} GiB are free"
    for precision in precisions:
        try:
            variants.append(_engine(folder, device, precision, "all"))
        except DeviceError as error:
            left_out[ENGINE + precision] = str(error)
    return variants, left_out


def one_variant(folder: Path, device: torch.device, name: str, part: str) -> Variant:
    """The variant called `name`, loaded for `part` (encode or decode) alone."""
    if name.startswith(ENGINE):
        return _engine(folder, device, name.removeprefix(ENGINE), part)
    return _upstream(_load_upstream(folder, device), name)


def _engine(folder: Path, device: torch.device, precision: str, part: str) -> Variant:
    """`precision` as in Codec.load, or with an acceleration: fp16/graphs."""
    name, _, accelerate = precision.partition("/")
    codec = Codec.load(str(folder), str(device), name, accelerate=accelerate or "auto", parts=part)
    return Variant(ENGINE + precision, name, codec.encode, codec.decode)


def _load_upstream(folder: Path, device: torch.device) -> Any:
    from actors.qwen import load_upstream

    return load_upstream(str(folder), str(device))


def _upstream(tokenizer: Any, name: str) -> Variant:
    """Upstream's Qwen3TTSTokenizer, in fp32."""

    def encode(waves: Arrays) -> Arrays:
        return [codes.cpu().numpy() for codes in tokenizer.encode(waves, sr=SAMPLE_RATE).audio_codes]

    def decode(codes: Arrays) -> Arrays:
        return tokenizer.decode([{"audio_codes": one.astype(np.int64)} for one in codes])[0]

    size = LIST if name == IN_LISTS else 1
    return Variant(name, "fp32", in_lists(encode, size), in_lists(decode, size))


def in_lists(call: Callable[[Arrays], Arrays], size: int) -> Callable[[Arrays], Arrays]:
    """`call`, on lists of at most `size` items."""

    def run(items: Arrays) -> Arrays:
        return [result for start in range(0, len(items), size) for result in call(items[start : start + size])]

    return run
