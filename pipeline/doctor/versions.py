"""The packages that are installed, against what voxmill's own metadata asks for -> findings."""

import importlib.metadata
import platform

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline.doctor.finding import Finding, change, ok, warn


def check_versions(distribution: str = "voxmill") -> list[Finding]:
    """A finding for each package that is missing or of another version, or one that all are right."""
    try:
        asked = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        seen = f"{distribution} runs from a folder, so nothing says which versions it needs"
        return [warn("versions", seen, "an installed package", "pip install -e FOLDER")]
    found = [_compare(one) for one in map(Requirement, asked.requires or []) if _always(one)]
    wrong = [one for one in found if one.level != "ok"]
    python = asked.metadata["Requires-Python"]  # None where it names none
    if python and platform.python_version() not in SpecifierSet(python, prereleases=True):
        wrong.append(change("Python", platform.python_version(), python, "Use another Python."))
    if wrong:
        return wrong
    return [ok("versions", f"Python {platform.python_version()}, {', '.join(one.seen for one in found)}")]


def _always(one: Requirement) -> bool:
    """Whether a requirement is of no extra, and of this platform."""
    return one.marker is None or one.marker.evaluate({"extra": ""})


def _compare(wanted: Requirement) -> Finding:
    name, needed = wanted.name, str(wanted.specifier) or "any version"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return change(name, "not installed", needed, f"pip install '{name}{wanted.specifier}'")
    if version.partition("+")[0] not in SpecifierSet(str(wanted.specifier), prereleases=True):
        return change(name, version, needed, f"pip install '{name}{wanted.specifier}'")
    return ok(name, f"{name} {version}")
