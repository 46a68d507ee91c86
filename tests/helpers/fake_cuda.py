"""The network's parts on fake CUDA tensors: PyTorch checks devices, types and shapes, and computes nothing.

`python -m tests.helpers.fake_cuda GUARD` prints, as JSON, what kernels each path through the network launched: names,
types, shapes and bytes. A process of its own, since the guard changes what "cuda" means in it.
"""

import ctypes
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import cpp_extension

from actors.bench.trace import traced
from actors.config import CodecConfig
from actors.device import PRECISIONS
from actors.network import convolution, one_kernel
from actors.network.decoder import Decoder, decoder, latent_rows, rounded
from actors.network.encoder import Encoder, encode_rows, encoder
from actors.network.weights import Weights
from actors.random_model import save_random_checkpoint, small_config
from actors.read_config import read_config
from actors.stream import StreamDecoder, StreamEncoder
from actors.tiling.cuda_graphs import Graphs
from actors.tiling.run_tiles import Load, Tiled, Way, joined

CUDA = torch.device("cuda", 0)
FRAMES = [3, 60, 27, 0, 1]
"""Of the recordings of a call: shorter than a tile, several tiles, exactly one, none, one frame."""


def build_guard(folder: Path) -> Path:
    """Compile fake_cuda.cpp; about 3 s."""
    library = folder / "fake_cuda.so"
    includes = [f"-I{path}" for path in cpp_extension.include_paths()]
    libraries = [f"-L{path}" for path in cpp_extension.library_paths()]
    source = Path(__file__).with_suffix(".cpp")
    subprocess.run(
        [
            "g++",
            "-shared",
            "-fPIC",
            "-O1",
            "-std=c++20",
            *includes,
            str(source),
            "-o",
            str(library),
            *libraries,
            "-lc10",
        ],
        check=True,
    )
    return library


class Blank(Weights):
    """Weights of the right shapes, whatever the file holds."""

    def read(self, name: str, *shape: int) -> Tensor:
        return torch.empty(shape)


def paths(config: CodecConfig) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Each way through the network, by name; a call returns the tensor that would go to the host."""
    for (precision, dtype), window in itertools.product(PRECISIONS.items(), (False, True)):
        blank = Blank(Path(), None, frozenset(), CUDA, dtype)
        to_codes = encoder(blank.at("encoder"), config.encoder, config.encoder.sliding_window if window else None)
        to_audio = decoder(blank.at("decoder"), config.decoder)
        way, name = Way(CUDA, dtype, 25, 4), f"{precision} {'window' if window else 'full'}"
        for graphs in (None, Graphs(unseen)):
            begin = "" if graphs is None else "graphs "
            encoding = Tiled(to_codes.convolutions, to_codes.halo, way, graphs)
            decoding = Tiled(to_audio.convolutions, to_audio.halo, way, graphs)
            yield f"{begin}encode {name}", lambda e=to_codes, t=encoding: encoded(e, t)
            yield f"{begin}decode {name}", lambda d=to_audio, t=decoding: decoded(d, t)
        yield f"stream encode {name}", lambda e=to_codes, w=way: streamed_codes(e, w)
        yield f"stream decode {name}", lambda d=to_audio, w=way, c=config: streamed_audio(d, w, c)


def unseen(call: Callable[[], object], device: torch.device, pool: None) -> tuple[Callable[[], None], None]:
    """A capture. Of a replay only the copy of its inputs is seen."""
    call()
    return lambda: None, None


def on_device(width: int, way: Way) -> Load:
    """Rows that are on the device already."""
    return lambda spans: (torch.empty(high - low, width, device=CUDA, dtype=way.dtype) for low, high in spans)


def encoded(weights: Encoder, tiled: Tiled) -> Tensor:
    """As `encode_waves`, from samples on the device on."""
    load = on_device(weights.row, tiled.way)
    codes = encode_rows(weights, tiled, load, [FRAMES[one] for one in tiled.order(FRAMES)])
    assert codes.dtype == torch.int16
    return codes


def decoded(weights: Decoder, tiled: Tiled) -> Tensor:
    """As `decode_codes` for the decode pool, to int16 samples on the device."""
    frames = [FRAMES[one] for one in tiled.order(FRAMES)]
    latents = latent_rows(weights, tiled, np.zeros((sum(frames), 16), np.int16), frames)
    assert (latents.dtype, latents.device) == (tiled.way.dtype, CUDA)
    pieces = tiled.pieces(on_device(weights.row, tiled.way), frames)
    return joined(map(rounded, pieces), sum(frames))


def streamed_codes(weights: Encoder, way: Way) -> Tensor:
    """Two pieces of a stream."""
    stream = StreamEncoder(weights, way, batch=2)
    for frames in (1, 3):
        codes = stream._step(torch.empty(2, frames, weights.row, device=CUDA, dtype=way.dtype))
    return codes


def streamed_audio(weights: Decoder, way: Way, config: CodecConfig) -> Tensor:
    """Two pieces of a stream of codes."""
    stream = StreamDecoder(weights, way, config.encoder.codebook_size, batch=2)
    for frames in (1, 3):
        wave = stream._step(torch.empty(2, frames, 16, dtype=torch.int64, device=CUDA))
    return wave


def main() -> None:
    """Each path's launches as JSON: {name: [[kernel, type, shapes, bytes], ...]}."""
    if torch.version.cuda is None:
        ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
    with tempfile.TemporaryDirectory() as folder:
        config = read_config(save_random_checkpoint(Path(folder) / "model", small_config()))
    launches = {}
    one_kernel._why_not = lambda: None
    torch.Tensor.pin_memory = lambda tensor: tensor  # a driver's memory
    convolution.difference = lambda *given: 0.0  # its answer is a value on the host; later calls do not ask
    for name in ("elu", "snake"):
        torch.library.register_fake(f"voxmill::{name}", lambda *inputs, out: out)
    with FakeTensorMode(), torch.inference_mode():
        for name, call in paths(config):
            results: list[Tensor] = []
            if name.startswith("graphs "):
                call()
            launches[name] = traced(lambda call=call, results=results: results.append(call()), "cuda")
            assert results[0].device.type == "cuda", name
    print(json.dumps(launches))


if __name__ == "__main__":
    main()
