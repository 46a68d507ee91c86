"""Functions of rows: a product is that of plain PyTorch, whatever its layout, and each row's is its own."""

import pytest
import torch
from torch.nn import functional as F

from actors.network.rows import product


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(12, 12), (64, 33), (512, 2048)])
def test_a_product_is_the_linear_function(inputs: int, outputs: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(outputs, inputs), torch.randn(outputs), torch.randn(3, 37, inputs)
    weight, bias, x = weight.to(dtype), bias.to(dtype), x.to(dtype)
    for added in (None, bias):
        found = product(weight.T.contiguous().T, added)(x)
        assert found.shape == (3, 37, outputs)
        torch.testing.assert_close(
            found, F.linear(x, weight, added), rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-3
        )


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch has no oneDNN here")
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 96), (2048, 512)])
def test_rows_do_not_depend_on_their_company(inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    of, x = product(torch.randn(outputs, inputs), torch.randn(outputs)), torch.randn(100, inputs)
    together = of(x)
    assert all(torch.equal(of(x[:rows]), together[:rows]) for rows in (1, 2, 3, 7, 15, 16, 17, 33, 99))
