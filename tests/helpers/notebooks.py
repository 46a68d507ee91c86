"""Executes the notebooks and saves them with their outputs.

python -m tests.helpers.notebooks [NAME ...]      # all of notebooks/, or those that are named
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[2] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_S = 300
"""Time-out for a cell."""


def names() -> list[str]:
    """Of all notebooks."""
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def read(name: str) -> NotebookNode:
    """A notebook as it is saved."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def execute(notebook: NotebookNode) -> NotebookNode:
    """`notebook` with new outputs, and without what changes from one execution to the next for no reason.

    Its kernel starts in notebooks/, with two CPU threads at most. Raises CellExecutionError.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a local Ray would write a token under the home directory
    done = NotebookClient(
        notebook,
        timeout=CELL_S,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(FOLDER)}},
    ).execute()
    done.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(done.cells):
        cell.id, cell.metadata = f"cell-{number:02d}", nbformat.from_dict({})
    return done


def main() -> None:
    """Executes and saves."""
    for name in sys.argv[1:] or names():
        start = time.monotonic()
        nbformat.write(execute(read(name)), FOLDER / f"{name}.ipynb")
        print(f"{name}: {time.monotonic() - start:.0f} s, {(FOLDER / f'{name}.ipynb').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
