"""`voxmill stream`: live audio -> codes -> audio, from stdin to stdout, so that the commands can be piped together."""

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import typer

from pipeline.errors import SettingsError
from pipeline.log_line import log_line

if TYPE_CHECKING:
    from actors.codec import Codec
    from pipeline.cli.pipe import Pcm

stream = typer.Typer(help="Live: audio to codes and back, from stdin to stdout. No Ray.", no_args_is_help=True)

Model = Annotated[
    str | None, typer.Option(help="Hub id, folder or demo; the official codec by default.", metavar="ID_OR_DIR")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, fp16 or bf16.")]
Codes = Annotated[Literal["json", "raw"], typer.Option(help="json: a line a frame; raw: int16, 32 bytes a frame.")]
Rate = Annotated[int | None, typer.Option(help="Hz of raw PCM; a WAV has it in its header.", show_default="24000")]
Channels = Annotated[int | None, typer.Option(help="Channels of raw PCM.", show_default="1")]
Samples = Annotated[
    Literal["s16le", "f32le"] | None, typer.Option(help="Sample format of raw PCM.", show_default="s16le")
]


@stream.command("encode")
def encode(
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "auto",
    rate: Rate = None,
    channels: Channels = None,
    samples: Samples = None,
    codes: Codes = "json",
) -> None:
    """WAV or raw PCM -> codes."""
    from pipeline.cli.pipe import encode_stream

    pipes, raw = _pipes(), _raw(rate, channels, samples)
    encode_stream(_load(model, device, precision, "encode"), *pipes, raw, codes == "json")


@stream.command("decode")
def decode(
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "auto",
    codes: Codes = "json",
    wav: Annotated[bool, typer.Option(help="Write a WAV header; without it: raw PCM 16 at 24 kHz.")] = True,
) -> None:
    """Codes -> WAV or raw PCM."""
    from pipeline.cli.pipe import decode_stream

    pipes = _pipes()
    decode_stream(_load(model, device, precision, "decode"), *pipes, codes == "json", wav)


@stream.command("loop")
def loop(
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "auto",
    rate: Rate = None,
    channels: Channels = None,
    samples: Samples = None,
) -> None:
    """WAV or raw PCM -> codes -> WAV, with its speed on stderr."""
    from pipeline.cli.pipe import loop_stream

    pipes, raw = _pipes(), _raw(rate, channels, samples)
    loop_stream(_load(model, device, precision, "all"), *pipes, raw, log_line)


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, which wait. Raises SettingsError where one is closed: Python has none then."""
    for name, pipe in (("input", sys.stdin), ("output", sys.stdout)):
        if pipe is None:
            raise SettingsError(f"Standard {name} is closed; expected a file or a pipe.")
        with contextlib.suppress(io.UnsupportedOperation):  # in memory
            os.set_blocking(pipe.fileno(), True)  # else what is not there yet would be taken for the end
    return sys.stdin.buffer, sys.stdout.buffer


def _raw(rate: int | None, channels: int | None, samples: str | None) -> "Pcm | None":
    """The format of raw PCM; None where no option names any of it, so that other files can be refused."""
    from pipeline.audio.decode import MAX_CHANNELS
    from pipeline.cli.pipe import KINDS, RAW, Pcm

    if rate is None and channels is None and samples is None:
        return None
    if channels is not None and not 0 < channels <= MAX_CHANNELS:
        raise SettingsError(f"--channels is {channels}; it can be 1 to {MAX_CHANNELS}.")
    kind = RAW.kind if samples is None else KINDS[samples]
    return Pcm(RAW.rate if rate is None else rate, RAW.channels if channels is None else channels, kind)


def _load(model: str | None, device: str, precision: str, parts: str) -> "Codec":
    from pipeline.cluster.load import brief_waits

    os.environ |= brief_waits(os.environ)  # `encode | decode` has the threads of two processes on the same cores
    from actors.codec import Codec
    from actors.contract import OFFICIAL_MODEL

    return Codec.load(model or OFFICIAL_MODEL, device, precision, attention="window", parts=parts)
