"""Containers beyond the common ones: samples against other decoders, what is refused, and which track is taken.

speech/ holds what no encoder in PyAV's wheel makes, of 1.5 s of the demo clip en/counted.flac and a second of silence:
dtx.amr by sox (libopencore-amrnb) and dtx.awb by libvo-amrwbenc, both with DTX, so that most frames of the silence
hold no speech; speech.spx by speexenc.
"""

import hashlib
import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from pipeline.audio.decode import open_audio
from pipeline.errors import NoSuchTrack, TruncatedAudio, UnsupportedAudio
from tests.helpers.film import film
from tests.helpers.sounds import RATE, make, pcm, riff, tone, with_soundfile

SPEECH = Path(__file__).parent / "speech"
SOURCE = Path(__file__).parents[2] / "pipeline" / "cli" / "demo_clips" / "en" / "counted.flac"


def read(data: bytes, track: int | None = None, name: str = "x") -> np.ndarray:
    with open_audio(io.BytesIO(data), name, track=track) as audio:
        return np.concatenate(list(audio.blocks))


# ---- samples


@pytest.mark.parametrize("name", ["wv", "au", "caf", "alac.caf", "w64", "sph", "oga", "mkv", "mov", "m4b"])
def test_lossless_containers_give_back_the_samples(name: str) -> None:
    wave = (np.round(tone(1.0, 2) * 32_767) / 32_768).astype(np.float32)
    np.testing.assert_array_equal(read(make(name, wave)), wave)


@pytest.mark.parametrize(
    ("name", "rate", "digest"),
    [
        ("dtx.amr", 8_000, "d71b04c5f4920d6f8e0fa70a7eb35d683f5a37af616af5dddd89d4c90de9b390"),
        ("dtx.awb", 16_000, "9596e8b9824e647974ec4ddc31cc316b681d43f2810c1bb119f239d1c59e386e"),
    ],
)
def test_amr_with_dtx_equals_the_reference_decoder(name: str, rate: int, digest: str) -> None:
    """The digests are of the int16 samples that libopencore gives: through sox, and by D_IF_decode."""
    with open_audio((SPEECH / name).open("rb"), name) as audio:
        assert audio.rate == rate
        wave = np.concatenate(list(audio.blocks))
    assert wave.shape == (round(2.5 * rate), 1)
    assert hashlib.sha256((wave * 32_768).astype("<i2").tobytes()).hexdigest() == digest


def test_speex_is_the_speech() -> None:
    wave, clip = read((SPEECH / "speech.spx").read_bytes())[:, 0], sf.read(SOURCE, dtype="float32")[0]
    assert len(wave) == 40_320  # whole packets of 20 ms; speexdec cuts them to the 40,000 samples that were encoded
    lags = range(500)  # the encoder looks ahead
    assert max(np.corrcoef(clip[4_000:20_000], wave[4_000 + lag : 20_000 + lag])[0, 1] for lag in lags) > 0.85


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sphere_equals_soundfile(subtype: str, endian: str, channels: int) -> None:
    file = io.BytesIO()
    sf.write(file, tone(0.5, channels, 8_000), 8_000, subtype, endian=endian, format="NIST")
    expected = sf.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)[0]
    np.testing.assert_array_equal(read(file.getvalue()), expected)


def sphere(coding: str, samples: bytes) -> bytes:
    """A SPHERE file as the LDC writes its telephone speech: 8 kHz, two channels of one byte."""
    lines = f"""NIST_1A\n   1024
database_id -s12 SWITCHBOARD1
channel_count -i 2
sample_count -i {len(samples) // 2}
sample_rate -i 8000
sample_n_bytes -i 1
sample_coding -s{len(coding)} {coding}
end_head
"""
    return lines.encode().ljust(1_024) + samples


@pytest.mark.parametrize("coding", ["ulaw", "mu-law"])
def test_two_channels_of_telephone_speech(coding: str) -> None:
    samples = np.random.default_rng(0).integers(0, 256, 2_000, dtype=np.uint8).tobytes()
    expected = read(riff(pcm(8_000, 2, 8, code=7), samples))
    np.testing.assert_array_equal(read(sphere(coding, samples)), expected)


