"""Reconstructions as WAV and FLAC."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.audio.wav import wave_header
from pipeline.audio.wave_file import IN_MEMORY_BYTES, wave_bytes, wave_fault
from tests.helpers.rows import tone


def pcm(samples: int, seed: int = 0) -> np.ndarray:
    return (tone(samples / 24_000 + 0.1, seed)[:samples] * 32_767).astype(np.int16)


def content_of(samples: np.ndarray, format: str, block: int = 4096) -> bytes:
    blocks = (samples[first : first + block] for first in range(0, len(samples), block))
    size, pieces = wave_bytes(format, len(samples), blocks)
    content = b"".join(pieces)
    assert len(content) == size
    return content


LENGTHS = [1, 15, 4095, 4096, 4097, 50_000]


@pytest.mark.parametrize(("format", "samples"), [("wav", 0), *((f, n) for f in ("wav", "flac") for n in LENGTHS)])
def test_samples_come_back_exactly(format: str, samples: int) -> None:
    content = content_of(pcm(samples), format)
    read, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    assert rate == 24_000
    assert np.array_equal(read, pcm(samples))
    info = soundfile.info(io.BytesIO(content))
    assert (info.subtype, info.channels, info.format) == ("PCM_16", 1, format.upper())
    assert wave_fault(io.BytesIO(content), len(content), samples, format) == ""


def test_flac_of_every_value_and_of_noise_is_exact() -> None:
    loud = np.random.default_rng(0).integers(-32_768, 32_768, 30_000).astype(np.int16)
    for samples in (np.arange(-32_768, 32_768).astype(np.int16), loud, np.full(9_000, -32_768, np.int16)):
        read, _ = soundfile.read(io.BytesIO(content_of(samples, "flac")), dtype="int16")
        assert np.array_equal(read, samples)


def test_a_long_flac_is_not_held_in_memory() -> None:
    """More than fits in memory goes to a temporary file, block by block."""
    at_once = []

    def blocks() -> Iterator[np.ndarray]:
        for number in range(60):
            at_once.append(number)
            yield np.random.default_rng(number).integers(-32_768, 32_768, 48_000).astype(np.int16)

    size, pieces = wave_bytes("flac", 60 * 48_000, blocks())
    assert size > IN_MEMORY_BYTES
    assert at_once == list(range(60))
    lengths = [len(piece) for piece in pieces]
    assert sum(lengths) == size
    assert max(lengths) <= 1 << 20


def test_a_wav_of_over_4_gib_says_its_size_before_it_is_written() -> None:
    samples = 25 * 3600 * 24_000
    size, pieces = wave_bytes("wav", samples, iter(()))
    assert size == len(wave_header(samples)) + 2 * samples
    assert next(pieces)[:4] == b"RF64"


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_faults(format: str) -> None:
    whole = content_of(pcm(30_000), format)
    assert "another header" in wave_fault(io.BytesIO(whole), len(whole), 29_999, format) or format == "wav"
    assert wave_fault(io.BytesIO(whole), len(whole), 29_999, format)
    assert wave_fault(io.BytesIO(b"RIFX" + whole[4:]), len(whole), 30_000, format)
    for cut in (1, 100, len(whole) // 2, len(whole) - 10, len(whole)):
        torn = whole[:-cut]
        assert wave_fault(io.BytesIO(torn), len(torn), 30_000, format), cut
    stereo = io.BytesIO()
    soundfile.write(stereo, np.zeros((30_000, 2), np.int16), 24_000, format=format.upper(), subtype="PCM_16")
    assert wave_fault(io.BytesIO(stereo.getvalue()), stereo.tell(), 30_000, format)
    other = io.BytesIO()
    soundfile.write(other, np.zeros(30_000, np.int16), 16_000, format=format.upper(), subtype="PCM_16")
    assert "another header" in wave_fault(io.BytesIO(other.getvalue()), other.tell(), 30_000, format)


def test_flac_equals_wav_on_disk(tmp_path: Path) -> None:
    for format in ("wav", "flac"):
        (tmp_path / f"a.{format}").write_bytes(content_of(pcm(77_777), format))
    one, other = (soundfile.read(tmp_path / f"a.{format}", dtype="int16")[0] for format in ("wav", "flac"))
    assert np.array_equal(one, other)
    assert (tmp_path / "a.flac").stat().st_size < (tmp_path / "a.wav").stat().st_size
