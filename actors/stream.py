"""Audio as it arrives -> codes, and codes as they arrive -> audio, with the state held apart from the weights.

The state is the last inputs of every convolution, the keys and values of each layer's window, and less than a frame of
audio: its size is bounded. There is no look-ahead: a frame is encoded once its 80 ms are complete, and decoded as soon
as its codes are there.
"""

import copy
import numbers
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from actors.config import STEPS
from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, RATES, SAMPLE_RATE, output_length
from actors.device import PRECISIONS, computing
from actors.errors import BadCodes, NonFiniteAudio, SettingsError, UnsupportedAudio
from actors.network.attention import Past
from actors.network.decoder import Decoder
from actors.network.encoder import Encoder
from actors.tiling.run_tiles import Way
from actors.tiling.stack import Carried
from actors.tiling.transfer import audible

if TYPE_CHECKING:
    import soxr

FRAMES_AT_ONCE = 25
"""Longer pieces are processed in steps of so many frames, so that memory stays bounded."""


@dataclass
class State:
    """The state of a stream. Its tensors are replaced, never written to: a shallow copy is independent."""

    carried: Carried = field(default_factory=dict)  # of every causal layer
    pasts: list[Past | None] = field(default_factory=list)  # of every transformer layer
    frames: int = 0  # so far

    def copy(self) -> "State":
        """An independent copy."""
        return State(dict(self.carried), list(self.pasts), self.frames)


