"""`voxmill stream`: input and output of the pipes."""

import io
import json
import os
import struct
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import pipeline.cli.pipe
from actors.codec import Codec
from pipeline.cli.main import app
from pipeline.cli.pipe import RAW, Pcm, _read_lines, decode_stream, encode_stream, loop_stream
from pipeline.errors import BadCodes, EmptyAudio, NonFiniteAudio, OutputError, TruncatedAudio, UnsupportedAudio
from tests.helpers.rows import tone
from tests.helpers.sounds import with_pyav

WAVE = tone(3.0)[:-100]
HERE = str(Path(__file__).parents[2])


class Live(io.RawIOBase):
    """A source that gives a few bytes at a time, as a microphone does, and cannot seek."""

    def __init__(self, content: bytes, step: int = 1001) -> None:
        self.content, self.step = content, step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        block = self.content[: min(self.step, len(buffer))]
        buffer[: len(block)] = block
        self.content = self.content[len(block) :]
        return len(block)


def live(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(Live(content))


@pytest.fixture(scope="module")
def codec(small_model: Path) -> Codec:
    return Codec.load(str(small_model), device="cpu", precision="fp32", attention="window")


def encoded(codec: Codec, content: bytes, raw: Pcm | None = None, as_json: bool = False) -> bytes:
    sink = io.BytesIO()
    encode_stream(codec, live(content), sink, raw, as_json)
    return sink.getvalue()


def codes_of(content: bytes) -> np.ndarray:
    return np.frombuffer(content, "<i2").reshape(-1, 16)


def sound(wave: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, options.pop("rate", 24_000), **options)
    return file.getvalue()


def wav(wave: np.ndarray, **options: object) -> bytes:
    return sound(wave, format="WAV", **options)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
def test_wav_and_raw_pcm_are_told_apart(codec: Codec, subtype: str) -> None:
    content = wav(WAVE, subtype=subtype)
    read, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    found = codes_of(encoded(codec, content))
    assert np.mean(found == codec.encode([read])[0]) > 0.999
    if subtype == "PCM_16":
        assert np.array_equal(codes_of(encoded(codec, content[44:])), found)


def test_stereo_at_another_rate(codec: Codec) -> None:
    stereo = np.stack([WAVE, WAVE[::-1]], 1)
    found = codes_of(encoded(codec, wav(stereo, rate=16_000, subtype="FLOAT")))
    assert len(found) == -(-len(WAVE) * 3 // 2 // 1920)
    raw = codes_of(encoded(codec, stereo.astype("<f4").tobytes(), Pcm(16_000, 2, "f4")))
    assert np.array_equal(raw, found)


def test_json_lines_and_raw_codes_hold_the_same(codec: Codec) -> None:
    lines = encoded(codec, wav(WAVE), as_json=True)
    raw = encoded(codec, wav(WAVE))
    assert [json.loads(line) for line in lines.splitlines()] == codes_of(raw).tolist()
    from_lines, from_raw = io.BytesIO(), io.BytesIO()
    decode_stream(codec, live(lines), from_lines, as_json=True, as_wav=True)
    decode_stream(codec, live(raw), from_raw, as_json=False, as_wav=False)
    pcm = np.frombuffer(from_raw.getvalue(), "<i2")
    assert np.abs(np.frombuffer(from_lines.getvalue()[44:], "<i2").astype(int) - pcm).max() <= 1
    assert from_lines.getvalue()[:4] == b"RIFF"
    expected = codec.decode([codes_of(raw)])[0]
    assert np.abs(pcm / 32767 - expected).max() < 1e-3


def test_loop_tells_its_speed(codec: Codec) -> None:
    sink, told = io.BytesIO(), []
    loop_stream(codec, live(wav(WAVE)), sink, RAW, told.append)
    assert len(sink.getvalue()) == 44 + 2 * 1920 * -(-len(WAVE) // 1920)
    assert told[-1].startswith("3.0 s, ")
    assert told[-1].endswith("x real time")


def test_waiting_for_the_source_is_not_slowness(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    class Slow(Live):
        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            now[0] += 10
            return super().readinto(buffer)

    monkeypatch.setattr(pipeline.cli.pipe.time, "perf_counter", lambda: now[0])
    told: list[str] = []
    loop_stream(codec, io.BufferedReader(Slow(wav(WAVE))), io.BytesIO(), RAW, told.append)
    assert now[0] > 1000
    assert float(told[-1].split()[2].removesuffix("x")) > 1e6  # else it took no time


def test_a_file_is_told_its_length(codec: Codec, tmp_path: Path) -> None:
    codes = encoded(codec, wav(WAVE))
    path = tmp_path / "out.wav"
    with path.open("wb") as file:
        file.write(b"before")
        decode_stream(codec, live(codes), file, as_json=False, as_wav=True)
        file.write(b"behind")
    content = path.read_bytes()
    assert (content[:6], content[-6:]) == (b"before", b"behind")
    assert soundfile.info(io.BytesIO(content[6:-6])).frames == 1920 * -(-len(WAVE) // 1920)
    assert int.from_bytes(content[46:50], "little") == len(content) - 6 - 6 - 44
    with path.open("ab") as file:  # as the shell's >> does
        decode_stream(codec, live(codes), file, as_json=False, as_wav=True)
    assert path.read_bytes()[: len(content)] == content


class Narrow(io.RawIOBase):
    """Takes a few bytes at a time, as an unbuffered stdout may."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, content: memoryview) -> int:  # type: ignore[override]
        self.taken += content[:1001]
        return len(content[:1001])


def test_a_sink_that_takes_less_gets_all(codec: Codec) -> None:
    narrow, wide = Narrow(), io.BytesIO()
    for sink in (narrow, wide):
        loop_stream(codec, live(wav(WAVE)), sink, RAW, lambda text: None)
    assert narrow.taken == wide.getvalue()


def test_lines_that_are_there_are_decoded_at_once() -> None:
    rows = np.arange(16 * 300).reshape(-1, 16).tolist()
    lines = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    for content in (lines, lines[:-1]):
        found = list(_read_lines(io.BufferedReader(io.BytesIO(content))))
        assert len(found) <= 2
        assert np.concatenate(found).tolist() == rows
    read = _read_lines(io.BytesIO(lines + b"[1]\n" + lines))
    assert next(read).tolist() == rows  # before the error
    with pytest.raises(BadCodes, match=r"Line 301 .* shape \[1\]"):
        next(read)
    with pytest.raises(BadCodes, match=r"Line 1 .* longer than"):
        list(_read_lines(io.BytesIO(bytes(200_000))))


def test_what_comes_before_a_fault_is_not_lost(codec: Codec) -> None:
    good = codec.encode([WAVE])[0]
    bad = good.copy()
    bad[20, 3] = codec.codebook_size
    sink = io.BytesIO()
    with pytest.raises(BadCodes, match=rf"^Frame 21 .* in 0\.\.{codec.codebook_size - 1}\.$"):
        decode_stream(codec, live(bad.astype("<i2").tobytes()), sink, as_json=False, as_wav=False)
    assert len(sink.getvalue()) == 2 * 1920 * 20
    spoilt = WAVE.astype("<f4")
    spoilt[36_000] = np.nan
    sink = io.BytesIO()
    with pytest.raises(NonFiniteAudio, match=r"at 1\.500 s"):
        encode_stream(codec, io.BufferedReader(io.BytesIO(spoilt.tobytes())), sink, Pcm(24_000, 1, "f4"), False)
    assert np.array_equal(codes_of(sink.getvalue()), codec.encode([WAVE[:36_000]])[0])


def test_nothing_in_nothing_out(codec: Codec) -> None:
    assert encoded(codec, b"") == b""


@pytest.mark.parametrize("size", [1, 2, 4, 11, 12, 13])
def test_raw_samples_shorter_than_what_is_looked_at_first(codec: Codec, size: int) -> None:
    content = bytes(range(1, size + 1))
    frames = [codec.encode([np.frombuffer(content[: size // 2 * 2], "<i2") / np.float32(32768)])[0]] if size > 1 else []
    sink = io.BytesIO()
    with pytest.raises(TruncatedAudio, match="1 byte into a sample of 2") if size % 2 else nullcontext():
        encode_stream(codec, live(content), sink, None, as_json=False)
    assert sink.getvalue() == b"".join(codes.tobytes() for codes in frames)


def test_samples_of_another_format_than_the_options_say(codec: Codec) -> None:
    stereo = wav(np.stack([WAVE, WAVE], 1), rate=16_000)
    assert encoded(codec, stereo, Pcm(16_000, 2, "i2")) == encoded(codec, stereo)
    says = "WAV of 16000 Hz, 2 channels, 16-bit integers by its header.*24000 Hz, 1 channel, 32-bit floats; leave out"
    with pytest.raises(UnsupportedAudio, match=says):
        encoded(codec, stereo, Pcm(24_000, 1, "f4"))
    with pytest.raises(TruncatedAudio, match=r"2 bytes into a sample of 4 .*2 channels.*say which with --rate"):
        encoded(codec, bytes(4002), Pcm(24_000, 2, "i2"))


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (np.full(9999, np.nan, "<f4").tobytes(), NonFiniteAudio, "NaN"),
        (wav(WAVE, subtype="FLOAT")[:-500], TruncatedAudio, "500 bytes"),
        (wav(WAVE)[:30], TruncatedAudio, "Standard input"),
        (wav(WAVE, subtype="ULAW"), UnsupportedAudio, "PCM or float"),
        (b"RIFF" + b"\0" * 50, UnsupportedAudio, "Standard input"),
        (wav(WAVE).replace(b"data" + struct.pack("<I", 2 * len(WAVE)), b"data\0\0\0\0"), EmptyAudio, "no samples"),
        (wav(WAVE)[:8], TruncatedAudio, "Standard input: it ends after 8 bytes, within the header of a WAV"),
    ],
)
def test_a_bad_source_is_told(codec: Codec, content: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        encoded(codec, content, Pcm(24_000, 1, "f4"))


def test_a_wav_that_is_cut_gives_the_codes_of_what_is_there(codec: Codec) -> None:
    sink = io.BytesIO()
    with pytest.raises(TruncatedAudio, match="500 bytes"):
        encode_stream(codec, live(wav(WAVE)[:-500]), sink, None, as_json=False)
    assert sink.getvalue() == encoded(codec, wav(WAVE)[44:-500])


def test_what_cannot_be_written_is_told(codec: Codec) -> None:
    says = r"Standard output: .*No space left"
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OutputError, match=says):
        encode_stream(codec, live(wav(WAVE)), full, None, as_json=True)


@pytest.mark.parametrize("channels", ["0", "-1", "99999"])
def test_channels_that_cannot_be(small_model: Path, channels: str) -> None:
    words = ["stream", "encode", "--model", str(small_model), "--device", "cpu", "--channels", channels]
    assert "it can be 1 to" in str(CliRunner().invoke(app, words, input=b"\0" * 8).exception)


SHORT = WAVE[:6000]
MP3 = sound(SHORT, format="MP3")
AAC = (b"\xff\xf1\x58\x40\x20\x1f\xfc" + b"\1" * 249) * 3  # three ADTS frames of 256 bytes


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (sound(SHORT, format="FLAC"), "like FLAC; expected WAV or raw samples.*ffmpeg -i FILE -f wav.*--rate"),
        (sound(SHORT, format="OGG"), "like Ogg;"),
        (sound(SHORT, format="AIFF"), "like AIFF;"),
        (sound(SHORT, format="W64"), "like Wave64;"),
        (sound(SHORT, format="CAF"), "like CAF;"),
        (MP3, "like MPEG audio"),
        (AAC, "like MPEG audio"),
        (b"ID3\4\0\0\0\0\0\0" + MP3, "like an ID3 tag"),
        (b"RIFF\x24\1\0\0AVI LIST" + bytes(300), "like RIFF that is not WAVE"),
        (sound(SHORT, format="WAV", endian="BIG"), "like a WAV of big-endian samples"),
        (b"\0\0\0\x20ftypM4A " + bytes(300), "like MP4"),
        (with_pyav(SHORT[:, None], 24_000, "wv", "wavpack", {}), "like WavPack"),
        (b"\x1a\x45\xdf\xa3" + bytes(300), "like Matroska"),
    ],
)
def test_a_container_is_not_taken_for_samples(codec: Codec, content: bytes, says: str) -> None:
    with pytest.raises(UnsupportedAudio, match=f"Standard input: it begins {says}"):
        encoded(codec, content)
    with pytest.raises(UnsupportedAudio, match=says):
        loop_stream(codec, live(content), io.BytesIO(), None, print)
    if content[:4] != b"RIFF":
        assert encoded(codec, content + bytes(len(content) % 2), RAW)  # the user says that these are samples


@pytest.mark.parametrize("head", [b"", b"\xff\0", b"\xff\xfb\x90\x64", AAC[:258], MP3[:8], b"\xff\xff\x10\0"])
def test_samples_that_begin_as_a_frame_by_chance(codec: Codec, head: bytes) -> None:
    content = head + (SHORT * 32767).astype("<i2").tobytes()
    assert encoded(codec, content) == encoded(codec, content, RAW)
    assert encoded(codec, head) == encoded(codec, head, RAW)


def test_the_options_of_raw_samples_are_seen(small_model: Path) -> None:
    flac = sound(SHORT, format="FLAC")
    flac += bytes(len(flac) % 2)
    for command, wanted in (("encode", ["--codes", "raw"]), ("loop", [])):
        words = ["stream", command, "--model", str(small_model), "--device", "cpu", *wanted]
        refused = CliRunner().invoke(app, words, input=flac)
        assert isinstance(refused.exception, UnsupportedAudio)
        for option in (["--rate", "24000"], ["--channels", "1"], ["--samples", "s16le"]):
            assert CliRunner().invoke(app, [*words, *option], input=flac).exit_code == 0


@pytest.mark.parametrize(
    ("content", "as_json", "says"),
    [
        (b"[1, 2]\n", True, r"shape \[2\]"),
        (b"hello\n", True, "Line 1"),
        (json.dumps([9999] * 16).encode(), True, "9999"),
        (json.dumps([1.9, *[1] * 15]).encode(), True, "not a JSON list of integers"),
        (json.dumps([True, *[1] * 15]).encode(), True, "not a JSON list of integers"),
        (json.dumps(["1", *[1] * 15]).encode(), True, "not a JSON list of integers"),
        (b"\0" * 33, False, "1 bytes into a frame"),
        (b"\xff" * 32, False, r"Frame 1 .*\[-1, -1, "),
    ],
)
def test_bad_codes_are_told(codec: Codec, content: bytes, as_json: bool, says: str) -> None:
    with pytest.raises(BadCodes, match=says):
        decode_stream(codec, live(content), io.BytesIO(), as_json, as_wav=False)


@pytest.mark.slow
def test_the_commands_pipe_together(tmp_path: Path, small_model: Path, codec: Codec) -> None:
    (tmp_path / "in.wav").write_bytes(wav(WAVE))
    python = f"{sys.executable} -c 'from pipeline.cli.main import main; main()' stream"
    options = f"--model {small_model} --device cpu"
    line = f"{python} encode {options} < in.wav | {python} decode {options} > out.wav"
    subprocess.run(line, shell=True, check=True, cwd=tmp_path, timeout=120)
    out = np.frombuffer((tmp_path / "out.wav").read_bytes()[44:], "<i2")
    assert len(out) == 1920 * -(-len(WAVE) // 1920)
    closed = subprocess.run(
        f"{python} decode {options} --codes raw | head -c 10 | wc -c",
        shell=True,
        input=b"\0" * 32 * 4000,
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert (closed.stdout.strip(), closed.stderr) == (b"10", b"")


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "2> >(head -c 1)"])
def test_a_log_that_nobody_reads_is_not_in_the_audio(tmp_path: Path, small_model: Path, closed: str) -> None:
    (tmp_path / "in.wav").write_bytes(wav(np.concatenate([WAVE] * 20)))
    line = f"{sys.executable} -m pipeline stream loop --model {small_model} --device cpu < in.wav {closed} > out.wav"
    subprocess.run(["bash", "-c", line], check=True, cwd=tmp_path, timeout=120, env=os.environ | {"PYTHONPATH": HERE})
    frames = -(-20 * len(WAVE) // 1920)
    assert (tmp_path / "out.wav").stat().st_size == 44 + 2 * 1920 * frames
    assert soundfile.info(tmp_path / "out.wav").frames == 1920 * frames


@pytest.mark.slow
def test_a_pipe_that_does_not_wait_is_waited_for(small_model: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "stream", "encode", "--model", str(small_model), "--device", "cpu"]
    read, write = os.pipe()
    os.set_blocking(read, False)
    with subprocess.Popen([*command, "--codes", "raw"], stdin=read, stdout=subprocess.PIPE) as one:
        os.close(read)
        content = wav(WAVE)
        for piece in (content[:50_000], content[50_000:]):
            time.sleep(5)  # what is read before is nothing
            os.write(write, piece)
        os.close(write)
        found, _ = one.communicate(timeout=60)
    assert one.returncode == 0
    assert len(codes_of(found)) == -(-len(WAVE) // 1920)


def test_a_reader_that_has_enough_is_no_error(small_model: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "stream", "encode", "--model", str(small_model), "--device", "cpu"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as one:
        one.stdout.close()
        _, said = one.communicate(wav(WAVE))
    assert (one.returncode, said) == (0, b"")


@pytest.mark.parametrize(("closed", "name"), [("<&-", "input"), ("</dev/null >&-", "output")])
def test_a_closed_pipe_is_told(closed: str, name: str) -> None:
    line = f"{sys.executable} -m pipeline stream encode --device cpu {closed}"
    done = subprocess.run(line, shell=True, capture_output=True, timeout=60)
    says = f"voxmill: Standard {name} is closed; expected a file or a pipe.\n".encode()
    assert (done.returncode, done.stderr) == (2, says)
