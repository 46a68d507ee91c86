"""Ray -> a finding: importable, the cluster at an address reachable, its nodes alike; and its resources.

The cluster is asked by a process of its own, which is ended where no answer comes: joining one has no time-out.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from pipeline.doctor.disk import existing
from pipeline.doctor.finding import Finding, change, ok
from pipeline.errors import plural
from pipeline.storage.location import redact

ANSWER_S = 90.0
"""Time-out: to join a cluster takes seconds, and its nodes may have to unpack voxmill's code first."""
CHILD = "pipeline.doctor.ask_cluster"
SOCKET_BYTES = 107
"""Linux's limit of the path of a socket."""
_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"


def check_ray(address: str | None, local: dict[str, float], answer_s: float = ANSWER_S) -> tuple[Finding, dict | None]:
    """The finding, and the resources that a run would have (None: it could not start).

    `address`: of a cluster; None: a run starts a local Ray, with the resources `local`. Starts no Ray.
    """
    import ray
    from ray._common.utils import get_default_ray_temp_dir

    address = address or os.environ.get("RAY_ADDRESS") or None  # empty: as unset, as Ray takes it
    if address is None and (unfit := _unfit_folder(get_default_ray_temp_dir())):
        return unfit, local
    if address is None:
        return ok("Ray", f"{ray.__version__}; no address: a run starts a local one of {_in_words(local)}"), local
    text, name = ask(address, answer_s), redact(address)
    if text is None:
        seen = f"{name} takes connections, but no cluster answered within {answer_s:g} s"
        return change("Ray", seen, "the address of a Ray head (HOST:6379, or auto on one of its nodes)", _ADVICE), None
    found = json.loads(text)
    if "error" in found:
        return change("Ray", found["error"], "a cluster that answers, all its nodes alike", _ADVICE), None
    seen = f"{ray.__version__}; {name}: {plural(found['nodes'], 'node')}, {_in_words(found['resources'])}"
    return ok("Ray", seen), found["resources"]


def _unfit_folder(folder: str) -> Finding | None:
    """The finding where a local Ray cannot make its sockets and logs in `folder`."""
    longest, advice = len(os.fsencode(folder + _SOCKET)), "Set RAY_TMPDIR to a short path where you may write."
    if longest > SOCKET_BYTES:
        expected = f"{SOCKET_BYTES} bytes at most for the paths of sockets"
        return change(
            "Ray", f"its folder would be {folder}, the paths of its sockets {longest} bytes", expected, advice
        )
    if not os.access(existing(Path(folder)), os.W_OK):
        return change("Ray", f"its folder would be {folder}, which cannot be written", "a folder that can", advice)
    return None


_ADVICE = "Check --ray-address, that the head runs (`ray status` there), and that its port is open."


def _in_words(resources: dict[str, float]) -> str:
    return f"{plural(resources.get('CPU', 0), 'CPU')}, {plural(resources.get('GPU', 0), 'GPU')}"


def ask(address: str, answer_s: float) -> str | None:
    """What the child says, a line of JSON; None: it was ended after `answer_s`. Nothing of it is left."""
    command = [sys.executable, "-m", CHILD, address]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, err = child.communicate(timeout=answer_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if out.strip():
        return out.strip().splitlines()[-1]
    return json.dumps({"error": err.strip().splitlines()[-1] if err.strip() else f"exit code {child.returncode}"})
