"""lhotse's manifests, all written by lhotse itself; what is read is what lhotse reads."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import lhotse
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource
from lhotse.supervision import AlignmentItem

from pipeline.errors import InputError
from pipeline.sources.manifests.formats import read_manifest
from pipeline.sources.manifests.lhotse_lines import read_rows
from pipeline.sources.manifests.parsed import Parsed
from pipeline.sources.plan import plan
from pipeline.storage.access import DEFAULT
from tests.helpers.shards import cells, outcomes, read
from tests.helpers.sounds import tone

RATE = 16_000


def parse(path: Path) -> Parsed:
    return read_manifest(str(path), None, DEFAULT)


@pytest.fixture
def recordings(tmp_path: Path) -> RecordingSet:
    """talk: one channel, 2 s. call: two channels. array: a file for two channels, a file for a third."""
    soundfile.write(tmp_path / "talk.wav", tone(2.0, rate=RATE), RATE)
    soundfile.write(tmp_path / "call.wav", tone(2.0, 2, RATE), RATE)
    both, one = (AudioSource("file", c, str(tmp_path / f)) for c, f in (([0, 1], "call.wav"), ([4], "talk.wav")))
    array = Recording("array", [both, one], RATE, 2 * RATE, 2.0, [0, 1, 4])
    talk, call = (Recording.from_file(tmp_path / f"{name}.wav") for name in ("talk", "call"))
    return RecordingSet.from_recordings([talk, call, array])


def said(id: str, recording: str, start: float, duration: float, channel: int | list[int] = 0, **more: object):
    return SupervisionSegment(id, recording, start, duration, channel, **more)


SAID = [
    said("t1", "talk", 0.1, 0.2, text="good day", speaker="anna", language="en", custom={"snr": 1.5, "words": [1]}),
    said("t2", "talk", 0.5, 1.5, text="and so on", speaker="anna", gender="f"),
    said("c1", "call", 0.0, 1.0, 0, text="hello?", speaker="bert"),
    said("c2", "call", 1.0, 1.0, 1, text="speaking", speaker="cleo"),
    said("c3", "call", 0.5, 1.0, [0, 1], text="both"),
    said("a1", "array", 0.25, 0.5, 4),
    said("a2", "array", 0.25, 0.5, [1, 4], text="two files"),
]


def heard(parsed: Parsed) -> Iterator[tuple[str, np.ndarray]]:
    """id -> samples [n, channels] at the bounds and the channel that the table says."""
    for row in parsed.table.to_pylist():
        wave, rate = soundfile.read(row["path"], dtype="float32", always_2d=True)
        end = None if row["end_s"] is None else round(row["end_s"] * rate)
        part = wave[round((row["start_s"] or 0) * rate) : end]
        yield row["id"], part if row["channel"] is None else part[:, [row["channel"] - 1]]


def test_cuts_hold_what_lhotse_reads(tmp_path: Path, recordings: RecordingSet) -> None:
    cuts = CutSet.from_manifests(recordings, SupervisionSet.from_segments(SAID)).trim_to_supervisions(False)
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    found: dict[str, list[np.ndarray]] = {}
    for id, wave in heard(parse(tmp_path / "cuts.jsonl.gz")):
        found.setdefault(id.partition("@")[0], []).append(wave.T)
    assert set(found) == {cut.id for cut in cuts}
    for cut in cuts:
        assert np.array_equal(np.concatenate(found[cut.id]), cut.load_audio()), cut.id


def test_cuts_and_what_travels(tmp_path: Path, recordings: RecordingSet) -> None:
    cuts = CutSet.from_manifests(recordings, SupervisionSet.from_segments(SAID)).trim_to_supervisions(False)
    cuts = cuts.map(lambda cut: cut.with_custom("quality", 3).with_custom("path", "theirs"))
    cuts.to_file(tmp_path / "cuts.jsonl")
    parsed = parse(tmp_path / "cuts.jsonl")
    rows = {row.pop("id"): {k: v for k, v in row.items() if v is not None} for row in parsed.table.to_pylist()}
    ids = [cut.id for cut in cuts]
    t1, t2, c1, c2, c3, a1, a2 = ids
    assert list(rows) == [t1, t2, c1, c2, c3, a1, f"{a2}@ch2", f"{a2}@ch5"]
    travels = {"quality": 3, "custom_path": "theirs"}
    talk, call = str(tmp_path / "talk.wav"), str(tmp_path / "call.wav")
    anna = {"text": "good day", "speaker": "anna", "language": "en", "snr": 1.5}
    assert rows[t1] == {"path": talk, "start_s": 0.1, "end_s": 0.3, **anna, **travels}
    assert rows[t2] == {"path": talk, "start_s": 0.5, "text": "and so on", "speaker": "anna", "gender": "f", **travels}
    assert rows[c1] == {"path": call, "end_s": 1.0, "channel": 1, "text": "hello?", "speaker": "bert", **travels}
    assert rows[c2] == {"path": call, "start_s": 1.0, "channel": 2, "text": "speaking", "speaker": "cleo", **travels}
    assert rows[c3] == {"path": call, "start_s": 0.5, "end_s": 1.5, "text": "both", **travels}
    assert rows[a1] == {"path": talk, "start_s": 0.25, "end_s": 0.75, **travels}
    two = {"start_s": 0.25, "end_s": 0.75, "text": "two files", **travels}
    assert (rows[f"{a2}@ch2"], rows[f"{a2}@ch5"]) == ({"path": call, "channel": 2, **two}, {"path": talk, **two})
    assert parsed.table.schema.field("channel").type == pa.int32()
    assert parsed.notes == (f"{tmp_path}/cuts.jsonl: left out, for they are no plain values: words",)


def test_a_cut_of_several_supervisions(tmp_path: Path, recordings: RecordingSet) -> None:
    CutSet.from_manifests(recordings, SupervisionSet.from_segments(SAID)).to_file(tmp_path / "cuts.jsonl")
    rows = parse(tmp_path / "cuts.jsonl").table.select(["text", "speaker", "language", "channel"]).to_pylist()
    assert [list(row.values()) for row in rows] == [
        ["good day and so on", "anna", None, None],
        ["hello? both speaking", None, None, None],  # by their starts
        *(["two files", None, None, channel] for channel in (1, 2, None)),
    ]


def test_texts_of_a_cut_are_in_the_order_of_time(tmp_path: Path, recordings: RecordingSet) -> None:
    CutSet.from_manifests(recordings, SupervisionSet.from_segments(SAID)).to_file(tmp_path / "cuts.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "cuts.jsonl").read_text().splitlines()]
    for line in lines:
        line["supervisions"].reverse()
    (tmp_path / "back.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    texts = [parse(tmp_path / name).table["text"].to_pylist() for name in ("cuts.jsonl", "back.jsonl")]
    assert texts[0][0] == texts[1][0] == "good day and so on"


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_recordings_are_cut_by_the_supervisions_beside_them(
    tmp_path: Path, recordings: RecordingSet, packed: str
) -> None:
    recordings.to_file(tmp_path / f"my_recordings_dev.jsonl{packed}")
    base = tmp_path / f"my_recordings_dev.jsonl{packed}"
    planned = plan([str(base)])
    by_file = ["talk", "array@ch5", "call", "array@ch1", "array@ch2"]
    assert [item.id for item in read(planned)] == by_file
    assert set(outcomes(planned).values()) == {2.0}
    SupervisionSet.from_segments(SAID[:5]).to_file(tmp_path / f"my_supervisions_dev.jsonl{packed}")
    planned = plan([str(base)])
    assert outcomes(planned) == {"t1": 0.2, "t2": 1.5, "c1": 1.0, "c2": 1.0, "c3": 1.0}
    assert cells(read(planned)[0])["text"] == "good day"
    first = f"{base}: cut by my_supervisions_dev.jsonl{packed}; 1 recordings have no supervision"
    assert parse(base).notes == (first, f"{base}: left out, for they are no plain values: words")
    with pytest.raises(InputError, match="lhotse's supervisions; give the file of recordings"):
        plan([str(tmp_path / f"my_supervisions_dev.jsonl{packed}")])


def test_recordings_and_supervisions_in_many_pieces(
    tmp_path: Path, recordings: RecordingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings.to_file(tmp_path / "recordings.jsonl")
    SupervisionSet.from_segments(SAID[::-1]).to_file(tmp_path / "supervisions.jsonl")
    whole = parse(tmp_path / "recordings.jsonl")

    def in_pieces(open_file: Callable[[], BinaryIO]) -> pa.Table:
        return pa.Table.from_batches(read_rows(open_file).to_batches(max_chunksize=2))

    monkeypatch.setattr("pipeline.sources.manifests.lhotse.read_rows", in_pieces)
    found = parse(tmp_path / "recordings.jsonl")
    assert found.table.to_pylist() == whole.table.to_pylist()
    assert found.notes == whole.notes


def test_urls_and_resampling(tmp_path: Path, recordings: RecordingSet) -> None:
    far = Recording("far", [AudioSource("url", [0], "https://h/a.flac")], RATE, RATE, 1.0)
    RecordingSet.from_recordings([far, recordings["talk"].resample(8000)]).to_file(tmp_path / "recordings.jsonl")
    assert parse(tmp_path / "recordings.jsonl").table["path"].to_pylist() == [
        "https://h/a.flac",
        str(tmp_path / "talk.wav"),
    ]


def sources(kind: str) -> Recording:
    return Recording("r", [AudioSource(kind, [0], "cat a.wav" if kind == "command" else "")], RATE, RATE, 1.0)


def test_what_is_not_read_is_refused_by_name(tmp_path: Path, recordings: RecordingSet) -> None:
    talk = recordings["talk"]
    lost = MonoCut("lost", 0, 1.0, 3, recording=talk)
    bad = {
        "command": RecordingSet.from_recordings([talk, sources("command")]),
        "shar": RecordingSet.from_recordings([talk, sources("shar")]),
        "Speed": RecordingSet.from_recordings([talk, talk.perturb_speed(1.1)]),
        "MixedCut": CutSet.from_cuts([talk.to_cut().pad(3.0, preserve_id=True)]),
        "'MixedCut'": CutSet.from_cuts([talk.to_cut(), recordings["call"].to_cut().pad(3.0, preserve_id=True)]),
        "'lost' has no recording, or a channel": CutSet.from_cuts([talk.to_cut(), lost]),
        "channel 4611686018427387904; expected 0 to 65,535": CutSet.from_cuts(
            [MonoCut("x", 0, 1.0, 2**62, recording=talk)]
        ),
        "without recordings": CutSet.from_cuts([MonoCut("x", 0, 1.0, 0)]),
    }
    for number, (why, manifest) in enumerate(bad.items()):
        path = tmp_path / f"{number}.jsonl"
        manifest.to_file(path)
        with pytest.raises(InputError, match=why) as e:
            plan([str(path)])
        assert str(path) in str(e.value)


def test_recordings_of_one_id(tmp_path: Path, recordings: RecordingSet) -> None:
    twice = [recordings[name].to_dict() | {"id": "r"} for name in ("talk", "call")]
    (tmp_path / "recordings.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in twice))
    with pytest.raises(InputError, match="two recordings have the id 'r'"):
        plan([str(tmp_path / "recordings.jsonl")])
    SupervisionSet.from_segments([said("s", "r", 0, 1)]).to_file(tmp_path / "supervisions.jsonl")
    with pytest.raises(InputError, match=r"recordings\.jsonl: two recordings have the id 'r'"):
        plan([str(tmp_path / "recordings.jsonl")])


def test_a_recording_that_does_not_say_how_long_it_is(tmp_path: Path, recordings: RecordingSet) -> None:
    cut = MonoCut("c", 0.5, 0.25, 0, recording=recordings["talk"]).to_dict()
    cut["recording"]["duration"] = None
    other = recordings["talk"].to_cut().to_dict()
    (tmp_path / "cuts.jsonl").write_text(f"{json.dumps(cut)}\n{json.dumps(other)}\n")
    assert parse(tmp_path / "cuts.jsonl").table["end_s"].to_pylist() == [0.75, None]


def test_a_supervision_of_an_unknown_recording(tmp_path: Path, recordings: RecordingSet) -> None:
    recordings.to_file(tmp_path / "recordings.jsonl")
    SupervisionSet.from_segments([*SAID, said("z", "elsewhere", 0, 1)]).to_file(tmp_path / "supervisions.jsonl")
    with pytest.raises(InputError, match=r"supervisions\.jsonl: 'z' with recording_id 'elsewhere'"):
        plan([str(tmp_path / "recordings.jsonl")])


@pytest.mark.parametrize("content", ["", "{", '{"id": "s"}\n'])
def test_broken_supervisions_are_named(tmp_path: Path, recordings: RecordingSet, content: str) -> None:
    recordings.to_file(tmp_path / "recordings.jsonl")
    (tmp_path / "supervisions.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"^supervisions\.jsonl: "):
        plan([str(tmp_path / "recordings.jsonl")])


def test_bad_times_fail_alone(tmp_path: Path, recordings: RecordingSet) -> None:
    times = {"good": (0.5, 1.0), "negative": (-1.0, 1.5), "backwards": (1.5, -1.0), "beyond": (1.0, 60.0)}
    lines = [MonoCut(id, *at, 0, recording=recordings["talk"]).to_dict() for id, at in times.items()]
    (tmp_path / "cuts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    expected = dict.fromkeys(times, "SegmentOutside") | {"good": 1.0}
    assert outcomes(plan([str(tmp_path / "cuts.jsonl")])) == expected


def test_the_word_channel_in_text_stays(tmp_path: Path, recordings: RecordingSet) -> None:
    text = r'he said "channel": 3 and \"channel": 4'
    cut = recordings["talk"].to_cut()
    cut.supervisions = [said("s", "talk", 0, 1, text=text)]
    CutSet.from_cuts([cut, recordings["call"].to_cut()]).to_file(tmp_path / "cuts.jsonl")
    assert parse(tmp_path / "cuts.jsonl").table["text"].to_pylist() == [text, None]
    assert lhotse.load_manifest(tmp_path / "cuts.jsonl")[0].supervisions[0].text == text


def test_a_custom_field_channel_travels(tmp_path: Path, recordings: RecordingSet) -> None:
    cut = recordings["talk"].to_cut()
    cut.custom = {"channel": 7}
    cut.supervisions = [said("s", "talk", 0, 1, text="yes", custom={"channel": 3})]
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    assert parse(tmp_path / "cuts.jsonl").table["custom_channel"].to_pylist() == [7]
    cut.custom = None
    CutSet.from_cuts([cut, recordings["call"].to_cut()]).to_file(tmp_path / "cuts.jsonl")
    assert parse(tmp_path / "cuts.jsonl").table["custom_channel"].to_pylist() == [3, None]


def test_fields_of_several_types_are_left_out(tmp_path: Path, recordings: RecordingSet) -> None:
    """Alignments are lists of text and numbers; pyarrow's parser has one type a column."""
    words = {"word": [AlignmentItem("good", 0.1, 0.2, 0.9), AlignmentItem("day", 0.3, 0.2)]}
    cuts = [recordings[name].to_cut() for name in ("talk", "call")]
    cuts[0].supervisions = [replace(SAID[0], alignment=words)]
    cuts[0].custom = {"take": 3, "times": [None, 1.5, "x"]}
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    parsed = parse(tmp_path / "cuts.jsonl.gz")
    rows = parsed.table.select(["text", "snr", "take", "channel"]).to_pylist()
    assert [list(row.values()) for row in rows] == [["good day", 1.5, 3, None], [None] * 4]
    assert parsed.notes[0].endswith("left out, for they are no plain values: times, words")
