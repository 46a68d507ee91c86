"""Query, key, value steps -> causal attention, over everything (`full`) or over a window, in bounded memory.

A transformer runs over a sequence in segments of SEGMENT steps. A segment attends to itself and to `past`, the keys and
values of earlier steps. `window` keeps only the last window - 1 of them: linear time, bounded memory at any length.

The window is that of transformers' `sliding_window_overlay` (key > query - window) and of its flash-attention path
(window_size = window - 1 to the left): step i attends to steps j with 0 <= i - j < window.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SEGMENT = 512
"""Steps that run at once: large enough for fast matrix products, small enough that a band of 250 wastes little."""


@dataclass(frozen=True)
class Past:
    """Keys and values [B, heads, P, D] of the steps just before; P is at most window - 1."""

    key: Tensor
    value: Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, window: int | None, past: Past | None) -> tuple[Tensor, Past]:
    """query, key, value [B, heads, S, D] of one segment -> attended [B, heads, S, D], and the past of the next one."""
    if past is not None:
        key = torch.cat((past.key, key), 2)
        value = torch.cat((past.value, value), 2)
    steps, seen = query.shape[2], key.shape[2]
    if past is None and (window is None or steps <= window):
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    else:
        mask = band(steps, seen, window, query.device)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    first = 0 if window is None else max(0, seen - (window - 1))
    return attended, Past(key[:, :, first:], value[:, :, first:])


def band(steps: int, seen: int, window: int | None, device: torch.device) -> Tensor:
    """bool [steps, seen]: which of `seen` steps each of the last `steps` of them attends to."""
    distance = torch.arange(seen - steps, seen, device=device)[:, None] - torch.arange(seen, device=device)
    mask = distance >= 0
    return mask if window is None else mask & (distance < window)


def rotary(positions: Tensor, inverse_frequency: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """For `rotate`: cosine and signed sine [S, D], cast to `dtype`, of positions [S]: integers, for angles in fp32 as
    upstream's, or fp64."""
    angles = positions[:, None] * inverse_frequency
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat((cosine, cosine), 1).to(dtype), torch.cat((-sine, sine), 1).to(dtype)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate x [..., D] in place by angles of its steps, of shapes that x can be multiplied with."""
    swapped = x.roll(x.shape[-1] // 2, -1)
    return x.mul_(cosine).add_(swapped.mul_(sine))
