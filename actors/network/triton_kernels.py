"""ELU and snake as one Triton kernel: one read and one write of each number, sums and functions in fp32."""

import triton
import triton.language as tl
from torch import Tensor

TILE = 4096
"""Numbers of one program."""
WIDEST = 128
"""Channels of one program, at most."""


def activate(
    x: Tensor, bias: Tensor | None, rate: Tensor | None = None, root: Tensor | None = None, *, out: Tensor
) -> Tensor:
    """Of y = x + bias, [B, T, C]: y + (root sin(rate y))^2, or ELU where there is no rate; into `out` [B, T, C], which
    may be x or a part of a longer tensor. `bias`, `rate` and `root` are [C]."""
    batch, steps, channels = x.shape
    columns = min(channels & -channels, WIDEST)  # the largest power of 2 that divides the channels
    rows = TILE // columns
    grid = (triton.cdiv(steps, rows), channels // columns, batch)  # only its first side may be longer than 65,535
    strides = (x.stride(0), x.stride(1), out.stride(0), out.stride(1))
    assert x.stride(2) == out.stride(2) == 1, (x.stride(), out.stride())
    _activate[grid](x, out, bias, rate, root, steps, *strides, columns, rows)
    return out


@triton.jit
def _sine(angle):  # type: ignore[no-untyped-def]
    """sin(angle) but for its sign, with an error below 4e-6: Taylor's series around the nearest multiple of pi.

    pi is subtracted in two parts, the first of few bits (Cody and Waite). Triton's own sine is three times the code.
    """
    halves = tl.floor(angle * 0.3183098861837907 + 0.5)
    r = angle - halves * 3.140625 - halves * 9.67653589793e-4
    square = r * r
    series = 1 / 362880 * square - 1 / 5040
    series = (series * square + 1 / 120) * square - 1 / 6
    return r + r * square * series


@triton.jit
def _activate(  # type: ignore[no-untyped-def]  # Triton reads annotations
    x, out, bias, rate, root, steps, x_batch, x_step, out_batch, out_step, columns: tl.constexpr, rows: tl.constexpr
):
    column = tl.program_id(1) * columns + tl.arange(0, columns)[None, :]
    row = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    batch, inside = tl.program_id(2).to(tl.int64), row < steps  # padded tiles may have more than 2^31 numbers
    y = tl.load(x + batch * x_batch + row * x_step + column, inside, other=0.0).to(tl.float32)
    if bias is not None:
        y += tl.load(bias + column).to(tl.float32)
    if rate is None:
        y = tl.where(y > 0, y, tl.exp(y) - 1.0)
    else:
        wave = _sine(y * tl.load(rate + column).to(tl.float32)) * tl.load(root + column).to(tl.float32)
        y += wave * wave
    tl.store(out + batch * out_batch + row * out_step + column, y.to(out.dtype.element_ty), inside)
