"""Cut and damaged files of every format: noticed, unless the format has nothing to notice it by."""

import io
import random
import zlib
from collections.abc import Collection

import pytest

from pipeline.audio.decode import open_audio
from pipeline.audio.ffmpeg import _crc16
from pipeline.audio.mpeg import first_frame, parse, xing_bytes
from pipeline.audio.truncation import _ogg_checksum, missing_end
from pipeline.errors import NotAudio, RecordingError, TruncatedAudio
from tests.helpers.sounds import FORMATS, sound

CHECKED_THROUGHOUT = ["flac", "ogg", "opus", "av.opus"]  # formats with checksums
INDEX_LAST = ["m4a", "m4b", "mov", "3gp", "alac.caf"]  # lost with the end
MPEG = ["mp3", "noxing.mp3", "aac"]


def mpeg_frames(data: bytes) -> list[int]:
    """Where the frames of an MPEG stream begin, and where the last one ends."""
    at = first_frame(io.BytesIO(data))
    assert at is not None
    begins = [at]
    while frame := parse(data[begins[-1] : begins[-1] + 7]):
        begins.append(begins[-1] + frame.length)
    return begins


def samples(data: bytes, name: str, allow_truncated: bool = False) -> int:
    with open_audio(io.BytesIO(data), name, allow_truncated=allow_truncated) as audio:
        return sum(map(len, audio.blocks))


def unseen_ends(name: str, data: bytes) -> Collection[int]:
    """Where a file may end and look whole: between two frames or packets of streams that hold no length."""
    if name in ("noxing.mp3", "aac", "mp2"):
        return mpeg_frames(data)
    if name == "mpg":  # a pack every 2048 bytes
        return range(0, len(data), 2_048)
    if name in ("ts", "m2ts"):
        return range(0, len(data), 188 if name == "ts" else 192)
    return range(6, len(data), 32) if name == "amr" else ()


