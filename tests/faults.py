"""Faults injected into real runs -> a table of lost and duplicated recordings, and the time to recover.

python -m tests.faults [NAME ...] [--times N] [--json FILE] [--model DIR]

After every time the run is compared with one that nothing disturbed: every input is in codes or in failures, once,
codes are equal, no file is torn or left behind. Seconds to recover: from the fault, or from the start of the next
command where the fault ended the driver, until the first part is committed that could only be made after it.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.helpers.faults.blind import node_that_cannot_read, node_without_the_mount
from tests.helpers.faults.corpus import Corpus, Trial, make_corpus, undisturbed
from tests.helpers.faults.disk import disk_full
from tests.helpers.faults.drivers import clock_jumps, driver_killed
from tests.helpers.faults.inputs import content_changed, corpora_swapped, output_inside_input
from tests.helpers.faults.isolation import (
    hang_of_a_reader,
    hang_of_an_actor,
    poison_for_readers,
    sticky_device_error,
)
from tests.helpers.faults.locks import two_takeovers_at_once
from tests.helpers.faults.nodes import gpu_node_lost, node_added, node_drained, node_killed
from tests.helpers.faults.processes import ray_folder
from tests.helpers.faults.puts import put_interrupted
from tests.helpers.faults.random_runs import random_faults
from tests.helpers.faults.readers import reader_killed_files_come_back, reader_killed_files_go
from tests.helpers.faults.workers import actor_killed, bad_files, dead_server, out_of_memory, poison

Fault = Callable[[Corpus, Path, int, np.random.Generator], list[Trial]]
FAULTS: dict[Fault, int] = {
    driver_killed: 10,
    actor_killed: 10,
    reader_killed_files_come_back: 10,
    reader_killed_files_go: 10,
    poison: 5,
    poison_for_readers: 5,
    hang_of_a_reader: 5,
    hang_of_an_actor: 5,
    sticky_device_error: 5,
    out_of_memory: 5,
    dead_server: 5,
    disk_full: 6,
    node_killed: 5,
    gpu_node_lost: 3,
    node_without_the_mount: 3,
    node_that_cannot_read: 3,
    node_added: 5,
    node_drained: 5,
    bad_files: 5,
    clock_jumps: 5,
    content_changed: 5,
    corpora_swapped: 5,
    output_inside_input: 5,
    random_faults: 200,
    two_takeovers_at_once: 100,
    put_interrupted: 100,
}
"""How often each is tried."""


def main() -> int:
    """Exit code 1 where anything was lost, doubled, torn or left behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [fault.__name__ for fault in FAULTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--times", type=int, help="how often to try each")
    parser.add_argument("--json", type=Path, help="where to keep what was measured; faults of earlier calls stay in it")
    parser.add_argument("--model", type=Path, help="a checkpoint; a small random one by default")
    parser.add_argument("--recordings", type=int, default=80, help="in the corpus, about")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    unknown = set(given.names) - set(names)
    if unknown:
        parser.error(f"no fault is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    os.environ["RAY_AUTH_MODE"] = "disabled"  # a local Ray would write a token under the home directory
    os.environ["HF_HUB_OFFLINE"] = "1"
    results = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    with tempfile.TemporaryDirectory(prefix="voxmill-faults") as folder, ray_folder():
        place = Path(folder)
        corpus = undisturbed(
            make_corpus(place / "corpus", given.recordings), place / "run", given.model or small(place)
        )
        for fault, times in FAULTS.items():
            if not given.names or fault.__name__ in given.names:
                trials = tried(fault, corpus, place, given.times or times, given.seed)
                results[fault.__name__] = [dataclasses.asdict(trial) for trial in trials]
                if given.json:
                    given.json.write_text(json.dumps(results, indent=1))
    print(table(results))
    return int(any(Trial(**trial).bad for trials in results.values() for trial in trials))


def tried(fault: Fault, corpus: Corpus, place: Path, times: int, seed: int) -> list[Trial]:
    """Run `fault`, and print its result to stderr."""
    (place / fault.__name__).mkdir()
    trials = fault(corpus, place / fault.__name__, times, np.random.default_rng(seed))
    for trial in trials:
        print(f"{fault.__name__}: {trial}", file=sys.stderr, flush=True)
    return trials


def survive(fault: Fault, corpus: Corpus, place: Path, times: int = 1) -> None:
    """Inject the fault, in a test; nothing is lost, duplicated, torn or left behind."""
    trials = fault(corpus, place, times, np.random.default_rng(0))
    assert len(trials) == times
    assert [trial for trial in trials if trial.bad] == []


def small(place: Path) -> Path:
    """A seeded random checkpoint of about 1 M parameters."""
    from actors.random_model import save_random_checkpoint, small_config

    return save_random_checkpoint(place / "model", small_config())


def table(results: dict[str, list[dict]]) -> str:
    """Markdown, a row a fault."""
    lines = [
        "| fault | times | recordings lost | duplicates | other problems | seconds to recover (median, worst) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, trials in results.items():
        times_s = [trial["recover_s"] for trial in trials if trial["recover_s"] is not None]
        recover = f"{statistics.median(times_s):.1f}, {max(times_s):.1f}" if times_s else "-"
        sums = [sum(trial[key] for trial in trials) for key in ("lost", "duplicates")]
        problems = sum(len(trial["problems"]) for trial in trials)
        lines.append(f"| {name.replace('_', ' ')} | {len(trials)} | {sums[0]} | {sums[1]} | {problems} | {recover} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
