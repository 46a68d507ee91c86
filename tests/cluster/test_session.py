"""Which GPUs a Ray that is started here may see."""

import contextlib
import os

import pytest
import ray

from pipeline.cluster.session import _visible, session
from pipeline.errors import DeviceError
from pipeline.settings import load_settings

NAME = "CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("before", "device", "inside"),
    [
        (None, "auto", None),
        (None, "cuda", None),
        (None, "cuda:1", "1"),
        ("2,3", "cuda", "2,3"),
        ("2,3", "cuda:1", "3"),
        ("GPU-7a, MIG-8b", "cuda:0", "GPU-7a"),
    ],
)
def test_cuda_counts_the_gpus_that_may_be_seen(
    monkeypatch: pytest.MonkeyPatch, before: str | None, device: str, inside: str | None
) -> None:
    monkeypatch.delenv(NAME, raising=False) if before is None else monkeypatch.setenv(NAME, before)
    with contextlib.suppress(KeyError), _visible(device):
        assert os.environ.get(NAME) == inside
        raise KeyError("Ray does not start")
    assert os.environ.get(NAME) == before


@pytest.mark.parametrize("before", ["2,3", "", "-1,"])
def test_a_gpu_that_is_hidden_is_refused(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    monkeypatch.setenv(NAME, before)
    with pytest.raises(DeviceError, match=f"device is 'cuda:2', and {NAME} is '{before}'; count from cuda:0"):
        _visible("cuda:2").__enter__()


def test_a_ray_that_runs_picks_its_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(DeviceError, match=r"'cuda:1' picks a GPU of this machine.*where Ray runs already, use 'cuda'"):
        session(load_settings(None, {"device": "cuda:1"})).__enter__()
