"""Settings -> a running Ray: the current one, a cluster, or a local one; and the context of its datasets."""

import contextlib
import dataclasses
import importlib
import logging
import math
import os
import re
import secrets
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_default_ray_temp_dir, get_system_memory
from ray._private.utils import resolve_object_store_memory
from ray.util.annotations import RayDeprecationWarning

from actors.terminated import unwinding
from pipeline import errors
from pipeline.cluster.cgroup import memory_limit
from pipeline.cluster.connect import clean_start, join, no_client, tell_of_lost_head
from pipeline.cluster.nodes import same_everywhere
from pipeline.cluster.one_node import no_actors, no_processes
from pipeline.cluster.resources import local_cpus
from pipeline.errors import ClusterError, DeviceError, VoxmillError
from pipeline.log_line import log_line
from pipeline.settings import Settings

STALLS, START_S = 4, 600.0
"""A recording may end as many processes after `stall_s` of silence before it is given up, and each takes its time to
start; only then is it Ray where nothing moves. Its own bound of 1,800 s would end the run at the first."""
GOES_ON = (
    "What a run has committed stays: the same command (without --overwrite) goes on from there; `decode` begins anew."
)
_ONE, PATIENCE_S = threading.RLock(), 10.0
"""Held by the session of a thread: Ray and the context of its datasets are the process's. While Ray starts, for some
seconds, nothing that is said of it is seen."""
MAX_INIT_DEATHS = 3
"""Actors in a row that may die while they load the model (a node lost just then) before the run stops."""


@contextlib.contextmanager
def session(settings: Settings) -> Iterator[None]:
    """Inside, Ray runs: the one already connected to, the cluster at `ray_address` or $RAY_ADDRESS, or a local one.

    Another thread's session waits for its end. Raises ClusterError if a node has other code or other packages than this
    process.
    """
    if not _ONE.acquire(timeout=PATIENCE_S):
        log_line("another run of this process comes first")
        _ONE.acquire()
    try:
        with _session(settings):
            yield
    finally:
        _ONE.release()


@contextlib.contextmanager
def _session(settings: Settings) -> Iterator[None]:
    local = settings.ray_address is None and not os.environ.get("RAY_ADDRESS") and not ray.is_initialized()
    if settings.device.startswith("cuda:") and not local:
        raise DeviceError(
            f"device {settings.device!r} picks a GPU of this machine, for a Ray that is started here; on a cluster, or"
            " where Ray runs already, use 'cuda'."
        )
    if ray.is_initialized():
        if ray.util.client.ray.is_connected():
            raise ClusterError(no_client("This Ray"))
        same_everywhere(other_nodes=True)
        yield
        return
    try:
        with _import_beside("ray.data"), _visible(settings.device):
            if local:
                with _interrupts_wait():
                    _start_local()
            else:
                join(settings.ray_address)
        if not local:
            same_everywhere()
        with unwinding(), no_actors() if local else tell_of_lost_head(ray.get_runtime_context().gcs_address):
            yield
    finally:
        with _interrupts_wait():
            ray.shutdown()


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Inside, Ctrl-C or a kernel's stop button takes effect at the end, some seconds later: a Ray that is broken off
    while it starts or ends leaves its processes behind, or takes a kernel and its variables with it."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    if not callable(handler):  # in another thread there are none, and a shell's background job ignores them
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        handler(came[0], None)


@contextlib.contextmanager
def _visible(device: str) -> Iterator[None]:
    """Inside, processes that start see the GPU that cuda:N names alone: the Nth of those that this process may see.

    Raises DeviceError where there are fewer.
    """
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not device.startswith("cuda:"):
        yield
        return
    number = device.removeprefix("cuda:")
    if before is not None:
        names = [name.strip() for name in before.split(",") if name.strip()]
        if int(number) >= len(names):
            raise DeviceError(f"device is {device!r}, and CUDA_VISIBLE_DEVICES is {before!r}; count from cuda:0.")
        number = names[int(number)]
    os.environ["CUDA_VISIBLE_DEVICES"] = number
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


