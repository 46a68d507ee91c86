"""A reconstruction's samples -> the bytes of a WAV or FLAC file; and what is wrong with such a file."""

import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

import numpy as np

from actors.contract import SAMPLE_RATE
from pipeline.audio.wav import wave_header

IN_MEMORY_BYTES = 4 << 20
"""A FLAC file up to this size is compressed in memory, a larger one in an unnamed temporary file."""
FLAC_HEAD_BYTES = 26
"""The magic and as much of STREAMINFO as holds the rate, the channels, the sample size and the number of samples."""


def wave_bytes(format: str, num_samples: int, blocks: Iterable[np.ndarray]) -> tuple[int, Iterator[bytes]]:
    """The size and, piece by piece, the content of a mono file of `num_samples` at 24 kHz, PCM 16, in `format`.

    `blocks` are int16 [n] and hold `num_samples` in all; memory does not grow with them. `format`: "wav", or
    "flac", which needs at least one sample.
    """
    if format == "wav":
        header = wave_header(num_samples)
        return len(header) + 2 * num_samples, _wav(header, blocks)
    import soundfile  # here: readers of runs need only pyarrow

    spooled = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))  # noqa: SIM115
    with soundfile.SoundFile(spooled, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as flac:
        for block in blocks:
            flac.write(block)
    size = spooled.seek(0, 2)
    spooled.seek(0)
    return size, _content(spooled)


def _wav(header: bytes, blocks: Iterable[np.ndarray]) -> Iterator[bytes]:
    yield header
    for block in blocks:
        yield block.tobytes()


def _content(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(1 << 20):
            yield block


def wave_fault(file: BinaryIO, size: int, num_samples: int, format: str) -> str:
    """What is wrong with the `size` bytes of an open, seekable reconstruction of `num_samples`; "" if nothing is.

    Reads the header; of FLAC, whose size says nothing, also the last frame.
    """
    if format == "wav":
        header = wave_header(num_samples)
        if size != len(header) + 2 * num_samples:
            return f"has {size:,} bytes, expected {len(header) + 2 * num_samples:,}"
        same = file.read(len(header)) == header
    else:
        same = _flac_samples(file.read(FLAC_HEAD_BYTES)) == num_samples
    if not same:
        return f"has another header than that of {num_samples:,} samples at {SAMPLE_RATE} Hz"
    return _flac_end_fault(file, num_samples) if format == "flac" and num_samples else ""


def _flac_samples(head: bytes) -> int | None:
    """Samples that the header of a mono 16 bit FLAC at 24 kHz announces; None for other headers (RFC 9639, 8.2)."""
    packed = int.from_bytes(head[18:26], "big")  # 20 bits rate, 3 channels - 1, 5 bits per sample - 1, 36 samples
    plain = head[:4] == b"fLaC" and packed >> 36 == SAMPLE_RATE << 8 | 0 << 5 | 15
    return packed & (1 << 36) - 1 if plain else None


def _flac_end_fault(file: BinaryIO, num_samples: int) -> str:
    import soundfile

    file.seek(0)
    try:
        with soundfile.SoundFile(file) as flac:
            flac.seek(num_samples - 1)
            ended = len(flac.read(1)) == 1
    except soundfile.LibsndfileError:
        ended = False
    return "" if ended else "is torn: its last frame cannot be decoded"
