"""voxmill: speech corpora to codec tokens. `tokenize` makes a run, `open_run` reads one, `load_audio` reads audio."""

from typing import TYPE_CHECKING

from pipeline.version import __version__ as __version__

if TYPE_CHECKING:
    from pipeline.flow import tokenize
    from pipeline.loading import load_audio
    from pipeline.run.reader import open_run

__all__ = ["__version__", "load_audio", "open_run", "tokenize"]


def __getattr__(name: str) -> object:
    """Import Ray or pyarrow only when they are asked for: `from pipeline import tokenize` in a notebook is instant."""
    if name == "tokenize":
        from pipeline.flow import tokenize

        return tokenize
    if name == "open_run":
        from pipeline.run.reader import open_run

        return open_run
    if name == "load_audio":
        from pipeline.loading import load_audio

        return load_audio
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