@pytest.mark.parametrize("coding", ["pcm,embedded-shorten-v2.00", "ulaw,embedded-shorten-v2.00"])
def test_shorten_is_refused_by_name(coding: str) -> None:
    with pytest.raises(UnsupportedAudio, match=rf"^x\.sph: .*sample_coding {coding}.*Shorten.*sph2pipe -f wav"):
        read(sphere(coding, b"ajkg\2" + bytes(5_000)), name="x.sph")


def test_wavs_of_other_codecs() -> None:
    wave = tone(1.0, 1, 8_000)
    ints = (wave[:, 0].astype(np.float64) * 2**63).astype("<i8")
    np.testing.assert_array_equal(read(riff(pcm(8_000, 1, 64), ints.tobytes())), wave)
    for subtype, longest in (("ALAW", 8_000), ("ULAW", 8_000), ("IMA_ADPCM", 8_410), ("MS_ADPCM", 8_500)):
        data = with_soundfile(wave, 8_000, "WAV", subtype)  # ADPCM: whole blocks, as soundfile reads them
        expected = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
        found = read(data)
        assert 8_000 <= len(found) == len(expected) <= longest
        np.testing.assert_allclose(found, expected, atol=0.01 if subtype == "MS_ADPCM" else 0)


@pytest.mark.parametrize("subtype", ["ALAW", "ULAW", "IMA_ADPCM"])
def test_w64_of_other_codecs_equals_wav(subtype: str) -> None:
    wave = tone(1.0, 1, 8_000)
    as_wav, as_w64 = (read(with_soundfile(wave, 8_000, kind, subtype)) for kind in ("WAV", "W64"))
    np.testing.assert_array_equal(as_w64[:8_000], as_wav[:8_000])


def test_the_start_of_an_edit_list_is_cut_away_from_alac() -> None:
    wave = (np.round(tone(3.0) * 32_767) / 32_768).astype(np.float32)
    data, cut = bytearray(make("m4b", wave)), RATE // 2
    at = data.index(b"elst") + 12
    duration, begin = struct.unpack(">Ii", data[at : at + 8])  # in ms, in samples
    assert (duration, begin) == (3_000, 0)
    data[at : at + 8] = struct.pack(">Ii", duration - 500, cut)
    np.testing.assert_array_equal(read(bytes(data)), wave[cut:])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_big_endian_wav_is_refused(subtype: str) -> None:
    file = io.BytesIO()
    sf.write(file, tone(0.5), RATE, subtype, endian="BIG", format="WAV")
    with pytest.raises(UnsupportedAudio, match=r"^x: it is a WAV of big-endian samples \(RIFX\); write it as RIFF"):
        read(file.getvalue())


@pytest.mark.parametrize("format_", ["MP3", "adts"])
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_joined_files_of_other_channels_are_refused(format_: str, first: int, then: int) -> None:
    """FFmpeg's FIFO would take the left channel alone, or read a plane that is not there."""

    def encoded(channels: int) -> bytes:
        if format_ == "MP3":
            return with_soundfile(tone(2.0, channels), RATE, "MP3", "MPEG_LAYER_III")
        return make("aac", tone(2.0, channels))

    with pytest.raises(UnsupportedAudio, match=r"it changes from .* to .* on its way"):
        read(encoded(first) + encoded(then))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("channels", [3, 5, 6, 7, 8, 9])
def test_channels_of_vorbis_and_opus_are_in_the_order_of_their_files(channels: int, subtype: str) -> None:
    """A manifest that was made with soundfile counts them so."""
    hz = 20 + 8 * np.arange(channels)  # the last one may be for deep sounds alone
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(48_000)[:, None] / 48_000)
    data = io.BytesIO()
    sf.write(data, wave, 48_000, format="OGG", subtype=subtype)
    found = np.abs(np.fft.rfft(read(data.getvalue()), axis=0)).argmax(0)
    np.testing.assert_array_equal(found, hz)


