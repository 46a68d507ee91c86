"""The notebooks: saved with outputs that a stranger can look at, and executed from beginning to end."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.helpers.notebooks import FOLDER, execute, names, read

NAMES = ["cluster", "finetune", "quality", "quickstart"]
WITH_PICTURES = ["quality", "quickstart"]
WITHOUT_EXTRA = """
import sys
sys.modules["ipywidgets"] = None  # as if it were not installed
from pipeline import tokenize
"""


def outputs(notebook: NotebookNode) -> list[list[tuple[str, tuple[str, ...]]]]:
    """Of each cell, the kinds of its outputs."""
    return [
        [(output.output_type, tuple(sorted(output.get("data", [])))) for output in cell.get("outputs", [])]
        for cell in notebook.cells
    ]


def texts_on(notebook: NotebookNode, stream: str) -> list[str]:
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.text for output in found if output.output_type == "stream" and output.name == stream]


def test_these_are_the_notebooks() -> None:
    assert names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_saved_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))  # executed in order, in one go
    assert sum(bool(cell.outputs) for cell in cells) >= len(cells) / 2
    assert texts_on(notebook, "stderr") == []
    saved = (FOLDER / f"{name}.ipynb").read_text()
    assert len(saved) < 1_500_000
    shown = json.dumps([cell.outputs for cell in cells])
    private = rf"/tmp/|/home/|/root|{re.escape(str(FOLDER.parent))}|{re.escape(str(Path.home()))}/"
    assert not re.search(private, shown)
    assert ("image/png" in shown) == (name in WITH_PICTURES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_executed_from_beginning_to_end(name: str) -> None:
    saved = read(name)
    before = outputs(saved)
    done = execute(saved)
    assert texts_on(done, "stderr") == []
    assert outputs(done) == before  # else: python -m tests.helpers.notebooks


@pytest.mark.slow
def test_no_warnings_without_ipywidgets() -> None:
    done = execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(WITHOUT_EXTRA)]))
    assert outputs(done) == [[]]
