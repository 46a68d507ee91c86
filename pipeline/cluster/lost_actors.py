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

    def on_execution_step(self, executor: Any) -> None:
        """Called by the driver's thread that schedules.

        Raises LostActors where nothing moved for LOST_S, actors wait to be restarted, and the cluster has fewer GPUs
        than they and the others need, but enough for one actor of each pool.
        """
        if time.monotonic() - executor._no_progress_guard._last_progress_time < LOST_S:
            return
        pools = [pool for operator in executor._topology for pool in operator.get_autoscaling_actor_pools()]
        lost = sum(pool.num_restarting_actors() for pool in pools)
        if not lost:
            return
        actors = [pool.num_running_actors() for pool in pools]  # with those that wait
        each = [pool.per_actor_resource_usage().gpu or 0.0 for pool in pools]
        needed = sum(count * gpus for count, gpus in zip(actors, each, strict=True))
        if sum(each) <= ray.cluster_resources().get("GPU", 0.0) < needed:
            from pipeline.errors import LostActors

            raise LostActors(f"{lost} of {sum(actors)} actors lost their GPUs, and nothing moved for {LOST_S:.0f} s.")
