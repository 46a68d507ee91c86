"""A checkpoint -> waves to codes, and codes to waves. The one public face of this package; runs without Ray.

codec = Codec.load("demo")
codes = codec.encode([wave])    # float32 [T] at 24 kHz -> int16 [F, 16]
waves = codec.decode(codes)     # -> float32 [F * 1920]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from actors.checkpoint import find_model, fingerprint
from actors.decoder import Decoder, decode_codes, decoder
from actors.device import PRECISIONS, choose_device, choose_precision, memory, reset_peak
from actors.encoder import Encoder, encode_waves, encoder
from actors.tiled import Way
from pipeline.errors import BadCodes, NonFiniteAudio, SettingsError, UnsupportedAudio
from pipeline.schema import FRAME_RATE, FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE

ATTENTION = ("full", "window")
ACCELERATE = ("auto", "none", "graphs", "compile")


@dataclass
class Codec:
    """Weights on one device. Holds nothing of what it encoded or decoded."""

    model: str
    folder: Path
    fingerprint: str
    device: torch.device
    precision: str
    attention: str
    codebook_size: int
    encoder: Encoder
    decoder: Decoder
    encode_way: Way
    decode_way: Way
    sample_rate: int = SAMPLE_RATE
    frame_samples: int = FRAME_SAMPLES
    frame_rate: float = FRAME_RATE
    num_codebooks: int = NUM_CODEBOOKS

    @classmethod
    def load(
        cls,
        model: str,
        device: str = "auto",
        precision: str = "auto",
        attention: str = "full",
        *,
        threads: int | None = None,
        tile_s: float | None = None,
        tile_batch: int | None = None,
        accelerate: str = "auto",
        tf32: bool = False,
    ) -> "Codec":
        """`model`: "demo", a folder or a hub id. Raises ModelError, DeviceError, SettingsError."""
        if attention not in ATTENTION:
            raise SettingsError(f"attention is {attention!r}; it can be {' or '.join(ATTENTION)}.")
        if accelerate not in ACCELERATE:
            raise SettingsError(f"accelerate is {accelerate!r}; it can be {', '.join(ACCELERATE)}.")
        place = choose_device(device)
        precision = choose_precision(precision, place)
        if threads is not None:
            torch.set_num_threads(threads)
        folder = find_model(model)
        from actors.qwen import load_network

        network = load_network(folder)
        dtype = PRECISIONS[precision]
        window = network.config.encoder_config.sliding_window if attention == "window" else None
        return cls(
            model,
            folder,
            fingerprint(folder),
            place,
            precision,
            attention,
            network.config.encoder_config.codebook_size,
            encoder(network.encoder, window, place, dtype),
            decoder(network.decoder, place, dtype),
            Way(place, dtype, _frames(tile_s) or 25, tile_batch),
            Way(place, dtype, _frames(tile_s) or 16, tile_batch),
        )

    @torch.inference_mode()
    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """waves float32 [T] each, 24 kHz mono -> codes int16 [ceil(T / 1920), 16] each.

        Raises UnsupportedAudio, NonFiniteAudio, DeviceOutOfMemory.
        """
        for index, wave in enumerate(waves):
            _check_wave(index, wave)
        reset_peak(self.device)
        return encode_waves(self.encoder, waves, self.encode_way)

    @torch.inference_mode()
    def decode(self, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """codes int16 [F, 16] each -> waves float32 [F * 1920] each, in [-1, 1]. Raises BadCodes, DeviceOutOfMemory."""
        for index, one in enumerate(codes):
            _check_codes(index, one, self.codebook_size)
        reset_peak(self.device)
        return decode_codes(self.decoder, codes, self.decode_way)

    def memory(self) -> dict[str, int]:
        """Bytes: `host_rss`, `host_peak_rss`; on CUDA also `device_allocated`, `device_reserved`, and `device_peak` of
        the last call."""
        return memory(self.device)


def _frames(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * FRAME_RATE))


def _check_wave(index: int, wave: np.ndarray) -> None:
    if not isinstance(wave, np.ndarray) or wave.dtype != np.float32 or wave.ndim != 1:
        seen = f"{wave.dtype} {list(wave.shape)}" if isinstance(wave, np.ndarray) else type(wave).__name__
        raise UnsupportedAudio(f"wave {index} is {seen}; expected a NumPy array float32 [samples] at {SAMPLE_RATE} Hz.")
    if not np.isfinite(wave).all():
        raise NonFiniteAudio(f"wave {index} holds NaN or infinity; every sample must be a finite number.")


def _check_codes(index: int, codes: np.ndarray, size: int) -> None:
    expected = f"expected a NumPy array int16 [frames, {NUM_CODEBOOKS}] in 0..{size - 1}."
    if not isinstance(codes, np.ndarray):
        raise BadCodes(f"codes {index} are a {type(codes).__name__}; {expected}")
    if codes.dtype.kind not in "iu" or codes.ndim != 2 or codes.shape[1] != NUM_CODEBOOKS:
        raise BadCodes(f"codes {index} are {codes.dtype} {list(codes.shape)}; {expected}")
    if codes.size and (codes.min() < 0 or codes.max() >= size):
        raise BadCodes(f"codes {index} reach from {codes.min()} to {codes.max()}; {expected}")
