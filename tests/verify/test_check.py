"""Verifying a run: an intact one has no problem, every way to break one is named, repair and a rerun mend it."""

import contextlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from pyarrow.fs import LocalFileSystem
from typer.testing import CliRunner

from actors.checkpoint import codebook_size
from actors.pools.arrow import codes_array, waves_array
from actors.pools.encode import EncodeChunks
from actors.pools.isolate import Ledger
from pipeline import open_run
from pipeline.cli.demo import CLIPS
from pipeline.cli.main import app
from pipeline.cluster.load import load_codec
from pipeline.errors import InputError, OutputError
from pipeline.job import describe, prepare
from pipeline.read import read_chunks
from pipeline.run.committed import committed
from pipeline.run.join_waves import join_long_waves
from pipeline.run.keys import Keys
from pipeline.run.layout import RETRYING, SUCCESS_FILE
from pipeline.run.lock import locked
from pipeline.run.resume import mark
from pipeline.run.run_json import save
from pipeline.run.settle import settle
from pipeline.run.sums import checksums
from pipeline.run.sweep import sweep
from pipeline.run.totals import count
from pipeline.run.write import write_parts
from pipeline.run.write_waves import write_waves
from pipeline.settings import Settings, load_settings
from pipeline.sources.plan import plan
from pipeline.verify.check import MAX_LINES, bounded, check
from pipeline.verify.repair import repair
from tests.helpers import damage
from tests.helpers.damage import part_of
from tests.helpers.rows import coded_row, codes_of, failed_row, run_record, tone

LOCAL = LocalFileSystem()
CHUNK = 3840
LENGTHS = {("a", 0): 1920, ("b/c", 0): 3000, ("long", 0): CHUNK, ("long", 1): CHUNK, ("long", 2): 100}
PARTS = [[("a", 0), ("long", 2)], [("long", 0)], [("b/c", 0), ("long", 1)]]


def row(id_: str, chunk: int, **more: Any) -> pa.Table:
    """A row of one of LENGTHS, with its wave."""
    samples = LENGTHS[id_, chunk]
    wave = waves_array([np.full(samples, chunk, np.int16)])
    return coded_row(id_, samples, chunk, 3 if id_ == "long" else 1, 2 * chunk, wave=wave, **more)


def commit(run: Path, rows: list[pa.Table]) -> str:
    """Commit rows like the end of the graph; returns the name of the part of codes."""
    table = write_waves(pa.concat_tables(rows), LOCAL, f"{run}/wav")
    return write_parts(table, LOCAL, str(run))["codes_part"][0].as_py()


def complete(run: Path) -> None:
    """Complete the run; its run.json is that of a run with three-frame chunks."""
    settle(Keys(LOCAL, str(run)))
    join_long_waves(Keys(LOCAL, str(run)))
    sweep(LOCAL, str(run))
    stamp(run, state="complete")
    mark(LOCAL, str(run), complete=True)


