"""A folder of audio -> codes in a folder, by one of several ways; each is what an engineer would write first.

    python -m pipeline.bench.peers NAME AUDIO OUT MODEL DEVICE PRECISION THREADS

`pipeline.bench.codes` reads the codes. What upstream's loader cannot read is left out, with its reason on stderr.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from actors.contract import SAMPLE_RATE

LIST = 32
"""`BATCH_INFER_NUM` of upstream's data preparation for fine-tuning."""
RAY_BATCH = 8


@dataclass(frozen=True)
class Task:
    """What a peer is to do. `model` is a folder, `precision` fp32, fp16 or bf16."""

    audio: Path
    out: Path
    model: str
    device: str
    precision: str
    threads: int

    @property
    def files(self) -> list[Path]:
        """The recordings, by name."""
        return sorted(self.audio.iterdir())


def lists(task: Task) -> None:
    """Upstream's recipe: lists of 32 recordings, JSON lines."""
    tokenizer = load(task, task.threads)
    with (task.out / "codes.jsonl").open("w") as file:
        for start in range(0, len(task.files), LIST):
            for path, codes in encode(tokenizer, task.files[start : start + LIST]):
                file.write(json.dumps({"audio": path, "audio_codes": codes.tolist()}) + "\n")


def clips(task: Task) -> None:
    """Upstream clip by clip, a .npy each."""
    tokenizer = load(task, task.threads)
    for file in task.files:
        save(tokenizer, task.out, file)


def threads(task: Task) -> None:
    """The same in a pool of threads."""
    tokenizer = load(task, 1)
    with ThreadPoolExecutor(task.threads) as pool:
        list(pool.map(partial(save, tokenizer, task.out), task.files))


def ray_data(task: Task) -> None:
    """Ray Data as its documentation has it: paths, batches of 8 for an actor with the model, Parquet."""
    import pyarrow as pa
    import ray

    class Encode:
        def __init__(self) -> None:
            self.tokenizer = load(task, task.threads)

        def __call__(self, batch: pa.Table) -> pa.Table:
            coded = encode(self.tokenizer, map(Path, batch["path"].to_pylist()))
            rows = [{"path": path, "codes": codes.tolist()} for path, codes in coded]
            return pa.Table.from_pylist(rows, pa.schema({"path": pa.string(), "codes": pa.list_(pa.list_(pa.int16()))}))

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    paths = ray.data.from_items([{"path": str(file)} for file in task.files])
    coded = paths.map_batches(
        Encode,
        batch_size=RAY_BATCH,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=1),
        num_gpus=1 if task.device.startswith("cuda") else None,
    )
    coded.write_parquet(str(task.out))


def voxmill(task: Task) -> None:
    """This project: `voxmill tokenize`."""
    from pipeline.flow import tokenize

    tokenize(
        str(task.audio),
        str(task.out),
        model=task.model,
        device=task.device,
        precision=task.precision,
        reconstruct=False,
        quiet=True,
        settings={"encode.threads": task.threads},
    )


def load(task: Task, cores: int) -> Any:
    """Upstream's Qwen3TTSTokenizer; PyTorch on `cores` threads."""
    import torch

    from actors.device import PRECISIONS
    from actors.qwen import load_upstream

    torch.set_num_threads(cores)
    return load_upstream(task.model, task.device, PRECISIONS[task.precision])


def encode(tokenizer: Any, files: Iterable[Path]) -> list[tuple[str, np.ndarray]]:
    """Path and codes [F, 16] of the files that upstream's loader reads, from one call of its `encode`."""
    waves = {}
    for file in files:
        try:
            waves[str(file)] = tokenizer.load_audio(str(file), target_sr=SAMPLE_RATE)
        except Exception as error:  # libraries for several formats, each with its own; one file must not end the rest
            print(f"{file.name} is left out: {type(error).__name__}: {error}", file=sys.stderr)
    codes = tokenizer.encode(list(waves.values()), sr=SAMPLE_RATE).audio_codes if waves else []
    return [(path, one.cpu().numpy()) for path, one in zip(waves, codes, strict=True)]


def save(tokenizer: Any, out: Path, file: Path) -> None:
    """Encode one file alone."""
    for _, codes in encode(tokenizer, [file]):
        np.save(out / f"{file.name}.npy", codes.astype(np.int16))


PEERS: dict[str, Callable[[Task], None]] = {
    "lists": lists,
    "clips": clips,
    "threads": threads,
    "ray": ray_data,
    "voxmill": voxmill,
}

if __name__ == "__main__":
    name, audio, out, model, device, precision, cores = sys.argv[1:]
    if hasattr(os, "sched_setaffinity"):  # Linux: other threads than PyTorch's, and other processes, get no more cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    PEERS[name](Task(Path(audio), Path(out), model, device, precision, int(cores)))
