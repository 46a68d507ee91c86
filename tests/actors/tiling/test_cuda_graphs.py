"""What is captured, and what happens where something cannot be; on a GPU, the graphs themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.codec import Codec
from actors.tiling.cuda_graphs import MAX_GRAPHS, Graphs, Replay, capture, choose_acceleration
from pipeline.errors import DeviceError
from tests.helpers.signals import noise

CPU = torch.device("cpu")


def double(rows: torch.Tensor) -> torch.Tensor:
    return rows * 2


class Simulated:
    """Captures as CUDA does, on a CPU: a replay reads fixed inputs, and writes to the one memory of all graphs."""

    def __init__(self) -> None:
        self.captured: list[tuple[Callable[..., Any], list[torch.Size]]] = []
        self.results: list[torch.Tensor] = []  # of the replay before

    def __call__(
        self, function: Callable[..., Any], examples: tuple[torch.Tensor, ...], pool: Any
    ) -> tuple[Replay, Any]:
        self.captured.append((function, [one.shape for one in examples]))

        def replay(*inputs: torch.Tensor) -> Any:
            found = function(*(one.clone() for one in inputs))
            for one in self.results:
                one.fill_(-7)  # whoever keeps a result without a copy sees this
            self.results = list(found) if isinstance(found, tuple) else [found]
            return found

        return replay, "pool"


def test_each_shape_is_captured_once_and_their_number_is_bounded() -> None:
    graphs = Graphs(simulated := Simulated())
    for _ in range(2):
        for size in range(1, MAX_GRAPHS + 3):
            assert torch.equal(graphs(double, torch.ones(size)), 2 * torch.ones(size))
    assert simulated.captured == [(double, [torch.Size([size])]) for size in range(1, MAX_GRAPHS + 1)]
    graphs.forget()
    graphs(double, torch.ones(9))
    assert simulated.captured[-1] == (double, [torch.Size([9])])


def test_each_function_is_captured_for_itself_in_one_pool() -> None:
    pools: list[Any] = []

    def noted(function: Callable[..., Any], examples: tuple[torch.Tensor, ...], pool: Any) -> tuple[Replay, Any]:
        pools.append(pool)
        return function, "the first's"

    graphs = Graphs(noted)
    one = torch.ones(2)
    for _ in range(2):
        assert graphs(double, one).tolist() == [2, 2]
        assert graphs(torch.add, one, one + 3).tolist() == [5, 5]
        assert graphs(torch.add, one.int(), one.int()).tolist() == [2, 2]  # of another type
    assert pools == [None, "the first's", "the first's"]


@pytest.mark.parametrize("attention", ["full", "window"])
def test_results_do_not_depend_on_graphs(small_model: Path, attention: str) -> None:
    """Blocks, tiles and both transformers through graphs that overwrite each other's results."""
    waves = [noise(round(s * 24_000), seed) for seed, s in enumerate((0.05, 11.0, 5.5, 0.5, 25.0))]
    plain = Codec.load(small_model, "cpu", attention=attention, tile_s=0.96, tile_batch=3)
    codes = plain.encode(waves)
    played = plain.decode(codes)
    graphed = Codec.load(small_model, "cpu", attention=attention, tile_s=0.96, tile_batch=3)
    assert graphed.encoding is not None
    assert graphed.decoding is not None
    ways = [half[1] for half in (graphed.encoding, graphed.decoding)]
    simulated = Simulated()
    for tiled in ways:
        tiled.graphs = Graphs(simulated)
    for _ in range(2):
        assert all(np.array_equal(one, other) for one, other in zip(graphed.encode(waves), codes, strict=True))
        assert all(np.array_equal(one, other) for one, other in zip(graphed.decode(codes), played, strict=True))
        layers = len(graphed.encoding[0].transformer.layers) + len(graphed.decoding[0].transformer.layers)
        blocks = (layers + 2) + 1 + 3  # around each attention; the quantizer; before and after the decoder's layers
        tiles = [function for function, _ in simulated.captured if function in [tiled.stack for tiled in ways]]
        assert (len(tiles), len(simulated.captured)) == (4, 4 + blocks)  # two windows of each stack


@pytest.mark.parametrize("error", [DeviceError, torch.OutOfMemoryError])
def test_a_capture_that_fails_is_not_hidden(error: type[Exception]) -> None:
    def refuse(function: Callable[..., Any], examples: tuple[torch.Tensor, ...], pool: Any) -> tuple[Replay, Any]:
        raise error("full, or not permitted while capturing")

    with pytest.raises(error):
        Graphs(refuse)(double, torch.ones(3))


@pytest.mark.gpu
def test_what_cannot_be_captured_ends_with_a_sentence() -> None:
    def waits(rows: torch.Tensor) -> torch.Tensor:
        return rows * rows.sum().item()

    with pytest.raises(DeviceError, match=r"could not be captured.*Set accelerate"):
        capture(waits, (torch.ones(3, device="cuda"),), None)


@pytest.mark.parametrize(("name", "chosen"), [("auto", "none"), ("none", "none")])
def test_acceleration_of_a_cpu(name: str, chosen: str) -> None:
    assert choose_acceleration(name, CPU) == chosen
    with pytest.raises(DeviceError, match="only CUDA"):
        choose_acceleration("graphs", CPU)


@pytest.mark.gpu
def test_graphs_replay_on_new_inputs_in_any_order() -> None:
    """In one memory: each result is right until the next call."""
    layer = torch.nn.Conv1d(3, 5, 3).cuda().requires_grad_(False)
    graphs = Graphs(capture)
    for seed in range(6):
        rows = torch.randn(2, 3, 9, device="cuda", generator=torch.Generator("cuda").manual_seed(seed))
        for function, inputs in [(layer, (rows,)), (torch.addcmul, (rows, rows, rows)), (double, (rows,))][
            :: 1 - seed % 2 * 2
        ]:
            torch.testing.assert_close(graphs(function, *inputs), function(*inputs))
    assert len(graphs.captured) == 3
    before = torch.cuda.memory_reserved()
    graphs.forget()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < before
    torch.testing.assert_close(graphs(layer, rows), layer(rows))


@pytest.mark.gpu
def test_a_second_gpu_of_one_process_replays_its_own_graph() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    for number in range(2):
        with torch.cuda.device(number):
            rows = torch.ones(3, device=f"cuda:{number}")
            replay, _ = capture(double, (rows,), None)
            assert replay(rows + number).tolist() == [2.0 + 2 * number] * 3
