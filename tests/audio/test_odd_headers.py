"""WAVs of 64-bit integers, SPHERE files cut short."""

import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.truncation import missing_end
from pipeline.audio.wav import read_header, wav_blocks


def test_a_wav_of_64_bit_integers(tmp_path: Path) -> None:
    samples = np.array([0, 1 << 62, -(1 << 63)], "<i8").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 24_000, 24_000 * 8, 8, 64)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(samples)) + samples
    file = tmp_path / "x.wav"
    file.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)
    with file.open("rb") as stream:
        wav = read_header(stream, file.stat().st_size)
        assert wav is not None
        assert np.concatenate(list(wav_blocks(stream, wav, 0, 10, False))).ravel().tolist() == [0.0, 0.5, -1.0]


@pytest.mark.parametrize(("cut", "whole"), [(0, True), (2, False), (1000, False)])
def test_a_sphere_file_cut_short(tmp_path: Path, cut: int, whole: bool) -> None:
    lines = "NIST_1A\n   1024\nchannel_count -i 1\nsample_count -i 800\nsample_n_bytes -i 2\nend_head\n"
    file = tmp_path / "x.flac"
    file.write_bytes((lines.encode().ljust(1024) + bytes(1600))[: 2624 - cut])
    with file.open("rb") as stream:
        assert (missing_end(stream, file.stat().st_size, "nistsphere") is None) == whole
