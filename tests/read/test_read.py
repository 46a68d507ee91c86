"""Reading a task: the views of a file in one pass, each the row that it is alone; what breaks fails alone."""

import io
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch

import pipeline.audio.cut_views
from actors.contract import FRAME_SAMPLES
from pipeline.audio.resample import resample
from pipeline.cli.demo import CLIPS
from pipeline.errors import InputError
from pipeline.loading import load_audio
from pipeline.read import Reading, read_chunks
from pipeline.read.source_file import SourceFile
from pipeline.schema import EACH
from pipeline.sources.formats import files, recordings
from pipeline.sources.plan import Plan, plan
from pipeline.sources.task import InputRecording
from pipeline.storage import opening
from tests.helpers.s3 import counted, s3_server
from tests.helpers.shards import write_files, write_parquet, write_tar
from tests.helpers.sounds import RATE, pcm, riff, sound, tone, with_soundfile

CHUNK, CONTEXT = 12 * FRAME_SAMPLES, 5 * FRAME_SAMPLES  # 0.96 s, 0.4 s
HOW = Reading(CHUNK, CONTEXT, allow_truncated=False, max_recording_s=86_400.0)


def read(planned: Plan, how: Reading = HOW, partial: dict[str, frozenset[int]] | None = None) -> list[dict]:
    """All rows, tasks pickled on the way as they are by Ray."""
    tasks = [pickle.loads(pickle.dumps(task)) for task in planned.tasks]
    return [
        row
        for task in tasks
        for rows in read_chunks(task, how, planned.carried, partial or {})
        for row in rows.to_pylist()
    ]


def manifest(folder: Path, *rows: dict[str, object]) -> str:
    path = folder / "m.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def errors(rows: list[dict]) -> dict[str, str | None]:
    return {row["id"]: row.get("error") for row in rows}


@contextmanager
def noted(opens: list[int], inner: object) -> Iterator[BinaryIO]:
    opens.append(1)
    with inner() as file:  # type: ignore[operator]
        yield file


def file_rows(items: list[InputRecording], opens: list[int], how: Reading = HOW) -> list[dict]:
    """The rows of recordings of one file, and a 1 in `opens` for each time that it is opened."""
    inner = items[0].open
    items = [replace(item, open=lambda: noted(opens, inner)) for item in items]
    return [values for _, values in SourceFile(items, how).rows()]


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """A call of two speakers, one a channel; each alone beside it."""
    one, rate = soundfile.read(CLIPS / "en" / "counted.flac", dtype="int16")
    other = soundfile.read(CLIPS / "de" / "zeichen.flac", dtype="int16")[0]  # at another rate: it speaks faster here
    both = np.zeros((max(len(one), len(other)), 2), np.int16)
    both[: len(one), 0], both[: len(other), 1] = one, other
    for name, wave in (("call.flac", both), ("one/1.flac", both[:, 0]), ("one/2.flac", both[:, 1])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, wave, rate)
    return tmp_path


def waves(rows: list[dict]) -> list[np.ndarray]:
    return [np.array(row["audio"], np.float32) for row in rows]


# ---- channels


