"""The end of a run -> its page, in a bounded time; a report that fails is a warning, never the run's failure."""

import sys

OF_WALL = 0.02
"""Share of a run's time that hearing a sample may take. The page itself takes about 5 s of CPU more for any run."""


def report_at_end(location: str, wall_s: float) -> None:
    """Write the page of the run at `location`, which took `wall_s`; matplotlib is imported only here."""
    try:
        from pipeline.report.write import write_report

        write_report(location, seconds=OF_WALL * wall_s)
    except Exception as error:  # the run is complete whatever the page met: the warning says what
        print(
            f"voxmill: warning: the report could not be written ({type(error).__name__}: {error}); the run is not "
            "affected, and `voxmill report RUN` tries it again",
            file=sys.stderr,
        )
