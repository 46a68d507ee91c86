"""Exports as such: order, resumption, what is refused, object stores."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import soundfile
from typer.testing import CliRunner

from pipeline import export_run, open_run
from pipeline.cli.export import FORMATS_HELP
from pipeline.cli.main import app
from pipeline.errors import InputError, OutputError
from pipeline.export.folder import delete
from pipeline.export.formats import FORMATS
from pipeline.export.job import Job, write_missing
from pipeline.export.records import Columns, with_text
from pipeline.reconstruct import decode
from pipeline.run.run_json import save
from pipeline.run.whole import recordings
from pipeline.run.write import write_parts
from tests.helpers.exported import TEXTS, expected_codes, make_many, make_run
from tests.helpers.flaky import always, flaky
from tests.helpers.rooms import ROOT
from tests.helpers.rows import coded_row, run_record
from tests.helpers.s3 import s3_server
from tests.helpers.store import Store


def contents(folder: Path) -> dict[str, str]:
    """Relative path -> hash, of every file but those of the lock and temporary ones."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ids_of(out: Path) -> list[str]:
    """Of an npy export, in order."""
    lines = [line for path in sorted(out.glob("manifest-*")) for line in path.read_text().splitlines()]
    return [json.loads(line)["id"] for line in lines]


@pytest.mark.parametrize("size", [1, 4, 5, 7, 100])
def test_shards_follow_the_parts(tmp_path: Path, size: int) -> None:
    everything = make_many(tmp_path / "run", 20, 6)
    done = export_run(tmp_path / "run", "npy", tmp_path / "out", shard_recordings=size)
    order = [id_ for rows in recordings(open_run(tmp_path / "run").whole()) for id_ in rows["id"].to_pylist()]
    assert ids_of(tmp_path / "out") == order
    assert sorted(order) == everything
    lines = [len(path.read_text().splitlines()) for path in sorted((tmp_path / "out").glob("manifest-*"))]
    assert lines == [min(size, 20 - begin) for begin in range(0, 20, size)]
    assert (done.shards, done.written) == (len(lines), len(lines))


@pytest.mark.parametrize("to", FORMATS)
def test_finished_shards_are_not_written_again(tmp_path: Path, to: str) -> None:
    make_many(tmp_path / "run", 20, 6)
    options = {"text": "text"} if FORMATS[to].needs_text else {}
    whole, out = tmp_path / "whole", tmp_path / "out"
    export_run(tmp_path / "run", to, whole, shard_recordings=4, **options)

    def stop(done: int, of: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_run(tmp_path / "run", to, out, shard_recordings=4, tell=stop, **options)
    there = {path: path.stat().st_ino for path in out.rglob("*") if path.is_file()}
    assert not (out / "_SUCCESS").exists()
    (out / f".{'0' * 32}.part").write_text("half")
    done = export_run(tmp_path / "run", to, out, shard_recordings=4, **options)
    assert (done.shards, done.written) == (5, 2)
    assert contents(out) == contents(whole)
    assert all(path.stat().st_ino == inode for path, inode in there.items() if path.exists())
    assert export_run(tmp_path / "run", to, out, shard_recordings=4, **options).written == 0
    assert contents(out) == contents(whole)


@pytest.mark.parametrize(
    ("to", "lost"),
    [("megatron", "codes-000001.bin"), ("megatron", "codes-000001.idx"), ("lhotse", "shar/target_codes.000001.tar")],
)
def test_a_shard_that_lost_one_of_its_files_is_written_again(tmp_path: Path, to: str, lost: str) -> None:
    make_many(tmp_path / "run", 20, 6)
    export_run(tmp_path / "run", to, tmp_path / "out", shard_recordings=4)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / lost).unlink()
    assert export_run(tmp_path / "run", to, tmp_path / "out", shard_recordings=4).written == 1
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("to", ["lhotse", "megatron", "hf"])
def test_a_killed_export_leaves_no_torn_file(tmp_path: Path, to: str) -> None:
    make_many(tmp_path / "run", 60, 20)
    export_run(tmp_path / "run", to, tmp_path / "whole", shard_recordings=2)
    expected, out = contents(tmp_path / "whole"), tmp_path / "out"
    code = "import sys; from pipeline import export_run; export_run(*sys.argv[1:], shard_recordings=2)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run"), to, str(out)], cwd=ROOT)
    while process.poll() is None and sum(path.suffix != ".part" for path in out.rglob("*")) < 9:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = {name: hashed for name, hashed in contents(out).items() if not name.endswith(".part")}
    assert found.items() <= expected.items()
    export_run(tmp_path / "run", to, out, shard_recordings=2)
    assert contents(out) == expected


