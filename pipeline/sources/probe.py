"""Planned tasks -> of each storage root, locations that open on the driver -> proof that a worker's node opens one too.

A node that lacks a mount or the credentials of a bucket would turn the whole queue into failures, at thousands a
second. Web servers are left out: they fail one by one, whoever asks.
"""

import functools
import os
import platform
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipeline.errors import ClusterError, InputError, UnreadableAudio
from pipeline.sources.task import ReadTask
from pipeline.storage.access import Access
from pipeline.storage.location import is_http, is_local, local_path, redact
from pipeline.storage.opening import open_stream
from pipeline.storage.translate import opening_errors_as

MAX_ROOTS = 64
"""More would keep workers from reading; a corpus has one or two."""
CANDIDATES = 4
"""Locations of a root that the driver tries: some of a corpus may be missing."""
PROBES = 2
"""Locations of a root that a worker gets: one may be gone when a node joins later."""
THREADS = 16

Probes = Mapping[str, tuple[str, ...]]
"""root -> locations that the driver could open."""


def probes(tasks: Iterable[ReadTask], access: Access) -> Probes:
    """Of the roots of the tasks' first locations, up to PROBES locations each; roots where none opens are left out."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        location = task.units["@location"][0].as_py()
        root = root_of(location)
        if root is None or (root not in found and len(found) == MAX_ROOTS):
            continue
        known = found.setdefault(root, [])
        if len(known) < CANDIDATES and location not in known:
            known.append(location)
    once = replace(access, retries=0)
    with ThreadPoolExecutor(THREADS) as pool:
        opening = pool.map(lambda locations: [one for one in locations if not why_not(one, once)], found.values())
        return {root: tuple(good[:PROBES]) for root, good in zip(found, opening, strict=True) if good}


def root_of(location: str) -> str | None:
    """The mount point of a local path, the bucket of a URI; None: no probe for this."""
    if not location or is_http(location):
        return None
    if not is_local(location):
        return redact("/".join(location.split("/", 3)[:3]))
    try:
        return _mount(os.path.dirname(local_path(location)))
    except InputError:
        return None


@functools.cache
def _mount(folder: str) -> str:
    while not os.path.ismount(folder):
        folder = os.path.dirname(folder)
    return folder


@functools.cache
def why_not(location: str, access: Access) -> str | None:
    """Why this process cannot read the first byte of `location`; None: it can. Asked once."""
    try:
        with opening_errors_as(location, UnreadableAudio), open_stream(location, access) as file:
            file.read(1)
    except (InputError, UnreadableAudio) as error:
        return str(error)
    return None


def refuse_blind_node(roots: Probes, access: Access) -> None:
    """Raise ClusterError in a worker that opens none of the locations of a root, which the driver opened."""
    for root, locations in roots.items():
        reasons = [why_not(location, access) for location in locations]
        if all(reasons):
            raise ClusterError(
                f"Node {platform.node()} does not see the inputs on {root}, which the driver sees: {reasons[0]}. Mount "
                "it there, give the node its credentials, or take the node out of the cluster; the same command then "
                "goes on."
            )