@pytest.mark.parametrize("task_bytes", [1, 1 << 30])
def test_each_channel_is_what_it_is_alone(call: Path, task_bytes: int) -> None:
    rows = read(plan([str(call / "call.flac")], channel=EACH, task_bytes=task_bytes))
    assert {(row["id"], row["channel"], row["source_channels"]) for row in rows} == {
        ("call.flac@ch1", 1, 2),
        ("call.flac@ch2", 2, 2),
    }
    for channel in (1, 2):
        expected = read(plan([str(call / "one" / f"{channel}.flac")]))
        ours = [row for row in rows if row["channel"] == channel]
        assert len(ours) == len(expected) > 3
        for one, other in zip(waves(ours), waves(expected), strict=True):
            np.testing.assert_array_equal(one, other)
        assert [row["chunks"] for row in ours] == [row["chunks"] for row in expected]
        chosen = read(plan([str(call / "call.flac")], channel=channel))
        assert [row["id"] for row in chosen] == ["call.flac"] * len(ours)
        for one, other in zip(waves(chosen), waves(ours), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_mean_is_what_it_was(call: Path) -> None:
    rows = read(plan([str(call / "call.flac")]))
    wave, rate = soundfile.read(call / "call.flac", dtype="float32")
    expected = np.concatenate(list(resample(iter([wave]), rate)))
    np.testing.assert_array_equal(waves(rows)[0], expected[:CHUNK])
    assert {row["channel"] for row in rows} == {None}


def test_a_channel_that_is_not_there_fails_alone(call: Path) -> None:
    path = manifest(call, *[{"path": "call.flac", "channel": channel} for channel in (1, 3, 2)])
    rows = read(plan([path]))
    assert errors(rows) == {"call.flac@ch1": None, "call.flac@ch3": "NoSuchChannel", "call.flac@ch2": None}
    (failed,) = [row for row in rows if row["error"]]
    assert "it has 2 channels" in failed["message"]
    assert (failed["channel"], failed["source"]) == (3, str(call / "call.flac"))


def test_a_manifest_overrules_the_setting(call: Path) -> None:
    path = manifest(call, {"path": "call.flac", "id": "a", "channel": 2}, {"path": "call.flac", "id": "b"})
    assert {row["id"] for row in read(plan([path], channel=EACH))} == {"a", "b@ch1", "b@ch2"}
    assert {(row["id"], row["channel"]) for row in read(plan([path], channel=1))} == {("a", 2), ("b", 1)}


def test_a_mono_file_has_one_channel(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": sound("wav"), "b.wav": b"RIFF"})
    rows = read(plan([str(tmp_path)], channel=EACH))
    assert errors(rows) == {"a.wav@ch1": None, "b.wav": "TruncatedAudio"}
    assert rows[-1]["channel"] == EACH


def test_channels_that_are_committed_are_left_out(call: Path) -> None:
    done = pa.array(["call.flac@ch1", "call.flac@ch", "other@ch1"], pa.string())
    rows = read(plan([str(call / "call.flac")], channel=EACH, done=done), partial={"call.flac@ch2": frozenset({0})})
    assert {row["id"] for row in rows} == {"call.flac@ch2"}
    assert [row["chunk"] for row in rows] == list(range(1, rows[0]["chunks"]))


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_members_of_containers(tmp_path: Path, kind: str) -> None:
    stereo, mono = sound("flac", 1.5, 2), sound("flac", 0.5)
    if kind == "tar":
        path = write_tar(tmp_path / "s.tar", [("a.flac", stereo), ("b.flac", mono), ("c.flac", b"x")])
    else:
        audio = [
            {"bytes": content, "path": f"{name}.flac"}
            for name, content in zip("abc", (stereo, mono, b"x"), strict=True)
        ]
        path = write_parquet(tmp_path / "s.parquet", audio)
    rows = read(plan([str(path)], channel=EACH))
    assert errors(rows) == {"a.flac@ch1": None, "a.flac@ch2": None, "b.flac@ch1": None, "c.flac": "NotAudio"}
    again = plan([str(path)], channel=EACH, done=pa.array(["a.flac@ch2", "b.flac@ch1", "b.flac", "c.flac"]))
    assert {row["id"] for row in read(again)} == {"a.flac@ch1"}


def test_a_shared_wav_of_one_channel(tmp_path: Path) -> None:
    wave = tone(14.0, 2)
    path = write_files(tmp_path, {"a.wav": with_soundfile(wave, RATE, "WAV", "PCM_16")}) / "a.wav"
    several = plan([str(path)], channel=2, task_bytes=path.stat().st_size // 4, chunk_samples=CHUNK)
    assert len(several.tasks) > 2
    whole = read(plan([str(path)], channel=2))
    assert sorted(read(several), key=lambda row: row["chunk"]) == whole
    each = plan([str(path)], channel=EACH, task_bytes=path.stat().st_size // 4, chunk_samples=CHUNK)
    assert len(each.tasks) == 1
    assert [row["audio"] for row in read(each) if row["channel"] == 2] == [row["audio"] for row in whole]


def test_a_bad_sample_fails_its_channel(tmp_path: Path) -> None:
    wave = np.zeros((RATE, 2), np.float32)
    wave[9, 1] = np.inf
    write_files(tmp_path, {"a.wav": riff(pcm(RATE, 2, 32, code=3), wave.tobytes())})
    rows = read(plan([str(tmp_path)], channel=EACH))
    assert errors(rows) == {"a.wav@ch1": None, "a.wav@ch2": "NonFiniteAudio"}


# ---- segments


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus", "m4a"])
def test_segments_are_the_rows_that_they_are_alone(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {"a": sound(name, 12.0, 2), "b": sound(name, 3.0)})
    bounds = [(3.0, 9.5), (0.0, 1.0), (4.0, 4.5), (11.0, None), (2.0, 20.0)]
    segments = [{"path": file, "start_s": start, "end_s": end} for start, end in bounds for file in "ab"]
    whole = plan([manifest(tmp_path, *segments)])
    assert [len(group) for task in whole.tasks for group in files(task)] == [5, 5]
    rows = {(row["id"], row["chunk"]): row for row in read(whole)}
    single = [row for one in segments for row in read(plan([manifest(tmp_path, one)]))]
    assert rows == {(row["id"], row["chunk"]): row for row in single}
    assert errors(single)["a#2-20"] == "SegmentOutside"


def test_a_file_is_opened_once(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.flac": sound("flac", 12.0, 2)})
    segments = [
        {"path": "a.flac", "start_s": second, "end_s": second + 2, "channel": 1 + second % 2} for second in range(9)
    ]
    for inputs, channel, least in ((manifest(tmp_path, *segments), None, 9), (str(tmp_path / "a.flac"), EACH, 26)):
        (task,) = plan([inputs], channel=channel).tasks
        opens: list[int] = []
        rows = file_rows(list(recordings(task)), opens)
        assert (len(opens), set(errors(rows).values())) == (1, {None})
        assert len(rows) >= least


def test_a_long_recording_is_opened_twice_where_its_chunks_cannot_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"a.flac": sound("flac", 12.0, 2), "a.wav": sound("wav", 12.0, 2)})
    found: dict[str, list[list[dict]]] = {}
    for hold, flac_opens in ((256 << 20, 1), (30 * CHUNK, 2)):
        monkeypatch.setattr(pipeline.audio.cut_views, "HOLD_BYTES", hold)
        for name, expected in (("a.flac", flac_opens), ("a.wav", 1)):
            (task,) = plan([str(tmp_path / name)]).tasks
            opens: list[int] = []
            found.setdefault(name, []).append(file_rows(list(recordings(task)), opens))
            assert len(opens) == expected
    for once, twice in found.values():
        assert len(once) == 13
        assert [row["chunks"] for row in once] == [13] * 13
        for one, other in zip(once, twice, strict=True):
            assert {k: v for k, v in one.items() if k != "audio"} == {k: v for k, v in other.items() if k != "audio"}
            np.testing.assert_array_equal(one["audio"], other["audio"])


def test_many_channels_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"a.flac": sound("flac", 6.0, 2)})
    monkeypatch.setattr(pipeline.audio.cut_views, "HOLD_BYTES", 1)
    rows = read(plan([str(tmp_path)], channel=EACH))
    monkeypatch.undo()
    key = lambda row: (row["channel"], row["chunk"])  # noqa: E731
    assert sorted(rows, key=key) == sorted(read(plan([str(tmp_path)], channel=EACH)), key=key)


def test_a_break_in_the_middle_keeps_what_is_sound(tmp_path: Path) -> None:
    data = bytearray(sound("flac", 12.0))
    data[len(data) // 2] ^= 0xFF
    write_files(tmp_path, {"a.flac": bytes(data)})
    segments = [{"path": "a.flac", "id": f"{s:02}", "start_s": s, "end_s": s + 1} for s in range(12)]
    rows = read(plan([manifest(tmp_path, *segments, {"path": "a.flac", "id": "whole"})]))
    assert {error for id_, error in errors(rows).items() if id_ < "05" or "07" < id_ < "12"} == {None}
    assert errors(rows)["whole"] == "TruncatedAudio"
    assert "TruncatedAudio" in {errors(rows)[id_] for id_ in ("05", "06", "07")}


def test_a_file_that_cannot_be_opened_fails_each_segment(tmp_path: Path) -> None:
    segments = [{"path": "gone.flac", "start_s": second, "end_s": second + 1} for second in range(3)]
    rows = read(plan([manifest(tmp_path, *segments)]))
    assert [row["error"] for row in rows] == ["UnreadableAudio"] * 3
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(None, 1.0), (1.0, 2.0), (2.0, 3.0)]


def test_an_odd_error_fails_what_is_left_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"a.wav": sound("wav", 4.0), "b.wav": sound("wav", 1.0)})
    segments = [{"path": "a.wav", "start_s": s, "end_s": s + 1} for s in range(3)]
    real = pipeline.audio.cut_views.Resampler

    class Odd(real):  # type: ignore[misc, valid-type]
        made = 0

        def __init__(self, rate: int) -> None:
            Odd.made += 1
            if Odd.made == 2:
                raise KeyError("odd")
            super().__init__(rate)

    monkeypatch.setattr(pipeline.audio.cut_views, "Resampler", Odd)
    rows = read(plan([manifest(tmp_path, *segments, {"path": "b.wav"})]))
    assert [row["error"] for row in rows if row["chunk"] in (None, 0)] == [None, *["UnexpectedError"] * 2, None]


