"""The nodes of a cluster -> a check, before they get work, that each runs this process's code and packages."""

from collections.abc import Mapping

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster import versions
from pipeline.cluster.versions import FOR_SPEECH, installed, refuse
from pipeline.errors import ClusterError

ANSWER_S = 600.0
"""Time-out for an answer: Ray's own for setting up a runtime environment, for a node first sets up the job's."""


def same_everywhere(other_nodes: bool = False) -> None:
    """Compare the packages and code of every live node, or only of the `other_nodes`, with this process's.

    Raises a ClusterError that names package, version wanted, version seen and node. Workers of nodes that join later
    compare their packages themselves, and those that read with input.vad also FOR_SPEECH.
    """
    here = ray.get_runtime_context().get_node_id() if other_nodes else None
    nodes = {
        node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, node {node['NodeID'][:8]})"
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != here
    }
    if nodes:
        wanted = {name: version for name, version in installed().items() if name not in FOR_SPEECH}
        refuse(wanted, _answers(nodes))


def _answers(nodes: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """The result of `installed` on each node, by the node's name. A node that was lost meanwhile is left out."""
    cloudpickle.register_pickle_by_value(versions)  # another version of voxmill on the node may not have it
    try:
        ask = ray.remote(installed)
        asked = {
            ask.options(
                num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(): node
            for node in nodes
        }
    finally:
        cloudpickle.unregister_pickle_by_value(versions)
    answer_s = _answer_s()
    _, silent = ray.wait(list(asked), num_returns=len(asked), timeout=answer_s)
    if silent:
        names = ", ".join(nodes[asked[answer]] for answer in silent)
        raise ClusterError(f"Nodes that did not answer within {answer_s:g} s: {names}. Remove or repair them.")
    answers = {}
    for answer, node in asked.items():
        try:
            answers[nodes[node]] = ray.get(answer)
        except ray.exceptions.RayError as error:
            if any(other["NodeID"] == node and other["Alive"] for other in ray.nodes()):
                raise ClusterError(f"The node {nodes[node]} cannot run voxmill: {error}") from error
    return answers


def _answer_s() -> float:
    """ANSWER_S, or the job's own `setup_timeout_seconds` where that is longer; of -1, no limit, Ray's own 11 days."""
    config = ray.get_runtime_context().runtime_env.get("config") or {}
    setup_s = config.get("setup_timeout_seconds", ANSWER_S)
    return max(ANSWER_S, setup_s if setup_s > 0 else 1e6)
