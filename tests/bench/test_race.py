"""`voxmill bench pipeline`: the corpus, the processes that are watched, the figures; all peers make the same codes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from actors.checkpoint import DEMO_FOLDER
from pipeline.bench import race
from pipeline.bench.codes import equal_share, read_codes
from pipeline.bench.corpus import Corpus, build, lengths
from pipeline.bench.peers import PEERS
from pipeline.bench.race import bench_pipeline, figures, run_peer
from pipeline.bench.race_table import race_table
from pipeline.bench.sound_files import KINDS, Kind
from pipeline.bench.speech import plan, waves
from pipeline.bench.watch import spend
from pipeline.errors import InputError
from tests.helpers.commands import voxmill
from tests.helpers.rows import codes_of, tone

EVEN_S = 1.6
"""Twenty frames: what upstream pads at a clip's end, and voxmill does not, is outside."""


@pytest.mark.slow
def test_all_peers_make_the_same_codes(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    for number in range(3):  # of one length: lists of 32 change the last frame of shorter clips
        wave = tone(EVEN_S, number)
        soundfile.write(tmp_path / "audio" / f"{number}.wav", wave, 24_000, subtype="PCM_16")
    corpus = Corpus(tmp_path / "audio", {f"{number}.wav": EVEN_S for number in range(3)})
    found = {}
    for peer in PEERS:
        spent, found[peer] = run_peer(peer, corpus, tmp_path, [str(DEMO_FOLDER), "cpu", "fp32", "1"])
        assert spent.error is None
        assert spent.peak_bytes > 200e6
        assert spent.cpu_s > 0.5
    for peer, codes in found.items():
        assert {name: one.shape for name, one in codes.items()} == dict.fromkeys(corpus.seconds, (20, 16)), peer
        assert equal_share(codes, found["clips"]) >= 0.998, peer  # float ties


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("--model", "demo", "--minutes", "0.1", "--rounds", "1", "--threads", "1", "--peer", "clips")
    assert voxmill("bench", "pipeline", *command, "--json", tmp_path / "figures.json") == 0
    result = json.loads((tmp_path / "figures.json").read_text())
    assert race_table(result) in capsys.readouterr().out
    assert result["model"] == "demo"
    assert result["machine"]["threads"] == 1
    one = result["peers"]["clips"]
    assert (one["lost"], one["equal"], one["error"]) == (0, 1.0, None)
    assert one["times_real"] == pytest.approx(result["corpus"]["seconds"] / one["rounds"][0]["wall_s"], rel=0.05)
    assert 0 < one["cores_busy"] < 2
    assert one["startup_s"] > 1


def test_a_corpus_is_seeded_and_holds_what_it_says(tmp_path: Path) -> None:
    corpus, again = (build(tmp_path / name, None, 40, longest_s=5, seed=3) for name in ("one", "two"))
    assert corpus.seconds == again.seconds
    assert corpus.audio_s == pytest.approx(40, abs=1)
    assert max(corpus.seconds.values()) <= 5
    found, same = (dict(waves(plan(str(one.folder)))) for one in (corpus, again))
    assert found.keys() == corpus.seconds.keys()
    for name, seconds in corpus.seconds.items():
        assert len(found[name]) / 24_000 == pytest.approx(seconds, abs=0.1)  # AAC: a block more
        assert np.array_equal(found[name], same[name])
    assert {Path(name).suffix for name in found} == {f".{kind.suffix}" for kind in KINDS}


def test_lengths_are_log_normal() -> None:
    found = lengths(100_000, 1200, np.random.default_rng(0))
    assert sum(found) == pytest.approx(100_000, abs=1)
    assert min(found) >= 1
    assert max(found) > 100
    assert 7.5 < np.median(found) < 8.5
    with pytest.raises(InputError, match="each has at least 1 s"):
        lengths(0.5, 1200, np.random.default_rng(0))


def test_what_a_command_took(tmp_path: Path) -> None:
    child = "import time; x = bytearray(200 << 20); t = time.process_time()\nwhile time.process_time() < t + 0.5: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    spent = spend([sys.executable, "-c", code], os.environ, tmp_path / "log")
    assert spent.error is None
    assert 200 << 20 < spent.peak_bytes < 400 << 20
    assert 0.3 < spent.cpu_s < 1.5
    assert spent.wall_s > 0.5


def test_a_command_that_fails_or_leaves_something_behind(tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid); sys.stdout.flush(); import time; "
    spent = spend([sys.executable, "-c", code + "time.sleep(0.5); sys.exit('no')"], os.environ, tmp_path / "log")
    assert spent.error == "exit code 1: no"
    left = int((tmp_path / "log").read_text().split()[0])
    for _ in range(50):
        if not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError("it still runs")


def test_a_command_that_takes_too_much_memory_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.bench.watch.STOP_AT", 1e-5)
    spent = spend([sys.executable, "-c", "import time; time.sleep(60)"], os.environ, tmp_path / "log")
    assert spent.error is not None
    assert "more than is free" in spent.error
    assert spent.wall_s < 30


def test_codes_of_each_kind_of_output(tmp_path: Path) -> None:
    codes = codes_of(3)
    np.save(tmp_path / "a.wav.npy", codes)
    assert np.array_equal(read_codes("threads", tmp_path)["a.wav"], codes)
    (tmp_path / "codes.jsonl").write_text(json.dumps({"audio": "/x/a.wav", "audio_codes": codes.tolist()}) + "\n")
    assert np.array_equal(read_codes("lists", tmp_path)["a.wav"], codes)
    (tmp_path / "parquet").mkdir()
    assert read_codes("ray", tmp_path / "parquet") == {}
    pq.write_table(pa.table({"path": ["/x/a.wav"], "codes": [codes.tolist()]}), tmp_path / "parquet" / "0.parquet")
    assert np.array_equal(read_codes("ray", tmp_path / "parquet")["a.wav"], codes)


def test_shares_of_equal_codes() -> None:
    codes = codes_of(4)
    other = codes.copy()
    other[0, :8] += 1
    assert equal_share({"a": codes, "b": codes}, {"a": other}) == 56 / 64
    assert equal_share({"a": codes[:3]}, {"a": codes}) == 0.75
    assert equal_share({"a": codes}, {"b": codes}) is None


def outcome(wall_s: float, recordings: int = 2, error: str | None = None) -> dict[str, Any]:
    spent = {"wall_s": wall_s, "cpu_s": 15.0, "peak_bytes": int(wall_s) << 30, "error": error}
    return {**spent, "startup_s": 5.0, "recordings": recordings, "audio_s": 100.0 if recordings else 0.0}


def test_figures_and_their_table(tmp_path: Path) -> None:
    corpus, codes = Corpus(tmp_path, {"a.wav": 50.0, "b.m4a": 51.0}), codes_of(4)
    truth = {"a.wav": codes}
    ours = figures([outcome(10), outcome(15), outcome(20)], corpus, {"a.wav": codes, "b.m4a": codes}, truth)
    assert (ours["times_real"], ours["spread"]) == (pytest.approx(100 / 15), [5.0, 10.0])
    assert (ours["times_real_running"], ours["startup_s"], ours["cores_busy"]) == (10.0, 5.0, 1.0)
    assert (ours["peak_bytes"], ours["lost"], ours["equal"]) == (20 << 30, 0, 1.0)
    clips = figures([outcome(30, recordings=1)], corpus, truth, truth)
    assert (clips["lost"], clips["lost_formats"]) == (1, [".m4a"])
    assert figures([outcome(4)], corpus, truth, truth)["times_real_running"] is None
    dead = figures([outcome(10), outcome(3, 0, "stopped at 3 GiB")], corpus, {}, truth)
    assert "times_real" not in dead
    result = {
        "corpus": {"recordings": 2, "seconds": 101.0},
        "machine": {"threads": 2, "cpu": "this"},
        "speech": "there",
        "model": "demo",
        "precision": "fp32",
        "rounds": 3,
        "date": "2026-01-01",
        "peers": {"lists": dead, "clips": clips, "voxmill": ours},
    }
    text = race_table(json.loads(json.dumps(result)))
    assert (
        "| voxmill | 6.7 (5.0 to 10.0) | 2.00x | 10.0 (6.7 to 20.0) | 5.0 s | 20.0 GiB | 1.00 | 0 | 100.00% |" in text
    )
    assert "| upstream, lists of 32 (its recipe) | - | - | - | - | 10.0 GiB | - | 2 | - |" in text
    assert "upstream, clip by clip: lost 1, .m4a" in text
    assert text.endswith("clip by clip: lost 1, .m4a")


def test_unknown_peers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert voxmill("bench", "pipeline", "--peer", "nobody") == 2
    assert "--peer nobody; it can be lists, clips, threads, ray, voxmill" in capsys.readouterr().err


def test_a_precision_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert voxmill("bench", "pipeline", "--precision", "fp64") == 2
    assert "--precision fp64; it can be fp32, fp16, bf16" in capsys.readouterr().err


@pytest.mark.parametrize("command", [(), ("read",), ("pipeline",)])
def test_figures_that_could_not_be_written_are_refused_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert voxmill("bench", *command, "--json", tmp_path / "nowhere" / "x.json") == 2
    assert "x.json: expected a file in a folder that is there" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "command"), [(("--model", "demo"), "read"), (("--step", "speed"), "pipeline")])