@pytest.mark.parametrize(
    "name", ["flac", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("wav", "mp3", "opus", "m4a"))]
)
def test_segments_over_s3_fetch_a_file_once(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sound(name, 60.0)
    monkeypatch.setattr(opening, "SMALL_BYTES", 50_000)
    monkeypatch.setattr(opening, "BUFFER_BYTES", 20_000)
    bounds = [{"start_s": second, "end_s": second + 2} for second in range(58)]
    with s3_server("speech", {f"a.{name}": data}) as server, counted(server) as proxy:
        root = f"s3://k:s@speech?endpoint_override={proxy.address}&scheme=http"
        remote = read(plan([manifest(tmp_path, *[{"path": f"a.{name}", **bound} for bound in bounds])], root=root))
    assert proxy.sent < 1.1 * len(data) + 1_000_000  # its head, index and tail are looked at first, 256 kB each time
    write_files(tmp_path, {"a": data})
    local = read(plan([manifest(tmp_path, *[{"path": "a", **bound} for bound in bounds])]))
    assert [row["audio"] for row in remote] == [row["audio"] for row in local]
    assert None not in [row["audio"] for row in local]


# ---- load_audio


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "m4a"])
def test_load_audio_gives_what_a_run_reads(tmp_path: Path, name: str) -> None:
    data = sound(name, 3.0, 2)
    path = write_files(tmp_path, {"a": data}) / "a"
    how = replace(HOW, chunk_samples=100 * CHUNK)
    for view in ({}, {"channel": 2}, {"start_s": 0.5, "end_s": 2.25}, {"start_s": 1.0, "channel": 1}):
        (row,) = read(plan([manifest(tmp_path, {"path": "a", **view})]), how)
        for given in (path, str(path), f"file://{path}", data):
            wave = load_audio(given, **view)  # type: ignore[arg-type]
            assert wave.dtype == np.float32
            np.testing.assert_array_equal(wave, np.array(row["audio"], np.float32))


