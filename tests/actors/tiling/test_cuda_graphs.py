"""What is captured, and what happens where something cannot be; on a GPU, the graphs themselves."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.codec import Codec
from actors.network.pack import BLOCK_FRAMES
from actors.tiling.cuda_graphs import MAX_GRAPHS, Graphs, Replay, capture, choose_acceleration, directly
from actors.tiling.run_tiles import Tiles
from actors.tiling.tiles import whole
from pipeline.errors import DeviceError
from tests.helpers.signals import noise

CPU = torch.device("cpu")


def double(rows: torch.Tensor) -> tuple[torch.Tensor]:
    return (rows * 2,)


def added(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return one + other, one - other


class Simulated:
    """Captures as CUDA does, on a CPU: a replay overwrites all results that graphs have given."""

    def __init__(self) -> None:
        self.graphs = Graphs(self.capture)
        self.pools: list[Any] = []

    @property
    def shapes(self) -> dict[Any, list[torch.Size]]:
        """What is captured: each function, and the shapes of its first input."""
        captured = self.graphs.captured.items()
        return {function: [graph.fixed[0].shape for graph in graphs.values()] for function, graphs in captured}

    def capture(self, call: Callable[[], object], device: torch.device, pool: Any) -> tuple[Replay, Any]:
        self.pools.append(pool)

        def replay() -> None:
            for (of, *_), tensors in self.graphs.shared.items():
                for one in tensors if of == "results" else ():
                    one.fill_(-7)  # whoever keeps a result without a copy sees this
            call()

        replay()  # a warm-up
        return replay, "the first's"


def test_each_shape_is_captured_once_and_their_number_is_bounded() -> None:
    simulated = Simulated()
    for _ in range(2):
        for size in range(1, MAX_GRAPHS + 3):
            (found,) = simulated.graphs(double, size, torch.ones(size))
            assert torch.equal(found, 2 * torch.ones(size))
    assert simulated.shapes == {double: [torch.Size([size]) for size in range(1, MAX_GRAPHS + 1)]}
    simulated.graphs.forget()
    assert simulated.shapes == {}
    simulated.graphs(double, 9, torch.ones(9))
    assert simulated.shapes == {double: [torch.Size([9])]}


@pytest.mark.parametrize("rows", [*range(3, 40, 3), 300])
def test_blocks_are_replayed_some_at_once(rows: int) -> None:
    """Each is computed by itself, as without graphs; a graph holds up to MAX_GRAPHS of them."""
    seen: list[int] = []

    def noted(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(one))
        return added(one, other)

    one, other = torch.arange(2.0 * rows).view(rows, 2), torch.ones(rows, 2)
    simulated = Simulated()
    for run in (directly, simulated.graphs, simulated.graphs):
        total, difference = run(noted, 3, one, other)
        assert torch.equal(total, one + other)
        assert torch.equal(difference, one - other)
        one = one + 1
    assert set(seen) == {3}
    full, rest = divmod(rows, 3 * MAX_GRAPHS)
    expected = [3 * MAX_GRAPHS] * bool(full) + [rest] * bool(rest)
    assert simulated.shapes == {noted: [torch.Size([size, 2]) for size in expected]}


def test_each_function_is_captured_for_itself_in_one_pool() -> None:
    simulated = Simulated()
    one = torch.ones(2)
    for _ in range(2):
        assert simulated.graphs(double, 2, one)[0].tolist() == [2, 2]
        assert simulated.graphs(added, 2, one, one + 3)[0].tolist() == [5, 5]
        assert simulated.graphs(added, 2, one.int(), one.int())[0].tolist() == [2, 2]  # of another type
    assert simulated.pools == [None, "the first's", "the first's"]


def test_graphs_of_one_shape_share_inputs_and_results() -> None:
    """Ten layers take no more memory than one."""
    simulated = Simulated()
    functions = [lambda rows, by=by: (rows * by,) for by in range(10)]
    for by, function in enumerate(functions):
        assert simulated.graphs(function, 2, torch.ones(6))[0].tolist() == [by] * 6
    assert len(simulated.graphs.captured) == 10
    assert [len(tensors) for tensors in simulated.graphs.shared.values()] == [1, 1]
    (given,), (found,) = simulated.graphs.shared.values()
    assert given.data_ptr() != found.data_ptr()


@pytest.mark.parametrize("attention", ["full", "window"])
@pytest.mark.parametrize("block", [16, *(pytest.param(frames, marks=pytest.mark.slow) for frames in (128, 512))])
def test_results_do_not_depend_on_graphs(
    small_model: Path, attention: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks, tiles and both transformers through graphs that overwrite each other's results."""
    waves = [noise(round(s * 24_000), seed) for seed, s in enumerate((0.05, 11.0, 5.5, 0.5, 25.0))]
    monkeypatch.setitem(BLOCK_FRAMES, "cpu", block)
    plain = Codec.load(small_model, "cpu", attention=attention, tile_s=0.96, tile_batch=3)
    codes = plain.encode(waves)
    played = plain.decode(codes)
    graphed = Codec.load(small_model, "cpu", attention=attention, tile_s=0.96, tile_batch=3)
    assert graphed.encoding is not None
    assert graphed.decoding is not None
    halves = [(*half, Simulated()) for half in (graphed.encoding, graphed.decoding)]
    for _, tiled, simulated in halves:
        tiled.graphs = simulated.graphs
    blocks = whole(sum(map(len, codes)) + 1, block)
    sizes = 1 if blocks <= MAX_GRAPHS else 2  # all blocks at once, or MAX_GRAPHS and the rest
    assert (sizes, blocks % MAX_GRAPHS > 0) == (1 if block == 512 else 2, True)
    for _ in range(2):
        assert all(np.array_equal(one, other) for one, other in zip(graphed.encode(waves), codes, strict=True))
        assert all(np.array_equal(one, other) for one, other in zip(graphed.decode(codes), played, strict=True))
        for (half, tiled, simulated), others in zip(halves, (1, 3), strict=True):
            found = {one: len(shapes) for one, shapes in simulated.shapes.items()}
            assert found.pop(Tiles(tiled.stack)) == 2  # windows
            # around each attention; the quantizer; before and after the decoder's layers
            assert len(found) == len(half.transformer.layers) + 1 + others
            assert set(found.values()) == {sizes}
    gc.disable()
    try:
        left = [weakref.ref(tiled) for _, tiled, _ in halves]
        del graphed, halves, half, tiled, simulated
        assert [one() for one in left] == [None, None]  # the device's memory is free as soon as a codec is
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [DeviceError, torch.OutOfMemoryError])
def test_a_capture_that_fails_is_not_hidden(error: type[Exception]) -> None:
    def refuse(call: Callable[[], object], device: torch.device, pool: Any) -> tuple[Replay, Any]:
        raise error("full, or not permitted while capturing")

    with pytest.raises(error):
        Graphs(refuse)(double, 3, torch.ones(3))


