"""voxmill: speech corpora to neural-codec tokens. `tokenize` makes a run, `retry` tries its failures again, `check`
verifies it, `merge` joins some, `open_run` and `export_run` read one, `write_report` makes a page of it, `load_audio`
reads audio as a run does."""

import importlib
from typing import TYPE_CHECKING

from pipeline.notebook import in_notebook, quiet_imports
from pipeline.version import __version__ as __version__

if TYPE_CHECKING:
    from pipeline.errors import VoxmillError
    from pipeline.export.export_run import export_run
    from pipeline.flow import tokenize
    from pipeline.loading import load_audio
    from pipeline.report.write import write_report
    from pipeline.run.merge import merge
    from pipeline.run.reader import Recording, Run, open_run
    from pipeline.verify.check import check
    from pipeline.verify.retry_failures import retry

__all__ = [
    "Recording",
    "Run",
    "VoxmillError",
    "__version__",
    "check",
    "export_run",
    "load_audio",
    "merge",
    "open_run",
    "retry",
    "tokenize",
    "write_report",
]
HOMES = {
    "Recording": "pipeline.run.reader",
    "Run": "pipeline.run.reader",
    "VoxmillError": "pipeline.errors",
    "check": "pipeline.verify.check",
    "export_run": "pipeline.export.export_run",
    "load_audio": "pipeline.loading",
    "merge": "pipeline.run.merge",
    "open_run": "pipeline.run.reader",
    "retry": "pipeline.verify.retry_failures",
    "tokenize": "pipeline.flow",
    "write_report": "pipeline.report.write",
}

if in_notebook():
    quiet_imports()  # before anything imports Ray


if not TYPE_CHECKING:  # a checker would take any name for one of the package's

    def __getattr__(name: str) -> object:
        """Import Ray or pyarrow only when they are asked for: `import pipeline` in a notebook is instant."""
        if name in HOMES:
            return getattr(importlib.import_module(HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What a notebook completes, before any of it is imported."""
    return __all__
