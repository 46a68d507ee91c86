"""Imports point one way: which folder may import which is the table here; no cycle, few floors."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers.rooms import ROOT, arrows, drawing, floors, imported, modules, room, room_arrows

LEAVES = {"pipeline.errors", "pipeline.log_line", "pipeline.schema", "pipeline.settings", "pipeline.version"}
ENGINE = {"actors.contract", "actors.errors"}
MAY_IMPORT = {
    # the engine stands alone: nothing of pipeline
    "actors": set(),
    "actors.contract": {"actors.errors"},
    "actors.errors": set(),
    "actors.compat": set(),
    "actors.heap": set(),
    "actors.watchdog": set(),
    "actors.terminated": set(),
    "actors.config": set(),
    "actors.read_config": {*ENGINE, "actors.config"},
    "actors.checkpoint": {*ENGINE, "actors.config", "actors.read_config"},
    "actors.device": ENGINE,
    "actors.tiling": {*ENGINE, "actors.device"},
    "actors.network": {*ENGINE, "actors.config", "actors.device", "actors.tiling"},
    "actors.qwen": {*ENGINE, "actors.checkpoint", "actors.compat"},
    "actors.random_model": {*ENGINE, "actors.checkpoint", "actors.qwen"},
    "actors.stream": {*ENGINE, "actors.config", "actors.device", "actors.network", "actors.tiling"},
    "actors.codec": {
        *ENGINE,
        *(
            "actors.checkpoint",
            "actors.device",
            "actors.heap",
            "actors.network",
            "actors.read_config",
            "actors.stream",
            "actors.tiling",
        ),
    },
    "actors.pools": {*ENGINE, "actors.watchdog"},
    "actors.bench": {
        *ENGINE,
        *("actors.checkpoint", "actors.codec", "actors.device", "actors.qwen", "actors.random_model"),
        "actors.terminated",
    },
    "actors.measures": ENGINE,
    "actors.demo": {*ENGINE, "actors.checkpoint", "actors.measures", "actors.qwen", "actors.random_model"},
    # what every room of pipeline may know
    "pipeline": {
        *("pipeline.errors", "pipeline.export", "pipeline.flow", "pipeline.loading", "pipeline.notebook"),
        *("pipeline.report", "pipeline.run", "pipeline.verify", "pipeline.version"),
    },
    "pipeline.version": set(),
    "pipeline.notebook": set(),
    "pipeline.log_line": set(),
    "pipeline.errors": ENGINE,
    "pipeline.schema": {*ENGINE, "actors.pools"},
    "pipeline.settings": {*ENGINE, "pipeline.errors", "pipeline.storage"},
    # the steps
    "pipeline.storage": {"actors.watchdog", "pipeline.errors"},
    "pipeline.audio": {*ENGINE, "pipeline.errors", "pipeline.storage"},
    "pipeline.sources": {
        *ENGINE,
        *LEAVES,
        *("actors.pools", "actors.watchdog", "pipeline.audio", "pipeline.storage"),
    },
    "pipeline.run": {
        *ENGINE,
        *LEAVES,
        *("pipeline.audio", "pipeline.loading", "pipeline.sources", "pipeline.storage", "pipeline.view"),
    },
    "pipeline.view": {*ENGINE, "pipeline.errors", "pipeline.storage"},
    "pipeline.export": {*ENGINE, *LEAVES, "actors.pools", "pipeline.audio", "pipeline.run", "pipeline.storage"},
    "pipeline.cluster": {
        *ENGINE,
        *LEAVES,
        *("actors.checkpoint", "actors.codec", "actors.terminated", "pipeline.notebook", "pipeline.storage"),
    },
    "pipeline.doctor": {
        *ENGINE,
        *LEAVES,
        *("actors.bench", "actors.checkpoint", "actors.codec", "actors.device", "actors.pools"),
        *("pipeline.audio", "pipeline.cluster", "pipeline.loading", "pipeline.read", "pipeline.run"),
        *("pipeline.sources", "pipeline.storage"),
    },
    "pipeline.job": {
        *ENGINE,
        *LEAVES,
        *(
            "actors.checkpoint",
            "pipeline.audio",
            "pipeline.cluster",
            "pipeline.read",
            "pipeline.run",
            "pipeline.sources",
        ),
        "pipeline.storage",
    },
    "pipeline.waves": {*ENGINE, *LEAVES, "actors.pools", "pipeline.cluster", "pipeline.run", "pipeline.storage"},
    "pipeline.changes": {*LEAVES, "pipeline.run", "pipeline.sources", "pipeline.storage"},
    "pipeline.dry_run": {
        *LEAVES,
        *("pipeline.audio", "pipeline.changes", "pipeline.run", "pipeline.sources", "pipeline.storage"),
    },
    "pipeline.agreement": {*ENGINE, *LEAVES, "pipeline.cluster", "pipeline.read", "pipeline.sources"},
    "pipeline.read": {
        *ENGINE,
        *LEAVES,
        *("actors.heap", "actors.pools", "actors.watchdog", "pipeline.audio", "pipeline.sources", "pipeline.storage"),
    },
    "pipeline.report": {
        *ENGINE,
        *LEAVES,
        *("actors.checkpoint", "actors.measures", "actors.pools"),
        *("pipeline.loading", "pipeline.run", "pipeline.sources", "pipeline.storage"),
    },
    "pipeline.loading": {*ENGINE, *LEAVES, "pipeline.audio", "pipeline.storage"},
    "pipeline.read_task": {
        *ENGINE,
        *LEAVES,
        *("actors.watchdog", "pipeline.audio", "pipeline.cluster", "pipeline.run", "pipeline.sources"),
    },
    "pipeline.recordings": {"pipeline.sources"},
    "pipeline.tell": {"pipeline.cluster", "pipeline.run"},
}
"""Of each room, which others it may import. Those that compose (flow and what stands on it) may import any below."""
COMPOSERS = (
    *("pipeline.flow", "pipeline.reconstruct", "pipeline.verify", "pipeline.bench", "pipeline.cli"),
    "pipeline.__main__",
)
RAY = (
    *("pipeline.agreement", "pipeline.flow", "pipeline.read_task", "pipeline.reconstruct", "pipeline.recordings"),
    *("pipeline.tell", "pipeline.waves"),
    *("pipeline.bench", "pipeline.cluster", "pipeline.doctor"),
)
MAX_FLOORS = 8


@pytest.mark.parametrize("name", room_arrows())
def test_a_room_imports_only_what_the_table_says(name: str) -> None:
    seen = room_arrows()[name]
    if name in MAY_IMPORT:
        assert seen <= MAY_IMPORT[name]
    else:
        assert name in COMPOSERS
        assert not seen & set(COMPOSERS[COMPOSERS.index(name) + 1 :])


def test_no_cycles_and_few_floors() -> None:
    floors(arrows())
    for package in ("actors", "pipeline"):
        inside = {name: {o for o in others if o.startswith(package)} for name, others in room_arrows().items()}
        found = floors({name: others for name, others in inside.items() if name.startswith(package)})
        found.pop("pipeline.__main__", None)  # which is the command and nothing else
        assert max(found.values()) < MAX_FLOORS


@pytest.mark.parametrize("name", modules())
def test_who_knows_ray_and_upstream(name: str) -> None:
    names = {other.partition(".")[0] for other in imported(modules()[name])}
    assert "ray" not in names or room(name) in RAY
    assert "qwen_tts" not in names or name == "actors.qwen"
    assert ast.get_docstring(ast.parse(modules()[name].read_text()))


def test_reading_and_the_engine_run_without_ray() -> None:
    absent = ["ray", "torch"]
    for code in (without([*absent, "pydantic", "typer"], "pipeline.read"), without(ENGINE_NEEDS_NO, "actors.codec")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.stdout.strip() == "ok", done.stderr


ENGINE_NEEDS_NO = ["ray", "transformers", "qwen_tts", "soundfile", "av", "soxr", "pydantic", "typer", "pipeline"]


def without(packages: list[str], module: str) -> str:
    """Code that imports `module` where `packages` cannot be imported."""
    return f"import sys; sys.modules.update(dict.fromkeys({packages})); import {module}; print('ok')"


def test_importing_the_interface_is_cheap() -> None:
    heavy = {"ray", "torch", "transformers", "matplotlib"}
    code = f"import sys; from pipeline import open_run; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_interface_is_told_before_it_is_imported() -> None:
    code = "import pipeline; names = dir(pipeline); print(all(hasattr(pipeline, name) for name in names), *names)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        *("True", "Recording", "Run", "VoxmillError", "__version__"),
        *("check", "export_run", "load_audio", "merge", "open_run", "retry", "tokenize"),
        "write_report",
    ]


def test_the_table_names_only_rooms_that_are_there() -> None:
    assert set(room_arrows()) == {*MAY_IMPORT, *COMPOSERS}
    assert all((ROOT / Path(*name.split("."))).is_dir() or name in modules() for name in MAY_IMPORT)


def test_both_packages_ship_their_types() -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package in ("actors", "pipeline"):
        assert "py.typed" in shipped[package]
        assert (ROOT / package / "py.typed").is_file()


def test_readme_shows_the_arrows_as_they_are() -> None:
    assert "```mermaid\n" + "\n".join(drawing()) + "\n```" in (ROOT / "README.md").read_text()
