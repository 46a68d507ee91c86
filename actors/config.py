"""What config.json says of the network, by upstream's names and with upstream's defaults.

Those of transformers' MimiConfig for the encoder, of qwen-tts' Qwen3TTSTokenizerV2DecoderConfig for the decoder. Keys
that change nothing in inference (dropout, initial values, caches) are left out.
"""

from dataclasses import dataclass

STEPS = 2
"""Steps of the encoder's transformer in one frame: it runs at 25 Hz."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """`encoder_config`. The convolutions use `upsampling_ratios` from last to first, as strides."""

    num_filters: int = 64
    kernel_size: int = 7
    num_residual_layers: int = 1
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    compress: int = 2
    upsampling_ratios: tuple[int, ...] = (8, 6, 5, 4)
    last_kernel_size: int = 3
    hidden_size: int = 512
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    num_key_value_heads: int = 8
    head_dim: int
    intermediate_size: int = 2048
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    sliding_window: int = 250
    num_quantizers: int = 32
    num_semantic_quantizers: int = 1
    codebook_size: int = 2048
    codebook_dim: int = 256
    vector_quantization_hidden_dimension: int = 256


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """`decoder_config`. Upstream's class has no default for `codebook_dim`."""

    num_quantizers: int = 16
    codebook_size: int = 2048
    codebook_dim: int
    latent_dim: int = 1024
    hidden_size: int = 1024
    num_hidden_layers: int = 8
    num_attention_heads: int = 16
    num_key_value_heads: int = 16
    head_dim: int
    intermediate_size: int = 3072
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000
    sliding_window: int = 72
    upsampling_ratios: tuple[int, ...] = (2, 2)
    decoder_dim: int = 1536
    upsample_rates: tuple[int, ...] = (8, 5, 4, 3)


@dataclass(frozen=True)
class CodecConfig:
    """Both halves of a checkpoint's config."""

    encoder: EncoderConfig
    decoder: DecoderConfig
