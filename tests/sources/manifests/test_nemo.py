"""NeMo manifests: bounds, lists of paths, sharded names, tarred ones."""

import json
from pathlib import Path

import pytest
import soundfile

from pipeline.errors import InputError
from pipeline.sources.plan import plan
from tests.helpers.shards import cells, contents, outcomes, read, write_files, write_tar
from tests.helpers.sounds import tone


def jsonl(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def test_bounds_are_honoured_where_there_is_an_offset(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2.0, rate=16_000), 16_000)
    rows = [
        {"audio_filepath": "a.wav", "offset": 0.1, "duration": 0.2, "text": "one"},
        {"audio_filepath": "a.wav", "offset": 1, "text": "two"},
        {"audio_filepath": "a.wav", "duration": 0.5, "text": "all of it"},
    ]
    planned = plan([jsonl(tmp_path / "m.json", *rows)])
    assert [(item.id, item.start_s, item.end_s) for item in read(planned)] == [
        ("a.wav#0.1-0.3", 0.1, 0.3),  # not 0.30000000000000004
        ("a.wav#1-", 1.0, None),
        ("a.wav", 0.0, None),
    ]
    assert outcomes(planned) == {"a.wav#0.1-0.3": 0.2, "a.wav#1-": 1.0, "a.wav": 2.0}
    assert [cells(item) for item in read(planned)] == [
        {"offset": 0.1, "duration": 0.2, "text": "one"},
        {"offset": 1.0, "duration": None, "text": "two"},
        {"offset": None, "duration": 0.5, "text": "all of it"},
    ]


def test_bad_times_fail_alone(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2.0, rate=16_000), 16_000)
    times = {"whole": (0, 2), "negative": (-1, 1), "backwards": (1, -0.5), "empty": (1, 0), "beyond": (1.5, 9)}
    rows = [{"audio_filepath": "a.wav", "id": id, "offset": o, "duration": d} for id, (o, d) in times.items()]
    found = outcomes(plan([jsonl(tmp_path / "m.jsonl", *rows, {"id": "no path"})]))
    assert found == dict.fromkeys(times, "SegmentOutside") | {"whole": 2.0, "no path": "UnreadableAudio"}


def test_a_list_of_paths_is_a_recording_each(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": b"A", "b.wav": b"B", "c.wav": b"C"})
    rows = [
        {"audio_filepath": ["a.wav", "b.wav"], "offset": 1, "text": "x"},
        {"audio_filepath": [], "text": "nothing"},
        {"audio_filepath": ["c.wav"], "text": "y"},
    ]
    found = read(plan([jsonl(tmp_path / "m.jsonl", *rows)]))
    assert [(item.id, item.start_s, cells(item)["text"]) for item in found] == [
        ("a.wav#1-", 1.0, "x"),
        ("b.wav#1-", 1.0, "x"),
        ("row 2", 0.0, "nothing"),
        ("c.wav", 0.0, "y"),
    ]
    named = [row | {"id": id} for id, row in zip("pqr", rows, strict=True)]
    planned = plan([jsonl(tmp_path / "n.jsonl", *named)])
    assert list(contents(planned)) == ["p@ch1", "p@ch2", "q", "r"]
    assert [contents(planned)[id] for id in ("p@ch1", "p@ch2", "r")] == [b"A", b"B", b"C"]


def test_sharded_names_are_expanded(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{i}.wav": b"%d" % i for i in range(4)})
    for i in range(4):
        jsonl(tmp_path / f"m_{i}.json", {"audio_filepath": f"{i}.wav"})
        write_tar(tmp_path / f"t0{i}.tar", [("u.wav", b"%d" % i)])
    assert contents(plan([f"{tmp_path}/m__OP_1..3_CL_.json"])) == {"1.wav": b"1", "2.wav": b"2", "3.wav": b"3"}
    assert list(contents(plan([f"{tmp_path}/t_OP_00..01_CL_.tar"]))) == ["t00.tar/u.wav", "t01.tar/u.wav"]
    with pytest.raises(InputError, match=r"m_9\.json: no such file"):
        plan([f"{tmp_path}/m__OP_3..9_CL_.json".replace("3..9", "9..9")])
    for wrong in ("3..1", "0..999999999"):
        with pytest.raises(InputError, match=f"_OP_{wrong}_CL_ is no range"):
            plan([f"{tmp_path}/m__OP_{wrong}_CL_.json"])


def test_a_tarred_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shard_id.*Give the tars themselves"):
        plan([jsonl(tmp_path / "m.json", {"audio_filepath": "a.wav", "duration": 1.5, "shard_id": 0})])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"audio_filepath": "a.wav", "offset": "soon"}, "offset holds string; expected seconds"),
        ({"audio_filepath": "a.wav", "offset": 1, "duration": []}, "duration holds list.*expected seconds"),
        ({"audio_filepath": 7, "offset": 1}, r"audio_filepath \(int64\)"),
    ],
)
def test_broken_columns(tmp_path: Path, row: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan([jsonl(tmp_path / "m.jsonl", row)])
