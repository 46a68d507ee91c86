"""A checked checkpoint folder -> upstream's modules with their weights: the reference that the engine is compared with.

The one module that imports qwen_tts and, with it, transformers; the engine itself (`actors.codec`) never does.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.checkpoint import find_model
from actors.compat import placeholders
from actors.errors import ModelError

with placeholders():
    from qwen_tts import Qwen3TTSTokenizer
    from qwen_tts.core import Qwen3TTSTokenizerV2Config as Qwen3TTSTokenizerV2Config
    from qwen_tts.core import Qwen3TTSTokenizerV2Model as Qwen3TTSTokenizerV2Model

if TYPE_CHECKING:
    import torch


def load_upstream(model: str, device: str = "cpu", dtype: "torch.dtype | None" = None) -> Qwen3TTSTokenizer:
    """Upstream's own `Qwen3TTSTokenizer` (attention: sdpa), for comparisons and tests. dtype None: fp32."""
    import torch

    folder = find_model(model)
    options: dict[str, Any] = {"attn_implementation": "sdpa", "use_safetensors": True, "trust_remote_code": False}
    return Qwen3TTSTokenizer.from_pretrained(str(folder), device_map=device, dtype=dtype or torch.float32, **options)


def load_network(folder: Path) -> Qwen3TTSTokenizerV2Model:
    """Upstream's network of a checked folder, fp32 on the CPU, in evaluation mode: what tests compare layers with.

    Raises ModelError where weights are missing or of other shapes: transformers would fill in random ones.
    """
    import torch

    network, found = Qwen3TTSTokenizerV2Model.from_pretrained(
        str(folder),
        dtype=torch.float32,
        attn_implementation="sdpa",
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    wrong = sorted({*found["missing_keys"], *found["mismatched_keys"]})
    if wrong:
        raise ModelError(
            f"{folder / 'model.safetensors'} lacks {len(wrong)} weights of the network in config.json, or has them in "
            f"another shape: {', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}. Fetch the model again."
        )
    network.eval().requires_grad_(False)
    return network