@pytest.mark.gpu
def test_what_cannot_be_captured_ends_with_a_sentence() -> None:
    rows = torch.ones(3, device="cuda")
    with pytest.raises(DeviceError, match=r"could not be captured.*Set accelerate"):
        capture(lambda: rows.sum().item(), rows.device, None)


@pytest.mark.parametrize(("name", "chosen"), [("auto", "none"), ("none", "none")])
def test_acceleration_of_a_cpu(name: str, chosen: str) -> None:
    assert choose_acceleration(name, CPU) == chosen
    with pytest.raises(DeviceError, match="only CUDA"):
        choose_acceleration("graphs", CPU)


@pytest.mark.gpu
def test_graphs_replay_on_new_inputs_in_any_order() -> None:
    """In one memory: each result is right until the next call."""
    layer = torch.nn.Conv1d(3, 5, 3).cuda().requires_grad_(False)

    def convolved(rows: torch.Tensor) -> tuple[torch.Tensor]:
        return (layer(rows),)

    graphs = Graphs(capture)
    for seed in range(6):
        generator = torch.Generator("cuda").manual_seed(seed)
        rows = torch.randn(2 * (seed % 3 + 1), 3, 9, device="cuda", generator=generator)
        for function, inputs in [(convolved, (rows,)), (added, (rows, rows)), (double, (rows,))][:: 1 - seed % 2 * 2]:
            for one, other in zip(graphs(function, 2, *inputs), directly(function, 2, *inputs), strict=True):
                torch.testing.assert_close(one, other)
    assert [len(shapes) for shapes in graphs.captured.values()] == [3, 3, 3]
    before = torch.cuda.memory_reserved()
    graphs.forget()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < before
    torch.testing.assert_close(graphs(double, 2, rows)[0], 2 * rows)


@pytest.mark.gpu
def test_a_second_gpu_of_one_process_replays_its_own_graph() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    for number in range(2):
        with torch.cuda.device(number):
            rows = torch.ones(3, device=f"cuda:{number}")
            replay, _ = capture(lambda rows=rows: rows.add_(1), rows.device, None)
            before = rows.tolist()
            replay()
            assert rows.tolist() == [one + 1 for one in before]
