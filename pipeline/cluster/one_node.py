"""A local Ray without the processes that only clusters have work for: each takes 0.5 to 1.2 s of CPU at the start.

Ray 2.60 has no switch for any of them, so its functions are replaced here by ones that start nothing. The end of each
context puts them back: a session on a cluster, later in the same process, is Ray's own.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray._private import ray_constants, services, utils
from ray._private.node import Node

from pipeline.cluster import idle_agent

_RAYLET: Any = ray._raylet  # typed as Any: its declarations lack these names
NO_WORK = ("start_monitor", "start_api_server", "start_log_monitor")
"""Of Ray's head node: what adds nodes, what answers the dashboard, what sends workers' output to the driver. The first
finds no autoscaler; `ray.init` would wait for the second even with `include_dashboard=False`; the third has no reader
with `log_to_driver=False`."""
AGENT = ray_constants.PROCESS_TYPE_DASHBOARD_AGENT
ENV_AGENT = ray_constants.PROCESS_TYPE_RUNTIME_ENV_AGENT
AGENT_PORTS = (
    _RAYLET.METRICS_AGENT_PORT_NAME,
    _RAYLET.METRICS_EXPORT_PORT_NAME,
    _RAYLET.DASHBOARD_AGENT_LISTEN_PORT_NAME,
)
"""A process that the raylet starts, and the ports of it that it waits for. Without `ray[default]` this one has none;
with it, the metrics of a local run would be at a port that nobody knows. The other agent, of runtime environments,
starts when it is asked: a raylet without it ends at the first task that has one."""
NO_PORT = -1
"""Says that there is none."""
REGISTERED_S, POLL_S = 30.0, 0.01
"""Ray's time-out for a raylet to start, and how often this asks for it."""


@contextlib.contextmanager
def no_processes() -> Iterator[None]:
    """Inside, `ray.init(address="local")` starts nothing of NO_WORK, and an idle process in place of AGENT."""
    start_raylet, command = Node.start_raylet, services._build_python_executable_command_memory_profileable

    def without_agent(node: Node, *given: Any) -> None:
        for name in AGENT_PORTS:
            _RAYLET.persist_port(node.get_session_dir_path(), node.node_id, name, NO_PORT)
        start_raylet(node, *given)
        _until_registered(node)

    def idle(component: str, *given: Any, **named: Any) -> list[str]:
        instead = [sys.executable, "-S", idle_agent.__file__]
        if component == AGENT:
            return instead
        if component == ENV_AGENT:
            return [*instead, idle_agent.UNTIL_ASKED, *command(component, *given, **named)]
        return command(component, *given, **named)

    replaced = ((Node, name, _nothing) for name in NO_WORK)
    with _in_place(
        *replaced,
        (Node, "start_raylet", without_agent),
        (services, command.__name__, idle),
        (utils, "get_dashboard_dependency_error", lambda: None),  # it imports what an agent would need: 0.2 s
    ):
        yield


def _until_registered(node: Node) -> None:
    """Until the raylet is known to Ray's head, after 0.2 s. Ray itself asks once, and again a second later."""
    end = time.monotonic() + REGISTERED_S
    while not node.get_gcs_client().get_all_node_info() and time.monotonic() < end:
        time.sleep(POLL_S)


@contextlib.contextmanager
def no_actors() -> Iterator[None]:
    """Inside, Ray Data runs without its three actors: statistics for the dashboard, who has how much of the cluster,
    which actor is on which node. It would wait for the last two before it reads anything."""
    from ray.data._internal import stats
    from ray.data._internal.cluster_autoscaler import rate_based_cluster_autoscaler
    from ray.data._internal.execution.operators import actor_pool_map_operator

    with _in_place(
        (stats, "get_or_create_stats_actor", Nobody),
        (rate_based_cluster_autoscaler, "DefaultAutoscalingCoordinator", WholeNode),
        (actor_pool_map_operator, "get_or_create_actor_location_tracker", Nobody),
        (actor_pool_map_operator, "get_actor_locations", _all_here),
    ):
        yield


@contextlib.contextmanager
def _in_place(*replaced: tuple[Any, str, Any]) -> Iterator[None]:
    """Inside, what each owner holds by a name is something else."""
    with contextlib.ExitStack() as held:
        for owner, name, instead in replaced:
            held.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, instead)
        yield


class Nobody:
    """In place of an actor's handle: every call of every method does nothing. Its answers are never asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Method()


class Method:
    """A method of `Nobody`."""

    def remote(self, *arguments: Any) -> None:
        """The call."""


class WholeNode:
    """Ray Data's view of the cluster: it has all of this node. Elsewhere an actor shares out between datasets."""

    def __init__(self, **identity: Any) -> None:
        self._node: dict[str, dict[str, float]] = {}

    def request_resources(self, *wanted: Any, **how: Any) -> None:
        """There are no nodes to add."""

    def cancel_request(self) -> None:
        """Nothing was requested."""

    def get_reserved_resources(self) -> dict[str, dict[str, float]]:
        """node id -> its resources."""
        self._node = self._node or {one["NodeID"]: one["Resources"] for one in ray.nodes()}
        return self._node


def _nothing(node: Node, **how: Any) -> None:
    pass


def _all_here(actors: Sequence[str]) -> dict[str, str]:
    """actor -> the node that it is on."""
    return dict.fromkeys(actors, ray.get_runtime_context().get_node_id())