@pytest.mark.parametrize("kind", ["int16", "int32", "float32", "float64"])
def test_load_audio_of_an_array(kind: str) -> None:
    wave, rate = soundfile.read(io.BytesIO(sound("flac", 1.0, 2)), dtype=kind)
    for view in ({}, {"channel": 2}, {"start_s": 0.25, "end_s": 0.5}):
        expected = load_audio(sound("flac", 1.0, 2), **view)  # type: ignore[arg-type]
        np.testing.assert_array_equal(load_audio((wave, rate), **view), expected)  # type: ignore[arg-type]
    np.testing.assert_array_equal(load_audio((wave[:, 0], rate)), load_audio((wave, rate), channel=1))
    np.testing.assert_array_equal(load_audio((wave[None, :, 0], rate)), load_audio((wave, rate), channel=1))
    tensor = torch.from_numpy(wave)
    np.testing.assert_array_equal(load_audio((tensor, rate)), load_audio((wave, rate)))
    if tensor.is_floating_point():
        np.testing.assert_array_equal(load_audio((tensor.requires_grad_(), rate)), load_audio((wave, rate)))
        coarse = tensor.detach().bfloat16()
        np.testing.assert_array_equal(load_audio((coarse, rate)), load_audio((coarse.float().numpy(), rate)))


