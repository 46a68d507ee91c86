"""The project's files -> which module imports which, and which folder ("room") imports which.

python -m tests.helpers.rooms          # prints the Mermaid graph of README's last section
"""

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "actors")


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the project, by its dotted name."""
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


@functools.cache
def imported(file: Path) -> set[str]:
    """Every module that `file` imports, anywhere in it; `from a import b` is a.b where that is a module."""
    found, known = set(), modules()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known.keys()
            if names - known.keys():
                found.add(node.module)
    return found


def room(module: str) -> str:
    """The folder of a module of ours; a module beside the folders is a room of its own."""
    folder = ROOT.joinpath(*module.split(".")[:2])
    return ".".join(module.split(".")[:2]) if folder.is_dir() else module


@functools.cache
def arrows() -> dict[str, set[str]]:
    """module -> the modules of ours that it imports."""
    known = modules()
    return {name: {other for other in imported(file) if other in known} for name, file in known.items()}


@functools.cache
def room_arrows() -> dict[str, set[str]]:
    """room -> the other rooms that its modules import."""
    found: dict[str, set[str]] = {}
    for module, others in arrows().items():
        found.setdefault(room(module), set()).update({room(other) for other in others} - {room(module)})
    return found


def floors(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """node -> 0 where it imports nothing, else one more than the highest it imports. ValueError names a cycle."""
    found: dict[str, int] = {}

    def visit(node: str, path: tuple[str, ...]) -> int:
        if node in path:
            raise ValueError(" -> ".join([*path[path.index(node) :], node]))
        if node not in found:
            found[node] = max((visit(other, (*path, node)) + 1 for other in graph[node]), default=0)
        return found[node]

    for node in graph:
        visit(node, ())
    return found


def drawing() -> Iterator[str]:
    """A Mermaid graph of the rooms of both packages: an arrow that follows from two others is left out."""
    graph = {name: {o for o in others if o in FOLDERS} for name, others in room_arrows().items() if name in FOLDERS}
    yield "graph TD"
    for name, others in sorted(graph.items()):
        for other in sorted(others - {far for near in others for far in _below(graph, near)}):
            yield f"    {name} --> {other}"


def _below(graph: Mapping[str, set[str]], node: str) -> set[str]:
    return graph[node] | {far for near in graph[node] for far in _below(graph, near)}


FOLDERS = {name for name in map(room, modules()) if ROOT.joinpath(*name.split(".")).is_dir() and "." in name} | {
    *("pipeline.flow", "pipeline.read", "pipeline.reconstruct", "actors.codec")
}

if __name__ == "__main__":
    print("\n".join(drawing()))
