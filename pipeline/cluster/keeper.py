"""Objects in an actor beside the driver, which the workers tell and ask: one actor, for each costs a process."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NOTE_S = 10.0
"""Time-out for a last word: a process that ends itself does not wait for a driver that is gone."""


class _Keeper:
    """The actor."""

    def __init__(self, kinds: Mapping[str, Callable[[], Any]]) -> None:
        self.kept = {name: make() for name, make in kinds.items()}

    def call(self, name: str, method: str, *arguments: Any) -> Any:
        return getattr(self.kept[name], method)(*arguments)


@dataclass(frozen=True)
class Kept:
    """One of the objects, from any process."""

    actor: Any
    name: str

    def tell(self, method: str, *arguments: Any) -> None:
        """Call a method, and do not wait. What one process tells comes in its order."""
        self.actor.call.remote(self.name, method, *arguments)

    def ask(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        """Call a method, and wait for what it returns."""
        return ray.get(self.actor.call.remote(self.name, method, *arguments), timeout=timeout_s)


@contextlib.contextmanager
def keep(**kinds: Callable[[], Any]) -> Iterator[dict[str, Kept]]:
    """Inside, name -> an object as its function makes it, in an actor that takes no CPU and stays by the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(_Keeper).options(num_cpus=0, scheduling_strategy=here).remote(kinds)
    try:
        yield {name: Kept(actor, name) for name in kinds}
    finally:
        if ray.is_initialized():  # else it ended with Ray; a Ray of the user's would keep its process
            ray.kill(actor)


@dataclass
class RemoteLedger:
    """`actors.pools.isolate.Ledger` in a keeper, as the pools call it."""

    ledger: Kept
    last: str = ""  # begun in this process

    def begin(self, key: str) -> list[str]:
        """How each process ended that began `key` and did not come through since."""
        self.last = key
        return self.ledger.ask("begin", key)

    def note(self, key: str, how: str) -> None:
        """The process that began `key` last is about to end itself; `how` says why. Waits until it is noted."""
        self.ledger.ask("note", key, how, timeout_s=NOTE_S)

    def note_last(self, how: str) -> None:
        """`note` of what this process began last."""
        self.note(self.last, how)

    def end(self, key: str) -> None:
        """`key` came through."""
        self.ledger.tell("end", key)
