"""WAV headers, honest and not; floats equal to libsndfile's."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audio.wav import UNKNOWN_SAMPLES, Wav, read_header, to_float, wav_blocks, wave_header
from pipeline.errors import NotAudio, TruncatedAudio
from tests.helpers.sounds import RATE, pcm, riff, tone, with_soundfile

SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]
SAMPLES = np.arange(100, dtype="<i2").tobytes()


def header(data: bytes) -> Wav:
    wav = read_header(io.BytesIO(data), len(data))
    assert wav is not None
    return wav


def ds64(data_bytes: int, samples: bytes = SAMPLES, magic: bytes = b"RF64") -> bytes:
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 2**62, data_bytes, data_bytes // 2, 0)
    return magic + b"\xff" * 4 + b"WAVE" + sizes + riff(pcm(), samples, data_bytes=2**32 - 1)[12:]


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 7])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64"])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_floats_equal_soundfiles(tmp_path: Path, subtype: str, kind: str, channels: int, mapped: bool) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(with_soundfile(tone(0.3, channels), RATE, kind, subtype))
    with path.open("rb") as stream:
        wav = read_header(stream, path.stat().st_size)
        assert wav is not None
        blocks = list(wav_blocks(stream, wav, 0, 1_000, mapped))
        later = np.concatenate(list(wav_blocks(stream, wav, 4_321, 777, mapped)))
    expected = sf.read(path, dtype="float32", always_2d=True)[0]
    assert {len(block) for block in blocks[:-1]} == {1_000}
    assert all(block.dtype == np.float32 and block.shape[1] == channels for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    np.testing.assert_array_equal(later, expected[4_321:])
    assert (wav.rate, wav.channels, wav.samples, wav.promised) == (RATE, channels, len(expected), wav.present)


def test_garbage_may_still_hold_a_view_of_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Python 3.13 a frame that waits for its collection does; the map could not be closed then."""
    path, held = tmp_path / "x.wav", []

    def keeps(raw: np.ndarray, kind: str, channels: int) -> np.ndarray:
        held.append(raw)
        return to_float(raw, kind, channels)

    monkeypatch.setattr("pipeline.audio.wav.to_float", keeps)
    path.write_bytes(with_soundfile(tone(0.3), RATE, "WAV", "PCM_16"))
    with path.open("rb") as stream:
        wav = read_header(stream, path.stat().st_size)
        assert wav is not None
        blocks = list(wav_blocks(stream, wav, 0, 1_000, mapped=True))
    np.testing.assert_array_equal(np.concatenate(blocks), sf.read(path, dtype="float32", always_2d=True)[0])


@settings(max_examples=50, deadline=None)
@given(
    raw=st.binary(min_size=24, max_size=480).map(lambda raw: raw[: len(raw) // 24 * 24]),
    subtype=st.sampled_from(SUBTYPES[:4]),
)
def test_any_integers_equal_soundfiles(raw: bytes, subtype: str) -> None:
    bits = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}[subtype]
    data = riff(pcm(bits=bits, channels=3), raw)
    ours = np.concatenate(list(wav_blocks(io.BytesIO(data), header(data), 0, 5, mapped=False)))
    np.testing.assert_array_equal(ours, sf.read(io.BytesIO(data), dtype="float32", always_2d=True)[0])


@pytest.mark.parametrize(
    ("data_bytes", "riff_bytes"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0, 0),
        (0, 36),
        (0, 0xFFFFFFFF),
        (0x7FFFF000, 0x7FFFF024),
        (0x7FFFEFFF, None),
        (0x7FFFFF00, None),
        (0x80000000, None),
        (0x7FFFFFFF, None),
    ],
)
def test_streaming_writers_mean_the_end_of_the_file(data_bytes: int, riff_bytes: int | None) -> None:
    wav = header(riff(pcm(), SAMPLES, data_bytes=data_bytes, riff_bytes=riff_bytes))
    assert (wav.promised, wav.samples) == (None, 100)


@pytest.mark.parametrize("data", [ds64(0), ds64(2**64 - 1), ds64(0, magic=b"BW64")])
def test_streamed_rf64(data: bytes) -> None:
    assert (header(data).promised, header(data).samples) == (None, 100)


def test_streamed_w64() -> None:
    data = bytearray(with_soundfile(tone(0.1), RATE, "W64", "PCM_16"))
    at = data.index(b"data") + 16
    whole = header(bytes(data)).samples
    for size in (2**63 - 1, 2**64 - 1):
        data[at : at + 8] = struct.pack("<Q", size)
        assert (header(bytes(data)).promised, header(bytes(data)).samples) == (None, whole)


