"""`voxmill stream`: live audio -> codes -> audio, from stdin to stdout, so that the commands can be piped together."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from actors.codec import Codec

stream = typer.Typer(help="Live: audio to codes and back, from stdin to stdout. No Ray.", no_args_is_help=True)

Model = Annotated[
    str | None, typer.Option(help="Hub id or folder; the official codec by default.", metavar="ID_OR_DIR")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, fp16 or bf16.")]
Codes = Annotated[Literal["json", "raw"], typer.Option(help="json: a line a frame; raw: int16, 32 bytes a frame.")]
Rate = Annotated[int, typer.Option(help="Hz of raw PCM; a WAV has it in its header.")]
Channels = Annotated[int, typer.Option(help="Channels of raw PCM.")]
Samples = Annotated[Literal["s16le", "f32le"], typer.Option(help="Sample format of raw PCM.")]


@stream.command("encode")
def encode(
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "auto",
    rate: Rate = 24_000,
    channels: Channels = 1,
    samples: Samples = "s16le",
    codes: Codes = "json",
) -> None:
    """WAV or raw PCM -> codes."""
    from pipeline.cli.pipe import KINDS, Pcm, encode_stream

    codec = _load(model, device, precision, "encode")
    encode_stream(codec, sys.stdin.buffer, sys.stdout.buffer, Pcm(rate, channels, KINDS[samples]), codes == "json")


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

    codec = _load(model, device, precision, "decode")
    decode_stream(codec, sys.stdin.buffer, sys.stdout.buffer, codes == "json", wav)


@stream.command("loop")
def loop(
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "auto",
    rate: Rate = 24_000,
    channels: Channels = 1,
    samples: Samples = "s16le",
) -> None:
    """WAV or raw PCM -> codes -> WAV, with its speed on stderr."""
    from pipeline.cli.pipe import KINDS, Pcm, loop_stream

    def tell(text: str) -> None:
        print(f"voxmill: {text}", file=sys.stderr, flush=True)

    codec = _load(model, device, precision, "all")
    loop_stream(codec, sys.stdin.buffer, sys.stdout.buffer, Pcm(rate, channels, KINDS[samples]), tell)


def _load(model: str | None, device: str, precision: str, parts: str) -> "Codec":
    from actors.codec import Codec
    from actors.contract import OFFICIAL_MODEL

    return Codec.load(model or OFFICIAL_MODEL, device, precision, attention="window", parts=parts)
