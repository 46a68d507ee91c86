"""A seed -> a small Qwen3TTSTokenizerV2Model that trains well from nothing, and its pieces; a network -> a checkpoint.

Only upstream's modules compute, but for the quantizer, which is `codebooks.quantize`: it can leave codebooks out.
"""

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from actors.checkpoint import FULL_SIZE_FOLDER
from actors.demo.codebooks import quantize
from actors.qwen import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
from actors.random_model import full_size_config

LATENT_STEPS = 4
"""Latents per codec frame where the waveform stack begins (the decoder's `upsampling_ratios`)."""


LOW, HIGH = 80, 32
"""Numbers of a frame that the codebooks quantize: the low band's wave, and the spectrum above it."""


def demo_config() -> dict[str, Any]:
    """The official config with narrow layers: same strides, kernels, windows, more quantizers than are valid."""
    config = full_size_config()
    config["encoder_config"] |= {
        "num_filters": 16,
        "hidden_size": 160,
        "intermediate_size": 256,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "head_dim": 32,
        "num_hidden_layers": 2,
        "num_quantizers": 17,
        "codebook_size": 512,
        "codebook_dim": LOW + HIGH,
        "vector_quantization_hidden_dimension": LOW + HIGH,
        "upsample_groups": 160,
        "layer_scale_initial_scale": 0.1,
    }
    config["decoder_config"] |= {
        "latent_dim": 192,
        "codebook_dim": 2 * (LOW + HIGH),
        "codebook_size": 512,
        "decoder_dim": 192,
        "hidden_size": 192,
        "intermediate_size": 256,
        "head_dim": 32,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "num_hidden_layers": 2,
        "layer_scale_initial_scale": 0.1,
    }
    return config


def build_network(seed: int) -> Qwen3TTSTokenizerV2Model:
    """A fresh network in which signals keep their size: the library's 0.02 for every weight would fade them out."""
    torch.manual_seed(seed)
    network = Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**demo_config()))
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Linear):
            fan_in = module.weight[0].numel()
            if isinstance(module, nn.ConvTranspose1d):
                fan_in = module.in_channels * module.kernel_size[0] // module.stride[0]
            nn.init.normal_(module.weight, std=fan_in**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if name.endswith(".conv2"):
            module.conv.weight.data.mul_(0.2)  # twelve residual units, each adding a little
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.1)
    return network


def branches(network: Any) -> list[tuple[Any, Any, int]]:
    """(encoder's quantizer, decoder's quantizer, codebooks before it) of the semantic and the acoustic branch."""
    encoder, decoder = network.encoder.quantizer, network.decoder.quantizer
    return [
        (encoder.semantic_residual_vector_quantizer, decoder.rvq_first, 0),
        (encoder.acoustic_residual_vector_quantizer, decoder.rvq_rest, 1),
    ]


def latents(network: Any, wave: torch.Tensor) -> torch.Tensor:
    """wave [B, T], whole frames -> what the quantizers see [B, D, F], through upstream's own modules."""
    encoder = network.encoder
    hidden = encoder.encoder(wave[:, None]).transpose(1, 2)
    return encoder.downsample(encoder.encoder_transformer(hidden, use_cache=False)[0].transpose(1, 2))


def dequantized(network: Any, hidden: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """Encoder latents [B, D, F] -> decoder's quantized latents [B, D', F]; used[b] codebooks are heard of clip b."""
    total = torch.zeros((), device=hidden.device)
    for encoder_half, decoder_half, before in branches(network):
        total = total + decoder_half.output_proj(quantize(encoder_half, encoder_half.input_proj(hidden), used - before))
    return total


def decoder_latents(network: Any, hidden: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """Encoder latents [B, D, F] -> the waveform stack's input [B, D', 4 F], through upstream's modules."""
    decoder = network.decoder
    features = decoder.pre_conv(dequantized(network, hidden, used)).transpose(1, 2)
    features = decoder.pre_transformer(inputs_embeds=features, use_cache=False).last_hidden_state.transpose(1, 2)
    for blocks in decoder.upsample:
        for block in blocks:
            features = block(features)
    return features


def waveform(stack: nn.ModuleList, features: torch.Tensor) -> torch.Tensor:
    """[B, D', 4 F] -> wave [B, T], not yet clamped."""
    for block in stack:
        features = block(features)
    return features[:, 0]


def export(network: Any, folder: Path) -> Path:
    """Write a checkpoint folder, all in half precision; codebooks are one and the same in both halves."""
    network = copy.deepcopy(network).cpu()
    for encoder_half, decoder_half, _ in branches(network):
        for ours, theirs in zip(encoder_half.layers, decoder_half.vq.layers, strict=False):  # the encoder has more
            theirs._codebook.embedding_sum.data.copy_(ours.codebook.embed_sum)
            theirs._codebook.cluster_usage.data.copy_(ours.codebook.cluster_usage)
    for _, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data = tensor.data.half()
    network.save_pretrained(folder, safe_serialization=True)
    shutil.copyfile(FULL_SIZE_FOLDER / "preprocessor_config.json", folder / "preprocessor_config.json")
    return folder
