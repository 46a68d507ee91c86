"""A Jupyter kernel: one line of a cell's output that changes, with a bar; and no warnings where nothing is wrong.

The line is HTML that is displayed once and then updated, so it needs no ipywidgets, moves in JupyterLab, VS Code and
Colab alike, and its last state is in the saved file.
"""

import html
import logging
import sys
import warnings
from typing import Any


def in_notebook() -> bool:
    """True in a Jupyter kernel; false in IPython's terminal."""
    return "ipykernel.zmqshell" in sys.modules


def quiet_imports() -> None:
    """Keep Ray and tqdm from asking for ipywidgets when they are imported: voxmill shows its progress without them."""
    warnings.filterwarnings("ignore", "IProgress not found")
    logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)


class Line:
    """A line below the cell that runs now."""

    def __init__(self) -> None:
        from IPython.display import display

        self.counts: tuple[str, float | None] | None = None  # the last that was shown with `keep`
        self._handle = display(_content("start", None), raw=True, display_id=True)

    def show(self, says: str, share: float | None = None, keep: bool = False) -> None:
        """Replace the line; `share` in [0, 1] is drawn as a bar before it. Any thread may call it."""
        if keep:
            self.counts = says, share
        self._handle.update(_content(says, share), raw=True)


def _content(says: str, share: float | None) -> dict[str, Any]:
    bar = "" if share is None else f'<progress value="{share:.4f}" max="1" style="width:16em"></progress> '
    return {"text/plain": f"voxmill: {says}", "text/html": f"<div>{bar}{html.escape(says)}</div>"}