@contextlib.contextmanager
def _import_beside(module: str) -> Iterator[None]:
    """Inside, `module` is imported by a thread: the processes of Ray take longer to start than its half second."""
    thread = threading.Thread(target=importlib.import_module, args=(module,))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _start_local() -> None:
    """Start a local Ray, which ends with this process. Raises ClusterError where it does not start."""
    try:
        _own_token()
        with clean_start(), no_processes():
            ray.init(
                address="local",
                num_cpus=local_cpus(),
                **_memory(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _system_config={"prestart_worker_first_driver": False},  # ray.init would wait for a worker on each CPU
            )
    except ClusterError:
        raise
    except Exception as error:  # a bare Exception where a process of Ray does not come up
        folder = get_default_ray_temp_dir()
        raise ClusterError(
            f"Ray does not start on this machine: {str(error).strip()}. Its folder, with its logs, is {folder}: it "
            "must be writable and its path short ($RAY_TMPDIR sets another). Limits (`ulimit -a`) of memory, processes "
            "and file sizes must be wide."
        ) from error


def _own_token() -> None:
    """Give every Ray of this process a token where its user has no home directory to keep one in, as in many
    containers. Elsewhere Ray writes one there, with which `ray status` works."""
    home = Path(os.path.expanduser("~"))
    folder = home / ".ray"
    kept = (folder / "auth_token").exists() or os.access(folder if folder.exists() else home, os.W_OK)
    if not kept and not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(16)  # for good: Ray reads it once in a process


def _memory() -> dict[str, Any]:
    """Arguments of `ray.init`, in bytes, where a control group gives this process less memory than Ray sees: it looks
    at the topmost group alone, and misses the limit of a SLURM step or of a systemd unit."""
    limit = memory_limit()
    if limit is None or limit >= get_system_memory():
        return {}
    store = resolve_object_store_memory(limit)
    return {"object_store_memory": store, "_memory": limit - store}


@contextlib.contextmanager
def data_context(block_bytes: int, stall_s: float) -> Iterator[None]:
    """Inside, datasets use blocks of `block_bytes`, Ray shows no progress bars of its own, and a dataset ends if
    nothing moves in it for several times `stall_s` (0: never).

    Raises the VoxmillError that a worker raised. Raises ClusterError if nothing moved, if a process died, or if GPUs
    were lost; a caller that can go on without these GPUs catches LostActors inside.
    """
    from ray.data import DataContext  # here, for `session` imports it while Ray starts
    from ray.data.exceptions import ExecutionTimeoutError

    from pipeline.cluster.forget_blocks import ForgetBlocks
    from pipeline.cluster.lost_actors import NoticeLostActors

    context = DataContext.get_current()
    theirs = context.custom_execution_callback_classes
    still_s = STALLS * stall_s + START_S if stall_s else math.inf
    mine = {
        "execution_no_progress_timeout_s": still_s,
        "target_max_block_size": block_bytes,
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "max_errored_blocks": 0,
        "max_consecutive_actor_init_deaths": MAX_INIT_DEATHS,
        "custom_execution_callback_classes": [*theirs, ForgetBlocks, NoticeLostActors],
        "autoscaling_config": dataclasses.replace(  # pools do not shrink while readers are slow: loading takes longer
            context.autoscaling_config, actor_pool_util_downscaling_threshold=-1.0
        ),
    }
    before = {name: getattr(context, name) for name in mine}
    levels = {name: logging.getLogger(name).level for name in ("ray.data", "ray")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # their errors are raised too
    for name, value in mine.items():
        setattr(context, name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RayDeprecationWarning)
            warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)  # a small input
            yield
    except ExecutionTimeoutError as error:
        active = "; ".join(line.strip(" -") for line in str(error).splitlines() if line.startswith("  - "))
        raise ClusterError(
            f"Nothing moved for {still_s:.0f} s ({active}). An actor may wait for a GPU or a node that does not come: "
            f"see `ray status`. {GOES_ON}"
        ) from error
    except errors.LostActors as error:
        raise ClusterError(f"{error} {GOES_ON}") from error
    except ray.exceptions.RayError as error:
        raise _users_error(error) or _lost_process(error) or error from None
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _lost_process(error: ray.exceptions.RayError) -> ClusterError | None:
    """What to say where an actor died that the run cannot do without; None for other errors."""
    found = re.search(
        r"^(?:ray\.exceptions\.ActorDiedError: )?The actor died.*\n\tclass_name: (.+)", str(error), re.MULTILINE
    )
    return found and ClusterError(f"A process of the run died, of too little memory perhaps: {found[1]}. {GOES_ON}")


def _users_error(error: ray.exceptions.RayError) -> VoxmillError | None:
    """The VoxmillError that a worker raised; None for other errors. Ray passes on only its text, after a traceback."""
    found = re.findall(r"^(?:pipeline|actors)\.errors\.(\w+): (.+)$", str(error), re.MULTILINE)
    return getattr(errors, found[-1][0])(found[-1][1]) if found else None
