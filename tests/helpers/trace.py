"""A call -> the kernels whose algorithm a library chooses by shape, each with its shapes."""

from collections.abc import Callable

from actors.bench.trace import traced

BY_SHAPE = (
    *("conv", "mkldnn_conv", "linear", "_linear_pointwise", "mm", "addmm", "matmul", "bmm"),
    "scaled_dot_product_attention",
)


def kernels_of(call: Callable[[], object]) -> set[str]:
    """Products, convolutions and attention of one call with their shapes: libraries choose their algorithm by shape."""
    return {f"{one.name} {one.shapes}" for one in traced(call) if one.name.startswith(BY_SHAPE)}