def test_load_audio_of_lists_and_of_other_bytes() -> None:
    wave, data = tone(0.5), sound("flac", 0.5, 1)
    np.testing.assert_array_equal(load_audio((wave.tolist(), RATE)), load_audio((wave.astype(np.float64), RATE)))
    for given in (bytearray(data), memoryview(data), io.BytesIO(data)):
        np.testing.assert_array_equal(load_audio(given), load_audio(data))


@pytest.mark.parametrize(
    ("sound_", "kind", "text"),
    [
        (b"nothing", "NotAudio", "7 bytes: "),
        ("/nowhere/a.wav", "UnreadableAudio", "no such file"),
        ((np.zeros((2, 100)), 16_000), "UnsupportedAudio", r"an array \[2, 100\] .* Transpose"),
        ((np.zeros(100, np.uint8), 16_000), "UnsupportedAudio", "of uint8"),
        ((np.zeros(100), 16.5), "UnsupportedAudio", "16.5 Hz"),
        ((np.zeros(0), 16_000), "EmptyAudio", "the array"),
        ("", "UnreadableAudio", "the path is empty"),
        (np.zeros(100), "InputError", "was given ndarray; it takes a path, a URI, .* in this order"),
        ((16_000, np.zeros(100)), "InputError", r"was given \(int, ndarray\)"),
        ((np.zeros(100),), "InputError", r"was given \(ndarray\)"),
        ((np.zeros(100), np.zeros(100)), "InputError", r"was given \(ndarray, ndarray\)"),
        (None, "InputError", "was given NoneType"),
        ((np.full(100, np.nan), 16_000), "NonFiniteAudio", "the array"),
    ],
)
def test_load_audio_says_what_is_wrong(sound_: object, kind: str, text: str) -> None:
    with pytest.raises(Exception, match=text) as caught:
        load_audio(sound_)  # type: ignore[arg-type]
    assert type(caught.value).__name__ == kind


@pytest.mark.parametrize(
    ("view", "text"),
    [
        ({"channel": "mean"}, "channel is 'mean'; expected a whole number from 1"),
        ({"channel": 1.0}, "channel is 1.0"),
        ({"start_s": "1"}, "start_s is '1'; expected a number of seconds"),
        ({"track": -1}, "track is -1; expected a whole number from 1"),
        ({"track": "1"}, "track is '1'; expected"),
        ({"track": 1.0}, r"track is 1\.0; expected"),
        ({"end_s": [2]}, r"end_s is \[2\]"),
    ],
)
def test_load_audio_says_what_a_view_is(view: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        load_audio((np.zeros(100_000), RATE), **view)
    assert len(load_audio((np.zeros(48_000), 24_000), np.int64(1), np.float32(0.5), 1)) == 12_000


def test_the_function_and_not_its_module_is_exported() -> None:
    import pipeline.loading

    assert pipeline.load_audio is pipeline.loading.load_audio is load_audio
