"""A checkpoint -> waves to codes, and codes to waves. The public interface of this package; runs without Ray.

codec = Codec.load("demo")
codes = codec.encode([wave])    # float32 [T] at 24 kHz -> int16 [F, 16]
waves = codec.decode(codes)     # -> float32 [F * 1920]
"""

import contextlib
import functools
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from actors.checkpoint import find_model, name_anywhere, weights_sha256
from actors.contract import FRAME_RATE, FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE, check_codes, check_wave
from actors.device import (
    ON_CPU,
    PRECISIONS,
    choose_device,
    choose_precision,
    computing,
    memory,
    reset_peak,
)
from actors.errors import BadCodes, ModelError, NonFiniteAudio, SettingsError, UnsupportedAudio
from actors.heap import keep_freed
from actors.network.decoder import Decoder, decode_codes, decoder
from actors.network.encoder import Encoder, encode_waves, encoder
from actors.network.weights import open_weights
from actors.read_config import read_config
from actors.stream import StreamDecoder, StreamEncoder
from actors.tiling.cuda_graphs import choose_acceleration
from actors.tiling.options import Options, choose_tiles
from actors.tiling.run_tiles import Tiled

CHOICES = {
    "attention": ("full", "window"),
    "accelerate": ("auto", "none", "graphs"),
    "parts": ("all", "encode", "decode"),
}
KEPT_BYTES, LARGE_BYTES = 256 << 20, 32 << 20
"""On a CPU: the layers of a tile take and free arrays of up to 20 MB, whose pages took up to a tenth of the time."""
LOUD = 100.0
"""A peak above this is no wave of samples in [-1, 1], and may overflow with sound weights."""
log = logging.getLogger("voxmill")


