"""Settings -> how every recording of a run is read and cut."""

from dataclasses import dataclass
from typing import Any

from actors.watchdog import beat
from pipeline.audio.length import ANY, Lengths


@dataclass(frozen=True)
class Reading:
    """How recordings are read and cut."""

    chunk_samples: int  # at 24 kHz, whole frames
    context_samples: int  # at 24 kHz, whole frames
    allow_truncated: bool
    max_recording_s: float
    track: int | None = None  # of a container with several audio tracks, from 1; None: the default one
    wanted: Lengths = ANY  # recordings of other lengths are skipped

    @property
    def rules(self) -> dict[str, Any]:
        """The arguments of `open_file`."""
        return {
            "allow_truncated": self.allow_truncated,
            "max_recording_s": self.max_recording_s,
            "track": self.track,
            "beat": beat,
        }
