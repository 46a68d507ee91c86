"""`voxmill doctor`: this machine, or a run, examined -> text for a person, or JSON; exit code 1 if something must be
changed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import plural
from pipeline.log_line import log_line

if TYPE_CHECKING:
    from pipeline.doctor.finding import Finding
    from pipeline.doctor.report import Report

MUST_CHANGE = 1


def doctor(
    run: Annotated[
        str | None, typer.Argument(help="A run: is its GPU used, why is it slow. Of the options, only --json applies.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub id, folder, demo, or full-size (random weights).", metavar="ID_OR_DIR")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings in YAML, as for tokenize.", metavar="FILE")] = None,
    ray_address: Annotated[str | None, typer.Option(help="A running Ray cluster.", metavar="ADDRESS")] = None,
    reconstruct: Annotated[bool | None, typer.Option(help="Whether a run also decodes the codes to WAVs.")] = None,
    out: Annotated[str, typer.Option(help="Where a run would be written.", metavar="DIR_OR_URI")] = ".",
    seconds: Annotated[float, typer.Option(min=0, help="Seconds of the micro-benchmark; 0: none.", metavar="S")] = 45.0,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Hours of audio, to predict a run's time.", metavar="H")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Predict for this many GPUs.", metavar="K")] = None,
    gpu_speed: Annotated[
        float | None, typer.Option(min=0.1, help="Times real time of one GPU, where none is here.", metavar="X")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for scripts.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as key=value.", metavar="KEY=VALUE")
    ] = None,
) -> None:
    """Examine this machine (or RUN): what must be changed, which settings fit, how long a corpus will take."""
    from pipeline.doctor.finding import must_change

    if run is not None:
        findings = _of_run(run)
        print(_json({"run": run, "findings": findings}) if as_json else findings_text(findings))
    else:
        report = _of_machine(
            {"model": model, "ray_address": ray_address, "reconstruct": reconstruct},
            config,
            assignments or [],
            (out, seconds, hours, gpus, gpu_speed),
        )
        findings = report.findings
        print(_json(report) if as_json else report_text(report))
    raise typer.Exit(MUST_CHANGE if must_change(findings) else 0)


def _of_run(run: str) -> "list[Finding]":
    from pipeline.doctor.devices import torch_gpus
    from pipeline.doctor.diagnose import diagnose
    from pipeline.run.reader import open_run

    return diagnose(open_run(run).summary(), len(torch_gpus()))


def _of_machine(named: dict[str, Any], config: Path | None, assignments: list[str], rest: tuple[Any, ...]) -> "Report":
    from pipeline.cli.demo import CLIPS
    from pipeline.doctor.report import Wanted, report
    from pipeline.settings import load_settings, parse_assignments

    chosen = {key: value for key, value in named.items() if value is not None}
    out, seconds, hours, gpus, gpu_speed = rest
    overrides = {**parse_assignments(assignments), **chosen}
    settings = load_settings(config, overrides)
    wanted = Wanted(CLIPS, out, seconds, hours, gpus, gpu_speed)
    return report(settings, wanted, log_line)


def _json(value: Any) -> str:
    from dataclasses import asdict, is_dataclass

    def plain(one: Any) -> Any:
        return asdict(one) if is_dataclass(one) and not isinstance(one, type) else str(one)

    return json.dumps(plain(value) if is_dataclass(value) else value, ensure_ascii=False, default=plain)


def findings_text(findings: "list[Finding]") -> str:
    """A row each; below one that is not ok, what was expected and what to change."""
    from rich.table import Table
    from rich.text import Text

    from pipeline.cli.show import printed
    from pipeline.storage.text import clean_id

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for one in findings:
        table.add_row(one.level, one.check, Text(clean_id(one.seen)))
        if one.expected:
            table.add_row("", "", Text(f"expected: {clean_id(one.expected)}"))
        if one.advice:
            table.add_row("", "", Text(f"change: {clean_id(one.advice)}"))
    return printed(table, 140)


def report_text(report: "Report") -> str:
    """Findings, the plan of the pools, speeds, predictions."""
    from pipeline.cli.show import table

    parts = [findings_text(report.findings), table([("config", report.config), ("plan", report.plan)])]
    if report.measured is not None:
        name = report.measured.model
        speeds = [
            (f"  {one.stage}", f"{one.times_real_time:,.1f}x real time with {plural(one.threads, 'thread')}")
            for one in report.measured.costs
        ]
        parts.append(f"measured, one worker of each stage ({name}):\n{table(speeds)}")
    return "\n\n".join([*parts, *(["\n".join(report.predictions)] if report.predictions else [])])
