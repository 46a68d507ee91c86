"""Manifests of nested JSON with a few fields taken away or replaced: recordings, or one clear mistake."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.sources.plan import plan

SUPERVISION = {
    "id": "s",
    "recording_id": "r",
    "start": 0,
    "duration": 0.5,
    "channel": 1,
    "text": "t",
    "custom": {"x": 1},
}
RECORDING = {
    "id": "r",
    "sources": [{"type": "file", "channels": [0, 1], "source": "/a.wav"}],
    "sampling_rate": 16000,
    "duration": 1.0,
    "transforms": [{"name": "Resample", "kwargs": {"source_sampling_rate": 8000}}],
}
CUT = {"id": "c", "start": 0, "duration": 1.0, "channel": [0, 1], "type": "MultiCut", "custom": {"y": 2.5}}
ROWS: dict[str, dict[str, Any]] = {
    "cut": CUT | {"recording": RECORDING, "supervisions": [SUPERVISION, SUPERVISION]},
    "recording": RECORDING,
    "nemo": {"audio_filepath": ["a.wav", "b.wav"], "offset": 1.0, "duration": 2, "text": "t", "id": "x"},
}
VALUES = (None, 0, -1, 1.5, "x", "", [], [[]], [None], {}, {"a": 1}, [1], True, 2**62, 1e300, [0], ["file"], [None, 1])


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in below:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(row: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    row = copy.deepcopy(row)
    for _ in range(dice.randint(0, 2)):
        *outer, last = dice.choice([*places(row)])
        inside: Any = row
        for key in outer:
            inside = inside[key]
        if dice.random() < 0.3 and isinstance(inside, dict):
            del inside[last]
        else:
            inside[last] = copy.deepcopy(dice.choice(VALUES))
    return row


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [*ROWS, "supervision"])
def test_recordings_or_one_clear_mistake(tmp_path: Path, kind: str, seed: int) -> None:
    dice, recordings, supervisions = random.Random(seed), tmp_path / "recordings.jsonl", tmp_path / "supervisions.jsonl"
    for _ in range(20):
        rows = [changed(ROWS.get(kind, RECORDING), dice) for _ in range(dice.randint(1, 3))]
        recordings.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        if kind == "supervision":
            supervisions.write_text("".join(f"{json.dumps(changed(SUPERVISION, dice))}\n" for _ in range(2)))
        try:
            plan([str(recordings)])
        except InputError as error:
            said = str(error)
        else:
            continue
        assert recordings.name in said or supervisions.name in said