def stamp(run: Path, **more: Any) -> None:
    """Make run.json agree with the parts."""
    path = run / "run.json"
    before = json.loads(path.read_text()) if path.exists() else run_record()
    own: dict[str, Any] = {"parts": checksums(LOCAL, str(run), {})}
    with contextlib.suppress(OutputError):  # rows that cannot be counted
        own["counts"] = count(Keys(LOCAL, str(run)), 0)
    save(LOCAL, str(run), before | own | more)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two short recordings, a long one whose chunks lie in three parts, a failure."""
    folder = tmp_path / "run"
    for keys in PARTS:
        commit(folder, [row(*key) for key in keys])
    write_parts(failed_row("bad"), LOCAL, str(folder))
    complete(folder)
    return folder


def rerun(run: Path) -> None:
    """What a rerun of tokenize does without Ray: what `committed` lacks is written, and the run completed."""
    done = committed(Keys(LOCAL, str(run)))
    ids = set(done.ids.to_pylist())
    missing = [key for key in LENGTHS if key[0] not in ids and key[1] not in done.partial.get(key[0], ())]
    if missing:
        commit(run, [row(*key) for key in missing])
    if "bad" not in ids:
        write_parts(failed_row("bad"), LOCAL, str(run))
    complete(run)


def test_an_intact_run_has_no_problem(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    report = check(run)
    assert report.problems == []
    assert report.checked == ["3 recordings, 5 chunks, 1 failure in 3 + 1 parts"]
    assert repair(run) == []
    assert check(run).problems == []
    assert {path: path.stat().st_mtime_ns for path in before if path.name != SUCCESS_FILE} == {
        path: time for path, time in before.items() if path.name != SUCCESS_FILE
    }


def test_a_run_that_is_open_is_taken(run: Path) -> None:
    opened = open_run(run)
    assert check(opened) == check(run)
    assert repair(opened) == []
    (run / "run.json").unlink()
    with pytest.raises(InputError, match=rf"^{run} has no run\.json"):
        repair(opened)


def test_a_run_of_failures_alone(tmp_path: Path) -> None:
    write_parts(failed_row("bad"), LOCAL, str(tmp_path))
    complete(tmp_path)
    assert check(tmp_path).problems == []
    assert repair(tmp_path) == []


def written_anew(run: Path) -> None:
    path = part_of(run, "b/c")
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(rows.column_names.index("codes"), "codes", rows["codes"].combine_chunks()), path)


def torn_while_retried(run: Path) -> None:
    (run / "failures").rename(run / RETRYING)
    next((run / RETRYING).iterdir()).write_bytes(b"PAR1")


def unlisted(run: Path) -> None:
    path = run / "run.json"
    record_ = json.loads(path.read_text())
    del record_["parts"][part_of(run, "a").name]
    path.write_text(json.dumps(record_))


def lost(run: Path) -> None:
    part_of(run, "long", 0).unlink()


def doubled(run: Path) -> None:
    write_parts(pa.concat_tables([row("a", 0), row("long", 1)]).drop_columns(["wave"]), LOCAL, str(run))
    stamp(run)


def never_finished(run: Path) -> None:
    for folder in ("", "codes", "failures", "wav"):
        (run / folder / f".{'0' * 32}.part").write_bytes(b"half")


def coded_and_failed(run: Path) -> None:
    write_parts(failed_row("a"), LOCAL, str(run))
    stamp(run)


def failed_twice(run: Path) -> None:
    write_parts(pa.concat_tables([failed_row("bad"), failed_row("bad", "TruncatedAudio")]), LOCAL, str(run))
    stamp(run)


def at_odds(run: Path) -> None:
    commit(run, [coded_row("long", CHUNK, 3, 4, 6, wave=waves_array([None]))])
    stamp(run)


def wrong_counts(run: Path) -> None:
    stamp(run, counts={"recordings": 4, "chunks": 5, "failures": 1, "frames": 7})


def copied(run: Path) -> None:
    shutil.copy(part_of(run, "a"), run / "codes" / "part-copy.parquet")


GONE = ["another sha256", "long: 2 of 3 chunks", "a is an input", "long is an input", "counts"]
"""What else is said where the part of "a", which also holds a chunk of "long", cannot be read."""
AGAIN = "not 'complete': run the same `voxmill tokenize` again"
MISSING = "missing: run the same `voxmill tokenize` again"
REPAIRED = {
    damage.torn: ["cannot be read", *GONE],
    damage.empty: ["cannot be read: ", *GONE],
    damage.text: ["cannot be read: ", *GONE],
    damage.zeros: ["cannot be read: ", *GONE],
    damage.a_bit: ["CRC checksum verification failed", *GONE],
    damage.a_folder: ["a folder, expected a file", *GONE[1:]],
    damage.a_link_to_nowhere: ["is missing: run.json lists it", *GONE[1:]],
    damage.other_columns: ["'num_samples' is missing", *GONE],
    damage.other_types: ["column 'chunk' is string, expected int32", *GONE],
    damage.other_codes: ["expected list<item: fixed_size_list<item: int16>[16]>", *GONE],
    damage.null_codes: ["its codes are not [num_frames, 16]", *GONE[:-1]],
    damage.short_codes: ["its codes are not [num_frames, 16]", *GONE[:-1]],
    damage.null_ids: ["it has no id", *GONE[:-1]],
    damage.foreign: ["column 'id' is missing", "part-0000.parquet is not listed"],
    damage.twice_a_name: ["2 columns are called 'id'", *GONE],
    damage.torn_failures: ["failures/part-", "counts 1 failures, the parts hold 0", "bad is an input"],
    damage.a_folder_of_failures: ["a folder, expected a file", "the parts hold 0", "bad is an input"],
    damage.failures_without_error: ["without id, stage or error", "the parts hold 0", "bad is an input"],
    damage.failures_of_other_types: ["'stage' is list", "the parts hold 0", "bad is an input"],
    torn_while_retried: [".retrying/part-", "counts 1 failures, the parts hold 0", "bad is an input"],
    copied: ["a, chunk 0: 2 rows in codes", "long, chunk 2: 2 rows in codes", "is not listed", "counts"],
    written_anew: ["another sha256"],
    unlisted: ["is not listed in run.json"],
    lost: ["is missing: run.json lists it", "long: 2 of 3 chunks", "long is an input", "counts"],
    doubled: ["a, chunk 0: 2 rows in codes", "long, chunk 1: 2 rows in codes"],
    never_finished: ["a temporary file of a killed writer"],
    coded_and_failed: ["a is in codes and in failures"],
    failed_twice: ["bad: 3 rows in failures"],
    at_odds: ["long: its rows say 3 chunks and 4", "long is an input"],
    wrong_counts: ["run.json counts 4 recordings, the parts hold 3", "run.json counts 7 frames, the parts hold 8"],
}


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """A manifest of the run's inputs; planning does not need the files."""
    lines = [{"id": id_, "path": f"/nowhere/{id_}.wav"} for id_ in ("a", "b/c", "long", "bad")]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [str(tmp_path / "list.jsonl")]


