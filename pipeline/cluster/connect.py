"""Ray started or joined; on a cluster, this process's own packages travel along."""

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._common.network_utils import parse_address
from ray._private.services import canonicalize_bootstrap_address

from pipeline.cluster.versions import CODE
from pipeline.errors import ClusterError
from pipeline.log_line import log_line

CONNECT_S = 20.0
"""Until a port counts as dead; Ray itself tries for minutes, and says nothing."""


@contextlib.contextmanager
def clean_start() -> Iterator[None]:
    """Inside, Ray starts: it says nothing of no use, and its workers take no other `pipeline` or `actors` for ours.

    Its C++ side prints an error about restarts for every pool unless its log level says otherwise, and a line about
    that level: that one line goes nowhere. And it puts the folder that it is started in before all else on the path of
    its workers: where that holds a package of such a name, it is started in "/".
    """
    shadowing = _shadowing_folder()
    theirs = "RAY_BACKEND_LOG_LEVEL" in os.environ
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        if shadowing:
            os.chdir("/")
        yield
    finally:
        if not theirs:
            del os.environ["RAY_BACKEND_LOG_LEVEL"]  # a Ray that the user starts later has reasons to tell
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        if shadowing:
            os.chdir(shadowing)


def _shadowing_folder() -> Path | None:
    """The working folder, where it holds another package of such a name; None where it does not, or cannot be read.

    Raises ClusterError where it was deleted.
    """
    try:
        folder = Path.cwd()
    except FileNotFoundError as error:
        raise ClusterError("The working folder was deleted: change to one that is there") from error
    try:
        others = [(folder / name).exists() and not (folder / name).samefile(_home(name)) for name in CODE]
    except OSError:
        return None
    return folder if any(others) else None


def _home(package: str) -> Path:
    return Path(importlib.import_module(package).__path__[0])


def join(address: str | None) -> None:
    """Connect to the cluster at `address` (None: $RAY_ADDRESS); workers import this process's own packages.

    Raises ClusterError where no cluster answers, or one of another Ray or Python.
    """
    named = address or "auto"
    if named == "auto":  # as Ray takes it
        named = os.environ.get("RAY_ADDRESS") or "auto"
    if named.startswith("ray://"):
        raise ClusterError(no_client(named))
    if named.startswith(("http://", "https://")):
        raise ClusterError(
            f"{named} is the address of a cluster's dashboard, for `ray job submit`: give --ray-address HOST:6379, or "
            "unset RAY_ADDRESS for a local Ray."
        )
    try:
        if named == "auto":
            named = _on_this_machine()
        host, port = parse_address(named) or ("", "")
        if port.isdigit():
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise ClusterError(f"No Ray cluster answers at {named!r}: {error}.") from error
    try:
        with tempfile.TemporaryDirectory(prefix="vx") as folder:
            luggage = _luggage(Path(folder))
            with clean_start():
                ray.init(address, runtime_env=luggage, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:  # OSError: also of the temporary folder
        raise ClusterError(f"The Ray cluster at {named!r} cannot be used: {error}") from error


def _on_this_machine() -> str:
    """The address of the Ray that runs here. Raises ClusterError where there is none."""
    try:
        return canonicalize_bootstrap_address("auto") or "auto"
    except ConnectionError as error:
        raise ClusterError(
            "No Ray runs on this machine: start one, or give --ray-address HOST:6379, or leave it out for a local Ray."
        ) from error


def no_client(named: str) -> str:
    """Why Ray Client is refused."""
    return (
        f"{named} is of a Ray Client (ray://...), which voxmill does not use. Submit the run with `ray job submit`, or "
        "start it on a node of the cluster with the address 'auto'."
    )


@contextlib.contextmanager
def tell_of_lost_head(address: str, every_s: float = 5.0) -> Iterator[None]:
    """Inside, a line is printed once nothing answers at `address` (host:port), the cluster's head: a minute later Ray
    ends this process without a word."""
    over = threading.Event()

    def watch() -> None:
        host, port = parse_address(address)
        while not over.wait(every_s):
            try:
                socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
            except OSError as error:
                log_line(
                    f"the cluster's head at {address} does not answer ({error}). If it stays away, Ray ends this "
                    "process within a minute or two; then run the same command (without --overwrite) on another"
                )
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


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
