"""A checkpoint's folder -> the engine's halves, as `Codec.load` builds them, on the CPU in any dtype."""

from pathlib import Path

import torch

from actors.network.decoder import Decoder, decoder
from actors.network.encoder import Encoder, encoder
from actors.network.weights import Weights, open_weights
from actors.read_config import read_config

CPU = torch.device("cpu")


def weights_of(folder: Path, half: str, dtype: torch.dtype = torch.float32) -> Weights:
    """The tensors of one half, "encoder" or "decoder"."""
    return open_weights(folder, CPU, dtype).at(half)


def encoder_of(folder: Path, dtype: torch.dtype = torch.float32, window: int | None = None) -> Encoder:
    """The encoder; `window` None: attention over everything before."""
    return encoder(weights_of(folder, "encoder", dtype), read_config(folder).encoder, window)


def decoder_of(folder: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """The decoder."""
    return decoder(weights_of(folder, "decoder", dtype), read_config(folder).decoder)
