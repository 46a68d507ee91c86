"""Speech and a model -> how fast five ways make codes of the same files: in turns, each in a process of its own.

The time of a way is that of its whole process. Its start-up is the time that the same command takes for one recording
of a second, measured in each round too.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from actors.bench.run import machine
from actors.bench.variants import model_folder
from actors.contract import FRAME_RATE
from actors.device import PRECISIONS, choose_device
from pipeline.bench.codes import Codes, equal_share, read_codes
from pipeline.bench.corpus import LONGEST_S, Corpus, build
from pipeline.bench.peers import PEERS
from pipeline.bench.sound_files import KINDS, Kind
from pipeline.bench.watch import Spent, spend
from pipeline.errors import InputError

TRUTH = "clips"
"""The peer whose codes are those that others' are compared with: upstream on each recording alone."""


def bench_pipeline(
    location: str | None = None,
    model: str = "full-size",
    *,
    minutes: float = 5.0,
    rounds: int = 3,
    longest_s: float = LONGEST_S,
    device: str = "cpu",
    precision: str = "fp32",
    threads: int | None = None,
    peers: Sequence[str] = tuple(PEERS),
    kinds: tuple[Kind, ...] = KINDS,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The figures of each of `peers` over a corpus of `minutes`, made from the speech at `location` (None: bundled).

    `model`: "full-size" (seeded random weights), "demo", a folder or a hub id. `threads`: of PyTorch, and cores that a
    peer may use; by default all. `tell` gets a line after each process. Raises InputError, ModelError, DeviceError.
    """
    if unknown := [peer for peer in peers if peer not in PEERS]:
        raise InputError(f"--peer {unknown[0]}; it can be {', '.join(PEERS)}.")
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision}; it can be {', '.join(PRECISIONS)}.")
    cores = threads or os.cpu_count() or 1
    place = choose_device(device)
    with tempfile.TemporaryDirectory(prefix="vx") as name, model_folder(model) as weights:
        folder = Path(name)
        corpus = build(folder / "audio", location, minutes * 60, longest_s=longest_s, kinds=kinds)
        first = build(folder / "first", location, 1.0, kinds=(Kind("wav", 24_000, 1),))
        how = [str(weights), str(place), precision, str(cores)]
        found: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
        codes: dict[str, Codes] = {}
        for number in range(rounds):
            for peer in peers:
                startup, _ = run_peer(peer, first, folder, how)
                spent, made = run_peer(peer, corpus, folder, how)
                codes.setdefault(peer, made)
                error = startup.error or spent.error
                found[peer].append({**asdict(spent), "error": error, "startup_s": startup.wall_s, **held(made)})
                tell(f"round {number + 1} of {rounds}, {peer}: {error or f'{spent.wall_s:.1f} s'}")
    return {
        "model": "full-size (seeded random weights)" if model == "full-size" else model,
        "date": date.today().isoformat(),
        "machine": machine(place) | {"threads": cores},
        "precision": precision,
        "speech": location or "bundled clips",
        "corpus": {"recordings": len(corpus.seconds), "seconds": corpus.audio_s, "longest_s": longest_s},
        "rounds": rounds,
        "peers": {peer: figures(found[peer], corpus, codes[peer], codes.get(TRUTH)) for peer in peers},
    }


def run_peer(peer: str, corpus: Corpus, folder: Path, how: Sequence[str]) -> tuple[Spent, Codes]:
    """What one process took, and the codes that it wrote; none where it did not come to its end."""
    threads = how[-1]
    env = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "pipeline.bench.peers", peer, str(corpus.folder), out, *how]
        spent = spend(command, env, folder / f"{peer}.log")
        return spent, {} if spent.error else read_codes(peer, Path(out))


def held(codes: Codes) -> dict[str, Any]:
    """Recordings that have codes, and seconds of audio in them."""
    return {"recordings": len(codes), "audio_s": sum(map(len, codes.values())) / FRAME_RATE}


def figures(rounds: list[dict[str, Any]], corpus: Corpus, codes: Codes, truth: Codes | None) -> dict[str, Any]:
    """Medians over the rounds of one peer; speeds are of the audio that came through. No speeds where it died once."""
    found: dict[str, Any] = {
        "peak_bytes": max(one["peak_bytes"] for one in rounds),
        "lost": len(corpus.seconds) - min(one["recordings"] for one in rounds),
        "lost_formats": sorted({Path(name).suffix for name in corpus.seconds.keys() - codes.keys()}),
        "equal": None if truth is None else equal_share(codes, truth),
        "error": next((one["error"] for one in rounds if one["error"]), None),
        "rounds": rounds,
    }
    if found["error"]:
        return found
    whole = [one["audio_s"] / one["wall_s"] for one in rounds]
    left = [(one["audio_s"], one["wall_s"] - one["startup_s"]) for one in rounds]
    running = [audio_s / seconds for audio_s, seconds in left if seconds > 0]
    return found | {
        "times_real": statistics.median(whole),
        "spread": [min(whole), max(whole)],
        "times_real_running": statistics.median(running) if running else None,  # None: too little audio
        "spread_running": [min(running), max(running)] if running else None,
        "startup_s": statistics.median(one["startup_s"] for one in rounds),
        "cores_busy": statistics.median(one["cpu_s"] / one["wall_s"] for one in rounds),
    }