def test_options_before_a_subcommand_are_refused(
    capsys: pytest.CaptureFixture[str], option: tuple[str, str], command: str
) -> None:
    assert voxmill("bench", *option, command) == 2
    assert f"{option[0]} stands before {command!r}" in capsys.readouterr().err


STOPPED = """
import os, sys, tempfile
from pathlib import Path
from actors.terminated import unwinding
from pipeline.bench.watch import spend

with unwinding(), tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
    log, child = Path(sys.argv[1], "log"), "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    spend([sys.executable, "-c", child], os.environ, log)
"""


def test_a_terminated_benchmark_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", STOPPED, str(tmp_path)]) as bench:
        while not (log.exists() and log.read_text().endswith("\n")):
            assert bench.poll() is None
            time.sleep(0.02)
        child = psutil.Process(int(log.read_text()))
        bench.terminate()
        assert bench.wait(20) == 143
    assert not child.is_running()
    assert list(tmp_path.iterdir()) == [log]


def test_each_way_runs_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    def run(peer: str, corpus: Corpus, folder: Path, how: list[str]) -> tuple[Any, Any]:
        seen.append((peer, len(corpus.seconds)))
        spent = spend([sys.executable, "-c", "pass"], os.environ, folder / "log")
        return spent, {name: codes_of(4) for name in corpus.seconds}

    monkeypatch.setattr(race, "run_peer", run)
    kinds = (Kind("wav", 24_000, 1),)
    result = bench_pipeline(None, "demo", minutes=0.2, rounds=2, peers=("clips", "voxmill"), kinds=kinds)
    count = result["corpus"]["recordings"]
    assert seen == [("clips", 1), ("clips", count), ("voxmill", 1), ("voxmill", count)] * 2
    assert result["peers"]["voxmill"]["equal"] == 1.0
    assert len(result["peers"]["voxmill"]["rounds"]) == 2