class StreamEncoder:
    """`feed` audio in pieces of any length, then `flush`: codes of one call under attention `window`, up to rare float
    ties."""

    def __init__(self, weights: Encoder, way: Way, batch: int = 1, rate: int = SAMPLE_RATE) -> None:
        """`weights` under attention `window`, on the device and in the dtype of `way`. See `Codec.stream_encoder`."""
        _check_batch(batch)
        if rate not in RATES:
            raise SettingsError(f"rate is {rate!r}; it can be a whole number of Hz in {RATES.start}-{RATES.stop - 1}.")
        self.weights, self.way, self.batch, self.rate = weights, way, batch, int(rate)
        self.reset()

    def reset(self) -> None:
        """Drop the state; the next piece starts a new stream."""
        self.state = State(pasts=[None] * len(self.weights.transformer.layers))
        self.waiting = np.empty((self.batch, 0), np.float32)  # less than a frame
        self.resampler = None if self.rate == SAMPLE_RATE else _resampler(self.rate, self.batch)
        self.fed, self.resampled = 0, 0  # samples of each stream so far, at `rate` and, by the resampler, at 24 kHz
        self.over = False  # a piece failed that the resampler has already

    def copy(self) -> Self:
        """A second stream that continues from the same state. Raises SettingsError for a stream that is resampled."""
        if self.resampler is not None:
            raise SettingsError(f"A stream at {self.rate} Hz cannot be copied: soxr does not expose its state.")
        twin = copy.copy(self)
        twin.state = self.state.copy()
        return twin

    def feed(self, pcm: np.ndarray) -> np.ndarray:
        """float32 in [-1, 1] or int16, [T] (or [B, T] for a batch) at `rate` -> int16 [F, 16] (or [B, F, 16]), F >= 0.

        Raises UnsupportedAudio for another dtype or shape, NonFiniteAudio for NaN or infinity and for samples so loud
        that the precision overflows. After any error the stream goes on as if the piece had not come. At another rate
        than 24 kHz its resampler holds it already: after an overflow, or an error midway, such a stream is over until
        `reset`.
        """
        self._refuse_over()
        wave = _as_float(pcm, self.batch)
        if self.resampler is not None:
            self.fed += wave.shape[1]
            wave = _resample(self.resampler, wave, last=False)
            self.resampled += wave.shape[1]
        return self._shaped(self._encode(wave))

    def flush(self) -> np.ndarray:
        """Codes of the remaining samples, zero-padded to a whole frame as in `Codec.encode`. Resets the stream."""
        self._refuse_over()
        wave = np.empty((self.batch, 0), np.float32)
        if self.resampler is not None:
            wave = _resample(self.resampler, wave, last=True)
            lacking = output_length(self.fed, self.rate) - self.resampled - wave.shape[1]
            wave = np.pad(wave, ((0, 0), (0, max(0, lacking))))  # soxr rounds, librosa adds a zero
        missing = -(self.waiting.shape[1] + wave.shape[1]) % FRAME_SAMPLES
        codes = self._encode(np.concatenate([wave, np.zeros((self.batch, missing), np.float32)], 1))
        self.reset()
        return self._shaped(codes)

    def _encode(self, wave: np.ndarray) -> np.ndarray:
        """float32 [B, T] at 24 kHz -> int16 [B, F, 16] of the frames that are complete now."""
        before, waiting = self.state.copy(), self.waiting
        wave = np.concatenate([waiting, wave], 1)
        frames = wave.shape[1] // FRAME_SAMPLES
        rows = wave[:, : frames * FRAME_SAMPLES].reshape(self.batch, frames, FRAME_SAMPLES)
        codes = [np.empty((self.batch, 0, NUM_CODEBOOKS), np.int16)]
        try:
            self.waiting = wave[:, frames * FRAME_SAMPLES :].copy()
            for first in range(0, frames, FRAMES_AT_ONCE):
                with computing(self.way.device, self.way.tf32):
                    piece = audible(torch.from_numpy(rows[:, first : first + FRAMES_AT_ONCE]))
                    codes.append(self._step(piece.to(self.way.device, self.way.dtype)).cpu().numpy())
            found = np.concatenate(codes, 1)
            if (found < 0).any():  # the state holds NaN now, for minutes
                why = f"its samples reach {np.abs(wave).max():.3g}, expected about 1 at most: scale them"
                raise _overflow("encode", self.way, why)
        except BaseException:  # no memory, Ctrl-C: what a part of the piece left behind would spoil all that follows
            self.state, self.waiting, self.over = before, waiting, self.resampler is not None
            raise
        return found

    def _step(self, rows: Tensor) -> Tensor:
        """rows [B, F, FRAME_SAMPLES] -> codes [B, F, 16]; -1 after an overflow."""
        state, weights = self.state, self.weights
        features = weights.convolutions(rows, state.carried).unflatten(2, (STEPS, -1)).flatten(1, 2)
        steps = weights.transformer.resume(features, state.pasts, STEPS * state.frames).float()
        if weights.down not in state.carried:  # its left edge repeats the first step
            state.carried[weights.down] = steps[:, :1].expand(-1, weights.down.left, -1)
        latents = weights.down(steps, state.carried)
        state.frames += rows.shape[1]
        return weights.quantized(latents.flatten(0, 1)).unflatten(0, (self.batch, -1))

    def _refuse_over(self) -> None:
        if self.over:
            raise NonFiniteAudio("this stream ended with a piece that failed; reset() begins another one.")

    def _shaped(self, codes: np.ndarray) -> np.ndarray:
        return codes[0] if self.batch == 1 else codes


class StreamDecoder:
    """`feed` codes in pieces of any length: returns the audio of every frame immediately."""

    def __init__(self, weights: Decoder, way: Way, codebook_size: int, batch: int = 1) -> None:
        """`weights` on the device of `way`. See `Codec.stream_decoder`."""
        _check_batch(batch)
        self.weights, self.way, self.codebook_size, self.batch = weights, way, codebook_size, batch
        self.reset()

    def reset(self) -> None:
        """Drop the state; the next piece starts a new stream."""
        self.state = State(pasts=[None] * len(self.weights.transformer.layers))

    def copy(self) -> Self:
        """A second stream that continues from the same state."""
        twin = copy.copy(self)
        twin.state = self.state.copy()
        return twin

    def feed(self, codes: np.ndarray) -> np.ndarray:
        """int16 [F, 16] (or [B, F, 16]) -> float32 [F * 1920] (or [B, F * 1920]).

        Raises BadCodes, and NonFiniteAudio where the precision overflows. After any error the stream goes on as if the
        piece had not come.
        """
        given, before = _as_codes(codes, self.batch, self.codebook_size), self.state.copy()
        waves = [np.empty((self.batch, 0), np.float32)]
        try:
            for first in range(0, given.shape[1], FRAMES_AT_ONCE):
                with computing(self.way.device, self.way.tf32):
                    piece = torch.from_numpy(given[:, first : first + FRAMES_AT_ONCE]).to(self.way.device)
                    waves.append(self._step(piece).flatten(1).cpu().numpy())
            wave = np.concatenate(waves, 1)
            if not np.isfinite(wave).all():
                raise _overflow("decode", self.way, "check the weights")
        except BaseException:
            self.state = before
            raise
        return wave[0] if self.batch == 1 else wave

    def flush(self) -> np.ndarray:
        """float32 [0] (or [B, 0]): `feed` holds nothing back. Resets the stream."""
        self.reset()
        return np.empty(0 if self.batch == 1 else (self.batch, 0), np.float32)

    def _step(self, codes: Tensor) -> Tensor:
        """codes int64 [B, F, 16] -> audio [B, F, FRAME_SAMPLES]."""
        state = self.state
        latents = self.weights.resume(codes, state.carried, state.pasts, state.frames)
        state.frames += codes.shape[1]
        return self.weights.convolutions(latents, state.carried)


