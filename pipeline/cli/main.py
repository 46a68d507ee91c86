"""The command `voxmill`: tokenize, retry, check, merge, decode, show, report, doctor, export, demo, bench, stream.

Heavy modules are imported only when a command runs. Exit codes: 0 the run is complete (even with failures); 1 nothing
could be tokenized or decoded, a whole clip of the demo failed, or check, doctor or bench found problems; 2 what ended
the command, in one message; 3 failures under --strict, or more than the run bears; 130 stopped by Ctrl-C, 143 by
SIGTERM.
"""

import errno
import gc
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actors.terminated import unwinding
from pipeline.cli.bench import bench
from pipeline.cli.doctor import doctor
from pipeline.cli.export import export
from pipeline.cli.report import report
from pipeline.cli.stream import stream
from pipeline.errors import InputError, OutputError, TooManyFailures, VoxmillError, plural
from pipeline.log_line import log_line

if TYPE_CHECKING:
    from pipeline.run.reader import Run

app = typer.Typer(
    name="voxmill",
    help="Speech corpora to neural-codec tokens (Qwen3-TTS-Tokenizer-12Hz): 12.5 frames a second, 16 codebooks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(bench, name="bench")
app.add_typer(stream, name="stream")
app.command()(export)
app.command()(report)
app.command()(doctor)

NOTHING_TOKENIZED, PROBLEMS, MISTAKE, FAILURES, TERMINATED = 1, 1, 2, 3, 143
STOPPED = (130, TERMINATED)

Model = Annotated[
    str | None, typer.Option(help="Hub id, folder, or demo; the official codec by default.", metavar="ID_OR_DIR")
]
Config = Annotated[
    Path | None, typer.Option(help="Settings in YAML; the repository's configs/ explain all.", metavar="FILE")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str | None, typer.Option(help="auto, fp32, fp16 or bf16.")]
Attention = Annotated[str | None, typer.Option(help="full (what upstream computes) or window (bounded memory).")]
RayAddress = Annotated[
    str | None, typer.Option(help="A running Ray cluster; else $RAY_ADDRESS, or a local Ray.", metavar="ADDRESS")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for scripts; logs go to stderr.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="Any setting, as key=value.", metavar="KEY=VALUE")]


@app.command()
def tokenize(
    inputs: Annotated[list[str], typer.Argument(help="Folders, globs, files, manifests, tar or Parquet shards, URIs.")],
    out: Annotated[str, typer.Option(help="The run's folder; an earlier run of the same command is continued.")],
    config: Config = None,
    model: Model = None,
    device: Device = None,
    precision: Precision = None,
    attention: Attention = None,
    reconstruct: Annotated[bool | None, typer.Option(help="Also decode the codes to WAVs.")] = None,
    ray_address: RayAddress = None,
    strict: Annotated[bool | None, typer.Option("--strict", help="Exit with 3 if a recording failed.")] = None,
    max_failures: Annotated[
        str | None, typer.Option(help="Stop when more than N recordings, or P% of the run's, fail.", metavar="N|P%")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the existing run, start again.")] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first N recordings.", metavar="N")] = None,
    shard: Annotated[
        str | None, typer.Option(help="Only this share of the inputs, 0 <= I < N; see merge.", metavar="I/N")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read; write nothing, start nothing.")
    ] = False,
    as_json: Json = False,
    assignments: Assignments = None,
) -> None:
    """Read audio, write codes to RUN/codes and reconstructions to RUN/wav."""
    from pipeline.settings import parse_assignments

    options = {
        "model": model,
        "device": device,
        "precision": precision,
        "attention": attention,
        "reconstruct": reconstruct,
        "ray_address": ray_address,
        "strict": strict,
        "max_failures": max_failures,
    }
    given = {name: value for name, value in options.items() if value is not None}
    settings: dict[str, Any] = {**parse_assignments(assignments or []), **given}
    if dry_run:
        _preview(inputs, out, config, settings, limit=limit, shard=shard, overwrite=overwrite, as_json=as_json)
        return
    from pipeline.flow import tokenize

    run = tokenize(list(inputs), out, config=config, settings=settings, overwrite=overwrite, limit=limit, shard=shard)
    _print_result(run, as_json)
    raise typer.Exit(_exit_code(run))


