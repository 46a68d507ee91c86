"""One object in an actor of its own, beside the driver, that the pools tell and ask."""

from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NOTE_S = 10.0
"""Time-out for a last word: a process that ends itself does not wait for a driver that is gone."""


def keeper(kind: type, *arguments: Any) -> Any:
    """An actor that keeps `kind(*arguments)`, which workers tell and ask; it takes no CPU, and stays by the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(kind).options(num_cpus=0, scheduling_strategy=here).remote(*arguments)


@dataclass
class RemoteLedger:
    """`actors.pools.isolate.Ledger` in a keeper, as the pools call it."""

    actor: Any
    last: str = ""  # begun in this process

    def begin(self, key: str) -> list[str]:
        """How each process ended that began `key` and did not come through since."""
        self.last = key
        return ray.get(self.actor.begin.remote(key))

    def note(self, key: str, how: str) -> None:
        """The process that began `key` last is about to end itself; `how` says why. Waits until it is noted."""
        ray.get(self.actor.note.remote(key, how), timeout=NOTE_S)

    def note_last(self, how: str) -> None:
        """`note` of what this process began last."""
        self.note(self.last, how)

    def end(self, key: str) -> None:
        """`key` came through."""
        self.actor.end.remote(key)