@pytest.mark.parametrize("break_it", REPAIRED, ids=lambda function: function.__name__)
def test_what_is_broken_is_named_repaired_and_completed(
    run: Path, inputs: list[str], break_it: Callable[[Path], None]
) -> None:
    assert check(run, inputs).problems == []
    before = sorted(committed(Keys(LOCAL, str(run))).ids.to_pylist())
    break_it(run)
    problems, says = check(run, inputs).problems, REPAIRED[break_it]
    assert [text for text in says if not any(text in line for line in problems)] == []  # all are named
    assert [line for line in problems if not any(text in line for text in says)] == []  # and nothing else
    assert repair(run)
    left = check(run, inputs).problems
    kinds = ("is an input", "of 3 chunks", "'running'", "_SUCCESS is missing")
    assert [line for line in left if not any(kind in line for kind in kinds)] == []
    assert bool(left) != (run / SUCCESS_FILE).exists()
    rerun(run)
    assert check(run, inputs).problems == []
    assert sorted(committed(Keys(LOCAL, str(run))).ids.to_pylist()) == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"codes": codes_array([np.full((1, 16), 2048, np.int16)])}, "codes outside 0..2047"),
        ({"codes": codes_array([np.full((1, 16), -1, np.int16)])}, "codes outside 0..2047"),
        ({"codes": codes_array([codes_of(2)])}, "its codes are not [num_frames, 16]"),
        ({"codes": codes_array([codes_of(0)])}, "its codes are not [num_frames, 16]"),
        ({"codes": codes_array([None])}, "its codes are not [num_frames, 16]"),
        ({"num_frames": pa.array([2], pa.int32())}, "num_frames is not num_samples / 1920, rounded up"),
        ({"duration_s": pa.array([1.0])}, "duration_s is not"),
        ({"first_frame": 1}, "first_frame is not"),
        ({"num_samples": pa.array([0], pa.int64())}, "it has no samples"),
        ({"num_samples": pa.array([None], pa.int64())}, "it has no samples"),
        ({"num_samples": pa.array([CHUNK + 1], pa.int64())}, "num_samples is not what its chunk holds"),
        ({"chunks": 2}, "num_samples is not what its chunk holds"),
        ({"chunk": 1}, "its chunk lies outside 0..chunks - 1"),
        ({"id": pa.array([None], pa.string())}, "it has no id"),
    ],
)
def test_rows_that_cannot_be(run: Path, more: dict[str, Any], says: str) -> None:
    old = part_of(run, "a")
    old.unlink()
    rows = pa.concat_tables([coded_row("a", 1920, **more), row("long", 2).drop_columns(["wave"])])
    write_parts(rows, LOCAL, str(run))
    stamp(run)
    problems = [line for line in check(run).problems if "run.json counts" not in line]  # some cannot be counted
    assert len(problems) == 1, problems
    assert says in problems[0]
    assert "dropped 1 row of codes" in repair(run)[0]
    assert "a" not in committed(Keys(LOCAL, str(run))).ids.to_pylist()
    assert not (run / SUCCESS_FILE).exists()
    rerun(run)
    assert check(run).problems == []


