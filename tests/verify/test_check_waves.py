"""Waves of a run that are missing, damaged, twice or no one's: named by check, deleted by repair, then made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.run.join_waves import join_long_waves
from pipeline.run.keys import Keys
from pipeline.run.layout import WaveKind
from pipeline.run.resume import LACKS_WAVES, mark
from pipeline.run.run_json import save
from pipeline.run.shard import read_index, write_shard
from pipeline.run.sums import checksums
from pipeline.run.totals import count
from pipeline.run.write import write_parts, write_parts_and_shards
from pipeline.run.write_waves import write_waves
from pipeline.verify.check import check
from pipeline.verify.check_waves import wave_faults
from pipeline.verify.evidence import gather, look
from pipeline.verify.repair import repair
from tests.helpers.damage import part_of
from tests.helpers.rows import run_record, wave_row
from tests.helpers.store import Store

LOCAL = LocalFileSystem()
KINDS = [WaveKind(layout, format) for layout in ("files", "tar") for format in ("wav", "flac")]
BLOCKS = [
    [("a", 1920, 0, 1), ("long", 100, 2, 3)],
    [("b/c.d", 3000, 0, 1), ("long", 3840, 0, 3)],
    [("long", 3840, 1, 3)],
]


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).integers(-9_000, 9_000, samples).astype(np.int16)


def made(run: Path, kind: WaveKind) -> Path:
    """Two short recordings, and a long one whose chunks lie in three parts."""
    for block in BLOCKS:
        rows = pa.concat_tables([wave_row(id_, noise(n), chunk, chunks) for id_, n, chunk, chunks in block])
        if kind.layout == "tar":
            write_parts_and_shards(rows, LOCAL, str(run), kind.format, 1000)
        else:
            write_parts(write_waves(rows, LOCAL, f"{run}/wav", format=kind.format), LOCAL, str(run))
    join_long_waves(Keys(LOCAL, str(run)), kind)
    before = run_record()
    output = {**before["settings"]["output"], "waves": kind.layout, "wave_format": kind.format}
    own = {"parts": checksums(LOCAL, str(run), {}), "counts": count(Keys(LOCAL, str(run)), 0)}
    save(LOCAL, str(run), {**before, **own, "settings": {**before["settings"], "output": output}})
    mark(LOCAL, str(run), complete=True)
    return run


def shard_with(run: Path, id_: str) -> Path:
    """The shard that holds a recording."""
    (path,) = [
        path for path in (run / "wav").glob("*.tar") if id_ in [entry.id for entry in read_index(LOCAL, str(path))]
    ]
    return path


def patch(path: Path, at: int, new: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(new)] = new
    path.write_bytes(content)


def named(run: Path, *texts: str) -> None:
    """Check names each of `texts` in a line of its own, and nothing else; repair deletes it, and a rerun is told."""
    problems = check(run).problems
    assert len(problems) == len(texts), problems
    for text in texts:
        assert any(text in line for line in problems), problems
    repair(run)
    assert json.loads((run / "run.json").read_text())[LACKS_WAVES]
    assert repair(run)[:1] in (
        [],
        ["waves are missing: run the same `voxmill tokenize` again, it makes them from the codes"],
    )
    assert all(" missing;" in line or "holds no wave of" in line for line in check(run).problems)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_intact_run_has_no_problem(tmp_path: Path, kind: WaveKind) -> None:
    run = made(tmp_path, kind)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert check(run).problems == []
    assert repair(run) == []
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def missing(run: Path, format: str) -> None:
    (run / "wav" / f"a.{format}").unlink()


def a_folder(run: Path, format: str) -> None:
    missing(run, format)
    (run / "wav" / f"a.{format}").mkdir()


def a_file_for_a_folder(run: Path, format: str) -> None:
    shutil.rmtree(run / "wav" / "b")
    (run / "wav" / "b").touch()


def short(run: Path, format: str) -> None:
    path = run / "wav" / f"long.{format}"
    path.write_bytes(path.read_bytes()[:-2])


def other_header(run: Path, format: str) -> None:
    path = run / "wav" / "b" / f"c.d.{format}"
    patch(path, 24 if format == "wav" else 18, (16_000).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("break_it", "format", "says"),
    [
        (missing, "wav", "wav/a.wav is missing; `voxmill check --repair`, then `tokenize`, makes it again"),
        (missing, "flac", "wav/a.flac is missing"),
        (a_folder, "wav", "wav/a.wav is missing"),
        (a_file_for_a_folder, "wav", "wav/b/c.d.wav is missing"),
        (short, "wav", "wav/long.wav has 15,602 bytes, expected 15,604"),
        (short, "flac", "wav/long.flac is torn"),
        (other_header, "wav", "wav/b/c.d.wav has another header than that of 3,000 samples at 24000 Hz"),
        (other_header, "flac", "wav/b/c.d.flac has another header than that of 3,000 samples at 24000 Hz"),
    ],
)
def test_files(tmp_path: Path, break_it: Callable[[Path, str], None], format: str, says: str) -> None:
    run = made(tmp_path, WaveKind("files", format))
    break_it(run, format)
    named(run, says)


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_a_shard_that_is_gone_or_torn(tmp_path: Path, format: str) -> None:
    run = made(tmp_path, WaveKind("tar", format))
    shard_with(run, "a").unlink()
    torn = shard_with(run, "long")
    torn.write_bytes(torn.read_bytes()[:-700])
    named(run, "holds no wave of a;", "holds no wave of long;", "is not a whole shard of waves")
    assert not torn.exists()
    assert shard_with(run, "b/c.d").exists()


@pytest.mark.parametrize("where", ["tar header", "wave header"])
def test_a_damaged_member_goes_and_its_neighbours_stay(tmp_path: Path, where: str) -> None:
    run = made(tmp_path, WaveKind("tar"))
    rows = pa.concat_tables([wave_row(id_, noise(500)) for id_ in ("x", "y", "z")])
    write_parts_and_shards(rows, LOCAL, str(run), "wav", 1000)
    before = json.loads((run / "run.json").read_text())
    own = {"parts": checksums(LOCAL, str(run), {}), "counts": count(Keys(LOCAL, str(run)), 0)}
    save(LOCAL, str(run), {**before, **own})
    path = shard_with(run, "y")
    (entry,) = [entry for entry in read_index(LOCAL, str(path)) if entry.id == "y"]
    patch(path, entry.start if where == "tar header" else entry.offset, b"~")
    named(run, f"::y {'has a damaged header in its tar' if where == 'tar header' else 'has another header'}")
    assert [entry.id for entry in read_index(LOCAL, str(path))] == ["x", "z"]
    assert ["holds no wave of y;" in line for line in check(run).problems] == [True]


def test_waves_that_are_no_ones_or_not_the_only_one(tmp_path: Path) -> None:
    run = made(tmp_path, WaveKind("tar"))
    with (run / "wav" / "zzz.tar").open("wb") as file:
        write_shard(file, [("a", 1920, [noise(1920)]), ("stranger", 5, [noise(5)]), ("b/c.d", 7, [noise(7)])], "wav")
    shutil.copy(shard_with(run, "stranger"), run / "wav" / "part-0123456789abcdef.tar")
    named(
        run,
        "wav/zzz.tar::a is the wave of a recording that has another",
        "wav/zzz.tar::stranger is the wave of a recording that is not in codes",
        "wav/zzz.tar::b/c%2Ed has 7 samples, its codes 3,000",
        "wav/part-0123456789abcdef.tar belongs to no part",
    )
    assert check(run).problems == []
    assert not (run / "wav" / "zzz.tar").exists()


def test_a_part_that_is_deleted_takes_its_shard_along(tmp_path: Path) -> None:
    run = made(tmp_path, WaveKind("tar"))
    part, shard = part_of(run, "a"), shard_with(run, "a")
    pq.write_table(pq.read_table(part), part, compression="none")  # sound, but not what run.json lists
    assert repair(run)
    assert not part.exists()
    assert not shard.exists()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_run_without_waves_lacks_none(tmp_path: Path, kind: WaveKind) -> None:
    run = made(tmp_path, kind)
    shutil.rmtree(run / "wav")
    before = json.loads((run / "run.json").read_text())
    before["settings"]["reconstruct"] = False
    save(LOCAL, str(run), before)
    assert check(run).problems == []
    assert repair(run) == []


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_shards_of_a_store_are_read_side_by_side(tmp_path: Path, format: str) -> None:
    """An opening for each shard's index and one for its waves; several shards at the same time."""
    run = made(tmp_path / "run", WaveKind("tar", format))
    (tmp_path / "store").mkdir()
    shutil.move(run, tmp_path / "store" / "run")
    store = Store(tmp_path / "store")
    evidence = gather(look(store, "run"))
    store.count.clear()
    store.most.clear()
    assert [*wave_faults(evidence)] == []
    assert store.count["open_input_file"] == 2 * len(BLOCKS)
    assert store.most["open_input_file"] > 1
