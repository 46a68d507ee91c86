"""Runs of random rows: `check` names exactly what plain Python finds in them, in these words, and nothing else."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.run.run_json import save
from pipeline.run.write import write_failures
from pipeline.schema import FAILURES_SCHEMA
from pipeline.settings import Settings
from pipeline.verify import check as check_module
from pipeline.verify.check import check
from tests.helpers.rows import coded_row, run_record

LOCAL = LocalFileSystem()
IDS = [f"r{number}" for number in range(9)]
CHUNK = 3840
Row = dict[str, Any]
WRONG = "num_frames is not num_samples / 1920, rounded up"
OUTSIDE = "its chunk lies outside 0..chunks - 1"


def random_rows(random: np.random.Generator) -> list[Row]:
    """Chunks of recordings of 1 to 3, some lost, some double, some with faults, some of another number of chunks."""
    rows: list[Row] = []
    for id_, chunks in zip(IDS, random.choice([1, 1, 2, 3], len(IDS)).tolist(), strict=True):
        for chunk in range(chunks):
            for _ in range(random.choice([0, 1, 1, 1, 1, 1, 2])):
                more = int(random.random() < 0.05)
                fault = str(random.choice(["", WRONG, OUTSIDE], p=[0.9, 0.05, 0.05]))
                rows.append({"id": id_, "chunk": chunk, "chunks": chunks + more, "fault": fault})
                if fault == OUTSIDE:
                    rows[-1]["chunk"] = [None, -1][random.integers(2)]
    return [rows[number] for number in random.permutation(len(rows))]


def table(row: Row) -> pa.Table:
    chunk, chunks = max(0, row["chunk"] or 0), row["chunks"]
    made = coded_row(row["id"], 100 if chunk == chunks - 1 else CHUNK, chunk, chunks, 2 * chunk)
    own = {"chunk": row["chunk"], **({"num_frames": 9} if row["fault"] == WRONG else {})}
    for name, value in own.items():
        at = made.schema.get_field_index(name)
        made = made.set_column(at, name, pa.array([value], made.schema.field(at).type))
    return made.drop_columns(["stage", "error", "message"])


def expected(parts: list[list[Row]], failed: list[str], planned: list[str]) -> list[str]:
    """The lines that `check` must say of these rows."""
    rows = [row | {"part": number} for number, part in enumerate(parts) for row in part]
    lines = [
        f"{r['id']}, chunk {r['chunk']} in codes/part-{r['part']}.parquet: {r['fault']}" for r in rows if r["fault"]
    ]
    times = Counter((row["id"], -1 if row["chunk"] is None else row["chunk"]) for row in rows)
    first = {(row["id"], -1 if row["chunk"] is None else row["chunk"]): row["chunk"] for row in reversed(rows)}
    lines += [f"{key[0]}, chunk {first[key]}: {n} rows in codes, expected 1" for key, n in times.items() if n > 1]
    sound = {(row["id"], row["chunk"]): row["chunks"] for row in reversed(rows) if not row["fault"]}
    whole = set()
    for id_ in {id_ for id_, _ in sound}:
        said = [chunks for (one, _), chunks in sound.items() if one == id_]
        if min(said) != max(said):
            lines.append(f"{id_}: its rows say {min(said)} chunks and {max(said)}")
        elif len(said) < said[0]:
            lines.append(f"{id_}: {len(said)} of {said[0]} chunks")
        else:
            whole.add(id_)
    lines += [f"{id_}: {n} rows in failures, expected 1" for id_, n in Counter(failed).items() if n > 1]
    lines += [f"{id_} is in codes and in failures" for id_ in {row["id"] for row in rows} & {*failed}]
    lost = [id_ for id_ in planned if id_ not in whole and id_ not in failed]
    return sorted(lines + [f"{id_} is an input that is in none of codes, failures and skipped" for id_ in lost])


@pytest.mark.parametrize("seed", range(10))
def test_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(check_module, "MAX_LINES", 1000)
    random = np.random.default_rng(seed)
    rows, run = random_rows(random), tmp_path / "run"
    parts = [rows[begin::3] for begin in range(3)]
    (run / "codes").mkdir(parents=True)
    for number, part in enumerate(parts):
        pq.write_table(pa.concat_tables(map(table, part)), run / "codes" / f"part-{number}.parquet")
    failed = [id_ for id_ in [*IDS, "x", "x", "y"] if random.random() < (0.2 if id_ in IDS else 0.8)]
    told = [{"id": id_, "source": id_, "stage": "read", "error": "NotAudio"} for id_ in failed]
    if failed:
        write_failures(pa.Table.from_pylist(told, FAILURES_SCHEMA), LOCAL, str(run))
    save(LOCAL, str(run), run_record(settings=Settings(reconstruct=False).model_dump(mode="json")))
    (run / "_SUCCESS").touch()
    planned = [*IDS, "x", "y", "z"]
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("".join(json.dumps({"id": id_, "path": f"/nowhere/{id_}.wav"}) + "\n" for id_ in planned))
    problems = check(run, [str(manifest)]).problems
    assert sorted(line for line in problems if "listed in run.json" not in line) == expected(parts, failed, planned)
