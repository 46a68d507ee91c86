"""A Ray cluster -> this process joined to it, its own code brought along, and every node known to run just that."""

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline import record
from pipeline.errors import ClusterError

CODE = ("pipeline", "actors")
"""The packages that travel to the workers of a cluster, checkpoint of the demo and all."""
OWN_CODE = "voxmill's code"
PACKAGES = (*(name for name in record.PACKAGES if name not in {"voxmill", "ray"}), "pydantic", "fsspec")
"""Distributions that a worker must have as the driver has them. Ray itself compares the versions of Ray and Python."""
CONNECT_S = 20.0
"""Until a port counts as dead; Ray itself tries for minutes, and says nothing."""
ANSWER_S = 600.0
"""Ray gives a node as long to set up what a job brings along."""


@contextlib.contextmanager
def clean_start() -> Iterator[None]:
    """Inside, Ray starts: it says nothing of no use, and its workers take no other `pipeline` or `actors` for ours.

    Its C++ side prints an error about restarts for every pool unless its log level says otherwise, and a line about
    that level: that one line goes nowhere. And it puts the folder that it is started in before all else on the path of
    its workers: where that holds a package of such a name, it is started in "/".
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    folder = Path.cwd()
    shadowed = any((folder / name).exists() and not (folder / name).samefile(_home(name)) for name in CODE)
    try:
        if shadowed:
            os.chdir("/")
        yield
    finally:
        os.chdir(folder)
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _home(package: str) -> Path:
    return Path(importlib.import_module(package).__path__[0])


def join(address: str | None) -> None:
    """Connect to the cluster at `address` (None: $RAY_ADDRESS); workers import this process's own packages.

    Raises ClusterError where no cluster answers, or one of another Ray or Python.
    """
    named = address or os.environ.get("RAY_ADDRESS", "")
    if named.startswith("ray://"):
        raise ClusterError(
            f"{named} is a Ray Client's address, which voxmill does not use. Submit it with `ray job submit`, or run "
            "it on a node of the cluster with the address 'auto'."
        )
    host, _, port = named.rpartition(":")
    try:
        if port.isdigit():
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise ClusterError(f"No Ray cluster answers at {named!r}: {error}.") from error
    with tempfile.TemporaryDirectory(prefix="vx") as folder:
        try:
            luggage = _luggage(Path(folder))
            with clean_start():
                ray.init(address, runtime_env=luggage, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(f"The Ray cluster at {named!r} cannot be used: {error}") from error


def _luggage(folder: Path) -> dict[str, list[str]]:
    """The runtime environment of this job: copies of the packages, in `folder` until Ray has them.

    Of a job that was submitted with `py_modules` of its own nothing: Ray would refuse a second list.
    """
    submitted = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
    if "py_modules" in submitted:
        return {}
    for name in CODE:
        shutil.copytree(_home(name), folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return {"py_modules": [str(folder / name) for name in CODE]}


def same_everywhere(other_nodes: bool = False) -> None:
    """Ask every node that is alive, or only those beside this one, what it would run.

    Raises ClusterError that names package, version wanted, version seen and node. Workers of nodes that join later
    compare their packages themselves.
    """
    here = ray.get_runtime_context().get_node_id() if other_nodes else None
    nodes = {
        node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, node {node['NodeID'][:8]})"
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != here
    }
    if nodes:
        refuse(installed(), _answers(nodes))


def _answers(nodes: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """What `installed` says on each node, by the node's name. A node that went away is left out."""
    cloudpickle.register_pickle_by_value(importlib.import_module(__name__))  # another voxmill there may not have it
    try:
        ask = ray.remote(installed)
        asked = {
            ask.options(
                num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(): node
            for node in nodes
        }
    finally:
        cloudpickle.unregister_pickle_by_value(importlib.import_module(__name__))
    _, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
    if silent:
        names = ", ".join(nodes[asked[answer]] for answer in silent)
        raise ClusterError(f"Nodes that did not answer within {ANSWER_S:g} s: {names}. Remove or repair them.")
    answers = {}
    for answer, node in asked.items():
        try:
            answers[nodes[node]] = ray.get(answer)
        except ray.exceptions.RayError as error:
            if any(other["NodeID"] == node and other["Alive"] for other in ray.nodes()):
                raise ClusterError(f"The node {nodes[node]} cannot run voxmill: {error}") from error
    return answers


def installed() -> dict[str, str | None]:
    """What this process runs: the version of each of PACKAGES (None: not installed), and a hash of voxmill's code.

    Sent to workers by value, so it needs nothing but the standard library. A version's local part is left out: nodes
    without a GPU may have a build of PyTorch for CPUs.
    """
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    digest = hashlib.sha256()
    for name in CODE:
        spec = importlib.util.find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            for file in sorted(Path(folder).glob("*.py")):
                digest.update(f"{name}/{file.name}\0".encode() + file.read_bytes())
    return {**found, OWN_CODE: digest.hexdigest()[:12]}


def refuse(wanted: Mapping[str, str | None], answers: Mapping[str, Mapping[str, str | None]]) -> None:
    """Raise ClusterError if any of `answers`, by the node's name, is not what is `wanted`."""
    others: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node, seen in answers.items():
        for name, version in wanted.items():
            if seen.get(name) != version:
                others[name, seen.get(name) or "none"].append(node)
    if not others:
        return
    lines = [
        f"{name} {wanted[name] or 'none'} is wanted, {version} is on {_some(names)}"
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


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
