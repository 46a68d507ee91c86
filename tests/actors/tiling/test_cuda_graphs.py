"""Which shapes are captured, and what happens where one cannot be; on a GPU, the graphs themselves."""

import pytest
import torch

from actors.tiling.cuda_graphs import MAX_GRAPHS, Graphs, capture, choose_acceleration
from actors.tiling.stack import Stack
from pipeline.errors import DeviceError

CPU = torch.device("cpu")


def double(rows: torch.Tensor, carried: object = None) -> torch.Tensor:
    return rows * 2


def counting(captured: list[torch.Size]) -> Graphs:
    """Graphs whose capture only notes what it was asked for."""

    def note(stack: Stack, example: torch.Tensor) -> Stack:
        captured.append(example.shape)
        return stack

    return Graphs(double, note)


def test_each_shape_is_captured_once_and_their_number_is_bounded() -> None:
    captured: list[torch.Size] = []
    graphs = counting(captured)
    for _ in range(2):
        for size in range(1, MAX_GRAPHS + 3):
            assert torch.equal(graphs(torch.ones(size)), 2 * torch.ones(size))
    assert captured == [torch.Size([size]) for size in range(1, MAX_GRAPHS + 1)]
    graphs.forget()
    graphs(torch.ones(9))
    assert captured[-1] == torch.Size([9])


def test_carrying_is_never_captured() -> None:
    captured: list[torch.Size] = []
    counting(captured)(torch.ones(3), {})
    assert captured == []


@pytest.mark.parametrize("error", [DeviceError, torch.OutOfMemoryError])
def test_a_capture_that_fails_is_not_hidden(error: type[Exception]) -> None:
    def refuse(stack: Stack, example: torch.Tensor) -> Stack:
        raise error("full, or not permitted while capturing")

    with pytest.raises(error):
        Graphs(double, refuse)(torch.ones(3))


@pytest.mark.gpu
def test_what_cannot_be_captured_ends_with_a_sentence() -> None:
    def waits(rows: torch.Tensor, carried: object) -> torch.Tensor:
        return rows * rows.sum().item()

    with pytest.raises(DeviceError, match=r"could not be captured.*Set accelerate"):
        capture(waits, torch.ones(3, device="cuda"))


@pytest.mark.parametrize(("name", "chosen"), [("auto", "none"), ("none", "none")])
def test_acceleration_of_a_cpu(name: str, chosen: str) -> None:
    assert choose_acceleration(name, CPU) == chosen
    with pytest.raises(DeviceError, match="only CUDA"):
        choose_acceleration("graphs", CPU)


@pytest.mark.gpu
def test_a_graph_replays_on_new_input() -> None:
    layer = torch.nn.Conv1d(3, 5, 3).cuda().requires_grad_(False)
    replay = capture(lambda rows, carried: layer(rows), torch.zeros(2, 3, 9, device="cuda"))
    for seed in range(3):
        rows = torch.randn(2, 3, 9, device="cuda", generator=torch.Generator("cuda").manual_seed(seed))
        torch.testing.assert_close(replay(rows, None), layer(rows))


@pytest.mark.gpu
def test_a_second_gpu_of_one_process_replays_its_own_graph() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    for number in range(2):
        with torch.cuda.device(number):
            rows = torch.ones(3, device=f"cuda:{number}")
            replay = capture(double, rows)
            assert replay(rows + number, None).tolist() == [2.0 + 2 * number] * 3
