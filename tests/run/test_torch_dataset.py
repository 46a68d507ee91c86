"""`Run.torch_dataset`: each recording once over workers and ranks, shuffled by seed and epoch."""

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow.fs import LocalFileSystem
from torch.utils.data import DataLoader

from pipeline import open_run
from pipeline.errors import InputError
from pipeline.run.run_json import save
from pipeline.run.token_layouts import interleave, undelay
from tests.helpers.exported import TEXTS, expected_codes, make_many, make_run
from tests.helpers.rooms import ROOT
from tests.helpers.rows import run_record
from tests.helpers.store import Store


def ids(dataset: Any, workers: int = 0, **options: Any) -> list[str]:
    return [item["id"] for item in DataLoader(dataset, batch_size=None, num_workers=workers, **options)]


def test_items(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path))
    expected = expected_codes()
    assert [item["text"] for item in run.torch_dataset(columns="text")] == [*map(TEXTS.get, ids(run.torch_dataset()))]
    for item in run.torch_dataset(columns=["text"]):
        assert item["codes"].dtype == torch.int64
        assert np.array_equal(item["codes"].numpy(), expected[item["id"]])
        assert item["text"] == TEXTS[item["id"]]
    for item in run.torch_dataset(layout="interleaved"):
        assert np.array_equal(item["codes"].numpy(), interleave(expected[item["id"]]))
    for item in run.torch_dataset(layout="delayed"):
        assert np.array_equal(undelay(item["codes"].numpy()), expected[item["id"]])
    assert len(run.torch_dataset()) == len(expected)