@app.command()
def retry(
    run: Annotated[str, typer.Argument(help="A run.")],
    errors: Annotated[
        list[str] | None, typer.Option("--error", help="Only failures of this kind; may be repeated.", metavar="NAME")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option(help="Inputs instead of those in run.json; may be repeated.", metavar="INPUT")
    ] = None,
    ray_address: RayAddress = None,
    as_json: Json = False,
    assignments: Assignments = None,
) -> None:
    """Retry a run's failures, with its own inputs and settings; recordings that have codes are not touched."""
    from pipeline.settings import parse_assignments
    from pipeline.verify.retry_failures import retry

    settings = parse_assignments(assignments or [])
    if ray_address is not None:
        settings["ray_address"] = ray_address
    again = retry(run, errors or (), inputs=inputs, settings=settings)
    _print_result(again, as_json)
    raise typer.Exit(_exit_code(again))


@app.command()
def check(
    run: Annotated[str, typer.Argument(help="A run.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option(help="Each must be in codes, failures or skipped, once; may be repeated.", metavar="INPUT"),
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Encode N recordings again and compare.", metavar="N")] = 0,
    repair: Annotated[
        bool, typer.Option("--repair", help="First delete torn, duplicate or wrong data; tokenize then makes it again.")
    ] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Read the parts on a running Ray cluster, not in this process.", metavar="ADDRESS"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a run: every recording complete and once, checksums, codes, WAVs; exit 1 with a list of problems."""
    from pipeline.cluster.progress import still_at
    from pipeline.verify.check import check

    repaired: list[str] = []
    if repair:
        from pipeline.verify.repair import repair as mend

        repaired = mend(run)
    for line in [] if as_json else repaired:
        print(line)
    with still_at("check"):
        report = check(run, inputs, sample, ray_address=ray_address)
    for line in report.problems:
        print(f"  {line}", file=sys.stderr)
    if as_json:
        _print_json({"problems": report.problems, "checked": report.checked, "repaired": repaired})
    else:
        print(f"{'something is off' if report.problems else 'all is well'}: {'; '.join(report.checked)}")
    raise typer.Exit(PROBLEMS if report.problems else 0)


@app.command()
def merge(
    runs: Annotated[list[str], typer.Argument(help="Complete runs: all shards of a corpus, or runs of several.")],
    out: Annotated[str, typer.Option(help="The folder of the merged run.")],
    as_json: Json = False,
) -> None:
    """Make one run of several; files are linked on one disk, copied otherwise."""
    from pipeline.run.merge import merge

    _print_result(merge(runs, out), as_json)


@app.command()
def decode(
    run: Annotated[str, typer.Argument(help="A run, or Parquet with its schema.")],
    out: Annotated[str, typer.Option(help="Folder for the WAVs.")],
    ids: Annotated[list[str] | None, typer.Option("--id", help="Only this recording; may be repeated.")] = None,
    config: Config = None,
    model: Annotated[
        str | None, typer.Option(help="Hub id, folder, or demo; the run's by default.", metavar="ID_OR_DIR")
    ] = None,
    device: Device = None,
    precision: Precision = None,
    ray_address: RayAddress = None,
    assignments: Assignments = None,
) -> None:
    """Decode codes to WAVs."""
    from pipeline.reconstruct import decode
    from pipeline.settings import parse_assignments

    written = decode(
        run,
        out,
        ids=ids,
        config=config,
        settings=parse_assignments(assignments or []),
        model=model,
        device=device,
        precision=precision,
        ray_address=ray_address,
    )
    print(
        f"{plural(written.waves, 'WAV')}, {written.audio_s:,.1f} s, {plural(len(written.failures), 'failure')}: {out}"
    )
    for failure in written.failures:
        print(f"  {failure}", file=sys.stderr)
    raise typer.Exit(0 if written.waves else NOTHING_TOKENIZED)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run, or Parquet with its schema.")],
    id_: Annotated[str | None, typer.Option("--id", help="One recording.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a run holds, or one recording of it; of a running one, how far it is."""
    from pipeline.cli.show import recording_json, recording_text, run_json, run_text
    from pipeline.run.live import look, open_any

    opened = open_any(run)
    if id_ is not None:
        _print_json(recording_json(opened, id_)) if as_json else print(recording_text(opened, id_))
        return
    live = look(opened)
    _print_json(run_json(opened, live)) if as_json else print(run_text(opened, live))


@app.command()
def demo(out: Annotated[str, typer.Option(help="The run's folder.")] = "voxmill-demo") -> None:
    """Tokenize a few bundled clips, offline, like any corpus."""
    from pipeline.cli.demo import run_demo

    if run_demo(out, _print_result):
        raise typer.Exit(PROBLEMS)


def _preview(
    inputs: list[str], out: str, config: Path | None, settings: dict[str, Any], as_json: bool, **part: Any
) -> None:
    """`tokenize --dry-run`."""
    from dataclasses import asdict

    from pipeline.cli.dry_run import preview_text
    from pipeline.dry_run import dry_run
    from pipeline.settings import load_settings

    preview = dry_run(inputs, out, config=config, settings=settings, **part)
    _print_json(asdict(preview)) if as_json else print(preview_text(preview, load_settings(config, settings)))


def _print_result(run: "Run", as_json: bool = False) -> None:
    from pipeline.cli.show import result_text, run_json

    _print_json(run_json(run)) if as_json else print(result_text(run))


def _print_json(values: dict[str, Any]) -> None:
    from pipeline.export.json_line import json_line

    print(json_line(values, escaped=sys.stdout is not None and sys.stdout.encoding.lower() != "utf-8"))


def _exit_code(run: "Run") -> int:
    summary = run.summary()
    counts = summary["counts"]
    empty = counts.get("skipped") or summary.get("shard")  # all was skipped; a shard of a small corpus may hold nothing
    if not counts["recordings"] and (counts["failures"] or not empty):
        return NOTHING_TOKENIZED
    return FAILURES if counts["failures"] and summary["settings"]["strict"] else 0


def _print_no_more() -> None:
    """What is left to print goes nowhere: the interpreter would fail to write it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse_other_encodings(texts: list[str]) -> None:
    """Raise InputError where Python could not read a name as UTF-8: pyarrow's file systems cannot open it."""
    for text in texts:
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError(
                f"{text!r} is not read as UTF-8, which names of files and folders must be here. Rename it; or set"
                f" PYTHONUTF8=1 where it is UTF-8 and the locale's encoding is another one"
                f" ({sys.getfilesystemencoding()})."
            )


def _run() -> None:
    """The command. Raises OutputError where what it prints cannot be written, as on a full disk."""
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # None where it was closed
                sys.stdout.flush()  # else the interpreter would, after all that could still be said of it
    except BrokenPipeError:
        _print_no_more()
        sys.exit(0)
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        _print_no_more()
        raise OutputError(f"Standard output: cannot be written ({error.strerror}).") from error


def main() -> None:
    """Entry point of the command: what it cannot do is one message, and an exit code."""
    if sys.stderr is None:  # it was closed, and `print` would take stdout for it
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):
            output.reconfigure(errors="backslashreplace")  # names that the terminal's encoding does not have
    try:
        _refuse_other_encodings([*sys.argv[1:], os.environ.get("PWD", "")])
        with unwinding():  # the first process of a container would ignore SIGTERM
            _run()
    except VoxmillError as error:
        log_line(str(error))
        sys.exit(FAILURES if isinstance(error, TooManyFailures) else MISTAKE)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # the reader closed the output, as `head` does: no error
            _print_no_more()
            sys.exit(0)
        if stop.code == signal.SIGTERM:  # by Ray's own handler, while it starts
            stop.code = TERMINATED
        if stop.code in STOPPED:  # typer's exit code for Ctrl-C, and that of `unwinding`
            for number in (signal.SIGINT, signal.SIGTERM):  # another one would only break off what ends now
                signal.signal(number, signal.SIG_IGN)
            goes_on = sys.argv[1:2] in ([one] for one in ("tokenize", "retry", "demo", "export"))
            goes_on = goes_on and "--dry-run" not in sys.argv
            again = "the same command without --overwrite" if "--overwrite" in sys.argv else "the same command"
            log_line(f"stopped; committed parts are kept, {again} continues from there" if goes_on else "stopped")
        raise
    finally:
        gc.freeze()  # else Python looks through all objects once more before it ends: 0.3 s
