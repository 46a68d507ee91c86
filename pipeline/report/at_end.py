"""The end of a run -> its page, in a bounded time; a report that fails is a warning, never the run's failure."""

from typing import Literal

from pipeline.log_line import log_line

OF_WALL = 0.02
"""Share of a run's time that its page may take, and as much again the sample of it that is heard."""
PAGE_S = 5.0
"""What a page without a sample takes of any run: imports, pictures, six recordings (CPU seconds, measured)."""


def report_at_end(location: str, wall_s: float, wanted: Literal["auto"] | bool) -> None:
    """Write the page of the run at `location`, which took `wall_s`, if it is `wanted`; "auto": if it is that cheap.

    matplotlib is imported only here.
    """
    if not wanted or (wanted == "auto" and OF_WALL * wall_s < PAGE_S):
        return
    try:
        from pipeline.report.write import write_report

        write_report(location, seconds=OF_WALL * wall_s)
    except Exception as error:  # the run is complete whatever the page met: the warning says what
        log_line(
            f"warning: the report could not be written ({type(error).__name__}: {error}); the run is not affected, and "
            "`voxmill report RUN` tries it again"
        )
