"""A local Ray without the processes that only clusters have work for: each takes 0.5 to 1.2 s of CPU at the start.

Ray 2.60 has no switch for any of them, so its functions are replaced here by ones that start nothing. The end of the
context puts them back: a session on a cluster, later in the same process, is Ray's own.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import ray
from ray._private.node import Node

NO_WORK = ("start_monitor", "start_api_server", "start_log_monitor")
"""Of Ray's head node: what adds nodes, what answers the dashboard, what sends workers' output to the driver. The first
finds no autoscaler; `ray.init` would wait for the second even with `include_dashboard=False`; the third has no reader
with `log_to_driver=False`."""


@contextlib.contextmanager
def no_processes() -> Iterator[None]:
    """Inside, `ray.init(address="local")` starts nothing of NO_WORK."""
    with contextlib.ExitStack() as held:
        for name in NO_WORK:
            held.enter_context(mock.patch.object(Node, name, _nothing))
        yield


@contextlib.contextmanager
def no_actors() -> Iterator[None]:
    """Inside, Ray Data runs without its three actors: statistics for the dashboard, who has how much of the cluster,
    which actor is on which node. It would wait for the last two before it reads anything."""
    from ray.data._internal import stats
    from ray.data._internal.cluster_autoscaler import rate_based_cluster_autoscaler
    from ray.data._internal.execution.operators import actor_pool_map_operator

    replaced: tuple[tuple[Any, str, Any], ...] = (
        (stats, "get_or_create_stats_actor", Nobody),
        (rate_based_cluster_autoscaler, "DefaultAutoscalingCoordinator", WholeNode),
        (actor_pool_map_operator, "get_or_create_actor_location_tracker", Nobody),
        (actor_pool_map_operator, "get_actor_locations", _all_here),
    )
    with contextlib.ExitStack() as held:
        for module, name, instead in replaced:
            held.enter_context(mock.patch.object(module, name, instead))
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
