"""voxmill: speech corpora to neural-codec tokens. `tokenize` makes a run, `merge` joins some, `open_run` reads one."""

from typing import TYPE_CHECKING

from pipeline.version import __version__ as __version__

if TYPE_CHECKING:
    from pipeline.flow import tokenize
    from pipeline.run.merge import merge
    from pipeline.run.reader import open_run

__all__ = ["__version__", "merge", "open_run", "tokenize"]


def __getattr__(name: str) -> object:
    """Import Ray or pyarrow only when they are asked for: `from pipeline import tokenize` in a notebook is instant."""
    if name == "tokenize":
        from pipeline.flow import tokenize

        return tokenize
    if name == "merge":
        from pipeline.run.merge import merge

        return merge
    if name == "open_run":
        from pipeline.run.reader import open_run

        return open_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