@dataclass(eq=False)
class Codec:
    """Weights on one device; an `actors.contract.Engine`. Keeps no state between calls; threads may share it.

    Pickled, it is the arguments of `load`: unpickling reads the same checkpoint again.
    """

    model: str
    folder: Path
    fingerprint: str
    device: torch.device
    precision: str
    attention: str
    codebook_size: int
    options: Options
    encoding: tuple[Encoder, Tiled] | None
    decoding: tuple[Decoder, Tiled] | None
    sample_rate: int = SAMPLE_RATE
    frame_samples: int = FRAME_SAMPLES
    frame_rate: float = FRAME_RATE
    num_codebooks: int = NUM_CODEBOOKS
    overflows: int = 0  # recordings that overflowed in this precision, and were computed in fp32
    exact: dict[str, "Codec"] = field(default_factory=dict)  # part -> the fp32 codec that computes these recordings

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str],
        device: str | torch.device = "auto",
        precision: str = "auto",
        attention: str = "full",
        *,
        threads: int | None = None,
        tile_s: float | None = None,
        tile_batch: int | None = None,
        accelerate: str = "auto",
        tf32: bool = False,
        parts: str = "all",
    ) -> "Codec":
        """`model`: "demo", a folder or a hub id. Raises ModelError, DeviceError, SettingsError.

        `device`: auto, cpu, cuda or cuda:N. `precision`: auto (fp16 on CUDA, fp32 on a CPU), fp32, fp16 or bf16.
        `attention`: full (as upstream's sdpa: everything before) or window (the checkpoint's 10 s; bounded memory).
        `threads`: of this process, for a CPU. `tile_s`, `tile_batch`: length and number of the tiles that the
        convolutions run over at once (None: chosen for the device). `accelerate`: auto, none or graphs.
        `parts`: "encode" or "decode" keeps only that half's weights. On a CPU the process then keeps KEPT_BYTES of the
        memory that it frees.
        """
        for name, value in (("attention", attention), ("accelerate", accelerate), ("parts", parts)):
            if value not in CHOICES[name]:
                raise SettingsError(f"{name} is {value!r}; it can be {', '.join(CHOICES[name])}.")
        for name, number in (("threads", threads), ("tile_s", tile_s), ("tile_batch", tile_batch)):
            kinds, what = (Real, "number") if name == "tile_s" else (Integral, "whole number")  # NumPy's too
            if number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, kinds) or not 0 < number < math.inf:
                raise SettingsError(f"{name} is {number!r}; it must be a {what}, more than 0, or left out.")
        if not isinstance(model, str | os.PathLike):
            raise SettingsError(f"model is {model!r}; it can be 'demo', a folder or a hub id.")
        place = choose_device(str(device))
        precision = choose_precision(precision, place)
        options = Options(tile_s, tile_batch, choose_acceleration(accelerate, place), tf32)
        if place.type == "cpu":
            keep_freed(KEPT_BYTES, LARGE_BYTES)
        if threads is not None:
            torch.set_num_threads(threads)
        with torch.autocast("cpu", enabled=False), torch.autocast(place.type, enabled=False), ON_CPU:
            # weights are multiplied
            return _build(cls, os.fspath(model), (place, precision, attention, parts), options)

    def __repr__(self) -> str:
        return f"Codec({self.model!r}, {str(self.device)!r}, {self.precision!r}, {self.attention!r})"

    def __reduce__(self) -> tuple[Callable[..., "Codec"], tuple[Any, ...]]:
        named = name_anywhere(self.model), str(self.device), self.precision, self.attention
        parts = "decode" if self.encoding is None else "encode" if self.decoding is None else "all"
        load = functools.partial(type(self).load, *named, **vars(self.options), parts=parts)
        return _load_again, (load, self.fingerprint)

    def encode(self, waves: Iterable[np.ndarray]) -> list[np.ndarray]:
        """waves float32 [T] each, 24 kHz mono -> codes int16 [ceil(T / 1920), 16] each.

        Raises UnsupportedAudio, NonFiniteAudio, DeviceOutOfMemory, SettingsError for a codec of parts "decode".
        """
        waves = _listed("encode", waves, 1, UnsupportedAudio)
        for index, wave in enumerate(waves):
            check_wave(index, wave)
        if self.encoding is None:
            raise SettingsError("This codec was loaded with parts='decode'; encoding needs 'all' or 'encode'.")
        weights, tiled = self.encoding
        with self._call():
            codes = tiled.within_memory(lambda: encode_waves(weights, tiled, waves))
        return self._in_fp32_too("encode", waves, codes)

    def decode(self, codes: Iterable[np.ndarray], pcm16: bool = False) -> list[np.ndarray]:
        """codes int16 [F, 16] each -> waves float32 [F * 1920] each, in [-1, 1]; `pcm16`: int16, round(32767 x).

        Raises BadCodes, NonFiniteAudio, DeviceOutOfMemory, SettingsError for a codec of parts "encode".
        """
        codes = _listed("decode", codes, 2, BadCodes)
        for index, one in enumerate(codes):
            check_codes(index, one, self.codebook_size)
        if self.decoding is None:
            raise SettingsError("This codec was loaded with parts='encode'; decoding needs 'all' or 'decode'.")
        weights, tiled = self.decoding
        with self._call():
            waves = tiled.within_memory(lambda: decode_codes(weights, tiled, codes, pcm16))
        return self._in_fp32_too("decode", codes, waves, pcm16=pcm16)

    def agreement(self, waves: Iterable[np.ndarray]) -> np.ndarray:
        """Share of codes equal to those of fp32 on this device, per codebook: float64 [16]; NaN without audio.

        Loads the fp32 encoder for the duration of the call.
        """
        waves = _listed("agreement", waves, 1, UnsupportedAudio)
        pairs = zip(self.encode(waves), self._fp32("encode").encode(waves), strict=True)
        same = np.concatenate([np.empty((0, NUM_CODEBOOKS), bool), *[ours == theirs for ours, theirs in pairs]])
        return same.mean(0) if len(same) else np.full(NUM_CODEBOOKS, np.nan)

    def stream_encoder(self, batch: int = 1, rate: int = SAMPLE_RATE) -> StreamEncoder:
        """Encode `batch` live streams in lockstep, at `rate` Hz; the stream holds its own state.

        Raises SettingsError for a codec of attention `full`, whose state would grow without bound, for a `batch` below
        1, and for a `rate` outside 4000-192000.
        """
        if self.encoding is None:
            raise SettingsError("This codec was loaded with parts='decode'; a stream encoder needs 'all' or 'encode'.")
        if self.attention != "window":
            raise SettingsError("A stream has bounded memory only under attention='window'; load the codec with that.")
        weights, tiled = self.encoding
        return StreamEncoder(weights, tiled.way, batch, rate)

    def stream_decoder(self, batch: int = 1) -> StreamDecoder:
        """Decode `batch` live streams of codes in lockstep; the stream holds its own state. Raises SettingsError for a
        `batch` below 1."""
        if self.decoding is None:
            raise SettingsError("This codec was loaded with parts='encode'; a stream decoder needs 'all' or 'decode'.")
        weights, tiled = self.decoding
        return StreamDecoder(weights, tiled.way, self.codebook_size, batch)

    def memory(self) -> dict[str, int]:
        """Bytes: `host_rss`, `host_peak_rss`; on CUDA also `device_allocated`, `device_reserved`, and `device_peak` of
        the last call."""
        return memory(self.device)

    def _in_fp32_too(
        self, part: str, items: Sequence[np.ndarray], results: list[np.ndarray | None], **how: bool
    ) -> list[np.ndarray]:
        """`results`; those that overflowed are computed again in fp32, with weights that stay loaded from then on."""
        overflowed = [index for index, one in enumerate(results) if one is None]
        if overflowed and self.precision == "fp32":
            which = f" of item {overflowed[0]}" if len(items) > 1 else ""
            raise NonFiniteAudio(f"{part}{which} overflows in fp32; {self._advice(part, items[overflowed[0]])}.")
        if overflowed:
            self.overflows += len(overflowed)
            log.warning("%d of %d overflowed in %s: again in fp32", len(overflowed), len(items), self.precision)
            if part not in self.exact:
                self.exact[part] = self._fp32(part)
            again = getattr(self.exact[part], part)([items[index] for index in overflowed], **how)
            for index, one in zip(overflowed, again, strict=True):
                results[index] = one
        return cast(list[np.ndarray], results)

    def _advice(self, part: str, item: np.ndarray) -> str:
        peak = np.abs(item).max() if part == "encode" else 0.0
        if peak > LOUD:
            return f"its samples reach {peak:.3g}, expected about 1 at most: scale them"
        return f"check the weights of {self.model}"

    def _fp32(self, part: str) -> "Codec":
        return Codec.load(str(self.folder), str(self.device), "fp32", self.attention, accelerate="none", parts=part)

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        with computing(self.device, self.options.tf32):
            reset_peak(self.device)
            yield


