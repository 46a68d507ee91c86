"""A seed -> a random checkpoint of upstream's classes: real sizes and speed, meaningless codes."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from actors.checkpoint import FULL_SIZE_FOLDER
from actors.contract import SAMPLE_RATE
from actors.qwen import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model


def full_size_config() -> dict[str, Any]:
    """The official checkpoint's config.json: 39.4 M parameters encode, 114.3 M decode."""
    return json.loads((FULL_SIZE_FOLDER / "config.json").read_text())


def small_config() -> dict[str, Any]:
    """The official config with narrow layers (about 1 M parameters): same strides, kernels and windows."""
    config = full_size_config()
    config["encoder_config"] |= {
        "num_filters": 8,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 16,
        "num_hidden_layers": 2,
        "codebook_size": 256,
        "codebook_dim": 32,
        "vector_quantization_hidden_dimension": 32,
        "upsample_groups": 64,
    }
    config["decoder_config"] |= {
        "latent_dim": 64,
        "codebook_dim": 64,
        "codebook_size": 256,
        "decoder_dim": 96,
        "hidden_size": 64,
        "intermediate_size": 128,
        "head_dim": 16,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "num_hidden_layers": 2,
    }
    return config


def save_random_checkpoint(folder: Path, config: dict[str, Any], seed: int = 0, layer_scale: float = 0.3) -> Path:
    """Write seeded random weights of `config` to `folder`, loadable like any checkpoint; returns `folder`.

    `layer_scale` replaces the initial 0.01 of every transformer layer, with which attention would hardly affect the
    codes. Codebook entries are drawn with the mean and covariance of their inputs, so that many codes are used.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**config)).eval()
        for name, parameter in network.named_parameters():
            if name.endswith("layer_scale.scale"):
                parameter.fill_(layer_scale)
            elif name.endswith(("conv.bias", ".gamma")):
                parameter.normal_(0.0, 0.1)  # with the initial 0 and 1e-6 these would have no effect to test
        _spread_codebooks(network, _features(network))
        _level_output(network)
    network.save_pretrained(folder, safe_serialization=True)
    shutil.copyfile(FULL_SIZE_FOLDER / "preprocessor_config.json", folder / "preprocessor_config.json")
    return folder


def _features(network: Qwen3TTSTokenizerV2Model, seconds: int = 60) -> torch.Tensor:
    """Latents [N, D] of noise whose level and colour change several times a second, like those of speech."""
    encoder = network.encoder
    steps = torch.rand(2, 1, seconds * 5)
    level, colour = torch.nn.functional.interpolate(steps, scale_factor=SAMPLE_RATE / 5, mode="linear").flatten(1)
    noise = torch.randn(level.shape)
    wave = (0.3 * level * torch.lerp(noise, noise.roll(1), colour)).reshape(seconds // 10, 1, -1)
    latents = [
        encoder.downsample(encoder.encoder_transformer(encoder.encoder(piece[None]).transpose(1, 2))[0].transpose(1, 2))
        for piece in wave
    ]
    return torch.cat([latent[0].T for latent in latents])


def _spread_codebooks(network: Qwen3TTSTokenizerV2Model, latents: torch.Tensor) -> None:
    """Fill the codebooks of encoder and decoder with the same entries, each drawn from the residuals of `latents`
    [N, D] that it quantizes."""
    encoder, decoder = network.encoder.quantizer, network.decoder.quantizer
    halves = [
        (encoder.semantic_residual_vector_quantizer, decoder.rvq_first.vq.layers),
        (encoder.acoustic_residual_vector_quantizer, decoder.rvq_rest.vq.layers),
    ]
    for quantizer, decoder_layers in halves:
        residual = quantizer.input_proj(latents.T[None])[0].T
        for index, layer in enumerate(quantizer.layers):
            mean = residual.mean(0)
            weights = torch.randn(layer.codebook.codebook_size, len(residual)) / len(residual) ** 0.5
            layer.codebook.embed_sum.copy_(mean + 0.5 * weights @ (residual - mean))
            layer.codebook._embed = None  # the module caches embed_sum / cluster_usage
            if index < len(decoder_layers):
                decoder_layers[index]._codebook.embedding_sum.copy_(layer.codebook.embed_sum)
            residual = residual - layer.codebook.decode(layer.codebook.quantize(residual))


def _level_output(network: Qwen3TTSTokenizerV2Model, level: float = 0.1) -> None:
    """Scale the decoder's last convolution so that random codes give a wave of about this standard deviation around 0,
    before it is clamped."""
    decoder = network.decoder
    last, seen = decoder.decoder[-1], []
    hook = last.register_forward_hook(lambda module, given, wave: seen.append(wave))
    decoder(torch.randint(decoder.config.codebook_size, (1, decoder.config.num_quantizers, 25)))
    hook.remove()
    scale = level / seen[0].std()
    last.conv.bias.sub_(seen[0].mean()).mul_(scale)
    last.conv.weight.mul_(scale)
