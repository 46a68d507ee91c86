"""`voxmill bench`: the engine, reading, or the whole way from files to codes, beside what else there is."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.log_line import log_line

bench = typer.Typer(invoke_without_command=True)


def _writable(json_file: Path | None) -> Path | None:
    from actors.bench.run import writable

    return None if json_file is None else writable(json_file)


Speech = Annotated[
    str | None,
    typer.Option(help="Speech that recordings are made from: any input; else bundled clips.", metavar="FOLDER"),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Also write the figures to this file.", metavar="FILE", callback=_writable),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@bench.callback()
def engine(
    context: typer.Context,
    model: Annotated[
        str, typer.Option(help="full-size (random weights), demo, a folder or a hub id.", metavar="MODEL")
    ] = "full-size",
    device: Device = "auto",
    precisions: Annotated[
        list[str] | None,
        typer.Option("--precision", help="fp32, fp16 or bf16, also as fp16/graphs; may be repeated."),
    ] = None,
    audio: Annotated[
        str | None, typer.Option(help="A folder of clips; synthetic signals by default.", metavar="DIR")
    ] = None,
    steps: Annotated[
        list[str] | None, typer.Option("--step", help="Only this step; may be repeated.", metavar="NAME")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Measure what the engine promises: codes, speed, memory, beside upstream. No Ray. Exits with 1 where one fails.

    Subcommands, with options of their own: read, pipeline.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context, context.invoked_subcommand)
        return
    from actors.bench.run import passed, run_bench, table, teller

    result = run_bench(model, device, precisions or (), audio, steps=steps or (), told=teller(json_file))
    print(table(result))
    if not passed(result):
        raise typer.Exit(1)


def _refuse_options(context: typer.Context, command: str) -> None:
    """Raise SettingsError for options before the name of a subcommand, which would be ignored."""
    from pipeline.errors import SettingsError

    sources = [(one, context.get_parameter_source(one.name or "")) for one in context.command.params]
    given = [one for one, source in sources if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise SettingsError(
            f"{given[0].opts[0]} stands before {command!r}, where only options of the engine's own benchmark stand. "
            f"Put options of {command!r} behind its name; `voxmill bench {command} --help` lists them."
        )


@bench.command("read")
def reading(
    speech: Speech = None,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    json_file: JsonFile = None,
) -> None:
    """Reading, by format: times real time on one core, beside librosa.load and soundfile with soxr."""
    from pipeline.bench.read import bench_read, table

    result = bench_read(speech, rounds)
    _show(result, table(result), json_file)


@bench.command("pipeline")
def files_to_codes(
    speech: Speech = None,
    model: Annotated[
        str, typer.Option(help="full-size (random weights), demo, a folder or a hub id.", metavar="MODEL")
    ] = "full-size",
    minutes: Annotated[float, typer.Option(help="Minutes of audio in the corpus that is made.")] = 5.0,
    longest_s: Annotated[float, typer.Option(help="Seconds of its longest recording at most.")] = 1200.0,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    device: Device = "cpu",
    precision: Annotated[str, typer.Option(help="Precision of every way: fp32, fp16 or bf16.")] = "fp32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of PyTorch, and cores of each way; all by default.")
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option("--peer", help="lists, clips, threads, ray or voxmill; may be repeated; all by default."),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Files to codes: upstream in three ways, Ray Data by its documentation, voxmill; in turns, a process each."""
    from pipeline.bench.race import PEERS, bench_pipeline
    from pipeline.bench.race_table import race_table

    result = bench_pipeline(
        speech,
        model,
        minutes=minutes,
        rounds=rounds,
        longest_s=longest_s,
        device=device,
        precision=precision,
        threads=threads,
        peers=peers or tuple(PEERS),
        tell=log_line,
    )
    _show(result, race_table(result), json_file)


def _show(result: dict[str, Any], text: str, json_file: Path | None) -> None:
    print(text)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2))