def _build(kind: type[Codec], model: str, chosen: tuple[torch.device, str, str, str], options: Options) -> Codec:
    """Read the checkpoint's config, and the weights of the wanted parts alone."""
    device, precision, attention, parts = chosen
    folder = find_model(model)
    config, dtype = read_config(folder), PRECISIONS[precision]
    weights = open_weights(folder, device, dtype)
    size, window = config.encoder.codebook_size, config.encoder.sliding_window
    codec = kind(model, folder, weights_sha256(folder), device, precision, attention, size, options, None, None)
    if parts != "decode":
        to_codes = encoder(weights.at("encoder"), config.encoder, window if attention == "window" else None)
        codec.encoding = to_codes, _tiled("encode", to_codes, codec)
    if parts != "encode":
        to_audio = decoder(weights.at("decoder"), config.decoder)
        codec.decoding = to_audio, _tiled("decode", to_audio, codec)
    return codec


def _listed(
    call: str, given: Iterable[np.ndarray], dimensions: int, error: type[BadCodes | UnsupportedAudio]
) -> list[np.ndarray]:
    """The arrays, of so many `dimensions` each. Raises `error` for a single one, whose items are none."""
    if isinstance(given, np.ndarray | torch.Tensor) and given.ndim <= dimensions:
        shape, kind = [*given.shape], type(given).__name__
        one = "tensor.cpu().numpy()" if isinstance(given, torch.Tensor) else "array"
        if given.dtype != object and 0 not in shape:
            raise error(f"{call} was given one {kind} of shape {shape}; expected a list of arrays: [{one}].")
    return list(given)


def _load_again(load: Callable[[], Codec], expected: str) -> Codec:
    """A codec that was pickled. Raises ModelError where its checkpoint is another one now, or here."""
    codec = load()
    if codec.fingerprint != expected:
        raise ModelError(f"{codec.folder} holds other weights than the codec that was pickled. Load that one here.")
    return codec


def _tiled(part: str, half: Encoder | Decoder, codec: Codec) -> Tiled:
    """How a part's convolutions run on this device."""
    return choose_tiles(part, half, codec.device, PRECISIONS[codec.precision], codec.options)
