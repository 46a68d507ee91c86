"""A graph that waits for actors whose GPUs are gone, noticed.

The context that travels to every worker names this class: this file imports nothing else of ours at its top.
"""

import time
from typing import Any

import ray
from ray.data._internal.execution.execution_callback import ExecutionCallback

LOST_S = 120.0
"""How long nothing moves before the graph is given up: a node that comes in place of the lost one moves it sooner."""


class NoticeLostActors(ExecutionCallback):
    """Ray 2.60 restarts the actor of a lost node once there is a GPU for it, and keeps its blocks for it until then.

    These count against the memory of the stages before: with large blocks the readers wait for ever, and the GPUs that
    are left wait with them.
    """

    def __init__(self) -> None:
        self.lost_since: float | None = None  # actors are to be restarted
        self.told_of: float | None = None  # since when nothing moved, where a line has said so

    def on_execution_step(self, executor: Any) -> None:
        """Called by the driver's thread that schedules; says once where nothing moved for LOST_S, and why.

        Raises LostActors where these are actors to be restarted, and the cluster has fewer GPUs than they and the
        others need, but enough for one actor of each pool.
        """
        now, since = time.monotonic(), executor._no_progress_guard._last_progress_time
        pools = [pool for operator in executor._topology for pool in operator.get_autoscaling_actor_pools()]
        lost = [pool.num_restarting_actors() for pool in pools]
        self.lost_since = (self.lost_since or now) if any(lost) else None
        if now - max(since, self.lost_since or since) < LOST_S:
            return
        from pipeline.errors import LostActors, plural
        from pipeline.log_line import log_line

        actors = [pool.num_running_actors() for pool in pools]  # with those that restart
        each = [pool.per_actor_resource_usage().gpu or 0.0 for pool in pools]
        needed = sum(count * gpus for count, gpus in zip(actors, each, strict=True))
        if any(lost) and sum(each) <= ray.cluster_resources().get("GPU", 0.0) < needed:
            raise LostActors(
                f"{sum(lost)} of {sum(actors)} actors lost their GPUs, and nothing moved for {LOST_S:.0f} s."
            )
        waiting = sum(lost) + sum(pool.num_pending_actors() for pool in pools)
        without_any = any(count == gone for count, gone in zip(actors, lost, strict=True))
        if waiting and without_any and self.told_of != since:
            self.told_of = since
            log_line(
                f"nothing moved for {LOST_S:.0f} s, and {plural(waiting, 'actor')} did not start: there is no GPU or "
                "node for them (see `ray status`), or the model loads slowly"
            )