def test_the_good_one_of_two_rows_stays(run: Path) -> None:
    bad = coded_row("a", 1920, codes=codes_array([np.full((1, 16), 5000, np.int16)]), wave=waves_array([None]))
    commit(run, [bad, row("b/c", 0)])
    stamp(run)
    assert len(check(run).problems) == 3  # the codes, two doubles
    repair(run)
    assert check(run).problems == []
    assert (run / SUCCESS_FILE).exists()


def pieces(run: Path) -> None:
    (run / "wav" / ".pieces" / "x").mkdir(parents=True)


def not_complete(run: Path) -> None:
    stamp(run, state="running")


def interrupted(run: Path) -> None:
    stamp(run, state="running", parts={}, counts={})


def no_success(run: Path) -> None:
    (run / SUCCESS_FILE).unlink()


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (pieces, "wav/.pieces holds chunks"),
        (not_complete, "run.json says 'running'"),
        (no_success, "_SUCCESS is missing"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_named_and_left(run: Path, break_it: Callable[[Path], None], says: str) -> None:
    break_it(run)
    for _ in range(2):
        assert len(check(run).problems) == 1
        assert says in check(run).problems[0]
        assert repair(run) == []


def test_parts_of_an_interrupted_run_are_one_line(run: Path) -> None:
    interrupted(run)
    (run / SUCCESS_FILE).unlink()
    first = min(path.name for path in (run / "codes").iterdir())
    problems = check(run).problems
    assert len(problems) == 3
    assert problems[2] == f"codes/{first} is not listed in run.json, nor 2 more parts"


def test_without_run_json(run: Path) -> None:
    (run / "run.json").unlink()
    assert check(run).problems == ["run.json is missing: settings, checksums and counts cannot be checked"]
    with pytest.raises(InputError, match=r"no run\.json"):
        repair(run)
    with pytest.raises(InputError, match="holds no run"):
        check(run / "codes")


@pytest.mark.parametrize("wrong", [{"counts": []}, {"parts": {"x": 1}}, {"attempts": {}}, {"warnings": "none"}])
def test_what_run_json_can_be_told_again_is_mended(run: Path, wrong: dict[str, Any]) -> None:
    before = json.loads((run / "run.json").read_text())
    save(LOCAL, str(run), before | wrong)
    assert [next(iter(wrong)) in line for line in check(run).problems] == [True]
    assert repair(run)[0] == f"repaired {next(iter(wrong))} of run.json"
    assert check(run).problems == []
    after = json.loads((run / "run.json").read_text())
    assert after == before | {key: after[key] for key in ("attempts", "warnings") if key in wrong}
    assert (run / SUCCESS_FILE).exists()


@pytest.mark.parametrize("state", ["done", None, 3])
@pytest.mark.parametrize("complete", [True, False])
def test_the_state_follows_success(run: Path, state: object, complete: bool) -> None:
    save(LOCAL, str(run), json.loads((run / "run.json").read_text()) | {"state": state})
    mark(LOCAL, str(run), complete)
    assert any("run.json is not what a run writes: state: " in line for line in check(run).problems)
    repair(run)
    assert check(run).problems == ([] if complete else [f"run.json says 'running', {AGAIN}", f"_SUCCESS is {MISSING}"])


@pytest.mark.parametrize("content", ["{", "[]", "{}", "null"])
def test_run_json_that_nothing_can_tell_again(run: Path, content: str) -> None:
    (run / "run.json").write_text(content)
    problems = check(run).problems
    assert len(problems) == 1
    assert "run.json is not what a run writes: " in problems[0]
    with pytest.raises(OutputError, match="restore a copy of it, or start again with --overwrite"):
        repair(run)
    assert len(list(open_run(run))) == 3
    assert (run / SUCCESS_FILE).exists()  # nothing was touched


def test_repair_waits_for_nobody(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doubled(run)
    with locked(LOCAL, str(run)), pytest.raises(OutputError, match="is writing to this folder"):
        repair(run)
    assert (run / SUCCESS_FILE).exists()


def test_the_list_is_bounded() -> None:
    lines = bounded(f"line {number}" for number in range(MAX_LINES + 5))
    assert lines[-2:] == [f"line {MAX_LINES - 1}", "... and 5 more of this kind"]
    assert bounded(iter(["one"])) == ["one"]


def test_codebook_size_is_the_models(run: Path, small_model: Path) -> None:
    assert (codebook_size(str(small_model)), codebook_size("demo"), codebook_size("")) == (256, 512, 2048)
    stamp(run, settings=Settings(model=str(small_model)).model_dump(mode="json"))
    assert check(run).problems == []
    commit(run, [coded_row("x", 1920, codes=codes_array([np.full((1, 16), 256, np.int16)]), wave=waves_array([None]))])
    stamp(run)
    assert any("codes outside 0..255" in line for line in check(run).problems)


def test_the_command(run: Path) -> None:
    command = CliRunner()
    assert command.invoke(app, ["check", str(run)]).exit_code == 0
    damage.torn(run)
    result = command.invoke(app, ["check", str(run)])
    assert (result.exit_code, "cannot be read" in result.output) == (1, True)
    result = command.invoke(app, ["check", str(run), "--repair"])
    assert (result.exit_code, "removed _SUCCESS" in result.output) == (1, True)
    rerun(run)
    result = command.invoke(app, ["check", str(run)])
    assert (result.exit_code, "all is well: 3 recordings" in result.output) == (0, True)


def encode(inputs: Path, out: Path, model: Path) -> None:
    """A run of `inputs` by the real reading path and the real codec, in this process."""
    options = {"reconstruct": False, "chunk.length_s": 2, "chunk.context_s": 1, "encode.threads": 1}
    settings = load_settings(None, {"model": str(model), **options})
    job = prepare(settings, model, str(out), {"CPU": 2.0}, ("encode",))
    pool = EncodeChunks(lambda: load_codec(job.codec("encode")), Ledger())
    planned = plan([str(inputs)])
    rows = [pool(row) for task in planned.tasks for row in read_chunks(task, job.reading, planned.carried, {})]
    write_parts(pa.concat_tables(rows), LOCAL, str(out))
    stamp(out, **describe(job, [str(inputs)]), state="complete")
    mark(LOCAL, str(out), complete=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    """A corpus, and a run of it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "corpus").mkdir()
    for name, seconds in (("short.wav", 0.5), ("other.wav", 1.0), ("long.wav", 3.5)):
        soundfile.write(folder / "corpus" / name, tone(seconds, seed=len(name)), 16_000)
    encode(folder / "corpus", folder / "run", small_model)
    return folder


@pytest.fixture
def encoded(made: Path, tmp_path: Path) -> Path:
    """A copy of that run, which names a copy of the corpus beside it."""
    shutil.copytree(made / "corpus", tmp_path / "corpus")
    shutil.copytree(made / "run", tmp_path / "encoded")
    stamp(tmp_path / "encoded", inputs=[str(tmp_path / "corpus")])
    return tmp_path / "encoded"


def test_encoding_again_gives_the_same(encoded: Path) -> None:
    report = check(encoded, sample=3)
    assert report.problems == []
    assert "3 of 3 sampled recordings encoded again in fp32 on cpu (the run: fp32 on cpu)" in report.checked
    assert "agreement: 100.00% of codebook 0, 100.00% of all 16" in report.checked


def test_encoding_again_finds_other_codes(encoded: Path) -> None:
    path = part_of(encoded, "other.wav")
    rows = pq.read_table(path)
    codes = [
        codes_of(frames, seed=9) if id_ == "other.wav" else np.array(codes, np.int16)
        for id_, frames, codes in zip(*(rows[n].to_pylist() for n in ("id", "num_frames", "codes")), strict=True)
    ]
    pq.write_table(rows.set_column(rows.column_names.index("codes"), "codes", codes_array(codes)), path)
    stamp(encoded)
    assert check(encoded).problems == []
    problems = check(encoded, sample=3).problems
    assert len(problems) == 1
    assert problems[0].startswith("other.wav, chunk 0: codebook 0 differs in ")


def test_encoding_again_needs_the_inputs(encoded: Path, small_model: Path) -> None:
    corpus = encoded.parent / "corpus"
    corpus.rename(encoded.parent / "moved")
    assert "no such file or folder" in check(encoded, sample=1).problems[0]
    assert check(encoded, [str(encoded.parent / "moved")], sample=1).problems == []
    (encoded.parent / "moved" / "long.wav").write_bytes(b"not audio any more")
    problems = check(encoded, [str(encoded.parent / "moved")], sample=3).problems
    assert len(problems) == 2
    assert problems[0].startswith("'long.wav' was read from")
    assert problems[1].startswith("long.wav cannot be encoded again: NotAudio")
    stamp(encoded, model={"id": "x", "sha256": "0" * 64})
    assert "other weights" in check(encoded, [str(encoded.parent / "moved")], sample=1).problems[-1]


def test_an_input_that_is_nowhere(encoded: Path) -> None:
    corpus = encoded.parent / "corpus"
    assert check(encoded, [str(corpus)]).checked[-1] == "3 planned inputs"
    (corpus / "new.flac").write_bytes((CLIPS / "it" / "broken.flac").read_bytes())
    assert check(encoded, [str(corpus)]).problems == [
        "new.flac is an input that is in none of codes, failures and skipped"
    ]
    with pytest.raises(InputError, match="no such file"):
        check(encoded, [str(corpus / "nothing")])


def test_inputs_of_other_content(encoded: Path) -> None:
    corpus = encoded.parent / "corpus"
    path = next(path for path in corpus.iterdir() if path.name == "short.wav")
    path.write_bytes(path.read_bytes() + b"\0\0")
    (problem,) = check(encoded, [str(corpus)]).problems
    assert "'short.wav' was read from" in problem
    other = shutil.copytree(corpus, encoded.parent / "other", copy_function=shutil.copy)
    assert len(check(encoded, [str(other)]).problems) == 1  # copies elsewhere are compared by size


def test_chunks_of_different_versions_are_named_and_repaired(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(run_record()))
    for chunk, version in enumerate(["1", "2"]):
        row = coded_row("a", 2 * 1920, chunk, 2, 2 * chunk, source_version=pa.array([version], pa.string()))
        write_parts(row, LOCAL, str(tmp_path))
    assert "a: its chunks were read from different versions of its file" in check(tmp_path).problems
    repair(tmp_path)
    assert committed(Keys(LOCAL, str(tmp_path))).partial == {}


def test_recordings_in_containers(tmp_path: Path, made: Path, small_model: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard, names in (("x.tar", ["short.wav", "long.wav"]), ("y.tar", ["other.wav"])):
        with tarfile.open(shards / shard, "w") as tar:
            for name in names:
                tar.add(made / "corpus" / name, name if shard == "y.tar" else f"speaker::{name}")
    encode(shards, tmp_path / "run", small_model)
    report = check(tmp_path / "run", [str(shards)], sample=2)
    assert report.problems == []
    assert "3 planned inputs" in report.checked
    assert "2 of 2 sampled recordings encoded again in fp32 on cpu (the run: fp32 on cpu)" in report.checked
    (shards / "y.tar").rename(shards / "z.tar")
    assert check(tmp_path / "run", [str(shards)]).problems == [
        "z.tar/other.wav is an input that is in none of codes, failures and skipped"
    ]
