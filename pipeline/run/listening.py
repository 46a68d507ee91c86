"""A recording's source and its reconstruction -> both to listen to, one beside the other."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import soundfile

from actors.contract import SAMPLE_RATE
from pipeline.errors import OutputError, VoxmillError
from pipeline.loading import AS_IT_IS, Sound, SourceRules, load_audio
from pipeline.sources.inside import container_of, content
from pipeline.storage.location import is_local, local_path, redact
from pipeline.storage.stamp import local_stamp
from pipeline.view.html import FIRST_S, listening_html

NO_WAVE = "No reconstruction is kept: the command that made the run, with reconstruct=True, makes it from the codes."
DAMAGED = (
    "Its reconstruction is damaged: `voxmill check RUN --repair` deletes it, then the run's command makes it again"
)

OpenWave = Callable[[], BinaryIO | None]
"""Opens a reconstruction; None if there is none."""


@dataclass(frozen=True)
class Segment:
    """Which audio a recording is."""

    source: Sound
    start_s: float | None = None
    end_s: float | None = None
    channel: int | None = None  # from 1; None: the mean over all
    rules: SourceRules = AS_IT_IS
    size: int | None = None  # bytes that the file, or the container, had for the run; None: unknown


@dataclass(frozen=True)
class Listening:
    """The first FIRST_S seconds of a recording before and after the codec. A notebook shows players and pictures."""

    id: str
    original: np.ndarray | None = field(repr=False)  # float32 [T] at 24 kHz; None: see `problems`
    reconstruction: np.ndarray | None = field(repr=False)  # the same
    duration_s: float  # of the whole recording
    problems: tuple[str, ...]  # why there is no original, or no reconstruction

    def _repr_html_(self) -> str:
        both = {"original": self.original, "reconstruction": self.reconstruction}
        sounds = {title: wave for title, wave in both.items() if wave is not None}
        return listening_html(self.id, sounds, self.duration_s, self.problems)


def listen(id_: str, duration_s: float, segment: Segment, open_wave: OpenWave) -> Listening:
    """Read the beginning of a recording of `duration_s` from its source, and of its reconstruction."""
    wave, missing = read_wave(open_wave)
    try:
        original, away = read_original(segment, duration_s), ""
    except VoxmillError as error:
        original, away = None, f"The original cannot be read: {error}"
    return Listening(id_, original, wave, duration_s, tuple(filter(None, (away, missing))))


def read_original(segment: Segment, duration_s: float) -> np.ndarray:
    """The first FIRST_S seconds of `segment`, a recording of `duration_s`: float32 [T] at 24 kHz.

    A tar is read up to the member at "shard.tar::member". Raises VoxmillError.
    """
    source, start_s, end_s = segment.source, segment.start_s, segment.end_s
    refuse_changed(source, segment.size)
    if isinstance(source, str) and (container := container_of(source)):
        source = content(container, source, segment.rules.column)
    if duration_s > FIRST_S:
        end_s = (start_s or 0.0) + FIRST_S
    _, track, truncated = segment.rules
    wave = load_audio(source, segment.channel, start_s, end_s, track=track, allow_truncated=truncated)
    return wave[: round(FIRST_S * SAMPLE_RATE)]


def refuse_changed(source: Sound, size: int | None) -> None:
    """Raise OutputError where a local file, or the container of `source`, has another size than it had for the run: it
    holds something else."""
    if size is None or not isinstance(source, str) or not is_local(source):
        return
    now = local_stamp(local_path(container_of(source) or source)).size
    if now is not None and now != size:
        raise OutputError(f"{redact(source)} has changed since the run: it has {now:,} bytes, and had {size:,}.")


def read_wave(open_wave: OpenWave) -> tuple[np.ndarray | None, str]:
    """The first FIRST_S seconds of a reconstruction, float32 [T] at 24 kHz; or None and a sentence that says why."""
    try:
        file = open_wave()
        if file is None:
            return None, NO_WAVE
        with file, soundfile.SoundFile(file) as wave:
            return wave.read(round(FIRST_S * SAMPLE_RATE), "float32"), ""
    except (OutputError, soundfile.LibsndfileError) as error:
        return None, f"{DAMAGED} ({error})."
