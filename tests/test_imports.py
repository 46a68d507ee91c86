"""Imports point one way, and only where the layout says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "actors").glob("*.py"), *(ROOT / "pipeline").glob("*.py")])
COMPOSERS = {"flow", "job", "reconstruct", "cli", "cli_stream", "pipe", "demo", "check", "reencode"}
"""Files of pipeline/ that may know the other package."""
RAY = {"flow", "cluster", "nodes", "reconstruct"}


def imported(file: Path) -> set[str]:
    """Every module that `file` imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def of(names: set[str], package: str) -> set[str]:
    return {name for name in names if name == package or name.startswith(package + ".")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_imports(file: Path) -> None:
    names = imported(file)
    if file.parent.name == "actors":
        assert of(names, "pipeline") <= {"pipeline.schema", "pipeline.errors"}
        assert not of(names, "ray")
    else:
        assert file.stem in COMPOSERS or not of(names, "actors")
        assert file.stem in RAY or not of(names, "ray")
    assert file.stem == "qwen" or not of(names, "qwen_tts")
    assert (
        file.stem in {"schema", "errors"}
        or file.name == "__init__.py"
        or ast.get_docstring(ast.parse(file.read_text()))
    )


def test_the_engine_runs_without_ray_and_without_the_pipelines_packages() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['ray', 'soundfile', 'av', 'soxr', 'pydantic', 'typer']));"
        "import actors.codec; print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "ok", done.stderr


def test_importing_the_interface_is_cheap() -> None:
    code = "import sys; from pipeline import open_run; print({'ray', 'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