def test_an_empty_data_chunk_before_others_is_empty() -> None:
    data = riff(pcm(), b"", data_bytes=0) + b"LIST" + struct.pack("<I", 4) + b"INFO"
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    assert (header(data).promised, header(data).samples) == (0, 0)


@pytest.mark.parametrize("data_bytes", [201, 2**31 - 2**20, 2**32 - 2])
def test_promises_are_kept_apart_from_what_is_there(data_bytes: int) -> None:
    wav = header(riff(pcm(), SAMPLES, data_bytes=data_bytes))
    assert (wav.promised, wav.present, wav.samples) == (data_bytes, 200, 100)


@pytest.mark.parametrize("data_bytes", [2**63, 2**64 - 2, 201])
def test_rf64_promises(data_bytes: int) -> None:
    assert (header(ds64(data_bytes)).promised, header(ds64(data_bytes)).present) == (data_bytes, 200)


def test_bytes_after_the_samples_are_none() -> None:
    assert header(riff(pcm(), SAMPLES) + b"LIST....garbage").samples == 100
    assert header(riff(pcm(), SAMPLES + b"x", data_bytes=201)).samples == 100  # half a sample


def test_odd_chunks_are_stepped_over() -> None:
    odd = b"bext" + struct.pack("<I", 5) + b"hello\0" + b"JUNK" + struct.pack("<I", 0)
    data = riff(pcm(), SAMPLES)
    wav = header(data[:12] + odd + data[12:])
    assert (wav.samples, wav.begin) == (100, 44 + len(odd))


@pytest.mark.parametrize(
    "form", [pcm(code=6, bits=8), pcm(bits=12), pcm(code=2, bits=4), pcm(channels=0), pcm()[:12] + b"\x09\0\x10\0"]
)
def test_what_only_a_decoder_reads_has_no_kind(form: bytes) -> None:
    assert header(riff(form, SAMPLES)).kind == ""


@pytest.mark.parametrize("magic", [b"FORM", b"fLaC", b"OggS", b"riff", b"RIF"])
def test_other_files_are_none_of_ours(magic: bytes) -> None:
    data = magic + riff(pcm(), SAMPLES)[4:] if len(magic) == 4 else magic
    assert read_header(io.BytesIO(data), len(data)) is None
    avi = b"RIFF" + bytes(4) + b"AVI " + bytes(100)
    assert read_header(io.BytesIO(avi), len(avi)) is None


@pytest.mark.parametrize("length", [4, 9, 11, 12, 19, 20, 35, 36, 43])
def test_a_cut_header_is_truncated(length: int) -> None:
    with pytest.raises(TruncatedAudio):
        read_header(io.BytesIO(riff(pcm(), SAMPLES)[:length]), length)


def test_senseless_headers() -> None:
    short = riff(pcm()[:14], SAMPLES)
    unordered = b"RIFF" + bytes(4) + b"WAVE" + b"data" + struct.pack("<I", 8) + bytes(8)
    endless = b"RIFF" + bytes(4) + b"WAVE" + (b"JUNK" + bytes(4)) * 20_000
    backwards = with_soundfile(tone(0.1), RATE, "W64", "PCM_16")[:56] + bytes(100)
    for data in (short, unordered, endless, backwards):
        with pytest.raises(NotAudio):
            read_header(io.BytesIO(data), len(data))


def test_a_chunk_of_claimed_gigabytes_is_not_read() -> None:
    data = b"RIFF" + bytes(4) + b"WAVEfmt " + struct.pack("<I", 0xFFFFFFF0) + pcm()
    with pytest.raises(TruncatedAudio):
        read_header(io.BytesIO(data), len(data))


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(riff(pcm(), bytes(400_000)))
    with path.open("r+b") as stream:
        wav = read_header(stream, path.stat().st_size)
        assert wav is not None
        blocks = wav_blocks(stream, wav, 0, 50_000, mapped=True)
        next(blocks)
        stream.truncate(120_000)
        with pytest.raises(TruncatedAudio):
            list(blocks)


def test_what_stream_writes_ends_with_the_file() -> None:
    data = wave_header(UNKNOWN_SAMPLES) + bytes(200)
    assert (header(data).promised, header(data).samples) == (None, 100)
