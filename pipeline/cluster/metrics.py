"""A run in Prometheus: counters and gauges through Ray's own exporter. `configs/grafana.json` shows them."""

from ray.util.metrics import Counter, Gauge

from pipeline.cluster.spent import Spent

STAGE = ("stage",)


class Metrics:
    """Ray exports each as `ray_<name>`, a counter as `ray_<name>_total`. Rates and sums are left to the dashboard."""

    def __init__(self, last: str) -> None:
        self.last = last  # the pool that ends a recording
        self.audio = Counter("voxmill_audio_seconds", "Audio that came through a stage, in seconds.", STAGE)
        self.busy = Counter("voxmill_busy_seconds", "Seconds that the workers of a stage spent in its calls.", STAGE)
        self.recordings = Counter("voxmill_recordings", "Recordings that came through the last pool.")
        self.failures = Counter("voxmill_failures", "Recordings that failed, by the error.", ("stage", "error"))
        self.workers = Gauge("voxmill_workers", "Processes that have worked for a stage.", STAGE)
        self.queued = Gauge("voxmill_queued_audio_seconds", "Audio that waits before a stage, in seconds.", STAGE)

    def add(self, stage: str, spent: Spent, workers: dict[str, int], queued: dict[str, float]) -> None:
        """What a worker told, and what there is now. Ray exports only the gauges that were set lately: all are."""
        tags = {"stage": stage}
        for counter, value in ((self.audio, spent.audio_s), (self.busy, spent.busy_s)):
            if value:  # Ray refuses to count by 0
                counter.inc(value, tags)
        if stage == self.last and spent.recordings:
            self.recordings.inc(spent.recordings)
        for error, count in spent.failures.items():
            self.failures.inc(count, {**tags, "error": error})
        for gauge, values in ((self.workers, workers), (self.queued, queued)):
            for name, value in values.items():
                gauge.set(value, {"stage": name})
