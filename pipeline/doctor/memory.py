"""Host memory, its limit, shared memory and open files -> findings."""

import resource
import shutil
from pathlib import Path

from pipeline.doctor.finding import Finding, change, ok

GIB = 2**30
BASE = 2 * GIB
"""Bytes of a run with one reader and one actor of each pool: 1.5 GiB were measured over all its processes, with the
demo model; the official weights add 0.7 GB."""
READER = 400 * 2**20
"""Bytes of each further reader at its peak, with blocks of 32 MiB."""
STORE_SHARE = 0.3
"""Of the available memory, which Ray takes for its object store (RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION)."""
STORE_LEAST = 10**10
"""Bytes: a smaller /dev/shm does not make the object store smaller than this; Ray 2.60 then puts it elsewhere."""
SHM = Path("/dev/shm")
RAISED = 65_536
"""Open files to which Ray raises its own limit, as far as the hard limit goes."""
OPEN_FILES = 4_096
"""Below which Ray 2.60 warns of connections that fail."""


def check_memory(available: int | None, limit: int | None, readers: int) -> Finding:
    """`available`: bytes that are free on the host (None: unknown). `limit`: of the control group (None: none)."""
    known = [number for number in (available, limit) if number is not None]
    of_group = "no control group limits it" if limit is None else f"the control group allows {limit / GIB:.1f} GiB"
    seen = f"{available / GIB:.1f} GiB available, {of_group}" if available is not None else of_group
    needed = BASE + READER * (readers - 1)
    if not known or min(known) >= needed:
        return ok("memory", seen)
    fit = int(max(0, min(known) - BASE) // READER) + 1
    advice = f"--set input.readers={fit}" if min(known) >= BASE else "End other processes, or use a larger machine."
    return change("memory", seen, f"{needed / GIB:.1f} GiB for {readers} readers and the pools", advice)


def check_shared_memory(available: int, limit: int | None, free: int | None) -> Finding:
    """Whether Ray's object store fits into /dev/shm. `available`: free host memory, `limit`: of the control group,
    `free`: of /dev/shm, in bytes; None: there is none."""
    if free is None:
        return ok("shared memory", f"no {SHM}: Ray keeps its objects in files")
    store = min(int(min(available, limit or available) * STORE_SHARE), max(STORE_LEAST, int(free * 0.95)))
    seen = f"{SHM} has {free / GIB:.2f} GiB free; Ray's object store will take {store / GIB:.2f} GiB"
    if store <= free:
        return ok("shared memory", seen)
    advice = f"Enlarge it: docker run --shm-size={store * 1.1 / GIB:.1f}g; in Kubernetes an emptyDir of medium Memory."
    return change("shared memory", seen, "all of it in shared memory: else objects go through files", advice)


def shared_memory() -> int | None:
    """Bytes that are free in /dev/shm; None where there is none."""
    return shutil.disk_usage(SHM).free if SHM.is_dir() else None


def check_open_files() -> Finding:
    """The limit of open files that Ray's processes will have."""
    soft, hard = (
        RAISED if one == resource.RLIM_INFINITY else one for one in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    effective = max(soft, min(hard, RAISED))
    seen = f"{soft}, hard limit {hard}"
    if effective < OPEN_FILES:
        return change("open files", seen, f"{OPEN_FILES} or more", f"ulimit -n {max(8192, RAISED)} before the run.")
    return ok("open files", seen)
