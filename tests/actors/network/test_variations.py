"""Checkpoints of other shapes than the official one: the engine's outputs are upstream's own."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from actors.contract import FRAME_SAMPLES
from actors.qwen import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model, load_network
from actors.random_model import full_size_config
from tests.helpers.engine import decoder_of, encoder_of

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
RATIOS = [[8, 6, 5, 4], [4, 5, 6, 8], [12, 10, 8], [2, 4, 2, 5, 3, 4], [1, 8, 120]]
UPSAMPLING = [([8, 5, 4, 3], [2, 2]), ([3, 4, 5, 8], [2, 2]), ([6, 5, 4], [2, 2, 4]), ([10, 8, 1, 6], [4])]

heads = st.sampled_from([1, 2, 3])
common = {
    "num_hidden_layers": st.integers(1, 3),
    "head_dim": st.sampled_from([None, 4, 6]),
    "intermediate_size": st.sampled_from([8, 24]),
    "rope_theta": st.sampled_from([100, 10_000.0]),
    "sliding_window": st.integers(1, 9),
}
encoders = st.fixed_dictionaries(
    common
    | {
        "num_filters": st.sampled_from([4, 6]),
        "kernel_size": st.integers(1, 8),
        "last_kernel_size": st.integers(1, 4),
        "residual_kernel_size": st.integers(2, 4),
        "num_residual_layers": st.integers(1, 3),
        "dilation_growth_rate": st.integers(1, 3),
        "compress": st.sampled_from([1, 2, 4]),
        "upsampling_ratios": st.sampled_from(RATIOS),
        "hidden_size": st.sampled_from([12, 24]),
        "norm_eps": st.sampled_from([1e-5, 1e-2]),
        "num_quantizers": st.integers(16, 18),
        "num_semantic_quantizers": st.integers(1, 3),
        "codebook_dim": st.sampled_from([8, 12]),  # 12: where it is hidden_size there is no projection
    }
)
decoders = st.fixed_dictionaries(
    common
    | {
        "latent_dim": st.sampled_from([8, 20]),
        "hidden_size": st.sampled_from([12, 24]),
        "codebook_dim": st.sampled_from([6, 16]),
        "decoder_dim": st.sampled_from([16, 50]),
        "rms_norm_eps": st.sampled_from([1e-5, 1e-2]),
    }
)


def complete(encoder: dict[str, Any], decoder: dict[str, Any], heads: int, size: int) -> dict[str, Any]:
    """A whole config: the official one, but for what varies."""
    config = full_size_config()
    config["encoder_config"] |= encoder | {
        "vector_quantization_hidden_dimension": encoder["codebook_dim"],
        "upsample_groups": encoder["hidden_size"],
    }
    config["decoder_config"] |= decoder
    for section in (config["encoder_config"], config["decoder_config"]):
        section |= {"num_attention_heads": heads, "num_key_value_heads": heads, "codebook_size": size}
        section["head_dim"] = section["head_dim"] or section["hidden_size"] // heads
    return config


def save_random(folder: Path, config: dict[str, Any]) -> None:
    """Upstream's modules, every tensor of which has an effect."""
    network = Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**config))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("cluster_usage"):
                tensor.uniform_(0.5, 2)
            elif name.endswith(("embed_sum", "embedding_sum")):
                tensor.normal_()
            elif name.endswith("layer_scale.scale"):
                tensor.fill_(0.5)
            elif tensor.dim() == 1:  # biases, norms, rates: upstream starts them at 0 or 1
                tensor.add_(0.1 * torch.randn_like(tensor))
        last = network.decoder.decoder[-1].conv
        last.weight.mul_(1e-4)  # out of the clamp's reach, then to an audible level
        last.bias.zero_()
        codes = torch.randint(network.config.decoder_config.codebook_size, (1, 16, 12))
        last.weight.mul_(0.3 / network.decoder(codes).abs().max())
        last.bias.fill_(0.01)
    network.save_pretrained(folder)


@given(encoders, decoders, heads, st.sampled_from([8, 32]), st.sampled_from(UPSAMPLING), st.integers(0, 2**31 - 1))
@settings(max_examples=5, deadline=None, derandomize=True, phases=[Phase.generate])
def test_outputs_are_upstreams(
    encoder: dict[str, Any],
    decoder: dict[str, Any],
    heads: int,
    size: int,
    upsampling: tuple[list[int], list[int]],
    seed: int,
) -> None:
    torch.manual_seed(seed)
    decoder = decoder | dict(zip(("upsample_rates", "upsampling_ratios"), upsampling, strict=True))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        save_random(Path(folder), complete(encoder, decoder, heads, size))
        compare_encoders(Path(folder))
        compare_decoders(Path(folder), torch.randint(size, (2, 12, 16)))


def compare_encoders(folder: Path) -> None:
    """fp64, in which a wrong layer cannot hide behind rounding; the codes in fp32, as the engine computes them."""
    upstream, ours = load_network(folder).encoder, encoder_of(folder, torch.float64)
    audio = 0.3 * torch.randn(2, 7, FRAME_SAMPLES, dtype=torch.float64)
    expected = upstream.double().encoder(audio.flatten(1)[:, None])
    features = ours.convolutions(audio)
    torch.testing.assert_close(features.unflatten(2, (2, -1)).flatten(1, 2), expected.transpose(1, 2), **CLOSE)
    steps = upstream.encoder_transformer(expected.transpose(1, 2))[0]
    torch.testing.assert_close(ours.transformer(expected.transpose(1, 2).clone()), steps, **CLOSE)
    codes = upstream.float().quantizer.encode(upstream.downsample(steps.float().transpose(1, 2)), 16)
    same = ours.codes(features) == codes.permute(1, 2, 0)
    assert same.float().mean() >= 0.95  # upstream's distances (`cdist`) are rounded more coarsely


def compare_decoders(folder: Path, codes: torch.Tensor) -> None:
    """Audio fp32, computed in fp64; upstream's mask is the window of the config."""
    upstream, ours = load_network(folder).decoder.double(), decoder_of(folder, torch.float64)
    expected = upstream(codes.transpose(1, 2))[:, 0]
    audio = ours.convolutions(ours.latents(codes)).flatten(1)
    assert expected.std() > 1e-5  # neither silent nor clamped throughout
    assert (expected.abs() < 1).double().mean() > 0.5
    torch.testing.assert_close(audio, expected.float(), **CLOSE)
