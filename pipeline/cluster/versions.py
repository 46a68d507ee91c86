"""The versions of packages and the hash of voxmill's code in a process, and their comparison. No Ray."""

import hashlib
import importlib.metadata
import importlib.util
import platform
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import ClusterError, listed
from pipeline.version import __version__

PACKAGES = (
    "voxmill",
    "ray",
    "torch",
    "safetensors",
    "pyarrow",
    "numpy",
    "soundfile",
    "soxr",
    "av",
    "librosa",
)
"""Packages that can change the codes: run.json records their versions."""
ON_WORKERS = (*(name for name in PACKAGES if name not in {"voxmill", "ray"}), "pydantic", "fsspec")
"""Distributions whose versions must be the driver's on every worker. Ray itself compares those of Ray and Python."""
FOR_SPEECH = ("silero-vad", "onnxruntime")
"""The same, of runs with `input.vad`: other versions may find other stretches."""
CODE = ("pipeline", "actors")
"""The packages that are sent to the workers of a cluster, with the demo checkpoint."""
OWN_CODE = "voxmill's code"


def versions() -> dict[str, str]:
    """Installed versions of Python and PACKAGES."""
    others = {name: importlib.metadata.version(name) for name in PACKAGES if name != "voxmill"}
    return {"python": platform.python_version(), "voxmill": __version__, **others}


def installed() -> dict[str, str | None]:
    """The version of each of ON_WORKERS and FOR_SPEECH (None: not installed) here, and a hash of voxmill's code.

    Sent to workers by value, so it uses only the standard library. The local part of a version is dropped: nodes
    without a GPU may have PyTorch's CPU build.
    """
    found: dict[str, str | None] = {}
    for name in (*ON_WORKERS, *FOR_SPEECH):
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    digest = hashlib.sha256()
    for name in CODE:
        spec = importlib.util.find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{name}/{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return {**found, OWN_CODE: digest.hexdigest()[:12]}


def refuse(wanted: Mapping[str, str | None], answers: Mapping[str, Mapping[str, str | None]]) -> None:
    """Raise ClusterError if one of `answers`, by the node's name, differs from `wanted`."""
    others: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node, seen in answers.items():
        for name, version in wanted.items():
            if seen.get(name) != version:
                others[name, seen.get(name) or "none"].append(node)
    if not others:
        return
    lines = [
        f"{name} {wanted[name] or 'none'} is wanted, {version} is on {listed(names, 3)}"
        for (name, version), names in others.items()
    ]
    shadowed = any(name == OWN_CODE for name, _ in others)
    advice = (
        "Leave `ray.init` to voxmill; or give it runtime_env={'py_modules': [pipeline, actors]}, in a folder that has "
        "no other `pipeline` or `actors`."
        if shadowed
        else "Install on every node what is installed here, most simply by one image for all."
    )
    raise ClusterError(f"Not every node would run what this process runs: {'; '.join(lines)}. {advice}")
