"""What is replaced for a local Ray is put back. The processes of a real one: tests/test_flow.py."""

from typing import Any

import pytest
from ray._private import ray_constants, services
from ray._private.node import Node
from ray.data._internal import stats

from pipeline.cluster import idle_agent
from pipeline.cluster.one_node import NO_WORK, no_actors, no_processes

AGENTS = (ray_constants.PROCESS_TYPE_DASHBOARD_AGENT, ray_constants.PROCESS_TYPE_RUNTIME_ENV_AGENT)


def replaced_agents() -> list[bool]:
    commands = [services._build_python_executable_command_memory_profileable(agent, "/nowhere") for agent in AGENTS]
    return [idle_agent.__file__ in command for command in commands]


def test_both_agents_are_replaced_inside() -> None:
    with no_processes():
        assert replaced_agents() == [True, True]
    assert replaced_agents() == [False, False]


def functions() -> list[Any]:
    return [*(getattr(Node, name) for name in NO_WORK), Node.start_raylet, stats.get_or_create_stats_actor]


def test_ray_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "get_or_create_stats_actor", object())  # the Ray of other tests may hold `no_actors`
    before = functions()
    with no_processes(), no_actors():
        assert not set(functions()) & set(before)
    assert functions() == before
