"""Both stacks as torch.compile sees them: one graph each, with the same numbers."""

from pathlib import Path

import pytest
import torch

from tests.helpers.engine import decoder_of, encoder_of


@pytest.mark.slow
@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_stack_is_one_graph_and_computes_the_same(small_model: Path, half: str) -> None:
    made = encoder_of(small_model) if half == "encoder" else decoder_of(small_model)
    compiled = torch.compile(made.convolutions, fullgraph=True, backend="aot_eager", dynamic=False)
    with torch.inference_mode():
        rows = 0.1 * torch.randn(2, 4, made.row)
        assert torch.equal(compiled(rows, None), made.convolutions(rows, None))