@pytest.mark.parametrize("name", FORMATS)
def test_every_cut_is_noticed(name: str) -> None:
    data, rng = sound(name, 6), random.Random(name)
    unseen = unseen_ends(name, data)
    for cut in {1, 2, 3, 4, 5, 9, 100, *(rng.randrange(1, len(data) * 9 // 10) for _ in range(12))}:
        if len(data) - cut in unseen:
            continue
        with pytest.raises(TruncatedAudio, match=rf"^{name}: .*input\.allow_truncated"):
            samples(data[: len(data) - cut], name)


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_cut_leaves_can_be_had(name: str) -> None:
    whole, half = samples(sound(name, 6), name), sound(name, 6)[: len(sound(name, 6)) // 2]
    if name in INDEX_LAST:
        with pytest.raises(TruncatedAudio, match=r"('mdat' box ends|promises) .* nothing can be decoded"):
            samples(half, name, allow_truncated=True)
    else:
        assert 0.3 * whole < samples(half, name, allow_truncated=True) < 0.75 * whole


@pytest.mark.parametrize("name", FORMATS)
def test_a_mere_header_is_no_audio(name: str) -> None:
    for length in (1, 4, 12, 40):
        with pytest.raises((TruncatedAudio, NotAudio)):
            samples(sound(name, 6)[:length], name)


@pytest.mark.parametrize("name", CHECKED_THROUGHOUT)
def test_damage_inside_is_noticed(name: str) -> None:
    data, rng = sound(name, 6), random.Random(name)
    for _ in range(12):
        at = rng.randrange(len(data) // 5, len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        for damaged in (flipped, data[:at] + data[at + 1 + rng.randrange(2_000) :]):
            with pytest.raises(TruncatedAudio):
                samples(damaged, name)


def test_a_flac_frame_that_is_lost_is_missed() -> None:
    data = sound("flac", 6)
    frames = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xf8" and data[at + 2] >> 4 > 1]
    without = data[: frames[3]] + data[frames[4] :]
    with pytest.raises(TruncatedAudio, match="missing"):
        samples(without, "x.flac")


@pytest.mark.parametrize("name", MPEG)
def test_mpeg_frames_tile_the_file(name: str) -> None:
    data = sound(name, 6)
    begins = mpeg_frames(data)
    assert begins[-1] == len(data)
    assert len({parse(data[begin:]).kind for begin in begins[:-1]}) == 1  # type: ignore[union-attr]
    assert len(begins) - 1 >= samples(data, name) // (1_024 if name == "aac" else 1_152)


@pytest.mark.parametrize("name", MPEG)
def test_tags_are_no_damage(name: str) -> None:
    data, whole = sound(name, 6), samples(sound(name, 6), name)
    id3v1 = b"TAG" + bytes(125)
    id3v2 = b"ID3\x04\0\0" + bytes([0, 0, 8, 5]) + b"\xff\xfb\x90\x64" + bytes(1_025)  # with a frame's look-alike
    assert samples(id3v2 + id3v2 + data, name) == whole
    assert samples(data + id3v1, name) == whole
    if name != "aac":
        ape = b"APETAGEX" + (2_000).to_bytes(4, "little") + (32).to_bytes(4, "little") + bytes(16)
        assert samples(data + ape + bytes(range(32)) + ape + id3v1, name) == whole


def test_joined_mp3_files_are_read_on() -> None:
    data = sound("noxing.mp3", 6)
    assert samples(data + data, "x.mp3") > 1.95 * samples(data, "x.mp3")


def test_a_xing_header_that_promises_more() -> None:
    data = sound("mp3", 6)
    begin = first_frame(io.BytesIO(data))
    assert begin is not None
    assert xing_bytes(data[begin : begin + 2_048]) == len(data) - begin
    assert xing_bytes(sound("noxing.mp3", 6)[:2_048]) == 0
    between = mpeg_frames(data)[-4]  # nothing but the Xing header tells
    with pytest.raises(TruncatedAudio, match="promises"):
        samples(data[:between], "x.mp3")


def test_joined_ogg_streams_are_sound() -> None:
    joined = sound("ogg", 6) + sound("opus")
    assert missing_end(io.BytesIO(joined), len(joined), "ogg") is None


def test_the_ogg_checksum_is_the_specified_one() -> None:
    def bit_by_bit(page: bytes) -> int:  # RFC 3533: polynomial 0x04c11db7, initial value 0
        crc = 0
        for byte in page[:22] + bytes(4) + page[26:]:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1 ^ 0x04C11DB7 if crc >> 31 else crc << 1) & 0xFFFFFFFF
        return crc

    page = random.Random(0).randbytes(100)
    assert _ogg_checksum(page) == bit_by_bit(page) != zlib.crc32(page)


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_frames(seed: int) -> None:
    assert first_frame(io.BytesIO(random.Random(seed).randbytes(100_000))) is None


@pytest.mark.parametrize(
    "data", [b"\xff" * 10_000, b"\xff\xfb\x90\0" * 5_000, bytes(10_000), b"<html>" * 999, b"PK\3\4" + bytes(99)]
)
def test_what_is_no_audio(data: bytes) -> None:
    with pytest.raises(NotAudio):
        samples(data, "x.mp3")


def test_box_and_element_lengths_that_lead_nowhere_end() -> None:
    for data in (b"\0\0\0\0ftyp" * 2_000, b"\0\0\0\1ftyp" + bytes(5_000), b"\x1aE\xdf\xa3" + bytes(5_000)):
        with pytest.raises(RecordingError):
            samples(data, "x.mp4")


def test_a_last_flac_frame_that_is_whole_but_refused_is_left_out() -> None:
    def crc8(data: bytes) -> int:  # of FLAC's frame header: polynomial 0x07
        crc = 0
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = (crc << 1 ^ 7 if crc >> 7 else crc << 1) & 0xFF
        return crc

    data = sound("flac", 6)
    last = data.rindex(b"\xff\xf8", 0, len(data) - 100)
    header = next(n for n in range(5, 16) if crc8(data[last : last + n]) == data[last + n]) + 1
    illegal = b"\x10\xc0"  # a subframe of fixed prediction, its residual coded by a method that does not exist
    reserved = data[last : last + header] + illegal + data[last + header + 2 : -2]
    refused = data[:last] + reserved + _crc16(reserved).to_bytes(2, "big")
    assert _crc16(data[last:]) == 0 != _crc16(data[last:-1])
    lost = samples(data, "x.flac") - samples(refused, "x.flac")
    assert 0 < lost <= 4_096
    with pytest.raises(TruncatedAudio):  # the same frame with a wrong checksum
        samples(data[:last] + reserved + data[-2:], "x.flac")
    with pytest.raises(TruncatedAudio):  # or with more missing than itself
        samples(
            refused[:18] + (int.from_bytes(data[18:26], "big") + 100_000).to_bytes(8, "big") + refused[26:], "x.flac"
        )
