"""Ray's statistics of blocks, forgotten as they come.

The context that travels to every worker names this class: this file imports nothing else of ours.
"""

from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback


class ForgetBlocks(ExecutionCallback):
    """Ray 2.60 keeps 10 kB of statistics of every block for `Dataset.stats`, which nobody asks for: 12 GB for a million
    hours."""

    def on_execution_step(self, executor: Any) -> None:
        """Called by the driver's thread that schedules."""
        for operator in executor._topology:
            getattr(operator, "_output_blocks_stats", []).clear()
