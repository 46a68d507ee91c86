"""`voxmill report`: a run -> RUN/report.html."""

from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(help="A run, or a folder of Parquet with its schema.")],
    sample: Annotated[int, typer.Option(min=0, help="Read at most N recordings again.", metavar="N")] = 200,
    seconds: Annotated[float, typer.Option(min=0, help="Read them again for at most S seconds.", metavar="S")] = 30.0,
    seed: Annotated[int, typer.Option(help="Another seed draws another sample.", metavar="N")] = 0,
) -> None:
    """Write one page on a run: verdict, time, corpus, codebooks, quality, failures, players."""
    from pipeline.cluster.progress import still_at
    from pipeline.report.write import write_report

    with still_at("report"):
        written = write_report(run, sample, seconds, seed)
    print(written)
