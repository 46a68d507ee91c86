"""What a stage costs for a second of audio."""

from dataclasses import dataclass

ALONE = 0.85
"""Share of the cores that it asks for which a stage gets, at least, where nobody else uses them."""


@dataclass(frozen=True)
class Cost:
    """Of one worker of a stage (read, encode, decode, write), alone on the machine, for a second of audio."""

    stage: str
    threads: int
    wall_s: float
    cpu_s: float  # of all cores

    @property
    def times_real_time(self) -> float:
        """Seconds of audio in a second."""
        return 1 / self.wall_s

    @property
    def share(self) -> float:
        """Which part of the cores that it asked for it got."""
        return min(1.0, self.cpu_s / (self.wall_s * self.threads))


@dataclass(frozen=True)
class Measured:
    """What the micro-benchmark found."""

    model: str
    device: str  # cpu or cuda
    precision: str
    start_s: float  # of an actor: its process, its imports, its weights, its first call
    costs: list[Cost]  # of pools on a CPU one for each number of threads
    load: float  # processes that wanted a core meanwhile, as the system's load average

    def of(self, stage: str, threads: int | None = None) -> Cost:
        """The cost of `stage`, at `threads` where that was measured, else at the first number that was."""
        those = [one for one in self.costs if one.stage == stage]
        return next((one for one in those if one.threads == threads), those[0])

    @property
    def share_of_cores(self) -> float:
        """Which part of the cores that they asked for the stages on the CPU got: less than 1 where others use them.

        That of the stage which got most: threads that wait for each other do not count as others' use.
        """
        stages = ("read", "encode", "decode") if self.device == "cpu" else ("read",)
        return max(one.share for one in self.costs if one.stage in stages)
