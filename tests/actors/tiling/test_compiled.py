"""A stack that is compiled, and one that cannot be: said once, and the run goes on."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.codec import Codec
from actors.tiling import compiled as module
from actors.tiling.compiled import compiled
from tests.helpers.signals import noise


def triple(rows: torch.Tensor, carried: object = None) -> torch.Tensor:
    return rows * 3


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """By voxmill: PyTorch logs too."""
    return [record.getMessage() for record in caplog.records if record.name == "voxmill"]


def test_a_stack_is_compiled_at_once_for_one_window_and_says_how_long_it_took(caplog: pytest.LogCaptureFixture) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    caplog.set_level(logging.INFO, "voxmill")
    fast = compiled(triple, torch.ones(2, 3), backend)
    assert len(graphs) == 1
    assert fast is not None
    for window in (3, 2):
        assert torch.equal(fast(torch.full((2, window), 2.0), None), torch.full((2, window), 6.0))
    assert len(graphs) == 1
    assert re.fullmatch(r"compiled in \d+ s; code is kept in /.+", *said(caplog))


def test_without_a_compiler_a_codec_runs_as_without_compile(
    small_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(graph: Any, inputs: Any) -> Any:
        raise FileNotFoundError("No working C++ compiler found")

    torch._dynamo.reset()
    monkeypatch.setattr(module, "INDUCTOR", no_compiler)
    codec = Codec.load(str(small_model), "cpu", accelerate="compile")
    assert codec.options.accelerate == "none"
    warnings = said(caplog)
    assert len(warnings) == 1
    assert warnings[0].endswith("raised: FileNotFoundError: No working C++ compiler found. Going on without.")
    (codes,), (expected,) = (one.encode([noise(9_000)]) for one in (codec, Codec.load(str(small_model), "cpu")))
    assert np.array_equal(codes, expected)
    assert said(caplog) == warnings
