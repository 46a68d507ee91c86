"""`voxmill export`: a run -> the files that a trainer reads."""

import sys
from typing import Annotated

import typer

from pipeline.errors import plural
from pipeline.log_line import log_line

FORMATS_HELP = "qwen3-tts, ms-swift, lhotse, webdataset, hf, npy, mds or megatron."


def export(
    run: Annotated[str, typer.Argument(help="A complete run, or Parquet with its schema.")],
    to: Annotated[str, typer.Option(help=FORMATS_HELP, metavar="FORMAT")],
    out: Annotated[str, typer.Option(help="Folder or URI; an interrupted export is continued.", metavar="DIR")],
    text: Annotated[
        str | None,
        typer.Option(help="Column of the transcripts; a.b is a field of a struct or of JSON.", metavar="COLUMN"),
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="Column of the speakers.", metavar="COLUMN")] = None,
    language: Annotated[str | None, typer.Option(help="Column of the languages.", metavar="COLUMN")] = None,
    instruct: Annotated[
        str | None, typer.Option(help="Column of instructions on how to speak.", metavar="COLUMN")
    ] = None,
    ref_audio: Annotated[
        str | None,
        typer.Option(help="The speaker's reference, for qwen3-tts and ms-swift: resampled, shared.", metavar="FILE"),
    ] = None,
    shard_recordings: Annotated[int, typer.Option(min=1, help="Recordings a shard.", metavar="N")] = 10_000,
) -> None:
    """Write a run as a trainer reads it."""
    from pipeline.export.export_run import export_run
    from pipeline.export.formats import FORMATS
    from pipeline.storage.text import clean_id

    done = export_run(
        run,
        to,
        out,
        text=text,
        speaker=speaker,
        language=language,
        instruct=instruct,
        ref_audio=ref_audio,
        shard_recordings=shard_recordings,
        tell=lambda done, of: log_line(f"shard {done} of {of}"),
    )
    there = f", {done.shards - done.written} were there" if done.written < done.shards else ""
    recordings, shards = plural(done.recordings, "recording"), plural(done.shards, "shard")
    print(f"{recordings} of the run, {shards} ({done.written} written{there}): {done.out}")
    if done.without_text:
        left_out = plural(done.without_text, "recording")
        print(f"  left out of what was written, without text: {left_out}", file=sys.stderr)
    if FORMATS[to].shares_reference and ref_audio is None:
        print(
            "  each recording is its own reference: references of different lengths break batches of more than one, "
            "and qwen3-tts expects 24 kHz. --ref-audio FILE gives all of them one.",
            file=sys.stderr,
        )
    if done.gone:
        print(
            f"  references are the files that were read; {len(done.gone):,} of them are not there now, the first is "
            f"{clean_id(done.gone[0])}: a trainer needs them at these places",
            file=sys.stderr,
        )