@pytest.mark.parametrize(
    ("parts", "workers", "world", "shuffle"),
    [(1, 0, 3, False), (1, 2, 2, True), (3, 2, 2, False), (3, 0, 2, True), (8, 2, 1, True), (8, 0, 3, True)],
)
def test_each_recording_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int, workers: int, world: int, shuffle: bool
) -> None:
    everything = make_many(tmp_path, 24, 24 // parts)
    dataset = open_run(tmp_path).torch_dataset(shuffle=shuffle, buffer=4)
    shares = []
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        shares.append(ids(dataset, workers))
    assert sorted(id_ for share in shares for id_ in share) == everything
    assert all(shares)


def test_long_recordings_once(tmp_path: Path) -> None:
    assert sorted(ids(open_run(make_run(tmp_path)).torch_dataset(), workers=2)) == sorted(TEXTS)


def test_order_depends_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    everything = make_many(tmp_path, 40, 10)
    run = open_run(tmp_path)
    dataset = run.torch_dataset(shuffle=True, seed=1, buffer=5)
    first = ids(dataset)
    assert sorted(first) == everything
    assert first not in (everything, ids(run.torch_dataset()))
    assert ids(run.torch_dataset(shuffle=True, seed=1, buffer=5)) == first
    assert ids(run.torch_dataset(shuffle=True, seed=2, buffer=5)) != first
    dataset.set_epoch(1)
    assert sorted(ids(dataset)) == everything
    assert ids(dataset) != first
    parts_alone = run.torch_dataset(shuffle=True, buffer=1)
    orders = set()
    for epoch in range(5):
        parts_alone.set_epoch(epoch)
        orders.add(tuple(ids(parts_alone)[::10]))
    assert len(orders) > 1


def test_workers_that_live_on_hear_of_the_epoch(tmp_path: Path) -> None:
    make_many(tmp_path, 30, 10)
    dataset = open_run(tmp_path).torch_dataset(shuffle=True, buffer=8)
    loader = DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        orders.append([item["id"] for item in loader])
    assert orders[0] == orders[2] != orders[1]


def test_a_worker_that_is_started_afresh_is_told_its_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = make_many(tmp_path, 12, 3)
    dataset = open_run(tmp_path).torch_dataset()
    sent = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        sent.append(pickle.dumps(dataset))
    monkeypatch.delenv("RANK")  # Lightning sets WORLD_SIZE alone, and its ranks have a process group
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.run.torch_dataset.get_worker_info", lambda: SimpleNamespace(id=0, num_workers=1))
        shares = [ids(pickle.loads(content)) for content in sent]
    assert sorted(shares[0] + shares[1]) == everything
    with pytest.raises(InputError, match=r"WORLD_SIZE is 2 and there is no RANK: set it, or call torch_dataset\(rank="):
        ids(pickle.loads(sent[0]))
    monkeypatch.delenv("WORLD_SIZE")
    assert sorted(ids(pickle.loads(sent[0]))) == everything  # without a rank: all of it


def test_a_rank_that_is_given_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainer and Accelerate deal out what each process reads: there it must be all."""
    everything = make_many(tmp_path, 12, 3)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    run = open_run(tmp_path)
    assert sorted(ids(run.torch_dataset(rank=0, world=1), workers=2)) == everything
    thirds = [ids(run.torch_dataset(rank=rank, world=3)) for rank in range(3)]
    assert sorted(id_ for third in thirds for id_ in third) == everything
    for given in ({"rank": 1}, {"world": 2}):
        with pytest.raises(InputError, match="give both, or none"):
            run.torch_dataset(**given)
    for rank, world in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(InputError, match=f"rank is {rank} of {world}"):
            run.torch_dataset(rank=rank, world=world)


@pytest.mark.parametrize(("parts", "world", "workers"), [(12, 2, 4), (10, 4, 3), (7, 2, 2), (6, 4, 1), (3, 5, 2)])
def test_ranks_get_as_many_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int, world: int, workers: int
) -> None:
    make_many(tmp_path, 2 * parts, 2)
    dataset, found, lengths = open_run(tmp_path).torch_dataset(), [], []
    for rank in range(world):
        dataset.place, found = (rank, world), [*found, 0]
        lengths.append(len(dataset))
        for worker in range(workers):
            info = SimpleNamespace(id=worker, num_workers=workers)
            monkeypatch.setattr("pipeline.run.torch_dataset.get_worker_info", lambda info=info: info)
            found[-1] += len(list(dataset))
    assert sum(found) == 2 * parts
    assert max(found) - min(found) <= 1
    assert lengths == found


OF_A_GROUP = """
import sys, torch.distributed as dist
from pipeline import open_run
rank, folder, run = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
print("\\n".join(item["id"] for item in open_run(run).torch_dataset()))
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_ranks_of_a_process_group(tmp_path: Path) -> None:
    everything = make_many(tmp_path / "run", 9, 3)
    command = [sys.executable, "-c", OF_A_GROUP]
    started = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path), str(tmp_path / "run")], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for rank in range(2)
    ]
    shares = [process.communicate(timeout=120)[0].split() for process in started]
    assert sorted(shares[0] + shares[1]) == everything
    assert all(shares)


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="buffer is 0"):
        open_run(make_run(tmp_path / "other")).torch_dataset(shuffle=True, buffer=0)
    run = open_run(make_run(tmp_path))
    with pytest.raises(InputError, match="no column 'words'"):
        run.torch_dataset(columns=["words"])
    with pytest.raises(InputError, match="layout 'flat'"):
        run.torch_dataset(layout="flat")  # type: ignore[arg-type]
    save(LocalFileSystem(), str(tmp_path / "new"), run_record(state="running"))
    with pytest.raises(InputError, match="has no parts, so it has no column 'text' yet"):
        open_run(tmp_path / "new").torch_dataset(columns="text")


@pytest.mark.parametrize("shuffle", [False, True])
def test_parts_of_a_store_are_opened_ahead_and_come_in_order(tmp_path: Path, shuffle: bool) -> None:
    make_many(tmp_path, 24, 4)
    dataset = open_run(tmp_path).torch_dataset(shuffle=shuffle, buffer=4)
    expected, store = ids(dataset), Store(tmp_path)
    parts = [path.removeprefix(f"{tmp_path}/") for path in dataset.whole.parts]
    dataset.whole = dataclasses.replace(dataset.whole, fs=store, parts=parts)
    assert ids(dataset) == expected
    assert store.count["open_input_file"] == 6
    assert store.most["open_input_file"] > 1