@pytest.mark.parametrize("family", ["1", "2", "255"])
def test_channels_of_opus_are_soundfiles_whether_they_have_places_or_not(family: str) -> None:
    """FFmpeg sorts those of mapping family 1 alone: ambisonic channels (2) and numbered ones (255) have no places."""
    wave = 0.3 * np.sin(2 * np.pi * (20 + 8 * np.arange(6)) * np.arange(48_000)[:, None] / 48_000)
    data = io.BytesIO()
    with av.open(data, "w", format="ogg") as file:
        encoder = file.add_stream("libopus", 48_000, {"mapping_family": family}, layout="5.1", format="flt")
        frame = av.AudioFrame.from_ndarray(wave.astype(np.float32).reshape(1, -1), "flt", "5.1")
        frame.sample_rate = 48_000
        file.mux([*encoder.encode(frame), *encoder.encode(None)])
    theirs, _ = sf.read(io.BytesIO(data.getvalue()))
    ours, expected = (np.abs(np.fft.rfft(one[:48_000], axis=0)).argmax(0) for one in (read(data.getvalue()), theirs))
    np.testing.assert_array_equal(ours, expected)
    assert len(set(expected)) == 6


@pytest.mark.parametrize("subtype", ["NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"])
def test_nms_adpcm_is_not_taken_for_amr(subtype: str) -> None:
    data = io.BytesIO()
    sf.write(data, tone(1.0)[:, 0], RATE, format="WAV", subtype=subtype)
    with pytest.raises(UnsupportedAudio, match="its samples are NMS ADPCM"):
        read(data.getvalue())


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "G721_32"), ("AU", "G721_32"), ("AU", "G723_40")])
def test_what_would_become_noise_is_refused(kind: str, subtype: str) -> None:
    with pytest.raises(UnsupportedAudio, match=r"G\.721, G\.723 or G\.726"):
        read(with_soundfile(tone(1.0, 1, 8_000), 8_000, kind, subtype))


def test_a_pad_byte_that_sox_counts_is_no_damage() -> None:
    data = bytearray(with_soundfile(tone(1.0, 1, 8_000), 8_000, "WAV", "GSM610"))
    at = data.index(b"data") + 4
    length = int.from_bytes(data[at : at + 4], "little")
    odd = data[:at] + (length + 1).to_bytes(4, "little") + data[at + 4 : at + 4 + length] + b"\0"
    np.testing.assert_array_equal(read(bytes(odd)), read(bytes(data)))
    with pytest.raises(TruncatedAudio):
        read(bytes(odd[:-2]))


# ---- tracks


def is_loud(wave: np.ndarray) -> bool:
    return bool(np.abs(wave).max() > 0.3)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("matroska", "aac"), ("mov", "aac"), ("mpegts", "mp2"), ("vob", "ac3"), ("avi", "pcm_s16le")],
)
def test_each_track_can_be_had(container: str, codec: str) -> None:
    data = film(container, codec)
    assert [is_loud(read(data, track)) for track in (None, 1, 2)] == [False, False, True]
    with pytest.raises(NoSuchTrack, match=r"no audio track 3, only 1 \(.*, .*\), 2 \(.*, .*\)\. Set input\.track"):
        read(data, 3)


def test_the_default_track_is_the_one_that_the_container_marks() -> None:
    assert [is_loud(read(film("matroska", "flac", default=number))) for number in (0, 1)] == [False, True]


def test_a_missing_track_names_languages_and_codecs() -> None:
    with pytest.raises(NoSuchTrack, match=r"1 \(eng, flac\), 2 \(deu, flac\)"):
        read(film("matroska", "flac"), 7)
    with pytest.raises(NoSuchTrack, match="only 1"):
        read(make("wav", tone(0.1)), 2)
    assert len(read(make("wav", tone(0.1)), 1)) == RATE // 10


def test_the_picture_of_an_mp4_is_not_read() -> None:
    class Counting(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    data = film("mov", "aac", picture="mjpeg", size=1_024)
    stream = Counting(data)
    with open_audio(stream, "x.mov") as audio:
        assert sum(map(len, audio.blocks)) == 96_000
    assert stream.count < 0.8 * len(data)  # what FFmpeg looks at to know the tracks, and blocks around the sound