def _overflow(part: str, way: Way, why: str) -> NonFiniteAudio:
    name = next(name for name, dtype in PRECISIONS.items() if dtype == way.dtype)
    half = "" if name == "fp32" else ", or load the codec with precision='fp32'"
    return NonFiniteAudio(f"{part} overflows in {name}; {why}{half}.")


def _check_batch(batch: int) -> None:
    if isinstance(batch, bool) or not isinstance(batch, numbers.Integral) or batch < 1:
        raise SettingsError(f"batch is {batch!r}; it can be a whole number of streams from 1.")


def _as_float(pcm: np.ndarray, batch: int) -> np.ndarray:
    expected = (
        f"expected a NumPy array of int16 or float32 [samples]{'' if batch == 1 else f' of each of {batch} streams'}"
    )
    if not isinstance(pcm, np.ndarray) or pcm.dtype not in (np.float32, np.int16):
        raise UnsupportedAudio(f"fed {_kind(pcm)}; {expected}.")
    wave = pcm[None] if pcm.ndim == 1 else pcm
    if wave.ndim != 2 or wave.shape[0] != batch:
        raise UnsupportedAudio(f"fed an array {list(pcm.shape)}; {expected}.")
    if wave.dtype == np.int16:
        return wave.astype(np.float32) / 32768.0
    if not np.isfinite(wave).all():
        raise NonFiniteAudio("fed NaN or infinity; every sample must be a finite number.")
    return wave


def _kind(given: object) -> str:
    return f"one of {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__


def _as_codes(codes: np.ndarray, batch: int, size: int) -> np.ndarray:
    expected = f"expected a NumPy array of integers [frames, {NUM_CODEBOOKS}] in 0..{size - 1}"
    if not isinstance(codes, np.ndarray) or codes.dtype.kind not in "iu":
        raise BadCodes(f"fed {_kind(codes)}; {expected}.")
    given = codes[None] if codes.ndim == 2 else codes
    if given.ndim != 3 or given.shape[0] != batch or given.shape[2] != NUM_CODEBOOKS:
        raise BadCodes(f"fed an array {list(codes.shape)}; {expected}, of {batch} streams.")
    if given.size and (given.min() < 0 or given.max() >= size):
        raise BadCodes(f"fed codes from {given.min()} to {given.max()}; {expected}.")
    return given.astype(np.int64)


def _resampler(rate: int, channels: int) -> "soxr.ResampleStream":
    import soxr  # only where the rate needs it: the engine runs without soxr

    return soxr.ResampleStream(rate, SAMPLE_RATE, channels, dtype="float32", quality="HQ")


def _resample(resampler: "soxr.ResampleStream", wave: np.ndarray, last: bool) -> np.ndarray:
    """float32 [B, T] -> float32 [B, T'] at 24 kHz: soxr takes the streams as channels."""
    interleaved = np.ascontiguousarray(wave.T)
    out = resampler.resample_chunk(interleaved if wave.shape[0] > 1 else interleaved[:, 0], last=last)
    return np.atleast_2d(out.T) if wave.shape[0] > 1 else out[None]