def test_another_export_or_other_files_are_refused(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    export_run(run, "npy", out)
    for options in ({"to": "hf"}, {"to": "npy", "text": "text"}, {"to": "npy", "shard_recordings": 2}):
        with pytest.raises(OutputError, match=r"another export, which differs in (format|columns|shard_recordings)\."):
            export_run(run, out=out, **options)
    make_many(run, 3, 3)
    with pytest.raises(OutputError, match=r"differs in recordings, parts\."):
        export_run(run, "npy", out)
    with pytest.raises(OutputError, match="no export of voxmill"):
        export_run(run, "npy", run)
    assert "export.json" not in os.listdir(run)
    for content in ("", "[]"):
        (out / "export.json").write_text(content)
        with pytest.raises(
            OutputError, match=r"export\.json is no export\.json of voxmill\. Give --out an empty folder"
        ):
            export_run(run, "npy", out)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    with pytest.raises(InputError, match="There is no format 'parquet'; there are qwen3-tts, ms-swift"):
        export_run(run, "parquet", out)
    with pytest.raises(InputError, match=r"--speaker who: the run has no such column\. It carries text, speaker, json"):
        export_run(run, "npy", out, speaker="who")
    with pytest.raises(InputError, match="info has no field 'size'"):
        export_run(run, "npy", out, speaker="info.size")
    with pytest.raises(InputError, match=r"--speaker text\.name: not one of the 5 recordings has it"):
        export_run(run, "webdataset", tmp_path / "other", speaker="text.name")
    assert export_run(run, "webdataset", tmp_path / "other").written == 1  # nothing is there: other options may follow
    with pytest.raises(InputError, match="0 recordings a shard"):
        export_run(run, "npy", out, shard_recordings=0)


META = {"meta.json": '{"lang": "de"}', "meta": "{}"}


def test_a_field_that_no_recording_has_is_refused(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    with pytest.raises(InputError, match=r"--speaker json\.who: not one of the 5 recordings has it"):
        export_run(run, "npy", out, speaker="json.who")
    texts = {"a": pa.nulls(1, pa.string()), "b": pa.array([""])}
    rows = [coded_row(id_, 1920, text=text, **META) for id_, text in texts.items()]
    write_parts(pa.concat_tables(rows), pafs.LocalFileSystem(), str(tmp_path / "other"))
    with pytest.raises(InputError, match="--text text: not one of the 2 recordings has it"):
        export_run(tmp_path / "other", "qwen3-tts", out, text="text", ref_audio="ref.wav")
    export_run(tmp_path / "other", "npy", out, language="meta.json.lang", text="text")
    lines = (out / "manifest-000000.jsonl").read_text().splitlines()
    assert [json.loads(line)["language"] for line in lines] == ["de", "de"]


def test_a_run_that_lost_a_part_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    names = sorted(path.name for path in (run / "codes").iterdir())
    save(pafs.LocalFileSystem(), str(run), run_record(state="complete", attempts=[], parts=dict.fromkeys(names, "0")))
    export_run(run, "npy", tmp_path / "whole")
    kept = (run / "codes" / names[1]).rename(tmp_path / "kept.parquet")
    with pytest.raises(OutputError, match=f"lacks 1 part of codes that its run.json names, the first is {names[1]}"):
        export_run(run, "npy", tmp_path / "out")
    with pytest.raises(OutputError, match="lacks 1 part"):
        open_run(run).torch_dataset()
    with pytest.raises(OutputError, match="lacks 1 part"):
        decode(run, tmp_path / "waves")
    kept.rename(run / "codes" / names[1])
    shutil.copy(run / "codes" / names[0], run / "codes" / "part-old.parquet")
    with pytest.raises(OutputError, match=r"holds 1 part of codes that its run.json does not name.*part-old.parquet"):
        export_run(run, "npy", tmp_path / "out")


@pytest.mark.parametrize(
    ("to", "lost"), [("npy", "manifest"), ("mds", "shard.0000"), ("mds", "index"), ("qwen3-tts", "train")]
)
def test_a_finished_export_that_lost_a_file_gets_it_again(tmp_path: Path, to: str, lost: str) -> None:
    run = make_run(tmp_path / "run")
    options: dict[str, Any] = {"shard_recordings": 2}
    if to == "qwen3-tts":
        soundfile.write(tmp_path / "ref.wav", np.zeros(24_000), 24_000)
        options |= {"text": "text", "ref_audio": str(tmp_path / "ref.wav")}
    export_run(run, to, tmp_path / "out", **options)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    gone = next(path for path in sorted((tmp_path / "out").iterdir()) if path.name.startswith(lost))
    gone.unlink()
    export_run(run, to, tmp_path / "out", **options)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == before


def test_bare_parquet_that_changed_is_another_export(tmp_path: Path) -> None:
    bare, out = tmp_path / "bare", tmp_path / "out"
    write_parts(coded_row("a", 1920, text="old"), pafs.LocalFileSystem(), str(tmp_path / "run"))
    (part,) = (tmp_path / "run" / "codes").iterdir()
    bare.mkdir()
    shutil.copy(part, bare / "mine.parquet")
    export_run(bare, "npy", out, text="text")
    rows = pq.read_table(bare / "mine.parquet")
    changed = rows.set_column(rows.schema.get_field_index("text"), "text", pa.array(["corrected"]))
    pq.write_table(changed, bare / "mine.parquet")
    with pytest.raises(OutputError, match=r"differs in parts\."):
        export_run(bare, "npy", out, text="text")
    soundfile.write(tmp_path / "ref.wav", np.zeros(24_000), 24_000)
    how = {"text": "text", "ref_audio": tmp_path / "ref.wav"}
    export_run(bare, "qwen3-tts", tmp_path / "tts", **how)
    soundfile.write(tmp_path / "ref.wav", np.ones(4_000), 24_000)
    with pytest.raises(OutputError, match=r"differs in reference\."):
        export_run(bare, "qwen3-tts", tmp_path / "tts", **how)


def test_bare_parquet_with_a_recording_twice_is_refused(tmp_path: Path) -> None:
    write_parts(coded_row("a", 1920), pafs.LocalFileSystem(), str(tmp_path / "run"))
    (part,) = (tmp_path / "run" / "codes").iterdir()
    (tmp_path / "bare").mkdir()
    for name in "ab":
        shutil.copy(part, tmp_path / "bare" / f"{name}.parquet")
    says = r"more than once, first chunk 0 of 'a': 2 times\..*of other Parquet, drop them"
    with pytest.raises(OutputError, match=says):
        export_run(tmp_path / "bare", "npy", tmp_path / "out")


def test_a_run_that_is_being_made_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    save(pafs.LocalFileSystem(), str(run), run_record(state="running"))
    with pytest.raises(InputError, match=r"is not complete \(running\)"):
        export_run(run, "npy", tmp_path / "out")
    save(pafs.LocalFileSystem(), str(run), run_record())
    assert export_run(run, "npy", tmp_path / "out").recordings == len(TEXTS)


@pytest.mark.parametrize("to", ["qwen3-tts", "lhotse", "mds", "hf"])
def test_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    run = make_run(tmp_path / "run")
    options = {"text": "text", "shard_recordings": 2}
    export_run(run, to, tmp_path / "out", **options)
    with s3_server("bucket", {}) as server:
        location = f"s3://k:s@bucket/out?endpoint_override={server}&scheme=http&region=us-east-1"
        done = export_run(run, to, location, **options)
        assert done.out == "s3://bucket/out"
        fs, path = pafs.FileSystem.from_uri(location)
        files = fs.get_file_info(pafs.FileSelector(path, recursive=True))
        found = {
            info.path.removeprefix("bucket/out/"): fs.open_input_stream(info.path, compression=None).read()
            for info in files
            if info.type == pafs.FileType.File
        }
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
        assert hashes == contents(tmp_path / "out")
        assert export_run(run, to, location, **options).written == 0
        with pytest.raises(InputError, match="trainers open it as a local file"):
            export_run(run, "qwen3-tts", location, text="text", ref_audio="ref.wav")


def test_a_reference_that_is_no_audio_is_named_without_its_credentials(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with flaky({"/ref.wav": b"no audio"}, always("ok")) as server:
        location = f"http://me:hunter2@{server.address.partition('://')[2]}/ref.wav?sig=hunter2"
        with pytest.raises(InputError, match=r"--ref-audio http://127\.0\.0\.1:\d+/ref\.wav: ") as caught:
            export_run(run, "qwen3-tts", tmp_path / "out", text="text", ref_audio=location)
    assert "hunter2" not in str(caught.value)


def test_the_command(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    command = ["export", str(run), "--to", "qwen3-tts", "--text", "text", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "5 recordings of the run, 1 shard (1 written)" in result.output
    assert "left out of what was written, without text: 1 recording" in result.output
    assert "references of different lengths break batches" in result.output
    again = CliRunner().invoke(app, command)
    assert "(0 written, 1 were there)" in again.output


def readme(language: str) -> str:
    """The block of code in that language in README's section on trainers."""
    section = (ROOT / "README.md").read_text().partition("## Into trainers")[2].partition("\n## ")[0]
    return section.partition(f"```{language}\n")[2].partition("```")[0]


def test_every_command_of_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run")
    soundfile.write("anna.wav", np.zeros(24_000), 24_000)
    commands = [shlex.split(line) for line in readme("bash").splitlines()]
    assert {command[command.index("--to") + 1] for command in commands} == set(FORMATS)
    table = (ROOT / "README.md").read_text().partition("## Into trainers")[2].partition("```")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.M) == ["--to", *FORMATS]
    assert re.findall(r"[\w-]+", FORMATS_HELP.replace(" or ", ", ")) == list(FORMATS)
    for _, *arguments in commands:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert "5 recordings of the run, 1 shard (1 written)" in result.output


def test_a_run_without_codes_says_so_first(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    for part in (tmp_path / "run" / "codes").iterdir():
        part.unlink()
    save(pafs.LocalFileSystem(), str(tmp_path / "run"), run_record(state="complete"))
    with pytest.raises(InputError, match="has no recordings with codes to export"):
        export_run(tmp_path / "run", "qwen3-tts", tmp_path / "out", text="text")


def test_the_code_of_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run")
    scope = {"open_run": open_run, "__name__": "__main__"}
    exec(readme("python").replace("num_workers=4", "num_workers=1"), scope)
    longest = max(map(len, expected_codes().values()))
    assert scope["codes"].shape == (len(TEXTS), longest + 15, 16)


def test_shards_of_a_store_are_looked_up_and_deleted_side_by_side(tmp_path: Path) -> None:
    make_many(tmp_path / "run", 20, 6)
    export_run(tmp_path / "run", "mds", tmp_path / "out", shard_recordings=4)
    store, whole = Store(tmp_path), open_run(tmp_path / "run").whole()
    (tmp_path / "out" / "_SUCCESS").unlink()
    created: list[str] = []
    job = Job(whole, FORMATS["mds"], Columns(), 4, store, "out", lambda name, write: created.append(name))
    assert write_missing(job, None, None) == (0, 0)
    assert created == ["index.json", "_SUCCESS"]
    assert store.count["get_file_info"] == 1 + 2 * 5
    assert store.most["get_file_info"] > 1
    shards = [f"out/{name}" for names in job.files for name in names]
    delete(store, [*shards, "out/absent"])
    assert not [path for path in shards if (tmp_path / path).exists()]
    assert store.most["delete_file"] > 1


def test_text_of_blanks_is_none() -> None:
    texts = {"a": "hello", "b": None, "c": " \t\u3000", "d": "", "e": " x "}
    rows = pa.concat_tables([coded_row(id_, 1920, text=pa.array([text], pa.string())) for id_, text in texts.items()])
    assert with_text(rows, Columns(text="text"))["id"].to_pylist() == ["a", "e"]
